use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A handle that asks a run to stop after its current step. Clones ask the same run.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    signal: AtomicUsize,
    watching: AtomicUsize,
}

impl Stop {
    /// Asks the run to stop; `signal` is the reason, as the system numbers signals (not 0).
    pub fn ask(&self, signal: usize) {
        self.0.signal.store(signal, Ordering::Relaxed);
    }

    /// The signal, if the run was asked to stop.
    pub fn asked(&self) -> Option<usize> {
        Some(self.0.signal.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
    }

    /// Whether there is a run that stops when it is asked to.
    pub fn is_watched(&self) -> bool {
        self.0.watching.load(Ordering::Relaxed) > 0
    }

    /// Declares that a run checks this handle, for as long as the returned value lives.
    pub fn watch(&self) -> Watch<'_> {
        self.0.watching.fetch_add(1, Ordering::Relaxed);
        Watch(self)
    }
}

/// A guard that marks a [`Stop`] as checked by a run.
#[derive(Debug)]
pub struct Watch<'a>(&'a Stop);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.0.watching.fetch_sub(1, Ordering::Relaxed);
    }
}
