//! Charts of bars in groups.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::page::{CAP, Drawn, Entry, Panel, Plot, SMALL, STROKE, draw, text, widest};
use super::{colour, error};
use crate::{Picture, Result, Spread};

const WHISKER: RGBColor = RGBColor(60, 60, 60);
/// The space between neighbouring numbers and names.
const BETWEEN: f64 = 20.0;
/// The share of a group's width that all its bars take, and the most that one bar takes.
const GROUP: f64 = 0.8;
const WIDEST: f64 = 0.3;

/// A chart of bars in groups, each bar with an error bar and its value above it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BarChart {
    /// The title above the chart. It may be empty, and so may the label.
    pub title: String,
    /// The label of the y axis: what the values are, with their unit.
    pub y_label: String,
    /// The number of decimals of the numbers above the bars, at most 17.
    pub decimals: usize,
    /// The names of the groups, from left to right.
    pub groups: Vec<String>,
    /// The bars in each group, from left to right.
    pub series: Vec<BarSeries>,
}

/// The bars of one colour in a [`BarChart`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BarSeries {
    /// Its name in the legend; a series without a name is left out there.
    pub name: String,
    /// A bar for each group, as high as the mean, with an error bar of one standard deviation to both
    /// sides. There is no bar if the mean is missing or not finite, and no error bar if the deviation is.
    pub values: Vec<Option<Spread>>,
}

/// A bar to draw. Each group extends from one whole number on the x axis to the next.
struct Bar {
    colour: RGBColor,
    middle: f64,
    value: f64,
    error: f64,
}

impl BarChart {
    /// Draws the chart, as wide as its numbers and names need.
    ///
    /// # Errors
    /// When a series does not have one value per group, or there is no value to draw.
    pub fn draw(&self) -> Result<Picture> {
        let picture = self.panel().and_then(|panel| draw(vec![panel], 1));
        picture.map_err(|reason| error(&self.title, reason))
    }

    fn bars(&self) -> Drawn<Vec<Bar>> {
        let groups = self.groups.len();
        let mut bars = Vec::new();
        for (index, BarSeries { name, values }) in self.series.iter().enumerate() {
            if values.len() != groups {
                let found = values.len();
                Err(format!(
                    "series {name:?} has {found} values for {groups} groups; give one each, None \
                     where there is none"
                ))?;
            }
            let from_middle = index as f64 + 0.5 - self.series.len() as f64 / 2.0;
            let bar = |(group, value): (usize, &Option<Spread>)| {
                let Spread { mean, sd } = value.filter(|value| Axis::shows(value.mean, false))?;
                Some(Bar {
                    colour: colour(index),
                    middle: group as f64 + 0.5 + self.bar_width() * from_middle,
                    value: mean,
                    error: sd.filter(|&sd| Axis::shows(sd, true)).unwrap_or(0.0),
                })
            };
            bars.extend(values.iter().enumerate().filter_map(bar));
        }
        Ok(bars)
    }

    fn bar_width(&self) -> f64 {
        (GROUP / self.series.len() as f64).min(WIDEST)
    }

    fn panel(&self) -> Drawn<Panel<'_>> {
        let bars = self.bars()?;
        let ends = bars.iter().flat_map(|bar| [bar.value - bar.error, bar.value + bar.error]);
        let y = Axis::around(ends.chain([0.0]), false, 0.1).filter(|_| !bars.is_empty());
        let y = y.ok_or_else(|| {
            let (series, groups) = (self.series.len(), self.groups.len());
            format!("none of the values of its {series} series and {groups} groups is finite")
        })?;
        let number =
            |bar: &Bar| format!("{:.*}", self.decimals.min(17), bar.value).replace('-', "−");
        let numbers: Vec<String> = bars.iter().map(number).collect();
        let bar = (widest(numbers.iter())? + BETWEEN) / self.bar_width();
        let group = bar.max(widest(self.groups.iter())? + BETWEEN);
        let legend = self.series.iter().enumerate().map(|(index, BarSeries { name, .. })| Entry {
            name,
            colour: colour(index),
            shade: 1.0,
            dash: (0, 0),
            dot: 0.0,
        });
        Ok(Panel {
            title: &self.title,
            x_label: "",
            y_label: &self.y_label,
            x: Axis::names(&self.groups),
            y,
            vertical_grid: false,
            least_width: group * self.groups.len() as f64,
            legend: legend.collect(),
            draw: Box::new(move |plot| self.draw_bars(&bars, &numbers, plot)),
        })
    }

    fn draw_bars(&self, bars: &[Bar], numbers: &[String], plot: &mut Plot<'_>) -> Drawn<()> {
        let half = 0.45 * self.bar_width();
        plot.draw_series(bars.iter().map(|&Bar { colour, middle, value, .. }| {
            Rectangle::new([(middle - half, 0.0), (middle + half, value)], colour.filled())
        }))?;
        let line = WHISKER.filled().stroke_width(STROKE / 2);
        let spread = bars.iter().filter(|bar| bar.error > 0.0);
        plot.draw_series(spread.map(|&Bar { middle, value, error, .. }| {
            ErrorBar::new_vertical(middle, value - error, value, value + error, line, CAP)
        }))?;
        let zero = vec![(0.0, 0.0), (self.groups.len() as f64, 0.0)];
        plot.draw_series([PathElement::new(zero, line)])?;
        plot.draw_series(bars.iter().zip(numbers).map(|(bar, number)| {
            let (end, side, gap) = match bar.value < 0.0 {
                true => (bar.value - bar.error, VPos::Top, SMALL / 4.0),
                false => (bar.value + bar.error, VPos::Bottom, -SMALL / 4.0),
            };
            let style = text(SMALL).pos(Pos::new(HPos::Center, side));
            let number = Text::new(number.clone(), (0, gap as i32), style);
            EmptyElement::at((bar.middle, end)) + number
        }))?;
        Ok(())
    }
}
