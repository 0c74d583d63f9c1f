//! A matrix product that a layer needs.

/// One product of a layer at `sites` places with weights of their own (1 unless it is untied), each with
/// `rows` inputs of `fan_in` values for `units` units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Product {
    pub sites: usize,
    pub rows: usize,
    pub fan_in: usize,
    pub units: usize,
    pub form: Form,
}

/// What is multiplied. `x (rows, fan_in)`, `w (units, fan_in)`, `y (rows, units)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `x·wᵀ`
    Response,
    /// `yᵀ·x`
    Update,
    /// `y·w`
    Back,
}

impl Product {
    /// Returns the number of floating-point operations, two for each multiplication.
    pub fn operations(&self) -> f64 {
        2.0 * [self.sites, self.rows, self.fan_in, self.units]
            .map(|size| size as f64)
            .iter()
            .product::<f64>()
    }
}
