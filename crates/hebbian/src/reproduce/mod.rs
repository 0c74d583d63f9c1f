//! `hebbian reproduce`: runs the commands of the record again, and checks its claims.

mod entry;
mod kept;
mod tables;

use crate::report::Folder;
use crate::{DeviceArgs, analyse, signals, stop, tell};
use anyhow::{Context, Result, bail};
use candle_hebbian::MatmulPrecision;
use entry::Entry;
use hebbian_train::{Cell, Error, Job, MadeBy, Ours, RunFolder, StudyFolder, Table, duration};
use kept::Kept;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Run the commands of the record again, and say which of its numbers hold
///
/// Every number in the model cards is a claim of the record (models/*/record/*.json): a command, its result, what was
/// published, and the interval that the mean of a new run has to lie in. Each run has a folder of its own below --out:
/// completed runs are reused, and interrupted runs continue. The exit status is 1 if a claim does not hold or a job
/// did not run.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct ReproduceArgs {
    /// List the jobs and their claims, and stop
    #[arg(long)]
    list: bool,
    /// Only the job of this name, METHOD/TABLE/JOB, or, if there is none, the jobs whose names have this in them
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// As many jobs as fit in this time by the minutes that the record says, those that the record calls most telling
    /// first
    #[arg(long, value_name = "MINUTES")]
    budget: Option<f64>,
    /// Where the runs are
    #[arg(long, value_name = "FOLDER", default_value = "runs/record")]
    out: PathBuf,
    /// Put the numbers and results of the jobs that were run, and whose claims hold, into the record of the project in
    /// this folder
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, default_missing_value = ".")]
    keep: Option<PathBuf>,
    /// Do not run seeds whose results the project of --keep has already: take those results as they are
    #[arg(long, requires = "keep")]
    missing: bool,
    /// Put the tables into the cards, the README and the guide of the project in this folder, and stop
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, default_missing_value = ".")]
    write_tables: Option<PathBuf>,
    /// Say whether those tables, and the results that are kept, are as the record says, and stop
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, default_missing_value = ".")]
    check_tables: Option<PathBuf>,
    /// Never use the network: only data sets that are cached
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// No progress, only the result
    #[arg(long)]
    quiet: bool,
}

/// A job to run.
struct Task<'a> {
    entry: &'a Entry,
    job: &'a Job,
}

impl ReproduceArgs {
    /// Runs the jobs, compares their results with the claims, and returns the report.
    ///
    /// # Errors
    /// Claims that do not hold; runs that fail.
    pub fn run(self) -> Result<String> {
        if let Some(root) = &self.write_tables {
            return tables::write(root);
        }
        if let Some(root) = &self.check_tables {
            return tables::check(root);
        }
        let entries = match &self.keep {
            Some(root) => Entry::of_project(root)?,
            None => Entry::embedded()?,
        };
        let device = self.device.choose()?.name;
        let tasks = self.chosen(&entries, device)?;
        if self.list {
            return list(&tasks, device);
        }
        let mut table = Table::new(["claim", "published", "record", "interval", "now", ""]);
        let (mut wrong, mut failed, mut updates) = (0, 0, Vec::new());
        let ended = tasks.iter().enumerate().try_for_each(|(at, task)| {
            let name = task.entry.name_of(task.job);
            self.tell(&format!("{}/{} {name}", at + 1, tasks.len()));
            let runs = match self.runs(task, device) {
                Ok(runs) => runs,
                Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    failed += 1;
                    tell(&format!("{name}: {error:#}"));
                    let row = [name.as_str(), "", "", "", "", "did not run"];
                    table.row(row.map(Cell::from))?;
                    return Ok(());
                }
            };
            let wrong_here = compare(&mut table, task, &name, &runs)?;
            wrong += wrong_here;
            if let (Some(root), 0) = (&self.keep, wrong_here) {
                kept::save(root, task.entry, task.job, &runs)?;
                updates.push((name, runs));
            }
            Ok(())
        });
        // Whatever ended it, the record says what the results say that were kept before. It is read again, because
        // another program or a person may have changed it meanwhile.
        if let Some(root) = &self.keep {
            keep(&mut Entry::of_project(root)?, root, &updates, device)?;
        }
        ended?;
        if wrong + failed > 0 {
            bail!("{table}\nclaims that do not hold: {wrong}; jobs that did not run: {failed}");
        }
        Ok(format!("{table}\nall of them hold\n"))
    }

    /// Returns the jobs that are asked for, most informative first, and only as many as fit into the budget.
    fn chosen<'a>(&self, entries: &'a [Entry], device: &str) -> Result<Vec<Task<'a>>> {
        let jobs = entries
            .iter()
            .flat_map(|entry| entry.record.jobs.iter().map(move |job| Task { entry, job }));
        let names: Vec<_> = jobs.clone().map(|task| task.entry.name_of(task.job)).collect();
        let is_wanted = |task: &Task<'_>| {
            let name = task.entry.name_of(task.job);
            let has = |part: &String| match names.contains(part) {
                true => name == *part,
                false => name.contains(part.as_str()),
            };
            self.only.is_empty() || self.only.iter().any(has)
        };
        let is_there = |part: &str| names.iter().any(|name| name.contains(part));
        if let Some(part) = self.only.iter().find(|part| !is_there(part)) {
            bail!("--only {part}: no job has that in its name, see --list");
        }
        let mut jobs: Vec<Task<'_>> = jobs.filter(is_wanted).collect();
        jobs.sort_by(|one, other| {
            let key = |task: &Task<'_>| (task.job.telling, minutes(task.job, device));
            let ((a, x), (b, y)) = (key(one), key(other));
            a.cmp(&b).then(x.unwrap_or(f64::MAX).total_cmp(&y.unwrap_or(f64::MAX)))
        });
        let Some(budget) = self.budget else { return Ok(jobs) };
        if budget.is_nan() || budget <= 0.0 {
            bail!("--budget is {budget}, expected minutes above 0");
        }
        let unknown = jobs.iter().filter(|task| minutes(task.job, device).is_none()).count();
        if unknown > 0 {
            self.tell(&format!("left out {unknown} jobs whose time on {device} is not known"));
        }
        let mut left = budget;
        jobs.retain(|task| match minutes(task.job, device) {
            Some(minutes) if minutes <= left => {
                left -= minutes;
                true
            }
            _ => false,
        });
        if jobs.is_empty() {
            bail!("--budget {budget}: no job with a known time on {device} is as short");
        }
        Ok(jobs)
    }

    /// Returns every run of a job: complete runs are read, the others are run.
    fn runs(&self, Task { entry, job }: &Task<'_>, device: &str) -> Result<Vec<Kept>> {
        let mut runs = Vec::new();
        for seed in job.seeds.iter().take(job.runs()) {
            if let (Some(root), true) = (&self.keep, self.missing)
                && let Some(kept) = kept::read(root, entry, job, *seed)?
            {
                runs.push(kept);
                continue;
            }
            let folder = self.out.join(entry.name_of(job)).join(format!("seed-{seed}"));
            let mut command = this_program()?;
            command.args(job.arguments(entry.method)).arg("--out").arg(&folder);
            command.args(["--seed", &seed.to_string(), "--device", device]);
            if self.device.matmul_precision != MatmulPrecision::default() {
                command.args(self.device.exactness());
            }
            if job.experiment.is_some() {
                command.args(["--seeds", &job.seeds.len().to_string()]);
            }
            for (flag, given) in [("--offline", self.offline), ("--quiet", self.quiet)] {
                // An experiment that makes its own data needs no network.
                if given && (flag != "--offline" || job.dataset.is_some()) {
                    command.arg(flag);
                }
            }
            // A complete run is read back, if it is the one that is asked for and was computed in the same way.
            let (found, here) = (made_by(&folder)?, MadeBy::here(crate::VERSION, device));
            match found.iter().find(|found| **found != here) {
                Some(by) => {
                    self.tell(&format!("{} is by {by}: it is computed again", folder.display()));
                }
                None if found.is_empty() => {}
                None => {
                    command.arg("--resume");
                }
            }
            wait(command, &folder)?;
            let analysed = self.analyse(job, &folder, device)?;
            let mut results = document(&folder)?;
            if let Some(time) = analysed {
                results["analysis"]["seconds"] = json!(time.as_secs_f64());
            }
            runs.push(Kept::of(entry, job, &results));
        }
        Ok(runs)
    }

    /// Analyses a run if its job asks for that, and returns how long it took.
    fn analyse(&self, job: &Job, run: &Path, device: &str) -> Result<Option<Duration>> {
        if job.analysis.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut command = this_program()?;
        command.arg("analyse").arg(run).args(&job.analysis);
        command.args(["--device", device]).args(self.device.exactness());
        command.args(self.quiet.then_some("--quiet"));
        wait(command, run)?;
        Ok(Some(begun.elapsed()))
    }

    fn tell(&self, line: &str) {
        if !self.quiet {
            tell(line);
        }
    }
}

/// Returns the minutes that all runs of a job take together, if they are known.
fn minutes(job: &Job, device: &str) -> Option<f64> {
    Some(job.minutes.get(device)? * job.runs() as f64)
}

/// Returns what computed the experiment in a folder, and each run in it.
fn made_by(folder: &Path) -> Result<Vec<MadeBy>> {
    let mut found: Vec<_> = StudyFolder::made_by(folder)?.into_iter().collect();
    if !folder.exists() {
        return Ok(found);
    }
    for path in Folder::paths(folder)? {
        found.extend(RunFolder::config(&path)?.as_ref().map(MadeBy::of_config));
    }
    Ok(found)
}

/// Returns a command that runs this program.
fn this_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("this program's file")?))
}

/// Waits until a command has ended or, if this program is asked to stop, until the command has saved and ended.
fn wait(mut command: Command, folder: &Path) -> Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let _watch = stop().watch();
    let mut child = signals::start(command.stdout(Stdio::null())).context("cannot start a run")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop().asked().is_some() {
            // The run stops when its input is closed.
            child.stdin = None;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    if let Some(signal) = stop().asked() {
        let (at, path) = ("in the middle of the record".to_string(), folder.to_path_buf());
        let next = "to go on, give the same command again";
        return Err(Error::Stopped { at, path, next, signal }.into());
    }
    if !status.success() {
        bail!("its run in {} ended with {status}: its messages are above", folder.display());
    }
    Ok(())
}

/// Reads the results of a run: its `results.json`, with what it logged last and after each epoch, and what analyses
/// have found.
fn document(folder: &Path) -> Result<Value> {
    let path = folder.join("results.json");
    let text = hebbian_train::read_text(&path)?;
    let mut results: Value =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let Value::Object(all) = &mut results else { return Ok(results) };
    if folder.join("metrics.jsonl").exists() {
        let (mut last, mut epochs) = (Map::new(), Map::new());
        for (epoch, values) in RunFolder::history(folder)?.by_epoch() {
            let values: Map<String, Value> =
                values.into_iter().map(|(name, value)| (name, value.into())).collect();
            last.extend(values.clone());
            if epoch.fract() == 0.0 {
                epochs.insert(epoch.to_string(), Value::Object(values));
            }
        }
        all.insert("last".to_string(), Value::Object(last));
        all.insert("epoch".to_string(), Value::Object(epochs));
    }
    let analyses = analyse::found(folder)?;
    if !analyses.is_empty() {
        all.insert("analysis".to_string(), Value::Object(analyses));
    }
    Ok(results)
}

/// Adds a row to the table for each claim of a job; returns how many claims do not hold.
fn compare(table: &mut Table, task: &Task<'_>, name: &str, runs: &[Kept]) -> Result<usize> {
    let mut broken = 0;
    for claim in &task.job.claims {
        // Each run has to have the number: the mean of the others would be that of fewer seeds.
        let found = match runs.iter().all(|run| kept::has(claim, run)) {
            true => Ours::of(&kept::values(claim, runs)),
            false => None,
        };
        let shown = |ours: Ours| claim.shown(ours.mean, ours.sd) + claim.sign();
        let published = claim
            .published
            .as_ref()
            .and_then(|published| Some(claim.shown(published.mean?, published.sd) + claim.sign()));
        let interval = claim.interval.map(|[low, high]| {
            format!("{} to {}", claim.shown(low, None), claim.shown(high, None))
        });
        let verdict = match (found, claim.interval) {
            (None, _) => "not found",
            (Some(_), None) => "new",
            (Some(found), Some([low, high])) if (low..=high).contains(&found.mean) => "holds",
            (Some(_), Some(_)) => "does not hold",
        };
        broken += usize::from(!["new", "holds"].contains(&verdict));
        let text = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "–".to_string()));
        table.row([
            format!("{name}: {}", claim.label()).into(),
            text(published),
            text(claim.ours.map(shown)),
            text(interval),
            text(found.map(shown)),
            verdict.into(),
        ])?;
    }
    Ok(broken)
}

/// Puts the results into the record: numbers, the intervals that are still missing or were made for another number of
/// runs, the date, and minutes and memory if they are not known yet.
fn keep(
    entries: &mut [Entry],
    root: &Path,
    updates: &[(String, Vec<Kept>)],
    device: &str,
) -> Result<()> {
    let today = date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / (24 * 60 * 60));
    for entry in entries {
        let names: Vec<String> = entry.record.jobs.iter().map(|job| entry.name_of(job)).collect();
        let mut changed = false;
        for (job, name) in entry.record.jobs.iter_mut().zip(names) {
            let Some((_, runs)) = updates.iter().find(|(updated, _)| *updated == name) else {
                continue;
            };
            changed = true;
            for claim in &mut job.claims {
                let before = claim.ours.map(|ours| ours.count);
                claim.ours = Ours::of(&kept::values(claim, runs));
                // More or fewer runs have another spread.
                let same =
                    before.is_none_or(|count| claim.ours.is_some_and(|ours| ours.count == count));
                let interval = claim.interval.filter(|_| same);
                claim.interval = interval.or_else(|| Some(claim.interval_of(claim.ours.as_ref()?)));
            }
            job.date = Some(today.clone());
            let mean = |name: &str, alternative: &str| {
                let found = runs.iter().filter_map(|run| {
                    run.results.pointer(name).or_else(|| run.results.pointer(alternative))?.as_f64()
                });
                Ours::of(&found.collect::<Vec<_>>()).map(|of| of.mean)
            };
            let analysed = mean("/analysis/seconds", "").unwrap_or_default();
            if let (None, Some(seconds)) =
                (job.minutes.get(device), mean("/total_seconds", "/seconds"))
            {
                let seconds = seconds + analysed;
                job.minutes.insert(device.to_string(), (seconds / 0.6).round().max(1.0) / 100.0);
            }
            if let (None, Some(bytes)) = (job.memory.get(device), mean("/peak_memory_bytes", "")) {
                job.memory.insert(device.to_string(), (bytes / 1e7).round() / 100.0);
            }
        }
        if changed {
            entry.save(root)?;
        }
    }
    Ok(())
}

/// Returns the day that is `days` days after 1 January 1970, as YYYY-MM-DD (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Lists jobs with their claims, and their commands.
fn list(tasks: &[Task<'_>], device: &str) -> Result<String> {
    let mut table =
        Table::new(["job", "claim", "published", "record", "holds in", "time of all seeds"]);
    for Task { entry, job } in tasks {
        let time = minutes(job, device).map(duration);
        for claim in &job.claims {
            let published = claim.published.as_ref().map(|published| match published.mean {
                Some(mean) => claim.shown(mean, published.sd) + claim.sign(),
                None => "not seen".to_string(),
            });
            let ours = claim.ours.map(|ours| claim.shown(ours.mean, ours.sd) + claim.sign());
            let interval = claim.interval.map(|[low, high]| {
                format!("{} to {}", claim.shown(low, None), claim.shown(high, None))
            });
            table.row([
                entry.name_of(job).into(),
                claim.label().into(),
                published.unwrap_or_else(|| "–".to_string()).into(),
                ours.unwrap_or_else(|| "not run".to_string()).into(),
                interval.unwrap_or_else(|| "–".to_string()).into(),
                time.clone().unwrap_or_else(|| "not known".to_string()).into(),
            ])?;
        }
    }
    let commands = tasks.iter().map(|Task { entry, job }| {
        let (command, price) = (job.command(entry.method), tables::price(job));
        format!("{}\n  {command}\n  {price}; {}\n", entry.name_of(job), tables::kinds(job))
    });
    let commands: Vec<String> = commands.collect();
    Ok(format!("{table}\ncommands\n\n{}", commands.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn days_have_dates() {
        // By `date -d @SECONDS`.
        for (days, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_783, "2026-11-26"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    /// The mean of all runs is compared with the interval, to which both ends belong. A number that is not found is as
    /// wrong as one outside, also if a single run lacks it.
    #[test]
    fn means_are_compared_with_intervals() -> Result<()> {
        let mut entry = Entry::embedded()?.swap_remove(0);
        let claims = &mut entry.record.jobs[0].claims;
        claims.truncate(1);
        (claims[0].row, claims[0].column) = ("a".to_string(), String::new());
        let interval = Some([0.5, 0.6]);
        for (values, interval, verdict, broken) in [
            (vec![Some(0.5)], interval, "holds", 0),
            (vec![Some(0.6)], interval, "holds", 0),
            (vec![Some(0.4), Some(0.7)], interval, "holds", 0),
            (vec![Some(0.49)], interval, "does not hold", 1),
            (vec![Some(0.55), Some(0.67)], interval, "does not hold", 1),
            (vec![Some(0.7)], None, "new", 0),
            (vec![], interval, "not found", 1),
            (vec![], None, "not found", 1),
            (vec![Some(0.55), None], interval, "not found", 1),
            (vec![None, Some(0.55)], None, "not found", 1),
        ] {
            entry.record.jobs[0].claims[0].interval = interval;
            let kept = |&value: &Option<f64>| Kept {
                version: String::new(),
                command: String::new(),
                results: Value::Null,
                values: [("a".to_string(), Vec::from_iter(value))].into(),
            };
            let runs: Vec<Kept> = values.iter().map(kept).collect();
            let mut table = Table::new(["claim", "published", "record", "interval", "now", ""]);
            let task = Task { entry: &entry, job: &entry.record.jobs[0] };
            assert_eq!(compare(&mut table, &task, "job", &runs)?, broken, "{values:?}");
            let shown = table.to_string();
            assert!(shown.contains(verdict), "{values:?}: no '{verdict}' in {shown}");
        }
        Ok(())
    }

    /// Minutes and gigabytes are the means of the runs if they are not known yet: 90 s and 150 s, with 30 s of analysis
    /// each, are 2.5 minutes.
    #[test]
    fn the_price_of_a_job_is_that_of_its_runs() -> Result<()> {
        let root = tempfile::tempdir()?;
        let mut entries = vec![Entry::embedded()?.swap_remove(0)];
        let job = &mut entries[0].record.jobs[0];
        job.minutes = [("metal".to_string(), 9.0)].into();
        job.memory = [("cpu".to_string(), 7.0)].into();
        let name = entries[0].name_of(&entries[0].record.jobs[0]);
        std::fs::create_dir_all(entries[0].kept(root.path(), &entries[0].record.jobs[0]))?;
        let run = |seconds: f64, bytes: f64| Kept {
            version: String::new(),
            command: String::new(),
            results: json!({
                "total_seconds": seconds,
                "analysis": { "seconds": 30.0 },
                "peak_memory_bytes": bytes,
            }),
            values: Default::default(),
        };
        let updates = [(name, vec![run(90.0, 1.2e9), run(150.0, 1.3e9)])];
        let prices = [("cpu", 2.5, 7.0), ("cuda", 2.5, 1.25), ("metal", 9.0, 1.25)];
        for (device, minutes, memory) in prices {
            keep(&mut entries, root.path(), &updates, device)?;
            let job = &entries[0].record.jobs[0];
            assert_eq!((job.minutes[device], job.memory[device]), (minutes, memory), "{device}");
        }
        // A preset is trained once for each seed; an experiment runs all of them.
        let job = &mut entries[0].record.jobs[0];
        job.preset = Some("a".to_string());
        job.seeds = vec![0, 1, 2];
        assert_eq!((minutes(job, "cpu"), minutes(job, "tpu")), (Some(7.5), None));
        job.preset = None;
        assert_eq!(minutes(job, "cpu"), Some(2.5));
        Ok(())
    }

    /// The program accepts every command of the record, and no name occurs twice.
    #[test]
    fn commands_of_the_record_are_commands() -> Result<()> {
        let mut names = Vec::new();
        for entry in Entry::embedded()? {
            for job in &entry.record.jobs {
                let seeds = (0..job.seeds.len() as u64).map(|at| job.seeds[0] + at);
                assert!(job.preset.is_some() || seeds.eq(job.seeds.iter().copied()));
                for words in job.command(entry.method).split(" && ") {
                    let parsed = crate::Program::try_parse_from(words.split(' '));
                    assert!(parsed.is_ok(), "{words}: {parsed:?}");
                }
                let labels = job.claims.iter().map(hebbian_train::Claim::label);
                names.extend(labels.map(|label| format!("{} {label}", entry.name_of(job))));
            }
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        Ok(())
    }
}
