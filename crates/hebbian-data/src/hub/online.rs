//! The hub's client, started when it is first needed, with timeouts for all requests.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hf_hub::{HFClient, HFError};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::lock::lock;

/// How long to wait for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For its answer.
    pub answer: Duration,
    /// For the next byte of the answer.
    pub bytes: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_secs(10), bytes: Duration::from_secs(30) }
    }
}

/// The client and the thread that runs its connections.
pub(crate) struct Online {
    pub client: HFClient,
    handle: Handle,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Online {
    pub fn start(client: HFClient) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let wait = move || runtime.block_on(async { stopped.await.unwrap_or_default() });
        std::thread::Builder::new().name("hub".to_string()).spawn(wait)?;
        Ok(Self { client, handle, _stop: stop })
    }

    /// Runs a future to completion on another thread, because the caller may itself be within a
    /// runtime.
    pub fn run<F: Future<Output: Send> + Send>(&self, future: F) -> F::Output {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| self.handle.block_on(future));
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Longer than the client waits for the lock of a file that another program downloads, 10 s.
const LOCK_WAIT: Duration = Duration::from_secs(11);

/// The last sign of life of a server.
pub(crate) struct Pulse {
    patience: Patience,
    last: Mutex<Last>,
}

struct Last {
    at: Instant,
    has_answered: bool,
    /// Whether the answer has only announced a file so far.
    is_announced: bool,
    done: u64,
}

impl Last {
    fn now() -> Self {
        Self { at: Instant::now(), has_answered: false, is_announced: false, done: 0 }
    }
}

impl Pulse {
    pub fn new(patience: Patience) -> Self {
        Self { patience, last: Mutex::new(Last::now()) }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        lock(&self.last)
    }

    /// Restarts the waiting time for another request.
    pub fn restart(&self) {
        *self.last() = Last::now();
    }

    /// Reports that the server has announced a file. Before the client asks for its bytes, it may wait for another
    /// program that downloads the same file.
    pub fn announce(&self) {
        *self.last() = Last { has_answered: true, is_announced: true, ..Last::now() };
    }

    /// Reports the bytes so far: an increase is a sign of life, and so is the first report.
    pub fn beat(&self, done: u64) {
        let mut last = self.last();
        if !last.has_answered || last.is_announced || done > last.done {
            *last = Last { has_answered: true, done, ..Last::now() };
        }
    }

    /// Returns the output of `future`, or an error if the server is silent for too long; then the
    /// future is dropped.
    pub async fn watch<T>(
        &self,
        future: impl Future<Output = Result<T, HFError>>,
    ) -> Result<T, HFError> {
        let mut future = pin!(future);
        loop {
            let (limit, at, has_answered) = {
                let last = self.last();
                let Patience { answer, bytes } = self.patience;
                let limit = match last.has_answered {
                    true if last.is_announced => bytes.max(LOCK_WAIT),
                    true => bytes,
                    false => answer,
                };
                (limit, last.at, last.has_answered)
            };
            // An output that is ready is returned, however long this program has been busy with
            // something else.
            let left = limit.saturating_sub(at.elapsed());
            if let Ok(output) = tokio::time::timeout(left, &mut future).await {
                return output;
            }
            let last = self.last();
            if last.at == at && last.has_answered == has_answered {
                let what = if has_answered { "no byte came" } else { "the server did not answer" };
                let seconds = limit.as_secs_f64();
                return Err(HFError::Other(format!("{what} for {seconds} seconds")));
            }
        }
    }
}
