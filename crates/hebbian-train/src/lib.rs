//! The training toolkit: what every paper's recipe needs around its rule.
//!
//! | part | for |
//! |---|---|
//! | [`save_checkpoint`], [`Checkpoint`] | safetensors files with metadata, written whole or not at all |
//! | [`RunFolder`], [`Results`], [`EventFile`] | the folder of a run: configuration, metrics, TensorBoard, results |
//! | [`Progress`] | a bar on a terminal, plain lines elsewhere |
//! | [`filter_grid`], [`filter_rows`], [`Picture`] | weights as a PNG |
//! | [`LineChart`], [`draw_panels`], [`BarChart`], [`Histogram`] | curves, dots, comparisons and distributions as a PNG |
//! | [`Table`], [`save_json`] | figures as a CSV or JSON file, and in the terminal |
//! | [`collect_features`] | features of a frozen network, computed once |
//! | [`LinearHead`], [`LinearSvm`], [`Ridge`], [`NearestClassMean`], [`NearestNeighbours`] | read-outs, all behind [`Readout`] |
//! | [`check_finite`] | stop at the first NaN |
//!
//! The key decision: nothing here knows of layers, rules or data sets. Every part takes tensors and
//! slices, so that any recipe, and any network, can use any of them alone.
#![deny(missing_docs)]

mod atomic;
mod chart;
mod checkpoint;
mod error;
mod features;
mod guard;
mod picture;
mod progress;
mod readout;
mod results;
mod run;
mod table;
mod tensorboard;

pub use atomic::save_json;
pub use chart::{BarChart, BarSeries, Histogram, LineChart, Series, draw_panels};
pub use checkpoint::{Checkpoint, save_checkpoint};
pub use error::{Error, Result};
pub use features::collect_features;
pub use guard::check_finite;
pub use picture::{Picture, filter_grid, filter_rows};
pub use progress::Progress;
pub use readout::{
    ConfusionMatrix, EpochStats, LinearHead, LinearHeadConfig, LinearSvm, LinearSvmConfig,
    NearestClassMean, NearestNeighbours, Readout, Ridge, halvings, one_hot,
};
pub use results::{Results, peak_memory_bytes};
pub use run::RunFolder;
pub use table::{Cell, Table};
pub use tensorboard::EventFile;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
