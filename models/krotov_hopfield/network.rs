//! The layer with its rule, and its features.

use super::config::Preset;
use candle::{DType, Device, Tensor};
use candle_hebbian::ops::repu;
use candle_hebbian::{
    Competition, Geometry, KrotovHopfield, LargestEntry, Layer, Learner, LinearDecay, Rng, Steps,
    wide_dtype,
};
use hebbian_train::{
    Checkpoint, Measured, Picture, Preset as _, Result, Units, Unsupervised, filter_picture,
};

/// A dense layer that learns by competition.
///
/// ```text
/// Q_k = Σ_i sign(w_ki)|w_ki|^(p−1) x_i      g = 1 for the largest Q, −Δ for the k-th largest, else 0
/// D_k = Σ_b g_k x − (Σ_b g_k Q_k) w_k       w ← w + ε₀ (1 − progress) D / max|D|
/// h_k = max(0, w_k·x/‖x‖₂)ⁿ
/// ```
///
/// `x (B, F)` are pixels from 0 to 1, `w (K, F)` is initialised from `N(0, 1)`, and the maximum is over the layer. The
/// features `h (B, K)` are computed from images scaled to norm 1, but learning takes images as they are. The features
/// of a black image are 0.
///
/// Source: Krotov & Hopfield 2019, PNAS 116:7723, as in the authors' code.
#[derive(Debug)]
pub struct Network {
    preset: Preset,
    layer: Layer,
    hebb: Learner<Steps>,
}

impl Network {
    /// A network with fresh weights for images of `pixels` pixels.
    ///
    /// # Errors
    /// A preset that is invalid; more weights than fit in memory.
    pub fn new(
        preset: &Preset,
        pixels: usize,
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        preset.validate()?;
        let shape = (preset.units, pixels);
        let weight = rng.stream("weight").normal(0.0, 1.0, shape, dtype, device)?;
        let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
        let steps = Steps::builder(preset.learning_rate).then(LargestEntry).then(LinearDecay);
        let rule = KrotovHopfield { norm: preset.norm };
        let hebb = Learner::new(rule, steps.build([layer.var()?])?);
        Ok(Self { preset: preset.clone(), layer, hebb })
    }

    /// The layer, with weights `(K, F)`.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }
}

impl Unsupervised for Network {
    /// `weight (K, F)`
    fn tensors(&self) -> Vec<(String, Tensor)> {
        vec![("weight".to_string(), self.layer.weight().detach())]
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let weight = self.layer.var()?;
        Ok(weight.set(&checkpoint.take("weight", weight.shape(), weight.dtype())?)?)
    }

    fn width(&self) -> usize {
        self.preset.units
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let wide = |tensor: &Tensor| tensor.to_dtype(wide_dtype(tensor.dtype()));
        let (x, weight) = (wide(&images.flatten_from(1)?)?, wide(&self.layer.weight().detach())?);
        let norm = x.sqr()?.sum_keepdim(1)?.sqrt()?;
        // A black image is divided by 1.
        let norm = (&norm + norm.eq(0.0)?.to_dtype(norm.dtype())?)?;
        let u = x.broadcast_div(&norm)?.matmul(&weight.t()?)?;
        Ok(repu(&u, 1.0)?.powf(self.preset.power)?.to_dtype(images.dtype())?)
    }

    fn units(&self) -> Result<Option<Units>> {
        let (name, weight) = ("layer 1".to_string(), self.layer.weight().detach());
        let (competes, pools) = (true, Vec::new());
        Ok(Some(Units { name, weight, competes, stride: 1, padding: 0, pools }))
    }

    /// Returns `Q`, which enters the competition.
    fn responses(&self, images: &Tensor) -> Result<Tensor> {
        let linear = self.layer.response(&images.flatten_from(1)?)?;
        Ok(self.hebb.rule().response(linear)?.output()?)
    }

    fn learn(&mut self, images: &Tensor, progress: f64) -> Result<()> {
        let linear = self.layer.response(&images.flatten_from(1)?)?;
        let response = self.hebb.rule().response(linear)?;
        let post = self.preset.competition.compete(response.u())?;
        self.hebb.optimiser_mut().set_progress(progress);
        Ok(self.hebb.step(&response, &post)?)
    }

    /// The mean of `‖w_k‖_p`.
    fn measure(&self) -> Result<Measured> {
        let (weight, p) = (self.layer.weight().detach().to_dtype(DType::F32)?, self.preset.norm);
        let norms = weight.abs()?.powf(p)?.sum(1)?.powf(1.0 / p)?;
        let norm = f64::from(norms.mean_all()?.to_scalar::<f32>()?);
        let values = vec![("mean_norm".to_string(), norm)];
        Ok(Measured { values, message: format!("norm {norm:.3}") })
    }

    /// The weights of each unit.
    fn pictures(&self, image: (usize, usize, usize)) -> Result<Vec<(String, Picture)>> {
        let (channels, height, width) = image;
        let weight = self.layer.weight().reshape((self.preset.units, channels, height, width))?;
        Ok(vec![("filters".to_string(), filter_picture(&weight, "weights of the hidden units")?)])
    }
}
