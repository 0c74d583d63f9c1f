//! Ends a program at a chosen change of a file: see `kills.c`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::binary::{Outcome, outcome};
use super::program::Place;

/// The library that is loaded before a program.
pub struct Kills(TempDir);

impl Kills {
    /// Compiles the library; `None`, with a message, if there is no C compiler.
    pub fn built() -> Option<Self> {
        let kills = Self(tempfile::tempdir().unwrap());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/common/kills.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(kills.library()).arg(source);
        match compiler.status() {
            Ok(status) => assert!(status.success(), "kills.c does not compile"),
            Err(error) => {
                println!("skipped: there is no C compiler (cc: {error})");
                return None;
            }
        }
        Some(kills)
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("kills.so")
    }

    /// The program with the library, which watches changes below its place.
    fn command(&self, place: &Place, args: &[&str]) -> Command {
        let mut command = place.command(&[args, &["--quiet"]].concat());
        command.env("LD_PRELOAD", self.library());
        command.env("KILL_BELOW", place.path("").canonicalize().unwrap());
        command
    }

    /// The changes that an undisturbed run makes, in order: `fsync PATH`, with paths below the place.
    pub fn changes(&self, place: &Place, args: &[&str]) -> Vec<String> {
        let log = self.0.path().join("log");
        let mut command = self.command(place, args);
        command.env("KILL_LOG", &log);
        outcome(command).ok();
        let below = place.path("").canonicalize().unwrap();
        let below = format!("{}/", below.to_str().unwrap().trim_end_matches('/'));
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(log).unwrap();
        text.lines().map(|line| line.replace(&below, "")).collect()
    }

    /// Runs the program, which is killed at change number `at`, counted from 1, if it makes that many.
    pub fn run(&self, place: &Place, args: &[&str], at: usize) -> Outcome {
        let mut command = self.command(place, args);
        command.env("KILL_AT", at.to_string());
        outcome(command)
    }
}
