//! The flags of whitened random patches.

use crate::{CommonArgs, Door};
use anyhow::Result;
use hebbian_models::patches::{Frame, Learner, Options, Patches, Preset};
use hebbian_train::{Preset as _, Run, choose, find_preset};
use std::path::Path;

/// Flags of whitened random patches.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Number of patches [default: the preset's]
    #[arg(long, value_name = "N")]
    units: Option<usize>,
    /// Frame in which images and patches are compared: code or pixel [default: the preset's]
    #[arg(long)]
    frame: Option<String>,
    /// Temperature of a soft code [default: the preset's]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
}

impl Door for Patches {
    const ABOUT: &'static str =
        "Thiry et al. 2021: whitened random patches, a control that learns nothing";
    const STEPS: bool = false;
    const NUMBERS: &'static [&'static str] = &["features", "ridge", "ridge on raw pixels", "head"];
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags, _: Option<&Options>) -> Result<Options> {
        let own = if common.on_digits() { "patches-digits" } else { "patches-cifar" };
        let mut preset: Preset = find_preset(common.preset.as_deref().unwrap_or(own))?;
        preset.units = flags.units.unwrap_or(preset.units);
        preset.temperature = flags.temperature.or(preset.temperature);
        if let Some(frame) = &flags.frame {
            preset.frame =
                choose("frame", frame, &[("code", Frame::Code), ("pixel", Frame::Pixel)])?;
        }
        preset.validate()?;
        Ok(Options { preset })
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        Ok(super::read_outs(&run.results, out))
    }
}
