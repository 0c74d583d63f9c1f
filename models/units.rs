//! The units of a stack, for who wants to draw them.

use candle::{Result, Tensor};
use candle_hebbian::ops::Pool;
use candle_hebbian::{Competition, Geometry, Stack};
use hebbian_train::{Units, Window};

/// The layers of the first `blocks` blocks of a stack that have one, `layer 1` and so on, with the number of the block of
/// each. Of untied weights, those at the middle of the map are shown.
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

/// Weights `(K, F)` of all of a map `(C, H, W)` as `(K, C, H, W)`.
fn as_map(weight: &Tensor, below: &[usize]) -> Result<Tensor> {
    match *below {
        [channels, height, width] => weight.reshape(((), channels, height, width)),
        _ => weight.reshape(((), below.iter().product(), 1, 1)),
    }
}

/// Weights `(K, C / groups, h, w)` with zeros for the channels of the other groups: `(K, C, h, w)`.
fn ungrouped(weight: &Tensor, groups: usize) -> Result<Tensor> {
    let (units, channels, _, _) = weight.dims4()?;
    let of = units / groups;
    let parts = (0..groups).map(|group| {
        let part = weight.narrow(0, group * of, of)?;
        part.pad_with_zeros(1, group * channels, (groups - 1 - group) * channels)
    });
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
}
