//! Presets: networks with their recipes as JSON, embedded or in a file.

use crate::names::nearest;
use crate::own_folder::PROGRAM;
use crate::run::CONFIG;
use crate::{Error, Result, read_text};
use hebbian_data::transforms::InputConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// The presets of one paper.
pub trait Preset: Serialize + DeserializeOwned + PartialEq + Send + Sync {
    /// The name of the paper or its method, for messages.
    const METHOD: &'static str;
    /// The embedded presets, each as JSON.
    const EMBEDDED: &'static [&'static str];
    /// The expected results of the presets: JSON texts, each a [`Record`](crate::Record).
    const RECORD: &'static [&'static str];

    /// The name, description and data set that every preset has.
    fn heading(&self) -> Heading<'_>;

    /// How images are transformed before the network sees them.
    fn input(&self) -> &InputConfig;

    /// Mutable access to [`input`](Self::input).
    fn input_mut(&mut self) -> &mut InputConfig;

    /// Checks what the schema cannot express.
    ///
    /// # Errors
    /// When the preset is invalid.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// Implements `heading`, `input` and `input_mut` of a [`Preset`] from its fields `name`, `description`, `dataset` and
/// `input`. If a field is given, as in `preset_fields!(alias)`, the optional text in it is the alias.
#[macro_export]
macro_rules! preset_fields {
    ($($alias:ident)?) => {
        fn heading(&self) -> $crate::Heading<'_> {
            let Self { name, description, dataset, .. } = self;
            let alias: Option<&str> = None$(.or(self.$alias.as_deref()))?;
            $crate::Heading { name, alias, description, dataset }
        }

        fn input(&self) -> &::hebbian_data::transforms::InputConfig {
            &self.input
        }

        fn input_mut(&mut self) -> &mut ::hebbian_data::transforms::InputConfig {
            &mut self.input
        }
    };
}

/// The name, description and data set of a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heading<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its name in the authors' release, if that is a different one.
    pub alias: Option<&'a str>,
    /// One line for lists.
    pub description: &'a str,
    /// The data set it was made for.
    pub dataset: &'a str,
}

impl<'a> Heading<'a> {
    /// The names by which the preset can be found.
    fn names(self) -> impl Iterator<Item = &'a str> {
        [self.name].into_iter().chain(self.alias)
    }
}

/// Returns all embedded presets.
///
/// # Errors
/// When an embedded preset is invalid.
pub fn all_presets<P: Preset>() -> Result<Vec<P>> {
    P::EMBEDDED.iter().map(|text| parse("an embedded preset", text)).collect()
}

/// Checks the fields of a preset: each check says whether a field is right, and what is wrong if it is not.
///
/// # Errors
/// What is wrong with the first field that is not right.
pub fn check_fields(checks: impl IntoIterator<Item = (bool, String)>) -> Result<()> {
    match checks.into_iter().find(|(right, _)| !right) {
        Some((_, problem)) => Err(Error::Argument(problem)),
        None => Ok(()),
    }
}

/// Returns the preset called `name` or, if `name` ends in `.json`, the one in that file, which may be the
/// `config.json` of a run. If there is no preset of this name, it is the one of the run in the folder `name`.
///
/// # Errors
/// When there is no such preset or file, or it is invalid.
pub fn find_preset<P: Preset>(name: &str) -> Result<P> {
    if Path::new(name).extension().is_some_and(|extension| extension == "json") {
        let text = read_text(name)?;
        // Text that is not JSON is reported by `parse`, which knows what is expected.
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return parse(name, &text) };
        // Only the preset is checked: other numbers in the configuration, such as the seed, are not sizes.
        let of_run = value.pointer("/options/preset").filter(|_| value["program"] == PROGRAM);
        return match large_size("", of_run.unwrap_or(&value)) {
            Some(problem) => Err(bad::<P>(name, problem)),
            None => parse(name, &of_run.map_or(text, Value::to_string)).map_err(|error| {
                match (error, of_run.and(value["method"].as_str())) {
                    // The run may be of another method.
                    (Error::BadPreset { source_name, method, reason }, Some(of)) => {
                        let reason = format!("it is of a run of {of}: {reason}");
                        Error::BadPreset { source_name, method, reason }
                    }
                    (error, _) => error,
                }
            }),
        };
    }
    let mut all = all_presets::<P>()?;
    match all.iter().position(|preset| preset.heading().names().any(|known| known == name)) {
        Some(at) => Ok(all.swap_remove(at)),
        None if !name.is_empty() && Path::new(name).join(CONFIG).is_file() => {
            find_preset(&Path::new(name).join(CONFIG).to_string_lossy())
        }
        None if Path::new(name).is_dir() => Err(Error::Argument(format!(
            "the folder {name} has no {CONFIG}, and so no preset: give the folder of a run, or a name from --list"
        ))),
        None => {
            let known: Vec<_> = all.iter().flat_map(|preset| preset.heading().names()).collect();
            Err(Error::UnknownPreset { name: name.to_string(), known: nearest(name, &known) })
        }
    }
}

/// The largest whole number in a preset: candle's indices have 32 bits, so no size can be larger. Sums and
/// products of a few such numbers fit the types that they are computed in.
const LARGEST: u64 = i32::MAX as u64;

/// Describes the first number below the place `at` of a preset that is larger than any size can be.
fn large_size(at: &str, value: &Value) -> Option<String> {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > LARGEST) => {
            Some(format!("{at} is {number}, expected at most {LARGEST}"))
        }
        Value::Array(values) => {
            let mut values = values.iter().enumerate();
            values.find_map(|(i, value)| large_size(&format!("{at}/{i}"), value))
        }
        Value::Object(values) => {
            values.iter().find_map(|(key, value)| large_size(&format!("{at}/{key}"), value))
        }
        _ => None,
    }
}

/// The length of the longest name of a preset.
const LONGEST_NAME: usize = 100;

fn parse<P: Preset>(source_name: &str, text: &str) -> Result<P> {
    let preset: P = serde_json::from_str(text).map_err(|error| bad::<P>(source_name, error))?;
    let name = preset.heading().name;
    if !is_name(name) {
        return Err(bad::<P>(
            source_name,
            format!(
                "its name is {name:?}, expected 1 to {LONGEST_NAME} letters, digits, '-', '_' and '.', \
                 and no '.' at the start: it becomes the name of a folder"
            ),
        ));
    }
    preset.validate().map_err(|error| bad::<P>(source_name, error))?;
    Ok(preset)
}

/// Whether a preset may have this name, which is also the name of its run's folder unless another is given.
fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn bad<P: Preset>(source_name: &str, reason: impl ToString) -> Error {
    let (source_name, reason) = (source_name.to_string(), reason.to_string());
    Error::BadPreset { source_name, method: P::METHOD, reason }
}
