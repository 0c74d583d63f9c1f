//! Steps of feedback weights that learn from the step of the weights.

use super::config::Learning;
use super::layer::FeedbackLayer;
use crate::Steps;
use crate::ops::masked;
use crate::steps::descend;
use candle::backprop::GradStore;
use candle::{DType, Device, Result, Tensor, TensorId, Var};
use candle_nn::{AdamW, Optimizer, SGD};

/// An optimiser whose step is `w ← (1 − ηλ)w − ηu`, where `u` depends on the gradients of `w` so
/// far but not on `w` itself. A variable without a gradient stays unchanged.
///
/// Plain descent, momentum, Adam and AdamW have this form; decay inside the gradient (L2), rates
/// that depend on a norm, and constraints do not. [`Steps`] have it if all their
/// [parts](crate::Part::dependence) do. Implement the trait for your own optimiser to use it in
/// [`WithFeedback`].
pub trait Decoupled: Optimizer {
    /// The decay `λ` of the next step.
    ///
    /// # Errors
    /// If the current settings give the step another form; the message says why.
    fn weight_decay(&self) -> Result<f64>;

    /// Whether `u` is the gradient itself, and `λ` is 0, at every step. Default: no.
    fn is_descent(&self) -> bool {
        false
    }
}

impl Decoupled for SGD {
    fn weight_decay(&self) -> Result<f64> {
        Ok(0.0)
    }

    fn is_descent(&self) -> bool {
        true
    }
}

impl Decoupled for Steps {
    fn weight_decay(&self) -> Result<f64> {
        self.decoupled_decay()
    }

    fn is_descent(&self) -> bool {
        self.has_no_parts()
    }
}

impl Decoupled for AdamW {
    fn weight_decay(&self) -> Result<f64> {
        Ok(self.params().weight_decay)
    }
}

/// An optimiser around `O` that also steps the feedback weights of layers.
///
/// ```text
/// W ← (1 − ηλ)W − ηu           u: what O makes of the gradient G
/// R ← (1 − η λ_R)R − ε η u     λ_R = λ for Kolen–Pollack, else 0
/// ```
///
/// So the feedback weights have no state of their own, and their learning means the same under
/// every optimiser: `R − εW` never changes for [`Learning::LikeWeights`] without decay, and `W − R`
/// shrinks by `1 − ηλ` a step for [`Learning::KolenPollack`]. If `R` were a variable of Adam with
/// the gradient `εG`, Adam would divide `ε` away; if AdamW decayed `W` alone, `W − R` would drift.
/// If the connections of `W` and `R` differ, `u` is computed for every connection of either. In f32
/// and f64, the weights and all other variables move exactly as under `O` alone, bit for bit, with one
/// exception: if the connections of `W` and `R` differ, a step that looks at all entries together, such
/// as [`LargestEntry`](crate::LargestEntry), sees those of both.
///
/// In place of the weights, `O` moves an increment that starts from 0 in each step and so ends as
/// `−ηu`, free of decay. In f16 and bf16 the increment is rounded once more than a step of `O` alone.
/// Plain descent does not need this: there `R` has the gradient `εG`. While a step is taken, no job of
/// rayon's pool may use the layers: see [`Steps`].
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::feedback::{self, Learning, Source};
/// use candle_hebbian::{FeedbackConfig, WithFeedback, WithFeedbackConfig};
/// use candle_nn::{AdamW, Init, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
/// let varmap = VarMap::new();
/// let vb = VarBuilder::from_varmap(&varmap, DType::F64, &Device::Cpu);
/// let kp = FeedbackConfig { source: Source::Own, learning: Learning::KolenPollack };
/// let init = |_: &[usize]| Init::Randn { mean: 0.0, stdev: 1.0 };
/// let hidden = feedback::dense(3, 4, kp, init, vb.pp("hidden"))?;
/// let output = feedback::dense(4, 2, kp, init, vb.pp("output"))?;
/// let network = candle_nn::seq().add(hidden.clone()).add(Tensor::tanh).add(output.clone());
///
/// let params = ParamsAdamW { lr: 0.01, weight_decay: 0.5, ..Default::default() };
/// let config = WithFeedbackConfig { layers: vec![hidden, output.clone()], inner: params };
/// let mut optimizer = WithFeedback::<AdamW>::new(varmap.all_vars(), config)?;
/// let apart = || (output.weight() - output.feedback().unwrap())?.flatten_all()?.to_vec1::<f64>();
/// let before = apart()?;
/// let x = Tensor::new(&[[0.5f64, -1.0, 2.0]], &Device::Cpu)?;
/// optimizer.backward_step(&network.forward(&x)?.sqr()?.sum_all()?)?;
/// for (after, before) in apart()?.iter().zip(before) {
///     assert!((after - 0.995 * before).abs() < 1e-12); // W − R shrinks by 1 − ηλ
/// }
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct WithFeedback<O> {
    inner: O,
    /// The variables that `O` moves by their own gradients.
    plain: Vec<Var>,
    pairs: Vec<Pair>,
    /// A variable that is set to 1 and gets the gradient 0, so that a step leaves `1 − ηλ` of it,
    /// whatever the schedule of `η`.
    decayed: Var,
}

/// The config of [`WithFeedback`].
#[derive(Debug, Clone)]
pub struct WithFeedbackConfig<C> {
    /// The layers. Layers whose feedback weights do not learn from the step may be among them. Their
    /// [masks](FeedbackLayer::set_masks) are those that they have now.
    pub layers: Vec<FeedbackLayer>,
    /// The config of the inner optimiser.
    pub inner: C,
}

/// The weights of a layer and the feedback weights that learn with them.
#[derive(Debug)]
struct Pair {
    layer: FeedbackLayer,
    weight: Var,
    feedback: Var,
    rate: f64,
    how: How,
}

#[derive(Debug)]
enum How {
    /// `R` is a variable of the inner optimiser, beside `W`.
    Descent,
    /// This increment is a variable of the inner optimiser, in place of `W`.
    Increment(Var),
}

impl<O: Decoupled> WithFeedback<O> {
    /// Wraps the optimiser that `inner` makes for the variables it is given; for optimisers that
    /// are not made by [`Optimizer::new`]. `vars` are all variables that learn; feedback weights
    /// may be among them or not.
    ///
    /// `inner` is called twice, first without variables, to find out what steps it takes. Layers whose
    /// [masks](FeedbackLayer::set_masks) change later need a new optimiser.
    ///
    /// # Errors
    /// If the weights of a layer are not among `vars`, or two layers share them; if two layers
    /// share feedback weights, or these are not variables. Combinations that cannot be right are
    /// refused with the reason: an optimiser that is not [`Decoupled`] with its settings; one that
    /// decays the weights while feedback weights that learn like them do not decay; Kolen–Pollack
    /// without decay.
    pub fn build<'a>(
        vars: Vec<Var>,
        layers: impl IntoIterator<Item = &'a FeedbackLayer>,
        inner: impl Fn(Vec<Var>) -> Result<O>,
    ) -> Result<Self> {
        let (mut plain, mut pairs) = (vars, Vec::<Pair>::new());
        let mut all_feedback = Vec::<TensorId>::new();
        let form = inner(Vec::new())?;
        for layer in layers {
            let Some(feedback) = layer.feedback() else { continue };
            if all_feedback.contains(&feedback.id()) {
                candle::bail!(
                    "optimiser with feedback: two layers have the same feedback weights, of {:?}",
                    feedback.dims()
                )
            }
            all_feedback.push(feedback.id());
            let Some(rate) = layer.config().rate() else { continue };
            let Some(feedback) = layer.feedback_var()? else { continue };
            let how = match form.is_descent() {
                true => How::Descent,
                false => How::Increment(Var::from_tensor(&layer.weight().zeros_like()?)?),
            };
            let (layer, weight) = (layer.clone(), layer.var()?);
            if pairs.iter().any(|pair| pair.weight.id() == weight.id()) {
                candle::bail!(
                    "optimiser with feedback: two layers have the same weights, of {:?}",
                    weight.dims()
                )
            }
            if !plain.iter().any(|var| var.id() == weight.id()) {
                candle::bail!(
                    "optimiser with feedback: the weights of {:?} of a layer are not among the \
                     variables that are to learn",
                    weight.dims()
                )
            }
            pairs.push(Pair { layer, weight, feedback, rate, how });
        }
        plain.retain(|var| !all_feedback.contains(&var.id()));
        let mut moved = plain.clone();
        for pair in &pairs {
            match &pair.how {
                How::Descent => moved.push(pair.feedback.clone()),
                How::Increment(increment) => {
                    let same = |var: &&mut Var| var.id() == pair.weight.id();
                    moved.iter_mut().filter(same).for_each(|var| *var = increment.clone());
                    plain.retain(|var| var.id() != pair.weight.id());
                }
            }
        }
        let decayed = Var::ones((1, 1), DType::F64, &Device::Cpu)?;
        moved.push(decayed.clone());
        let this = Self { inner: inner(moved)?, plain, pairs, decayed };
        let decay = this.check()?;
        let mut learning = this.pairs.iter().map(|pair| pair.layer.config().learning);
        if decay == 0.0 && learning.any(|learning| learning == Learning::KolenPollack) {
            candle::bail!(
                "Kolen–Pollack under an optimiser without weight decay is updated random feedback: \
                 W − R shrinks only by the decay of both. Give the optimiser a decoupled weight decay, \
                 or choose learning 'like_weights' at rate 1"
            )
        }
        Ok(this)
    }

    /// The inner optimiser, to read its settings.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// The inner optimiser, to change its settings: a schedule of the decay, for example.
    pub fn inner_mut(&mut self) -> &mut O {
        &mut self.inner
    }

    /// Returns `λ`, or an error if it does not suit all layers.
    fn check(&self) -> Result<f64> {
        if self.pairs.is_empty() {
            return Ok(0.0);
        }
        let decay = self.inner.weight_decay()?;
        for pair in &self.pairs {
            let learning = pair.layer.config().learning;
            if decay != 0.0 && learning != Learning::KolenPollack {
                candle::bail!(
                    "the optimiser decays weights by λ = {decay}, but feedback weights with \
                     {learning:?} do not decay, so R − εW would drift by the decay of W. Set the \
                     optimiser's weight_decay to 0 (AdamW's is 0.01 unless told otherwise), or choose \
                     learning 'kolen_pollack', where both decay"
                )
            }
        }
        Ok(decay)
    }
}

impl<O: Decoupled> Optimizer for WithFeedback<O>
where
    O::Config: Clone,
{
    type Config = WithFeedbackConfig<O::Config>;

    /// # Errors
    /// Those of [`WithFeedback::build`].
    fn new(vars: Vec<Var>, config: Self::Config) -> Result<Self> {
        let WithFeedbackConfig { layers, inner } = config;
        Self::build(vars, &layers, |vars| O::new(vars, inner.clone()))
    }

    /// # Errors
    /// If the inner optimiser fails, or if settings that have changed since do not pass the checks
    /// of [`WithFeedback::build`].
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        let decay = self.check()?;
        let mut own = no_gradients()?;
        for var in &self.plain {
            if let Some(grad) = grads.get(var) {
                own.insert(var, grad.clone());
            }
        }
        let mut moved = Vec::new();
        for pair in &self.pairs {
            match &pair.how {
                How::Descent => {
                    if let Some(grad) = pair.layer.feedback_gradient(grads)? {
                        own.insert(&pair.feedback, grad);
                    }
                }
                How::Increment(increment) => {
                    if let Some(product) = pair.layer.product(grads) {
                        increment.zero_set()?;
                        own.insert(increment, product.clone());
                        moved.push((pair, increment));
                    }
                }
            }
        }
        if decay != 0.0 {
            self.decayed.one_set()?;
            own.insert(&self.decayed, self.decayed.zeros_like()?);
        }
        self.inner.step(&own)?;
        let keep = match decay {
            0.0 => 1.0,
            _ => self.decayed.as_detached_tensor().sum_all()?.to_scalar::<f64>()?,
        };
        for (pair, increment) in moved {
            pair.add(&increment.as_detached_tensor(), keep)?;
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.inner.set_learning_rate(learning_rate);
    }
}

impl Pair {
    /// `W ← keep·W + v` and `R ← keep·R + εv`, each where it has connections.
    fn add(&self, increment: &Tensor, keep: f64) -> Result<()> {
        let (weight_mask, feedback_mask) = self.layer.masks();
        let steps = [(&self.weight, 1.0, weight_mask), (&self.feedback, self.rate, feedback_mask)];
        for (var, rate, mask) in steps {
            descend(var, &masked(increment, mask)?, -rate, keep)?;
        }
        Ok(())
    }
}

/// A store without the gradient of any variable.
pub(crate) fn no_gradients() -> Result<GradStore> {
    Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()
}
