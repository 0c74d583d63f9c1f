//! The rule, state and optimiser of one layer.

use crate::feedback::no_gradients;
use crate::layer::Response;
use crate::rules::{Rule, State};
use crate::synapses::Synapses;
use candle::Result;
use candle_nn::Optimizer;
use std::fmt;

/// A rule with its state and the optimiser that takes its steps: everything that one layer of a
/// [`Stack`](super::Stack) needs to learn. The optimiser is made for the weights of that layer.
///
/// ```
/// use candle::{Device, Tensor};
/// use candle_hebbian::{Geometry, Layer, Learner, Oja, Steps};
/// use candle_nn::Optimizer;
/// let layer = Layer::from_tensor(&Tensor::new(&[[0.6f64, 0.0]], &Device::Cpu)?, Geometry::Dense)?;
/// let mut learner = Learner::new(Oja, Steps::builder(0.5).build([layer.var()?])?);
/// let response = layer.response(&Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?)?; // u = 0.6
/// learner.step(&response, response.u())?; // w + 0.5·(y·x − y²·w) with y = u
/// let w = layer.weight().to_vec2::<f64>()?;
/// assert!((w[0][0] - 0.792).abs() < 1e-12 && (w[0][1] - 0.6).abs() < 1e-12);
///
/// learner.optimiser_mut().set_learning_rate(0.25);
/// assert_eq!(learner.optimiser().learning_rate(), 0.25);
/// # Ok::<(), candle::Error>(())
/// ```
pub struct Learner<O> {
    rule: Box<dyn Rule>,
    state: State,
    optimiser: O,
}

impl<O: Optimizer> Learner<O> {
    /// A learner that learns by `rule` with the steps of `optimiser`.
    pub fn new(rule: impl Rule + 'static, optimiser: O) -> Self {
        Self::boxed(Box::new(rule), optimiser)
    }

    /// The same for a rule that is chosen when the program runs.
    pub fn boxed(rule: Box<dyn Rule>, optimiser: O) -> Self {
        Self { rule, state: State::default(), optimiser }
    }

    /// The rule.
    pub fn rule(&self) -> &dyn Rule {
        &*self.rule
    }

    /// The state that the rule keeps from one batch to the next.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state, to restore what was saved.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The optimiser, to read its rate or its progress.
    pub fn optimiser(&self) -> &O {
        &self.optimiser
    }

    /// The optimiser, to change its rate or its progress.
    pub fn optimiser_mut(&mut self) -> &mut O {
        &mut self.optimiser
    }

    /// Takes one step of the rule for the activity `post (S, P, K)`, the result of a competition on
    /// `response`. The optimiser is given the gradient of [`Synapses::loss`](crate::Synapses::loss).
    ///
    /// # Errors
    /// If the weights are not a variable, or if the rule or the optimiser fails. The state then stays as it was.
    pub fn step(&mut self, response: &Response, post: &candle::Tensor) -> Result<()> {
        self.step_on(&response.synapses(post)?)
    }

    /// Takes one step of the rule for these synapses, which may have a [third
    /// factor](crate::Synapses::with_third).
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    pub fn step_on(&mut self, synapses: &Synapses) -> Result<()> {
        let (mut grads, mut state) = (no_gradients()?, self.state.clone());
        let gradient = synapses.gradient_with(&*self.rule, &mut state)?;
        grads.insert(synapses.weight(), gradient);
        self.optimiser.step(&grads)?;
        self.state = state;
        Ok(())
    }
}

impl<O: fmt::Debug> fmt::Debug for Learner<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, optimiser) = (&self.state, &self.optimiser);
        f.debug_struct("Learner").field("state", state).field("optimiser", optimiser).finish()
    }
}
