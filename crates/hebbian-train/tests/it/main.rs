//! All tests from outside, in one program: each program links all that is below it.

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
mod units;
