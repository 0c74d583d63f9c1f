//! Extremes that keep NaN, which `f64::max` and `f64::min` drop.

/// The larger of two numbers, and NaN if either is NaN.
pub(crate) fn larger(one: f64, other: f64) -> f64 {
    if one.is_nan() || one > other { one } else { other }
}

/// The smaller of two numbers, and NaN if either is NaN.
pub(crate) fn smaller(one: f64, other: f64) -> f64 {
    if one.is_nan() || one < other { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_kept_wherever_it_stands() {
        let of = |values: [f64; 3]| {
            [values.into_iter().fold(f64::INFINITY, smaller), values.into_iter().fold(0.0, larger)]
        };
        assert_eq!(of([2.0, 1.0, 3.0]), [1.0, 3.0]);
        for at in 0..3 {
            let mut values = [2.0, 1.0, 3.0];
            values[at] = f64::NAN;
            assert!(of(values).into_iter().all(f64::is_nan), "{at}");
        }
    }
}
