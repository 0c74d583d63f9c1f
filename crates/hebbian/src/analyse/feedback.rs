//! Feedback weights and the errors that they send back, as a run logged them.
//!
//! ```text
//! correlation of W and R   ρ = Σ (w − w̄)(r − r̄) / √(Σ (w − w̄)² · Σ (r − r̄)²)    over the connections of a layer that exist both ways
//! angle of W and R         ∠ = arccos(Σ w·r / √(Σ w² · Σ r²))                       over the same connections, in degrees
//! size of R                √(Σ r²) / √(Σ w²)
//! signs of W and R         share of the same connections with sign w = sign r
//! angle of the error       ∠ = arccos(δ·δ_bp / (‖δ‖·‖δ_bp‖))                        mean over images, in degrees
//! size of the error        ‖δ‖ / ‖δ_bp‖                                          mean over images
//! length of the error      ‖δ‖                                                     mean over images
//! angle of the update      ∠ = arccos(Σ G·G_bp / √(Σ G² · Σ G_bp²))                of the batch, in degrees
//! ```
//!
//! `δ` is the error that reaches a layer, and `δ_bp` the one that back-propagation through the same weights would send;
//! `G` and `G_bp` are the gradients of the layer's weights that these errors give.

use super::findings::Findings;
use super::logged::logged;
use super::opened::Opened;
use anyhow::{Result, bail};
use hebbian_models::amit::LayerDiagnostics;
use hebbian_train::{Table, draw_panels};
use serde_json::Value;

/// Whether the quantity of this name in the log is one of these.
pub(super) fn is_of_feedback(name: &str) -> bool {
    LayerDiagnostics::MEASURES.iter().any(|&(measure, _)| measure == name)
}

pub(super) fn analyse(runs: &[Opened]) -> Result<Findings> {
    let mut all = logged(runs);
    all.retain(|one| is_of_feedback(&one.term));
    if all.is_empty() {
        bail!("no run logged feedback weights or errors: runs of amit with feedback weights do");
    }
    let mut table = Table::new(["run", "logged", "layer", "first", "last"]);
    for one in &all {
        for curve in &one.curves {
            let (Some(&(_, first)), Some(&(_, last))) = (curve.points.first(), curve.points.last())
            else {
                continue;
            };
            let (name, title) = (runs[curve.run].name.clone(), one.title.clone());
            let of = curve.of.clone();
            table.row([name.into(), title.into(), of.into(), first.into(), last.into()])?;
        }
    }
    let has = |run: usize| all.iter().flat_map(|one| &one.curves).any(|curve| curve.run == run);
    let without = runs.iter().enumerate().filter(|(at, _)| !has(*at));
    let notes = without.map(|(_, run)| format!("{}: it logged none of it", run.name)).collect();
    let charts: Vec<_> = all.iter().map(|one| one.chart(runs)).collect();
    let figures: Vec<Value> = all.iter().flat_map(|one| one.figures(runs)).collect();
    Ok(Findings { picture: draw_panels(&charts, 3)?, table, figures: figures.into(), notes })
}
