//! Accuracy without a head: each unit stands for the label it wins most often.

use candle::{D, DType, Result, Tensor};

/// The label of each unit of a dense layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelAssignment {
    labels: Vec<u32>,
}

impl LabelAssignment {
    /// Every unit gets the label it wins most often among the rows of `activity (N, K)`; a unit
    /// that never wins gets the label for which its activity sums to most.
    ///
    /// # Errors
    /// Labels that are not one per row and below `classes`.
    pub fn fit(activity: &Tensor, labels: &[u32], classes: usize) -> Result<Self> {
        let (rows, units) = activity.dims2()?;
        if rows != labels.len() || labels.iter().any(|&label| label as usize >= classes) {
            candle::bail!(
                "label assignment: {rows} rows need {rows} labels below {classes}, found {} labels \
                 up to {}",
                labels.len(),
                labels.iter().max().unwrap_or(&0)
            )
        }
        let winners = activity.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let mut wins = vec![0u64; units * classes];
        for (&unit, &label) in winners.iter().zip(labels) {
            wins[unit as usize * classes + label as usize] += 1;
        }
        let mut one_hot = vec![0f32; rows * classes];
        for (row, &label) in labels.iter().enumerate() {
            one_hot[row * classes + label as usize] = 1.0;
        }
        let one_hot = Tensor::from_vec(one_hot, (rows, classes), activity.device())?;
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

    /// The label of each row of `activity (N, K)`: that of its most active unit.
    pub fn predict(&self, activity: &Tensor) -> Result<Vec<u32>> {
        let winners = activity.argmax(D::Minus1)?.to_vec1::<u32>()?;
        Ok(winners.into_iter().map(|unit| self.labels[unit as usize]).collect())
    }

    /// The label of each unit.
    pub fn labels(&self) -> &[u32] {
        &self.labels
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
