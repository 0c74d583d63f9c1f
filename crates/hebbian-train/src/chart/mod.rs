//! Line and bar charts as pictures.

mod axis;
mod canvas;
mod figure;
mod histogram;

use axis::{Axis, Tick};
use canvas::{Point, Rgb};
use figure::{DOT, Entry, Look, Mark, Panel, STROKE, widest};
pub use histogram::Histogram;

use crate::{Error, Picture, Result};

/// Colours that people who see few can tell apart (Okabe and Ito, 2008), those of good contrast
/// on white: blue, vermilion, green, purple, light blue, orange, black.
const PALETTE: [Rgb; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [0, 0, 0],
];
const WHISKER: Rgb = [60; 3];
/// Lines of fewer points have a dot at each, and dots that are more are smaller.
const MANY: usize = 25;
/// The radius of a dot among very many.
const SMALLEST_DOT: f64 = 1.5;
/// A line chart's width in pixels, without its labels.
const LINES_WIDTH: f64 = 960.0;
/// Pixels of a bar, between neighbouring bars' numbers, and between groups.
const BAR: std::ops::RangeInclusive<f64> = 44.0..=140.0;
const BETWEEN: f64 = 14.0;
const GROUP_GAP: f64 = 50.0;

/// A chart of lines, for learning curves and the like.
///
/// ```
/// use hebbian_train::{LineChart, Series};
///
/// let chart = LineChart {
///     title: "Digits".to_string(),
///     x_label: "epoch".to_string(),
///     y_label: "error".to_string(),
///     log_y: true,
///     series: vec![
///         Series {
///             name: "training".to_string(),
///             points: vec![(1.0, 0.3), (2.0, 0.04), (3.0, 0.002)],
///             ..Default::default()
///         },
///         Series {
///             name: "validation".to_string(),
///             points: vec![(1.0, 0.32), (2.0, 0.06), (3.0, 0.03)],
///             dashed: true,
///             ..Default::default()
///         },
///     ],
/// };
/// let picture = chart.draw()?; // for `RunFolder::picture` or `Picture::save_png`
/// assert!(picture.width() > picture.height());
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LineChart {
    /// What stands above it; may be empty, as the labels may.
    pub title: String,
    /// What x is.
    pub x_label: String,
    /// What y is.
    pub y_label: String,
    /// Whether y is logarithmic. Points with y ≤ 0 are then left out.
    pub log_y: bool,
    /// The lines, the first one lowest.
    pub series: Vec<Series>,
}

/// A line of a [`LineChart`], or dots. Two points make a reference line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend; a series without one is not there.
    pub name: String,
    /// The points (x, y) in the order in which they are joined. One that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    /// Whether the line is dashed.
    pub dashed: bool,
    /// Whether the points are dots that nothing joins; the more, the smaller.
    pub dots: bool,
    /// Which of seven colours it has, from 0: blue, vermilion, green, purple, light blue, orange,
    /// black. Then they repeat. Series that belong together may share one.
    pub colour: usize,
}

/// A chart of bars in groups, with an error bar on and the value above each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BarChart {
    /// What stands above it; may be empty, as the label may.
    pub title: String,
    /// What the values are.
    pub y_label: String,
    /// The groups' names, from the left.
    pub groups: Vec<String>,
    /// The bars in each group, from the left.
    pub series: Vec<BarSeries>,
}

/// The bars of one colour in a [`BarChart`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BarSeries {
    /// Its name in the legend; a series without one is not there.
    pub name: String,
    /// A value for each group. One that is missing or not finite has no bar.
    pub values: Vec<Option<f64>>,
    /// How far the error bar reaches above and below each value, or nothing at all. One that is
    /// missing or not finite is not drawn.
    pub errors: Vec<Option<f64>>,
}

/// Several line charts in one picture, in reading order in `columns`, with their axes aligned. If
/// all have the same legend, it is drawn once.
///
/// # Errors
/// When there are no panels, or one has no point to draw.
pub fn draw_panels(panels: &[LineChart], columns: usize) -> Result<Picture> {
    if panels.is_empty() {
        return Err(Error::Argument("a picture of charts needs at least one".to_string()));
    }
    figure::draw(panels.iter().map(LineChart::panel).collect::<Result<_>>()?, columns)
}

impl LineChart {
    /// The chart as a picture, large enough for print.
    ///
    /// # Errors
    /// When it has no point to draw.
    pub fn draw(&self) -> Result<Picture> {
        figure::draw(vec![self.panel()?], 1)
    }

    fn panel(&self) -> Result<Panel> {
        let shown = |&&(x, y): &&(f64, f64)| Axis::shows(x, false) && Axis::shows(y, self.log_y);
        let points = self.series.iter().flat_map(|series| &series.points).filter(shown);
        let x = Axis::around(points.clone().map(|point| point.0), false, 0.02);
        let y = Axis::around(points.map(|point| point.1), self.log_y, 0.06);
        let (Some(x), Some(y)) = (x, y) else {
            let given: usize = self.series.iter().map(|series| series.points.len()).sum();
            let kind = if self.log_y { "finite with y > 0, as log_y needs" } else { "finite" };
            return Err(Error::Chart {
                title: self.title.clone(),
                reason: format!("of the {given} points of its series none is {kind}"),
            });
        };
        let mut marks = Vec::new();
        for Series { points, dashed, dots, colour, .. } in &self.series {
            let colour = PALETTE[colour % PALETTE.len()];
            // Small enough that many do not hide each other, large enough that some can be seen.
            let share = MANY as f64 / points.len().max(MANY) as f64;
            let radius = if *dots { (DOT * share.powf(0.25)).max(SMALLEST_DOT) } else { DOT };
            // A curve of few points shows where they are; an outline, which goes straight up, does
            // not.
            let upright = points.windows(2).any(|pair| pair[0].0 == pair[1].0);
            let marked = *dots || ((3..MANY).contains(&points.len()) && !upright);
            // What lies between gaps.
            for run in points.split(|point| !shown(&point)).filter(|run| !run.is_empty()) {
                let points = run.iter().map(|&(at, value)| (x.position(at), y.position(value)));
                if marked || run.len() == 1 {
                    marks.extend(points.clone().map(|at| Mark::Dot { at, radius, colour }));
                }
                if *dots {
                    continue;
                }
                let points = points.collect();
                marks.push(Mark::Line { points, width: STROKE, colour, dashed: *dashed });
            }
        }
        Ok(Panel {
            title: self.title.clone(),
            x_label: self.x_label.clone(),
            y_label: self.y_label.clone(),
            width: LINES_WIDTH,
            x_ticks: x.ticks(),
            y_ticks: y.ticks(),
            vertical_grid: true,
            marks,
            legend: legend(self.series.iter().map(|series| {
                let look = match series {
                    Series { dots: true, .. } => Look::Dots,
                    Series { dashed: true, .. } => Look::Dashed,
                    _ => Look::Solid,
                };
                (&series.name, series.colour, look)
            })),
        })
    }
}

impl BarChart {
    /// The chart as a picture, large enough for print and as wide as its numbers and names need.
    ///
    /// # Errors
    /// When a series has not one value (and error, if any) per group, an error is negative, or there
    /// is no value to draw.
    pub fn draw(&self) -> Result<Picture> {
        figure::draw(vec![self.panel().map_err(|reason| self.error(reason))?], 1)
    }

    fn error(&self, reason: String) -> Error {
        Error::Chart { title: self.title.clone(), reason }
    }

    /// The values to draw with their errors: (group, series, value, error or 0).
    fn bars(&self) -> std::result::Result<Vec<(usize, usize, f64, f64)>, String> {
        let mut bars = Vec::new();
        for (index, BarSeries { name, values, errors }) in self.series.iter().enumerate() {
            for (what, found) in [("values", values.len()), ("errors", errors.len())] {
                if found != self.groups.len() && (what == "values" || found > 0) {
                    let groups = self.groups.len();
                    return Err(format!(
                        "series {name:?} has {found} {what} for {groups} groups; give one each, \
                         None where there is none"
                    ));
                }
            }
            for (group, value) in values.iter().enumerate() {
                let error = errors.get(group).copied().flatten();
                if let Some(error) = error.filter(|&error| error < 0.0) {
                    return Err(format!("series {name:?} has a negative error, {error}"));
                }
                let error = error.filter(|&error| Axis::shows(error, false)).unwrap_or(0.0);
                if let Some(value) = value.filter(|&value| Axis::shows(value, false)) {
                    bars.push((group, index, value, error));
                }
            }
        }
        Ok(bars)
    }

    fn panel(&self) -> std::result::Result<Panel, String> {
        let bars = self.bars()?;
        let ends = bars.iter().flat_map(|&(_, _, value, error)| [value - error, value + error]);
        let Some(y) =
            (!bars.is_empty()).then(|| Axis::around(ends.chain([0.0]), false, 0.1)).flatten()
        else {
            return Err(format!(
                "none of the values of its {} series and {} groups is there and finite",
                self.series.len(),
                self.groups.len()
            ));
        };
        let numbers = numbers(bars.iter().map(|bar| bar.2));
        let (groups, series) = (self.groups.len() as f64, self.series.len() as f64);
        let narrowest = BAR.start().max(widest(numbers.iter())? + BETWEEN);
        let group = (narrowest * series + GROUP_GAP)
            .max(widest(self.groups.iter())? + BETWEEN)
            .max(LINES_WIDTH / 2.0 / groups);
        let bar = ((group - GROUP_GAP) / series).min(*BAR.end()).max(narrowest);

        let width = group * groups;
        let mut marks = Vec::new();
        let line = |points: &[Point]| Mark::Line {
            points: points.to_vec(),
            width: STROKE / 2.0,
            colour: WHISKER,
            dashed: false,
        };
        for (&(at, index, value, error), text) in bars.iter().zip(numbers) {
            let middle = group * (at as f64 + 0.5) + bar * (index as f64 + 0.5 - series / 2.0);
            let x = |pixels: f64| (middle + pixels) / width;
            let point = |pixels: f64, value: f64| (x(pixels), y.position(value));
            marks.push(Mark::Bar {
                from: point(-0.45 * bar, 0.0),
                to: point(0.45 * bar, value),
                colour: PALETTE[index % PALETTE.len()],
            });
            let (low, high) = (value - error, value + error);
            if error > 0.0 {
                let cap = 0.15 * bar;
                marks.push(line(&[point(0.0, low), point(0.0, high)]));
                marks.push(line(&[point(-cap, low), point(cap, low)]));
                marks.push(line(&[point(-cap, high), point(cap, high)]));
            }
            let below = value < 0.0;
            let at = point(0.0, if below { low } else { high });
            marks.push(Mark::Number { at, below, text });
        }
        marks.push(line(&[(0.0, y.position(0.0)), (1.0, y.position(0.0))]));
        let ticks = self.groups.iter().enumerate();
        Ok(Panel {
            title: self.title.clone(),
            x_label: String::new(),
            y_label: self.y_label.clone(),
            width,
            x_ticks: ticks
                .map(|(at, name)| Tick { at: (at as f64 + 0.5) / groups, label: name.clone() })
                .collect(),
            y_ticks: y.ticks(),
            vertical_grid: false,
            marks,
            legend: legend(
                self.series.iter().enumerate().map(|(at, series)| (&series.name, at, Look::Box)),
            ),
        })
    }
}

fn legend<'a>(series: impl Iterator<Item = (&'a String, usize, Look)>) -> Vec<Entry> {
    series
        .filter(|(name, ..)| !name.is_empty())
        .map(|(name, colour, look)| Entry {
            name: name.clone(),
            colour: PALETTE[colour % PALETTE.len()],
            look,
        })
        .collect()
}

/// The values with as many decimals as they have, but no more than give the largest four digits.
fn numbers(values: impl Iterator<Item = f64> + Clone) -> Vec<String> {
    let largest = values.clone().fold(0f64, |largest, value| largest.max(value.abs()));
    if largest != 0.0 && !(1e-4..1e7).contains(&largest) {
        return values.map(|value| format!("{value:.3e}").replace('-', "−")).collect();
    }
    let most = (3.0 - largest.log10().floor()).clamp(0.0, 8.0) as usize;
    let exact = |decimals: &usize| {
        let scale = 10f64.powi(*decimals as i32);
        values.clone().all(|value| (value * scale - (value * scale).round()).abs() < 1e-6)
    };
    let decimals = (0..most).find(exact).unwrap_or(most);
    values.map(|value| format!("{value:.decimals$}").replace('-', "−")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_they_need() {
        for (values, expected) in [
            (&[98.12, 97.0][..], "98.12 97.00"),
            (&[0.02, -0.013], "0.020 −0.013"),
            (&[3.0, 1200.0], "3 1200"),
            (&[1.0 / 3.0, 0.5], "0.3333 0.5000"),
            (&[12345.678], "12346"),
            (&[0.0], "0"),
            (&[2.5e9, -1.25e-3], "2.500e9 −1.250e−3"),
        ] {
            assert_eq!(numbers(values.iter().copied()).join(" "), expected);
        }
    }
}
