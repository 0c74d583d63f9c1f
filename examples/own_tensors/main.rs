//! A stack trained on your own tensors: here, noisy images of stripes of four orientations, at any phase.
//! Two layers learn at the same time by SoftHebb, without labels.
//!
//! `cargo run --release --example own_tensors` takes less than a second. Expect the nearest class mean to
//! classify 45 % of new images correctly from their pixels, and all from the stack's features.

use anyhow::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::{BlockConfig, LargestEntry, Learner, Rng, SoftHebb, Stack, Steps, seeded};
use candle_nn::VarMap;
use hebbian_models::CompetitionKind;
use hebbian_train::{NearestClassMean, Readout};

const BLOCKS: &str = r#"[
    { "layer": { "kind": "conv2d", "units": 16, "kernel": 5 },
      "init": { "kind": "radius_normal", "radius": 5.0 },
      "competition": { "kind": "soft_wta_anti_hebbian", "inverse_temperature": 1.0 },
      "activation": { "kind": "triangle", "power": 1.0 }, "pool": { "kind": "max", "kernel": 2, "stride": 2, "padding": 0 } },
    { "norm": { "kind": "batch_norm" },
      "layer": { "kind": "conv2d", "units": 32, "kernel": 3 },
      "init": { "kind": "radius_normal", "radius": 5.0 },
      "competition": { "kind": "soft_wta_anti_hebbian", "inverse_temperature": 1.0 },
      "activation": { "kind": "triangle", "power": 1.0 }, "pool": { "kind": "avg", "kernel": 2, "stride": 2, "padding": 0 } }
]"#;

/// Images `(count, 1, 12, 12)` and their orientations.
fn stripes(count: usize, rng: &mut Rng) -> Result<(Tensor, Vec<u32>)> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (class, phase) = (rng.below(4), rng.below(4));
        for at in 0..144 {
            let along =
                [at % 12, at / 12, at % 12 + at / 12, at % 12 + 12 - at / 12][class] + phase;
            pixels.push(if along % 4 < 2 { 1f32 } else { 0.0 });
        }
        labels.push(class as u32);
    }
    let images = Tensor::from_vec(pixels, (count, 1, 12, 12), &Device::Cpu)?;
    Ok(((&images + rng.normal(0.0, 0.3, images.shape(), DType::F32, &Device::Cpu)?)?, labels))
}

fn main() -> Result<()> {
    let (mut rng, varmap) = (Rng::new(0), VarMap::new());
    let blocks: Vec<BlockConfig<CompetitionKind>> = serde_json::from_str(BLOCKS)?;
    let stack = Stack::new(blocks, &[1, 12, 12], seeded(&varmap, &rng, DType::F32, &Device::Cpu))?;
    let mut learners = stack.learners(|layer| {
        let steps = Steps::builder(0.02).then(LargestEntry).build([layer.var()?])?;
        Ok(Some(Learner::new(SoftHebb, steps)))
    })?;
    for _ in 0..200 {
        stack.learn(&stripes(10, &mut rng)?.0, &mut learners)?; // one's own tensors, batch by batch
    }
    let ((train, labels), (test, test_labels)) = (stripes(200, &mut rng)?, stripes(200, &mut rng)?);
    for (name, count) in [("pixels", 0), ("features", stack.blocks().len())] {
        let features = |x: &Tensor| stack.features(x, count)?.flatten_from(1);
        let means = NearestClassMean::fit(&features(&train)?, &labels, 4)?;
        println!("{name}: {:.1} %", 100.0 * means.accuracy(&features(&test)?, &test_labels)?);
    }
    Ok(())
}
