//! The reference vectors in `tests/golden`: computed in f64 from the definitions by an independent
//! implementation, stored as f32. A case passes when, for every expected tensor,
//! `max|got − want| ≤ rtol · max|want|`.

use candle::{D, DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::ops::{Ties, avg_pool2d, max_pool2d, pad_reflect, ramp};
use candle_hebbian::{
    Competition, Conv2dConfig, FeedbackLayer, Geometry, HingeHebb, Layer, Protocol, RuleKind, Sgd,
};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

struct Case {
    name: String,
    kind: String,
    params: Value,
    tensors: HashMap<String, Tensor>,
}

impl Case {
    fn load(path: &Path, dtype: DType) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(candle::Error::wrap)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let tensors = candle::safetensors::load_buffer(&bytes, &Device::Cpu)?
            .into_iter()
            .map(|(name, tensor)| {
                let dtype = if tensor.dtype().is_float() { dtype } else { tensor.dtype() };
                Ok((name, tensor.to_dtype(dtype)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            kind: metadata["case"].clone(),
            params: serde_json::from_str(&metadata["params"]).map_err(candle::Error::wrap)?,
            tensors,
        })
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn number(&self, name: &str) -> usize {
        self.params[name].as_u64().unwrap_or_else(|| panic!("{}: no {name}", self.name)) as usize
    }

    fn check(&self, name: &str, got: &Tensor) -> Result<()> {
        let want = self.get(&format!("expect.{name}"));
        assert_eq!(got.dims(), want.dims(), "{} {name}", self.name);
        let largest = |t: &Tensor| t.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
        let (error, scale) = (largest(&(got - want)?)?, largest(want)?);
        let rtol = self.params["rtol"].as_f64().unwrap_or(0.0);
        let allowed = if scale == 0.0 { 1e-6 } else { rtol * scale };
        assert!(error <= allowed, "{} {name}: error {error:e}, allowed {allowed:e}", self.name);
        Ok(())
    }
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("tests/golden is part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind))
        })
        .collect();
    found.sort();
    found
}

fn conv_config(case: &Case) -> Conv2dConfig {
    Conv2dConfig {
        stride: case.number("stride"),
        padding: case.number("padding"),
        dilation: case.number("dilation"),
        padding_mode: serde_json::from_value(case.params["padding_mode"].clone()).expect("mode"),
        ..Default::default()
    }
}

fn geometry(case: &Case) -> Geometry {
    match case.params["geometry"].as_str() {
        Some("dense") => Geometry::Dense,
        Some("conv2d") => Geometry::Conv2d(conv_config(case)),
        Some("locally_connected2d") => Geometry::LocallyConnected2d(conv_config(case)),
        other => panic!("unknown geometry {other:?}"),
    }
}

fn check_rule(case: &Case) -> Result<()> {
    let geometry = geometry(case);
    let rule: RuleKind = serde_json::from_value(case.params["rule"].clone()).expect("rule");
    let competition: Competition =
        serde_json::from_value(case.params["competition"].clone()).expect("competition");

    let layer = Layer::new(case.get("w").clone(), geometry)?;
    let response = layer.response(case.get("x"))?;
    let post = competition.apply(response.u())?;
    case.check("u", &response.output()?)?;
    case.check("y", &response.fold(&post)?)?;
    let grads = rule.rule().loss(&response, &post)?.backward()?;
    case.check("delta_w", &grads.get(layer.weight()).expect("a gradient").neg()?)?;
    case.check("delta_w", &rule.rule().update(&response, &post)?)
}

fn check_pool(case: &Case) -> Result<()> {
    let x = Var::from_tensor(case.get("x"))?;
    let (kernel, stride, padding) =
        (case.number("kernel"), case.number("stride"), case.number("padding"));
    let pool = |x: &Tensor| match case.params["kind"].as_str() {
        Some("max") => max_pool2d(x, kernel, stride, padding, Ties::First),
        Some("avg") => avg_pool2d(x, kernel, stride, padding),
        other => panic!("unknown pool {other:?}"),
    };
    // In both memory formats: channels first, and channels last seen through a permutation.
    for channels_last in [false, true] {
        let x_seen = if channels_last {
            x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?
        } else {
            x.as_tensor().clone()
        };
        let out = pool(&x_seen)?;
        case.check("out", &out)?;
        let grads = (out * case.get("upstream"))?.sum_all()?.backward()?;
        case.check("grad_x", grads.get(&x).expect("a gradient"))?;
    }
    Ok(())
}

fn check_pad(case: &Case) -> Result<()> {
    assert_eq!(case.params["padding_mode"], "reflect");
    case.check("out", &pad_reflect(case.get("x"), case.number("padding"))?)
}

fn check_hinge(case: &Case) -> Result<()> {
    let h = Var::from_tensor(case.get("h"))?;
    let hinge = HingeHebb::new(case.params["mu"].as_f64().expect("mu"))?;
    let loss = hinge.loss(&h, case.get("labels"))?;
    case.check("loss", &loss.reshape(1)?)?;
    case.check("grad_h", loss.backward()?.get(&h).expect("a gradient"))
}

/// A layer with the protocol of a case; back-propagation has no use for `r`.
fn feedback_layer(w: &Tensor, r: &Tensor, geometry: Geometry, case: &Case) -> FeedbackLayer {
    let rate = case.params["feedback_rate"].as_f64().unwrap_or(1.0);
    let protocol = match case.params["protocol"].as_str() {
        Some("backprop") => Protocol::Backprop,
        Some("fixed") => Protocol::Frfb,
        Some("updated") if rate == 1.0 => Protocol::Urfb,
        Some("updated") => Protocol::Partial { rate },
        other => panic!("unknown protocol {other:?}"),
    };
    match protocol {
        Protocol::Backprop => FeedbackLayer::backprop(w.clone(), geometry),
        _ => FeedbackLayer::with_feedback(w.clone(), r.clone(), geometry, protocol),
    }
    .expect("a layer")
}

fn check_feedback(case: &Case) -> Result<()> {
    let layer = feedback_layer(case.get("w"), case.get("r"), geometry(case), case);
    let x = Var::from_tensor(case.get("x"))?;
    let out = layer.forward(&x)?;
    case.check("out", &out)?;
    let grads = (out * case.get("upstream"))?.sum_all()?.backward()?;
    case.check("grad_x", grads.get(&x).expect("a gradient"))?;
    case.check("grad_w", grads.get(layer.weight()).expect("a gradient"))?;
    let grad_r = layer.feedback().and_then(|r| grads.get(r));
    assert_eq!(grad_r.is_some(), layer.protocol() == Protocol::Urfb, "{}", case.name);
    if let Some(grad_r) = grad_r {
        case.check("grad_r", grad_r)?;
    }
    Ok(())
}

fn check_amit_steps(case: &Case) -> Result<()> {
    let number = |name: &str| case.params[name].as_f64().expect("a number");
    let same = Geometry::Conv2d(Conv2dConfig::same(3));
    let layers = [("conv1", same), ("conv2", same), ("dense1", Geometry::Dense)];
    let layers =
        layers.into_iter().chain([("classes", Geometry::Dense)]).map(|(name, geometry)| {
            let get = |what: &str| case.get(&format!("{name}.{what}"));
            (name, feedback_layer(get("weight"), get("feedback"), geometry, case))
        });
    let layers: Vec<(&str, FeedbackLayer)> = layers.collect();
    let [(_, conv1), (_, conv2), (_, dense1), (_, classes)] = &layers[..] else { unreachable!() };
    let slope = number("ramp_slope");
    let sgd = Sgd { learning_rate: number("learning_rate") };
    let mut losses = Vec::new();
    for step in 0..case.get("x").dim(0)? {
        let x = ramp(&conv1.forward(&case.get("x").get(step)?)?, slope)?;
        let x = max_pool2d(&x, 2, 2, 0, Ties::All)?;
        let x = ramp(&conv2.forward(&x)?, slope)?.flatten_from(1)?;
        let x = ramp(&dense1.forward(&x)?, slope)?;
        let (h, labels) = (classes.forward(&x)?, case.get("labels").get(step)?);
        let loss = match case.params["loss"].as_str() {
            Some("hinge") => HingeHebb::new(number("mu"))?.loss(&h, &labels)?,
            Some("softmax") => {
                let log = candle_nn::ops::log_softmax(&h, D::Minus1)?;
                log.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?.neg()?
            }
            other => panic!("unknown loss {other:?}"),
        };
        let grads = loss.backward()?;
        losses.push(loss);
        for (_, layer) in &layers {
            sgd.step(&layer.vars(), &grads)?;
        }
    }
    case.check("losses", &Tensor::stack(&losses, 0)?)?;
    for (name, layer) in &layers {
        case.check(&format!("{name}.weight"), layer.weight())?;
        if let (Some(feedback), true) = (layer.feedback(), *name != "conv1") {
            case.check(&format!("{name}.feedback"), feedback)?;
        }
    }
    Ok(())
}

fn run(prefix: &str, kind: &str, at_least: usize, check: fn(&Case) -> Result<()>) -> Result<()> {
    let paths = cases(prefix);
    assert!(paths.len() >= at_least, "{} cases of {kind}", paths.len());
    for path in paths {
        for dtype in [DType::F32, DType::F64] {
            let case = Case::load(&path, dtype)?;
            assert_eq!(case.kind, kind, "{}", case.name);
            check(&case)?;
        }
    }
    Ok(())
}

#[test]
fn rules() -> Result<()> {
    run("rule", "rule", 72, check_rule)
}

#[test]
fn pools() -> Result<()> {
    run("pool", "pool", 6, check_pool)
}

#[test]
fn pads() -> Result<()> {
    run("pad", "pad", 1, check_pad)
}

#[test]
fn hinges() -> Result<()> {
    run("hinge", "hinge", 3, check_hinge)
}

#[test]
fn feedback() -> Result<()> {
    run("feedback", "feedback", 9, check_feedback)
}

#[test]
fn amit_steps() -> Result<()> {
    run("amit", "amit_steps", 5, check_amit_steps)
}
