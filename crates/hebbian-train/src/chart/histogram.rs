//! Histograms.

use super::Series;
use crate::{Error, Result};

/// The most intervals of a histogram, which are more than a picture has pixels across.
const MOST_BINS: usize = 1 << 20;

/// The number of values in each of several intervals of equal width.
///
/// ```
/// use hebbian_train::{Histogram, LineChart};
///
/// let histogram = Histogram::new(&[0.0, 0.1, 0.3, 1.0], 2)?;
/// assert_eq!(histogram.counts, [3, 1]);
/// let steps = histogram.series(0.5);
/// assert_eq!(steps.points[..3], [(0.0, 0.5), (0.0, 3.0), (0.5, 3.0)]);
/// LineChart { log_y: true, series: vec![steps], ..Default::default() }.draw()?;
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Where the first interval begins.
    pub low: f64,
    /// Where the last interval ends.
    pub high: f64,
    /// The number of values in each interval. An interval includes its low end; the last one also includes
    /// its high end.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Counts the values in `bins` intervals from the least to the greatest value, or around it if all values
    /// are equal. Values that are not finite are left out.
    ///
    /// # Errors
    /// When no value is finite, the difference of two values is not, or `bins` is 0 or more than 1,048,576.
    pub fn new(values: &[f64], bins: usize) -> Result<Self> {
        Ok(Self::of_each(&[values], bins)?.swap_remove(0))
    }

    /// One histogram for each slice in `all`, with the same intervals, so that they can be drawn over each other.
    ///
    /// # Errors
    /// As [`new`](Self::new), for all values together.
    pub fn of_each(all: &[&[f64]], bins: usize) -> Result<Vec<Self>> {
        let finite = all.iter().copied().flatten().filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return Err(Error::Argument(format!(
                "a histogram needs a finite value; none of the {} is",
                all.iter().map(|values| values.len()).sum::<usize>()
            )));
        }
        let extra = if low < high { 0.0 } else { 0.5 * low.abs().max(1.0) };
        let (low, high) = (low - extra, high + extra);
        let range = high - low;
        if !(1..=MOST_BINS).contains(&bins) || !range.is_finite() {
            return Err(Error::Argument(format!(
                "a histogram cannot have {bins} intervals from {low} to {high}: expected 1 to \
                 {MOST_BINS}, and a finite distance"
            )));
        }
        let count = |values: &&[f64]| {
            let mut counts = vec![0; bins];
            for value in values.iter().filter(|value| value.is_finite()) {
                let bin = ((value - low) / range * bins as f64) as usize;
                counts[bin.min(bins - 1)] += 1;
            }
            Self { low, high, counts }
        };
        Ok(all.iter().map(count).collect())
    }

    /// The counts as a stepped line that starts and ends at `floor`, with the area down to `floor` filled;
    /// empty intervals are gaps in the line. A floor of 0 suits a linear axis, and 0.5 a logarithmic one,
    /// which has no 0 and on which a count of 1 should stand out.
    pub fn series(&self, floor: f64) -> Series {
        let width = (self.high - self.low) / self.counts.len() as f64;
        let mut points = vec![];
        let mut before = 0;
        for (bin, &count) in self.counts.iter().chain([&0]).enumerate() {
            let x = self.low + bin as f64 * width;
            match (before, count) {
                (0, 0) => {}
                (0, _) => points.extend([(x, f64::NAN), (x, floor), (x, count as f64)]),
                (_, 0) => points.extend([(x, before as f64), (x, floor)]),
                _ => points.extend([(x, before as f64), (x, count as f64)]),
            }
            before = count;
        }
        // There is no gap before the first step.
        let points: Vec<_> = points.into_iter().skip_while(|point| point.1.is_nan()).collect();
        let band = points.iter().map(|&(x, count)| (x, floor, count)).collect();
        Series { points, band, ..Series::default() }
    }
}
