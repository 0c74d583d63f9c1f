//! Confusion matrices.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A confusion matrix: how often samples of each class were classified as each class.
///
/// ```
/// use hebbian_train::ConfusionMatrix;
/// let matrix = ConfusionMatrix::new(&[0, 0, 1, 1], &[0, 1, 1, 1], 2)?;
/// assert_eq!(matrix.counts, [[1, 1], [0, 2]]);
/// assert_eq!(matrix.accuracy(), 0.75);
/// assert_eq!(matrix.recall(), [0.5, 1.0]);
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct ConfusionMatrix {
    /// `counts[label][predicted]`.
    pub counts: Vec<Vec<u64>>,
}

/// The matrix as read from a file, before it is checked.
#[derive(Deserialize)]
struct Stored {
    counts: Vec<Vec<u64>>,
}

impl TryFrom<Stored> for ConfusionMatrix {
    type Error = String;

    fn try_from(Stored { counts }: Stored) -> std::result::Result<Self, String> {
        let classes = counts.len();
        if let Some(row) = counts.iter().find(|row| row.len() != classes) {
            let found = row.len();
            return Err(format!("{found} counts in a row of a confusion of {classes} classes"));
        }
        match counts.iter().flatten().try_fold(0u64, |all, &count| all.checked_add(count)) {
            Some(_) => Ok(Self { counts }),
            None => Err("a confusion of more images than can be counted".to_string()),
        }
    }
}

impl ConfusionMatrix {
    /// Counts pairs of label and prediction.
    ///
    /// # Errors
    /// When the numbers of labels and predictions differ, or one of these is not below `classes`.
    pub fn new(labels: &[u32], predicted: &[u32], classes: usize) -> Result<Self> {
        if labels.len() != predicted.len() {
            return Err(Error::Argument(format!(
                "{} labels and {} predictions: expected as many of both",
                labels.len(),
                predicted.len()
            )));
        }
        let mut counts = vec![vec![0; classes]; classes];
        for (&label, &predicted) in labels.iter().zip(predicted) {
            let count =
                counts.get_mut(label as usize).and_then(|row| row.get_mut(predicted as usize));
            *count.ok_or_else(|| {
                Error::Argument(format!(
                    "label {label} or prediction {predicted} is not below the number of classes, \
                     {classes}"
                ))
            })? += 1;
        }
        Ok(Self { counts })
    }

    /// The share of samples that are classified correctly; NaN without samples.
    pub fn accuracy(&self) -> f64 {
        self.right() as f64 / self.all() as f64
    }

    /// The share of samples that are classified wrongly; NaN without samples.
    pub fn error(&self) -> f64 {
        (self.all() - self.right()) as f64 / self.all() as f64
    }

    fn right(&self) -> u64 {
        self.counts.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    fn all(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// The share of samples of each class that are classified correctly; NaN for a class without samples.
    pub fn recall(&self) -> Vec<f64> {
        let rows = self.counts.iter().enumerate();
        rows.map(|(class, row)| row[class] as f64 / row.iter().sum::<u64>() as f64).collect()
    }
}
