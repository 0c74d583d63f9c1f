//! Encoded pictures with labels, from wherever they are, into splits that fit each other.

use std::path::{Path, PathBuf};

use crate::pictures::{Pictures, Problem};
use crate::{Error, ImageSet, LoadOptions, OnProgress, Progress, Result};

/// A picture that is still encoded.
#[derive(Debug)]
pub(crate) struct Encoded<B> {
    pub bytes: B,
    pub label: u32,
    /// The file it is in.
    pub path: PathBuf,
    /// Its row, in a table.
    pub row: Option<usize>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Encoded<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// What becomes of pictures of any size.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fit {
    /// The side of the square they are cut to; none where all have one size.
    pub side: Option<usize>,
    /// Whether broken ones are left out.
    pub skip_bad: bool,
}

impl Fit {
    pub fn of(options: &LoadOptions) -> Self {
        Self { side: options.image_size, skip_bad: options.skip_bad }
    }
}

/// A split: so many pictures, in parts that are read one after the other.
pub(crate) trait Parts {
    type Bytes: AsRef<[u8]> + Sync;

    /// How many pictures there are.
    fn len(&self) -> usize;

    /// What the progress calls it.
    fn name(&self) -> String;

    /// Reads it from the start.
    fn parts(&self) -> impl Iterator<Item = Result<Vec<Encoded<Self::Bytes>>>>;
}

/// Decodes splits. All pictures have the shape of the first; they are grey if every one is.
pub(crate) fn collect<P: Parts>(
    splits: &[P],
    fit: Fit,
    on_progress: &OnProgress,
) -> Result<Vec<ImageSet>> {
    match collect_as(splits, fit, false, on_progress)? {
        Some(splits) => Ok(splits),
        // There is colour somewhere: so they all have.
        None => Ok(collect_as(splits, fit, true, on_progress)?.unwrap_or_default()),
    }
}

/// The same; none where a picture has colour and the first had not.
fn collect_as<P: Parts>(
    splits: &[P],
    fit: Fit,
    in_colour: bool,
    on_progress: &OnProgress,
) -> Result<Option<Vec<ImageSet>>> {
    let (mut sets, mut shape) = (Vec::new(), None);
    for split in splits {
        let (name, total) = (split.name(), split.len());
        let mut pictures = Pictures::of_any(fit.side, in_colour, shape);
        let mut labels = Vec::new();
        for part in split.parts() {
            let mut part = part?;
            while let Err((at, problem)) = pictures.extend(&part) {
                match problem {
                    Problem::Colour => return Ok(None),
                    Problem::Bad(found) if fit.skip_bad => {
                        let bad = part.remove(at);
                        let file = &bad.path.to_string_lossy();
                        on_progress(Progress::Skipped { file, row: bad.row, found: &found });
                    }
                    problem => return Err(refused(&part[at], problem)),
                }
            }
            labels.extend(part.iter().map(|one| one.label));
            pictures.expect(total)?;
            let (done, total) = (labels.len() as u64, total as u64);
            on_progress(Progress::Decode { file: &name, done, total });
        }
        shape = pictures.shape();
        sets.push(pictures.with_labels(labels)?);
    }
    Ok(Some(sets))
}

fn refused<B>(one: &Encoded<B>, problem: Problem) -> Error {
    let (found, expected, advice) = match problem {
        Problem::Bad(found) => (
            found,
            "a PNG, JPEG, WebP or BMP".to_string(),
            "mend or remove it, or leave out what is broken with --skip-bad",
        ),
        Problem::Size([(height, width), found]) => (
            format!("{}x{} pixels", found.0, found.1),
            format!("{height}x{width}, as the first picture has"),
            "resize them all with --image-size, 32 for instance",
        ),
        Problem::Colour => ("colour".to_string(), "grey".to_string(), "convert it"),
    };
    let row = one.row.map(|row| format!(" in row {row}")).unwrap_or_default();
    Error::BadFile {
        path: one.path.clone(),
        found: format!("{found}{row}"),
        expected,
        advice: advice.to_string(),
    }
}

/// Pictures in a file each.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    pub name: &'a str,
    /// Path and label of each.
    pub files: Vec<(PathBuf, u32)>,
}

impl Parts for Files<'_> {
    type Bytes = Vec<u8>;

    fn len(&self) -> usize {
        self.files.len()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn parts(&self) -> impl Iterator<Item = Result<Vec<Encoded<Vec<u8>>>>> {
        /// Read before they are decoded: 100 MB of photographs.
        const PART: usize = 512;
        let read = |(path, label): &(PathBuf, u32)| {
            Ok(Encoded { bytes: read(path)?, label: *label, path: path.clone(), row: None })
        };
        self.files.chunks(PART).map(move |files| files.iter().map(read).collect())
    }
}

/// The bytes of a file that is a picture, as far as its length tells.
fn read(path: &Path) -> Result<Vec<u8>> {
    /// The longest; no picture that is decoded here needs more.
    const LONGEST: u64 = 300 << 20;
    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if length > LONGEST {
        let (found, expected) = (format!("{length} bytes"), format!("{LONGEST} at most"));
        return Err(Error::bad_file(path, found, expected));
    }
    std::fs::read(path).map_err(Error::io(path))
}
