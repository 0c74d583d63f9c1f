//! Progress of a loop over images.

use std::io::{IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

use hebbian_data::printable;
use indicatif::{DecimalBytes, ProgressBar, ProgressState, ProgressStyle};

/// A display of how far a loop is, its speed, the time left, and a free message.
///
/// On a terminal this is a bar; elsewhere (such as in a log file) it is a plain line at most every two seconds
/// and one at the end. When quiet, or if there is nothing to count, nothing is shown; bytes may also be counted to an
/// unknown total. All output goes to stderr, with the label made [`printable`].
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
        Self::shown(total, Unit::Of(unit), label, quiet || total == 0)
    }

    /// Starts at 0 of `total` bytes; 0 if their number is not known.
    pub fn bytes(total: u64, label: &str, quiet: bool) -> Self {
        Self::shown(total, Unit::Bytes, label, quiet)
    }

    fn shown(total: u64, unit: Unit, label: &str, quiet: bool) -> Self {
        Self(if quiet {
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

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// Things that are called this.
    Of(&'static str),
    Bytes,
}

impl Unit {
    /// How much of the total is done, such as `3/5 images`, or `2.00 MB` of an unknown total.
    fn part(self, done: u64, total: u64) -> String {
        match self {
            Self::Of(unit) => format!("{done}/{total} {unit}"),
            Self::Bytes if total == 0 => DecimalBytes(done).to_string(),
            Self::Bytes => format!("{}/{}", DecimalBytes(done), DecimalBytes(total)),
        }
    }

    fn speed(self, per_second: f64) -> String {
        match self {
            Self::Of(unit) => format!("{per_second:.0} {unit}/s"),
            Self::Bytes => format!("{}/s", DecimalBytes(per_second as u64)),
        }
    }
}

const BAR: &str = "{prefix} [{bar:20}] {part} {speed} ETA {eta} {wide_msg}";
const OF_UNKNOWN_LENGTH: &str = "{prefix} {part} {speed} {wide_msg}";

fn bar(total: u64, unit: Unit, label: &str) -> ProgressBar {
    let template = if total == 0 { OF_UNKNOWN_LENGTH } else { BAR };
    let style = ProgressStyle::default_bar()
        .template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("part", move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = text.write_str(&unit.part(state.pos(), total));
        })
        .with_key("speed", move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = text.write_str(&unit.speed(state.per_sec()));
        })
        .progress_chars("=> ");
    let bar = if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) };
    bar.with_style(style).with_prefix(printable(label))
}

const BETWEEN_LINES: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Lines<W> {
    out: W,
    total: u64,
    unit: Unit,
    label: String,
    message: String,
    /// How many were done before the display started.
    before: u64,
    done: u64,
    started: Instant,
    printed: Instant,
}

impl<W: Write> Lines<W> {
    fn new(out: W, total: u64, unit: Unit, label: &str, now: Instant) -> Self {
        let (label, message) = (printable(label), String::new());
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
        let mut line = format!("{}: {}", self.label, self.unit.part(self.done, self.total));
        if speed > 0.0 {
            line += &format!(", {}", self.unit.speed(speed));
            if self.total > 0 {
                let left = self.total.saturating_sub(self.done) as f64;
                line += &format!(", ETA {:.0} s", left / speed);
            }
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

    const IMAGES: Unit = Unit::Of("images");

    #[test]
    fn a_line_every_two_seconds_and_one_at_the_end() {
        let start = Instant::now();
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut lines = Lines::new(Vec::new(), 1000, IMAGES, "layer 0", start);
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
        let lines = Lines::new(Vec::new(), 1000, IMAGES, "layer 0", start);
        let mut lines = Lines { before: 500, done: 500, ..lines };
        lines.print(start);
        lines.advance(100, start + Duration::from_secs(2));
        assert_eq!(
            String::from_utf8(lines.out).unwrap(),
            "layer 0: 500/1000 images\nlayer 0: 600/1000 images, 50 images/s, ETA 8 s\n"
        );
        let resumed = bar(1000, IMAGES, "layer 0");
        let Progress(Display::Bar(resumed)) = Progress(Display::Bar(resumed)).starting_from(500)
        else {
            panic!("another display")
        };
        assert_eq!((resumed.position(), resumed.per_sec()), (500, 0.0));
    }

    /// The names of files and presets are those of others.
    #[test]
    fn a_label_does_not_control_the_terminal() {
        let label = "a\u{1b}[2Jb";
        let lines = Lines::new(Vec::<u8>::new(), 1000, IMAGES, label, Instant::now());
        let labels = [lines.label, bar(1000, IMAGES, label).prefix()];
        assert_eq!(labels, ["a\\u{1b}[2Jb"; 2]);
    }

    /// 12 MB in 4 s are 3 MB/s, and the 18 MB that are left take 6 s.
    #[test]
    fn bytes_have_their_unit() {
        for (total, want) in [
            (30_000_000, "x: 12.00 MB/30.00 MB, 3.00 MB/s, ETA 6 s\n"),
            (0, "x: 12.00 MB, 3.00 MB/s\n"),
        ] {
            let start = Instant::now();
            let mut lines = Lines::new(Vec::new(), total, Unit::Bytes, "x", start);
            lines.advance(12_000_000, start + Duration::from_secs(4));
            assert_eq!(String::from_utf8(lines.out).unwrap(), want);
        }
    }

    /// What a terminal shows, also of an unknown total.
    #[test]
    fn a_bar_shows_the_same() {
        let term = indicatif::InMemoryTerm::new(3, 79);
        for (total, unit, shown) in [
            (1000, IMAGES, "layer 0 [=====>              ] 250/1000 images "),
            (2_000_000, Unit::Bytes, "layer 0 [==>                 ] 250.00 kB/2.00 MB "),
            (0, Unit::Bytes, "layer 0 250.00 kB "),
        ] {
            let bar = bar(total, unit, "layer 0");
            bar.set_draw_target(indicatif::ProgressDrawTarget::term_like(Box::new(term.clone())));
            bar.set_position(if total == 1000 { 250 } else { 250_000 });
            bar.force_draw();
            let screen = term.contents();
            assert!(screen.starts_with(shown), "{screen}");
            bar.finish_and_clear();
        }
    }
}
