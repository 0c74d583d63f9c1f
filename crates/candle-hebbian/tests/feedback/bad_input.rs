//! What a caller can get wrong, each with a message that names it.

use super::*;
use candle_hebbian::ops::{Dropout, Edge, Ties, channels_last, max_pool2d_same, ramp};
use candle_hebbian::{HingeHebb, direct_feedback};
use std::fmt::Debug;

fn refused<T: Debug>(result: Result<T>, says: &[&str]) {
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
    for mu in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(HingeHebb::new(mu), &["μ", "above 0", &mu.to_string()]);
    }
    let hinge = HingeHebb::new(1.0)?;
    let fields = zeros(&[3, 4])?;
    for (labels, says) in [
        (Tensor::new(&[0u32, 4, 1], CPU)?, ["label 4", "example 1", "0 to 3"]),
        (Tensor::new(&[0i64, 3, -1], CPU)?, ["label -1", "example 2", "0 to 3"]),
        (Tensor::new(&[0u32, 1], CPU)?, ["[3, 4]", "[2]", "expected (N, C)"]),
        (Tensor::new(&[[0u32, 1, 2]], CPU)?, ["[3, 4]", "[1, 3]", "expected (N, C)"]),
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
    let with = |w: &[usize], r: &[usize], protocol| {
        FeedbackLayer::with_feedback(zeros(w)?, zeros(r)?, dense, protocol)
    };
    refused(with(&[3, 2], &[2, 3], Protocol::Urfb), &["[2, 3]", "[3, 2]", "same shape"]);
    for protocol in [Protocol::Backprop, Protocol::UniformSign, Protocol::DirectFeedback] {
        refused(with(&[3, 2], &[3, 2], protocol), &[&protocol.to_string(), "no feedback weights"]);
    }
    let other = Tensor::ones((3, 2), DType::F32, CPU)?;
    let differ = FeedbackLayer::with_feedback(zeros(&[3, 2])?, other, dense, Protocol::Identical);
    refused(differ, &["identical", "differ"]);
    refused(with(&[3, 2, 1], &[3, 2, 1], Protocol::Urfb), &["(K, F)", "[3, 2, 1]"]);
    let rng = &mut Rng::new(0);
    let dfa = FeedbackLayer::new((3, 2), dense, Protocol::DirectFeedback, rng, DType::F32, CPU);
    refused(dfa, &["dfa", "direct_feedback"]);
    Ok(())
}

#[test]
fn rates() -> Result<()> {
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let (partial, says) = (Protocol::Partial { rate }, ["ε", "0 (fixed) to 1"]);
        refused(partial.check(), &says);
        refused(partial.to_string().parse::<Protocol>(), &says);
        let rng = &mut Rng::new(0);
        refused(FeedbackLayer::new((3, 2), Geometry::Dense, partial, rng, DType::F32, CPU), &says);
        refused(
            FeedbackLayer::with_feedback(
                zeros(&[3, 2])?,
                zeros(&[3, 2])?,
                Geometry::Dense,
                partial,
            ),
            &says,
        );
        let json = serde_json::from_str::<Protocol>(&format!("\"partial:{rate}\""));
        assert!(json.is_err_and(|error| error.to_string().contains("0 (fixed) to 1")));
    }
    Ok(())
}

#[test]
fn protocol_names() -> Result<()> {
    let all = PROTOCOLS.into_iter().chain([
        Protocol::DirectFeedback,
        Protocol::Partial { rate: 0.0 },
        Protocol::Partial { rate: 0.1 + 0.2 },
        Protocol::Partial { rate: 1e-9 },
        Protocol::Partial { rate: 1.0 },
    ]);
    for protocol in all {
        let name = protocol.to_string();
        assert_eq!(name.parse::<Protocol>()?, protocol);
        let json = serde_json::to_string(&protocol).map_err(candle::Error::wrap)?;
        assert_eq!(json, format!("\"{name}\""));
        let back: Protocol = serde_json::from_str(&json).map_err(candle::Error::wrap)?;
        assert_eq!(back, protocol);
    }
    assert_eq!("fa".parse::<Protocol>()?, Protocol::Frfb);
    for wrong in ["", "BP", "urfb ", "partial", "partial:", "partial:x", "partial:0.5:1"] {
        let says = [&format!("{wrong:?}")[..], "partial:RATE"];
        refused(wrong.parse::<Protocol>(), &says);
        assert!(serde_json::from_value::<Protocol>(wrong.into()).is_err());
    }
    Ok(())
}

#[test]
fn direct() -> Result<()> {
    let hidden = Var::from_tensor(&zeros(&[2, 5])?)?;
    let says = ["expected weights of (3, 5)", "as many samples"];
    refused(direct_feedback(&zeros(&[2, 3])?, &hidden, &zeros(&[5, 3])?), &says);
    refused(direct_feedback(&zeros(&[4, 3])?, &hidden, &zeros(&[3, 5])?), &says);
    assert!(direct_feedback(&zeros(&[2, 3, 1])?, &hidden, &zeros(&[3, 5])?).is_err());
    let untracked = hidden.detach();
    refused(
        direct_feedback(&zeros(&[2, 3])?, &untracked, &zeros(&[3, 5])?),
        &["no path", "[2, 5]", "detached"],
    );
    Ok(())
}

#[test]
fn masks() -> Result<()> {
    let make = |protocol| {
        let rng = &mut Rng::new(0);
        FeedbackLayer::new((3, 2), Geometry::Dense, protocol, rng, DType::F32, CPU)
    };
    for probability in [1.5, -0.1, f64::NAN] {
        let thinned = make(Protocol::Urfb)?.thinned(probability, &mut Rng::new(0));
        refused(thinned, &[&probability.to_string(), "0 to 1"]);
    }
    let mut layer = make(Protocol::Urfb)?;
    let before = bits(layer.weight())?;
    let wrong = [(Some(zeros(&[2, 3])?), None), (Some(zeros(&[3, 2])?), Some(zeros(&[6])?))];
    for (weight, feedback) in wrong {
        let says = if feedback.is_some() { "[6]" } else { "[2, 3]" };
        refused(layer.set_masks(weight, feedback), &[says, "[3, 2]"]);
        // Refused means unchanged.
        assert_eq!(bits(layer.weight())?, before);
        assert!(layer.masks().0.is_none() && layer.masks().1.is_none());
    }
    let mask = Some(zeros(&[3, 2])?);
    refused(make(Protocol::Backprop)?.set_masks(None, mask), &["feedback weights", "none"]);
    Ok(())
}

#[test]
fn untied() -> Result<()> {
    let dense = FeedbackLayer::backprop(zeros(&[3, 2])?, Geometry::Dense)?;
    refused(dense.untied((4, 4)), &["convolution", "Dense"]);
    let conv = |config| FeedbackLayer::backprop(zeros(&[2, 1, 3, 3])?, Geometry::Conv2d(config));
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
