//! Hebbian learning with global direction: worked examples in nine digits, of which the second and third were also
//! computed by PyTorch's autograd, what holds for any numbers, and the rule inside a network.

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::feedback::{Learning, Pairing, Source};
use candle_hebbian::ops::composed;
use candle_hebbian::testing::check_gradient;
use candle_hebbian::{
    Bcm, BlockConfig, Competition, Conv2dConfig, Excitation, FeedbackConfig, Geometry,
    GlobalDirection, Hebb, KrotovHopfield, LayerConfig, NoCompetition, Response, Rng, Rule,
    SoftHebb, SoftWta, Stack, Steps, Synapses, WeightDecay, response_by_rule, seeded,
};
use candle_nn::{Optimizer, VarBuilder, VarMap, loss::cross_entropy};
use std::sync::Arc;

const CPU: &Device = &Device::Cpu;

/// Half a unit of the ninth digit, plus rounding errors of intermediate results.
const NINE_DIGITS: f64 = 6e-10;

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

#[track_caller]
fn near(name: &str, got: &Tensor, want: &[f64]) {
    let tolerance = if got.dtype() == DType::F64 { NINE_DIGITS } else { 1e-5 };
    let got = numbers(got).unwrap();
    assert_eq!(got.len(), want.len(), "{name}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{name}[{at}]: {got}, expected {want}");
    }
}

/// Runs `check` with kernels and with candle's ops, in f64 and in f32.
fn each_way(check: impl Fn(DType) -> Result<()>) -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        check(dtype)?;
        composed(|| check(dtype))?;
    }
    Ok(())
}

/// The numbers of the example. Its errors are all of one sign, so that only the sizes show.
#[test]
fn a_dense_layer() -> Result<()> {
    each_way(|dtype| {
        let x = Tensor::new(&[[1f64, -1.0, 0.5], [0.0, 2.0, 1.0]], CPU)?.to_dtype(dtype)?;
        let w = [[0.5, 0.0, -0.5], [-0.25, 0.5, 0.0], [0.0, 0.25, 0.75]];
        let w = Var::from_tensor(&Tensor::new(&w, CPU)?.to_dtype(dtype)?)?;
        let response = Response::new(&w, Geometry::Dense, &x)?;
        near("U", response.u(), &[0.25, -0.75, 0.125, -0.5, 1.0, 1.25]);
        let post = SoftWta { inverse_temperature: 0.65 }.compete(response.u())?;
        let y = [0.409163805, 0.213602236, 0.377233959, 0.147707686, 0.391597773, 0.460694541];
        near("Y", &post, &y);
        let s = (&post * response.u())?.sum(1)?;
        near("s", &s, &[0.028437108, 0.231396096, 0.623022422]);
        let d = response.synapses(&post)?.update(&SoftHebb)?;
        near("max |D|", &d.abs()?.max_all()?.unsqueeze(0)?, &[0.498398891]);
        // The sum over both rows is positive for each input, so G > 0.
        let synapses = response.synapses(&post)?.with_third(&post.ones_like()?)?;
        let update = synapses.update(&GlobalDirection)?;
        let size = [
            [0.792428028, 0.228227702, 0.735371103],
            [0.544646597, 0.910706805, 1.0],
            [0.756891650, 0.779294508, 0.365259049],
        ];
        near("|D̂|", &update.neg()?, size.as_flattened());

        // The G of the example is not a product with these inputs. Three more rows that excite no unit, each with a
        // single input of 1, carry it instead. Of an entry as small as −1e-9 the sign counts in full, and 0 has none.
        let g = [[0.2, -1e-9, 0.0], [-3.0, 0.5, 0.1], [0.0, -0.2, 0.7]];
        let g = Tensor::new(&g, CPU)?.to_dtype(dtype)?;
        let silent = Tensor::zeros((1, 3, 3), dtype, CPU)?;
        let rows = |first: &Tensor, more: &Tensor| Tensor::cat(&[first, more], 1);
        let pre = rows(&x.unsqueeze(0)?, &Tensor::eye(3, dtype, CPU)?.unsqueeze(0)?)?;
        let (u, y) = (rows(response.u(), &silent)?, rows(&post, &silent)?);
        let error = rows(&post.zeros_like()?, &g.t()?.contiguous()?.unsqueeze(0)?)?;
        let synapses = Synapses::new(&w, &pre, &u, &y)?.with_third(&error)?;
        near("G", &synapses.third_product()?, &numbers(&g)?);
        let change = synapses.update(&GlobalDirection)?.neg()?;
        let chain = Steps::builder(0.01).then(WeightDecay { rate: 0.05 });
        chain.build([w.clone()])?.descend(|_| Some(change.clone()))?;
        let after = [
            [0.491825720, 0.002282277, -0.499750000],
            [-0.244428534, 0.490642932, -0.010000000],
            [0.0, 0.257667945, 0.745972410],
        ];
        near("W", &w, after.as_flattened());
        Ok(())
    })
}

#[test]
fn a_convolution() -> Result<()> {
    each_way(|dtype| {
        let x = Tensor::new(&[1f64, 2.0, 0.0, -1.0, 0.0, 1.0, 3.0, -2.0, 1.0], CPU)?;
        let x = x.reshape((1, 1, 3, 3))?.to_dtype(dtype)?;
        let w = Tensor::new(&[0.5f64, -0.5, 0.0, 0.25, -0.25, 0.0, 0.75, 0.5], CPU)?;
        let w = Var::from_tensor(&w.reshape((2, 1, 2, 2))?.to_dtype(dtype)?)?;
        let window = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let response = Response::new(&w, Geometry::Conv2d(window), &x)?;
        assert_eq!(response.u().dims(), [1, 16, 2]);
        near("U", &response.u().get(0)?.get(0)?, &[0.25, 0.5]);
        let post = SoftWta { inverse_temperature: 0.25 }.compete(response.u())?;
        near("y₀", &post.get(0)?.get(0)?.get(0)?.unsqueeze(0)?, &[0.484380084]);
        near("s", &(&post * response.u())?.sum(1)?, &[1.623135158, 3.355475790]);
        let d = response.synapses(&post)?.update(&SoftHebb)?;
        near("max |D|", &d.abs()?.max_all()?.unsqueeze(0)?, &[3.176586199]);
        // Each tap meets every pixel once, and the pixels add up to 5, so G > 0.
        let synapses = response.synapses(&post)?.with_third(&post.ones_like()?)?;
        near("G", &synapses.third_product()?, &[5.0; 8]);
        let size = [
            [0.911535206, 0.829500985, 0.507363223, 0.730126253],
            [0.671076143, 1.0, 0.274417281, 0.187990912],
        ];
        near("|D̂|", &synapses.update(&GlobalDirection)?.neg()?, size.as_flattened());
        Ok(())
    })
}

const SOFT: SoftWta = SoftWta { inverse_temperature: 1.0 };

/// Loss, gradient and step of a network of two units and two classes.
#[test]
fn a_whole_step() -> Result<()> {
    each_way(|dtype| {
        let tensor = |rows: &[[f64; 2]; 2]| Tensor::new(rows, CPU)?.to_dtype(dtype);
        let var = |rows| Var::from_tensor(&tensor(rows)?);
        let x = tensor(&[[1.0, 0.5], [-0.5, 1.5]])?.unsqueeze(0)?;
        let labels = Tensor::new(&[0u32, 1], CPU)?;
        let (w, v) = (var(&[[0.6, -0.2], [0.1, 0.4]])?, var(&[[0.3, -0.4], [-0.1, 0.2]])?);
        let b = Var::from_tensor(&Tensor::new(&[0.05, -0.05], CPU)?.to_dtype(dtype)?)?;
        let loss = |u: &Tensor| -> Result<Tensor> {
            let hidden = u.squeeze(0)?.relu()?;
            cross_entropy(&hidden.matmul(&v.t()?)?.broadcast_add(&b)?, &labels)
        };
        // The true gradient first.
        let before = loss(&x.squeeze(0)?.matmul(&w.t()?)?.unsqueeze(0)?)?;
        near("L", &before.unsqueeze(0)?, &[0.609845629]);
        let grads = before.backward()?;
        let g = [-0.094007190, -0.047003595, 0.207423606, -0.128733073];
        near("G", grads.get(&w).unwrap(), &g);

        // The local part is a sum over the samples, whose entries are not made positive one by one.
        let response = Response::new(&w, Geometry::Dense, &x.squeeze(0)?)?;
        let post = SOFT.compete(response.u())?;
        let d = [0.351215326, 0.661775333, 0.015132464, 1.143237055];
        near("D", &response.synapses(&post)?.update(&SoftHebb)?, &d);

        let respond =
            || response_by_rule(&x, &w, &w, |u| SOFT.compete(u), Arc::new(GlobalDirection));
        let by_rule = loss(&respond()?)?;
        near("L", &by_rule.unsqueeze(0)?, &[0.609845629]);
        let by_rule = by_rule.backward()?;
        let c = [-0.307211287, -0.578860990, 0.013236506, -1.0];
        near("C", by_rule.get(&w).unwrap(), &c);
        for var in [&v, &b] {
            near("unchanged", by_rule.get(var).unwrap(), &numbers(grads.get(var).unwrap())?);
        }
        let chain = Steps::builder(0.01).then(WeightDecay { rate: 0.05 });
        chain.build([w.clone()])?.step(&by_rule)?;
        near("W", &w, &[0.602772113, -0.194111390, 0.099817635, 0.409800000]);
        near("L", &loss(&respond()?)?.unsqueeze(0)?, &[0.608013709]); // with the new W alone
        Steps::builder(0.005).build([v.clone(), b.clone()])?.step(&by_rule)?;
        near("V", &v, &[0.300587545, -0.400256257, -0.100587545, 0.200256257]);
        near("b", &b, &[0.050068210, -0.050068210]);
        Ok(())
    })
}

/// Synapses of random sizes, and the error at their response.
fn draw(seed: u64) -> Result<Synapses> {
    let mut rng = Rng::new(seed);
    let mut size = |most| 1 + rng.below(most);
    let (sites, rows, units, inputs) = (size(3), size(40), size(9), size(20));
    let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, CPU);
    let (x, w) = (normal((sites, rows, inputs))?, normal((sites, units, inputs))?);
    let error = normal((sites, rows, units))?;
    let u = x.matmul(&w.transpose(1, 2)?)?;
    Synapses::new(&w, &x, &u, &SOFT.compete(&u)?)?.with_third(&error)
}

/// No entry is larger than 1, the largest of each site is 1, and to first order a step never increases the loss.
#[test]
fn bounded_and_down() -> Result<()> {
    for seed in 0..50 {
        let synapses = draw(seed)?;
        let update = synapses.update(&GlobalDirection)?;
        let largest = numbers(&update.abs()?.flatten_from(1)?.max(1)?)?;
        assert!(largest.iter().all(|largest| (largest - 1.0).abs() < 1e-12), "{largest:?}");
        let along = numbers(&(&update * synapses.third_product()?)?)?;
        assert!(along.iter().all(|&along| along <= 0.0) && along.iter().sum::<f64>() < 0.0);
    }
    Ok(())
}

/// Neither the scale of the loss nor repeating the batch matters, nor the order of the units; without an error, nothing
/// is learned.
#[test]
fn what_does_not_matter() -> Result<()> {
    for seed in 0..50 {
        let synapses = draw(seed)?;
        let want = numbers(&synapses.update(&GlobalDirection)?)?;
        let times = |by: f64| synapses.clone().with_third(&(synapses.third()? * by)?);
        near("7·L", &times(7.0)?.update(&GlobalDirection)?, &want);
        let none = numbers(&times(0.0)?.update(&GlobalDirection)?)?;
        assert!(none.iter().all(|&none| none == 0.0));

        let twice = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 1);
        let (w, third) = (synapses.weights()?, twice(synapses.third()?)?);
        let (x, u, y) =
            (twice(synapses.pre()?)?, twice(synapses.response())?, twice(synapses.post())?);
        let repeated = Synapses::new(&w, &x, &u, &y)?.with_third(&third)?;
        near("repeated", &repeated.update(&GlobalDirection)?, &want);

        let order: Vec<u32> = (0..synapses.post().dim(2)? as u32).rev().collect();
        let order = Tensor::new(order, CPU)?;
        let turned = |tensor: &Tensor, axis| tensor.contiguous()?.index_select(&order, axis);
        let (u, y) = (turned(synapses.response(), 2)?, turned(synapses.post(), 2)?);
        let (w, third) = (turned(&w, 1)?, turned(synapses.third()?, 2)?);
        let other = Synapses::new(&w, synapses.pre()?, &u, &y)?.with_third(&third)?;
        let want = numbers(&turned(&synapses.update(&GlobalDirection)?, 1)?)?;
        near("another order", &other.update(&GlobalDirection)?, &want);
    }
    Ok(())
}

/// A unit without error keeps its weights, even if its local update is the largest.
#[test]
fn a_dead_unit_learns_nothing() -> Result<()> {
    let mut checked = 0;
    for seed in 0..50 {
        let synapses = draw(seed)?;
        let (sites, _, units) = synapses.post().dims3()?;
        let alive = Tensor::arange(0u32, units as u32, CPU)?.ne(0u32)?.to_dtype(DType::F64)?;
        let third = synapses.third()?.broadcast_mul(&alive)?;
        let whole = synapses.update(&GlobalDirection)?;
        let update = synapses.clone().with_third(&third)?.update(&GlobalDirection)?;
        for site in 0..sites {
            let (update, whole) = (update.get(site)?, whole.get(site)?);
            assert!(numbers(&update.get(0)?)?.iter().all(|&change| change == 0.0));
            if units > 1 {
                let others = |tensor: &Tensor| numbers(&tensor.narrow(0, 1, units - 1)?);
                assert_eq!(others(&update)?, others(&whole)?);
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
    Ok(())
}

/// A NaN in the error gives a NaN in the update, although candle's `sign` of it is 0.
#[test]
fn nan_is_not_swallowed() -> Result<()> {
    let w = Tensor::new(&[[1f64, 2.0], [0.5, -1.0]], CPU)?;
    let x = Tensor::new(&[[[1f64, 1.0]]], CPU)?;
    let u = x.matmul(&w.unsqueeze(0)?.transpose(1, 2)?)?;
    let error = Tensor::new(&[[[f64::NAN, 1.0]]], CPU)?;
    let synapses = Synapses::new(&w, &x, &u, &SOFT.compete(&u)?)?.with_third(&error)?;
    let update = numbers(&synapses.update(&GlobalDirection)?)?;
    assert!(update[0].is_nan() && update[1].is_nan());
    assert!(update[2].is_finite() && update[3].is_finite());
    Ok(())
}

/// The error that is passed on to the rows is the derivative.
#[test]
fn the_error_goes_on() -> Result<()> {
    let mut rng = Rng::new(5);
    let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, CPU);
    let (x, w) = (normal((2, 7, 4))?, Var::from_tensor(&normal((2, 3, 4))?)?);
    check_gradient("response_by_rule", [&x], |[x]| {
        response_by_rule(x, &w, &w, |u| SOFT.compete(u), Arc::new(GlobalDirection))
    })
}

fn conv(units: usize) -> BlockConfig<SoftWta> {
    let window = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    BlockConfig {
        layer: Some(LayerConfig::Conv2d { units, kernel: 3, window }),
        competition: Some(SOFT),
        ..BlockConfig::default()
    }
}

/// The middle one of three blocks learns by the rule: the other two keep the gradients that they have without it, and
/// its gradient has its own signs with the sizes of SoftHebb's update. Evaluation does not change.
#[test]
fn one_block_of_a_stack() -> Result<()> {
    let images = Rng::new(1).normal(0.0, 1.0, (3, 2, 6, 6), DType::F64, CPU)?;
    let stack = || {
        let vb = seeded(&VarMap::new(), &Rng::new(2), DType::F64, CPU);
        Stack::new(vec![conv(4), conv(5), conv(2)], &[2, 6, 6], vb)
    };
    let (plain, mut by_rule) = (stack()?, stack()?);
    by_rule.blocks_mut()[1].set_rule(Arc::new(GlobalDirection))?;
    let gradients = |stack: &Stack<SoftWta>| -> Result<Vec<Tensor>> {
        let out = stack.forward_train(&images, &mut Rng::new(3))?;
        let grads = out.sqr()?.sum_all()?.backward()?;
        let of = |at: usize| Ok(grads.get(stack.blocks()[at].layer()?.weight()).unwrap().clone());
        (0..3).map(of).collect()
    };
    let (want, found) = (gradients(&plain)?, gradients(&by_rule)?);
    let relative = |found: &Tensor, want: &Tensor| -> Result<()> {
        let largest = want.abs()?.max_all()?.to_scalar::<f64>()?;
        near("gradient", &(found / largest)?, &numbers(&(want / largest)?)?);
        Ok(())
    };
    relative(&found[0], &want[0])?;
    relative(&found[2], &want[2])?;
    near("sign", &found[1].sign()?, &numbers(&want[1].sign()?)?);
    let below = plain.features(&images, 1)?;
    let (response, activity) = plain.blocks()[1].respond(&below, true)?;
    let local = response.synapses(&activity.post)?.update(&candle_hebbian::SoftHebb)?.abs()?;
    let largest = local.max_all()?.to_scalar::<f64>()?;
    near("size", &found[1].abs()?, &numbers(&(local / largest)?)?);

    near("evaluation", &by_rule.forward(&images)?, &numbers(&plain.forward(&images)?)?);
    let grads = by_rule.forward(&images)?.sqr()?.sum_all()?.backward()?;
    relative(grads.get(by_rule.blocks()[1].layer()?.weight()).unwrap(), &want[1])
}

#[test]
fn a_block_that_cannot_learn_by_a_rule() -> Result<()> {
    let vb = seeded(&VarMap::new(), &Rng::new(2), DType::F64, CPU);
    let pool: BlockConfig<NoCompetition> = BlockConfig::default();
    let triangle = BlockConfig {
        layer: Some(LayerConfig::Dense { units: 2 }),
        excitation: Excitation::Triangle {},
        ..BlockConfig::default()
    };
    let mut stack = Stack::new(vec![pool, triangle], &[3], vb)?;
    for (at, says) in [(0, "without a layer"), (1, "Triangle")] {
        let error = stack.blocks_mut()[at].set_rule(Arc::new(GlobalDirection)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    // Rules that read another response, or whose state would be lost.
    let mut stack = Stack::new(vec![conv(2)], &[1, 4, 4], VarBuilder::zeros(DType::F64, CPU))?;
    let rules: [(Arc<dyn Rule>, &str); 2] = [
        (Arc::new(KrotovHopfield { norm: 3.0 }), "the rule transforms the response"),
        (Arc::new(Bcm::default()), "'threshold'"),
    ];
    for (rule, says) in rules {
        let error = stack.blocks_mut()[0].set_rule(rule).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    Ok(())
}

/// The largest update of a layer could be that of a connection which the layer lacks. So it is refused, whether the
/// rule or the missing connections come first.
#[test]
fn a_thinned_layer_learns_by_no_rule() -> Result<()> {
    let vb = seeded(&VarMap::new(), &Rng::new(2), DType::F64, CPU);
    let mut stack = Stack::new(vec![conv(2)], &[1, 4, 4], vb)?;
    let block = &mut stack.blocks_mut()[0];
    let whole = block.feedback_layer()?.clone();
    let thinned = whole.clone().thinned(0.5, Pairing::Mutual, &mut Rng::new(3))?;
    block.set_layer(thinned.clone())?;
    let error = block.set_rule(Arc::new(GlobalDirection)).unwrap_err().to_string();
    assert!(error.contains("thinned") && error.contains("all its connections"), "{error}");
    block.set_layer(whole)?;
    block.set_rule(Arc::new(GlobalDirection))?;
    let error = block.set_layer(thinned).unwrap_err().to_string();
    assert!(error.contains("thinned") && error.contains("all its connections"), "{error}");
    Ok(())
}

/// The error goes back through the feedback weights: 2·(3, −1) to the rows, and e·R from block to block.
#[test]
fn feedback_weights_carry_the_error() -> Result<()> {
    let x = Var::new(&[[[1f64, 2.0]]], CPU)?;
    let (w, r) = (Var::new(&[[0.5f64, 0.25]], CPU)?, Tensor::new(&[[3f64, -1.0]], CPU)?);
    let u = response_by_rule(&x, &w, &r, |u| Ok(u.clone()), Arc::new(Hebb))?;
    let grads = (u * 2.0)?.sum_all()?.backward()?;
    near("∂L/∂x", grads.get(&x).unwrap(), &[6.0, -2.0]);

    let learning = Learning::LikeWeights { rate: 1.0 };
    let feedback = FeedbackConfig { source: Source::Own, learning };
    let dense = |units| BlockConfig::<NoCompetition> {
        layer: Some(LayerConfig::Dense { units }),
        ..BlockConfig::default()
    };
    let blocks = vec![dense(4), BlockConfig { feedback, ..dense(3) }];
    let vb = seeded(&VarMap::new(), &Rng::new(2), DType::F64, CPU);
    let mut stack = Stack::new(blocks, &[5], vb)?;
    stack.blocks_mut()[1].set_rule(Arc::new(Hebb))?;
    let normal = |shape| Rng::new(6).normal(0.0, 1.0, shape, DType::F64, CPU);
    let (x, e) = (normal((7, 5))?, normal((7, 3))?);
    let out = stack.forward_train(&x, &mut Rng::new(0))?;
    let grads = (out * &e)?.sum_all()?.backward()?;
    let r = stack.blocks()[1].feedback_layer()?.feedback().expect("R").detach();
    let want = e.matmul(&r)?.t()?.matmul(&x)?;
    near("G", grads.get(stack.blocks()[0].layer()?.weight()).unwrap(), &numbers(&want)?);
    Ok(())
}

/// A rule leaves the forward pass of a layer of any geometry as it is: of groups, and of weights for each position.
#[test]
fn a_rule_leaves_the_forward_pass_alone() -> Result<()> {
    let grouped = Conv2dConfig { groups: 2, padding: 1, ..Conv2dConfig::default() };
    let alone = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    for layer in [
        LayerConfig::Conv2d { units: 4, kernel: 3, window: grouped },
        LayerConfig::LocallyConnected2d { units: 4, kernel: 3, window: alone },
        LayerConfig::Dense { units: 4 },
    ] {
        let block = BlockConfig::<NoCompetition> { layer: Some(layer), ..BlockConfig::default() };
        let vb = seeded(&VarMap::new(), &Rng::new(3), DType::F64, CPU);
        let mut stack = Stack::new(vec![block], &[2, 5, 6], vb)?;
        let x = Rng::new(4).normal(0.0, 1.0, (3, 2, 5, 6), DType::F64, CPU)?;
        let want = stack.forward_train(&x, &mut Rng::new(0))?;
        stack.blocks_mut()[0].set_rule(Arc::new(Hebb))?;
        let found = stack.forward_train(&x, &mut Rng::new(0))?;
        assert_eq!(found.dims(), want.dims());
        near("output", &found, &numbers(&want)?);
    }
    Ok(())
}
