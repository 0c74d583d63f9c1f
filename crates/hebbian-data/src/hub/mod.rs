//! The Hugging Face Hub: its client with added checks, its cache, and the sets of images on it.

mod client;
mod download;
mod environment;
mod online;
mod set;
mod snapshots;
mod upload;

pub use client::Hub;
pub(crate) use set::{load, load_known};
