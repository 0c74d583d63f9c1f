//! The names that the authors' programs give to the tensors of a network.

use hebbian_train::Checkpoint;

/// Renames the tensors of a checkpoint that the authors' programs saved to our names; any other tensor keeps its name.
/// `blocks` is the number of blocks before the head.
///
/// | ours | their release, where the head is the last block | their `demo.py`, which counts from 1 |
/// |---|---|---|
/// | `layers.i.weight` | `blocks.i.layer.weight` | `conv(i+1).weight` |
/// | `layers.i.running_mean`, `layers.i.running_var` | `blocks.i.operations.j.running_mean`, … | `bn(i+1).running_mean`, … |
/// | `head.weight`, `head.bias` | `blocks.n.layer.weight`, … | `classifier.weight`, … |
pub(super) fn as_ours(checkpoint: &mut Checkpoint, blocks: usize) {
    checkpoint.rename(|name| of_release(name, blocks).or_else(|| of_demo(name)));
}

fn of_release(name: &str, blocks: usize) -> Option<String> {
    let (block, part) = name.strip_prefix("blocks.")?.split_once('.')?;
    let block: usize = block.parse().ok()?;
    match part.split('.').collect::<Vec<_>>()[..] {
        ["layer", tensor] if block == blocks => Some(format!("head.{tensor}")),
        ["layer", tensor] | ["operations", _, tensor @ ("running_mean" | "running_var")] => {
            Some(format!("layers.{block}.{tensor}"))
        }
        _ => None,
    }
}

fn of_demo(name: &str) -> Option<String> {
    let (module, tensor) = name.split_once('.')?;
    if module == "classifier" {
        return Some(format!("head.{tensor}"));
    }
    let number = module.strip_prefix("conv").or_else(|| module.strip_prefix("bn"))?;
    let block = number.parse::<usize>().ok()?.checked_sub(1)?;
    ["weight", "running_mean", "running_var"]
        .contains(&tensor)
        .then(|| format!("layers.{block}.{tensor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three blocks, then the head: the default network of the release and that of the demo.
    #[test]
    fn each_name_has_one_of_ours() {
        for (theirs, ours) in [
            ("blocks.0.layer.weight", Some("layers.0.weight")),
            ("blocks.2.operations.0.running_var", Some("layers.2.running_var")),
            ("blocks.2.operations.0.num_batches_tracked", None),
            // In a dense block of the release, batch norm comes after the flattening.
            ("blocks.1.operations.1.running_mean", Some("layers.1.running_mean")),
            ("blocks.3.layer.weight", Some("head.weight")),
            ("blocks.3.layer.bias", Some("head.bias")),
            ("blocks.layer.weight", None),
            ("conv1.weight", Some("layers.0.weight")),
            ("bn3.running_mean", Some("layers.2.running_mean")),
            ("bn3.num_batches_tracked", None),
            ("conv0.weight", None),
            ("convolution.weight", None),
            ("classifier.bias", Some("head.bias")),
            ("layers.0.weight", None),
        ] {
            let found = of_release(theirs, 3).or_else(|| of_demo(theirs));
            assert_eq!(found.as_deref(), ours, "{theirs}");
        }
    }
}
