//! Invalid arguments, each refused with a message that names the mistake.

use super::*;
use candle_hebbian::ops::{Dropout, Edge, Ties, channels_last, max_pool2d_same, ramp};
use candle_hebbian::{HingeHebb, direct_feedback};
use std::fmt::Debug;

pub fn refused<T: Debug>(result: Result<T>, says: &[&str]) {
    let message = result.expect_err("accepted").to_string();
    for word in says {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

fn zeros(shape: &[usize]) -> Result<Tensor> {
    Tensor::zeros(shape, DType::F32, CPU)
}

#[test]
fn hinge() -> Result<()> {
    for mu in [0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY] {
        refused(HingeHebb::new(mu), &["μ", "above 0", &mu.to_string()]);
    }
    let hinge = HingeHebb::new(1.0)?;
    let fields = zeros(&[3, 4])?;
    for (labels, says) in [
        (Tensor::new(&[0u32, 4, 1], CPU)?, ["label 4", "example 1", "0 to 3"]),
        (Tensor::new(&[0i64, 3, -1], CPU)?, ["label -1", "example 2", "0 to 3"]),
        (Tensor::new(&[0u32, 1], CPU)?, ["[3, 4]", "[2]", "expected (N, C)"]),
        (Tensor::new(&[[0u32, 1, 2]], CPU)?, ["[3, 4]", "[1, 3]", "expected (N, C)"]),
        (Tensor::new(&[0f32, 1.0, 2.0], CPU)?, ["labels", "F32", "expected integers"]),
    ] {
        refused(hinge.loss(&fields, &labels), &says);
        refused(hinge.targets(&fields, &labels), &says);
    }
    let one = Tensor::new(&[0u32, 0, 0], CPU)?;
    refused(hinge.loss(&zeros(&[3, 1])?, &one), &["[3, 1]", "two or more classes"]);
    Ok(())
}

#[test]
fn feedback_weights() -> Result<()> {
    let dense = Geometry::Dense;
    let with = |w: &[usize], r: Option<&[usize]>, protocol: Protocol| {
        let r = r.map(zeros).transpose()?;
        FeedbackLayer::from_tensors(&zeros(w)?, r.as_ref(), dense, protocol.config())
    };
    let urfb = Protocol::Urfb;
    refused(with(&[3, 2], Some(&[2, 3]), urfb), &["[2, 3]", "[3, 2]", "same shape"]);
    for (protocol, source) in
        [(Protocol::Backprop, "Weights"), (Protocol::UniformSign, "Signs { sizes: Uniform }")]
    {
        refused(with(&[3, 2], Some(&[3, 2]), protocol), &[source, "no feedback weights"]);
    }
    for (protocol, source) in [(urfb, "Own"), (Protocol::FixedRandomSign, "Signs { sizes: Own }")] {
        refused(with(&[3, 2], None, protocol), &[source, "[3, 2]", "found none"]);
    }
    refused(with(&[3, 2, 1], Some(&[3, 2, 1]), urfb), &["(K, F)", "[3, 2, 1]"]);
    let w = Var::from_tensor(&zeros(&[3, 2])?)?;
    let same = FeedbackLayer::from_tensors(&w, Some(w.as_tensor()), dense, urfb.config());
    refused(same, &["the very tensor of the weights", "copy"]);
    let wide = Tensor::zeros((3, 2), DType::F64, CPU)?;
    let mixed = FeedbackLayer::from_tensors(&w, Some(&wide), dense, urfb.config());
    refused(mixed, &["F32", "F64", "expected the same"]);
    Ok(())
}

#[test]
fn rates() -> Result<()> {
    let own = |learning| FeedbackConfig { source: Source::Own, learning };
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        for (config, says) in [
            (own(Learning::LikeWeights { rate }), ["ε", "0 (fixed) to 1"]),
            (own(Learning::Mirror { rate }), ["κ", "0 (fixed) to 1"]),
        ] {
            refused(config.check(), &says);
            let (w, r) = (zeros(&[3, 2])?, zeros(&[3, 2])?);
            refused(FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config), &says);
        }
    }
    Ok(())
}

/// Learning without feedback weights, or with feedback weights that are redrawn and so keep nothing.
#[test]
fn choices_that_do_not_go_together() {
    let learning = [
        Learning::LikeWeights { rate: 0.5 },
        Learning::KolenPollack,
        Learning::Mirror { rate: 0.5 },
    ];
    for learning in learning {
        let name = format!("{learning:?}");
        for source in [Source::Weights, Source::Signs { sizes: Sizes::Uniform }] {
            let config = FeedbackConfig { source, learning };
            refused(config.check(), &[&name, &format!("{source:?}"), "nothing to change"]);
        }
        let redrawn = Source::Signs { sizes: Sizes::Redrawn };
        let config = FeedbackConfig { source: redrawn, learning };
        refused(config.check(), &[&name, "redrawn", "keep nothing"]);
        for source in [Source::Own, Source::Signs { sizes: Sizes::Own }] {
            assert!(FeedbackConfig { source, learning }.check().is_ok());
        }
    }
}

#[test]
fn configs_as_json() -> Result<()> {
    let read = |text: &str| serde_json::from_str::<FeedbackConfig>(text);
    let kp = FeedbackConfig { source: Source::Own, learning: Learning::KolenPollack };
    let text = r#"{"source":{"kind":"own"},"learning":{"kind":"kolen_pollack"}}"#;
    assert_eq!(serde_json::to_string(&kp).map_err(candle::Error::wrap)?, text);
    assert_eq!(read(text).map_err(candle::Error::wrap)?, kp);
    assert_eq!(read("{}").map_err(candle::Error::wrap)?, FeedbackConfig::default());
    let signs = r#"{"source": {"kind": "signs", "sizes": "uniform"}}"#;
    assert_eq!(read(signs).map_err(candle::Error::wrap)?, Protocol::UniformSign.config());
    refused(read(r#"{"sauce": {}}"#).map_err(candle::Error::wrap), &["sauce", "unknown field"]);
    let extra = r#"{"learning": {"kind": "mirror", "rate": 0.1, "decay": 1}}"#;
    refused(read(extra).map_err(candle::Error::wrap), &["decay", "unknown field"]);
    Ok(())
}

/// Weights that are not variables respond and send the error back, but nothing can change them.
#[test]
fn constants_do_not_learn() -> Result<()> {
    let layer = candle_hebbian::Layer::new(zeros(&[3, 2])?, Geometry::Dense)?;
    let mut layer = FeedbackLayer::new(layer, Some(zeros(&[3, 2])?), Protocol::Urfb.config())?;
    let x = Var::from_tensor(&zeros(&[1, 2])?)?;
    let grads = send(&layer, &x, &zeros(&[1, 3])?)?;
    assert_eq!(gradient(&grads, &x).dims(), [1, 2]);
    refused(layer.var(), &["[3, 2]", "no variable"]);
    refused(layer.feedback_var(), &["[3, 2]", "no variable"]);
    refused(layer.set_masks(Some(zeros(&[3, 2])?), None), &["no variable"]);
    refused(descent(&[&layer]), &["no variable"]);
    // Fixed feedback weights need not be a variable.
    let weight = candle_hebbian::Layer::from_tensor(&zeros(&[3, 2])?, Geometry::Dense)?;
    let mut layer = FeedbackLayer::new(weight, Some(zeros(&[3, 2])?), Protocol::Frfb.config())?;
    descent(&[&layer])?;
    layer.set_masks(Some(zeros(&[3, 2])?), None)?;
    refused(layer.set_masks(None, Some(zeros(&[3, 2])?)), &["feedback weights", "no variable"]);
    Ok(())
}

#[test]
fn direct() -> Result<()> {
    let hidden = Var::from_tensor(&zeros(&[2, 5])?)?;
    let says = ["expected weights of (3, 5)", "as many samples"];
    refused(direct_feedback(&zeros(&[2, 3])?, &hidden, &zeros(&[5, 3])?), &says);
    refused(direct_feedback(&zeros(&[4, 3])?, &hidden, &zeros(&[3, 5])?), &says);
    assert!(direct_feedback(&zeros(&[2, 3, 1])?, &hidden, &zeros(&[3, 5])?).is_err());
    let wide = Tensor::zeros((3, 5), DType::F64, CPU)?;
    let says = ["weights in F64", "a layer in F32", "expected the same"];
    refused(direct_feedback(&zeros(&[2, 3])?, &hidden, &wide), &says);
    let output = Tensor::zeros((2, 3), DType::F64, CPU)?;
    let says = ["an output in F64", "a layer in F32", "expected the same"];
    refused(direct_feedback(&output, &hidden, &zeros(&[3, 5])?), &says);
    let untracked = hidden.detach();
    refused(
        direct_feedback(&zeros(&[2, 3])?, &untracked, &zeros(&[3, 5])?),
        &["no path", "[2, 5]", "detached"],
    );
    Ok(())
}

#[test]
fn masks() -> Result<()> {
    let make = |protocol| random(&mut Rng::new(0), &[3, 2], Geometry::Dense, protocol);
    for probability in [1.5, -0.1, f64::NAN] {
        let (urfb, rng) = (make(Protocol::Urfb)?, &mut Rng::new(0));
        let thinned = urfb.thinned(probability, Pairing::Independent, rng);
        refused(thinned, &[&probability.to_string(), "0 to 1"]);
    }
    let mut layer = make(Protocol::Urfb)?;
    let before = bits(layer.weight())?;
    let wrong = [(Some(zeros(&[2, 3])?), None), (Some(zeros(&[3, 2])?), Some(zeros(&[6])?))];
    for (weight, feedback) in wrong {
        let says = if feedback.is_some() { "[6]" } else { "[2, 3]" };
        refused(layer.set_masks(weight, feedback), &[says, "[3, 2]"]);
        // A refused mask leaves the layer unchanged.
        assert_eq!(bits(layer.weight())?, before);
        assert!(layer.masks().0.is_none() && layer.masks().1.is_none());
    }
    for value in [0.5, 5.0, -1.0, f64::NAN] {
        let mask = Tensor::full(value, (3, 2), CPU)?;
        refused(layer.set_masks(Some(mask), None), &["6 entries", "0 (no connection)"]);
        assert_eq!(bits(layer.weight())?, before);
    }
    // A mask of integers is as good. What is not connected is 0, whatever it was.
    let mut diverged = make(Protocol::Urfb)?;
    diverged.var()?.set(&Tensor::full(f32::NAN, (3, 2), CPU)?)?;
    diverged.set_masks(Some(Tensor::zeros((3, 2), DType::U8, CPU)?), None)?;
    assert_eq!(bits(diverged.weight())?, [0; 6]);
    // Copied weights come with feedback weights or without.
    let says = ["only one of the two"];
    refused(layer.copy_weights(&make(Protocol::Backprop)?), &says);
    refused(make(Protocol::Backprop)?.copy_weights(&layer), &says);
    let mask = Some(zeros(&[3, 2])?);
    refused(make(Protocol::Backprop)?.set_masks(None, mask), &["feedback weights", "none"]);
    Ok(())
}

#[test]
fn untied() -> Result<()> {
    let backprop = |shape: &[usize], geometry| {
        let w = zeros(shape)?;
        layer(&w, &w, geometry, Protocol::Backprop)
    };
    let dense = backprop(&[3, 2], Geometry::Dense)?;
    refused(dense.untied((4, 4)), &["convolution", "Dense"]);
    let conv = |config| backprop(&[2, 1, 3, 3], Geometry::Conv2d(config));
    let plain = Conv2dConfig::default();
    refused(conv(Conv2dConfig { groups: 2, ..plain })?.untied((4, 4)), &["groups", "2"]);
    let reflect = candle_hebbian::PaddingMode::Reflect;
    let reflect = Conv2dConfig { padding: 1, padding_mode: reflect, ..plain };
    refused(conv(reflect)?.untied((4, 4)), &["zero padding", "reflection"]);
    refused(conv(plain)?.untied((2, 4)), &["too small", "2 pixels"]);
    let untied = conv(plain)?.untied((4, 4))?;
    refused(untied.untied((4, 4)), &["convolution", "LocallyConnected2d"]);
    Ok(())
}

#[test]
fn building_blocks() -> Result<()> {
    let x = zeros(&[1, 1, 4, 4])?;
    for slope in [0.0, -1.0, f64::NAN] {
        refused(ramp(&x, slope), &["slope above 0", &slope.to_string()]);
    }
    for probability in [1.0, -0.5, f64::NAN] {
        refused(Dropout::new(probability), &[&probability.to_string(), "below 1"]);
    }
    for (kernel, stride) in [(0, 1), (2, 0)] {
        let says = [&format!("kernel {kernel}, stride {stride}")[..], "at least 1"];
        let (edge, ties) = (Edge::Zeros, Ties::All);
        refused(max_pool2d_same(&x, kernel, stride, edge, ties), &says);
        refused(channels_last::max_pool2d_same(&x, kernel, stride, edge, ties), &says);
        refused(channels_last::avg_pool2d(&x, kernel, stride, 0), &says);
    }
    Ok(())
}
