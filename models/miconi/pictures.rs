//! Pictures of a trained network.

use super::receptive_fields::receptive_fields;
use super::trainer::Trainer;
use crate::error::Result;
use hebbian_train::{RunFolder, filter_grid};

/// Draws the receptive fields of every layer into the run folder.
pub(super) fn draw(trainer: &Trainer, folder: &mut RunFolder) -> Result<()> {
    let step = trainer.epoch() as u64;
    let quirks = trainer.network().preset().quirks;
    let fields = receptive_fields(trainer.network(), quirks.top_left_receptive_fields)?;
    for (at, fields) in fields.iter().enumerate() {
        let name = format!("receptive_fields_{}", at + 1);
        folder.picture(&name, step, &filter_grid(fields)?)?;
    }
    Ok(())
}
