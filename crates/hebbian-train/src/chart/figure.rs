//! Panels with titles, axes and legends, side by side in one picture.

use super::axis::Tick;
use super::canvas::{Anchor, Drawn, Pen, Point, Rgb, paint, text_width};
use crate::{Error, Picture, Result};

const TITLE: f64 = 34.0;
const LABEL: f64 = 30.0;
const SMALL: f64 = 26.0;
/// Between a thing and its label.
const GAP: f64 = 14.0;
/// Around panels.
const MARGIN: f64 = 28.0;
/// From one line of a legend to the next.
const LINE: f64 = 40.0;
/// How long a line's sample in the legend is.
const SAMPLE: f64 = 56.0;
/// The plot's height without its labels.
const HEIGHT: f64 = 540.0;
/// The width of a series' line.
pub(super) const STROKE: f64 = 4.0;
/// The radius of a dot among few.
pub(super) const DOT: f64 = 1.5 * STROKE;

const PAPER: Rgb = [255; 3];
const INK: Rgb = [34; 3];
const AXIS: Rgb = [110; 3];
const GRID: Rgb = [230; 3];

/// A part of a plot. Points are from (0, 0), the lower left corner, to (1, 1).
#[derive(Debug)]
pub(super) enum Mark {
    Line {
        points: Vec<Point>,
        width: f64,
        colour: Rgb,
        dashed: bool,
    },
    Dot {
        at: Point,
        radius: f64,
        colour: Rgb,
    },
    Bar {
        from: Point,
        to: Point,
        colour: Rgb,
    },
    /// A number above a point, or below it.
    Number {
        at: Point,
        below: bool,
        text: String,
    },
}

/// What a series looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Look {
    Solid,
    Dashed,
    Dots,
    Box,
}

/// A line of a legend.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    pub colour: Rgb,
    pub look: Look,
}

/// A plot with all that is around it.
#[derive(Debug)]
pub(super) struct Panel {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    /// The plot's width without its labels.
    pub width: f64,
    pub x_ticks: Vec<Tick>,
    pub y_ticks: Vec<Tick>,
    /// Whether there are grid lines at the x ticks too.
    pub vertical_grid: bool,
    pub marks: Vec<Mark>,
    pub legend: Vec<Entry>,
}

/// The room that a panel needs.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    left: f64,
    width: f64,
    right: f64,
    top: f64,
    height: f64,
    bottom: f64,
}

/// The panels in reading order, in `columns`. Plots in one column or row are aligned. A legend that
/// is the same for all is drawn once.
pub(super) fn draw(mut panels: Vec<Panel>, columns: usize) -> Result<Picture> {
    let columns = columns.clamp(1, panels.len().max(1));
    let shared = panels.windows(2).all(|pair| pair[0].legend == pair[1].legend);
    for (index, panel) in panels.iter_mut().enumerate() {
        if shared && index + 1 != columns {
            panel.legend.clear();
        }
    }
    let mut column_rooms = vec![Room::default(); columns];
    let mut row_rooms = vec![Room::default(); panels.len().div_ceil(columns)];
    for (index, panel) in panels.iter().enumerate() {
        let room = panel.room().map_err(|reason| panel.error(reason))?;
        column_rooms[index % columns].include(room);
        row_rooms[index / columns].include(room);
    }
    let width: f64 = column_rooms.iter().map(|room| room.left + room.width + room.right).sum();
    let height: f64 = row_rooms.iter().map(|room| room.top + room.height + room.bottom).sum();
    paint(width.ceil() as usize, height.ceil() as usize, |pen| {
        let (mut rest, mut above) = (panels.iter(), 0.0);
        for row in &row_rooms {
            let mut before = 0.0;
            for (column, panel) in column_rooms.iter().zip(rest.by_ref()) {
                let plot = Plot {
                    start: before,
                    left: before + column.left,
                    top: above + row.top,
                    width: column.width,
                    height: row.height,
                };
                panel.draw(pen, plot).map_err(|reason| panel.error(reason))?;
                before += column.left + column.width + column.right;
            }
            above += row.top + row.height + row.bottom;
        }
        Ok(())
    })
}

/// Where a plot is.
#[derive(Debug, Clone, Copy)]
struct Plot {
    /// Where its y label's margin begins.
    start: f64,
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Plot {
    fn place(&self, (x, y): Point) -> Point {
        (self.left + x * self.width, self.top + (1.0 - y) * self.height)
    }
}

impl Room {
    fn include(&mut self, other: Self) {
        self.left = self.left.max(other.left);
        self.width = self.width.max(other.width);
        self.right = self.right.max(other.right);
        self.top = self.top.max(other.top);
        self.height = self.height.max(other.height);
        self.bottom = self.bottom.max(other.bottom);
    }
}

impl Panel {
    fn error(&self, reason: String) -> Error {
        Error::Chart { title: self.title.clone(), reason }
    }

    fn room(&self) -> Drawn<Room> {
        let lines = |text: &str, size: f64| if text.is_empty() { 0.0 } else { size + GAP };
        let names = widest(self.legend.iter().map(|entry| &entry.name))?;
        let legend = if self.legend.is_empty() { 0.0 } else { GAP + SAMPLE + GAP + names };
        // The last tick's label may stand out by half of it.
        let overhang = widest(self.x_ticks.iter().map(|tick| &tick.label))? / 2.0;
        let ticks = widest(self.y_ticks.iter().map(|tick| &tick.label))?;
        Ok(Room {
            left: MARGIN + lines(&self.y_label, LABEL) + (ticks + GAP).max(overhang),
            width: self.width.max(text_width(&self.title, TITLE)?),
            right: MARGIN + legend.max(overhang),
            top: MARGIN + lines(&self.title, TITLE),
            height: HEIGHT
                .max(LINE * self.legend.len() as f64)
                .max(text_width(&self.y_label, LABEL)?),
            bottom: GAP + SMALL + lines(&self.x_label, LABEL) + MARGIN,
        })
    }

    fn draw(&self, pen: &mut Pen<'_>, plot: Plot) -> Drawn<()> {
        let (right, bottom) = plot.place((1.0, 0.0));
        let middle = plot.place((0.5, 0.5));
        for tick in &self.y_ticks {
            let (_, y) = plot.place((0.0, tick.at));
            pen.rectangle((plot.left, y - 1.0), (right, y + 1.0), GRID)?;
            pen.text(&tick.label, (plot.left - GAP, y), Anchor::Right, SMALL, INK)?;
        }
        let below = bottom + GAP + SMALL / 2.0;
        for tick in &self.x_ticks {
            let (x, _) = plot.place((tick.at, 0.0));
            if self.vertical_grid {
                pen.rectangle((x - 1.0, plot.top), (x + 1.0, bottom), GRID)?;
            }
            pen.text(&tick.label, (x, below), Anchor::Centre, SMALL, INK)?;
        }
        let before = plot.start + MARGIN + LABEL / 2.0;
        pen.text(&self.y_label, (before, middle.1), Anchor::Upwards, LABEL, INK)?;
        let below = bottom + GAP + SMALL + GAP + LABEL / 2.0;
        pen.text(&self.x_label, (middle.0, below), Anchor::Centre, LABEL, INK)?;
        let above = plot.top - GAP - TITLE / 2.0;
        pen.text(&self.title, (middle.0, above), Anchor::Centre, TITLE, INK)?;

        pen.rectangle((plot.left - 1.0, plot.top), (plot.left + 1.0, bottom + 1.0), AXIS)?;
        pen.rectangle((plot.left - 1.0, bottom - 1.0), (right, bottom + 1.0), AXIS)?;
        for mark in &self.marks {
            mark.draw(pen, plot)?;
        }
        for (index, entry) in self.legend.iter().enumerate() {
            entry.draw(pen, (right + GAP, plot.top + LINE * (index as f64 + 0.5)))?;
        }
        Ok(())
    }
}

impl Mark {
    fn draw(&self, pen: &mut Pen<'_>, plot: Plot) -> Drawn<()> {
        match self {
            Self::Line { points, width, colour, dashed } => {
                let points: Vec<_> = points.iter().map(|&point| plot.place(point)).collect();
                if *dashed {
                    pen.dashed_line(&points, *width, *colour)
                } else {
                    pen.line(&points, *width, *colour)
                }
            }
            Self::Dot { at, radius, colour } => pen.dot(plot.place(*at), *radius, *colour),
            Self::Bar { from, to, colour } => {
                pen.rectangle(plot.place(*from), plot.place(*to), *colour)
            }
            Self::Number { at, below, text } => {
                let (x, y) = plot.place(*at);
                let y = if *below { y + 0.65 * SMALL } else { y - 0.65 * SMALL };
                // No grid line strikes it through.
                let half = (text_width(text, SMALL)? / 2.0, 0.4 * SMALL);
                pen.rectangle((x - half.0, y - half.1), (x + half.0, y + half.1), PAPER)?;
                pen.text(text, (x, y), Anchor::Centre, SMALL, INK)
            }
        }
    }
}

impl Entry {
    fn draw(&self, pen: &mut Pen<'_>, (x, y): Point) -> Drawn<()> {
        let sample = [(x, y), (x + SAMPLE, y)];
        match self.look {
            Look::Solid => pen.line(&sample, STROKE, self.colour)?,
            Look::Dashed => pen.dashed_line(&sample, STROKE, self.colour)?,
            Look::Dots => {
                for share in [0.15, 0.5, 0.85] {
                    pen.dot((x + share * SAMPLE, y), DOT, self.colour)?;
                }
            }
            Look::Box => pen.rectangle(
                (x + SAMPLE / 2.0, y - SMALL / 2.0),
                (x + SAMPLE, y + SMALL / 2.0),
                self.colour,
            )?,
        }
        pen.text(&self.name, (x + SAMPLE + GAP, y), Anchor::Left, SMALL, INK)
    }
}

/// The widest of small texts.
pub(super) fn widest<'a>(texts: impl Iterator<Item = &'a String>) -> Drawn<f64> {
    texts.map(|text| text_width(text, SMALL)).try_fold(0f64, |most, width| Ok(most.max(width?)))
}
