//! What can be found out before anything is written.

use super::config::{BlockConfig, HeadConfig, LayerConfig, Learning, Mode, Preset, Rate};
use super::network::Network;
use super::recipe::new_head;
use crate::run_options::shown;
use candle::{DType, Device, Var};
use candle_hebbian::Rng;
use hebbian_data::Dataset;
use hebbian_train::{Error, Result};

pub(super) fn check(preset: &Preset, data: &Dataset) -> Result<()> {
    let training = &preset.training;
    for (name, value) in
        [("batch size", training.batch_size), ("head's batch size", training.head_batch_size)]
    {
        if value == 0 {
            return Err(Error::Argument(format!("the {name} is 0, expected 1 or more")));
        }
    }
    for (name, set) in [("training", &data.train), ("test", &data.test)] {
        if set.is_empty() {
            return Err(Error::Argument(format!("there are no {name} images: raise the limit")));
        }
    }
    for epochs in [training.epochs, training.head_epochs] {
        shown(data.train.len(), epochs)?;
    }
    let hebbian = |block: &&BlockConfig| matches!(block.learning, Learning::Hebbian { .. });
    let count = preset.blocks.iter().filter(hebbian).count();
    if preset.blocks.is_empty() || (count != 0 && count != preset.blocks.len()) {
        return Err(Error::Argument(format!(
            "preset '{}' has {count} Hebbian blocks of {}: expected all or none, and at least one \
             block",
            preset.name,
            preset.blocks.len()
        )));
    }
    let units = |block: &BlockConfig| match block.layer {
        LayerConfig::Dense { units } => units,
        LayerConfig::Conv2d { channels, .. } => channels,
    };
    if let Some(empty) = preset.blocks.iter().position(|block| units(block) == 0) {
        return Err(Error::Argument(format!(
            "block {empty} of preset '{}' has 0 units, expected 1 or more",
            preset.name
        )));
    }
    for (index, block) in preset.blocks.iter().enumerate() {
        if let Learning::Hebbian { rate, .. } = block.learning {
            check_rate(rate, &format!("block {index}"), preset)?;
        }
    }
    if let HeadConfig::SupervisedHebbian { rate, .. } = preset.head {
        check_rate(rate, "the head", preset)?;
    }
    if count == 0 && !matches!(preset.head, HeadConfig::Linear { .. }) {
        return Err(Error::Argument(format!(
            "preset '{}' learns by back-propagation, which needs a linear head",
            preset.name
        )));
    }
    Ok(())
}

fn check_rate(rate: Rate, what: &str, preset: &Preset) -> Result<()> {
    rate.steps()
        .build(Vec::<Var>::new())
        .map(drop)
        .map_err(|error| Error::Argument(format!("{what} of preset '{}': {error}", preset.name)))
}

/// Learns from the smallest batch there will be, with weights that are then thrown away: what
/// cannot work shall fail before anything is written.
pub(super) fn rehearse(preset: &Preset, data: &Dataset, device: &Device, rng: &Rng) -> Result<()> {
    let training = &preset.training;
    let mut network = Network::new(preset, data.train.shape(), rng, DType::F32, device)?;
    new_head(preset, &network, data, device, rng)?;
    let backprop = network.hebbian().is_empty();
    let batch_size = if backprop { training.head_batch_size } else { training.batch_size };
    let count = match data.train.len() % batch_size {
        0 => batch_size,
        left => left,
    };
    let indices: Vec<usize> = (0..count).collect();
    let (images, _) = data.train.batch(&indices, DType::F32, device)?;
    match training.mode {
        _ if backprop => network.stack().forward_train(&images, &mut rng.clone()).map(drop),
        Mode::RandomCalibrated | Mode::RandomIdentity => network.forward(&images).map(drop),
        _ => network.learn(&images, 0.0).map(drop),
    }
    .map_err(|error| {
        Error::Argument(format!(
            "preset '{}' cannot learn from a batch of {count} images: {error}",
            preset.name
        ))
    })
}
