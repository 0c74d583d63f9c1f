//! All integration tests in one program, because each program links all dependencies.

mod chart;
mod checkpoint;
mod features_and_guard;
mod linear_head;
mod picture;
mod pth;
mod readouts;
mod run_folder;
mod table;
mod tensorboard;
mod unit_pictures;
mod units;
