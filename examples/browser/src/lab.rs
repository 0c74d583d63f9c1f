//! Both networks, the digits, and how far learning has come.

use crate::choices::Settings;
use crate::circuit::Microcircuit;
use crate::digits::{Digits, Order, PIXELS, rows, seen};
use crate::layer::Hebbian;
use crate::network::Network;
use candle::{D, Device, Result, Tensor};
use candle_hebbian::Rng;

/// A layer and a circuit that see the same digits in the same order.
pub struct Lab {
    digits: Digits,
    /// What networks see of the held-out digits, `(355, 64)`, and their labels.
    held_out: Tensor,
    labels: Tensor,
    pub layer: Hebbian,
    circuit: Microcircuit,
    orders: [Order; 2],
    learned: [u32; 2],
    /// Ink of the digit on the pad.
    pub pad: [f32; PIXELS],
}

/// The numbers of the networks on the page.
const LAYER: usize = 0;
const CIRCUIT: usize = 1;

impl Lab {
    pub fn new(seed: u64) -> Result<Self> {
        let (digits, rng) = (Digits::embedded(), Rng::new(seed));
        let labels: Vec<u32> = digits.test.iter().map(|digit| digit.label).collect();
        let order = || Order::new(rng.stream("order"), digits.train.len());
        Ok(Self {
            held_out: rows(&digits.test)?,
            labels: Tensor::new(labels, &Device::Cpu)?,
            layer: Hebbian::new(&rng)?,
            circuit: Microcircuit::new(&rng)?,
            orders: [order(), order()],
            learned: [0; 2],
            pad: [0.0; PIXELS],
            digits,
        })
    }

    fn network(&mut self, network: usize) -> Result<&mut dyn Network> {
        match network {
            LAYER => Ok(&mut self.layer),
            CIRCUIT => Ok(&mut self.circuit),
            other => candle::bail!("there is no network {other}"),
        }
    }

    pub fn set_rate(&mut self, network: usize, rate: f64) -> Result<()> {
        self.network(network)?.set_rate(rate);
        Ok(())
    }

    pub fn set_competition(&mut self, competition: usize, settings: Settings) -> Result<()> {
        self.layer.set_competition(competition, settings)
    }

    /// Learns `count` digits, one at a time.
    pub fn learn(&mut self, network: usize, count: usize) -> Result<()> {
        for _ in 0..count {
            let Some(order) = self.orders.get_mut(network) else {
                candle::bail!("there is no network {network}")
            };
            let Some(digit) = order.next().and_then(|at| self.digits.train.get(at)).cloned() else {
                candle::bail!("there are no digits to learn")
            };
            self.network(network)?.learn(&seen(&digit.ink), digit.label)?;
            self.learned[network] += 1;
        }
        Ok(())
    }

    /// Learns the digit on the pad.
    pub fn teach(&mut self, network: usize, label: u32) -> Result<()> {
        let x = seen(&self.pad);
        self.network(network)?.learn(&x, label)?;
        self.learned[network] += 1;
        Ok(())
    }

    /// Returns how many digits a network has learned.
    pub fn learned(&self, network: usize) -> u32 {
        self.learned.get(network).copied().unwrap_or(0)
    }

    /// Returns the share of the held-out digits that is classified correctly.
    pub fn accuracy(&mut self, network: usize) -> Result<f64> {
        let x = self.held_out.clone();
        let classes = self.network(network)?.classify(&x)?.argmax(D::Minus1)?;
        let right = classes.eq(&self.labels)?.to_vec1::<u8>()?;
        Ok(right.iter().map(|&right| f64::from(right)).sum::<f64>() / right.len() as f64)
    }

    /// Returns how strongly a network believes in each class for the digit on the pad.
    pub fn classify(&mut self, network: usize) -> Result<Vec<f32>> {
        let x = Tensor::from_slice(&seen(&self.pad), (1, PIXELS), &Device::Cpu)?;
        self.network(network)?.classify(&x)?.flatten_all()?.to_vec1()
    }

    /// Returns the weights of a network's hidden units.
    ///
    /// # Errors
    /// Weights that have become infinite or NaN.
    pub fn filters(&mut self, network: usize) -> Result<Vec<f32>> {
        let filters = self.network(network)?.filters()?;
        if filters.iter().any(|weight| !weight.is_finite()) {
            candle::bail!("the weights have grown without bound: reset, and choose a lower rate")
        }
        Ok(filters)
    }

    /// Puts a held-out digit on the pad, and returns its label.
    pub fn show(&mut self, at: usize) -> Option<u32> {
        let digit = self.digits.test.get(at % self.digits.test.len().max(1))?;
        self.pad = digit.ink;
        Some(digit.label)
    }

    /// Returns how many digits are held out.
    pub fn held_out(&self) -> usize {
        self.digits.test.len()
    }
}
