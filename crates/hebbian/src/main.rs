//! The program `hebbian`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::main(hebbian::program)
}
