//! Comparison of numbers.

use candle::{Error, Result};

/// Returns an error if `got` and `want`, given with their names, differ by more than `tolerance` times the largest
/// magnitude in `want`. `place` describes what an index stands for.
pub(super) fn agree(
    (got_name, got): (&str, &[f64]),
    (want_name, want): (&str, &[f64]),
    tolerance: f64,
    place: impl Fn(usize) -> String,
) -> Result<()> {
    if got.len() != want.len() {
        candle::bail!("{got_name} has {} values, {want_name} {}", got.len(), want.len())
    }
    let largest = want.iter().fold(0.0, |largest: f64, want| largest.max(want.abs()));
    let differ = |(&got, &want): (&f64, &f64)| !near(got, want, tolerance * largest);
    match got.iter().zip(want).position(differ) {
        None => Ok(()),
        Some(at) => candle::bail!(
            "{got_name} {} at {}, where {want_name} {}: more than {tolerance:e} of the largest, \
             {largest}, apart",
            got[at],
            place(at),
            want[at]
        ),
    }
}

/// Whether two numbers are at most `bound` apart. It is false if one is NaN or if `bound` is not finite.
pub(super) fn near(a: f64, b: f64, bound: f64) -> bool {
    bound.is_finite() && (a - b).abs() <= bound
}

/// The error of a check, with the name of what was checked.
pub(super) fn failed(check: &str, name: &str, what: &str, error: &Error) -> Error {
    Error::Msg(format!("{check} of {name}: {what}: {error}"))
}
