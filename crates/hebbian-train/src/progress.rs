//! Progress of a loop over images.

use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// A display of how far a loop is, its speed, the time left, and a free message.
///
/// On a terminal this is a bar; elsewhere (such as in a log file) it is a plain line at most every two seconds
/// and one at the end. When quiet, or if there is nothing to count, nothing is shown. All output goes to stderr.
#[derive(Debug)]
pub struct Progress(Display);

#[derive(Debug)]
enum Display {
    Quiet,
    Bar(ProgressBar),
    Lines(Lines<Stderr>),
}

impl Progress {
    /// Starts at 0 of `total` images.
    pub fn new(total: u64, label: &str, quiet: bool) -> Self {
        Self::of(total, "images", label, quiet)
    }

    /// Starts at 0 of `total` things other than images; `unit` is what they are called.
    pub fn of(total: u64, unit: &'static str, label: &str, quiet: bool) -> Self {
        Self(if quiet || total == 0 {
            Display::Quiet
        } else if std::io::stderr().is_terminal() {
            Display::Bar(bar(total, unit, label))
        } else {
            Display::Lines(Lines::new(std::io::stderr(), total, unit, label, Instant::now()))
        })
    }

    /// Starts from `done` images, which an earlier process saw: the speed counts those of this one only.
    pub fn starting_from(self, done: u64) -> Self {
        Self(match self.0 {
            Display::Quiet => Display::Quiet,
            Display::Bar(bar) => {
                // Without the reset, the bar would count the images before as those of its first moment.
                let bar = bar.with_position(done);
                bar.reset_eta();
                Display::Bar(bar)
            }
            Display::Lines(lines) => Display::Lines(Lines { before: done, done, ..lines }),
        })
    }

    /// Advances by `count` images, or whatever is counted.
    pub fn advance(&mut self, count: u64) {
        match &mut self.0 {
            Display::Quiet => {}
            Display::Bar(bar) => bar.inc(count),
            Display::Lines(lines) => lines.advance(count, Instant::now()),
        }
    }

    /// Sets the text shown after the numbers.
    pub fn message(&mut self, text: impl Into<String>) {
        match &mut self.0 {
            Display::Quiet => {}
            Display::Bar(bar) => bar.set_message(text.into()),
            Display::Lines(lines) => lines.message = text.into(),
        }
    }

    /// Ends the display; its last state stays visible.
    pub fn finish(self) {
        match self.0 {
            Display::Quiet => {}
            Display::Bar(bar) => bar.abandon(),
            Display::Lines(mut lines) => lines.print(Instant::now()),
        }
    }
}

fn bar(total: u64, unit: &'static str, label: &str) -> ProgressBar {
    let style = ProgressStyle::default_bar()
        .template("{prefix} [{bar:20}] {pos}/{len} {speed} ETA {eta} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("speed", move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{:.0} {unit}/s", state.per_sec());
        })
        .progress_chars("=> ");
    ProgressBar::new(total).with_style(style).with_prefix(label.to_string())
}

const BETWEEN_LINES: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Lines<W> {
    out: W,
    total: u64,
    unit: &'static str,
    label: String,
    message: String,
    /// How many were done before the display started.
    before: u64,
    done: u64,
    started: Instant,
    printed: Instant,
}

impl<W: Write> Lines<W> {
    fn new(out: W, total: u64, unit: &'static str, label: &str, now: Instant) -> Self {
        let (label, message) = (label.to_string(), String::new());
        let (before, done) = (0, 0);
        Self { out, total, unit, label, message, before, done, started: now, printed: now }
    }

    fn advance(&mut self, count: u64, now: Instant) {
        self.done += count;
        if now - self.printed >= BETWEEN_LINES {
            self.print(now);
        }
    }

    fn print(&mut self, now: Instant) {
        self.printed = now;
        let seconds = (now - self.started).as_secs_f64();
        let seen = self.done - self.before;
        let speed = if seconds > 0.0 { seen as f64 / seconds } else { 0.0 };
        let left = self.total.saturating_sub(self.done) as f64;
        let unit = self.unit;
        let mut line = format!("{}: {}/{} {unit}", self.label, self.done, self.total);
        if speed > 0.0 {
            line += &format!(", {speed:.0} {unit}/s, ETA {:.0} s", left / speed);
        }
        if !self.message.is_empty() {
            line += &format!(", {}", self.message);
        }
        // A closed stderr must not stop the training.
        let _ = writeln!(self.out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_every_two_seconds_and_one_at_the_end() {
        let start = Instant::now();
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut lines = Lines::new(Vec::new(), 1000, "images", "layer 0", start);
        lines.advance(100, after(1.0));
        lines.message = "radius 4.5".to_string();
        lines.advance(100, after(2.0));
        lines.advance(300, after(3.9));
        lines.advance(400, after(4.0));
        lines.advance(100, after(5.0));
        lines.print(after(5.0));
        // 200 images in 2 s are 100 images/s, so 800 more take 8 s; and so on.
        assert_eq!(
            String::from_utf8(lines.out).unwrap(),
            "layer 0: 200/1000 images, 100 images/s, ETA 8 s, radius 4.5\n\
             layer 0: 900/1000 images, 225 images/s, ETA 0 s, radius 4.5\n\
             layer 0: 1000/1000 images, 200 images/s, ETA 0 s, radius 4.5\n"
        );
    }

    /// A run that goes on: 100 images in 2 s are 50 images/s, and the 400 that are left take 8 s, however many there
    /// were before.
    #[test]
    fn images_of_an_earlier_process_do_not_count_for_the_speed() {
        let start = Instant::now();
        let lines = Lines::new(Vec::new(), 1000, "images", "layer 0", start);
        let mut lines = Lines { before: 500, done: 500, ..lines };
        lines.print(start);
        lines.advance(100, start + Duration::from_secs(2));
        assert_eq!(
            String::from_utf8(lines.out).unwrap(),
            "layer 0: 500/1000 images\nlayer 0: 600/1000 images, 50 images/s, ETA 8 s\n"
        );
        let resumed = bar(1000, "images", "layer 0");
        let Progress(Display::Bar(resumed)) = Progress(Display::Bar(resumed)).starting_from(500)
        else {
            panic!("another display")
        };
        assert_eq!((resumed.position(), resumed.per_sec()), (500, 0.0));
    }

    #[test]
    fn all_of_the_bar_s_template_is_known() {
        let style = ProgressStyle::default_bar().template("{bar:20} {pos}/{len} {eta} {wide_msg}");
        assert!(style.is_ok());
        Progress(Display::Bar(bar(10, "images", "layer 0"))).finish();
    }
}
