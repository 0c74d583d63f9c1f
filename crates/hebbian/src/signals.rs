//! Ctrl-C, SIGTERM, a terminal that closes, and the end of the program that waits for this one.

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
/// program that was [started to end with it](start). SIGHUP stays without effect on a program that was started to
/// ignore it, as `nohup` does.
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

const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

/// What a signal does to the program.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    StopsRun,
    EndsProgram,
    Nothing,
}

/// The effect of a signal: `is_watched` if a run is in progress that stops when it is asked to, and `asked` if it was.
fn effect(signal: i32, is_watched: bool, asked: bool) -> Effect {
    match (is_watched, asked) {
        (false, _) => Effect::EndsProgram,
        (true, false) => Effect::StopsRun,
        // When a terminal closes, the shell and the system each send it: nobody has asked twice.
        (true, true) if signal == SIGHUP => Effect::Nothing,
        (true, true) => Effect::EndsProgram,
    }
}

fn received(signal: i32, told: &str) {
    match effect(signal, stop().is_watched(), stop().asked().is_some()) {
        Effect::StopsRun => {
            stop().ask(usize::try_from(signal).unwrap_or_default());
            crate::tell(told);
        }
        Effect::EndsProgram => std::process::exit(128 + signal),
        Effect::Nothing => {}
    }
}

#[cfg(unix)]
fn listen_to_signals() -> Result<()> {
    use anyhow::Context;
    use signal_hook::consts::SIGINT;
    use signal_hook::iterator::Signals;

    let heard = [SIGINT, SIGTERM].into_iter().chain((!is_ignored(SIGHUP)).then_some(SIGHUP));
    let mut signals = Signals::new(heard).context("cannot wait for signals")?;
    let told = "stopping after this step; press Ctrl-C again to stop immediately";
    std::thread::spawn(move || signals.forever().for_each(|signal| received(signal, told)));
    Ok(())
}

/// Whether this program was started to ignore a signal.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, the call only writes the present one, which may also be all zeros.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn listen_to_signals() -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signal_ends_the_program_unless_the_terminal_closes() {
        for signal in [SIGHUP, SIGTERM] {
            assert_eq!(effect(signal, true, false), Effect::StopsRun);
            assert_eq!(effect(signal, false, false), Effect::EndsProgram);
            assert_eq!(effect(signal, false, true), Effect::EndsProgram);
        }
        assert_eq!(effect(SIGTERM, true, true), Effect::EndsProgram);
        assert_eq!(effect(SIGHUP, true, true), Effect::Nothing);
    }
}
