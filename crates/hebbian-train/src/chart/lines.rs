//! Charts of lines and dots.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::axis::Axis;
use super::page::{BAND, CAP, DASH, DOT, DOTTED, Drawn, Entry, Panel, Plot, SOLID, STROKE, draw};
use super::{PALETTE, colour, error};
use crate::{Error, Picture, Result, Spread};

/// Lines of fewer points have a dot at each point, and the dots of a series with more points are smaller.
const MANY: usize = 25;
/// The radius of a dot in a series of very many.
const SMALLEST_DOT: f64 = 3.0;

/// A chart of lines, for learning curves and the like.
///
/// ```
/// use hebbian_train::{LineChart, Series, Spread};
///
/// let mean = |mean, sd| Spread { mean, sd: Some(sd) };
/// let training = [(1.0, mean(0.3, 0.02)), (2.0, mean(0.04, 0.01)), (3.0, mean(0.002, 0.001))];
/// let chart = LineChart {
///     title: "Digits, mean ± sd of 3 seeds".to_string(),
///     x_label: "epoch".to_string(),
///     y_label: "error".to_string(),
///     log_y: true,
///     series: vec![
///         Series::of_means("training", training),
///         Series {
///             name: "chance".to_string(),
///             points: vec![(1.0, 0.9), (3.0, 0.9)],
///             dashed: true,
///             colour: 6,
///             ..Default::default()
///         },
///     ],
///     ..Default::default()
/// };
/// let picture = chart.draw()?; // for `RunFolder::picture` or `Picture::save_png`
/// assert!(picture.width() > picture.height());
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LineChart {
    /// The title above the chart. It may be empty, and so may the labels.
    pub title: String,
    /// The label of the x axis: what x is, with its unit.
    pub x_label: String,
    /// The label of the y axis: what y is, with its unit.
    pub y_label: String,
    /// Whether x is logarithmic. Points with x ≤ 0 are then left out.
    pub log_x: bool,
    /// Whether y is logarithmic. Points with y ≤ 0 are then left out.
    pub log_y: bool,
    /// The lines; later ones are drawn over earlier ones.
    pub series: Vec<Series>,
}

/// A line or a set of dots in a [`LineChart`]. A line of two points serves as a reference line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend; a series without a name is left out there.
    pub name: String,
    /// The points (x, y) in the order in which they are joined. A point that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// The spread of the values, as (x, low, high): drawn as a band behind the line, or as error bars if the
    /// points are dots. An entry that is not finite leaves a gap.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether the line is dashed.
    pub dashed: bool,
    /// Whether the points are drawn as dots without a line; the more dots, the smaller they are.
    pub dots: bool,
    /// The index of its colour, from 0: blue, vermilion, green, purple, light blue, orange, black. From 7 on
    /// the colours repeat, and lines are dotted. Series that belong together may share a colour.
    pub colour: usize,
}

/// Draws several line charts as one picture, in reading order in `columns` columns (at most 4), with their
/// axes aligned. If all have the same legend, it is drawn once.
///
/// # Errors
/// When there are no panels, or one has no point to draw.
pub fn draw_panels(panels: &[LineChart], columns: usize) -> Result<Picture> {
    let Some(first) = panels.first() else {
        return Err(Error::Argument("a picture of charts needs at least one".to_string()));
    };
    let panels = panels.iter().map(LineChart::panel).collect::<Result<_>>()?;
    draw(panels, columns).map_err(|reason| error(&first.title, reason))
}

impl LineChart {
    /// Draws the chart.
    ///
    /// # Errors
    /// When it has no point to draw.
    pub fn draw(&self) -> Result<Picture> {
        draw_panels(std::slice::from_ref(self), 1)
    }

    fn panel(&self) -> Result<Panel<'_>> {
        let shown = |&&point: &&(f64, f64)| self.shows(point);
        let points = self.series.iter().flat_map(|series| &series.points);
        let ends =
            self.series.iter().flat_map(|series| &series.band).flat_map(|ends| [ends.1, ends.2]);
        let drawn = points.clone().filter(shown);
        let x = Axis::around(drawn.clone().map(|point| point.0), self.log_x, 0.02);
        let y = Axis::around(drawn.map(|point| point.1).chain(ends), self.log_y, 0.06);
        let (Some(x), Some(y)) = (x, y) else {
            let positive = [(self.log_x, ", with x > 0"), (self.log_y, ", with y > 0")];
            let positive = positive.map(|(log, condition)| if log { condition } else { "" });
            let count = points.count();
            let reason = format!("of the {count} points none is finite{}", positive.concat());
            return Err(error(&self.title, reason));
        };
        Ok(Panel {
            title: &self.title,
            x_label: &self.x_label,
            y_label: &self.y_label,
            x,
            y,
            vertical_grid: true,
            least_width: 0.0,
            legend: self.series.iter().map(|series| self.entry(series)).collect(),
            draw: Box::new(|plot| {
                self.series.iter().try_for_each(|series| self.draw_spread(series, plot))?;
                self.series.iter().try_for_each(|series| self.draw_line(series, plot))
            }),
        })
    }

    fn shows(&self, (x, y): (f64, f64)) -> bool {
        Axis::shows(x, self.log_x) && Axis::shows(y, self.log_y)
    }

    /// How a series looks, in the plot and in the legend.
    fn entry<'c>(&self, series: &'c Series) -> Entry<'c> {
        let bands = self.series.iter().filter(|one| !one.band.is_empty() && !one.dots).count();
        Entry {
            name: &series.name,
            colour: colour(series.colour),
            shade: match series.band.is_empty() || series.dots {
                true => 0.0,
                // The more bands overlap, the paler they are.
                false => BAND.min(1.0 / bands as f64),
            },
            dash: match series {
                Series { dots: true, .. } => (0, 0),
                Series { dashed: true, .. } => DASH,
                Series { colour, .. } if *colour >= PALETTE.len() => DOTTED,
                _ => SOLID,
            },
            dot: if series.dots { 1.0 } else { 0.0 },
        }
    }

    fn draw_spread(&self, series: &Series, plot: &mut Plot<'_>) -> Drawn<()> {
        let Entry { colour, shade, .. } = self.entry(series);
        let hidden =
            |&(x, low, high): &(f64, f64, f64)| !(self.shows((x, high)) && Axis::shows(low, false));
        for run in series.band.split(hidden).filter(|run| !run.is_empty()) {
            if series.dots || run.len() == 1 {
                let style = colour.filled().stroke_width(STROKE / 2);
                plot.draw_series(run.iter().map(|&(x, low, high)| {
                    ErrorBar::new_vertical(x, low, low / 2.0 + high / 2.0, high, style, CAP)
                }))?;
            } else {
                let there = run.iter().map(|&(x, _, high)| (x, high));
                let back = run.iter().rev().map(|&(x, low, _)| (x, low));
                let outline: Vec<_> = there.chain(back).collect();
                plot.draw_series([Polygon::new(outline, colour.mix(shade))])?;
            }
        }
        Ok(())
    }

    fn draw_line(&self, series: &Series, plot: &mut Plot<'_>) -> Drawn<()> {
        let (points, Entry { colour, dash, .. }) = (&series.points, self.entry(series));
        // A curve of few points has them marked; an outline, which has vertical pieces, does not.
        let upright = points.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let marked = (3..MANY).contains(&points.len()) && !upright;
        // Small enough that many do not hide each other, large enough that some can be seen.
        let share = MANY as f64 / points.len().max(MANY) as f64;
        let small = (f64::from(DOT) * share.powf(0.25)).max(SMALLEST_DOT);
        // The runs of points between gaps.
        for run in points.split(|&point| !self.shows(point)).filter(|run| !run.is_empty()) {
            let radius = match series {
                Series { dots: true, .. } => small as i32,
                _ if marked || run.len() == 1 => DOT,
                _ if dash != SOLID => 0,
                // Dots at the joints: pieces are drawn one by one, because plotters' paths have spikes and
                // holes where they turn back.
                _ => STROKE as i32 / 2,
            };
            if radius > 0 {
                let dots = run.iter().map(|&point| Circle::new(point, radius, colour.filled()));
                plot.draw_series(dots)?;
            }
            let pieces = match dash {
                _ if series.dots => vec![],
                SOLID => run.windows(2).collect(),
                _ => vec![run],
            };
            plot.draw_series(pieces.into_iter().map(|piece| {
                let style = colour.stroke_width(STROKE);
                DashedPathElement::new(piece.to_vec(), dash.0, dash.1, style)
            }))?;
        }
        Ok(())
    }
}

impl Series {
    /// A line of means over seeds with a band of one standard deviation to both sides; without a band if there
    /// is only one seed.
    pub fn of_means(name: &str, means: impl IntoIterator<Item = (f64, Spread)>) -> Self {
        let means: Vec<_> = means.into_iter().collect();
        let ends =
            |(x, Spread { mean, sd }): &(f64, Spread)| sd.map(|sd| (*x, mean - sd, mean + sd));
        let points = means.iter().map(|(x, spread)| (*x, spread.mean)).collect();
        let band = means.iter().filter_map(ends).collect();
        Self { name: name.to_string(), points, band, ..Self::default() }
    }
}
