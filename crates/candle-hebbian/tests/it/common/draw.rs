//! Random layers.

use candle::{DType, Device, Result, Tensor};
use candle_hebbian::{
    Competition, Conv2dConfig, Geometry, HardWta, KWta, Layer, NoCompetition, PaddingMode,
    RankedWta, Response, Rng, SoftWta, SoftWtaAntiHebbian,
};

/// The number of seeds, and so of random layers, that each test checks.
pub const SEEDS: u64 = 60;

/// A random layer with a random batch for it.
pub struct Draw {
    pub name: String,
    pub layer: Layer,
    pub x: Tensor,
    pub rng: Rng,
}

pub fn draw(seed: u64) -> Result<Draw> {
    let mut rng = Rng::new(seed);
    let mut within = |low: usize, high: usize| low + rng.below(high - low + 1);
    let batch = within(1, 5);
    let units = within(2, 20);
    let (geometry, weight, input) = if seed.is_multiple_of(3) {
        let fan_in = within(1, 40);
        (Geometry::Dense, vec![units, fan_in], vec![batch, fan_in])
    } else {
        let (kh, kw, dilation) = (within(1, 3), within(1, 3), within(1, 2));
        let height = within(dilation * (kh - 1) + 1, 8).max(3);
        let width = within(dilation * (kw - 1) + 1, 8).max(3);
        let config = Conv2dConfig {
            stride: within(1, 3),
            // No window lies wholly in the padding, where all units would tie.
            padding: within(0, 2).min(dilation * (kh.min(kw) - 1)),
            trailing_padding: 0,
            dilation,
            groups: 1,
            padding_mode: [PaddingMode::Zeros, PaddingMode::Reflect][within(0, 1)],
        };
        let channels = within(1, 3);
        if seed % 3 == 1 {
            let groups = within(1, 3);
            let config = Conv2dConfig { groups, ..config };
            let weight = vec![units * groups, channels, kh, kw];
            (Geometry::Conv2d(config), weight, vec![batch, channels * groups, height, width])
        } else {
            let (oh, ow) = (config.output_size(height, kh)?, config.output_size(width, kw)?);
            let weight = vec![oh, ow, units, channels, kh, kw];
            (Geometry::LocallyConnected2d(config), weight, vec![batch, channels, height, width])
        }
    };
    let std = 0.2 + 0.2 * within(0, 10) as f64;
    let x = rng.normal(0.3, 1.0, input, DType::F64, &Device::Cpu)?;
    let weight = rng.normal(0.0, std, weight, DType::F64, &Device::Cpu)?;
    let name = format!("seed {seed}: {geometry:?} {:?} {:?}", weight.dims(), x.dims());
    Ok(Draw { name, layer: Layer::from_tensor(&weight, geometry)?, x, rng })
}

impl Draw {
    /// Draws a competition and returns it with the layer's response and its activity for it.
    pub fn compete(&mut self) -> Result<(Box<dyn Competition>, Response, Tensor)> {
        let units = self.layer.dims().units;
        let k = 1 + self.rng.below(units);
        let inverse_temperature = 0.1 + 0.4 * self.rng.below(5) as f64;
        let competition: Box<dyn Competition> = match self.rng.below(7) {
            0 => Box::new(NoCompetition),
            1 => Box::new(HardWta),
            2 => Box::new(KWta::binary(k)),
            3 => Box::new(KWta::graded(k)),
            4 => Box::new(SoftWta { inverse_temperature }),
            5 => Box::new(SoftWtaAntiHebbian { inverse_temperature }),
            _ => Box::new(RankedWta { k: k.max(2), delta: inverse_temperature }),
        };
        let response = self.layer.response(&self.x)?;
        let post = competition.compete(response.u())?;
        Ok((competition, response, post))
    }

    /// The layer's weights, or another tensor of their shape, as matrices `(S, K, F)`.
    pub fn matrices(&self, t: &Tensor) -> Result<Tensor> {
        let dims = self.layer.dims();
        t.reshape((dims.sites, dims.units, dims.fan_in))
    }
}
