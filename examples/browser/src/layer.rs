//! A Hebbian layer without labels, and a class layer that reads it out.

use crate::choices::{COMPETITIONS, RULES, Settings};
use crate::digits::{CLASSES, PIXELS};
use crate::network::{Network, one_hot};
use candle::{DType, Device, Result, Tensor};
use candle_hebbian::ops::repu;
use candle_hebbian::{Competition, Geometry, Hebb, Layer, Learner, Rng, SoftWta, Steps, init};
use candle_nn::Optimizer;

pub const UNITS: usize = 100;
/// Norm of the initial weights. The norms of units that win go to 1, so a unit that has not won yet has
/// larger weights than they have; in this way all are recruited.
const RADIUS: f64 = 8.0;
/// The power `n` of the features.
const POWER: f64 = 6.0;
/// Learning rate of the class layer.
const CLASS_RATE: f64 = 2.0;
/// Rate of the running mean of the features; over the first digits, it is the plain mean.
const MEAN_RATE: f64 = 0.01;

/// Two layers that learn at the same time, one digit per step.
///
/// ```text
/// u = Wx      y = competition(u)      ΔW: the rule                            no labels
/// f = max(0, u)ⁿ      h = f/‖f‖ − mean      s = softmax(Vh)      ΔV = η (t − s) hᵀ    t: one-hot label
/// ```
///
/// No error goes from the class layer to `W`.
pub struct Hebbian {
    layer: Layer,
    hebb: Learner<Steps>,
    competition: Box<dyn Competition>,
    /// Whether `W` learns.
    plastic: bool,
    classes: Layer,
    delta: Learner<Steps>,
    mean: Tensor,
    seen: usize,
}

impl Hebbian {
    pub fn new(rng: &Rng) -> Result<Self> {
        let shape = (UNITS, PIXELS);
        let start = init::radius_normal(shape, RADIUS);
        let weight = rng.stream("weight").draw(start, shape, DType::F32, &Device::Cpu)?;
        let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
        let zeros = Tensor::zeros((CLASSES, UNITS), DType::F32, &Device::Cpu)?;
        let classes = Layer::from_tensor(&zeros, Geometry::Dense)?;
        Ok(Self {
            hebb: (RULES[0].learner)(layer.var()?, 0.0)?,
            competition: (COMPETITIONS[0].competition)(Settings { temperature: 1.0, k: 1 }),
            plastic: true,
            delta: Learner::new(Hebb, Steps::builder(CLASS_RATE).build([classes.var()?])?),
            mean: Tensor::zeros((1, UNITS), DType::F32, &Device::Cpu)?,
            seen: 0,
            layer,
            classes,
        })
    }

    /// Continues with another rule, which keeps the weights and starts with a state of its own.
    pub fn set_rule(&mut self, rule: usize) -> Result<()> {
        let Some(choice) = RULES.get(rule) else { candle::bail!("there is no rule {rule}") };
        let rate = self.hebb.optimiser().learning_rate();
        self.hebb = (choice.learner)(self.layer.var()?, rate)?;
        Ok(())
    }

    pub fn set_competition(&mut self, competition: usize, settings: Settings) -> Result<()> {
        let Some(choice) = COMPETITIONS.get(competition) else {
            candle::bail!("there is no competition {competition}")
        };
        self.competition = (choice.competition)(settings);
        Ok(())
    }

    pub fn set_plastic(&mut self, plastic: bool) {
        self.plastic = plastic;
    }

    /// Returns `f/‖f‖` of the linear response `u (N, K)`.
    fn features(u: &Tensor) -> Result<Tensor> {
        let f = repu(u, POWER)?;
        let norm = f.sqr()?.sum_keepdim(1)?.sqrt()?;
        f.broadcast_div(&norm.maximum(f32::MIN_POSITIVE)?)
    }
}

impl Network for Hebbian {
    fn learn(&mut self, x: &[f32], label: u32) -> Result<()> {
        let linear = self.layer.response(&Tensor::from_slice(x, (1, PIXELS), &Device::Cpu)?)?;
        let features = Self::features(&linear.u().squeeze(0)?)?;
        let share = MEAN_RATE.max(1.0 / (self.seen + 1) as f64);
        self.mean = (&self.mean + ((&features - &self.mean)? * share)?)?;
        self.seen += 1;

        let fields = self.classes.response(&(features - &self.mean)?)?;
        let shares = SoftWta { inverse_temperature: 1.0 }.compete(fields.u())?;
        self.delta.step(&fields, &(one_hot(label)?.reshape(shares.shape())? - shares)?)?;
        if self.plastic {
            let response = self.hebb.rule().response(linear)?;
            let post = self.competition.compete(response.u())?;
            self.hebb.step(&response, &post)?;
        }
        Ok(())
    }

    fn classify(&mut self, x: &Tensor) -> Result<Tensor> {
        let u = self.layer.response(x)?.output()?;
        let fields = self.classes.response(&Self::features(&u)?.broadcast_sub(&self.mean)?)?;
        SoftWta { inverse_temperature: 1.0 }.compete(&fields.output()?)
    }

    fn filters(&mut self) -> Result<Vec<f32>> {
        self.layer.weight().flatten_all()?.to_vec1()
    }

    fn set_rate(&mut self, rate: f64) {
        self.hebb.optimiser_mut().set_learning_rate(rate);
    }
}
