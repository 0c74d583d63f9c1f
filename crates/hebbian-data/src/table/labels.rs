//! Labels as files have them, and the classes that they name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::ByteArray;

use crate::error::FETCH_AGAIN;
use crate::{Error, ImageSet, Result};

/// The most bytes of a word that is a label.
const LONGEST_LABEL: usize = 64 << 10;

/// The labels of a file, as they are written.
pub(super) enum Written {
    Numbers(Vec<i64>),
    Words(Vec<Arc<str>>),
    /// This number of images without labels.
    Nothing(usize),
}

impl Default for Written {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl Written {
    /// Whether there are labels: negative numbers alone stand for images without labels.
    pub fn has_labels(&self) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.iter().any(|&number| number >= 0),
            Self::Words(_) => true,
            Self::Nothing(_) => false,
        }
    }

    /// Converts each label to an index into `names`.
    pub fn labels(self, path: &Path, names: &[String]) -> Result<Vec<u32>> {
        match self {
            Self::Numbers(numbers) => {
                let numbers = numbers.into_iter().enumerate();
                numbers.map(|(row, class)| label(path, row, class, names.len())).collect()
            }
            Self::Words(words) => {
                let mut places: HashMap<&str, u32> = HashMap::new();
                for (at, name) in (0..).zip(names) {
                    // Of equal names, the first counts.
                    places.entry(name.as_str()).or_insert(at);
                }
                let place = |(row, word): (usize, Arc<str>)| match places.get(&*word) {
                    Some(&place) => Ok(place),
                    None => Err(bad_row(path, row, format!("label {word:?}"), names.join(", "))),
                };
                words.into_iter().enumerate().map(place).collect()
            }
            Self::Nothing(rows) => Ok(vec![ImageSet::NO_LABEL; rows]),
        }
    }
}

/// Returns the list of class names that the files have, and the labels of each file: numbers are places in this list. A
/// file's own numbers are places in its own list. If that is not the list of all files, they become words.
///
/// # Errors
/// A number that is no place in the list of its file; numbers without a list beside words.
pub(super) fn with_one_list(
    files: &[(&Path, Option<&[String]>)],
    mut written: Vec<Written>,
) -> Result<(Option<Vec<String>>, Vec<Written>)> {
    let mut lists = files.iter().filter_map(|(_, names)| *names);
    let Some(first) = lists.next() else {
        let words = |one: &Written| matches!(one, Written::Words(these) if !these.is_empty());
        let numbers = |one: &Written| matches!(one, Written::Numbers(these) if !these.is_empty());
        return match (written.iter().any(words), written.iter().position(numbers)) {
            (true, Some(at)) => Err(Error::BadFile {
                path: files[at].0.into(),
                found: "numbers as labels, without names".to_string(),
                expected: "words, as in other files of the data set".to_string(),
                advice: FETCH_AGAIN.into(),
            }),
            _ => Ok((None, written)),
        };
    };
    let mut all = first.to_vec();
    if lists.clone().all(|list| list == first) {
        return Ok((Some(all), written));
    }
    for name in lists.flatten() {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    for (one, (path, names)) in written.iter_mut().zip(files) {
        if let (Written::Numbers(numbers), Some(names)) = (&*one, names) {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
            let word = |(row, &class): (usize, &i64)| {
                Ok(names[label(path, row, class, names.len())? as usize].clone())
            };
            *one = Written::Words(numbers.iter().enumerate().map(word).collect::<Result<_>>()?);
        }
    }
    Ok((Some(all), written))
}

/// The class names in the file; or else the labels that are words, in order; or else the numbers up to the
/// largest.
///
/// # Errors
/// More than 32,768 of them: these labels are no classes, and whatever has a row for each class would not fit into the
/// memory.
pub(super) fn class_names(
    path: &Path,
    told: Option<Vec<String>>,
    written: &[Written],
) -> Result<Vec<String>> {
    const MOST: i64 = 1 << 15;
    let refused = |found: String| Error::BadFile {
        path: path.into(),
        found,
        expected: format!("labels of at most {MOST} classes"),
        advice: "name another column with --label-column".to_string(),
    };
    match told {
        Some(told) if told.len() as i64 > MOST => {
            return Err(refused(format!("{} names of classes", told.len())));
        }
        Some(told) => return Ok(told),
        None => {}
    }
    let mut words = BTreeSet::new();
    let mut largest = -1;
    for one in written {
        match one {
            Written::Words(these) => words.extend(these.iter().map(|word| &**word)),
            Written::Nothing(_) => {}
            Written::Numbers(these) => largest = these.iter().copied().fold(largest, i64::max),
        }
    }
    match words.len() {
        0 if largest >= MOST => Err(refused(format!("the label {largest}"))),
        count if count as i64 > MOST => Err(refused(format!("{count} different labels"))),
        0 => Ok((0..=largest).map(|number| number.to_string()).collect()),
        _ => Ok(words.into_iter().map(str::to_string).collect()),
    }
}

/// The labels of a file that are words. Rows that have the same word share it: a short file may name a long word for
/// each of a million rows.
///
/// # Errors
/// A word that is too long for a label.
pub(super) fn words(path: &Path, written: &[ByteArray]) -> Result<Vec<Arc<str>>> {
    let mut known: HashSet<Arc<str>> = HashSet::new();
    let word = |(row, word): (usize, &ByteArray)| {
        if word.data().len() > LONGEST_LABEL {
            return Err(Error::BadFile {
                path: path.into(),
                found: format!("a label of {} bytes in row {row}", word.data().len()),
                expected: format!("{LONGEST_LABEL} at most"),
                advice: "name another column with --label-column".to_string(),
            });
        }
        let word = String::from_utf8_lossy(word.data());
        Ok(known.get(&*word).cloned().unwrap_or_else(|| {
            let word: Arc<str> = Arc::from(&*word);
            known.insert(word.clone());
            word
        }))
    };
    written.iter().enumerate().map(word).collect()
}

pub(super) fn label(path: &Path, row: usize, class: i64, classes: usize) -> Result<u32> {
    match u32::try_from(class).ok().filter(|&label| (label as usize) < classes) {
        Some(label) => Ok(label),
        None => {
            let expected = format!("labels from 0 to {}", classes.saturating_sub(1));
            Err(bad_row(path, row, format!("label {class}"), expected))
        }
    }
}

pub(super) fn bad_row(path: &Path, row: usize, found: String, expected: String) -> Error {
    Error::BadFile {
        path: path.into(),
        found: format!("{found} in row {row}"),
        expected,
        advice: FETCH_AGAIN.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that identify rows are no classes, nor are words that do.
    #[test]
    fn too_many_classes_are_refused() {
        let names = |written| class_names(Path::new("a.parquet"), None, &[written]);
        let words =
            |count: usize| Written::Words((0..count).map(|at| Arc::from(at.to_string())).collect());
        assert_eq!(names(Written::Numbers(vec![3, 32_767])).unwrap().len(), 32_768);
        assert_eq!(names(words(32_768)).unwrap().len(), 32_768);
        for (written, found) in [
            (Written::Numbers(vec![3, 32_768]), "the label 32768"),
            (words(32_769), "32769 different labels"),
        ] {
            let said = names(written).unwrap_err().to_string();
            assert!(said.contains(found) && said.contains("--label-column"), "{said}");
        }
        let listed = |count: usize| {
            let told = (0..count).map(|at| at.to_string()).collect();
            class_names(Path::new("a.parquet"), Some(told), &[])
        };
        assert_eq!(listed(32_768).unwrap().len(), 32_768);
        let said = listed(32_769).unwrap_err().to_string();
        assert!(said.contains("found 32769 names of classes"), "{said}");
    }

    #[test]
    fn a_word_is_the_first_class_of_its_name() {
        let names = ["b", "a", "b"].map(str::to_string);
        let labels = |words: &[&str]| {
            let words = words.iter().map(|word| Arc::<str>::from(*word)).collect();
            Written::Words(words).labels(Path::new("a.parquet"), &names)
        };
        assert_eq!(labels(&["a", "b", "a"]).unwrap(), [1, 0, 1]);
        let said = labels(&["a", "c"]).unwrap_err().to_string();
        assert!(said.contains("label \"c\" in row 1") && said.contains("b, a, b"), "{said}");
    }
}
