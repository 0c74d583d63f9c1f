//! Steps: an optimiser made of parts, which define what is done with the gradient of a surrogate
//! loss.

mod builder;
mod config;
mod cosine_decay;
mod descend;
mod descent;
mod exponential_decay;
mod largest_entry;
mod linear_decay;
mod norm_dependent;
mod part;
mod place;
mod scaling;
mod unit_norm;
mod variable;
mod weight_decay;

pub use builder::StepsBuilder;
pub use config::{PartConfig, StepsConfig};
pub use cosine_decay::CosineDecay;
pub use descent::Descent;
pub use exponential_decay::ExponentialDecay;
pub use largest_entry::LargestEntry;
pub(crate) use largest_entry::largest_entries;
pub use linear_decay::LinearDecay;
pub use norm_dependent::NormDependent;
pub use part::{Constraint, Dependence, Part};
pub use unit_norm::UnitNorm;
pub use variable::Variable;
pub use weight_decay::WeightDecay;

use candle::backprop::GradStore;
use candle::{Result, Tensor, Var};
use candle_nn::Optimizer;
use descend::Descend;
use descent::Scale;
use place::{Place, memory};
use std::collections::HashSet;

/// An optimiser that moves variables down their gradients by a chain of parts:
///
/// ```text
/// w_k ← (1 − η Σλ)·w_k − η·(Π factors / Π divisors)·G_k,   then each constraint in turn
/// ```
///
/// `G` is the gradient, `k` a unit. A [`Part`] may contribute to each of these: [`LargestEntry`]
/// adds a divisor for each site, [`NormDependent`] a factor for each unit, and [`WeightDecay`] a
/// `λ`; [`LinearDecay`], [`CosineDecay`] and [`ExponentialDecay`] change `η`; [`UnitNorm`] is a
/// constraint. Without parts the step is plain gradient descent, `w ← w − ηG`. Parts act in the
/// order in which they were given, each on the direction that the earlier ones made of the
/// gradient. This is like Optax's `chain`, except that `η` and `λ` are separate: only the schedules
/// scale the decay, wherever it stands.
///
/// Built-in parts only contribute coefficients: whatever the chain, there is one pass over the
/// weights, in place (and another one to read norms or the largest entry, if a part needs those).
/// Variables in f16 and bf16 are moved in f32 and rounded once. A NaN in the gradient ends up in
/// the weights.
///
/// **`backward()` comes before the step.** The backward pass of a surrogate loss reads the weights
/// when it runs, not when the loss is made: if a step is taken between the two, the gradient is
/// that at the new weights. [`backward_step`](Optimizer::backward_step) does both in the right
/// order.
///
/// **No job of rayon's pool may use a variable while it steps** on the CPU. A step holds candle's lock on
/// the variable while the threads of the pool move the weights. A thread of the pool that asks for the
/// same variable meanwhile, in a forward pass of another job for example, waits for that lock, and the
/// step may wait for that thread: forever. Jobs with variables of their own may run side by side.
///
/// Steps are made from a [`StepsConfig`], or by [`Steps::builder`], which also takes your own parts
/// and [dimensions](Variable) for variables whose units do not follow from their shape.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// use candle_hebbian::{LargestEntry, Steps, UnitNorm};
/// use candle_nn::Optimizer;
/// let w = Var::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let slope = Tensor::new(&[[2f64, -4.0]], &Device::Cpu)?; // the gradient: its largest entry is 4
/// let mut steps = Steps::builder(0.1).then(LargestEntry).build([w.clone()])?;
/// steps.backward_step(&(w.as_tensor() * &slope)?.sum_all()?)?;
/// assert_eq!(w.to_vec2::<f64>()?, [[0.95, 2.1]]);
///
/// w.set(&Tensor::new(&[[3f64, 4.0]], &Device::Cpu)?)?;
/// let mut steps = Steps::builder(0.5).then(UnitNorm).build([w.clone()])?;
/// steps.constrain()?; // no step, but norm 1
/// let [x, y] = w.to_vec2::<f64>()?[0][..] else { unreachable!() };
/// assert!((x - 0.6).abs() < 1e-9 && (y - 0.8).abs() < 1e-9);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct Steps {
    variables: Vec<Variable>,
    parts: Vec<Box<dyn Part>>,
    learning_rate: f64,
    progress: f64,
}

impl Steps {
    /// Begins a chain without parts and with the learning rate `η`.
    pub fn builder(learning_rate: f64) -> StepsBuilder {
        StepsBuilder::new(learning_rate)
    }

    /// The share of training that is done, 0 to 1.
    pub fn progress(&self) -> f64 {
        self.progress
    }

    /// Sets the share of training that is done, for the schedules: 0 at first, 1 at the end. Values
    /// outside this range are clamped.
    ///
    /// Steps are not counted here, so the caller sets the progress before each step. It may also
    /// set the [`learning_rate`](Optimizer::set_learning_rate), the `η` that schedules start from.
    pub fn set_progress(&mut self, progress: f64) {
        self.progress = progress.clamp(0.0, 1.0);
    }

    /// Takes one step with the gradient that `gradient` returns for each variable; variables
    /// without one stay unchanged. This is [`step`](Optimizer::step) for gradients that are not in
    /// a `GradStore`, such as the negated updates of a rule. Meanwhile, no job of rayon's pool may use
    /// the variables: see [`Steps`].
    ///
    /// # Errors
    /// If a learning rate that is negative or not finite, or a progress that is NaN, has been set;
    /// if a gradient has another shape than its variable, which is checked before anything moves;
    /// or if a part fails.
    pub fn descend(&mut self, gradient: impl Fn(&Var) -> Option<Tensor>) -> Result<()> {
        builder::check_learning_rate(self.learning_rate)?;
        if self.progress.is_nan() {
            candle::bail!("steps: the progress is NaN, expected a share of training from 0 to 1")
        }
        // All gradients are those before the step, which changes what shares the memory of a variable.
        let held: HashSet<_> =
            self.variables.iter().map(|variable| memory(variable.var())).collect();
        let lasting = |gradient: Tensor| match held.contains(&memory(&gradient)) {
            true => gradient.force_contiguous(),
            false => Ok(gradient),
        };
        let gradients: Vec<Option<Tensor>> = self
            .variables
            .iter()
            .map(|variable| gradient(variable.var()).map(lasting).transpose())
            .collect::<Result<_>>()?;
        for (variable, gradient) in self.variables.iter().zip(&gradients) {
            let shape = variable.var().shape();
            if let Some(gradient) = gradient.as_ref().filter(|gradient| gradient.shape() != shape) {
                candle::bail!(
                    "steps: a gradient of {:?} for a variable of shape {:?}: expected the same",
                    gradient.dims(),
                    shape.dims()
                )
            }
        }
        for (index, gradient) in gradients.into_iter().enumerate() {
            if let Some(gradient) = gradient {
                self.descend_one(index, &gradient)?;
            }
        }
        Ok(())
    }

    /// The sum of the `λ` of all parts.
    ///
    /// # Errors
    /// If a part depends on the weights in another way.
    pub(crate) fn decoupled_decay(&self) -> Result<f64> {
        self.parts.iter().try_fold(0.0, |decay, part| match part.dependence() {
            Dependence::None => Ok(decay),
            Dependence::Decay(rate) => Ok(decay + rate),
            Dependence::Weights => candle::bail!(
                "steps: what {part:?} makes of a gradient depends on the weights themselves, so \
                 feedback weights cannot make the same step"
            ),
        })
    }

    pub(crate) fn has_no_parts(&self) -> bool {
        self.parts.is_empty()
    }

    fn descend_one(&mut self, index: usize, gradient: &Tensor) -> Result<()> {
        let mut place = Place::of(&self.variables[index])?;
        let weight = place.weight().clone();
        let gradient = place.like(gradient)?;
        let mut descent = Descent::new(index, &weight, gradient, self.learning_rate, self.progress);
        for part in &mut self.parts {
            part.apply(&mut descent)?;
        }
        let mut constraints = self.parts.iter().filter_map(|part| part.constraint()).peekable();
        // The first constraint is imposed in the pass that moves the weights, if possible.
        let unit_norm = |constraint: &Constraint| matches!(constraint, Constraint::UnitNorm);
        let descend = Descend {
            scale: descent.scale()?,
            keep: descent.keep(),
            unit_norm: constraints.next_if(unit_norm).is_some(),
        };
        descend.run(&mut place, descent.gradient())?;
        constraints.try_for_each(|constraint| constraint.impose(&mut place))?;
        place.finish()
    }

    /// Imposes the constraints of the parts on every variable without taking a step, for weights
    /// that were just drawn or loaded.
    ///
    /// # Errors
    /// If a part fails.
    pub fn constrain(&mut self) -> Result<()> {
        for variable in &self.variables {
            let mut place = Place::of(variable)?;
            for constraint in self.parts.iter().filter_map(|part| part.constraint()) {
                constraint.impose(&mut place)?;
            }
            place.finish()?;
        }
        Ok(())
    }
}

/// `w ← keep·w − rate·u` for a variable and a direction `u` of its shape, in place.
pub(crate) fn descend(var: &Var, direction: &Tensor, rate: f64, keep: f64) -> Result<()> {
    let variable = Variable::from(var.clone());
    let mut place = Place::of(&variable)?;
    let direction = place.like(direction)?;
    Descend { scale: Scale::Whole(rate), keep, unit_norm: false }.run(&mut place, &direction)?;
    place.finish()
}

impl Optimizer for Steps {
    type Config = StepsConfig;

    /// # Errors
    /// Those of [`StepsBuilder::build`].
    fn new(vars: Vec<Var>, config: StepsConfig) -> Result<Self> {
        config.builder().build(vars)
    }

    /// Moves every variable that has a gradient.
    ///
    /// # Errors
    /// Those of [`Steps::descend`].
    fn step(&mut self, grads: &GradStore) -> Result<()> {
        self.descend(|var| grads.get(var).cloned())
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Sets `η`, from which schedules start. The next step refuses a rate that is negative or not
    /// finite.
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }
}
