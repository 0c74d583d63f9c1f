//! Studies: several networks (arms), each trained with several seeds, with a table and a picture in one folder.

mod arm;
mod experiments;
mod folder;
mod options;
mod trained;

pub use arm::Arm;
pub use folder::StudyFolder;
pub use options::StudyOptions;
pub use trained::{ArmRun, Figure, Trained};

use self::arm::check_folders;
use self::folder::{
    EXPERIMENT, MADE_BY, Place, REPORT, RESULTS, check_other, made_by, read_report, same,
};
use crate::engine::{Method, RunOptions, Start, check, measured_on, train};
use crate::{
    Error, History, MadeBy, OwnFolder, Progress, Result, Results, peak_memory_bytes, save_json,
    save_text,
};
use candle::Device;
use candle_hebbian::Rng;
use candle_hebbian::device::for_this_thread;
use hebbian_data::Dataset;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most seeds of a study: more runs would take years, and could not even be counted.
const MOST_SEEDS: usize = 100_000;

/// A study under way.
#[derive(Debug)]
pub struct Study<'a> {
    /// The options of the study.
    pub options: &'a StudyOptions,
    /// The device of the tensors.
    pub device: &'a Device,
    /// The folder of the study.
    pub out: &'a Path,
    /// Its experiment, while that is drawn.
    place: Mutex<Option<Place>>,
}

impl<'a> Study<'a> {
    /// Makes a study on `device`, with the folder `out`.
    pub fn new(options: &'a StudyOptions, device: &'a Device, out: &'a Path) -> Self {
        Self { options, device, out, place: Mutex::new(None) }
    }

    /// Makes the figure of the experiment `name` by calling `draw`, and writes `table.csv`, `figure.png`, `report.txt`
    /// and `results.json` to the study's folder, beside what `draw` leaves there. Returns a report for the terminal. If
    /// a complete experiment is resumed, its report is read instead; the results of one that was interrupted and is
    /// resumed do not say how many `seconds` it took. `more` lists, by name, whatever else than the options and `data`
    /// determines the numbers. An experiment that was in the folder is replaced when this one [begins](Self::begin).
    ///
    /// # Errors
    /// If there are 0 seeds or more than 100,000, or 0 epochs, the folder is used by another experiment, holds files of
    /// another program or a complete experiment that may not be [replaced](StudyOptions::replace), the experiment to
    /// resume is a different one, or `draw` fails.
    pub fn run(
        &self,
        name: &str,
        data: Option<&Dataset>,
        more: &[(&str, Value)],
        draw: impl FnOnce() -> Result<Figure>,
    ) -> Result<String> {
        let (options, out) = (self.options, self.out);
        let refuse = |what| Err(Error::Argument(format!("{name}: 0 {what}, expected 1 or more")));
        match (options.seeds, options.epochs) {
            (0, _) => return refuse("seeds"),
            (_, Some(0)) => return refuse("epochs"),
            (seeds, _) if seeds > MOST_SEEDS => {
                return Err(Error::Argument(format!(
                    "{name}: {seeds} seeds, expected {MOST_SEEDS} or fewer"
                )));
            }
            _ => {}
        }
        let started = Instant::now();
        let mut about = Map::new();
        for (key, value) in [
            ("experiment", json!(name)),
            ("dataset", json!(data.map(|data| data.name.as_str()))),
            ("train_images", json!(data.map(|data| data.train.len()))),
            ("test_images", json!(data.map(|data| data.test.len()))),
            ("fingerprint", json!(data.map(Dataset::fingerprint).transpose()?)),
            ("epochs", json!(options.epochs)),
            ("seeds", json!(options.seeds)),
            ("first_seed", json!(options.seed)),
            ("validation", json!(options.validation)),
            ("labelled", json!(options.labelled)),
            ("images", options.images.clone()),
        ] {
            about.insert(key.to_string(), value);
        }
        let here = MadeBy::here(&options.version, &options.device);
        about.insert(MADE_BY.to_string(), json!(here));
        about.extend(more.iter().map(|(key, value)| (key.to_string(), value.clone())));
        let earlier = match options.resume {
            true => {
                OwnFolder::recover(out, &EXPERIMENT)?;
                OwnFolder::about(out, &EXPERIMENT)?
            }
            false => None,
        };
        if options.resume && earlier.is_none() {
            return Err(Error::NoMark { path: out.join(EXPERIMENT.mark) });
        }
        let place = match earlier {
            Some(found) => {
                same(&found, &about, out)?;
                if out.join(RESULTS).exists() {
                    return read_report(out);
                }
                if let (Some(found), false) = (made_by(&found), options.quiet) {
                    here.tell_of_others(name, &found);
                }
                Place::Begun(OwnFolder::open(out, &EXPERIMENT)?)
            }
            None => {
                // From here on, no other experiment can use the folder, also before this one begins.
                let prepared = OwnFolder::prepare(out, &EXPERIMENT)?;
                if !options.replace {
                    check_other(out, &about)?;
                }
                Place::Ahead(prepared, about.clone())
            }
        };
        *self.place() = Some(place);
        let figure = draw();
        // If drawing fails, the folder is released too.
        let (place, figure) = (self.place().take(), figure?);
        let Some(place) = place else {
            return Err(Error::NoMark { path: out.join(EXPERIMENT.mark) });
        };
        let mut folder = place.begun()?;
        let mut files = vec!["table.csv"];
        figure.table.save_csv(folder.claim("table.csv")?)?;
        for (name, table) in &figure.more_tables {
            table.save_csv(folder.claim(name)?)?;
            files.push(name);
        }
        figure.picture.save_png(folder.claim("figure.png")?)?;
        files.extend([RESULTS, "figure.png", REPORT]);
        let seconds = started.elapsed().as_secs_f64();
        let mut text = measured_on(options.validation, options.labelled) + &figure.text;
        let since = if options.resume { " since it was resumed" } else { "" };
        let (place, files) = (out.display(), files.join(", "));
        let _ = write!(text, "\n{seconds:.0} s{since}; wrote {place}: {files}\n");
        save_text(folder.claim(REPORT)?, &text)?;
        // What an interrupted experiment took before it was resumed is not known.
        about.insert("seconds".to_string(), json!((!options.resume).then_some(seconds)));
        about.insert("peak_memory_bytes".to_string(), json!(peak_memory_bytes()));
        if let Value::Object(numbers) = figure.numbers {
            about.extend(numbers);
        }
        save_json(folder.claim(RESULTS)?, &about)?;
        Ok(text)
    }

    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the experiment that is being [drawn](Self::run): only now are the files and the runs of the one that it
    /// replaces removed. [`train`](Self::train) and [`train_by`](Self::train_by) begin it when they have checked the
    /// arms. An experiment that keeps no runs begins at its end, or earlier if it says so here. Does nothing if it has
    /// begun already, or if none is being drawn.
    ///
    /// # Errors
    /// If the folder cannot be written, or a run in it is still being used.
    pub fn begin(&self) -> Result<()> {
        let mut place = self.place();
        if let Some(now) = place.take() {
            *place = Some(Place::Begun(now.begun()?));
        }
        Ok(())
    }

    /// Checks the options of an experiment `name` that keeps no runs and computes its networks one after the other. If
    /// it is resumed, tells the user that it starts again from the beginning.
    ///
    /// # Errors
    /// If [several networks](StudyOptions::parallel) are to learn at the same time.
    pub fn without_runs(&self, name: &str) -> Result<()> {
        if self.options.parallel > 1 {
            return Err(Error::Argument(format!(
                "{name}: its networks learn one after the other: leave out --parallel {}",
                self.options.parallel
            )));
        }
        if self.options.resume && !self.options.quiet {
            let _ = writeln!(
                std::io::stderr(),
                "{name} keeps no weights: it starts again from the beginning"
            );
        }
        Ok(())
    }

    /// The run folder of an arm with one of the seeds.
    pub fn folder<O>(&self, arm: &Arm<O>, seed: u64) -> PathBuf {
        self.out.join(arm.folder()).join(format!("seed-{seed}"))
    }

    /// The options of a run in `folder`, whose progress is headed by `label`.
    pub(crate) fn run_options(&self, folder: &Path, seed: u64, label: String) -> RunOptions {
        RunOptions {
            seed,
            device: self.options.device.clone(),
            version: self.options.version.clone(),
            resume: self.options.resume && folder.join("config.json").exists(),
            // Several runs at the same time share one progress display.
            quiet: self.options.quiet || self.options.parallel > 1,
            label: Some(label),
            validation: self.options.validation,
            labelled: self.options.labelled,
            images: self.options.images.clone(),
            stop: self.options.stop.clone(),
            ..RunOptions::default()
        }
    }

    /// Calls `work` for each number below `count`, for `parallel` numbers at the same time, among which the threads are
    /// divided. The second argument is the study's device, on which each of the threads that call has a stream of its
    /// own. Returns the results in order. After an error no more calls begin, and the first error is returned.
    ///
    /// # Errors
    /// Those of `work`, or one if the threads cannot be started or a GPU does not open again.
    pub(crate) fn each<T: Send>(
        &self,
        count: usize,
        work: impl Fn(usize, &Device) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let workers = self.options.parallel.min(count);
        if workers < 2 {
            return (0..count).map(|at| work(at, self.device)).collect();
        }
        let progress = Progress::of(count as u64, "networks", "study", self.options.quiet);
        let progress = Mutex::new(progress);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let worker = || {
            let mut done = Vec::new();
            let device = for_this_thread(self.device)?;
            while !failed.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    break;
                }
                let made = work(at, &device);
                match made {
                    Ok(_) => progress.lock().unwrap_or_else(PoisonError::into_inner).advance(1),
                    Err(_) => failed.store(true, Ordering::Relaxed),
                }
                done.push((at, made));
            }
            Ok(done)
        };
        // Each worker has a thread pool of its own: a thread outside any pool, or in a pool that all share, would wait
        // for the others at every small operation.
        let threads = (rayon::current_num_threads() / workers).max(1);
        let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pools = (0..workers).map(pool).collect::<std::result::Result<Vec<_>, _>>();
        let pools = pools.map_err(|error| {
            Error::Argument(format!("{workers} networks at the same time: {error}; choose fewer"))
        })?;
        let all = std::thread::scope(|scope| {
            let spawned: Vec<_> =
                pools.iter().map(|pool| scope.spawn(move || pool.install(worker))).collect();
            let joined = spawned.into_iter().map(|one| one.join());
            let joined = joined.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic)));
            joined.collect::<Result<Vec<_>>>()
        })?;
        let mut all: Vec<_> = all.into_iter().flatten().collect();
        progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, made)| made).collect()
    }

    /// Refuses, before a network is trained, the first of the arms that `check` refuses; the error names it. What is
    /// resumed was checked when it began.
    pub(crate) fn check<O>(
        &self,
        arms: &[Arm<O>],
        check: impl Fn(&O, &Start) -> Result<()>,
    ) -> Result<()> {
        if self.options.resume {
            return Ok(());
        }
        let (rng, device) = (Rng::new(self.options.seed), self.device.clone());
        let start = Start { rng, device, quiet: true };
        arms.iter().try_for_each(|arm| {
            check(&arm.options, &start).map_err(|error| {
                Error::Argument(format!("the network '{}' cannot be trained: {error}", arm.name()))
            })
        })
    }

    /// Trains the arms on a data set with every seed, [`parallel`](StudyOptions::parallel) runs at the same time. The
    /// experiment [begins](Self::begin) after all arms have been checked.
    ///
    /// # Errors
    /// Two arms whose names give the same [folder](Self::folder), and those of [`train`] and [`begin`](Self::begin).
    pub fn train<M: Method>(
        &self,
        arms: Vec<Arm<M::Options>>,
        data: &Dataset,
    ) -> Result<Vec<Trained<M::Options>>> {
        let check = |options: &M::Options, start: &Start| check_arm::<M>(options, data, start);
        self.train_by(arms, check, |arm, device, how, folder| {
            let run = train::<M>(&arm.options, data, device, how, folder)?;
            Ok((run.results, run.history))
        })
    }

    /// Like [`train`](Self::train), but `run` trains an arm with a seed on a device, and `check` refuses the options
    /// that `run` would refuse without training.
    ///
    /// # Errors
    /// Two arms whose names give the same [folder](Self::folder), and those of `check`, `run` and
    /// [`begin`](Self::begin).
    pub fn train_by<O: Sync>(
        &self,
        arms: Vec<Arm<O>>,
        check: impl Fn(&O, &Start) -> Result<()>,
        run: impl Fn(&Arm<O>, &Device, &RunOptions, &Path) -> Result<(Results, History)> + Sync,
    ) -> Result<Vec<Trained<O>>> {
        check_folders(&arms)?;
        self.check(&arms, check)?;
        self.begin()?;
        let seeds: Vec<u64> = self.options.seeds().collect();
        let all = arms.len() * seeds.len();
        let runs = self.each(all, |at, device| {
            let (arm, seed) = (&arms[at / seeds.len()], seeds[at % seeds.len()]);
            let folder = self.folder(arm, seed);
            let label = format!("{}/{all} {} seed {seed}", at + 1, arm.name());
            let how = self.run_options(&folder, seed, label);
            let (results, history) = run(arm, device, &how, &folder)?;
            Ok(ArmRun { results, history })
        })?;
        let mut runs = runs.into_iter();
        let of_arm = |arm| Trained { arm, runs: runs.by_ref().take(seeds.len()).collect() };
        Ok(arms.into_iter().map(of_arm).collect())
    }
}

/// Refuses what [`train`] refuses of a network without training it; the error names its preset.
pub(crate) fn check_arm<M: Method>(
    options: &M::Options,
    data: &Dataset,
    start: &Start,
) -> Result<()> {
    let preset = crate::Preset::heading(M::preset(options)).name;
    check::<M>(options, &M::splits(options, data.clone()), start).map_err(|error| match error {
        // It names the preset itself.
        Error::Unfit { .. } => error,
        _ => Error::Argument(format!("preset '{preset}': {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::toy::{Preset, Toy, images};
    use crate::text::read_own_text;
    use crate::{Dimension, OfPreset, Picture, Plan, RunFolder, Table, search};
    use std::collections::BTreeMap;
    use std::sync::Condvar;
    use std::time::Duration;

    fn options(parallel: usize) -> StudyOptions {
        StudyOptions { replace: true, quiet: true, parallel, ..StudyOptions::default() }
    }

    /// A figure that shows nothing.
    fn figure() -> Figure {
        let picture = Picture::new(1, 1, [0; 3]);
        let (table, text) = (Table::new(["network"]), String::new());
        Figure { table, more_tables: Vec::new(), picture, text, numbers: Value::Null }
    }

    /// Runs an experiment in `out` with an arm of this label and this augmentation for each pair.
    fn compared(out: &Path, arms: &[(&str, &str)]) -> Result<String> {
        let (options, data) = (options(1), images());
        let study = Study::new(&options, &Device::Cpu, out);
        study.run("compare", Some(&data), &[], || {
            let arms = arms.iter().map(|&(label, augmentation)| {
                let mut preset = Preset::of_epochs(1);
                preset.input.augmentation = augmentation.parse()?;
                let options = OfPreset { preset };
                Ok(Arm { group: String::new(), label: label.to_string(), options })
            });
            study.train::<Toy>(arms.collect::<Result<_>>()?, &data)?;
            Ok(figure())
        })
    }

    /// The names and the contents of all files below a folder.
    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let of = |path: PathBuf| match path.is_dir() {
            true => contents(&path),
            false => [(path.clone(), std::fs::read(&path).unwrap())].into(),
        };
        paths.flat_map(of).collect()
    }

    /// The first arm could learn, but the second one does not fit the images, which are of 8×8 pixels, or has the
    /// folder of the first. A search is refused for a preset that does not fit, too, even if it fits the 10 images of
    /// the first rung: with 2⁴⁸/15 epochs, only the 20 images of the last one are more than the 2⁴⁸ that are counted.
    /// The error says which network it is.
    #[test]
    fn an_experiment_that_is_refused_leaves_the_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("study");
        let too_large = [("one", "none"), ("three", "random-crop=100")];
        let same_folder = [("one", "none"), ("One", "none")];
        let error = compared(&out, &too_large).unwrap_err().to_string();
        let named = "the network 'three' cannot be trained: preset 'toy': ";
        assert!(error.starts_with(named) && error.contains("random-crop"), "{error}");
        // Nothing is made where nothing was, but for the lock's file where folders cannot be opened.
        assert_eq!(out.exists(), cfg!(not(unix)));

        compared(&out, &[("one", "none"), ("two", "none")]).unwrap();
        let before = contents(&out);
        for run in ["one/seed-0", "two/seed-0", ""] {
            assert!(before.contains_key(&out.join(run).join("results.json")), "{run}");
        }
        for (arms, problem) in [(too_large, "random-crop"), (same_folder, "the folder 'one'")] {
            let error = compared(&out, &arms).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
            assert!(contents(&out) == before, "{problem}");
        }
        let data = images();
        let options = StudyOptions { validation: Some(0.5), ..options(1) };
        let too_large = r#"input={"augmentation":[{"kind":"random_crop","size":100}]}"#;
        let epochs = (1_usize << 48) / 15;
        let too_many = format!("epochs={epochs},{}", epochs - 1);
        for (space, trials, halving, [refused, problem]) in [
            (too_large, 1, None, ["rung 1 trial 1", "random-crop"]),
            (too_many.as_str(), 2, Some(2), ["rung 2 trial 1", "too many to count"]),
        ] {
            let study = Study::new(&options, &Device::Cpu, &out);
            let searched = study.run("search", Some(&data), &[], || {
                // Whoever begins diverges in the first epoch.
                let preset = Preset { weight_fails_in: 1, ..Preset::of_epochs(1) };
                let (base, plan) = (OfPreset { preset }, Plan { trials, halving });
                let space: Dimension = space.parse()?;
                search::<Toy>(&study, &base, &[space], plan, &data, "train")
            });
            let error = searched.unwrap_err().to_string();
            let named = format!("the network '{refused}' cannot be trained: preset 'toy': ");
            assert!(error.starts_with(&named) && error.contains(problem), "{error}");
            assert!(contents(&out) == before, "{problem}");
        }

        compared(&out, &[("one", "none"), ("three", "none")]).unwrap();
        assert!(!out.join("two").exists() && out.join("three/seed-0/results.json").exists());
    }

    /// The time and the memory that an experiment took are in its results, for the record. Linux reports memory. The
    /// time after an interruption is not that of the experiment.
    #[test]
    fn results_have_the_price_of_an_experiment() {
        let folder = tempfile::tempdir().unwrap();
        let experiment = |resume: bool, draw: &dyn Fn() -> Result<Figure>| {
            let options = StudyOptions { resume, ..options(1) };
            let study = Study::new(&options, &Device::Cpu, folder.path());
            study.run("compare", None, &[], || {
                study.begin()?;
                draw()
            })
        };
        let results = || -> Value {
            serde_json::from_str(&read_own_text(&folder.path().join(RESULTS)).unwrap()).unwrap()
        };
        let stopped = || -> Result<Figure> { Err(Error::Argument("stopped".to_string())) };
        assert!(experiment(false, &stopped).is_err());
        let said = experiment(true, &|| Ok(figure())).unwrap();
        assert!(said.contains(" s since it was resumed; wrote "), "{said}");
        assert!(results()["seconds"].is_null());
        let said = experiment(false, &|| Ok(figure())).unwrap();
        assert!(said.contains(" s; wrote "), "{said}");
        let results = results();
        assert!(results["seconds"].as_f64().unwrap() >= 0.0);
        let bytes = results["peak_memory_bytes"].as_u64();
        assert_eq!(bytes.is_some_and(|bytes| bytes > 1 << 20), cfg!(target_os = "linux"));
    }

    /// The folder is locked, and files of others are refused, before anything is computed.
    #[test]
    fn a_folder_is_taken_before_the_experiment_begins() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(1);
        let study = || Study::new(&options, &Device::Cpu, folder.path());
        let mut second = None;
        let first = study().run("first", None, &[], || {
            second = Some(study().run("second", None, &[], || Ok(figure())));
            Ok(figure())
        });
        assert!(first.is_ok() && matches!(second, Some(Err(Error::InUse { .. }))), "{second:?}");
        // It is free again.
        study().run("second", None, &[], || Ok(figure())).unwrap();

        let others = tempfile::tempdir().unwrap();
        std::fs::write(others.path().join("table.csv"), "not ours").unwrap();
        let mut is_drawn = false;
        let study = Study::new(&options, &Device::Cpu, others.path());
        let refused = study.run("third", None, &[], || {
            is_drawn = true;
            Ok(figure())
        });
        assert!(refused.unwrap_err().to_string().contains("table.csv") && !is_drawn);
    }

    /// An experiment that replaces another one finds none of its runs, also after an interruption; files of others
    /// stay.
    #[test]
    fn no_run_of_a_replaced_experiment_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let runs = ["one/seed-0", "one/seed-1", "two/seed-0"].map(|run| out.join(run));
        let there = || runs.each_ref().map(|run| run.exists());
        let experiment = |resume: bool, draw: &dyn Fn() -> Result<()>| {
            let options = StudyOptions { resume, ..options(1) };
            let study = Study::new(&options, &Device::Cpu, out);
            study.run("compare", None, &[], || {
                study.begin()?;
                draw()?;
                Ok(figure())
            })
        };
        let make = |run: &PathBuf| RunFolder::create(run)?.write_config(&json!({ "epochs": 6 }));
        experiment(false, &|| runs.iter().try_for_each(make)).unwrap();
        assert_eq!(there(), [true; 3]);
        std::fs::write(out.join("one/notes.txt"), "mine").unwrap();
        std::fs::write(runs[1].join("notes.txt"), "mine").unwrap();

        let stopped = || {
            assert_eq!(there(), [false, true, false]);
            make(&runs[2])?;
            Err(Error::Argument("stopped".to_string()))
        };
        assert!(experiment(false, &stopped).unwrap_err().to_string().contains("stopped"));
        let resumed = || {
            assert_eq!(there(), [false, true, true]);
            Ok(())
        };
        experiment(true, &resumed).unwrap();
        assert!(RunFolder::config(&runs[1]).unwrap().is_none());
        for notes in ["one/notes.txt", "one/seed-1/notes.txt"] {
            assert_eq!(std::fs::read_to_string(out.join(notes)).unwrap(), "mine");
        }
        // A resumed experiment that is complete is read back.
        experiment(true, &|| panic!("drawn again")).unwrap();
    }

    /// Signs and letters other than a to z are not part of a folder's name.
    #[test]
    fn two_networks_in_one_folder_are_refused() {
        let options = options(1);
        let study = Study::new(&options, &Device::Cpu, Path::new(""));
        let trained = |names: [(&str, &str); 2]| {
            let arm = |(group, label): (&str, &str)| Arm {
                group: group.to_string(),
                label: label.to_string(),
                options: (),
            };
            let begun = AtomicUsize::new(0);
            let checked = |&(): &(), _: &Start| Ok(());
            let trained = study.train_by(names.map(arm).to_vec(), checked, |_, _, _, _| {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok((Results::default(), History::default()))
            });
            (trained.map(drop).map_err(|error| error.to_string()), begun.into_inner())
        };
        for (one, other) in [
            (("", "rate 1"), ("", "rate -1")),
            (("", "α = 1"), ("", "β = 1")),
            (("deep", "net"), ("", "deep net")),
        ] {
            let (trained, begun) = trained([one, other]);
            let (error, [one, other]) = (trained.unwrap_err(), [one, other].map(|name| name.1));
            assert!(error.contains(one) && error.contains(&format!("{other}'")), "{error}");
            assert_eq!(begun, 0);
        }
        assert_eq!(trained([("", "p = 0.5"), ("", "p = 0.55")]), (Ok(()), 2));
    }

    /// Each arm has the runs of its own seeds, in their order, though two runs are computed at the same time.
    #[test]
    fn every_arm_has_its_runs() {
        let options = StudyOptions { seeds: 3, seed: 5, ..options(2) };
        let out = Path::new("out");
        let study = Study::new(&options, &Device::Cpu, out);
        let arm =
            |label: &str| Arm { group: "Net A".to_string(), label: label.to_string(), options: () };
        let (arms, checked) = (["one", "two"].map(arm).to_vec(), |&(): &(), _: &Start| Ok(()));
        let trained = study.train_by(arms, checked, |arm, _, how, folder| {
            let results = Results {
                preset: arm.label.clone(),
                seed: how.seed,
                dataset: folder.display().to_string(),
                ..Results::default()
            };
            Ok((results, History::default()))
        });
        let trained = trained.unwrap();
        for (one, label) in trained.iter().zip(["one", "two"]) {
            assert_eq!(one.arm.label, label);
            let found = one.runs.iter().map(|run| (run.results.preset.as_str(), run.results.seed));
            let want = [5u64, 6, 7].map(|seed| (label, seed));
            assert_eq!(found.collect::<Vec<(&str, u64)>>(), want);
        }
        assert_eq!(trained.len(), 2);
        let last = out.join("net-a-two").join("seed-7").display().to_string();
        assert_eq!(trained[1].runs[2].results.dataset, last);
    }

    /// As many jobs run at the same time as may, and the results are in order whichever thread computes them; after an
    /// error no more calls begin.
    #[test]
    fn jobs_side_by_side_are_in_order() {
        for parallel in [1, 3, 100] {
            let options = options(parallel);
            let study = Study::new(&options, &Device::Cpu, Path::new(""));
            // The first jobs wait for each other.
            let (begun, another) = (Mutex::new(0), Condvar::new());
            let made = study.each(20, |at, _| {
                let mut count = begun.lock().unwrap();
                *count += 1;
                another.notify_all();
                let most = parallel.min(20);
                let alone = |count: &mut usize| *count < most;
                let waited = another.wait_timeout_while(count, Duration::from_secs(20), alone);
                match waited.unwrap().1.timed_out() {
                    true => Err(Error::Argument(format!("fewer than {most} at the same time"))),
                    false => Ok(at * at),
                }
            });
            assert_eq!(made.unwrap(), (0..20).map(|at| at * at).collect::<Vec<_>>());
            // The others go on once the first fails, with time for it to be seen.
            let (begun, failing) = (AtomicUsize::new(0), AtomicBool::new(false));
            let failed = study.each(1000, |at, _| {
                begun.fetch_add(1, Ordering::Relaxed);
                if at == 0 {
                    failing.store(true, Ordering::Relaxed);
                    return Err(Error::Argument("the first".to_string()));
                }
                while !failing.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(20));
                Ok(())
            });
            assert!(failed.unwrap_err().to_string().contains("the first"));
            let begun = begun.into_inner();
            assert!(if parallel > 1 { begun < 1000 } else { begun == 1 }, "{begun}, {parallel}");
        }
    }
}
