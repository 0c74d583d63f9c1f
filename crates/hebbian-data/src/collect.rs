//! Turns encoded pictures with labels, from any source, into splits that fit together.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::pictures::{Form, How, Pictures, Problem, Shape, has_colour, peek, refused};
use crate::store::{Origin, Pile, Store};
use crate::{Error, ImageSet, LoadOptions, OnProgress, Progress, Result};

/// How many pictures are decoded together, unless they decode to more than [`PART_BYTES`]: if each is in a file of its
/// own, 100 MB of photographs.
const PART: usize = 512;
const PART_BYTES: usize = 1 << 28;
/// How many pictures are inspected to find out whether a set that stays in its files has colour.
const LOOK: usize = 256;

/// A split: pictures, each with a label.
#[derive(Debug)]
pub(crate) struct Split {
    /// The name in progress reports.
    pub name: String,
    pub pile: Arc<dyn Pile>,
    pub labels: Vec<u32>,
}

impl Split {
    /// The parts of the split, each of which is read together; a picture decodes to `size` bytes.
    fn parts(&self, size: usize) -> Vec<Range<usize>> {
        match self.pile.blocks() {
            Some(blocks) => blocks.windows(2).map(|ends| ends[0]..ends[1]).collect(),
            None => pieces(0..self.pile.len(), size).collect(),
        }
    }
}

/// Divides pictures, each of which decodes to `size` bytes, into pieces that are decoded together.
fn pieces(pictures: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let (end, piece) = (pictures.end, (PART_BYTES / size.max(1)).clamp(1, PART));
    pictures.step_by(piece).map(move |at| at..end.min(at + piece))
}

/// Collects the images of each split: in memory, or in their files if they decode to more than the options allow. All
/// images have the shape of the first; they are grey if all pictures are.
pub(crate) fn collect(
    splits: &[Split],
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Vec<ImageSet>> {
    let found = first_shape(splits, options)?;
    let form = if options.image_size.is_some() { Form::Fitted } else { Form::AsTheyAre };
    match collect_as(splits, How { shape: found, form }, options, on_progress)? {
        Some(sets) => Ok(sets),
        // Some pictures have colour, so all images get three channels.
        None => {
            let colour = How { shape: (3, found.1, found.2), form };
            Ok(collect_as(splits, colour, options, on_progress)?.unwrap_or_default())
        }
    }
}

/// Collects the images of each split like this, and reports what was left out; `None` if a picture has colour and the
/// shape is grey.
pub(crate) fn collect_as(
    splits: &[Split],
    how: How,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Option<Vec<ImageSet>>> {
    let mut left_out = Vec::new();
    let sets = sets_of(splits, how, options, &mut left_out, on_progress)?;
    if sets.is_none() {
        return Ok(None);
    }
    for ((path, row), found) in &left_out {
        on_progress(Progress::Skipped { file: &path.to_string_lossy(), row: *row, found });
    }
    Ok(sets)
}

/// The first picture to learn from of a class of which none is left in the sets.
pub(crate) fn lost_class(splits: &[Split], sets: &[ImageSet]) -> Option<usize> {
    let (split, set) = splits.first().zip(sets.first())?;
    let left: HashSet<u32> = set.labels().iter().copied().collect();
    split.labels.iter().position(|label| !left.contains(label))
}

/// The error for such a class, of which all pictures are in this folder or file.
pub(crate) fn all_broken(path: PathBuf, class: &str) -> Error {
    Error::BadFile {
        path,
        found: format!("no picture of the class {class:?} to learn from that is not broken"),
        expected: "at least one, because --skip-bad does not leave out classes".to_string(),
        advice: "repair or replace a picture, or take the class out of the data set".to_string(),
    }
}

/// A broken picture that was left out: its file, its row if that is a table, and what was found.
type LeftOut = ((PathBuf, Option<usize>), String);

/// The shape that all images have if they are like the first picture or, if broken pictures are left out, like the
/// first that is not broken.
///
/// # Errors
/// If the first picture is broken and may not be left out, or if all are.
fn first_shape(splits: &[Split], options: &LoadOptions) -> Result<Shape> {
    let mut first = None;
    for split in splits {
        for index in 0..split.pile.len() {
            match split.pile.read(&[index])?.first().map(|bytes| peek(bytes.as_ref())) {
                Some(Ok((channels, height, width))) => {
                    let (height, width) =
                        options.image_size.map_or((height, width), |side| (side, side));
                    return Ok((channels, height, width));
                }
                Some(Err(problem)) if !options.skip_bad => {
                    return Err(refused(split.pile.place(index), problem));
                }
                Some(Err(problem)) => first = first.or(Some((split.pile.place(index), problem))),
                None => {}
            }
        }
    }
    match first {
        Some((place, problem)) => Err(refused(place, problem)),
        None => Ok((1, 1, 1)),
    }
}

fn sets_of(
    splits: &[Split],
    how: How,
    options: &LoadOptions,
    left_out: &mut Vec<LeftOut>,
    on_progress: &OnProgress,
) -> Result<Option<Vec<ImageSet>>> {
    let buffer = options.buffered(how.size());
    let is_large = |split: &Split| !options.may_hold(split.pile.len(), how.size());
    let mut sets = Vec::new();
    for split in splits {
        if is_large(split) && how.shape.0 == 1 && shows_colour(split)? {
            return Ok(None);
        }
    }
    for split in splits {
        let set = match is_large(split) {
            true => in_files(split, how, buffer, options, left_out, on_progress)?,
            false => in_memory(split, how, buffer, options, left_out, on_progress)?,
        };
        let Some(set) = set else { return Ok(None) };
        sets.push(set);
    }
    Ok(Some(sets))
}

/// Whether one of some pictures has colour: pictures from all over the split or, if they are read in blocks, the first
/// ones.
fn shows_colour(split: &Split) -> Result<bool> {
    let (count, looks) = (split.pile.len(), LOOK.min(split.pile.len()));
    for look in 0..looks {
        let index = match split.pile.blocks() {
            None => look * (count - 1) / (looks - 1).max(1),
            Some(_) => look,
        };
        if split.pile.read(&[index])?.iter().any(|bytes| has_colour(bytes.as_ref())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Collects a split that stays in its files; `None` if a picture has colour and the shape is grey. Broken pictures are
/// looked for only if they are to be left out; otherwise reading one returns an error.
fn in_files(
    split: &Split,
    how: How,
    buffer: usize,
    options: &LoadOptions,
    left_out: &mut Vec<LeftOut>,
    on_progress: &OnProgress,
) -> Result<Option<ImageSet>> {
    let store = Store::in_files(split.pile.clone(), how, options.memory, buffer);
    let set = ImageSet::of_store(store, split.labels.clone());
    if !options.skip_bad {
        return Ok(Some(set));
    }
    let mut good = Vec::new();
    // Nothing is kept of the pixels, so that a block of large pictures is decoded in pieces.
    let parts = split.parts(how.size()).into_iter();
    for part in parts.flat_map(|block| pieces(block, how.size())) {
        let (mut pictures, end) = (Pictures::new(how), part.end);
        let Some(kept) = decode(split, part, &mut pictures, true, left_out)? else {
            return Ok(None);
        };
        good.extend(kept);
        let (done, total) = (end as u64, split.pile.len() as u64);
        on_progress(Progress::Decode { file: &split.name, done, total });
    }
    set.select(&good).map(Some)
}

/// Collects a split in memory; `None` if a picture has colour and the shape is grey.
fn in_memory(
    split: &Split,
    how: How,
    buffer: usize,
    options: &LoadOptions,
    left_out: &mut Vec<LeftOut>,
    on_progress: &OnProgress,
) -> Result<Option<ImageSet>> {
    let (mut pictures, mut good) = (Pictures::new(how), Vec::new());
    let (mut blocks, total) = (vec![0], split.pile.len());
    for part in split.parts(how.size()) {
        let Some(kept) = decode(split, part, &mut pictures, options.skip_bad, left_out)? else {
            return Ok(None);
        };
        good.extend(kept);
        blocks.push(good.len());
        // The first part has proved the size of the images, so memory for the rest is reserved at once and need not
        // grow.
        pictures.expect(total)?;
        let (done, total) = (good.len() as u64, total as u64);
        on_progress(Progress::Decode { file: &split.name, done, total });
    }
    blocks.dedup();
    let blocks = split.pile.blocks().map(|_| blocks);
    let labels = good.iter().map(|&index| split.labels[index]).collect();
    split.pile.release();
    let origin = Origin { pile: split.pile.clone(), indices: Arc::new(good) };
    let store = Store::in_memory(pictures.into_pixels(), how.shape)
        .with_blocks(blocks, buffer)
        .with_origin(Some(origin));
    Ok(Some(ImageSet::of_store(store, labels)))
}

/// Decodes the pictures of a part and adds them to `pictures`. Returns the indices of those that were not left out, or
/// `None` if a picture has colour.
fn decode(
    split: &Split,
    part: Range<usize>,
    pictures: &mut Pictures,
    skip_bad: bool,
    left_out: &mut Vec<LeftOut>,
) -> Result<Option<Vec<usize>>> {
    let mut kept: Vec<usize> = part.collect();
    let mut encoded = Vec::with_capacity(kept.len());
    match split.pile.blocks() {
        Some(_) => encoded = split.pile.read(&kept)?,
        None => {
            for &index in &kept {
                encoded.extend(split.pile.read(&[index])?);
            }
        }
    }
    let problems = pictures.extend(&encoded);
    if problems.iter().any(|(_, problem)| matches!(problem, Problem::Colour)) {
        return Ok(None);
    }
    let mut bad = HashSet::new();
    for (at, problem) in problems {
        let place = split.pile.place(kept[at]);
        match problem {
            Problem::Bad(found) if skip_bad => left_out.push((place, found)),
            problem => return Err(refused(place, problem)),
        }
        bad.insert(kept[at]);
    }
    kept.retain(|index| !bad.contains(index));
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces follow one another, and decode to 256 MiB at most, if a picture does. Small pictures stay together.
    #[test]
    fn large_pictures_of_a_block_are_decoded_in_pieces() {
        for (size, lengths) in [
            (3 * 32 * 32, &[256][..]),
            // 2048×2048 in colour: 21 of them have 252 MiB.
            (3 << 22, &[21, 21, 21, 21, 21, 21, 21, 21, 21, 21, 21, 21, 4]),
        ] {
            let pieces: Vec<Range<usize>> = pieces(512..768, size).collect();
            assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end), (512, 768));
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), lengths);
        }
        assert_eq!(pieces(0..2, usize::MAX).count(), 2);
    }
}
