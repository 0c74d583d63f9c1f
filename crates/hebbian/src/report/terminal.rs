//! The curves of a run in the terminal, for use on a server.

use super::curves::{Chart, MOMENTS, Series, charts};
use super::run::Folder;
use crate::stop;
use anyhow::Result;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{self, Axis, Block, Dataset, GraphType, Paragraph};
use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the run's folder is read.
const EVERY: Duration = Duration::from_secs(1);
/// The least size of a chart, in characters.
const LEAST: (u16, u16) = (44, 12);
/// The colours of the curves of a chart, in turn; they can be told apart on dark and light backgrounds.
const COLOURS: [Color; 6] =
    [Color::Blue, Color::Red, Color::Green, Color::Magenta, Color::Cyan, Color::Yellow];

/// Shows the run in a folder until a key ends it or, if stdout is not a terminal, returns its latest numbers.
///
/// # Errors
/// A folder without a run; a terminal that does not answer.
pub(super) fn show(run: &Path) -> Result<String> {
    let mut view = View::read(run)?;
    if !stdout().is_terminal() {
        return Ok(view.text());
    }
    // A signal ends the loop below instead of the program, so that the terminal is restored.
    let _watch = stop().watch();
    let mut terminal = ratatui::try_init()?;
    // Whatever happens, the terminal is restored below.
    let shown = (|| {
        let mut page = 0;
        while stop().asked().is_none() {
            let read = Instant::now();
            terminal.draw(|frame| page = view.draw(frame, page))?;
            while let Some(left) = EVERY.checked_sub(read.elapsed()) {
                if !event::poll(left)? {
                    break;
                }
                match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                            return Ok(());
                        }
                        KeyCode::Right | KeyCode::Down | KeyCode::PageDown | KeyCode::Tab => {
                            page += 1;
                        }
                        KeyCode::Left | KeyCode::Up | KeyCode::PageUp => {
                            page = page.saturating_sub(1);
                        }
                        _ => continue,
                    },
                    Event::Resize(..) => {}
                    _ => continue,
                }
                terminal.draw(|frame| page = view.draw(frame, page))?;
            }
            view = View::read(run)?;
        }
        Ok(())
    })();
    // A terminal that was closed cannot be restored, nor can it show that.
    let _ = ratatui::try_restore();
    if let Some(signal) = stop().asked() {
        std::process::exit(128 + signal as i32);
    }
    shown.map(|()| String::new())
}

/// What is shown of a run.
struct View {
    title: String,
    state: String,
    charts: Vec<Chart>,
}

impl View {
    fn read(run: &Path) -> Result<Self> {
        let folder = Folder::read(run)?;
        let charts = charts(&[vec![&folder.history]], MOMENTS);
        let state = match &folder.results {
            Some(results) => {
                format!(
                    "complete, {} accuracy {:.2} %",
                    hebbian_train::part(results.validation),
                    100.0 * results.test_accuracy
                )
            }
            None => "not complete".to_string(),
        };
        let title = format!(
            "{} on {}, seed {}",
            folder.preset(),
            folder.text("dataset"),
            folder.config["seed"]
        );
        Ok(Self { title, state, charts })
    }

    /// Returns the latest numbers, one line for each chart.
    fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.title, self.state);
        for chart in &self.charts {
            let latest = chart.series.iter().filter_map(|series| {
                let value = series.mean.iter().rev().find_map(|value| *value)?;
                Some(format!("{} {}", series.name, number(value, chart.percent)).trim().to_string())
            });
            let _ = writeln!(text, "  {}: {}", chart.title, latest.collect::<Vec<_>>().join(", "));
        }
        text
    }

    /// Draws the charts of a page, as many as there is room for, and returns the number of that page: the last one if
    /// there are fewer pages than asked for.
    fn draw(&self, frame: &mut Frame<'_>, page: usize) -> usize {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
                .areas(frame.area());
        let columns = usize::from((body.width / LEAST.0).clamp(1, 3));
        let rows = usize::from((body.height / LEAST.1).max(1));
        let pages = self.charts.len().div_ceil(columns * rows).max(1);
        let page = page.min(pages - 1);
        let title = Style::default().add_modifier(Modifier::BOLD);
        let head_line =
            Line::from(vec![Span::styled(&*self.title, title), format!(": {}", self.state).into()]);
        frame.render_widget(Paragraph::new(head_line), head);
        let charts: Vec<&Chart> =
            self.charts.iter().skip(page * columns * rows).take(columns * rows).collect();
        if charts.is_empty() {
            frame.render_widget(Paragraph::new("nothing was measured yet"), body);
        }
        let used = charts.len().div_ceil(columns).max(1);
        let lines = Layout::vertical(vec![Constraint::Fill(1); used]).split(body);
        for (line, charts) in lines.iter().zip(charts.chunks(columns)) {
            let places = Layout::horizontal(vec![Constraint::Fill(1); columns]).split(*line);
            for (place, chart) in places.iter().zip(charts) {
                draw(chart, frame, *place);
            }
        }
        let keys = format!("page {} of {pages}; arrows turn it, q ends", page + 1);
        frame.render_widget(Paragraph::new(keys), foot);
        page
    }
}

/// Draws a chart with its curves, and the latest number of each in the legend.
fn draw(chart: &Chart, frame: &mut Frame<'_>, place: Rect) {
    let Some(clock) = chart.clocks.first() else { return };
    let curves: Vec<(&Series, Vec<(f64, f64)>)> = chart
        .series
        .iter()
        .map(|series| {
            let points = clock.values.iter().zip(&series.mean);
            let finite =
                points.filter_map(|(&x, y)| Some((x, (*y)?))).filter(|(_, y)| y.is_finite());
            (series, finite.collect())
        })
        .collect();
    let all = || curves.iter().flat_map(|(_, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            all().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        // A single value has some room around it.
        let room = if high > low { 0.0 } else { 0.5 * low.abs().max(1e-9) };
        [low - room, high + room]
    };
    if all().next().is_none() {
        return;
    }
    let (x, y) = (range(|point| point.0), range(|point| point.1));
    let datasets = curves.iter().enumerate().map(|(at, (series, points))| {
        let latest = points.last().map(|(_, y)| number(*y, chart.percent)).unwrap_or_default();
        Dataset::default()
            .name(format!("{} {latest}", series.name).trim().to_string())
            .marker(Marker::Braille)
            .graph_type(if points.len() > 1 { GraphType::Line } else { GraphType::Scatter })
            .style(Style::default().fg(COLOURS[at % COLOURS.len()]))
            .data(points)
    });
    let axis = |bounds: [f64; 2], percent: bool| {
        let middle = (bounds[0] + bounds[1]) / 2.0;
        let labels = [bounds[0], middle, bounds[1]].map(|value| number(value, percent));
        Axis::default().bounds(bounds).labels(labels)
    };
    let widget = widgets::Chart::new(datasets.collect())
        .block(Block::bordered().title(&*chart.title))
        .x_axis(axis(x, false).title(clock.name))
        .y_axis(axis(y, chart.percent))
        .legend_position(Some(widgets::LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Ratio(2, 3), Constraint::Ratio(2, 3)));
    frame.render_widget(widget, place);
}

/// Formats a number with about four digits.
fn number(value: f64, percent: bool) -> String {
    match (percent, value.abs()) {
        (true, _) => format!("{:.2} %", 100.0 * value),
        (_, 0.0) => "0".to_string(),
        (_, size) if (1e4..1e7).contains(&size) && value.fract() == 0.0 => format!("{value:.0}"),
        (_, size) if !(1e-3..1e4).contains(&size) => format!("{value:.2e}"),
        (_, size) if size >= 100.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{value:.3}");
            digits.trim_end_matches('0').trim_end_matches('.').to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hebbian_train::{History, LogLine, Moment};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn view(terms: &[&str]) -> View {
        let line = |images: u64, value: f64| {
            let moment = Moment::Learning { step: images, images, epoch: 0.5 };
            let values = terms.iter().map(|term| (term.to_string(), Some(value)));
            LogLine { moment, seconds: 1.0, values: values.collect() }
        };
        let history = History(vec![line(100, 0.25), line(300, 0.75)]);
        let charts = charts(&[vec![&history]], MOMENTS);
        View { title: "a preset on digits, seed 3".into(), state: "not complete".into(), charts }
    }

    /// Returns the text on a screen of that size, line by line, and the number of the page.
    fn screen(view: &View, (width, height): (u16, u16), page: usize) -> (Vec<String>, usize) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut shown = 0;
        terminal.draw(|frame| shown = view.draw(frame, page)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        (cells.chunks(usize::from(width)).map(|line| line.concat()).collect(), shown)
    }

    /// Title, both ends of both axes, the latest value in the legend, and a line that rises from the left to the right.
    #[test]
    fn a_curve_is_drawn_with_its_numbers() {
        let (lines, _) = screen(&view(&["train_accuracy"]), (60, 20), 0);
        let has = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(lines[0].starts_with("a preset on digits, seed 3: not complete"), "{lines:#?}");
        for text in
            ["Accuracy", "images shown", "25.00 %", "75.00 %", "100", "300", "training 75.00 %"]
        {
            assert!(has(text), "{text}: {lines:#?}");
        }
        let braille =
            |line: &String| line.chars().position(|c| ('\u{2801}'..'\u{28ff}').contains(&c));
        let firsts: Vec<usize> = lines.iter().filter_map(braille).collect();
        assert!(firsts.len() > 3 && firsts.windows(2).all(|pair| pair[0] >= pair[1]), "{lines:#?}");
        assert!(lines[19].starts_with("page 1 of 1"));
    }

    #[test]
    fn charts_without_room_are_on_further_pages() {
        let view = view(&["train_accuracy", "train_loss", "angle/a", "layers.0.mean_radius"]);
        for (size, page, expected) in [
            ((100, 26), 0, "page 1 of 1"),
            ((60, 14), 0, "page 1 of 4"),
            ((60, 14), 9, "page 4 of 4"),
        ] {
            let (lines, shown) = screen(&view, size, page);
            assert!(lines.last().unwrap().starts_with(expected), "{lines:#?}");
            assert_eq!(format!("page {} ", shown + 1), expected[..7].to_string());
        }
        // Without any room, drawing does not fail.
        screen(&view, (3, 2), 0);
        screen(&View { charts: Vec::new(), ..view }, (40, 10), 0);
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        for (value, percent, text) in [
            (0.98765, true, "98.77 %"),
            (0.0, false, "0"),
            (1.5, false, "1.5"),
            (123.4, false, "123"),
            (50_000.0, false, "50000"),
            (0.00012, false, "1.20e-4"),
        ] {
            assert_eq!(number(value, percent), text);
        }
    }
}
