//! The network that learns: the circuit, or the same network trained by back-propagation.

use super::backprop::Backprop;
use super::circuit::Circuit;
use super::config::{Preset, Scaling};
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use hebbian_train::{Checkpoint, Error, Model, Result, Units, check_layer};

/// A two-layer network with the scaling of its input.
#[derive(Debug)]
pub struct Network {
    /// How the network learns, with its weights.
    pub rule: Rule,
    /// The scaling of pixels from 0 to 1.
    pub scaling: Scaling,
}

/// How a network learns.
#[derive(Debug)]
pub enum Rule {
    /// The circuit, with a separate read-out `(n, k)` if the preset asks for one.
    Local {
        /// The circuit.
        circuit: Box<Circuit>,
        /// The delta-rule read-out.
        readout: Option<Tensor>,
    },
    /// Back-propagation in the same network.
    Backprop(Backprop),
}

impl Network {
    /// Creates a circuit with fresh weights for `inputs` pixels and `classes` classes or, if `backprop`,
    /// the same network for back-propagation, which starts from the same weights. The running mean starts
    /// as the mean over `first (T, inputs)`, scaled pixels, if given.
    ///
    /// # Errors
    /// If the preset is invalid.
    pub fn new(
        preset: &Preset,
        backprop: bool,
        (inputs, classes): (usize, usize),
        (scaling, first): (Scaling, Option<&Tensor>),
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        preset.check()?;
        let sizes = (inputs, preset.units, classes);
        let mut circuit =
            Circuit::new(preset.circuit, sizes, preset.initial, rng, DType::F32, device)?;
        if let Some(first) = first {
            circuit.start_mean(first)?;
        }
        let rule = if backprop {
            Rule::Backprop(Backprop::from_circuit(&circuit, preset.circuit.ridge)?)
        } else {
            // Not `copy`, which shares memory on Metal.
            let w2 = || circuit.w2().as_detached_tensor().force_contiguous();
            let readout = preset.training.readout.map(|_| w2());
            Rule::Local { circuit: Box::new(circuit), readout: readout.transpose()? }
        };
        Ok(Self { rule, scaling })
    }

    /// Computes `ŷ (T, n)` for scaled pixels `x (T, m)`.
    ///
    /// # Errors
    /// If `x` is not `(T, m)`, or of another type or on another device than the weights.
    pub fn respond(&self, x: &Tensor) -> candle::Result<Tensor> {
        match &self.rule {
            Rule::Local { circuit, readout: None } => circuit.predict(x),
            Rule::Local { circuit, readout: Some(readout) } => {
                circuit.forward(x)?.matmul(&readout.t()?)
            }
            Rule::Backprop(network) => network.predict(x),
        }
    }

    /// The weights of the hidden neurons `(k, m)`.
    fn w1(&self) -> &Var {
        match &self.rule {
            Rule::Local { circuit, .. } => circuit.w1(),
            Rule::Backprop(network) => network.w1(),
        }
    }

    /// Images as scaled pixels `(B, m)`.
    fn scaled(&self, images: &Tensor) -> Result<Tensor> {
        Ok(scaled(images, self.scaling)?)
    }

    /// The tensors without the scaling.
    fn weights(&self) -> Vec<(String, Tensor)> {
        match &self.rule {
            Rule::Local { circuit, readout } => {
                let mut tensors = circuit.tensors();
                tensors.extend(readout.clone().map(|readout| ("head.weight".to_string(), readout)));
                tensors
            }
            Rule::Backprop(network) => network.tensors(),
        }
    }
}

/// Images `(B, C, H, W)` from 0 to 1 as scaled pixels `(B, m)`.
pub(super) fn scaled(images: &Tensor, scaling: Scaling) -> candle::Result<Tensor> {
    (images.flatten_from(1)? - scaling.mean)? / scaling.deviation
}

impl Model for Network {
    /// The tensors of the circuit or of back-propagation; `head.weight`, the separate read-out, if any;
    /// `input.mean` and `input.deviation`, the scaling, in f64.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut tensors = self.weights();
        for (name, value) in
            [("input.mean", self.scaling.mean), ("input.deviation", self.scaling.deviation)]
        {
            let tensor = Tensor::from_slice(&[value], 1, &Device::Cpu);
            tensors.extend(tensor.map(|tensor| (name.to_string(), tensor)));
        }
        tensors
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let take = |name: &str, shape: &[usize]| checkpoint.take(name, shape, DType::F32);
        match &mut self.rule {
            Rule::Local { circuit, readout } => {
                circuit.restore(take)?;
                if let Some(readout) = readout {
                    *readout = take("head.weight", readout.dims())?;
                }
            }
            Rule::Backprop(network) => network.restore(take)?,
        }
        let number = |name| {
            let tensor = checkpoint.take(name, 1, DType::F64)?;
            Ok::<f64, Error>(tensor.to_device(&Device::Cpu)?.to_vec1()?[0])
        };
        // Older files do not hold the scaling; for them, the scaling of the current training set is kept.
        if checkpoint.dims("input.mean").is_some() {
            self.scaling =
                Scaling { mean: number("input.mean")?, deviation: number("input.deviation")? };
        }
        Ok(())
    }

    /// `z`, the activity of the hidden neurons.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.scaled(images)?;
        Ok(match &self.rule {
            Rule::Local { circuit, .. } => circuit.forward(&x)?,
            Rule::Backprop(network) => network.hidden(&x)?,
        })
    }

    /// `ŷ`.
    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.respond(&self.scaled(images)?)?)
    }

    /// The hidden neurons, with their basal weights.
    fn units(&self) -> Result<Vec<Units>> {
        let weight = self.w1().as_detached_tensor();
        let name = "layer 1".to_string();
        let (competes, pools) = (false, Vec::new());
        Ok(vec![Units { name, weight, competes, stride: 1, padding: 0, pools }])
    }

    /// The basal currents of the hidden neurons.
    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, 1)?;
        Ok(self.scaled(images)?.matmul(&self.w1().as_detached_tensor().t()?)?)
    }
}
