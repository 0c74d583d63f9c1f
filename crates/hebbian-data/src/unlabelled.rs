//! Pictures without labels, such as those that a trained model is to classify.

use std::path::PathBuf;
use std::sync::Arc;

use crate::collect::{Split, collect_as};
use crate::image_folder::{ENDINGS, Files, files};
use crate::load::check_side;
use crate::pictures::{Form, How, Problem, has_colour, refused};
use crate::store::Pile;
use crate::{Error, ImageSet, LoadOptions, OnProgress, Result};

/// Reads pictures without labels as images of `shape` (channels, height and width): those that are named in `paths`,
/// and those in the folders that are named, at any depth and in the order of their paths. Their labels are
/// [`NO_LABEL`](ImageSet::NO_LABEL), and [`ImageSet::file`] says which is which.
///
/// If the shape is a square, pictures of another size are resized as by [`LoadOptions::image_size`]; otherwise they
/// must have that size. Grey pictures become three equal channels if the shape has three. Of the options, `skip_bad`,
/// `memory` and `buffer` are used.
///
/// ```
/// use hebbian_data::{LoadOptions, OnProgress, load_pictures};
/// let folder = tempfile::tempdir()?;
/// image::GrayImage::from_pixel(20, 16, image::Luma([7])).save(folder.path().join("seven.png"))?;
/// let paths = [folder.path().to_path_buf()];
/// let silent: OnProgress = std::sync::Arc::new(|_| ());
/// let set = load_pictures(&paths, (3, 8, 8), &LoadOptions::default(), &silent)?;
/// assert_eq!((set.len(), set.shape()), (1, (3, 8, 8)));
/// assert_eq!(set.file(0), Some((folder.path().join("seven.png"), None)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A shape with other than 1 or 3 channels or without pixels, a path that does not exist, no pictures, a picture that
/// is broken, or one in colour if the shape is grey.
pub fn load_pictures(
    paths: &[PathBuf],
    shape: (usize, usize, usize),
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<ImageSet> {
    if ![1, 3].contains(&shape.0) {
        return Err(Error::Size { what: "channels of a picture", found: shape.0, expected: 3 });
    }
    [shape.1, shape.2].into_iter().try_for_each(check_side)?;
    let mut found = Vec::new();
    for path in paths {
        match std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            true => found.extend(files(path)?),
            false => found.push(path.clone()),
        }
    }
    let none = |found: &str| Error::BadFile {
        path: paths.first().cloned().unwrap_or_default(),
        found: found.to_string(),
        expected: format!("some, ending in {}", ENDINGS.join(", ")),
        advice: "name pictures, or folders of pictures".to_string(),
    };
    if found.is_empty() {
        return Err(none("no pictures"));
    }
    let labels = vec![ImageSet::NO_LABEL; found.len()];
    let pile: Arc<dyn Pile> = Arc::new(Files(found));
    let form = if shape.1 == shape.2 { Form::Fitted } else { Form::AsTheyAre };
    let split = Split { name: "pictures".to_string(), pile: pile.clone(), labels };
    let sets = collect_as(&[split], How { shape, form }, options, on_progress)?;
    match sets.and_then(|mut sets| sets.pop()) {
        Some(set) if set.is_empty() => Err(none("broken pictures only")),
        Some(set) => Ok(set),
        None => Err(first_in_colour(&*pile)),
    }
}

/// The error for pictures of which one has colour, although all should be grey.
fn first_in_colour(pile: &dyn Pile) -> Error {
    let in_colour = |&index: &usize| {
        let bytes = pile.read(&[index]).unwrap_or_default();
        bytes.iter().any(|bytes| has_colour(bytes.as_ref()))
    };
    let first = (0..pile.len()).find(in_colour).unwrap_or_default();
    refused(pile.place(first), Problem::Colour)
}
