//! The training toolkit: what every paper's recipe needs besides its learning rule.
//!
//! ```
//! use candle::{Device, Tensor};
//! use hebbian_train::{Readout, Ridge};
//! // Two classes that one feature separates, read out in closed form.
//! let features = Tensor::new(&[[0f32, 1.0], [0.1, 0.9], [1.0, 0.1], [0.9, 0.0]], &Device::Cpu)?;
//! let ridge = Ridge::fit(&features, &[0, 0, 1, 1], 2, 0.1)?;
//! assert_eq!(ridge.predict(&features)?.to_vec1::<u32>()?, [0, 0, 1, 1]);
//! # Ok::<(), hebbian_train::Error>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | read classes out of features | [`Ridge`], [`LinearHead`], [`LinearSvm`], [`NearestClassMean`], [`NearestNeighbours`] |
//! | compute the features of a frozen network once | [`collect_features`] |
//! | save tensors, and load them or PyTorch's files | [`save_checkpoint`], [`Checkpoint`] |
//! | write a run folder with its log and TensorBoard events | [`RunFolder`], [`EventFile`] |
//! | read the log and the results of a run | [`RunFolder::history`], [`Results`] |
//! | draw weights, images and curves | [`filter_picture`], [`image_rows`], [`LineChart`], [`BarChart`] |
//! | see what units respond to | [`receptive_fields`], [`win_shares`], [`exciting_images`] |
//! | train a method | [`Method`], [`train`] |
//! | compare networks over seeds | [`Study`] |
//! | search the numbers of a preset | [`search()`], [`Dimension`] |
//!
//! All parts:
//!
//! | part | for |
//! |---|---|
//! | [`Method`], [`Learner`], [`Model`], [`train`], [`run`] | one engine that runs every method |
//! | [`Unsupervised`], [`UnsupervisedLearner`] | the learner shared by networks that learn without labels, one batch per step |
//! | [`Study`] | several networks, each trained with several seeds, with a table and a picture of the results |
//! | [`search()`], [`Dimension`], [`Plan`] | random search or successive halving over the numbers of a preset |
//! | [`Preset`], [`find_preset`] | networks with their recipes as JSON |
//! | [`Record`], [`list`] | the results and run times to expect of the presets |
//! | [`save_checkpoint`], [`Checkpoint`] | safetensors files with metadata, written whole or not at all; PyTorch files can be read |
//! | [`RunFolder`], [`Results`], [`EventFile`] | the folder of a run: configuration, metrics, TensorBoard, results |
//! | [`OwnFolder`] | folders that list their own files, so that a new run replaces these and no others |
//! | [`Progress`] | a bar on a terminal, plain lines elsewhere |
//! | [`see`], [`with_input`] | the input of a network: the transforms of a preset, fitted to images or restored |
//! | [`UnitsBefore`], [`filter_picture`], [`filter_grid`], [`filter_rows`], [`image_rows`], [`Picture`] | weights and images as a PNG |
//! | [`LineChart`], [`draw_panels`], [`BarChart`], [`Histogram`] | curves, dots, comparisons and distributions as a PNG |
//! | [`Table`], [`save_json`] | figures as a CSV or JSON file, and in the terminal |
//! | [`Units`], [`receptive_fields`], [`win_shares`], [`exciting_images`], [`multiplications`] | each unit's receptive field, wins and most exciting images |
//! | [`collect_features`] | features of a frozen network, computed once |
//! | [`LinearHead`], [`LinearSvm`], [`Ridge`], [`NearestClassMean`], [`NearestNeighbours`] | read-outs, all behind [`Readout`] |
//! | [`Standardisation`], [`LinearReadout`] | a scaling that becomes part of a read-out, and the read-out that a model stores |
//! | [`check_finite`] | an error at the first NaN |
//!
//! The key design decision: nothing here knows about layers or rules. The engine and the studies know only methods and
//! data sets; every other part takes tensors and slices, so that any recipe and any network can use any of them alone.
#![deny(missing_debug_implementations, missing_docs)]
#![warn(clippy::missing_errors_doc)]

mod atomic;
mod chart;
mod checkpoint;
mod engine;
mod error;
mod features;
mod guard;
mod json;
mod lock;
mod made_by;
mod names;
mod own_folder;
mod picture;
mod presets;
mod progress;
mod readout;
mod record;
mod results;
mod run;
mod search;
mod spread;
mod study;
mod table;
mod tensorboard;
mod text;
mod unit_pictures;
mod units;

pub use atomic::{save_bytes, save_json, save_text};
pub use chart::{BarChart, BarSeries, Histogram, LineChart, Series, draw_panels};
pub use checkpoint::{Checkpoint, save_checkpoint};
pub use engine::{
    About, Clock, Counts, Deferred, Epochs, Evaluation, Figures, Learner, Measured, Method, Model,
    OfPreset, OwnHead, OwnReadout, Recipe, Recorder, Run, RunOptions, Start, State, Stop,
    Unsupervised, UnsupervisedLearner, UnsupervisedMethod, Watch, WithHead, check_images,
    check_layer, evaluate, measured_on, run, see, shown, train, with_input,
};
pub use error::{Error, Result};
pub use features::collect_features;
pub use guard::check_finite;
pub use made_by::MadeBy;
pub use names::choose;
pub use own_folder::{FolderKind, OwnFolder};
pub use picture::{Picture, filter_grid, filter_picture, filter_rows, image_rows};
pub use presets::{Heading, Preset, all_presets, check_fields, find_preset};
pub use progress::Progress;
pub use readout::{
    Adam, ConfusionMatrix, EpochStats, LinearHead, LinearHeadConfig, LinearReadout, LinearSvm,
    LinearSvmConfig, NearestClassMean, NearestNeighbours, Readout, Ridge, Standardisation,
    check_labels, halvings, in_parts, one_hot, one_hot_of,
};
pub use record::{Claim, Job, Learning, Ours, Published, Record, Unit, duration, list, records};
pub use results::{ReadoutResult, Results, part, peak_memory_bytes};
pub use run::{History, LogLine, Moment, RunFolder};
pub use search::{Dimension, Plan, search};
pub use spread::Spread;
pub use study::{Arm, ArmRun, Figure, Study, StudyFolder, StudyOptions, Trained};
pub use table::{Cell, Table};
pub use tensorboard::EventFile;
pub use text::read_text;
pub use unit_pictures::UnitsBefore;
pub use units::{
    Ascent, Field, Units, Window, exciting_images, multiplications, receptive_fields, win_shares,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
