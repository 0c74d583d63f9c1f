//! All tests from outside that may share a process, in one program: each program links all that is below it.

#[path = "../common/mod.rs"]
mod common;
mod digits;
mod folder;
mod hub;
mod hub_sets;
mod images;
mod own_images;
mod push;
mod shared;
mod streams;
mod transforms;
mod unlabelled;
mod wild;
mod zca;
