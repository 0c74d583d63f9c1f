//! Running the programs, and checking what they leave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Child;
use std::process::{Command, Stdio};

use candle::{Device, Tensor};
use hebbian_train::Checkpoint;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

use super::binary::{Outcome, binary, outcome};

/// A program that trains, and what tests have to know about it.
pub struct Program {
    pub name: &'static str,
    /// The network that is trained on the digits.
    pub digits: &'static str,
    /// A flag in `tiny` whose value may be larger when a complete run is resumed.
    pub grows: &'static str,
    /// Epochs of the small preset that take a second or more.
    #[cfg(unix)] // as are the tests that interrupt
    pub long: &'static str,
    /// Flags that take a number which makes no sense below 0, with the message for it.
    pub negative: &'static [(&'static str, &'static str)],
    /// Flags of another run than that of the small preset, with the message if it is resumed with them.
    pub others: &'static [(&'static [&'static str], &'static str)],
    /// Some of its experiments.
    pub studies: &'static [&'static str],
    /// Flags of a run that is small enough for tests; `--preset` and `--out` are left to the test.
    pub tiny: &'static [&'static str],
    /// A small preset, `tiny`.
    pub preset: fn() -> Value,
}

impl Program {
    pub fn place(&'static self) -> Place {
        Place { program: self, folder: tempfile::tempdir().unwrap() }
    }
}

/// `args` with another value of one of its flags.
pub fn with<'a>(mut args: Vec<&'a str>, flag: &str, value: &'a str) -> Vec<&'a str> {
    let at = args.iter().position(|arg| *arg == flag).unwrap();
    args[at + 1] = value;
    args
}

/// An empty folder to run a program in.
pub struct Place {
    pub program: &'static Program,
    folder: TempDir,
}

impl Place {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Flags of a short run of the small preset.
    pub fn short(&self, more: &[&'static str]) -> Vec<&'static str> {
        [self.program.tiny, &["--preset", "preset.json"], more].concat()
    }

    /// Flags of a run of a second or more.
    #[cfg(unix)]
    pub fn long(&self, more: &[&'static str]) -> Vec<&'static str> {
        with(self.short(more), "--epochs", self.program.long)
    }

    /// The program on the CPU, to be run in this folder with empty caches.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.command_on_any_device(args);
        command.arg("--cpu");
        command
    }

    pub fn command_on_any_device(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary(self.program.name));
        for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "RUST_BACKTRACE"]
        {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path("hf")).env("HEBBIAN_CACHE", self.path("cache")).args(args);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        outcome(self.command(args))
    }

    /// [`run`](Self::run) on a few digits, into `out`. The first line names the device.
    pub fn tiny(&self, out: &str, args: &[&str]) -> Outcome {
        let run = self.run(&[self.program.tiny, &["--out", out], args].concat());
        if run.status == Some(0) && !args.contains(&"--quiet") {
            assert!(run.stderr.starts_with("device cpu\n"), "{}", run.stderr);
        }
        run
    }

    /// Runs what must be refused: exit status 1, an empty stdout, every part in the message, and no file that is new or
    /// changed.
    pub fn refused(&self, args: &[&str], parts: &[&str]) {
        let before = self.contents();
        let outcome = self.run(args);
        assert_eq!(outcome.status, Some(1), "{args:?}: {}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.stdout, "", "{args:?}");
        for part in parts {
            assert!(outcome.stderr.contains(part), "{args:?}: no '{part}' in: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("panicked"), "{args:?}: {}", outcome.stderr);
        let after = self.contents();
        assert!(before == after, "{args:?} left {:?}", after.keys());
    }

    /// Removes the results of the complete run in `out`, and checks that `resume` refuses it if its state does not say
    /// that `total` steps, or fewer, are done.
    #[cfg(unix)] // as are the tests that kill
    pub fn counts_out_of_range_are_refused(&self, resume: &[&str], total: usize) {
        use hebbian_train::save_checkpoint;
        let path = self.path("out/state.safetensors");
        let _ = std::fs::remove_file(self.path("out/results.json"));
        let (tensors, metadata) = self.checkpoint("out/state.safetensors");
        assert_eq!(metadata["steps"], total.to_string());
        let more = (total + 1).to_string();
        for found in [Some(more.as_str()), Some("-1"), Some("4x"), None] {
            let mut metadata = metadata.clone();
            metadata.remove("steps");
            metadata.extend(found.map(|found| ("steps".to_string(), found.to_string())));
            save_checkpoint(&path, &tensors, &metadata).unwrap();
            let problem = match found {
                Some(found) if found == more => {
                    format!("was saved at step {more}, but the run has only {total}")
                }
                found => format!("the metadata's steps is {}", found.unwrap_or("missing")),
            };
            self.refused(resume, &["out/state.safetensors", &problem, "without --resume"]);
        }
        save_checkpoint(&path, &tensors, &metadata).unwrap();
    }

    /// The tensors and the metadata of a checkpoint.
    pub fn checkpoint(&self, name: &str) -> (Vec<(String, Tensor)>, BTreeMap<String, String>) {
        let checkpoint = Checkpoint::load(self.path(name), &Device::Cpu).unwrap();
        let tensors =
            checkpoint.names().map(|name| (name.to_string(), checkpoint.tensor(name).unwrap()));
        (tensors.collect(), checkpoint.metadata.clone())
    }

    /// The whole lines in the log of a run folder, without the time.
    pub fn logged(&self, folder: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(self.path(&format!("{folder}/metrics.jsonl")));
        let log = log.unwrap_or_default();
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut lines: Vec<Value> = whole.map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("seconds").unwrap();
        }
        lines
    }

    /// The results of a run, without what depends on the machine.
    pub fn figures(&self, folder: &str) -> Value {
        fn strip(value: &mut Value) {
            match value {
                Value::Object(values) => {
                    values.retain(|name, _| !name.contains("second") && !name.contains("memory"));
                    values.values_mut().for_each(strip);
                }
                Value::Array(values) => values.iter_mut().for_each(strip),
                _ => {}
            }
        }
        let mut results = self.json(&format!("{folder}/results.json"));
        strip(&mut results);
        results
    }

    /// Checks that two run folders hold the same model, results, log and pictures, except for times.
    pub fn same_runs(&self, one: &str, other: &str) {
        let [left, right] = [one, other].map(|out| self.bytes(&format!("{out}/model.safetensors")));
        assert!(left == right, "the models of {one} and {other} differ");
        assert_eq!(self.figures(one), self.figures(other), "{one}, {other}");
        assert_eq!(self.logged(one), self.logged(other), "{one}, {other}");
        let [left, right] = [one, other].map(|out| self.pictures(out));
        assert!(left == right, "the pictures of {one} and {other} differ");
    }

    /// The pictures of a run folder, by their names.
    fn pictures(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".png"))
            .map(|name| (name.clone(), self.bytes(&format!("{folder}/{name}"))))
            .collect()
    }

    /// Starts the program quietly, because nothing reads its pipes.
    #[cfg(unix)]
    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(&[args, &["--quiet"]].concat()))
    }

    /// Starts the program and waits until `there`, which must be before it has ended.
    #[cfg(unix)]
    pub fn start_until(&self, args: &[&str], there: impl Fn() -> bool) -> Running {
        let mut running = self.start(args);
        until("the run is where it should be", || {
            assert!(!running.is_over(), "it was over already");
            there()
        });
        running
    }

    /// Checks that a folder of another program is not taken for that of a run because of the names of its files.
    pub fn folders_of_others_are_refused(&self) {
        for (file, text) in [
            ("model.safetensors", "downloaded"),
            ("config.json", "{\"model_type\": \"bert\"}"),
            ("results.json", "{\"accuracy\": 0.9}"),
            ("metrics.jsonl", "{\"step\": 1, \"loss\": 0.5}\n"),
            ("events.out.tfevents.1700000000.host.1.0", "of a run elsewhere"),
        ] {
            self.write(&format!("theirs/{file}"), text);
        }
        // Without what is cached elsewhere.
        let theirs = || {
            let mut contents = self.contents();
            contents.retain(|path, _| path.starts_with(self.path("theirs")));
            contents
        };
        let before = theirs();
        let run = self.tiny("theirs", &["--preset", "preset.json"]);
        let reason =
            "does not belong to an earlier run, and is left as it is: choose another folder";
        assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        assert!(run.stderr.contains("theirs/") && run.stderr.contains(reason), "{}", run.stderr);
        assert!(before == theirs());
    }

    /// Checks that odd names are refused: a preset's name becomes that of a folder, and is shown.
    pub fn names_that_are_no_names_are_refused(&self) {
        let long = "a".repeat(101);
        for name in [
            "../../evil",
            "/tmp/evil",
            "a/b",
            "a\\b",
            "..",
            ".hidden",
            "",
            "a b",
            "\u{1b}[2Jevil",
            &long,
        ] {
            self.preset(|preset| preset["name"] = name.into());
            let args = [self.program.tiny, &["--preset", "preset.json"]].concat();
            let run = self.run(&args);
            assert!(!run.stderr.chars().any(|c| c.is_control() && c != '\n'), "{:?}", run.stderr);
            self.refused(&args, &["preset.json", &format!("its name is {name:?}"), "letters"]);
        }
        // Other text in the file, and the name of the data set, do nothing to a terminal either.
        for edit in ["\u{1b}[2Jevil", "\u{9b}2Jevil"] {
            self.preset(|preset| preset[edit] = 1.into());
            self.refused(&["--preset", "preset.json"], &["preset.json", "\\u{", "evil"]);
            self.preset(|preset| preset["dataset"] = edit.into());
            self.refused(&["--preset", "preset.json"], &["are not to be had by name", "\\u{"]);
        }
    }

    /// Runs a tiny version of `args` with two seeds, and on one thread, and checks that only the seed makes another
    /// model.
    pub fn seed_decides_every_bit(&self, args: &[&str]) {
        let model = |out: &str, seed: &str, threads: &str| {
            let args = [self.program.tiny, args, &["--out", out, "--seed", seed]].concat();
            let mut command = self.command(&args);
            command.env("RAYON_NUM_THREADS", threads);
            outcome(command).ok();
            self.bytes(&format!("{out}/model.safetensors"))
        };
        let first = model("a", "7", "2");
        assert!(first == model("b", "7", "2"), "a second run differs");
        assert!(first == model("c", "7", "1"), "a run on one thread differs");
        assert!(first != model("d", "8", "2"), "another seed gives the same");
    }

    /// Every file and folder below, by its path, with its bytes (`None` for a folder).
    pub fn contents(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                    found.insert(path, None);
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    found.insert(path, Some(bytes));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.folder.path(), &mut found);
        found
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Writes `preset.json`: the test's small preset, changed by `edit`.
    pub fn preset(&self, edit: impl FnOnce(&mut Value)) {
        let mut preset = (self.program.preset)();
        edit(&mut preset);
        self.write("preset.json", preset.to_string());
    }

    /// The shapes of a checkpoint's tensors, each of which must be finite numbers of 32 or 64 bits.
    pub fn shapes(&self, name: &str) -> BTreeMap<String, Vec<usize>> {
        let bytes = self.bytes(name);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let finite = match view.dtype() {
                Dtype::F32 => {
                    all_finite(view.data(), |bytes| f32::from_le_bytes(bytes).is_finite())
                }
                Dtype::F64 => {
                    all_finite(view.data(), |bytes| f64::from_le_bytes(bytes).is_finite())
                }
                other => panic!("{name} is of type {other}"),
            };
            assert!(finite, "{name}");
            (name, view.shape().to_vec())
        });
        tensors.collect()
    }
}

fn all_finite<const N: usize>(bytes: &[u8], is_finite: impl Fn([u8; N]) -> bool) -> bool {
    let (numbers, rest) = bytes.as_chunks::<N>();
    rest.is_empty() && numbers.iter().all(|&number| is_finite(number))
}

/// A program in the background, which is ended with the test.
#[cfg(unix)] // as are the tests that kill
pub struct Running(Option<Child>);

#[cfg(unix)]
impl Running {
    /// Starts a program.
    pub fn of(mut command: Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    pub fn is_over(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Sends the program a signal, by a name such as `-INT`.
    pub fn signal(&self, name: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for the program to end.
    pub fn end(mut self) -> Outcome {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Outcome { status: output.status.code(), stdout, stderr }
    }

    /// Ends the program by SIGKILL.
    pub fn kill(self) {
        self.signal("-KILL");
        self.end();
    }
}

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for something that a program does in the background.
#[cfg(unix)] // as are the tests that kill
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    use std::time::{Duration, Instant};
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
