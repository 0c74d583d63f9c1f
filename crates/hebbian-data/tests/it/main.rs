//! All integration tests that may share a process, in one program, because each program links all dependencies.

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
