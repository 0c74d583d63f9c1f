use crate::{Dataset, DatasetName, ImageSet};

const SIDE: usize = 8;
const CLASSES: usize = 10;
/// A label, then the pixels.
const RECORD: usize = 1 + SIDE * SIDE;
static RECORDS: &[u8] = include_bytes!("../data/digits.bin");

/// The embedded handwritten digits: 1,797 grey images of 8×8 pixels, the test part of the UCI
/// *Optical Recognition of Handwritten Digits* (E. Alpaydin and C. Kaynak, 1998; CC BY 4.0), which
/// scikit-learn ships too. Ink of 0 to 16 becomes `round(255 ink / 16)`.
///
/// The split is fixed. Of each class the first 80 % in the order of the source (rounded to the nearest
/// image) are for training and the rest for testing, 1,438 and 359 in all; both keep the source's order.
/// The source goes from writer to writer, so the test images come mostly from writers that the training
/// images do not show, which is harder, and more honest, than a shuffled split.
pub fn digits() -> Dataset {
    let (records, _) = RECORDS.as_chunks::<RECORD>();
    let mut sizes = [0_usize; CLASSES];
    for &[label, ..] in records {
        sizes[usize::from(label)] += 1;
    }
    let mut seen = [0_usize; CLASSES];
    let (train, test): (Vec<_>, Vec<_>) = records.iter().partition(|&&[label, ..]| {
        let class = usize::from(label);
        seen[class] += 1;
        // 80 % rounded to the nearest whole number; a fifth is never half way.
        seen[class] <= (4 * sizes[class] + 2) / 5
    });
    Dataset {
        name: DatasetName::Digits,
        train: split(&train),
        test: split(&test),
        class_names: DatasetName::Digits.class_names(),
    }
}

fn split(records: &[&[u8; RECORD]]) -> ImageSet {
    let pixels = |record: &&[u8; RECORD]| record[1..].iter().copied().map(grey).collect::<Vec<_>>();
    let images = records.iter().flat_map(pixels).collect();
    let labels = records.iter().map(|&&[label, ..]| u32::from(label)).collect();
    ImageSet::of_parts(images, labels, (1, SIDE, SIDE))
}

/// `round(255 ink / 16)` for ink of 0 to 16.
fn grey(ink: u8) -> u8 {
    ((u16::from(ink) * 255 + 8) / 16) as u8
}
