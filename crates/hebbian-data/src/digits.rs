use crate::{Dataset, DatasetName, ImageSet};

const SIDE: usize = 8;
const CLASSES: usize = 10;
/// The size of a record: a label, then the pixels.
const RECORD: usize = 1 + SIDE * SIDE;
static RECORDS: &[u8] = include_bytes!("../data/digits.bin");

/// Returns the embedded handwritten digits: 1,797 grey images of 8×8 pixels, the test part of the
/// UCI *Optical Recognition of Handwritten Digits* (E. Alpaydin and C. Kaynak, 1998; CC BY 4.0),
/// which scikit-learn ships too. Ink levels of 0 to 16 become `round(255 ink / 16)`.
///
/// The split is fixed: in the order of the source, every fifth image of each class is for testing
/// and the others are for training, 355 and 1,442 in all; both splits keep the source's order. The
/// source is ordered by writer, so both splits hold images of every writer, as in a shuffled split.
pub fn digits() -> Dataset {
    let (records, _) = RECORDS.as_chunks::<RECORD>();
    let mut seen = [0_usize; CLASSES];
    let (test, train): (Vec<_>, Vec<_>) = records.iter().partition(|&&[label, ..]| {
        let seen = &mut seen[usize::from(label)];
        *seen += 1;
        *seen % 5 == 0
    });
    Dataset::known(DatasetName::Digits, split(&train), split(&test), Vec::new())
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
