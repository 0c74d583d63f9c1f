//! The circuit: pyramidal neurons with a basal and an apical compartment, and interneurons.
//!
//! This file and `online.rs` depend on no data sets and no runs, because `examples/browser` includes them too.

use candle::backprop::GradStore;
use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::ops::repu;
use candle_hebbian::{
    Geometry, ModulatedHebb, Rng, Rule, State, Steps, Synapses, Update, wide_dtype,
};
use candle_nn::Optimizer;
use serde::{Deserialize, Serialize};

/// The function `f` that pyramidal neurons apply to their basal current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nonlinearity {
    /// `f(h) = h`; no running mean is subtracted.
    Identity,
    /// `f(h) = max(0, h)`, minus its running mean.
    Relu,
}

impl Nonlinearity {
    /// `f(h)`
    pub(super) fn rate(self, h: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(h.clone()),
            Self::Relu => repu(h, 1.0),
        }
    }

    /// `z = f(h) − z̄`
    pub(super) fn output(self, rate: &Tensor, mean: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(rate.clone()),
            Self::Relu => rate.broadcast_sub(&mean.to_dtype(rate.dtype())?),
        }
    }

    /// `z̄` after a batch of `rate (B, k)`, updated at the rate `mean_rate` per sample.
    pub(super) fn moved_mean(self, mean: &Tensor, rate: &Tensor, mean_rate: f64) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(mean.clone()),
            Self::Relu => {
                let share = (mean_rate * rate.dim(0)? as f64).min(1.0);
                let now = rate.detach().to_dtype(mean.dtype())?.mean(0)?;
                mean + ((now - mean)? * share)?
            }
        }
    }
}

/// The settings of a circuit, which do not change while it learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitConfig {
    /// `f`
    pub nonlinearity: Nonlinearity,
    /// `ε` of the running mean, per sample. Not used by [`Nonlinearity::Identity`].
    #[serde(default)]
    pub mean_rate: f64,
    /// `λ`, which acts as if noise of this variance were added to every input. Default: 0.
    #[serde(default)]
    pub ridge: f64,
    /// `ρ` of the constraint `C_zz ⪯ ρI`. Default: 1. From the follow-up, arXiv 2210.15752.
    #[serde(default = "one")]
    pub level: f64,
    /// Whether pyramidal-to-interneuron synapses have their own weights `R` in place of `Qᵀ`.
    #[serde(default)]
    pub decoupled: bool,
}

fn one() -> f64 {
    1.0
}

impl CircuitConfig {
    /// Refuses numbers that would be taken for others: a ridge that is no number for 0, and such a rate for 1.
    ///
    /// # Errors
    /// If the rate of the running mean or the ridge is negative or not finite.
    pub(super) fn check(&self) -> Result<()> {
        let numbers = [("mean_rate", self.mean_rate), ("ridge", self.ridge)];
        match numbers.into_iter().find(|(_, found)| !(*found >= 0.0 && found.is_finite())) {
            Some((name, found)) => {
                candle::bail!("circuit: {name} is {found}, expected a finite number, 0 or more")
            }
            None => Ok(()),
        }
    }
}

/// The initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// Standard deviation of `W₁`.
    pub w1: f64,
    /// Standard deviation of `W₂`.
    pub w2: f64,
    /// `Q` is the identity times this number above 0, which is 1/3 in the authors' code. Online steps are stable
    /// only while `η₁ ‖x‖² q² < 2`.
    #[serde(default = "third")]
    pub q: f64,
}

fn third() -> f64 {
    1.0 / 3.0
}

/// A two-layer network that learns locally.
///
/// ```text
/// h = W₁x      z = f(h) − z̄      a = W₂ᵀy      ν = Qᵀz (or Rz)      c = a − Qν
/// ΔW₁ = (f′(h) ⊙ c) xᵀ      ΔW₂ᵀ = z yᵀ − ρW₂ᵀ      ΔQ = z νᵀ − ρQ      ΔR = ν zᵀ − ρR
/// ```
///
/// `x (B, m)` drives the basal compartment and `y (B, n)` the apical one; `c` is the calcium plateau
/// that teaches the basal synapses. Increments are means over the batch; the decay is applied once per
/// batch. The prediction `ŷ = W₂z` plays no part in learning.
///
/// Source: Golkar et al. 2020, arXiv 2011.15031, Eq. 5–7, 9, 21–24; mini-batches are not in the paper.
#[derive(Debug)]
pub struct Circuit {
    config: CircuitConfig,
    w1: Var,
    w2: Var,
    q: Var,
    r: Option<Var>,
    mean: Tensor,
}

/// The activity of a circuit for a batch.
#[derive(Debug, Clone)]
pub struct Activity {
    /// Basal current `h (B, k)`.
    pub h: Tensor,
    /// `f(h) (B, k)`
    pub rate: Tensor,
    /// Output `z (B, k)`.
    pub z: Tensor,
    /// Interneurons `ν (B, k)`.
    pub nu: Tensor,
    /// Plateau potential `c (B, k)`, the teaching signal.
    pub c: Tensor,
}

/// One kind of weights and its rule: [`ModulatedHebb`], plus the term of a ridge.
struct Plastic {
    synapses: Synapses,
    rule: ModulatedHebb,
    /// `F` and `s` of the term `−s·FFᵀw`.
    ridge: Option<(Tensor, f64)>,
}

impl Plastic {
    fn new(synapses: Synapses, leak: f64) -> Self {
        Self { synapses, rule: ModulatedHebb { leak }, ridge: None }
    }
}

impl Rule for Plastic {
    fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update> {
        let update = self.rule.update(synapses, state)?;
        let Some((factor, share)) = &self.ridge else { return Ok(update) };
        // The synapses of f16 and bf16 are in f32.
        let factor = factor.to_dtype(synapses.post().dtype())?;
        Ok(update.mixing((factor.matmul(&factor.t()?)? * *share)?.unsqueeze(0)?))
    }
}

/// The changes of the weights at a learning rate of 1.
#[derive(Debug, Clone)]
pub struct Increments {
    /// `ΔW₁ (k, m)`
    pub w1: Tensor,
    /// `ΔW₂ (n, k)`
    pub w2: Tensor,
    /// `ΔQ (k, k)`
    pub q: Tensor,
    /// `ΔR (k, k)`, if the circuit is decoupled.
    pub r: Option<Tensor>,
}

/// The learning rate of each kind of weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// `η₁` of the basal synapses.
    pub w1: f64,
    /// `η₂` of the apical synapses. At most `η₁/5` keeps learning stable.
    pub w2: f64,
    /// `η_q` of the interneurons' synapses. At most `η₁/5` keeps learning stable.
    pub q: f64,
}

impl Rates {
    /// Returns all rates multiplied by `factor`.
    pub fn scaled(self, factor: f64) -> Self {
        Self { w1: self.w1 * factor, w2: self.w2 * factor, q: self.q * factor }
    }
}

/// The size `B` of a batch `x (B, m)`, by which means over the batch are divided.
///
/// # Errors
/// If there are no samples.
pub(super) fn batch_size(x: &Tensor) -> Result<f64> {
    match x.dim(0)? {
        0 => candle::bail!(
            "an empty batch {:?} has no means: expected one or more samples",
            x.dims()
        ),
        samples => Ok(samples as f64),
    }
}

/// Takes a step of plain descent in each variable at its rate, in all of them or in none.
///
/// # Errors
/// If a rate is negative or not finite.
pub(super) fn descend(vars: &[(&Var, f64)], grads: &GradStore) -> Result<()> {
    let steps = vars.iter().map(|&(var, rate)| Steps::builder(rate).build([var.clone()]));
    let mut steps = steps.collect::<Result<Vec<_>>>()?;
    steps.iter_mut().try_for_each(|steps| steps.step(grads))
}

/// Three ways to compute the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The gradient of a sum of losses, one for each kind of weights.
    Surrogates,
    /// The gradient of one energy, descended in `W₁` and `W₂` and ascended in `Q`. Not for
    /// decoupled circuits, which have no energy.
    Energy,
    /// The Hebbian products themselves, without an autograd graph.
    Explicit,
}

impl Circuit {
    /// Creates a circuit with fresh weights: `W₁` and `W₂` Gaussian, `Q` a multiple `c` of the identity. `Q` must have
    /// full rank, because learning cannot add directions that it lacks. If the circuit is decoupled, `R` is the same
    /// multiple plus Gaussian values with standard deviation `c/√k`, so that `Qᵀ` and `R` differ at first. The sizes
    /// are `(m, k, n)`. `W₁`, `W₂` and `R` are drawn from streams of `rng` of their own.
    ///
    /// # Errors
    /// If there is no memory for so many weights, candle does not convert f32 to `dtype` on `device`, or the rate of
    /// the running mean or the ridge is negative or not finite.
    pub fn new(
        config: CircuitConfig,
        (inputs, units, outputs): (usize, usize, usize),
        initial: Initial,
        rng: &Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let normal = |name: &str, sd, shape| rng.stream(name).normal(0.0, sd, shape, dtype, device);
        // Sizes that exceed any memory are an error instead of aborting the program.
        Geometry::Dense.weight_dims(&[units, units])?;
        let q = (Tensor::eye(units, dtype, device)? * initial.q)?;
        let r = match config.decoupled {
            true => Some((normal("r", initial.q / (units as f64).sqrt(), (units, units))? + &q)?),
            false => None,
        };
        let w1 = normal("w1", initial.w1, (units, inputs))?;
        let w2 = normal("w2", initial.w2, (outputs, units))?;
        Self::from_weights(config, &w1, &w2, &q, r.as_ref())
    }

    /// Creates a circuit with copies of `w1 (k, m)`, `w2 (n, k)`, `q (k, k)` and, if it is decoupled,
    /// `r (k, k)`. The running mean starts at 0; it is in f32 for weights in f16 and bf16.
    ///
    /// # Errors
    /// If the weights do not fit each other, `r` is missing for a decoupled circuit or given for another, or the rate
    /// of the running mean or the ridge is negative or not finite.
    pub fn from_weights(
        config: CircuitConfig,
        w1: &Tensor,
        w2: &Tensor,
        q: &Tensor,
        r: Option<&Tensor>,
    ) -> Result<Self> {
        config.check()?;
        let (units, _) = w1.dims2()?;
        let square = [q].into_iter().chain(r).all(|q| q.dims() == [units, units]);
        if w2.dim(1)? != units || !square || r.is_some() != config.decoupled {
            candle::bail!(
                "circuit: w1 {:?}, w2 {:?}, q {:?}, r {:?} do not fit: expected (k, m), (n, k), \
                 (k, k), and r (k, k) if and only if it is decoupled",
                w1.dims(),
                w2.dims(),
                q.dims(),
                r.map(Tensor::dims)
            )
        }
        let copy = |tensor: &Tensor| Var::from_tensor(&tensor.detach().contiguous()?);
        Ok(Self {
            config,
            mean: Tensor::zeros(units, wide_dtype(w1.dtype()), w1.device())?,
            w1: copy(w1)?,
            w2: copy(w2)?,
            q: copy(q)?,
            r: r.map(copy).transpose()?,
        })
    }

    /// Returns the settings of the circuit.
    pub fn config(&self) -> &CircuitConfig {
        &self.config
    }

    /// `W₁ (k, m)`
    pub fn w1(&self) -> &Var {
        &self.w1
    }

    /// `W₂ (n, k)`
    pub fn w2(&self) -> &Var {
        &self.w2
    }

    /// `Q (k, k)`
    pub fn q(&self) -> &Var {
        &self.q
    }

    /// `R (k, k)`, if the circuit is decoupled.
    pub fn r(&self) -> Option<&Var> {
        self.r.as_ref()
    }

    /// `z̄ (k)`
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// Sets `z̄` to the mean of `f(W₁x)` over `x (B, m)`, a better starting value than 0. Does nothing for
    /// [`Nonlinearity::Identity`].
    ///
    /// # Errors
    /// As for [`forward`](Self::forward), or if there are no samples.
    pub fn start_mean(&mut self, x: &Tensor) -> Result<()> {
        batch_size(x)?;
        if self.config.nonlinearity == Nonlinearity::Relu {
            let rate = self.config.nonlinearity.rate(&self.basal(x)?)?;
            self.mean = rate.to_dtype(self.mean.dtype())?.mean(0)?;
        }
        Ok(())
    }

    fn basal(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.w1.as_detached_tensor().t()?)
    }

    /// Computes `z (B, k)` for `x (B, m)`; differentiable in `x`, as is [`predict`](Self::predict).
    ///
    /// # Errors
    /// If `x` is not `(B, m)`, or of another type or on another device than the weights.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let f = self.config.nonlinearity;
        f.output(&f.rate(&self.basal(x)?)?, &self.mean)
    }

    /// Computes `ŷ = W₂z (B, n)` for `x (B, m)`.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward).
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        self.forward(x)?.matmul(&self.w2.as_detached_tensor().t()?)
    }

    /// Computes the activity of every cell for `x (B, m)` and `y (B, n)`. One pass suffices, because
    /// interneurons act on the apical compartment only, so that no loop affects the activity.
    ///
    /// # Errors
    /// If `x` is not `(B, m)` or `y` not `(B, n)`, or either is of another type or on another device than the weights.
    pub fn activity(&self, x: &Tensor, y: &Tensor) -> Result<Activity> {
        let f = self.config.nonlinearity;
        let h = self.basal(&x.detach())?;
        let rate = f.rate(&h)?;
        let z = f.output(&rate, &self.mean)?;
        let q = self.q.as_detached_tensor();
        let nu = match &self.r {
            Some(r) => z.matmul(&r.as_detached_tensor().t()?)?,
            None => z.matmul(&q)?,
        };
        let c = (y.detach().matmul(&self.w2.as_detached_tensor())? - nu.matmul(&q.t()?)?)?;
        Ok(Activity { h, rate, z, nu, c })
    }

    /// Each kind of weights with the signals at its synapses for a batch: `W₁`, `W₂`, `Q` and, in a
    /// decoupled circuit, `R`.
    fn plastic(&self, x: &Tensor, y: &Tensor, activity: &Activity) -> Result<Vec<Plastic>> {
        let Activity { h, z, nu, c, .. } = activity;
        let CircuitConfig { nonlinearity, ridge, level, .. } = self.config;
        let [w1, w2, q] = [&self.w1, &self.w2, &self.q].map(Var::as_detached_tensor);
        let slope = match nonlinearity {
            Nonlinearity::Identity => h.ones_like()?,
            Nonlinearity::Relu => h.gt(0.0)?.to_dtype(h.dtype())?,
        };
        let synapses =
            |weight: &Tensor, pre: &Tensor, u: &Tensor, post: &Tensor, third: &Tensor| {
                let [pre, u, post] = [pre, u, post].map(|rows| rows.unsqueeze(0));
                Synapses::new(weight, &pre?, &u?, &post?)?.with_third(third)
            };
        // The plateau teaches the basal synapses; the others learn from the activities at both ends alone.
        let alone = Tensor::ones(x.dim(0)?, x.dtype(), x.device())?;
        let (predicted, inhibition) = (z.matmul(&w2.t()?)?, nu.matmul(&q.t()?)?);
        let mut plastic = vec![
            Plastic::new(synapses(&self.w1, x, h, &slope, c)?, 0.0),
            Plastic::new(synapses(&self.w2, z, &predicted, y, &alone)?, level),
            Plastic::new(synapses(&self.q, nu, &inhibition, z, &alone)?, level),
        ];
        if let Some(r) = &self.r {
            plastic.push(Plastic::new(synapses(r, z, nu, nu, &alone)?, level));
        }
        if ridge > 0.0 {
            // −λQQᵀW₁ and +λW₁W₁ᵀQ, times the number of rows, by which all updates are divided later.
            let share = ridge * x.dim(0)? as f64;
            plastic[0].ridge = Some((q, share));
            plastic[2].ridge = Some((w1, -share));
        }
        Ok(plastic)
    }

    /// Computes the activity and the updates of the rules, which are means over the batch `x (B, m)`, `y (B, n)`.
    ///
    /// # Errors
    /// As for [`activity`](Self::activity), or if there are no samples.
    pub fn increments(&self, x: &Tensor, y: &Tensor) -> Result<(Activity, Increments)> {
        let samples = batch_size(x)?;
        let activity = self.activity(x, y)?;
        let plastic = self.plastic(x, y, &activity)?;
        let mut means = plastic.iter().map(|one| one.synapses.update(one)? / samples);
        let mut next = || means.next().unwrap_or_else(|| candle::bail!("circuit: a kind too few"));
        let increments = Increments {
            w1: next()?,
            w2: next()?,
            q: next()?,
            r: self.r.as_ref().map(|_| next()).transpose()?,
        };
        Ok((activity, increments))
    }

    /// Computes the activity and a loss whose gradient is minus the increment of every kind of weights. It
    /// is the mean over the batch `x (B, m)`, `y (B, n)` of the sum of the rules' surrogates,
    ///
    /// ```text
    /// − ⟨sg(c), f(W₁x)⟩ − ⟨sg(z), W₂ᵀy⟩ + ½ρ‖W₂‖² − ⟨sg(z), Q sg(ν)⟩ + ½ρ‖Q‖²  (− ⟨sg(ν), R sg(z)⟩ + ½ρ‖R‖²)
    /// ```
    ///
    /// and with a ridge `+ λ⟨sg(QQᵀW₁), W₁⟩ − λ⟨sg(W₁W₁ᵀQ), Q⟩`. The loss of a circuit in f16 or bf16 is in f32.
    ///
    /// # Errors
    /// As for [`activity`](Self::activity), or if there are no samples.
    pub fn surrogates(&self, x: &Tensor, y: &Tensor) -> Result<(Activity, Tensor)> {
        let samples = batch_size(x)?;
        let activity = self.activity(x, y)?;
        let mut sum = Tensor::zeros((), wide_dtype(x.dtype()), x.device())?;
        for one in self.plastic(x, y, &activity)? {
            sum = (sum + one.synapses.loss(&one)?)?;
        }
        Ok((activity, (sum / samples)?))
    }

    /// Computes the energy whose saddle-point dynamics are the learning rules, with descent in `W₁` and
    /// `W₂` and ascent in `Q`, for `x (B, m)` and `y (B, n)`:
    ///
    /// ```text
    /// E = mean[ −yᵀW₂z + ½‖Qᵀz‖² ] + ½ρ‖W₂‖² − ½ρ‖Q‖²  (+ ½λ‖QᵀW₁‖²)        z = f(W₁x) − sg(z̄)
    /// ```
    ///
    /// # Errors
    /// If the circuit is decoupled, there are no samples, `x` is not `(B, m)` or `y` not `(B, n)`, or either is of
    /// another type or on another device than the weights.
    pub fn energy(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        if self.r.is_some() {
            candle::bail!("energy: a decoupled circuit has none; use surrogates")
        }
        let (x, y) = (x.detach(), y.detach());
        let CircuitConfig { ridge, level, .. } = self.config;
        let samples = batch_size(&x)?;
        let norm = |tensor: &Tensor| tensor.sqr()?.sum_all()? * 0.5;
        let f = self.config.nonlinearity;
        let z = f.output(&f.rate(&x.matmul(&self.w1.t()?)?)?, &self.mean)?;
        let fit = (z.matmul(&self.w2.t()?)? * y)?.sum_all()?;
        let gain = norm(&z.matmul(&self.q)?)?;
        let decay = ((norm(&self.w2)? - norm(&self.q)?)? * level)?;
        let energy = (((gain - fit)? / samples)? + decay)?;
        if ridge > 0.0 {
            return energy + (norm(&self.q.t()?.matmul(self.w1.as_tensor())?)? * ridge)?;
        }
        Ok(energy)
    }

    /// Takes one step on a batch `x (B, m)`, `y (B, n)`: updates all weights based on their old values, then the
    /// running mean.
    ///
    /// # Errors
    /// As for [`surrogates`](Self::surrogates), [`energy`](Self::energy) or [`increments`](Self::increments), whichever
    /// of them `way` uses, or if a rate is not finite or, but for [`Way::Explicit`], negative. Then nothing has moved.
    pub fn step(&mut self, x: &Tensor, y: &Tensor, rates: Rates, way: Way) -> Result<()> {
        let vars: Vec<(&Var, f64)> =
            [(&self.w1, rates.w1), (&self.w2, rates.w2), (&self.q, rates.q)]
                .into_iter()
                .chain(self.r.as_ref().map(|r| (r, rates.q)))
                .collect();
        if let Some((_, rate)) = vars.iter().find(|(_, rate)| !rate.is_finite()) {
            candle::bail!("a learning rate of {rate}, expected a finite number")
        }
        let descend = |grads: &GradStore| descend(&vars, grads);
        let rate = match way {
            Way::Explicit => {
                let (activity, Increments { w1, w2, q, r }) = self.increments(x, y)?;
                for ((var, rate), increment) in vars.iter().zip([w1, w2, q].into_iter().chain(r)) {
                    var.set(&(var.as_detached_tensor() + (increment * *rate)?)?)?;
                }
                activity.rate
            }
            Way::Surrogates => {
                let (activity, loss) = self.surrogates(x, y)?;
                let grads = loss.backward()?;
                descend(&grads)?;
                activity.rate
            }
            Way::Energy => {
                let rate = self.config.nonlinearity.rate(&self.basal(x)?)?;
                let mut grads = self.energy(x, y)?.backward()?;
                if let Some(gradient) = grads.remove(&self.q) {
                    grads.insert(&self.q, gradient.neg()?); // ascended
                }
                descend(&grads)?;
                rate
            }
        };
        let CircuitConfig { nonlinearity, mean_rate, .. } = self.config;
        self.mean = nonlinearity.moved_mean(&self.mean, &rate, mean_rate)?;
        Ok(())
    }

    /// Returns every tensor of a checkpoint in a fixed order: `w1`, `w2`, `q`, `r` (if decoupled), `mean`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let vars = [("w1", Some(&self.w1)), ("w2", Some(&self.w2)), ("q", Some(&self.q))];
        let vars = vars.into_iter().chain([("r", self.r.as_ref())]);
        let mut tensors: Vec<_> = vars
            .filter_map(|(name, var)| Some((name.to_string(), var?.as_detached_tensor())))
            .collect();
        tensors.push(("mean".to_string(), self.mean.clone()));
        tensors
    }

    /// Restores the tensors of a checkpoint; `take(name, shape)` returns each by its name.
    ///
    /// # Errors
    /// If `take` fails.
    pub fn restore<E: From<candle::Error>>(
        &mut self,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        let vars = [("w1", Some(&self.w1)), ("w2", Some(&self.w2)), ("q", Some(&self.q))];
        for (name, var) in vars.into_iter().chain([("r", self.r.as_ref())]) {
            if let Some(var) = var {
                var.set(&take(name, var.dims())?)?;
            }
        }
        self.mean = take("mean", self.mean.dims())?.to_dtype(self.mean.dtype())?;
        Ok(())
    }
}
