//! What of the image a unit sees.

use super::config::Preset;
use super::network::Network;
use candle::{DType, Device, Result, Tensor};

/// The part of the image that a unit of a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceptiveField {
    /// Its side, in pixels.
    pub size: usize,
    /// Pixels between those of neighbouring units, before their layer pools.
    pub step: usize,
}

impl Preset {
    /// The receptive field of the units of each layer: `size_l = step_l (k_l − 1) + size_{l−1} +
    /// (pool_{l−1} − 1) step'_{l−1}`, with `step'` the step between the windows of a layer and
    /// `step_l = pool_{l−1}·step'_{l−1}` that between its inputs.
    ///
    /// ```
    /// let preset = hebbian_models::miconi::preset("miconi-cifar")?;
    /// let sizes: Vec<usize> = preset.receptive_fields().iter().map(|field| field.size).collect();
    /// assert_eq!(sizes, [5, 10, 20]);
    /// # Ok::<(), hebbian_models::miconi::Error>(())
    /// ```
    pub fn receptive_fields(&self) -> Vec<ReceptiveField> {
        // Of what a layer reads: the size of what one value sees, and the pixels between values.
        let (mut seen, mut between) = (1, 1);
        let mut fields = Vec::new();
        for layer in &self.layers {
            // Sizes that cannot be counted are larger than any image.
            let size = usize::saturating_mul(between, layer.kernel - 1).saturating_add(seen);
            let step = usize::saturating_mul(between, layer.stride);
            fields.push(ReceptiveField { size, step });
            seen = step.saturating_mul(layer.pool - 1).saturating_add(size);
            between = step.saturating_mul(layer.pool);
        }
        fields
    }
}

/// The receptive fields of every layer `(K, C, size, size)` by linear back-projection of its
/// weights, without any non-linearity:
///
/// ```text
/// R_1[c] = w_1[c]      R_l[c] = Σ_{i,j} Σ_in w_l[c, in, i, j] · R̄_{l−1}[in]
/// ```
///
/// where cell `(i, j)` of the kernel lies `step` pixels from its neighbours and `R̄` is the mean of
/// `R_{l−1}` over the places of its pooling window. `top_left` puts it at the first of them only, as
/// the notebook does; the last rows and columns then stay empty.
///
/// The picture is of the image as the first layer sees it, whitened.
pub fn receptive_fields(network: &Network, top_left: bool) -> Result<Vec<Tensor>> {
    let mut fields: Vec<Tensor> = Vec::new();
    let geometry = network.preset().receptive_fields();
    let configs = &network.preset().layers;
    for (at, block) in network.stack().blocks().iter().enumerate() {
        let weight = block.layer()?.weight().detach();
        let weight = weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let Some(below) = fields.last() else {
            fields.push(weight);
            continue;
        };
        let (units, inputs, kernel, _) = weight.dims4()?;
        let (_, channels, small, _) = below.dims4()?;
        let (large, pool) = (geometry[at].size, configs[at - 1].pool);
        let (window, cell) = (geometry[at - 1].step, geometry[at - 1].step * pool);
        let places = if top_left { 1 } else { pool };
        let share = 1.0 / (places * places) as f32;
        let patterns = below.reshape((inputs, channels * small * small))?;
        let mut canvas = vec![0f32; units * channels * large * large];
        for i in 0..kernel {
            for j in 0..kernel {
                let weights = weight.narrow(2, i, 1)?.narrow(3, j, 1)?.reshape((units, inputs))?;
                let pictures = weights.contiguous()?.matmul(&patterns)?;
                let pictures = pictures.flatten_all()?.to_vec1::<f32>()?;
                let planes = pictures.chunks_exact(small * small);
                for (picture, canvas) in planes.zip(canvas.chunks_exact_mut(large * large)) {
                    for place in 0..places * places {
                        let top = i * cell + place / places * window;
                        let left = j * cell + place % places * window;
                        for (y, line) in picture.chunks_exact(small).enumerate() {
                            let to = &mut canvas[(top + y) * large + left..][..small];
                            for (to, value) in to.iter_mut().zip(line) {
                                *to += share * value;
                            }
                        }
                    }
                }
            }
        }
        fields.push(Tensor::from_vec(canvas, (units, channels, large, large), &Device::Cpu)?);
    }
    Ok(fields)
}
