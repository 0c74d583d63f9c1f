//! Axes: which range, where a value lies in it, and which values are written beside it.

/// Larger magnitudes are left out, so that ranges stay finite.
const LARGEST: f64 = 1e300;
/// About how many steps from tick to tick.
const STEPS: f64 = 6.0;
/// Larger and smaller powers of ten are written as such, as in `1.5·10⁷`.
const PLAIN: std::ops::Range<i32> = -4..7;

/// A range of values on a line from 0 to 1, linear or logarithmic.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The ends; of a logarithmic axis their common logarithms.
    low: f64,
    high: f64,
    log: bool,
    /// All values are whole numbers, and so should the ticks be.
    whole: bool,
}

/// A label beside an axis.
#[derive(Debug, Clone)]
pub(super) struct Tick {
    /// Where, from 0 to 1.
    pub at: f64,
    pub label: String,
}

impl Axis {
    /// Whether a value has a place on an axis.
    pub fn shows(value: f64, log: bool) -> bool {
        value.abs() <= LARGEST && (!log || value > 0.0)
    }

    /// The range of the values that can be shown with `margin` times its length on both sides, but
    /// never across zero; `None` when there are none.
    pub fn around(
        values: impl Iterator<Item = f64> + Clone,
        log: bool,
        margin: f64,
    ) -> Option<Self> {
        let values = values.filter(|&value| Self::shows(value, log));
        let whole = values.clone().all(|value| value.fract() == 0.0);
        let scaled = values.map(|value| if log { value.log10() } else { value });
        let (low, high) = scaled.fold(None, |range: Option<(f64, f64)>, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })?;
        // Values that hardly differ would leave no digits for the ticks.
        let largest = low.abs().max(high.abs());
        let extra = match high - low {
            range if range > 1e-9 * largest && range > 1e-290 => margin * range,
            _ if log || largest < 1e-290 => 0.5,
            _ => 0.1 * largest,
        };
        let (mut bottom, mut top) = (low - extra, high + extra);
        if !log && low >= 0.0 && high > 0.0 {
            bottom = bottom.max(0.0);
        } else if !log && high <= 0.0 && low < 0.0 {
            top = top.min(0.0);
        }
        Some(Self { low: bottom, high: top, log, whole })
    }

    /// Where a value that can be shown lies, 0 at the low end and 1 at the high one.
    pub fn position(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        (value - self.low) / (self.high - self.low)
    }

    /// Round values along the axis.
    pub fn ticks(&self) -> Vec<Tick> {
        let ticks = if self.log { self.log_ticks() } else { self.linear_ticks() };
        ticks.into_iter().map(|(value, label)| Tick { at: self.position(value), label }).collect()
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn linear_ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = if self.log {
            (10f64.powf(self.low), 10f64.powf(self.high))
        } else {
            (self.low, self.high)
        };
        let wanted = (high - low) / STEPS * (1.0 - 1e-9);
        let exponent = wanted.log10().floor() as i32;
        let (mut digit, mut exponent) = match wanted / 10f64.powi(exponent) {
            part if part <= 1.0 => (1.0, exponent),
            part if part <= 2.0 => (2.0, exponent),
            part if part <= 5.0 => (5.0, exponent),
            _ => (1.0, exponent + 1),
        };
        if self.whole && exponent < 0 {
            (digit, exponent) = (1.0, 0);
        }
        let step = digit * 10f64.powi(exponent);
        let first = (low / step - 1e-9).ceil();
        let count = ((high / step + 1e-9).floor() - first + 1.0) as usize;
        // Adding 0 makes -0 a 0.
        let values: Vec<_> = (0..count).map(|index| (first + index as f64) * step + 0.0).collect();
        let largest = values.iter().fold(0f64, |largest, value| largest.max(value.abs()));
        let power = if largest > 0.0 { (largest * (1.0 + 1e-9)).log10().floor() as i32 } else { 0 };
        let power = if PLAIN.contains(&power) { 0 } else { power };
        let decimals = (power - exponent).max(0) as usize;
        values.into_iter().map(|value| (value, decimal(value, power, decimals))).collect()
    }

    /// Powers of ten; 1, 2 and 5 times them on a short axis, and linear ticks on a very short one.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        let (first, last) = (self.low.floor() as i32, self.high.ceil() as i32);
        // Few enough that the labels do not touch; round exponents.
        let every = (last - first).div_euclid(8) + 1;
        let digits: &[f64] = if self.high - self.low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        for exponent in (first..=last).filter(|exponent| exponent.rem_euclid(every) == 0) {
            for &digit in digits {
                let value = digit * 10f64.powi(exponent);
                if (self.low - 1e-9..=self.high + 1e-9).contains(&value.log10()) {
                    ticks.push((value, power_of_ten(digit, exponent)));
                }
            }
        }
        if ticks.len() < 3 { self.linear_ticks() } else { ticks }
    }
}

/// `value` with a number of decimals, as a multiple of ten to the `power`.
fn decimal(value: f64, power: i32, decimals: usize) -> String {
    let number = |value: f64| format!("{value:.decimals$}").replace('-', "−");
    match power {
        _ if value == 0.0 => "0".to_string(),
        0 => number(value),
        _ => format!("{}·10{}", number(value / 10f64.powi(power)), superscript(power)),
    }
}

fn power_of_ten(digit: f64, exponent: i32) -> String {
    match exponent {
        _ if PLAIN.contains(&exponent) => {
            let decimals = (-exponent).max(0) as usize;
            format!("{:.decimals$}", digit * 10f64.powi(exponent))
        }
        _ if digit == 1.0 => format!("10{}", superscript(exponent)),
        _ => format!("{digit}·10{}", superscript(exponent)),
    }
}

fn superscript(number: i32) -> String {
    let raised = |character| match character {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32(digit as u32 - '0' as u32 + '⁰' as u32).unwrap_or(digit),
    };
    number.to_string().chars().map(raised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), log, 0.0).unwrap();
        axis.ticks().into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        for (values, log, expected) in [
            (vec![0.0, 100.0], false, "0 20 40 60 80 100"),
            (vec![0.13, 0.97], false, "0.2 0.4 0.6 0.8"),
            (vec![-0.02, 0.031], false, "−0.02 −0.01 0 0.01 0.02 0.03"),
            // Whole numbers have no ticks between them.
            (vec![1.0, 2.0, 3.0], false, "1 2 3"),
            (vec![-3e7, 0.0], false, "−3.0·10⁷ −2.5·10⁷ −2.0·10⁷ −1.5·10⁷ −1.0·10⁷ −0.5·10⁷ 0"),
            (vec![1e-6, 1.0], true, "10⁻⁶ 10⁻⁵ 0.0001 0.001 0.01 0.1 1"),
            (vec![1e-12, 1e12], true, "10⁻¹² 10⁻⁸ 0.0001 1 10000 10⁸ 10¹²"),
            (vec![2.0, 30.0], true, "2 5 10 20"),
            (vec![3e-7, 4e-6], true, "5·10⁻⁷ 10⁻⁶ 2·10⁻⁶"),
            (vec![99.0, 101.0], true, "99 100 101"),
        ] {
            assert_eq!(labels(&values, log).join(" "), expected);
        }
    }

    #[test]
    fn margins_do_not_cross_zero() {
        for (values, ends) in [
            ([0.0, 10.0], [0.0, 11.0]),
            ([-10.0, 0.0], [-11.0, 0.0]),
            ([10.0, 20.0], [9.0, 21.0]),
            ([0.5, 10.5], [0.0, 11.5]),
            ([-5.0, 5.0], [-6.0, 6.0]),
        ] {
            let axis = Axis::around(values.into_iter(), false, 0.1).unwrap();
            assert_eq!(ends.map(|end| axis.position(end)), [0.0, 1.0], "{values:?}");
        }
    }
}
