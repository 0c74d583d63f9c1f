//! Rules as functions, on any tensor: hand-worked numbers of Krotov & Hopfield 2019 (PNAS 116:7723)
//! and of BCM with the moving threshold of Jimenez Nimmo & Mondragón 2025, and what a rule can and
//! cannot be. Each number was worked out in f64 from the rule.

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::{
    Bcm, Competition, Conv2dConfig, Geometry, Hebb, KWta, KrotovHopfield, LargestEntry, Layer,
    Learner, ModulatedHebb, Oja, Response, Rng, Rule, SoftHebb, State, Steps, Synapses, Update,
    conv2d, dense, locally_connected2d,
};
use candle_nn::{Init, Optimizer, SGD, VarBuilder, VarMap};
use std::fmt::Debug;

const CPU: &Device = &Device::Cpu;

fn near(name: &str, got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
    let got = got.flatten_all()?.to_vec1::<f64>()?;
    assert_eq!(got.len(), want.len(), "{name}: {got:?}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{name}[{i}]: {got}, expected {want}");
    }
    Ok(())
}

fn tensor(values: &[f64], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(values, shape, CPU)
}

fn refused<T: Debug>(result: Result<T>, says: &[&str]) {
    let message = result.expect_err("an error").to_string();
    for part in says {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

mod krotov_hopfield {
    use super::*;

    const W: [f64; 6] = [0.5, -0.2, 0.1, 0.3, 0.4, -0.1];
    const W3: [f64; 3] = [-0.2, 0.1, 0.6];

    /// p = 3, k = 2, Δ = 0.4: three units, two patterns.
    #[test]
    fn hand_worked() -> Result<()> {
        let weights: Vec<f64> = W.into_iter().chain(W3).collect();
        let layer = Layer::from_tensor(&tensor(&weights, &[3, 3])?, Geometry::Dense)?;
        let x = tensor(&[1.0, 0.5, 0.0, 0.0, 1.0, 0.5], &[2, 3])?;
        let rule = KrotovHopfield { norm: 3.0 };
        let response = rule.response(layer.response(&x)?)?;
        near("Q", response.u(), &[0.23, 0.17, -0.035, -0.035, 0.155, 0.19], 1e-12)?;
        let g = tensor(&[1.0, -0.4, 0.0, 0.0, -0.4, 1.0], &[1, 2, 3])?;
        let synapses = response.synapses(&g)?;
        let update = [0.885, 0.546, -0.023, -0.361, -0.548, -0.213, 0.038, 0.981, 0.386];
        near("D", &synapses.update(&rule)?, &update, 1e-12)?;
        let gradient = synapses.loss(&rule)?.backward()?;
        near("−∂L", &gradient.get(layer.weight()).unwrap().neg()?, &update, 1e-12)
    }

    /// One unit that always wins one pattern ends at `x/‖x‖_p`.
    #[test]
    fn fixed_point_has_unit_p_norm() -> Result<()> {
        for p in [2.0, 3.0, 4.0] {
            let x = [3.0, 1.0, 2.0];
            let norm = x.iter().map(|x: &f64| x.powf(p)).sum::<f64>().powf(1.0 / p);
            let layer = Layer::from_tensor(&tensor(&[0.3, 0.6, 0.2], &[1, 3])?, Geometry::Dense)?;
            let (rule, g) = (KrotovHopfield { norm: p }, tensor(&[1.0], &[1, 1, 1])?);
            let mut sgd = SGD::new(vec![layer.var()?], 0.02)?;
            for _ in 0..2000 {
                let response = rule.response(layer.response(&tensor(&x, &[1, 3])?)?)?;
                sgd.backward_step(&response.synapses(&g)?.loss(&rule)?)?;
            }
            near(&format!("p = {p}"), layer.weight(), &x.map(|x| x / norm), 1e-9)?;
        }
        Ok(())
    }

    #[test]
    fn norm_two_is_softhebb() -> Result<()> {
        let mut rng = Rng::new(1);
        let w = rng.normal(0.0, 1.0, (4, 5), DType::F64, CPU)?;
        let layer = Layer::from_tensor(&w, Geometry::Dense)?;
        let response = layer.response(&rng.normal(0.0, 1.0, (7, 5), DType::F64, CPU)?)?;
        let synapses = response.synapses(&rng.normal(0.0, 1.0, (1, 7, 4), DType::F64, CPU)?)?;
        let want = synapses.update(&SoftHebb)?.flatten_all()?.to_vec1::<f64>()?;
        let rule = KrotovHopfield::default();
        near("p = 2", &synapses.update(&rule)?, &want, 0.0)
    }

    /// For `p = 1` only the signs of the weights count, `2 − 3 + 0·5`. A NaN has none, and its unit responds with NaN.
    #[test]
    fn norm_one_is_of_signs() -> Result<()> {
        let w = tensor(&[0.5, -0.2, 0.0, f64::NAN, 0.1, 0.2], &[2, 3])?;
        let linear = Response::new(&w, Geometry::Dense, &tensor(&[2.0, 3.0, 5.0], &[1, 3])?)?;
        let response = KrotovHopfield { norm: 1.0 }.response(linear)?;
        let q = response.u().flatten_all()?.to_vec1::<f64>()?;
        assert!(q[0] == -1.0 && q[1].is_nan(), "{q:?}");
        Ok(())
    }

    #[test]
    fn bad_norm() -> Result<()> {
        let w = tensor(&W, &[2, 3])?;
        for norm in [0.5, f64::NAN, f64::INFINITY] {
            let linear = Response::new(&w, Geometry::Dense, &tensor(&[1.0, 0.0, 0.0], &[1, 3])?)?;
            refused(KrotovHopfield { norm }.response(linear), &["p is", "from 1"]);
        }
        Ok(())
    }
}

mod bcm {
    use super::*;

    /// Two steps with ρ = 0.3 and a rate of 0.1 divided by the largest entry of the update.
    #[test]
    fn hand_worked() -> Result<()> {
        let layer = Layer::from_tensor(&tensor(&[2.0, 0.0, 1.2, 1.6], &[2, 2])?, Geometry::Dense)?;
        let x = tensor(&[3.0, 4.0, 1.0, 0.0], &[1, 2, 2])?;
        // The cosines of the rows with the weights, whose directions the two steps keep.
        let u = tensor(&[0.6, 1.0, 1.0, 0.6], &[1, 2, 2])?;
        let y = tensor(&[0.0, 1.0, 1.0, 0.0], &[1, 2, 2])?;
        let mut state = State::default();
        for (threshold, after) in
            [(0.85, [2.025, 0.0, 1.275, 1.7]), (0.745, [2.05, 0.0, 1.35, 1.8])]
        {
            let synapses = Synapses::new(layer.weight(), &x, &u, &y)?;
            let mut copy = state.clone();
            let loss = synapses.loss_with(&Bcm::default(), &mut copy)?;
            let update = synapses.update_with(&Bcm::default(), &mut state)?;
            let gradient = loss.backward()?.remove(layer.weight()).unwrap();
            let want = update.flatten_all()?.to_vec1::<f64>()?;
            near("−∂L", &gradient.neg()?, &want, 1e-12)?;
            near("θ", state.get("threshold").unwrap(), &[threshold; 2], 1e-12)?;
            let largest = update.abs()?.max_all()?.to_scalar::<f64>()?;
            layer.var()?.set(&(layer.weight().detach() + (update * (0.1 / largest))?)?)?;
            near("w", layer.weight(), &after, 1e-8)?;
        }
        // A batch without rows has no mean, and moves no threshold.
        let empty = |rows: &Tensor| rows.narrow(1, 0, 0);
        let synapses = Synapses::new(layer.weight(), &empty(&x)?, &empty(&u)?, &empty(&y)?)?;
        near("Δw", &synapses.update_with(&Bcm::default(), &mut state)?, &[0.0; 4], 0.0)?;
        near("θ", state.get("threshold").unwrap(), &[0.745; 2], 1e-12)?;
        Ok(())
    }

    /// A learner goes on from thresholds that were saved: θ = ¾·4 + ¼·3² = 5.25, Δw = 3·(3 − 5.25)·2 = −13.5.
    #[test]
    fn a_learner_goes_on_from_saved_thresholds() -> Result<()> {
        let layer = Layer::from_tensor(&tensor(&[1.5], &[1, 1])?, Geometry::Dense)?;
        let steps = Steps::builder(0.1).build([layer.var()?])?;
        let mut learner = Learner::new(Bcm { rate: 0.25, ..Bcm::default() }, steps);
        learner.state_mut().set("threshold", &tensor(&[4.0], &[1, 1])?);
        let response = layer.response(&tensor(&[2.0], &[1, 1])?)?; // u = 3
        learner.step(&response, response.u())?;
        near("θ", learner.state().get("threshold").expect("thresholds"), &[5.25], 1e-12)?;
        near("w", layer.weight(), &[0.15], 1e-12)
    }

    /// The rule with the response of Jimenez Nimmo & Mondragón for a kernel of 1×1: the cosine of a row and a unit's
    /// weights, `x·w/(‖w‖·√(‖x‖² + 1e-8))`. In a larger kernel of theirs, the weights of each tap have norm 1.
    struct OfCosines(Bcm);

    impl Rule for OfCosines {
        fn update(&self, synapses: &Synapses, state: &mut State) -> Result<Update> {
            self.0.update(synapses, state)
        }

        fn response(&self, linear: Response) -> Result<Response> {
            let of_weights = linear.weights()?.sqr()?.sum(2)?.sqrt()?.unsqueeze(1)?; // (S, 1, K)
            let of_rows = (linear.pre()?.sqr()?.sum_keepdim(2)? + 1e-8)?.sqrt()?; // (S, P, 1)
            let u = linear.u().broadcast_div(&of_weights)?.broadcast_div(&of_rows)?;
            linear.with_u(&u)
        }
    }

    /// The same two steps from an image of two pixels alone: a kernel of 1×1, the largest cosine of a pixel as the
    /// activity of its unit, and a learner that keeps the thresholds. The 1e-8 shows in the ninth digit.
    #[test]
    fn of_cosines_in_a_learner() -> Result<()> {
        let weight = tensor(&[2.0, 0.0, 1.2, 1.6], &[2, 2, 1, 1])?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(Conv2dConfig::default()))?;
        let image = tensor(&[3.0, 1.0, 4.0, 0.0], &[1, 2, 1, 2])?; // pixels (3, 4) and (1, 0)
        let steps = Steps::builder(0.1).then(LargestEntry).build([layer.var()?])?;
        let mut learner = Learner::new(OfCosines(Bcm::default()), steps);
        for (threshold, after) in
            [(0.85, [2.025, 0.0, 1.275, 1.7]), (0.745, [2.05, 0.0, 1.35, 1.8])]
        {
            let response = learner.rule().response(layer.response(&image)?)?;
            near("u", response.u(), &[0.6, 1.0, 1.0, 0.6], 2e-8)?;
            let post = KWta::graded(1).compete(response.u())?;
            near("y", &post, &[0.0, 1.0, 1.0, 0.0], 2e-8)?;
            learner.step(&response, &post)?;
            let found = learner.state().get("threshold").expect("thresholds");
            near("θ", found, &[threshold; 2], 2e-8)?;
            near("w", layer.weight(), &after, 2e-8)?;
        }
        Ok(())
    }

    #[test]
    fn state_is_not_lost_in_silence() -> Result<()> {
        let (w, one) =
            (Var::ones((1, 1), DType::F64, CPU)?, Tensor::ones((1, 1, 1), DType::F64, CPU)?);
        let synapses = Synapses::new(&w, &one, &one, &one)?;
        refused(synapses.loss(&Bcm::default()), &["threshold", "loss_with"]);
        refused(synapses.update(&Bcm::default()), &["threshold", "update_with"]);
        let mut state = State::default();
        state.set("threshold", &Tensor::ones((1, 3), DType::F64, CPU)?);
        refused(synapses.update_with(&Bcm::default(), &mut state), &["[1, 3]", "1 units"]);
        let rule = Bcm { rate: 1.5, ..Bcm::default() };
        refused(synapses.update_with(&rule, &mut State::default()), &["1.5", "0 to 1"]);
        Ok(())
    }
}

/// Every term of an update has a shape of its own, which the update and the loss check alike: values in another order
/// would be another update.
#[test]
fn terms_of_an_update_have_their_shapes() -> Result<()> {
    let weight = Var::from_tensor(&tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?)?;
    let (x, y) = (tensor(&[1.0, 0.0, 2.0], &[1, 1, 3])?, tensor(&[1.0, 3.0], &[1, 1, 2])?);
    let synapses = Synapses::new(&weight, &x, &y, &y)?;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, CPU);
    let post = || Update::hebbian(y.clone());
    for (update, says) in [
        (Update::hebbian(zeros(&[1, 2, 1])?), ["activity", "(S, P, K), [1, 1, 2]"]),
        (Update::direct(zeros(&[1, 3, 2])?), ["direct update", "(S, K, F), [1, 2, 3]"]),
        (post().decaying(zeros(&[2])?), ["decay", "(S, K), [1, 2]"]),
        (post().decaying(zeros(&[1, 1, 2])?), ["decay", "(S, K), [1, 2]"]),
        (post().mixing(zeros(&[1, 1, 2])?), ["mixing", "(S, K, K), [1, 2, 2]"]),
    ] {
        let rule = |_: &Synapses, _: &mut State| Ok(update.clone());
        refused(synapses.update(&rule), &says);
        refused(synapses.loss(&rule), &says);
    }
    // Any of them may be absent: a decay alone, d_k w_k, and one beside a direct update, in the shape of the weights.
    let decay = tensor(&[0.5, 2.0], &[1, 2])?;
    let direct = tensor(&[1.0; 6], &[2, 3])?;
    let rule =
        |_: &Synapses, _: &mut State| Ok(Update::direct(direct.clone()).decaying(decay.clone()));
    let expected = [0.5, 0.0, -0.5, -7.0, -9.0, -11.0]; // 1 − d_k w
    near("Δw", &synapses.update(&rule)?, &expected, 1e-12)?;
    let gradient = synapses.loss(&rule)?.backward()?.remove(&weight).expect("a gradient");
    near("−∂L", &gradient.neg()?, &expected, 1e-12)?;
    Ok(())
}

/// A learner takes steps of rules with a third factor, and of rules that are chosen when the program runs.
#[test]
fn learners_of_any_rule() -> Result<()> {
    let layer = Layer::from_tensor(&tensor(&[0.5, 0.25], &[1, 2])?, Geometry::Dense)?;
    let steps = Steps::builder(0.5).build([layer.var()?])?;
    let rule: Box<dyn Rule> = Box::new(ModulatedHebb::default());
    let mut learner = Learner::boxed(rule, steps);
    let response = layer.response(&tensor(&[1.0, 2.0], &[1, 2])?)?; // u = 1
    refused(learner.step(&response, response.u()), &["third factor"]);
    let synapses = response.synapses(response.u())?.with_third(&tensor(&[3.0], &[1])?)?;
    learner.step_on(&synapses)?; // w + 0.5·3·1·x
    near("w", layer.weight(), &[2.0, 3.25], 1e-12)
}

/// A rule trains the weights of candle's own layers just as it trains this library's: one unit with
/// Oja's rule turns to the leading direction of its input.
#[test]
fn weights_of_candle_layers() -> Result<()> {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F64, CPU);
    let linear = candle_nn::linear_no_bias(4, 1, vb.pp("linear"))?;
    let conv = candle_nn::conv2d_no_bias(1, 1, 2, Default::default(), vb.pp("conv"))?;
    let x = tensor(&[2.0, -1.0, 0.0, 2.0], &[1, 4])?; // of norm 3
    let image = x.reshape((1, 1, 2, 2))?;
    let mut sgd = SGD::new(varmap.all_vars(), 0.02)?;
    let window = Geometry::Conv2d(Conv2dConfig::default());
    for _ in 0..1000 {
        let one = Response::new(linear.weight(), Geometry::Dense, &x)?;
        let other = Response::new(conv.weight(), window, &image)?;
        let loss = (one.synapses(one.u())?.loss(&Oja)? + other.synapses(other.u())?.loss(&Oja)?)?;
        sgd.backward_step(&loss)?;
    }
    for (name, out) in [("linear", linear.forward(&x)?), ("conv", conv.forward(&image)?)] {
        near(name, &out.abs()?, &[3.0], 1e-9)?; // w = ± x/3
    }
    Ok(())
}

/// For each way to make a layer, its step reaches the `VarMap` under the layer's name.
#[test]
fn a_step_reaches_the_varmap() -> Result<()> {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F64, CPU);
    let half = |_: &[usize]| Init::Const(0.5);
    let window = Conv2dConfig::default();
    let grouped = Conv2dConfig { groups: 2, ..window };
    let given = vb.pp("given").get_with_hints((3, 5), "weight", Init::Const(0.5))?;
    let layers = [
        ("d.weight", dense(5, 3, half, vb.pp("d"))?, vec![2, 5], vec![3, 5]),
        (
            "c.weight",
            conv2d(2, 3, 2, window, half, vb.pp("c"))?,
            vec![2, 2, 4, 4],
            vec![3, 2, 2, 2],
        ),
        (
            "g.weight",
            conv2d(2, 4, 2, grouped, half, vb.pp("g"))?,
            vec![2, 2, 4, 4],
            vec![4, 1, 2, 2],
        ),
        (
            "u.weight",
            locally_connected2d(2, 3, 2, (4, 3), window, half, vb.pp("u"))?,
            vec![2, 2, 4, 3],
            vec![3, 2, 3, 2, 2, 2],
        ),
        ("given.weight", Layer::new(given, Geometry::Dense)?, vec![2, 5], vec![3, 5]),
    ];
    assert_eq!(varmap.all_vars().len(), layers.len());
    for (name, layer, input, shape) in layers {
        assert_eq!(layer.weight().dims(), shape, "{name}");
        let response = layer.response(&Tensor::ones(input, DType::F64, CPU)?)?;
        let loss = response.synapses(response.u())?.loss(&Hebb)?;
        SGD::new(varmap.all_vars(), 0.1)?.backward_step(&loss)?;
        let data = varmap.data().lock().expect("a lock");
        let stored = data[name].flatten_all()?.to_vec1::<f64>()?;
        near(name, layer.weight(), &stored, 0.0)?;
        assert!(stored.iter().all(|&w| w > 0.5), "{name}: {stored:?}");
    }
    let missing = dense(0, 3, half, vb.pp("none"));
    refused(missing, &["[3, 0]", "at least 1"]);
    refused(dense(4, 3, half, vb.pp("d")), &["shape mismatch"]);
    refused(conv2d(3, 4, 2, grouped, half, vb.pp("h")), &["3 input channels", "2 groups"]);
    Ok(())
}

/// `VarMap::save` and `load`, and a file read as a `VarBuilder`.
#[test]
fn weights_are_saved_and_loaded() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("candle-hebbian-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("model.safetensors");
    let normal = |_: &[usize]| Init::Randn { mean: 0.0, stdev: 1.0 };
    let make = |varmap: &VarMap| {
        dense(5, 3, normal, VarBuilder::from_varmap(varmap, DType::F64, CPU).pp("layers.0"))
    };
    let varmap = VarMap::new();
    let layer = make(&varmap)?;
    let response = layer.response(&Tensor::ones((2, 5), DType::F64, CPU)?)?;
    SGD::new(varmap.all_vars(), 0.1)?
        .backward_step(&response.synapses(response.u())?.loss(&Hebb)?)?;
    varmap.save(&file)?;
    let want = layer.weight().flatten_all()?.to_vec1::<f64>()?;
    let mut other = VarMap::new();
    let loaded = make(&other)?;
    other.load(&file)?;
    near("VarMap::load", loaded.weight(), &want, 0.0)?;
    let bytes = std::fs::read(&file)?;
    let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F64, CPU)?;
    let frozen = dense(5, 3, normal, vb.pp("layers.0"))?;
    near("from a file", frozen.weight(), &want, 0.0)?;
    std::fs::remove_dir_all(&folder)?;
    // Weights from a file are not variables: they respond but cannot learn.
    let response = frozen.response(&Tensor::ones((2, 5), DType::F64, CPU)?)?;
    let synapses = response.synapses(response.u())?;
    synapses.update(&Hebb)?;
    refused(synapses.loss(&Hebb), &["[3, 5]", "no variable", "VarMap", "Layer::from_tensor"]);
    refused(frozen.var(), &["[3, 5]", "no variable"]);
    Ok(())
}

/// Like `candle_nn::Linear`, a dense layer takes any number of leading dimensions, an empty batch and views.
#[test]
fn dense_layers_take_leading_dimensions() -> Result<()> {
    let mut rng = Rng::new(3);
    let w = rng.normal(0.0, 1.0, (4, 5), DType::F64, CPU)?;
    let layer = Layer::from_tensor(&w, Geometry::Dense)?;
    let all = rng.normal(0.0, 1.0, (2, 3, 6, 5), DType::F64, CPU)?;
    for x in [
        all.clone(),
        all.narrow(2, 1, 2)?,
        all.transpose(0, 2)?,
        all.get(1)?,
        all.get(1)?.get(2)?,
        all.get(1)?.get(2)?.get(0)?,
        all.narrow(0, 0, 1)?.broadcast_as((7, 3, 6, 5))?,
        all.narrow(0, 0, 0)?,
    ] {
        let want = x.broadcast_mul(&Tensor::ones(5, DType::F64, CPU)?)?; // contiguous values
        let mut shape = x.dims().to_vec();
        shape.pop();
        let rows: usize = shape.iter().product();
        shape.push(4);
        let want = match rows {
            0 => Tensor::zeros(shape.as_slice(), DType::F64, CPU)?,
            _ => want.reshape((rows, 5))?.matmul(&w.t()?)?.reshape(shape.as_slice())?,
        };
        let want = want.flatten_all()?.to_vec1::<f64>()?;
        let (response, name) = (layer.response(&x)?, format!("{:?}", x.dims()));
        assert_eq!(response.output()?.dims(), shape, "{name}");
        near(&name, &response.output()?, &want, 1e-12)?;
        near(&name, &response.fold(&response.rows(&response.output()?)?)?, &want, 1e-12)?;
        assert_eq!(layer.forward(&x)?.dims(), shape, "{name}");
        near(&name, &layer.forward(&x)?, &want, 1e-12)?;
        let gradient = response.synapses(response.u())?.loss(&Hebb)?.backward()?;
        let update = response.synapses(response.u())?.update(&Hebb)?.flatten_all()?;
        let update = update.to_vec1::<f64>()?;
        near(&name, &gradient.get(layer.weight()).unwrap().neg()?, &update, 1e-12)?;
    }
    refused(layer.response(&all.narrow(3, 0, 4)?), &["(…, 5)", "[2, 3, 6, 4]"]);
    Ok(())
}

/// Units that subtract each other's weights: Sanger's rule with `mixing`, and written out as a direct update.
#[test]
fn mixing_is_the_product_taken_off() -> Result<()> {
    let w = tensor(&[0.5, 0.5, 0.5, -0.5], &[2, 2])?;
    let layer = Layer::from_tensor(&w, Geometry::Dense)?;
    let x = tensor(&[1.0, 2.0, 2.0, 0.0], &[2, 2])?;
    let response = layer.response(&x)?;
    let y = response.u().relu()?; // [[1.5, 0], [1, 1]]
    let moments = move |y: &Tensor| -> Result<Tensor> {
        let lower = Tensor::tril2(y.dim(2)?, DType::F64, CPU)?;
        y.transpose(1, 2)?.matmul(y)?.broadcast_mul(&lower)
    };
    let sanger = move |s: &Synapses, _: &mut State| {
        Ok(Update::hebbian(s.post().clone()).mixing(moments(s.post())?))
    };
    let written_out = move |s: &Synapses, _: &mut State| {
        let gained = s.post().transpose(1, 2)?.matmul(s.pre()?)?;
        Ok(Update::direct((gained - moments(s.post())?.matmul(&s.weights()?)?)?))
    };
    // The mean over the two rows, as in Lagani's code: [[.9375, .6875], [.5, 0]].
    let want = [0.9375 * 2.0, 0.6875 * 2.0, 1.0, 0.0];
    let synapses = response.synapses(&y)?;
    near("mixing", &synapses.update(&sanger)?, &want, 1e-12)?;
    near("direct", &synapses.update(&written_out)?, &want, 1e-12)?;
    for loss in [synapses.loss(&sanger)?, synapses.loss(&written_out)?] {
        let gradient = loss.backward()?;
        near("−∂L", &gradient.get(layer.weight()).unwrap().neg()?, &want, 1e-12)?;
    }
    let steps = || SGD::new(vec![layer.var()?], 1.0);
    let learners = [Learner::new(sanger, steps()?), Learner::new(written_out, steps()?)];
    for mut learner in learners {
        layer.var()?.set(&w)?;
        learner.step(&response, &y)?;
        near("step", &(layer.weight() - &w)?, &want, 1e-12)?;
    }
    // The order of the units matters. By hand, with the units exchanged: YᵀY ∘ L is ((1, 0), (1, 3.25)).
    let exchanged = Tensor::cat(&[w.get(1)?.unsqueeze(0)?, w.get(0)?.unsqueeze(0)?], 0)?;
    let response = Layer::from_tensor(&exchanged, Geometry::Dense)?.response(&x)?;
    let y = response.u().relu()?; // [[0, 1.5], [1, 1]]
    let found = response.synapses(&y)?.update(&sanger)?;
    near("exchanged", &found, &[1.5, 0.5, 1.375, 1.875], 1e-12)?;
    // The gradient goes to the weights themselves, so a tensor made from them cannot learn.
    let doubled =
        Response::new(&(layer.weight() * 2.0)?, Geometry::Dense, &tensor(&[1.0, 2.0], &[1, 2])?)?;
    let refusal = Learner::new(Hebb, steps()?).step(&doubled, doubled.u());
    refused(refusal, &["no variable", "[2, 2]"]);
    Ok(())
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Forward-Forward (Hinton 2022): the third factor of a sample is `2(t − p)`, where `p = σ(Σh² − K)` is the probability
/// that it is positive and `t` is 1 if it is. Computed by hand for one positive sample.
#[test]
fn forward_forward_is_a_third_factor() -> Result<()> {
    let x = [1.0, 2.0].map(|x| x / 2.5f64.sqrt()); // divided by its root mean square
    let weight = tensor(&[0.5, 0.5, 1.0, -1.0, -0.25, 1.0], &[3, 2])?;
    let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
    let response = layer.response(&tensor(&x, &[1, 2])?)?;
    let h = response.u().relu()?;
    near("h", &h, &[0.9486833, 0.0, 1.1067972], 1e-7)?;
    let goodness = h.sqr()?.sum_all()?.to_scalar::<f64>()?;
    let p = sigmoid(goodness - 3.0);
    assert!((goodness - 2.125).abs() < 1e-12 && (p - 0.2942150).abs() < 1e-7, "{goodness} {p}");
    let synapses = response.synapses(&h)?.with_third(&tensor(&[2.0 * (1.0 - p)], &[1])?)?;
    let update = synapses.update(&ModulatedHebb::default())?;
    near("row 1", &update.narrow(0, 0, 1)?, &[0.8469420, 1.6938841], 1e-7)?;
    near("row 2", &update.narrow(0, 1, 1)?, &[0.0, 0.0], 0.0)
}

/// The local form of SCFF (Nat. Commun. 16:5978, 2025), for two positive and two negative pairs whose inputs are
/// summed: the third factor of a pair with goodness `G = mean ReLU(u)²` is `(2/K)·∂L/∂G`.
#[test]
fn contrastive_forward_forward_is_a_third_factor() -> Result<()> {
    let (a, b) = (5f64.sqrt(), 1.25f64.sqrt());
    // The last input is that of the bias, 1 in both inputs of a pair.
    let pairs = [[a, 0.0, -a, 2.0], [0.0, a, -a, 2.0], [b, b, -a, 2.0], [b, b, -a, 2.0]];
    let weight = tensor(&[0.5, -0.25, -0.25, 0.1, -0.25, 0.5, -0.5, -0.1], &[2, 4])?;
    let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
    let response = layer.response(&tensor(&pairs.concat(), &[4, 4])?)?;
    let h = response.u().relu()?;
    let goodness = h.sqr()?.mean(2)?.squeeze(0)?.to_vec1::<f64>()?;
    let want = [1.8261068, 2.0927864, 1.2563216, 1.2563216];
    assert!(goodness.iter().zip(want).all(|(g, want)| (g - want).abs() < 1e-7), "{goodness:?}");
    let (low, high, penalty, count) = (0.0, 1.0, 0.0012, 2.0);
    let third: Vec<f64> = goodness
        .iter()
        .enumerate()
        .map(|(at, g)| match at {
            // The norm of the goodness over positions, of which there is one, is the goodness itself.
            0 | 1 => (penalty - sigmoid(low - g)) / count,
            _ => sigmoid(g - high) / count,
        })
        .collect();
    let update = response
        .synapses(&h)?
        .with_third(&tensor(&third, &[4])?)?
        .update(&ModulatedHebb::default())?;
    let of_weights =
        [0.3659887397, 0.6302691969, -0.9962579365, 0.6995840798, 0.5075606071, -1.2071446869];
    near("∂L/∂W", &update.narrow(1, 0, 3)?, &of_weights, 1e-9)?;
    near("∂L/∂b", &update.narrow(1, 3, 1)?, &[0.8910801881, 1.0797030320], 1e-9)
}

#[test]
fn third_factors() -> Result<()> {
    let w = Var::ones((2, 3), DType::F64, CPU)?;
    let x = Tensor::ones((1, 4, 3), DType::F64, CPU)?;
    let y = Tensor::ones((1, 4, 2), DType::F64, CPU)?;
    let synapses = Synapses::new(&w, &x, &y, &y)?;
    refused(synapses.update(&ModulatedHebb::default()), &["third factor", "with_third"]);
    let reward = [1.0, -1.0, 0.5, 2.0];
    for (third, want) in [
        (tensor(&reward, &[4])?, [2.5; 2]),
        (tensor(&reward, &[1, 4])?, [2.5; 2]),
        (tensor(&reward, &[1, 4, 1])?, [2.5; 2]),
        (tensor(&[1.0, 2.0, 0.0, 1.0, 0.0, -1.0, 3.0, 0.5], &[4, 2])?, [4.0, 2.5]),
    ] {
        let update = synapses.clone().with_third(&third)?.update(&ModulatedHebb::default())?;
        let want: Vec<f64> = want.into_iter().flat_map(|sum| [sum; 3]).collect();
        near(&format!("{:?}", third.dims()), &update, &want, 1e-12)?;
    }
    for shape in [&[3][..], &[4, 3], &[2, 4], &[1, 4, 3], &[1, 1, 4, 2]] {
        let third = Tensor::zeros(shape, DType::F64, CPU)?;
        refused(synapses.clone().with_third(&third), &["third factor", "a row"]);
    }
    refused(Synapses::new(&w, &x, &y, &y.narrow(1, 0, 3)?), &["do not fit", "[1, 3, 2]"]);
    Ok(())
}
