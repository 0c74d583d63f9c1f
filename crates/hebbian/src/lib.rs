//! The program `hebbian`, and one program for each method: flags, the choice of a device, loading with progress,
//! reports. The guide in the repository's `docs` folder shows how they are used.
//!
//! | to | run |
//! |---|---|
//! | see methods, presets and experiments, with what to expect | `hebbian list` |
//! | train a network | `hebbian train softhebb` |
//! | compare networks over seeds | `hebbian study amit --experiment protocols` |
//! | search for good settings of a preset on held-out images | `hebbian study search krotov-hopfield --set learning_rate=0.001..0.1:log` |
//! | look at what a run has learned, or is learning | `hebbian report RUN`, `--watch`, `--terminal` |
//! | measure runs of any method in the same ways | `hebbian analyse RUN…` |
//! | classify, or compute features, with a trained model | `hebbian eval MODEL`, `hebbian features MODEL --to FILE` |
//! | share a model | `hebbian push FOLDER OWNER/NAME` |
//! | look at a data set as a network sees it | `hebbian data --dataset cifar10 --preview FILE.png` |
//! | reproduce a number of a model card | `hebbian reproduce --only krotov-hopfield/digits` |
//! | check a device, and measure its speed | `hebbian verify`, `hebbian bench` |
//!
//! Your own programs use the results through the libraries, which have no flags: a trained model is a
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
#![deny(missing_debug_implementations, missing_docs)]
#![warn(clippy::missing_errors_doc)]

// Each of these links the library that its feature needs.
#[cfg(feature = "accelerate")]
extern crate accelerate_src;
#[cfg(feature = "mkl")]
extern crate intel_mkl_src;

/// The version, with the commit if this was built in the project's repository.
const VERSION: &str = env!("HEBBIAN_VERSION");

/// An allocator that keeps freed memory. A step allocates and frees the same large tensors again and again; the
/// system's allocator returns each to the kernel, and the next one causes page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod analyse;
mod asked;
mod bench;
mod caches;
mod choices;
mod common;
mod data;
mod data_args;
mod device;
mod door;
mod doors;
mod folded;
mod paths;
mod program;
mod repeat;
mod report;
mod reproduce;
mod rows;
mod search;
mod selection;
mod signals;
mod trained;
mod transform_args;
mod verify;

pub use asked::{Asked, Work};
pub use bench::{Benchmark, benchmarks};
pub use common::CommonArgs;
pub use data_args::DataArgs;
pub use device::{Chosen, DeviceArgs, DeviceKind};
pub use door::{Door, DoorArgs, door};
pub use program::{Program, program};
pub use signals::stop;
pub use verify::{VerifyArgs, verify};

use anyhow::{Context, Result, bail};
use clap::error::ContextKind;
use clap::{CommandFactory, FromArgMatches, Parser};
use hebbian_data::printable;
use std::error::Error as _;
use std::io::{ErrorKind, Write};
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::path::Path;
use std::process::ExitCode;

/// Makes the allocator keep freed memory instead of returning it to the system after a second: a step of a large
/// network frees and reallocates more than the allocator would keep by default, and the system clears every page before
/// it hands it out again.
fn keep_freed_memory() {
    /// `mi_option_purge_delay`, for which the crate has no constant; −1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: called once, before there are other threads.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
}

/// Fixes candle's number of threads: without this variable, candle asks the system for it at every matrix product,
/// which takes longer than a small product itself.
fn settle_number_of_threads() {
    const THREADS: &str = "RAYON_NUM_THREADS";
    set_unless_set(THREADS, || candle::utils::get_num_threads().to_string());
}

/// Makes candle's own threads, which compute sums and products of two tensors value by value, sleep soon after they
/// have nothing to do. By default they check for work 25,000 times first, and meanwhile take processor time from the
/// threads that compute what comes next.
fn let_idle_threads_sleep() {
    const CHECKS: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
    set_unless_set(CHECKS, || "1000".to_string());
}

/// Sets a variable of the environment to `value()`, unless it is set.
fn set_unless_set(variable: &str, value: impl FnOnce() -> String) {
    if std::env::var_os(variable).is_none() {
        // SAFETY: called only before there are other threads.
        unsafe { std::env::set_var(variable, value()) }
    }
}

/// Products with fewer multiplications than this run on one thread: such a product takes 50 µs at most, no longer than
/// waking up other threads. The library's own threshold is a seventh of this.
const SMALL_PRODUCT: usize = 1 << 22;

/// Sets what the speed of a program depends on, before it computes anything: freed memory is kept, the number of
/// threads is fixed, and the thread pool that all computation uses is started. Without it, the first product would
/// panic if threads could not be started. The current thread is part of the pool: otherwise it would have to wake
/// another thread and wait for it wherever work is divided, which takes longer than a small product.
///
/// To be called once, before there are other threads. [`main`] does.
///
/// # Errors
/// `RAYON_NUM_THREADS` that is no number; threads that cannot be started.
pub fn start() -> Result<()> {
    /// The memory that a thread needs: its stack, and what the system keeps beside it.
    const STACK: usize = (2 << 20) + (64 << 10);
    keep_freed_memory();
    settle_number_of_threads();
    let_idle_threads_sleep();
    caches::check(Path::new(caches::CPUS))?;
    let wanted = std::env::var("RAYON_NUM_THREADS").unwrap_or_default();
    let threads: usize = match wanted.parse() {
        Ok(threads) => threads,
        Err(_) if wanted.is_empty() => 1,
        Err(_) => bail!(
            "RAYON_NUM_THREADS is {wanted:?}, expected a number of threads: set it to one, or unset it"
        ),
    };
    // A thread that starts when memory has just run out panics by itself, so check first that there is room.
    let room = memmap2::MmapMut::map_anon(threads.max(1).saturating_mul(STACK)).map(drop);
    gemm::set_threading_threshold(SMALL_PRODUCT);
    let pool = match rayon::ThreadPoolBuilder::new() {
        pool if threads > 1 => pool.use_current_thread(),
        // If the pool were the current thread alone, another thread that divides its work would wait for it, and it for
        // that thread.
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

/// Runs a program. Its report goes to stdout, an error with its causes to stderr. The exit status is 0 on success, 1 on
/// an error (wrong flags included), and 128 plus the signal's number if a signal has stopped the run.
pub fn main<A: Parser>(run: impl FnOnce(A) -> Result<String>) -> ExitCode {
    main_as::<A>(A::command(), run)
}

/// Runs a program as [`main`] does, with the name and the description of `command` instead of those of `A`.
pub(crate) fn main_as<A: FromArgMatches + CommandFactory>(
    mut command: clap::Command,
    run: impl FnOnce(A) -> Result<String>,
) -> ExitCode {
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let args = match matches.and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(answer) => {
            let answer = explained(&answer, &command).unwrap_or(answer);
            // --help and --version arrive here too.
            let failed = answer.use_stderr();
            let _ = answer.print();
            return if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let started = start().and_then(|()| signals::listen());
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

/// Returns an error that says what is expected, in place of one about a flag whose value is not a number: of that, clap
/// says only what the standard library does.
fn explained(answer: &clap::Error, command: &clap::Command) -> Option<clap::Error> {
    let source = answer.source()?;
    let expected = match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "this number is too large",
        Some(IntErrorKind::Zero) => "expected a whole number, 1 or more",
        Some(_) => "expected a whole number, 0 or more",
        None if source.is::<ParseFloatError>() => "expected a number",
        None => return None,
    };
    let (flag, found) =
        (answer.get(ContextKind::InvalidArg)?, answer.get(ContextKind::InvalidValue)?);
    let message = format!(
        "invalid value '{found}' for '{flag}': {expected}\n\nFor more information, try '--help'.\n"
    );
    Some(clap::Error::raw(answer.kind(), message).with_cmd(command))
}

/// Writes a line to stderr, if there is one. The line is made [`printable`], so that nothing a file or a server put
/// into it affects the terminal.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

/// Writes a report to stdout, made [`printable`] as in [`tell`].
///
/// # Errors
/// If stdout cannot be written to. A reader that closes it early, as `head` does, is no error.
pub fn print(report: &str) -> Result<()> {
    match write!(std::io::stdout(), "{}", printable(report)) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
