//! The paper's read-out: a linear head in two factors.

use candle::{DType, Device, Result as CandleResult, Tensor, Var};
use candle_hebbian::Rng;
use candle_hebbian::device::{read, upload};
use candle_hebbian::ops::{linear_response, repu};
use hebbian_train::{Error, LinearReadout, OwnHead, Recorder, Result};
use serde::{Deserialize, Serialize};

/// `ε` of the batch norm, and the share of a batch in its running statistics.
const EPSILON: f64 = 1e-5;
const SHARE: f64 = 0.1;

/// How a [`FactorisedHead`] is trained. The defaults are those of the authors' code for up to 4,096 patches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// `R`, the number of channels between the two factors. Default 128.
    pub bottleneck: usize,
    /// The side of the second convolution. Default 6.
    pub kernel: usize,
    /// How often each image is seen. Default 80.
    pub epochs: usize,
    /// Images per step; the last step of an epoch takes the remaining ones. Default 128.
    pub batch_size: usize,
    /// The learning rate at first. Default 0.003.
    pub learning_rate: f64,
    /// The numbers of epochs after which the learning rate is a tenth of what it was, and momentum begins at 0 again.
    /// Default 50 and 75.
    pub drops: Vec<usize>,
    /// The share of the last step in the next. Default 0.9.
    pub momentum: f64,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            bottleneck: 128,
            kernel: 6,
            epochs: 80,
            batch_size: 128,
            learning_rate: 3e-3,
            drops: vec![50, 75],
            momentum: 0.9,
        }
    }
}

impl HeadConfig {
    /// Whether all numbers make sense by themselves.
    pub(super) fn is_valid(&self) -> bool {
        let Self { bottleneck, kernel, epochs, batch_size, learning_rate, momentum, .. } = self;
        [bottleneck, kernel, epochs, batch_size].iter().all(|&&number| number > 0)
            && learning_rate.is_finite()
            && *learning_rate > 0.0
            && (0.0..1.0).contains(momentum)
    }
}

/// A head on the averages `x (B, S, S, C)` of a code over windows, that is linear with at most `R` dimensions for each
/// window:
///
/// ```text
/// x̂ = γ·(x − mean_c)/√(var_c + ε) + β      batch norm of each of the C = 2N channels
/// h = W₁·x̂ + b⁺ + b⁻                       (B, S, S, R): a 1×1 convolution for each half of the code, summed
/// scores = mean over places of W₂ ∗ h + b  a convolution with a kernel of `kernel` × `kernel`
/// ```
///
/// There is no non-linearity. It learns cross-entropy by descent with momentum: `v ← μ·v + g`, `w ← w − η·v`. Weights
/// and biases begin as PyTorch's do, uniform in ±1/√fan-in, where a 1×1 convolution has a fan-in of `N`.
///
/// Source: Thiry et al. 2021, the authors' code. Unlike there, images are not cropped and flipped while it learns.
#[derive(Debug, Clone)]
pub struct FactorisedHead {
    config: HeadConfig,
    /// `S`
    side: usize,
    /// `C`
    channels: usize,
}

impl FactorisedHead {
    /// A head for `side` × `side` averages of `channels` channels.
    ///
    /// # Errors
    /// A kernel that is larger than the side.
    pub fn new(config: &HeadConfig, side: usize, channels: usize) -> Result<Self> {
        if config.kernel > side {
            return Err(Error::Argument(format!(
                "the head's kernel is {}, expected 1 to {side}, the side of the map of averages",
                config.kernel
            )));
        }
        Ok(Self { config: config.clone(), side, channels })
    }

    /// Draws the weights for so many classes, on a device.
    ///
    /// # Errors
    /// If the device lacks the memory.
    pub fn weights(&self, classes: usize, rng: &Rng, device: &Device) -> CandleResult<Weights> {
        let Self { config: HeadConfig { bottleneck, kernel, .. }, side, channels } = *self;
        let mut rng = rng.stream("head.weight");
        let mut uniform = |shape: &[usize], fan_in: usize| {
            let bound = 1.0 / (fan_in as f64).sqrt();
            Var::from_tensor(&rng.uniform(-bound, bound, shape, DType::F32, device)?)
        };
        let (half, last) = (channels.div_ceil(2), kernel * kernel * bottleneck);
        Ok(Weights {
            gamma: Var::ones(channels, DType::F32, device)?,
            beta: Var::zeros(channels, DType::F32, device)?,
            first: uniform(&[bottleneck, channels], half)?,
            first_bias: uniform(&[2, bottleneck], half)?,
            second: uniform(&[classes, last], last)?,
            second_bias: uniform(&[classes], last)?,
            mean: Tensor::zeros(channels, DType::F32, device)?,
            var: Tensor::ones(channels, DType::F32, device)?,
            places: places(side, kernel, device)?,
        })
    }
}

/// The matrix `(kernel², side²)` by which the mean over all places of a convolution is one product: row `(i, j)` has
/// the mean of a map over the inputs that the tap `(i, j)` reads.
fn places(side: usize, kernel: usize, device: &Device) -> CandleResult<Tensor> {
    let moves = side - kernel + 1;
    let mut matrix = vec![0f32; kernel * kernel * side * side];
    for (tap, row) in matrix.chunks_exact_mut(side * side).enumerate() {
        for place in 0..moves * moves {
            let (y, x) = (tap / kernel + place / moves, tap % kernel + place % moves);
            row[y * side + x] = 1.0 / (moves * moves) as f32;
        }
    }
    upload(matrix, (kernel * kernel, side * side), device)
}

/// The weights of a [`FactorisedHead`].
#[derive(Debug)]
pub struct Weights {
    /// `γ (C)` and `β (C)`.
    pub gamma: Var,
    /// See [`gamma`](Self::gamma).
    pub beta: Var,
    /// `W₁ (R, C)`
    pub first: Var,
    /// `b⁺` and `b⁻`, `(2, R)`.
    pub first_bias: Var,
    /// `W₂ (classes, kernel²·R)`, the taps before the channels.
    pub second: Var,
    /// `b (classes)`
    pub second_bias: Var,
    /// The running mean `(C)`.
    mean: Tensor,
    /// The running variance `(C)`.
    var: Tensor,
    places: Tensor,
}

impl Weights {
    /// All variables that learn.
    pub fn vars(&self) -> [&Var; 6] {
        let Self { gamma, beta, first, first_bias, second, second_bias, .. } = self;
        [gamma, beta, first, first_bias, second, second_bias]
    }

    /// Batch norm and the first factor as one linear map of a row: its weights `(R, C)` and biases `(R)`.
    fn first_factor(&self, mean: &Tensor, var: &Tensor) -> CandleResult<(Tensor, Tensor)> {
        let scale = (self.gamma.as_tensor() / (var + EPSILON)?.sqrt()?)?;
        let shift = (self.beta.as_tensor() - (mean * &scale)?)?;
        let bias = self.first.matmul(&shift.unsqueeze(1)?)?.squeeze(1)?;
        Ok((self.first.broadcast_mul(&scale)?, (bias + self.first_bias.sum(0)?)?))
    }

    /// The scores `(B, classes)` of averages `x (B, S²·C)` in training, differentiable in the variables. The running
    /// statistics become those of the batch by a tenth.
    ///
    /// # Errors
    /// Averages of another size.
    pub fn forward_train(&mut self, x: &Tensor) -> CandleResult<Tensor> {
        let (images, _) = x.dims2()?;
        let (taps, places) = self.places.dims2()?;
        let rows = x.reshape((images * places, ()))?;
        let count = rows.dim(0)? as f64;
        let ones = Tensor::ones((1, rows.dim(0)?), rows.dtype(), rows.device())?;
        let mean = (ones.matmul(&rows)?.squeeze(0)? / count)?;
        let squares = (ones.matmul(&rows.sqr()?)?.squeeze(0)? / count)?;
        let var = repu(&(squares - mean.sqr()?)?.unsqueeze(0)?, 1.0)?.squeeze(0)?;
        let unbiased = (&var * (count / (count - 1.0).max(1.0)))?;
        self.mean = ((&self.mean * (1.0 - SHARE))? + (&mean * SHARE)?)?;
        self.var = ((&self.var * (1.0 - SHARE))? + (unbiased * SHARE)?)?;
        let (weight, bias) = self.first_factor(&mean, &var)?;
        let hidden = linear_response(&rows, &weight, &weight)?.broadcast_add(&bias)?;
        let hidden = hidden.reshape((images, places, ()))?;
        let seen = self.places.broadcast_matmul(&hidden)?.reshape((images, taps * bias.dim(0)?))?;
        linear_response(&seen, &self.second, &self.second)?.broadcast_add(&self.second_bias)
    }

    /// The head in evaluation as one linear map of the averages `(S²·C)`, with the running statistics.
    ///
    /// # Errors
    /// If the device lacks the memory.
    pub fn folded(&self) -> Result<LinearReadout> {
        let (weight, bias) = self.first_factor(&self.mean, &self.var)?;
        let (classes, _) = self.second.dims2()?;
        let (taps, _) = self.places.dims2()?;
        let second = self.second.as_detached_tensor().reshape((classes, taps, ()))?;
        // (classes, S², R) and (classes, S², C)
        let reach = self.places.t()?.broadcast_matmul(&second)?;
        let whole = reach.broadcast_matmul(&weight)?.flatten_from(1)?;
        let constant = second.sum(1)?.matmul(&bias.unsqueeze(1)?)?.squeeze(1)?;
        let bias = (constant + self.second_bias.as_tensor())?;
        LinearReadout::new(&whole.detach(), &bias.detach())
    }
}

impl OwnHead for FactorisedHead {
    /// Averages of ones and zeros lose little in 16 bits, and take half of the memory.
    fn dtype(&self) -> DType {
        DType::BF16
    }

    fn train(
        &self,
        features: &Tensor,
        labels: &[u32],
        classes: usize,
        rng: &Rng,
        recorder: &mut Recorder<'_>,
    ) -> Result<LinearReadout> {
        let (config, device, what) = (&self.config, features.device(), "the read-out");
        let mut weights = self.weights(classes, rng, device)?;
        let still = |weights: &Weights| -> CandleResult<Vec<Tensor>> {
            weights.vars().iter().map(|var| var.zeros_like()).collect()
        };
        let mut velocities = still(&weights)?;
        let mut order = rng.stream("head.batches");
        let mut progress = recorder.progress(config.epochs * labels.len(), "head");
        for epoch in 1..=config.epochs {
            let drops = config.drops.iter().filter(|&&after| after < epoch).count();
            if config.drops.contains(&(epoch - 1)) {
                velocities = still(&weights)?;
            }
            let rate = config.learning_rate * 0.1f64.powi(drops as i32);
            let shuffled: Vec<u32> =
                order.permutation(labels.len()).into_iter().map(|row| row as u32).collect();
            let targets: Vec<u32> = shuffled.iter().map(|&row| labels[row as usize]).collect();
            // Uploaded once per epoch, and the measurements are read once at its end: on a GPU each transfer would wait
            // for the step.
            let shuffled = upload(shuffled, labels.len(), device)?;
            let targets = upload(targets, labels.len(), device)?;
            let mut measured = Vec::new();
            for start in (0..labels.len()).step_by(config.batch_size) {
                recorder.go_on()?;
                let count = config.batch_size.min(labels.len() - start);
                let x = features.index_select(&shuffled.narrow(0, start, count)?, 0)?;
                let target = targets.narrow(0, start, count)?;
                let scores = weights.forward_train(&x.to_dtype(DType::F32)?)?;
                let loss = candle_nn::loss::cross_entropy(&scores, &target)?;
                let gradients = loss.backward()?;
                for (var, velocity) in weights.vars().into_iter().zip(&mut velocities) {
                    if let Some(gradient) = gradients.get(var) {
                        *velocity = ((&*velocity * config.momentum)? + gradient)?.detach();
                        var.set(&(var.as_detached_tensor() - (&*velocity * rate)?)?)?;
                    }
                }
                let right = scores.argmax(1)?.eq(&target)?.to_dtype(DType::F32)?.sum_all()?;
                let loss = (loss.detach() * count as f64)?;
                measured.push(Tensor::stack(&[loss, right.detach()], 0)?);
                progress.advance(count as u64);
            }
            let named = |var: &&Var| ("head".to_string(), var.as_detached_tensor());
            let tensors: Vec<(String, Tensor)> = weights.vars().iter().map(named).collect();
            recorder.check(what, epoch, &tensors)?;
            let measured = read(&Tensor::stack(&measured, 0)?)?.to_vec2::<f32>()?;
            let mean = |column: usize| {
                let sum: f64 = measured.iter().map(|sums| f64::from(sums[column])).sum();
                sum / labels.len() as f64
            };
            let values = [("loss", mean(0)), ("train_accuracy", mean(1))];
            recorder.log("head", epoch, &values)?;
        }
        progress.finish();
        weights.folded()
    }
}
