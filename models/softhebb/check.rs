//! Checks before anything is learned.

use super::config::{BlockConfig, HeadConfig, HeadLayers, Learning, Mode, Preset, Rate};
use super::material::Material;
use super::network::Network;
use candle::{Tensor, Var};
use candle_hebbian::Block;
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Error, Result, shown};

/// Checks what does not depend on data.
pub(super) fn preset(preset: &Preset) -> Result<()> {
    let training = &preset.training;
    for (name, value) in [
        ("batch size", training.batch_size),
        ("head's batch size", training.head_batch_size),
        ("number of augmented copies", training.augmented_copies.unwrap_or(1)),
    ] {
        if value == 0 {
            return Err(Error::Argument(format!("the {name} is 0, expected 1 or more")));
        }
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
    if let Some(empty) = preset.blocks.iter().position(|block| block.layer.units() == 0) {
        return Err(Error::Argument(format!(
            "block {empty} of preset '{}' has 0 units, expected 1 or more",
            preset.name
        )));
    }
    for (index, block) in preset.blocks.iter().enumerate() {
        if let Learning::Hebbian { rate, radius, .. } = block.learning {
            check_rule(rate, radius, &format!("block {index}"), preset)?;
        }
    }
    if let HeadConfig::SupervisedHebbian { rate, radius } = preset.head {
        check_rule(rate, radius, "the head", preset)?;
    }
    if count == 0 && !matches!(preset.head, HeadConfig::Linear { .. }) {
        return Err(Error::Argument(format!(
            "preset '{}' learns by back-propagation, which needs a linear head",
            preset.name
        )));
    }
    if count == 0 && preset.training.mode != Mode::Successive {
        return Err(Error::Argument(format!(
            "preset '{}' learns by back-propagation, all layers at once: the other modes are for Hebbian layers",
            preset.name
        )));
    }
    if count == 0 && preset.head.layers() != HeadLayers::Last {
        return Err(Error::Argument(format!(
            "preset '{}' learns by back-propagation, where the head reads the last layer, not all",
            preset.name
        )));
    }
    if preset.head.mirrored() && (count == 0 || preset.training.mode == Mode::Simultaneous) {
        return Err(Error::Argument(format!(
            "the head of preset '{}' is mirrored, but learns together with the layers, from their features of single images: \
             expected another mode than simultaneous, and layers that do not learn by back-propagation",
            preset.name
        )));
    }
    Ok(())
}

/// Checks the numbers of what learns by the rule.
fn check_rule(rate: Rate, radius: f64, what: &str, preset: &Preset) -> Result<()> {
    let wrong =
        |problem: String| Error::Argument(format!("{what} of preset '{}': {problem}", preset.name));
    if !(radius as f32 > 0.0 && (radius as f32).is_finite()) {
        return Err(wrong(format!(
            "the radius is {radius}, expected a number that is above 0 and finite in f32"
        )));
    }
    rate.steps().build(Vec::<Var>::new()).map(drop).map_err(|error| wrong(error.to_string()))
}

/// Checks that there are images, and that the images of all epochs can be counted.
pub(super) fn data(preset: &Preset, data: &Dataset) -> Result<()> {
    for (name, set) in [("training", &data.train), ("test", &data.test)] {
        if set.is_empty() {
            return Err(Error::Argument(format!(
                "there are no {name} images: raise the limit, or give more (a class with one image has none to test with)"
            )));
        }
    }
    let unlabelled: usize = data.unlabelled.iter().map(ImageSet::len).sum();
    for epochs in [preset.training.epochs, preset.training.head_epochs] {
        shown(data.train.len() + unlabelled, epochs)?;
    }
    Ok(())
}

/// Checks that the network can learn from the smallest batch that will occur, without changing any weight or batch-norm
/// statistic.
pub(super) fn smallest_batch(network: &Network, material: &Material) -> Result<()> {
    let training = material.preset().training;
    let by_backprop = network.hebbian().is_empty();
    let batch_size = if by_backprop { training.head_batch_size } else { training.batch_size };
    let count = match material.seen.len() % batch_size {
        0 => batch_size,
        left => left,
    };
    let indices: Vec<usize> = (0..count).collect();
    let (mut x, _) = material.batch(&indices)?;
    let learns =
        by_backprop || !matches!(training.mode, Mode::RandomCalibrated | Mode::RandomIdentity);
    for (index, block) in network.stack().blocks().iter().enumerate() {
        x = look(block, &x, learns).map_err(|error| {
            Error::Argument(format!(
                "preset '{}' cannot learn from a batch of {count} images: block {index}, given {:?}: \
                 {error}",
                material.preset().name,
                x.dims()
            ))
        })?;
    }
    Ok(())
}

/// Returns the output of the block for `x` in evaluation mode, or an error if the block could not learn from `x`.
fn look<C: candle_hebbian::Competition>(
    block: &Block<C>,
    x: &Tensor,
    learns: bool,
) -> candle::Result<Tensor> {
    let values = x.elem_count() / x.dim(1)?;
    if learns && block.batch_norm().is_some() && values < 2 {
        candle::bail!("batch norm: {values} values per channel, expected at least 2")
    }
    Ok(block.activity(x, false)?.output)
}
