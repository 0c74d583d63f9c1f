//! The program `hebbian`, and the programs of the single methods: flags, the choice of a device, loading with
//! progress, reports. The guide in the repository's `docs` folder shows how they are used.
//!
//! | to | run |
//! |---|---|
//! | see methods, presets and experiments, with what to expect | `hebbian list` |
//! | train a network | `hebbian train softhebb` |
//! | compare networks over seeds | `hebbian study amit --experiment protocols` |
//! | search the numbers of a preset on held-out images | `hebbian study search krotov-hopfield --set learning_rate=0.001..0.1:log` |
//! | look at what a run has learned, or is learning | `hebbian report RUN`, `--watch`, `--terminal` |
//! | measure runs in the same ways | `hebbian analyse RUN…` |
//! | classify, or compute features, with a trained model | `hebbian eval MODEL`, `hebbian features MODEL --to FILE` |
//! | share a model | `hebbian push FOLDER OWNER/NAME` |
//! | look at a data set as a network sees it | `hebbian data --dataset cifar10 --preview FILE.png` |
//! | repeat a number of a card | `hebbian reproduce --only krotov-hopfield/digits` |
//! | check a device, and measure it | `hebbian verify`, `hebbian bench` |
//!
//! What a program of your own can do with the results is in the libraries, without flags: a trained model is a
//! `hebbian_models::Model`.
//!
//! ```
//! use candle::{DType, Device};
//! use hebbian_models::Model;
//! let model = Model::from_zoo("krotov-hopfield-digits")?; // or Model::load("runs/…")
//! let test = hebbian_data::digits().test;
//! let all: Vec<usize> = (0..test.len()).collect();
//! let (images, labels) = test.batch(&all, DType::F32, &Device::Cpu)?;
//! let right = model.predict(&images)?.eq(&labels)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
//! assert_eq!(right, 348.0); // of 355
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

// These link the library that the feature needs.
#[cfg(feature = "accelerate")]
extern crate accelerate_src;
#[cfg(feature = "mkl")]
extern crate intel_mkl_src;

/// A step allocates and frees the same large tensors again and again. The system's allocator
/// hands each back to the kernel and takes page faults for the next; this one keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod analyse;
mod bench;
mod caches;
mod common;
mod data;
mod device;
mod door;
mod doors;
mod program;
mod report;
mod reproduce;
mod search;
mod selection;
mod signals;
mod verify;

pub use common::{CommonArgs, DataArgs};
pub use device::{Chosen, DeviceArgs, DeviceKind};
pub use door::{Asked, Door, DoorArgs, Work, door};
pub use program::{Program, program};
pub use signals::stop;
pub use verify::{VerifyArgs, verify};

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser};
use hebbian_data::printable;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Keeps freed memory instead of giving it back to the system after a second: a step of a large
/// network frees and takes again more than the allocator would keep, and every page that comes back
/// from the system is cleared first.
fn keep_freed_memory() {
    /// `mi_option_purge_delay`, which the crate has no name for; −1 is never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: called once, before there are other threads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}

/// Tells candle its number of threads once: without this variable it asks the system for it at every
/// matrix product, which takes longer than a small product does.
fn settle_number_of_threads() {
    const THREADS: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        let threads = candle::utils::get_num_threads().to_string();
        // SAFETY: called once, before there are other threads.
        unsafe { std::env::set_var(THREADS, threads) }
    }
}

/// A product of fewer multiplications is left to one thread: it takes 50 µs there, no longer than others take to
/// wake up. The library's own threshold is a seventh of it.
const SMALL_PRODUCT: usize = 1 << 22;

/// Starts the threads that everything here computes on: without them, the first product would panic. This
/// thread is one of them: it would else have to wake another and wait for it wherever work is shared out, which
/// takes longer than a small product does.
fn start_threads() -> Result<()> {
    /// A thread's stack, and what the system keeps beside it.
    const STACK: usize = (2 << 20) + (64 << 10);
    caches::check(Path::new(caches::CPUS))?;
    let wanted = std::env::var("RAYON_NUM_THREADS").unwrap_or_default();
    let threads: usize = wanted.parse().unwrap_or(1);
    // A thread that starts where memory has just run out panics by itself, so room is looked for first.
    let room = memmap2::MmapMut::map_anon(threads.max(1).saturating_mul(STACK)).map(drop);
    gemm::set_threading_threshold(SMALL_PRODUCT);
    let pool = match rayon::ThreadPoolBuilder::new() {
        pool if threads > 1 => pool.use_current_thread(),
        // Were it the only one, whoever else shares out work would wait for it, and it for them.
        pool => pool,
    };
    let started = room
        .map_err(anyhow::Error::from)
        .and_then(|()| pool.build_global().map_err(anyhow::Error::from));
    started.with_context(|| {
        format!(
            "cannot start {wanted} threads: set RAYON_NUM_THREADS to fewer, or raise the limit on \
             threads and memory (ulimit -u, ulimit -v)"
        )
    })
}

/// Runs a program. Its report goes to stdout, an error with its causes to stderr. The exit status is 0 or 1,
/// for wrong flags too, and 128 more than the signal's number for a run that one has stopped.
pub fn main<A: Parser>(run: impl FnOnce(A) -> Result<String>) -> ExitCode {
    main_as::<A>(A::command(), run)
}

/// The same with another name and description than those of the flags.
pub(crate) fn main_as<A: FromArgMatches + CommandFactory>(
    command: clap::Command,
    run: impl FnOnce(A) -> Result<String>,
) -> ExitCode {
    keep_freed_memory();
    settle_number_of_threads();
    let parsed = command.try_get_matches().and_then(|matches| A::from_arg_matches(&matches));
    let args = match parsed {
        Ok(args) => args,
        Err(answer) => {
            // --help and --version arrive here too.
            let failed = answer.use_stderr();
            let _ = answer.print();
            return if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let started = start_threads().and_then(|()| signals::listen());
    match started.and_then(|()| run(args)).and_then(|report| print(&report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            match error.downcast_ref() {
                Some(&hebbian_train::Error::Stopped { signal, .. }) => {
                    ExitCode::from(128 + signal as u8)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// A line on stderr, if there is one. Whatever a file or a server put into it does nothing to the
/// terminal.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

/// Writes a report to stdout, [`printable`] as what [`tell`] writes.
///
/// # Errors
/// One of the system, but not that a reader has seen enough, as `head` does.
pub fn print(report: &str) -> Result<()> {
    match write!(std::io::stdout(), "{}", printable(report)) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
