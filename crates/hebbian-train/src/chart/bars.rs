//! Charts of bars in groups.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, label};
use super::page::{CAP, Drawn, Entry, Panel, Plot, SMALL, STROKE, draw, text, widest};
use super::{colour, error};
use crate::{Picture, Result};

const WHISKER: RGBColor = RGBColor(60, 60, 60);
/// Between neighbouring numbers and names.
const BETWEEN: f64 = 20.0;
/// The share of a group's width that its bars take, and one bar at most.
const GROUP: f64 = 0.8;
const WIDEST: f64 = 0.3;
/// Of the numbers above bars.
const DIGITS: usize = 4;

/// A chart of bars in groups, with an error bar on and the value above each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BarChart {
    /// What stands above it; may be empty, as the label may.
    pub title: String,
    /// What the values are, with their unit.
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

impl BarChart {
    /// The chart as a picture, as wide as its numbers and names need.
    ///
    /// # Errors
    /// When a series has not one value (and error, if any) per group, an error is negative, or there
    /// is no value to draw.
    pub fn draw(&self) -> Result<Picture> {
        let picture = self.panel().and_then(|panel| draw(vec![panel], 1));
        picture.map_err(|reason| error(&self.title, reason))
    }

    /// The bars to draw, a group from one whole number to the next: colour, middle, value, error or 0.
    fn bars(&self) -> Drawn<Vec<(RGBColor, f64, f64, f64)>> {
        let groups = self.groups.len();
        let mut bars = Vec::new();
        for (index, BarSeries { name, values, errors }) in self.series.iter().enumerate() {
            for (what, found) in [("values", values.len()), ("errors", errors.len())] {
                if found != groups && (what == "values" || found > 0) {
                    Err(format!(
                        "series {name:?} has {found} {what} for {groups} groups; give one each, \
                         None where there is none"
                    ))?;
                }
            }
            if let Some(error) = errors.iter().flatten().find(|&&error| error < 0.0) {
                Err(format!("series {name:?} has a negative error, {error}"))?;
            }
            let shown = |number: &Option<f64>| number.filter(|&number| Axis::shows(number, false));
            for (group, value) in values.iter().enumerate() {
                let from_middle = index as f64 + 0.5 - self.series.len() as f64 / 2.0;
                let middle = group as f64 + 0.5 + self.bar_width() * from_middle;
                let error = errors.get(group).and_then(shown).unwrap_or(0.0);
                bars.extend(shown(value).map(|value| (colour(index), middle, value, error)));
            }
        }
        Ok(bars)
    }

    fn bar_width(&self) -> f64 {
        (GROUP / self.series.len() as f64).min(WIDEST)
    }

    fn panel(&self) -> Drawn<Panel<'_>> {
        let bars = self.bars()?;
        let ends = bars.iter().flat_map(|&(_, _, value, error)| [value - error, value + error]);
        let y = Axis::around(ends.chain([0.0]), false, 0.1).filter(|_| !bars.is_empty());
        let y = y.ok_or_else(|| {
            let (series, groups) = (self.series.len(), self.groups.len());
            format!("none of the values of its {series} series and {groups} groups is finite")
        })?;
        let numbers = numbers(bars.iter().map(|bar| bar.2).collect());
        let bar = (widest(numbers.iter())? + BETWEEN) / self.bar_width();
        let group = bar.max(widest(self.groups.iter())? + BETWEEN);
        Ok(Panel {
            title: &self.title,
            x_label: "",
            y_label: &self.y_label,
            x: Axis::names(&self.groups),
            y,
            vertical_grid: false,
            least_width: group * self.groups.len() as f64,
            legend: self
                .series
                .iter()
                .zip(0..)
                .map(|(BarSeries { name, .. }, index)| Entry {
                    name,
                    colour: colour(index),
                    shade: 1.0,
                    dash: (0, 0),
                    dot: 0.0,
                })
                .collect(),
            draw: Box::new(move |plot| self.draw_bars(&bars, &numbers, plot)),
        })
    }

    fn draw_bars(
        &self,
        bars: &[(RGBColor, f64, f64, f64)],
        numbers: &[String],
        plot: &mut Plot<'_>,
    ) -> Drawn<()> {
        let half = 0.45 * self.bar_width();
        plot.draw_series(bars.iter().map(|&(colour, x, value, _)| {
            Rectangle::new([(x - half, 0.0), (x + half, value)], colour.filled())
        }))?;
        let line = WHISKER.filled().stroke_width(STROKE / 2);
        plot.draw_series(bars.iter().filter(|bar| bar.3 > 0.0).map(|&(_, x, value, error)| {
            ErrorBar::new_vertical(x, value - error, value, value + error, line, CAP)
        }))?;
        let zero = vec![(0.0, 0.0), (self.groups.len() as f64, 0.0)];
        plot.draw_series([PathElement::new(zero, line)])?;
        plot.draw_series(bars.iter().zip(numbers).map(|(&(_, x, value, error), number)| {
            let (end, side, gap) = match value < 0.0 {
                true => (value - error, VPos::Top, SMALL / 4.0),
                false => (value + error, VPos::Bottom, -SMALL / 4.0),
            };
            let style = text(SMALL).pos(Pos::new(HPos::Center, side));
            EmptyElement::at((x, end)) + Text::new(number.clone(), (0, gap as i32), style)
        }))?;
        Ok(())
    }
}

/// The values with as many decimals as one of them needs, but no more than give the largest four digits.
fn numbers(values: Vec<f64>) -> Vec<String> {
    let labels: Vec<_> = values.iter().map(|&value| label(value, DIGITS)).collect();
    let largest = values.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    if !(0.01..1e3).contains(&largest) {
        return labels;
    }
    let needed = labels.iter().filter_map(|label| Some(label.split_once('.')?.1.len())).max();
    let most = DIGITS as f64 - 1.0 - largest.log10().floor();
    let decimals = needed.unwrap_or(0).min(most as usize);
    values.iter().map(|value| format!("{value:.decimals$}").replace('-', "−")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_they_need() {
        for (values, expected) in [
            (vec![98.12, 97.0], "98.12 97.00"),
            (vec![0.02, -0.013], "0.020 −0.013"),
            (vec![3.0, 1200.0], "3 1.2k"),
            (vec![1.0 / 3.0, 0.5], "0.3333 0.5000"),
            (vec![12345.678], "12.35k"),
            (vec![0.0], "0"),
            (vec![2.5e9, -1.25e-5], "2.5e9 −1.25e−5"),
        ] {
            assert_eq!(numbers(values).join(" "), expected);
        }
    }
}
