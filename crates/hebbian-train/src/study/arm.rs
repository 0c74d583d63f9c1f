//! The networks that a study compares.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// One of the networks that a study compares.
#[derive(Debug, Clone)]
pub struct Arm<O> {
    /// The group that it belongs to, such as the network, if there are several groups; empty otherwise.
    pub group: String,
    /// Its name in the figure.
    pub label: String,
    /// The method's options.
    pub options: O,
}

impl<O> Arm<O> {
    /// Its group and label: `deepnet URFB`.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.group, self.label).trim().to_string()
    }

    /// The name of the folder with its runs.
    pub(super) fn folder(&self) -> String {
        slug(&self.name())
    }
}

/// `name` as the name of a folder: lower-case letters, digits and hyphens.
fn slug(name: &str) -> String {
    let name = name.to_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// Refuses arms of which two would have the same folder, where the runs of one would replace those of the other.
pub(super) fn check_folders<O>(arms: &[Arm<O>]) -> Result<()> {
    let mut known = BTreeMap::new();
    for arm in arms {
        let (folder, name) = (arm.folder(), arm.name());
        if let Some(other) = known.insert(folder.clone(), name.clone()) {
            return Err(Error::Argument(format!(
                "the networks '{other}' and '{name}' would both be in the folder '{folder}': give them names that \
                 differ in digits or letters from a to z"
            )));
        }
    }
    Ok(())
}
