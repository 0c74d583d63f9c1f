//! The units of a stack, for drawing.

use candle::{Result, Tensor};
use candle_hebbian::ops::Pool;
use candle_hebbian::{Competition, Geometry, Stack};
use hebbian_train::{Units, Window};

/// Returns the layers, named `layer 1` and so on, of those of the first `blocks` blocks of a stack that have one, each
/// with the index of its block. Of untied weights, those in the middle of the map are shown.
pub(crate) fn units_of<C: Competition>(
    stack: &Stack<C>,
    blocks: usize,
) -> Result<Vec<(usize, Units)>> {
    let mut all: Vec<(usize, Units)> = Vec::new();
    let mut below = stack.input();
    for (at, block) in stack.blocks().iter().enumerate().take(blocks) {
        if let Ok(layer) = block.layer() {
            let weight = layer.weight().detach();
            let (weight, window) = match layer.geometry() {
                Geometry::Dense => (as_map(&weight, below)?, None),
                Geometry::Conv2d(window) => (ungrouped(&weight, window.groups)?, Some(window)),
                Geometry::LocallyConnected2d(window) => {
                    let (rows, columns) = (weight.dim(0)?, weight.dim(1)?);
                    (weight.get(rows / 2)?.get(columns / 2)?, Some(window))
                }
            };
            let (stride, padding) = window.map_or((1, 0), |window| (window.stride, window.padding));
            let name = format!("layer {}", all.len() + 1);
            let competes = block.config().competition.is_some();
            let pools = Vec::new();
            all.push((at, Units { name, weight, competes, stride, padding, pools }));
        }
        if let (Some(pool), Some((_, layer))) = (block.config().pool, all.last_mut()) {
            layer.pools.push(match pool {
                Pool::Max { kernel, stride, padding } | Pool::Avg { kernel, stride, padding } => {
                    Window { kernel, stride, padding }
                }
                Pool::MaxSame { kernel, stride, .. } => Window { kernel, stride, padding: 0 },
            });
        }
        below = block.output();
    }
    Ok(all)
}

/// Reshapes weights `(K, F)` of units that see all of a map `(C, H, W)` to `(K, C, H, W)`.
fn as_map(weight: &Tensor, below: &[usize]) -> Result<Tensor> {
    match *below {
        [channels, height, width] => weight.reshape(((), channels, height, width)),
        _ => weight.reshape(((), below.iter().product(), 1, 1)),
    }
}

/// Expands weights `(K, C / groups, h, w)` to `(K, C, h, w)`, with zeros for the channels of the other groups.
fn ungrouped(weight: &Tensor, groups: usize) -> Result<Tensor> {
    let (units, channels, _, _) = weight.dims4()?;
    let of = units / groups;
    let parts = (0..groups).map(|group| {
        let part = weight.narrow(0, group * of, of)?;
        part.pad_with_zeros(1, group * channels, (groups - 1 - group) * channels)
    });
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
}
