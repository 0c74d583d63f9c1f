//! The same work in PyTorch, in a process beside this one.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Its path in the repository.
const SCRIPT: &str = "benches/peers/steps.py";

/// How long PyTorch's threads are given to fall asleep after a round: by default, they wait for more work in a loop for
/// 200 ms.
const REST: Duration = Duration::from_millis(300);

/// A script that waits to be asked for a round, so that our rounds and its rounds alternate.
#[derive(Debug)]
pub(super) struct Peers {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peers {
    /// Starts the script with the work of that name; `None` if the script does not have it.
    pub fn of(python: &Path, name: &str, threads: usize) -> Result<Option<Self>> {
        let script = script()?;
        let mut command = Command::new(python);
        // PyTorch's threads wait as they do by default.
        for (variable, _) in super::SLEEPING {
            command.env_remove(variable);
        }
        let mut process = command
            .arg(&script)
            .args(["--threads", &threads.to_string(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("--against-torch {}", python.display()))?;
        let (Some(ask), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("{}: its input and output cannot be opened", script.display())
        };
        let mut peers = Self { process, ask, answers: BufReader::new(answers) };
        match peers.line()?.trim() {
            "ready" => Ok(Some(peers)),
            "unknown" => Ok(None),
            other => bail!(
                "{}: {other:?}; is PyTorch installed for {}? See benches/peers/README.md",
                script.display(),
                python.display()
            ),
        }
    }

    /// Times one round; returns milliseconds by setting.
    pub fn time(&mut self) -> Result<BTreeMap<String, f64>> {
        writeln!(self.ask, "again").and_then(|()| self.ask.flush()).context(SCRIPT)?;
        let line = self.line()?;
        std::thread::sleep(REST);
        serde_json::from_str(&line).with_context(|| format!("{SCRIPT}: {line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context(SCRIPT)?;
        Ok(line)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the script, from the current folder or from that of the sources.
fn script() -> Result<PathBuf> {
    let here = PathBuf::from(SCRIPT);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCRIPT);
    match [here, sources].into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("there is no {SCRIPT} here: run it in the folder of the repository"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A stand-in for PyTorch that computes nothing, and whose errors have no text; NumPy is not there.
    #[test]
    fn settings_that_fail_are_left_out() {
        let version = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no python3");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir_all(at.join("torch/nn")).unwrap();
        let torch = "contiguous_format = channels_last = None\n\
            def set_num_threads(_): pass\n\
            def manual_seed(_): pass\n\
            def randn(*_): raise AssertionError\n";
        for (file, content) in [
            ("torch/__init__.py", torch),
            ("torch/nn/__init__.py", ""),
            ("torch/nn/functional.py", ""),
            ("numpy.py", "raise ImportError('it is not there')\n"),
        ] {
            fs::write(at.join(file), content).unwrap();
        }
        let mut command = Command::new("python3");
        command.arg(script().unwrap()).args(["golkar-mnist/step/1", "--rounds", "1"]);
        let output = command.env("PYTHONPATH", at).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "{}", "{errors}");
        for says in ["step/1, eager: AssertionError", "step/1, NumPy: it is not there"] {
            assert!(errors.contains(says), "{says}: {errors}");
        }
    }
}
