//! Ctrl-C, SIGTERM, and the end of the program that waits for this one.

use anyhow::Result;
use hebbian_train::Stop;
use std::io::sink;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Set for a program whose standard input another program holds open for as long as it wants the results.
const ENDS_WITH_INPUT: &str = "HEBBIAN_ENDS_WITH_INPUT";

/// Returns the handle that asks this program's run to stop.
pub fn stop() -> &'static Stop {
    static STOP: OnceLock<Stop> = OnceLock::new();
    STOP.get_or_init(Stop::default)
}

/// Starts to listen for signals. From now on, the first one lets a run finish its step and save; a second
/// one, or one while no run is in progress, ends the program at once. The end of the input is such a signal for a
/// program that was [started to end with it](start).
pub(crate) fn listen() -> Result<()> {
    if std::env::var_os(ENDS_WITH_INPUT).is_some() {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut sink());
            received(SIGTERM, "stopping after this step");
        });
    }
    listen_to_signals()
}

/// Starts a program of this project that ends, after saving, when its input is closed: by whoever started it, or by the
/// system as soon as that process is gone, however it ended.
pub(crate) fn start(command: &mut Command) -> std::io::Result<Child> {
    // Without a process group of its own, the child would get Ctrl-C too, and stop twice.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command.env(ENDS_WITH_INPUT, "1").stdin(Stdio::piped()).spawn()
}

const SIGTERM: i32 = 15;

fn received(signal: i32, told: &str) {
    if !stop().is_watched() || stop().asked().is_some() {
        std::process::exit(128 + signal);
    }
    stop().ask(usize::try_from(signal).unwrap_or_default());
    crate::tell(told);
}

#[cfg(unix)]
fn listen_to_signals() -> Result<()> {
    use anyhow::Context;
    use signal_hook::consts::SIGINT;
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for signals")?;
    let told = "stopping after this step; press Ctrl-C again to stop immediately";
    std::thread::spawn(move || signals.forever().for_each(|signal| received(signal, told)));
    Ok(())
}

#[cfg(not(unix))]
fn listen_to_signals() -> Result<()> {
    Ok(())
}
