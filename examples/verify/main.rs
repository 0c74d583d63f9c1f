//! The check that this library computes what the papers define, on your device.

use std::process::ExitCode;

fn main() -> ExitCode {
    hebbian::main(hebbian::verify)
}
