/// The outcome of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The comparisons of all expected tensors, one for each way in which a tensor was computed; at least one.
    pub comparisons: Vec<Comparison>,
}

/// The comparison of a computed tensor with the expected one.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Its name, without `expect.`.
    pub tensor: String,
    /// The way in which it was computed, if there are several; else empty.
    pub way: &'static str,
    /// `max|got − want| / max|want|`; `max|got|` if `max|want|` is 0; infinite if a value is not finite.
    pub error: f64,
    /// The largest error that passes.
    pub allowed: f64,
}

/// The error that is allowed if 0 is expected.
const NEAR_ZERO: f64 = 1e-6;

impl Comparison {
    /// Compares `got` with as many values of `want`, which are finite.
    pub(super) fn of(
        tensor: String,
        way: &'static str,
        got: &[f64],
        want: &[f64],
        rtol: f64,
    ) -> Self {
        let scale = want.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let largest = |error: f64, (got, want): (&f64, &f64)| match (got - want).abs() {
            // Not `max`, which drops NaN.
            distance if distance.is_finite() => error.max(distance),
            _ => f64::INFINITY,
        };
        let error = got.iter().zip(want).fold(0.0, largest);
        let (error, allowed) =
            if scale == 0.0 { (error, NEAR_ZERO) } else { (error / scale, rtol) };
        Self { tensor, way, error, allowed }
    }

    /// Whether the error is allowed.
    pub fn passed(&self) -> bool {
        self.error <= self.allowed
    }
}

impl Outcome {
    /// Whether every comparison passed.
    pub fn passed(&self) -> bool {
        self.comparisons.iter().all(Comparison::passed)
    }

    /// The comparison whose error is the largest relative to what is allowed.
    pub fn worst(&self) -> Option<&Comparison> {
        // Nothing of 0 is not 0/0, whose sign differs from processor to processor.
        let part = |comparison: &Comparison| match comparison.error {
            0.0 => 0.0,
            error => error / comparison.allowed,
        };
        self.comparisons.iter().max_by(|a, b| part(a).total_cmp(&part(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(got: &[f64], want: &[f64]) -> Comparison {
        Comparison::of("w".into(), "", got, want, 1e-3)
    }

    #[test]
    fn the_error_is_relative_to_the_largest_value() {
        // The largest value is 4 in size, the largest distance 0.004.
        let found = compare(&[1.0, -4.004, 0.003], &[1.0, -4.0, 0.0]);
        assert!((found.error - 1e-3).abs() < 1e-12 && found.allowed == 1e-3);
        assert!(compare(&[1.0, -4.0039], &[1.0, -4.0]).passed());
        assert!(!compare(&[1.0, -4.0041], &[1.0, -4.0]).passed());
    }

    #[test]
    fn where_zero_is_expected_it_is_absolute() {
        assert!(compare(&[1e-6, -1e-6], &[0.0, 0.0]).passed());
        assert!(!compare(&[2e-6, 0.0], &[0.0, 0.0]).passed());
    }

    #[test]
    fn what_is_not_finite_never_passes() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for got in [[bad, 1.0], [1.0, bad]] {
                let found = compare(&got, &[1.0, 1.0]);
                assert!(!found.passed() && found.error == f64::INFINITY, "{got:?}");
            }
        }
    }

    #[test]
    fn the_worst_uses_most_of_what_is_allowed() {
        let outcome =
            Outcome { comparisons: vec![compare(&[1.0009], &[1.0]), compare(&[9.5e-7], &[0.0])] };
        assert!(outcome.passed());
        assert_eq!(outcome.worst(), outcome.comparisons.last());
    }

    #[test]
    fn what_is_exact_is_not_the_worst_if_nothing_is_allowed() {
        let exactly = |got: f64| Comparison::of("w".into(), "", &[got], &[1.0], 0.0);
        for comparisons in [[exactly(1.5), exactly(1.0)], [exactly(1.0), exactly(1.5)]] {
            let outcome = Outcome { comparisons: comparisons.to_vec() };
            assert!(!outcome.passed());
            assert_eq!(outcome.worst().map(|worst| worst.error), Some(0.5));
        }
    }
}
