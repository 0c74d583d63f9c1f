//! Shared by the tests.

pub mod binary;
pub mod events;
pub mod every_program;
pub mod experiment;
#[cfg(target_os = "linux")]
pub mod kills;
pub mod program;
