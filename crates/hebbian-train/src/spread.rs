//! Means and spreads.

/// The mean and spread of a number over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The mean over the seeds.
    pub mean: f64,
    /// The standard deviation, estimated for the population that the seeds are a sample of; `None` for one seed.
    pub sd: Option<f64>,
}

impl Spread {
    /// Computes the mean and spread of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, sd })
    }

    /// The spread of the number times a positive `factor`.
    pub fn times(self, factor: f64) -> Self {
        Self { mean: factor * self.mean, sd: self.sd.map(|sd| factor * sd) }
    }

    /// Formats the number with this many decimals: `0.123 ± 0.006`, or `0.123` for one seed.
    pub fn shown(self, decimals: usize) -> String {
        match self {
            Self { mean, sd: Some(sd) } => format!("{mean:.decimals$} ± {sd:.decimals$}"),
            Self { mean, sd: None } => format!("{mean:.decimals$}"),
        }
    }

    /// Formats the number in percent with two decimals: `12.34 ± 0.56`.
    pub fn percent(self) -> String {
        self.times(100.0).shown(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_spread_of_hand_worked_values() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[0.25]), Some(Spread { mean: 0.25, sd: None }));
        // The deviations are −1, 0 and 1 in a sample of three: the variance is 2 / 2.
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { mean: 2.0, sd: Some(1.0) });
        assert_eq!(spread.percent(), "200.00 ± 100.00");
        assert_eq!(spread.times(0.5), Spread { mean: 1.0, sd: Some(0.5) });
    }
}
