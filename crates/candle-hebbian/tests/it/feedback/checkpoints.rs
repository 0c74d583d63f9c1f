//! Networks with feedback in a `VarMap`: saved, loaded and trained like any other candle network.

use super::*;
use candle::Module;
use candle_hebbian::{WithFeedbackConfig, feedback};
use candle_nn::{AdamW, Init, Optimizer, ParamsAdamW, Sequential, VarBuilder, VarMap};
use std::path::PathBuf;

const KP: FeedbackConfig = FeedbackConfig { source: Source::Own, learning: Learning::KolenPollack };

fn init(shape: &[usize]) -> Init {
    Init::Randn { mean: 0.0, stdev: 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt() }
}

/// A convolution, an untied and a dense layer for images of 6×6, and the network that they form.
fn network(vb: &VarBuilder) -> Result<(Vec<FeedbackLayer>, Sequential)> {
    let window = Conv2dConfig::same(3);
    let stride = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
    let conv = feedback::conv2d(1, 4, 3, (window, KP), init, vb.pp("conv"))?;
    let untied =
        feedback::locally_connected2d(4, 3, 3, (6, 6), (stride, KP), init, vb.pp("untied"))?;
    let dense = feedback::dense(27, 3, KP, init, vb.pp("classes"))?;
    let network = candle_nn::seq()
        .add(conv.clone())
        .add(Tensor::tanh)
        .add(untied.clone())
        .add_fn(|x| x.tanh()?.flatten_from(1))
        .add(dense.clone());
    Ok((vec![conv, untied, dense], network))
}

fn fresh() -> Result<(VarMap, Vec<FeedbackLayer>, Sequential)> {
    let varmap = VarMap::new();
    let (layers, network) = network(&VarBuilder::from_varmap(&varmap, DType::F32, CPU))?;
    Ok((varmap, layers, network))
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn optimizer(varmap: &VarMap, layers: &[FeedbackLayer]) -> Result<WithFeedback<AdamW>> {
    let inner = ParamsAdamW { lr: 0.01, weight_decay: 0.5, ..Default::default() };
    WithFeedback::new(varmap.all_vars(), WithFeedbackConfig { layers: layers.to_vec(), inner })
}

#[test]
fn feedback_stands_beside_the_weights() -> Result<()> {
    let (varmap, layers, _) = fresh()?;
    let data = varmap.data().lock().expect("no other thread");
    let mut names: Vec<_> = data.iter().map(|(name, var)| (name.clone(), var.dims())).collect();
    names.sort();
    let want: [(&str, &[usize]); 6] = [
        ("classes.feedback", &[3, 27]),
        ("classes.weight", &[3, 27]),
        ("conv.feedback", &[4, 1, 3, 3]),
        ("conv.weight", &[4, 1, 3, 3]),
        ("untied.feedback", &[3, 3, 3, 4, 3, 3]),
        ("untied.weight", &[3, 3, 3, 4, 3, 3]),
    ];
    assert_eq!(names, want.map(|(name, dims)| (name.to_string(), dims)));
    // The layers hold the variables themselves, not copies.
    for (layer, name) in layers.iter().zip(["conv", "untied", "classes"]) {
        assert_eq!(layer.weight().id(), data[&format!("{name}.weight")].id());
        assert_eq!(layer.feedback().expect("R").id(), data[&format!("{name}.feedback")].id());
    }
    Ok(())
}

#[test]
fn without_feedback_weights_there_are_none() -> Result<()> {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, CPU);
    for (at, protocol) in [Protocol::Backprop, Protocol::UniformSign].into_iter().enumerate() {
        let layer = feedback::dense(4, 3, protocol.config(), init, vb.pp(at))?;
        assert!(layer.feedback().is_none());
    }
    assert_eq!(varmap.all_vars().len(), 2);
    Ok(())
}

/// What is refused leaves no variable behind, so that the next attempt may have other sizes.
#[test]
fn a_refused_layer_leaves_no_variable() -> Result<()> {
    use super::bad_input::refused;
    let varmap = VarMap::new();
    let vb = || VarBuilder::from_varmap(&varmap, DType::F32, CPU);
    let wrong = FeedbackConfig { source: Source::Weights, learning: Learning::KolenPollack };
    let plain = Conv2dConfig::default();
    let says = ["KolenPollack", "nothing to change"];
    refused(feedback::dense(4, 3, wrong, init, vb()), &says);
    refused(feedback::conv2d(4, 3, 3, (plain, wrong), init, vb()), &says);
    let untied = feedback::locally_connected2d(4, 3, 3, (6, 6), (plain, wrong), init, vb());
    refused(untied, &says);
    let groups = Conv2dConfig { groups: 2, ..plain };
    refused(candle_hebbian::conv2d(4, 3, 3, groups, init, vb()), &["3 output", "2 groups"]);
    let untied = candle_hebbian::locally_connected2d(4, 3, 3, (6, 6), groups, init, vb());
    refused(untied, &["no groups"]);
    refused(candle_hebbian::adaptive_threshold((1, 3), -1.0, 0.5, vb()), &["rate", "-1"]);
    assert!(varmap.all_vars().is_empty());
    feedback::dense(5, 2, KP, init, vb())?;
    assert_eq!(varmap.all_vars().len(), 2);
    Ok(())
}

/// Kolen–Pollack in `candle_nn::seq()` under AdamW: the loss falls, and the feedback weights align
/// with the weights.
#[test]
fn trains_in_a_sequence() -> Result<()> {
    let (varmap, layers, network) = fresh()?;
    let angles = || -> Result<Vec<f64>> {
        let angle = |l: &FeedbackLayer| super::mirror::angle(l.feedback().expect("R"), l.weight());
        layers.iter().map(angle).collect()
    };
    let mut optimizer = optimizer(&varmap, &layers)?;
    let (mut first, mut last) = (0f32, 0f32);
    let before = angles()?;
    for step in 0..300 {
        let (x, labels) = super::training::batch(step, DType::F32)?;
        let loss = candle_nn::loss::cross_entropy(&network.forward(&x)?, &labels)?;
        optimizer.backward_step(&loss)?;
        let loss = loss.to_scalar::<f32>()?;
        if step < 10 {
            first += loss / 10.0;
        }
        if step >= 290 {
            last += loss / 10.0;
        }
    }
    assert!(last < 0.5 * first, "{last} after {first}");
    for (after, before) in angles()?.into_iter().zip(before) {
        assert!(after < 30.0 && before > 45.0, "{after}° after {before}°");
    }
    Ok(())
}

#[test]
fn saved_and_loaded() -> Result<()> {
    let (varmap, layers, network) = fresh()?;
    let mut optimizer = optimizer(&varmap, &layers)?;
    for step in 0..5 {
        let (x, labels) = super::training::batch(step, DType::F32)?;
        let loss = candle_nn::loss::cross_entropy(&network.forward(&x)?, &labels)?;
        optimizer.backward_step(&loss)?;
    }
    let path = file("feedback.safetensors");
    varmap.save(&path)?;
    let (mut other, other_layers, other_network) = self::fresh()?;
    let x = super::training::batch(9, DType::F32)?.0;
    let want = bits(&network.forward(&x)?)?;
    assert_ne!(bits(&other_network.forward(&x)?)?, want);
    other.load(&path)?;
    assert_eq!(bits(&other_network.forward(&x)?)?, want);
    for (a, b) in layers.iter().zip(&other_layers) {
        assert_eq!(bits(a.weight())?, bits(b.weight())?);
        assert_eq!(bits(a.feedback().expect("R"))?, bits(b.feedback().expect("R"))?);
    }
    // Loaded as constants, for evaluation; such layers do not learn.
    let read = candle::safetensors::load(&path, CPU)?;
    let vb = VarBuilder::from_tensors(read, DType::F32, CPU);
    let (constants, constant) = self::network(&vb)?;
    assert_eq!(bits(&constant.forward(&x)?)?, want);
    assert!(constants.iter().all(|layer| layer.var().is_err()));
    std::fs::remove_file(path)?;
    Ok(())
}
