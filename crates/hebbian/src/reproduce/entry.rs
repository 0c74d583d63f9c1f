//! The records of all methods.

use anyhow::{Context, Result, bail};
use hebbian_train::{Job, Method, Record, read_text, records, save_json};
use std::path::{Path, PathBuf};

/// A record with the method that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The method's folder in `models`.
    folder: &'static str,
    /// Its name in commands.
    pub(super) method: &'static str,
    pub(super) record: Record,
}

impl Entry {
    /// Returns the records embedded in this build.
    pub(super) fn embedded() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        macro_rules! each {
            ($($module:ident::$method:ident)*) => {
                $(
                    type $method = hebbian_models::$module::$method;
                    let (folder, method) = (stringify!($module), <$method as Method>::NAME);
                    let found = records::<<$method as Method>::Preset>()?;
                    all.extend(found.into_iter().map(|record| Self { folder, method, record }));
                )*
            };
        }
        hebbian_models::for_each_method!(each);
        Ok(all)
    }

    /// Reads the records of the project in the folder `root`.
    pub(super) fn of_project(root: &Path) -> Result<Vec<Self>> {
        if !root.join("models").is_dir() {
            bail!(
                "{} is not the folder of the project: it has no folder models, which has the record; name the project's \
                 folder after the flag",
                root.display()
            );
        }
        let mut all = Vec::new();
        for mut entry in Self::embedded()? {
            let file = entry.file(root);
            let text = read_text(&file)?;
            entry.record =
                serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            all.push(entry);
        }
        Ok(all)
    }

    /// Returns its path in the project.
    fn file(&self, root: &Path) -> PathBuf {
        self.records(root).join(format!("{}.json", self.record.name))
    }

    fn records(&self, root: &Path) -> PathBuf {
        root.join("models").join(self.folder).join("record")
    }

    /// Writes it into the project.
    pub(super) fn save(&self, root: &Path) -> Result<()> {
        Ok(save_json(self.file(root), &self.record)?)
    }

    /// `METHOD/TABLE`
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.method, self.record.name)
    }

    /// `METHOD/TABLE/JOB`
    pub(super) fn name_of(&self, job: &Job) -> String {
        format!("{}/{}", self.name(), job.name)
    }

    /// Returns where the results of a job are kept in the project.
    pub(super) fn kept(&self, root: &Path, job: &Job) -> PathBuf {
        self.records(root).join("results").join(&self.record.name).join(&job.name)
    }
}
