//! Ctrl-C and SIGTERM.

use anyhow::Result;
use hebbian_train::Stop;
use std::sync::OnceLock;

/// Returns the handle that asks this program's run to stop.
pub fn stop() -> &'static Stop {
    static STOP: OnceLock<Stop> = OnceLock::new();
    STOP.get_or_init(Stop::default)
}

/// Starts to listen for signals. From now on, the first one lets a run finish its step and save; a second
/// one, or one while no run is in progress, ends the program at once.
#[cfg(unix)]
pub(crate) fn listen() -> Result<()> {
    use anyhow::Context;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for signals")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let number = usize::try_from(signal).unwrap_or_default();
            if !stop().is_watched() || stop().asked().is_some() {
                std::process::exit(128 + signal);
            }
            stop().ask(number);
            crate::tell("stopping after this step; press Ctrl-C again to stop immediately");
        }
    });
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn listen() -> Result<()> {
    Ok(())
}
