//! One synapse, as an equation sees it.

use crate::device::to_host;
use crate::{State, Synapses};
use candle::{Result, Tensor};
use std::collections::BTreeMap;

/// One synapse and one row: the symbols of a local rule's equation, as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Synapse<'a> {
    /// `x_i`, the pre-synaptic value.
    pub x: f64,
    /// `u_k`, the response of its unit.
    pub u: f64,
    /// `y_k`, the activity of its unit.
    pub y: f64,
    /// `w_ki`, its weight.
    pub w: f64,
    /// The third factor of the row, or of the row and the unit; NaN where none was given.
    pub third: f64,
    site: usize,
    row: usize,
    unit: usize,
    input: usize,
    all: &'a Values,
}

impl Synapse<'_> {
    /// The number of rows of the batch, `P`.
    pub fn rows(&self) -> usize {
        self.all.sizes[1]
    }

    /// The number of units that compete with this one, itself included, `K`.
    pub fn units(&self) -> usize {
        self.all.sizes[2]
    }

    /// The number of inputs of a unit, `F`.
    pub fn inputs(&self) -> usize {
        self.all.sizes[3]
    }

    /// The index of the row, `p`.
    pub fn row(&self) -> usize {
        self.row
    }

    /// The index of the input, `i`.
    pub fn input(&self) -> usize {
        self.input
    }

    /// The index of the unit, `k`.
    pub fn unit(&self) -> usize {
        self.unit
    }

    /// `y` of another unit in this row.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn y_of(&self, unit: usize) -> f64 {
        self.all.post[self.all.of_row(self.site, self.row, unit)]
    }

    /// `w` of another unit for this input.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn w_of(&self, unit: usize) -> f64 {
        self.all.weights[self.all.of_weight(self.site, unit, self.input)]
    }

    /// `y` of this unit in another row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn y_in(&self, row: usize) -> f64 {
        self.all.post[self.all.of_row(self.site, row, self.unit)]
    }

    /// The sum over rows of `equation` at the synapse from `input` to `unit` of the same site,
    /// which may be this synapse: for rules that are not a sum over rows.
    ///
    /// # Panics
    /// If there is no such unit or input.
    pub fn sum_at(&self, unit: usize, input: usize, equation: impl Fn(&Synapse) -> f64) -> f64 {
        let rows = 0..self.rows();
        rows.map(|row| equation(&self.all.synapse([self.site, row, unit, input]))).sum()
    }

    /// The value that the state holds under `name` for this unit before the batch, an entry of
    /// `(S, K)`. `None` if there is none yet.
    pub fn kept(&self, name: &str) -> Option<f64> {
        let values = self.all.kept.get(name)?;
        values.get(self.site * self.units() + self.unit).copied()
    }
}

/// Everything that the synapses of a batch see, as numbers.
#[derive(Debug)]
pub(super) struct Values {
    /// Sites, rows, units and inputs.
    sizes: [usize; 4],
    pre: Vec<f64>,
    response: Vec<f64>,
    post: Vec<f64>,
    weights: Vec<f64>,
    third: Option<Vec<f64>>,
    kept: BTreeMap<String, Vec<f64>>,
}

impl Values {
    pub(super) fn of(synapses: &Synapses, state: &State) -> Result<Self> {
        let (sites, rows, units) = synapses.post().dims3()?;
        let third = match synapses.third() {
            Ok(third) => Some(numbers(&third.broadcast_as((sites, rows, units))?)?),
            Err(_) => None,
        };
        Ok(Self {
            sizes: [sites, rows, units, synapses.pre()?.dim(2)?],
            pre: numbers(synapses.pre()?)?,
            response: numbers(synapses.response())?,
            post: numbers(synapses.post())?,
            weights: numbers(&synapses.weights()?)?,
            third,
            kept: state
                .iter()
                .map(|(name, tensor)| Ok((name.to_string(), numbers(tensor)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// The sum over rows of what `equation` gives for each synapse, `(S, K, F)`.
    pub(super) fn sum(&self, equation: impl Fn(&Synapse) -> f64) -> Vec<f64> {
        let [sites, rows, units, inputs] = self.sizes;
        let mut sums = vec![0.0; self.weights.len()];
        for site in 0..sites {
            for unit in 0..units {
                for row in 0..rows {
                    for input in 0..inputs {
                        sums[self.of_weight(site, unit, input)] +=
                            equation(&self.synapse([site, row, unit, input]));
                    }
                }
            }
        }
        sums
    }

    fn synapse(&self, [site, row, unit, input]: [usize; 4]) -> Synapse<'_> {
        let [_, rows, _, inputs] = self.sizes;
        let at = self.of_row(site, row, unit);
        Synapse {
            x: self.pre[(site * rows + row) * inputs + input],
            u: self.response[at],
            y: self.post[at],
            w: self.weights[self.of_weight(site, unit, input)],
            third: self.third.as_ref().map_or(f64::NAN, |third| third[at]),
            site,
            row,
            unit,
            input,
            all: self,
        }
    }

    /// Describes the entry at an index of `(S, K, F)`.
    pub(super) fn place(&self, at: usize) -> String {
        let [_, _, units, inputs] = self.sizes;
        let (unit, input) = (at / inputs, at % inputs);
        format!("site {}, unit {}, input {input}", unit / units, unit % units)
    }

    fn of_row(&self, site: usize, row: usize, unit: usize) -> usize {
        assert!(row < self.sizes[1] && unit < self.sizes[2], "there is no row {row}, unit {unit}");
        (site * self.sizes[1] + row) * self.sizes[2] + unit
    }

    fn of_weight(&self, site: usize, unit: usize, input: usize) -> usize {
        let [_, _, units, inputs] = self.sizes;
        assert!(unit < units && input < inputs, "there is no unit {unit}, input {input}");
        (site * self.sizes[2] + unit) * self.sizes[3] + input
    }
}

/// The values of a tensor of any type and layout, on any device.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    to_host(tensor)?.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Two rows, two units and three inputs: index 2 of a unit or a row is not index 0 of the next one.
    #[test]
    fn an_index_that_is_too_large_panics() {
        let values = Values {
            sizes: [1, 2, 2, 3],
            pre: vec![0.0; 6],
            response: vec![0.0; 4],
            post: vec![0.0; 4],
            weights: vec![0.0; 6],
            third: None,
            kept: BTreeMap::new(),
        };
        let first = values.synapse([0, 0, 0, 0]);
        let read = |read: &dyn Fn() -> f64| catch_unwind(AssertUnwindSafe(read));
        assert!(read(&|| first.y_of(1) + first.w_of(1) + first.y_in(1)).is_ok());
        assert!(read(&|| first.sum_at(1, 2, |s| s.w)).is_ok());
        assert!(read(&|| first.y_of(2)).is_err());
        assert!(read(&|| first.w_of(2)).is_err());
        assert!(read(&|| first.y_in(2)).is_err());
        assert!(read(&|| first.sum_at(2, 0, |s| s.w)).is_err());
        assert!(read(&|| first.sum_at(0, 3, |s| s.w)).is_err());
    }
}
