//! The program, as its users run it.

mod analyse;
#[path = "../../../hebbian-data/tests/common/mod.rs"]
mod common;
mod data;
mod hub;
mod program;
mod report;
mod reproduce;
mod search;
