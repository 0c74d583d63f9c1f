//! What the tests share.

pub mod binary;
pub mod events;
pub mod every_program;
pub mod experiment;
pub mod program;
