//! A program that `cargo test` built, and what it prints.

use std::path::PathBuf;
use std::process::Command;

/// The outcome of a run of the program.
pub struct Outcome {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The same outcome, which must be a success.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }
}

pub fn outcome(mut command: Command) -> Outcome {
    let output = command.output().unwrap();
    // Paths as they are written on Unix.
    let text = |bytes| match String::from_utf8(bytes).unwrap() {
        text if cfg!(windows) => text.replace('\\', "/").replace("\r\n", "\n"),
        text => text,
    };
    Outcome {
        status: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The path of an example, which `cargo test` builds beside the folder of this test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let binary = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "there is no {}: build the examples first", binary.display());
    binary
}
