//! What is kept of a job's runs in the project: results, and the numbers that the record took from them.

use super::entry::Entry;
use anyhow::{Context, Result};
use hebbian_train::{Claim, Job, Ours, read_text, save_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is kept of one run of a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The [program's version](crate::VERSION), with its commit.
    pub(super) version: String,
    /// The command, without seed.
    pub(super) command: String,
    /// The contents of its `results.json`, without long lists.
    pub(super) results: Value,
    /// The values of each claim, by its row and column.
    pub(super) values: BTreeMap<String, Vec<f64>>,
}

/// Lists of more numbers than this are left out.
const LONGEST: usize = 20;
/// Other keys that are left out: data that is drawn rather than read.
const LEFT_OUT: [&str; 4] = ["curves", "confusion", "figure", "preset"];

impl Kept {
    /// Collects what is kept of a document of results.
    pub(super) fn of(entry: &Entry, job: &Job, results: &Value) -> Self {
        let values = job.claims.iter().map(|claim| (claim.label(), claim.values(results)));
        Self {
            version: crate::VERSION.to_string(),
            command: job.command(entry.method),
            values: values.collect(),
            results: shortened(results),
        }
    }
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::Object(all) => {
            let left = |(key, value): (&String, &Value)| {
                let is_kept = !LEFT_OUT.contains(&key.as_str()) && key != "epoch" && key != "last";
                let is_short = value
                    .as_array()
                    .is_none_or(|all| all.len() <= LONGEST || !all.iter().all(Value::is_number));
                (is_kept && is_short).then(|| (key.clone(), shortened(value)))
            };
            Value::Object(all.iter().filter_map(left).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(shortened).collect()),
        other => other.clone(),
    }
}

/// Whether a run has a value of a claim.
pub(super) fn has(claim: &Claim, run: &Kept) -> bool {
    run.values.get(&claim.label()).is_some_and(|values| !values.is_empty())
}

/// Returns the values of a claim in all runs of its job.
pub(super) fn values(claim: &Claim, runs: &[Kept]) -> Vec<f64> {
    let label = claim.label();
    runs.iter().filter_map(|run| run.values.get(&label)).flatten().copied().collect()
}

/// What is kept of the run with a seed.
fn file(folder: &Path, seed: u64) -> PathBuf {
    folder.join(format!("seed-{seed}.json"))
}

fn load(folder: &Path, seed: u64) -> Result<Kept> {
    let file = file(folder, seed);
    serde_json::from_str(&read_text(&file)?).with_context(|| file.display().to_string())
}

/// Reads what the project keeps of a job's run with a seed, or `None` if it keeps no run of this very command with all
/// claims.
pub(super) fn read(root: &Path, entry: &Entry, job: &Job, seed: u64) -> Result<Option<Kept>> {
    let folder = entry.kept(root, job);
    if !file(&folder, seed).exists() {
        return Ok(None);
    }
    let kept = load(&folder, seed)?;
    let has_all = job.claims.iter().all(|claim| has(claim, &kept));
    Ok((has_all && kept.command == job.command(entry.method)).then_some(kept))
}

/// Writes runs into the project, in place of those that were kept before.
pub(super) fn save(root: &Path, entry: &Entry, job: &Job, runs: &[Kept]) -> Result<()> {
    let folder = entry.kept(root, job);
    std::fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for (run, seed) in runs.iter().zip(&job.seeds) {
        let file = file(&folder, *seed);
        save_json(&file, run)?;
        files.push(file);
    }
    for earlier in std::fs::read_dir(&folder)? {
        let earlier = earlier?.path();
        if !files.contains(&earlier) {
            std::fs::remove_file(earlier)?;
        }
    }
    Ok(())
}

/// Returns what is wrong with the record of a job whose results are kept: numbers, or a command, that are not those
/// of the results.
pub(super) fn check(root: &Path, entry: &Entry, job: &Job) -> Result<Vec<String>> {
    let (folder, mut runs) = (entry.kept(root, job), Vec::new());
    if !folder.exists() {
        let typed = job.claims.iter().filter(|claim| claim.ours.is_some());
        let wrong = typed.map(|claim| {
            format!("{}, {}: a number without kept results", entry.name_of(job), claim.label())
        });
        return Ok(wrong.collect());
    }
    for seed in job.seeds.iter().take(job.runs()) {
        runs.push(load(&folder, *seed)?);
    }
    let (mut wrong, name) = (Vec::new(), entry.name_of(job));
    if let Some(other) = runs.iter().find(|run| run.command != job.command(entry.method)) {
        wrong.push(format!("{name}: its kept results are of {}", other.command));
    }
    for claim in &job.claims {
        let found = Ours::of(&values(claim, &runs));
        if found != claim.ours {
            let label = claim.label();
            wrong.push(format!("{name}, {label}: not what its kept results say, {found:?}"));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_lists_and_what_is_drawn_are_left_out() {
        let all = vec![0; LONGEST + 1];
        let value =
            json!({"a": 1, "curves": {"b": 2}, "long": all, "runs": [{"c": [1, 2], "last": 3}]});
        assert_eq!(shortened(&value), json!({"a": 1, "runs": [{"c": [1, 2]}]}));
    }

    /// A number is only what its kept results say: where there are none, it is wrong.
    #[test]
    fn numbers_without_results_are_wrong() {
        let nowhere = tempfile::tempdir().unwrap();
        for entry in Entry::embedded().unwrap() {
            for job in &entry.record.jobs {
                let wrong = check(nowhere.path(), &entry, job).unwrap();
                let typed = job.claims.iter().filter(|claim| claim.ours.is_some()).count();
                assert_eq!(wrong.len(), typed, "{}", entry.name_of(job));
            }
        }
    }
}
