//! Axes: plotters' linear and logarithmic coordinates, with round labels at any scale.

use std::ops::Range;

use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::{
    BoldPoints, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter,
};
use plotters::coord::types::RangedCoordf64;

/// Values of larger magnitude are left out, and a logarithmic axis draws values below the reciprocal as the
/// reciprocal, so that ranges stay finite.
const LARGEST: f64 = 1e300;
/// The most labels of an axis.
const LABELS: usize = 7;

/// A range of values with the labels beside it.
pub(super) struct Axis {
    scale: Scale,
    pub ticks: Vec<(f64, String)>,
}

enum Scale {
    Linear(RangedCoordf64),
    Log(LogCoord<f64>),
}

impl Axis {
    /// Whether a value has a place on an axis.
    pub fn shows(value: f64, log: bool) -> bool {
        value.abs() <= LARGEST && (!log || value > 0.0)
    }

    /// An axis over the range of the values that can be shown, extended on both sides by `margin` times its
    /// length, but never across zero; `None` if no value can be shown.
    pub fn around(values: impl Iterator<Item = f64>, log: bool, margin: f64) -> Option<Self> {
        let values: Vec<f64> = values.filter(|&value| Self::shows(value, log)).collect();
        let whole = values.iter().filter(|value| value.fract() == 0.0).count() > values.len() / 2;
        let scaled = values.iter().map(|&value| if log { clamped(value).log10() } else { value });
        let (low, high) = scaled.fold(None, |range: Option<(f64, f64)>, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })?;
        // Labels would need too many digits to tell values apart that hardly differ.
        let largest = low.abs().max(high.abs());
        let extra = match high - low {
            range if range > 1e-9 * largest && range > 1e-290 => margin * range,
            _ if log || largest < 1e-290 => 0.5,
            _ => 0.1 * largest,
        };
        let (mut bottom, mut top) = (low - extra, high + extra);
        if log {
            let range = clamped(10f64.powf(bottom))..clamped(10f64.powf(top));
            let ticks = log_ticks(&range);
            return Some(Self { scale: Scale::Log(range.log_scale().into()), ticks });
        }
        if low >= 0.0 && high > 0.0 {
            bottom = bottom.max(0.0);
        } else if high <= 0.0 && low < 0.0 {
            top = top.min(0.0);
        }
        let ticks = linear_ticks(&(bottom..top), whole);
        Some(Self { scale: Scale::Linear((bottom..top).into()), ticks })
    }

    /// An axis with an interval of length 1 for each name, the first one from 0 to 1.
    pub fn names(names: &[String]) -> Self {
        let ticks = names.iter().enumerate().map(|(at, name)| (at as f64 + 0.5, name.clone()));
        Self { scale: Scale::Linear((0.0..names.len() as f64).into()), ticks: ticks.collect() }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        match &self.scale {
            Scale::Linear(axis) => axis.map(value, limit),
            Scale::Log(axis) => axis.map(&clamped(*value), limit),
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        match &self.scale {
            Scale::Linear(axis) => axis.range(),
            Scale::Log(axis) => axis.range(),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0 == *value);
        tick.map_or_else(String::new, |tick| tick.1.clone())
    }
}

/// The value, limited to the range of a logarithmic axis.
fn clamped(value: f64) -> f64 {
    value.clamp(LARGEST.recip(), LARGEST)
}

/// The key points that plotters chooses; only the whole numbers among them if `whole` is set and there are any.
fn linear_ticks(range: &Range<f64>, whole: bool) -> Vec<(f64, String)> {
    let largest = range.start.abs().max(range.end.abs());
    // plotters treats a range of 2e-16 as a single point, so it is given the range in units of its own size.
    let unit = 10f64.powf(largest.log10().floor());
    let axis = RangedCoordf64::from(range.start / unit..range.end / unit);
    let values = axis.key_points(BoldPoints(LABELS)).into_iter().map(|value| value * unit);
    // Rounding can turn zero into a number that is tiny beside the steps.
    let values = values.map(|value| if value.abs() < 1e-12 * largest { 0.0 } else { value });
    let (round, others): (Vec<f64>, _) =
        values.partition(|value| !whole || (value - value.round()).abs() < 1e-6);
    let values = if round.is_empty() { others } else { round };
    values.into_iter().map(|value| (value, label(value))).collect()
}

/// Powers of ten; on a short axis 1, 2 and 5 times them, and on a very short one linear ticks. plotters' own
/// ticks leave out everything below the first power of ten, which on a short axis is the whole range.
fn log_ticks(range: &Range<f64>) -> Vec<(f64, String)> {
    let (low, high) = (range.start.log10(), range.end.log10());
    // Exponents are multiples of this, which makes them round, and few enough that the labels do not touch.
    let every = (high - low).div_euclid(LABELS as f64 + 1.0) as i32 + 1;
    let digits: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let powers = (low.floor() as i32..=high.ceil() as i32).filter(|p| p.rem_euclid(every) == 0);
    let values = powers.flat_map(|power| digits.iter().map(move |d| d * 10f64.powi(power)));
    let inside = |value: &f64| (low - 1e-9..=high + 1e-9).contains(&value.log10());
    let ticks: Vec<_> = values.filter(inside).map(|value| (value, label(value))).collect();
    if ticks.len() < 3 { linear_ticks(range, false) } else { ticks }
}

/// The label of a number: `0.25`, `1.5k`, `20M`, `3e-7`.
fn label(value: f64) -> String {
    let (unit, suffix) = match value.abs() {
        size if size < 1e3 => (1.0, ""),
        size if size < 1e6 => (1e3, "k"),
        _ => (1e6, "M"),
    };
    let rounded = |value: f64| format!("{value:.11e}").parse().unwrap_or(value);
    let text = match value.abs() {
        size if size < 1e9 && !(f64::MIN_POSITIVE..1e-4).contains(&size) => {
            format!("{}{suffix}", rounded(value / unit))
        }
        _ => format!("{:e}", rounded(value)),
    };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        for (values, log, expected) in [
            ([0.0, 100.0], false, "0 20 40 60 80 100"),
            ([0.13, 0.97], false, "0.2 0.4 0.6 0.8"),
            ([-0.02, 0.031], false, "−0.02 −0.01 0 0.01 0.02 0.03"),
            // There are no ticks between whole numbers.
            ([1.0, 3.0], false, "1 2 3"),
            ([0.25, 0.75], false, "0.3 0.4 0.5 0.6 0.7"),
            ([0.0, 2000.0], false, "0 500 1k 1.5k 2k"),
            ([-3e9, 0.0], false, "−3e9 −2.5e9 −2e9 −1.5e9 −1e9 −500M 0"),
            ([1e-20, 3e-20], false, "1e−20 1.5e−20 2e−20 2.5e−20 3e−20"),
            (
                [1e5 + 0.01, 1e5 + 0.03],
                false,
                "100.00001k 100.000015k 100.00002k 100.000025k 100.00003k",
            ),
            ([10.0, 1e6], true, "10 100 1k 10k 100k 1M"),
            ([1e-6, 1.0], true, "1e−6 1e−5 0.0001 0.001 0.01 0.1 1"),
            ([1e-12, 1e12], true, "1e−12 1e−8 0.0001 1 10k 100M 1e12"),
            ([2.0, 30.0], true, "2 5 10 20"),
            ([3e-7, 4e-6], true, "5e−7 1e−6 2e−6"),
            ([99.0, 101.0], true, "99 99.5 100 100.5 101"),
        ] {
            let axis = Axis::around(values.into_iter(), log, 0.0).unwrap();
            let labels: Vec<_> = axis.ticks.iter().map(|tick| tick.1.as_str()).collect();
            assert_eq!(labels.join(" "), expected);
        }
    }

    #[test]
    fn a_value_among_whole_ones_adds_no_ticks() {
        let axis = Axis::around([0.0, 1.0, 2.0, 2.04].into_iter(), false, 0.0).unwrap();
        assert_eq!(axis.ticks.iter().map(|tick| tick.0).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn margins_do_not_cross_zero() {
        for (values, range) in [
            ([0.0, 10.0], 0.0..11.0),
            ([-10.0, 0.0], -11.0..0.0),
            ([10.0, 20.0], 9.0..21.0),
            ([0.5, 10.5], 0.0..11.5),
            ([-5.0, 5.0], -6.0..6.0),
        ] {
            assert_eq!(Axis::around(values.into_iter(), false, 0.1).unwrap().range(), range);
        }
    }
}
