//! Accuracy without a head: each unit stands for the label it wins most often.

use candle::{D, DType, Tensor};
use candle_hebbian::device::upload;
use hebbian_train::{Error, Readout, Result, one_hot};

/// The label of each unit of a dense layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelAssignment {
    labels: Vec<u32>,
}

impl LabelAssignment {
    /// Gives every unit the label that it wins most often among the rows of `activity (N, K)`; a unit that never wins
    /// gets the label for which the sum of its activity is largest.
    ///
    /// # Errors
    /// Labels that are not one per row, or not below `classes`.
    pub fn fit(activity: &Tensor, labels: &[u32], classes: usize) -> Result<Self> {
        let (rows, units) = activity.dims2()?;
        if rows != labels.len() {
            return Err(Error::Argument(format!(
                "label assignment: {rows} rows need {rows} labels, found {}",
                labels.len()
            )));
        }
        let one_hot = one_hot(labels, classes, DType::F32, activity.device())?;
        let winners = activity.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let mut wins = vec![0u64; units * classes];
        for (&unit, &label) in winners.iter().zip(labels) {
            wins[unit as usize * classes + label as usize] += 1;
        }
        let sums = activity.to_dtype(DType::F32)?.t()?.matmul(&one_hot)?.to_vec2::<f32>()?;
        let label = |unit: usize| {
            let wins = &wins[unit * classes..][..classes];
            match wins.iter().any(|&count| count > 0) {
                true => first_largest(wins),
                false => first_largest(&sums[unit]),
            }
        };
        Ok(Self { labels: (0..units).map(label).collect() })
    }

    /// The label of each unit.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

impl Readout for LabelAssignment {
    /// Returns the label of each row of `activity (N, K)`: that of its most active unit.
    fn predict(&self, activity: &Tensor) -> Result<Tensor> {
        let labels = upload(self.labels.clone(), self.labels.len(), activity.device())?;
        let winners = activity.argmax(D::Minus1)?;
        Ok(labels.index_select(&winners, 0)?)
    }
}

fn first_largest<T: PartialOrd + Copy>(values: &[T]) -> u32 {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best as u32
}
