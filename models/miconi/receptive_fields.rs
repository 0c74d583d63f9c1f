//! The part of the image that a unit sees.

use super::config::Preset;
use super::network::Network;
use crate::units::units_of;
use candle::Tensor;
use hebbian_train::{Error, Field, Result};

/// The part of the image that a unit of a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceptiveField {
    /// Its side, in pixels.
    pub size: usize,
    /// Pixels between the fields of neighbouring units, before their layer pools.
    pub step: usize,
}

impl Preset {
    /// Computes the receptive field of the units of each layer: `size_l = step_l (k_l − 1) + size_{l−1} +
    /// (pool_{l−1} − 1) step'_{l−1}`, where `step'` is the step between the windows of a layer and
    /// `step_l = pool_{l−1}·step'_{l−1}` is the step between its inputs.
    ///
    /// ```
    /// let preset = hebbian_models::miconi::preset("miconi-cifar")?;
    /// let sizes: Vec<usize> = preset.receptive_fields().iter().map(|field| field.size).collect();
    /// assert_eq!(sizes, [5, 10, 20]);
    /// # Ok::<(), hebbian_models::miconi::Error>(())
    /// ```
    pub fn receptive_fields(&self) -> Vec<ReceptiveField> {
        // For the input of a layer: the size of the field that one value sees, and the pixels between values.
        let (mut seen, mut between) = (1, 1);
        let mut fields = Vec::new();
        for layer in &self.layers {
            // Sizes that overflow saturate, and so are larger than any image.
            let size = usize::saturating_mul(between, layer.kernel - 1).saturating_add(seen);
            let step = usize::saturating_mul(between, layer.stride);
            fields.push(ReceptiveField { size, step });
            seen = step.saturating_mul(layer.pool - 1).saturating_add(size);
            between = step.saturating_mul(layer.pool);
        }
        fields
    }
}

/// Computes the receptive fields `(K, C, size, size)` of every layer by linear back-projection of its weights, see
/// [`hebbian_train::receptive_fields`]. If `top_left`, only the first place of each pooling window is used, as in
/// the notebook; the last rows and columns then stay empty.
///
/// The fields are in the space of the images that the first layer sees, after transforms such as whitening.
///
/// # Errors
/// If the device fails.
pub fn receptive_fields(network: &Network, top_left: bool) -> Result<Vec<Tensor>> {
    let stack = network.stack();
    let layers = units_of(stack, stack.blocks().len())?.into_iter().map(|(_, mut units)| {
        let places = units.pools.iter_mut().filter(|_| top_left);
        places.for_each(|window| window.kernel = 1);
        units
    });
    let &[channels, height, width] = stack.input() else {
        return Err(Error::Argument(format!(
            "the network takes inputs of shape {:?}, expected images (C, H, W)",
            stack.input()
        )));
    };
    let fields =
        hebbian_train::receptive_fields(&layers.collect::<Vec<_>>(), (channels, height, width))?;
    let sizes = network.preset().receptive_fields();
    let whole = fields.into_iter().zip(sizes).map(
        |(Field { pattern, .. }, ReceptiveField { size, .. })| {
            let (_, _, height, width) = pattern.dims4()?;
            let pattern = pattern.pad_with_zeros(2, 0, size - height)?;
            Ok(pattern.pad_with_zeros(3, 0, size - width)?)
        },
    );
    whole.collect()
}
