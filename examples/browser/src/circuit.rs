//! The microcircuit of Golkar et al. 2020.

// Two files of `hebbian-models` that need nothing else of that crate. The page does not call everything in them.
#[allow(dead_code)]
#[path = "../../../models/golkar"]
mod golkar {
    pub mod circuit;
    pub mod online;
}

use crate::digits::{CLASSES, PIXELS};
use crate::network::Network;
use candle::{DType, Device, Result, Tensor};
use candle_hebbian::Rng;
use golkar::circuit::{Circuit, CircuitConfig, Initial, Nonlinearity, Rates};
use golkar::online::Online;

pub const UNITS: usize = 100;
/// Networks see digits of norm 1; multiplied by this, each pixel has a variance of about 1, as in the paper.
const SCALE: f32 = 8.0;
/// `η₂ = η_q`, as a share of `η₁`.
const SLOWER: f64 = 0.04;
const CONFIG: CircuitConfig = CircuitConfig {
    nonlinearity: Nonlinearity::Relu,
    mean_rate: 0.01,
    ridge: 0.0,
    level: 1.0,
    decoupled: false,
};

/// A rectified circuit: the label arrives at the apical dendrites of its hidden units.
pub struct Microcircuit {
    online: Online,
    /// A copy of the weights, used where they are needed as matrices.
    circuit: Circuit,
    rates: Rates,
}

impl Microcircuit {
    pub fn new(rng: &Rng) -> Result<Self> {
        let initial = Initial { w1: 0.02, w2: 0.1, q: 1.0 / 3.0 };
        let sizes = (PIXELS, UNITS, CLASSES);
        let circuit = Circuit::new(CONFIG, sizes, initial, rng, DType::F32, &Device::Cpu)?;
        let online = Online::of(&circuit)?;
        Ok(Self { online, circuit, rates: Rates { w1: 0.0, w2: 0.0, q: 0.0 } })
    }
}

impl Network for Microcircuit {
    fn learn(&mut self, x: &[f32], label: u32) -> Result<()> {
        let x: Vec<f32> = x.iter().map(|x| x * SCALE).collect();
        let mut y = [-1.0 / CLASSES as f32; CLASSES];
        y[label as usize] += 1.0;
        self.online.step(&x, &y, self.rates)
    }

    fn classify(&mut self, x: &Tensor) -> Result<Tensor> {
        self.online.store(&mut self.circuit)?;
        let y = self.circuit.predict(&(x * f64::from(SCALE))?)?;
        (y + 1.0 / CLASSES as f64)?.clamp(0f32, 1f32)
    }

    fn filters(&mut self) -> Result<Vec<f32>> {
        self.online.store(&mut self.circuit)?;
        self.circuit.w1().flatten_all()?.to_vec1()
    }

    fn set_rate(&mut self, rate: f64) {
        self.rates = Rates { w1: rate, w2: rate * SLOWER, q: rate * SLOWER };
    }
}
