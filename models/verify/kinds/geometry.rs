use crate::verify::error::Problem;
use crate::verify::inputs::Inputs;
use candle_hebbian::{Conv2dConfig, Geometry, PaddingMode};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "geometry", rename_all = "snake_case")]
enum Named {
    Dense,
    Conv2d(Window),
    #[serde(rename = "locally_connected2d")]
    LocallyConnected2d(Window),
}

/// What a file leaves out is as in a layer without settings.
#[derive(Deserialize)]
#[serde(default)]
struct Window {
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    padding_mode: PaddingMode,
}

impl Default for Window {
    fn default() -> Self {
        let Conv2dConfig { stride, padding, dilation, groups, padding_mode, .. } =
            Conv2dConfig::default();
        Self { stride, padding, dilation, groups, padding_mode }
    }
}

impl Window {
    fn config(self) -> Conv2dConfig {
        let Self { stride, padding, dilation, groups, padding_mode } = self;
        let trailing_padding = 0;
        Conv2dConfig { stride, padding, trailing_padding, dilation, groups, padding_mode }
    }
}

/// The geometry of a layer, from the settings.
pub(super) fn geometry(inputs: &Inputs) -> Result<Geometry, Problem> {
    Ok(match inputs.params()? {
        Named::Dense => Geometry::Dense,
        Named::Conv2d(window) => Geometry::Conv2d(window.config()),
        Named::LocallyConnected2d(window) => Geometry::LocallyConnected2d(window.config()),
    })
}
