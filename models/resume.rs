//! Going on with an interrupted run.

use hebbian_train::{Checkpoint, RunFolder};
use hebbian_train::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The number called `name` in a checkpoint's metadata, of epochs or samples after which it was saved;
/// none where they say nothing.
pub(crate) fn count_in(checkpoint: &Checkpoint, name: &str, path: &Path) -> Result<Option<usize>> {
    let Some(found) = checkpoint.metadata.get(name) else { return Ok(None) };
    match found.parse() {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(wrong_count(path, name, found, "")),
    }
}

/// The same of a run to go on with, which has `total` of them in all.
pub(crate) fn done_in(
    checkpoint: &Checkpoint,
    name: &str,
    total: usize,
    path: &Path,
) -> Result<usize> {
    let found = checkpoint.metadata.get(name).map_or("missing", String::as_str);
    match found.parse() {
        Ok(count) if count <= total => Ok(count),
        _ => {
            let most = format!(", {total} at most; start anew without --resume");
            Err(wrong_count(path, name, found, &most))
        }
    }
}

fn wrong_count(path: &Path, name: &str, found: &str, most: &str) -> Error {
    let (path, found) = (path.display(), found.escape_debug());
    Error::Argument(format!("{path}: the metadata's {name} is {found}, expected a number{most}"))
}

/// Refuses to start a run anew that has no checkpoint yet and began with other weights than fresh ones.
pub(crate) fn began_fresh(out: &Path) -> Result<()> {
    let config = RunFolder::config(out)?.unwrap_or_default();
    match config.pointer("/options/load").and_then(Value::as_str) {
        Some(load) => Err(Error::Argument(format!(
            "{} has nothing to resume from: start anew without --resume, with --load {load}",
            out.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses to resume what is not the run of `config`: another network, recipe, seed or data. First, a
/// run that a killed program was about to replace is put back.
pub(crate) fn same_run(config: &Value, out: &Path) -> Result<()> {
    RunFolder::recover(out)?;
    let Some(found) = RunFolder::config(out)? else {
        return Err(Error::Argument(format!(
            "there is no run to resume in {}: it has no config.json; start one without --resume",
            out.display()
        )));
    };
    // Read back as the other was, for numbers that do not come through the same.
    let wanted: Value = serde_json::from_str(&config.to_string()).unwrap_or_default();
    let parts = ["method", "options/preset", "options/seed", "dataset", "train_images"];
    let parts = parts.into_iter().chain(["validation_images", "test_images"]);
    for at in parts {
        let part = |config: &Value| config.pointer(&format!("/{at}")).cloned().unwrap_or_default();
        let (found, wanted) = (part(&found), part(&wanted));
        if let Some((at, found, wanted)) = difference(at.to_string(), &found, &wanted) {
            return Err(Error::Argument(format!(
                "{} is of another run: {at} is {found} there, {wanted} here; resume with the flags \
                 it was started with, or start anew without --resume",
                out.join("config.json").display()
            )));
        }
    }
    Ok(())
}

/// The first place at which two values differ, with what each has there.
pub(crate) fn difference<'a>(
    at: String,
    found: &'a Value,
    wanted: &'a Value,
) -> Option<(String, &'a Value, &'a Value)> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) if found.keys().eq(wanted.keys()) => found
            .iter()
            .zip(wanted.values())
            .find_map(|((key, found), wanted)| difference(format!("{at}/{key}"), found, wanted)),
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let pairs = found.iter().zip(wanted).enumerate();
            pairs.into_iter().find_map(|(i, (f, w))| difference(format!("{at}/{i}"), f, w))
        }
        _ => (found != wanted).then_some((at, found, wanted)),
    }
}
