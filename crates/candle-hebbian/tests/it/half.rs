//! Half precision: what is summed over rows is summed in f32, and rounded once.

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::feedback::{Learning, Source};
use candle_hebbian::{
    Activation, Bcm, BlockConfig, FeedbackConfig, FeedbackLayer, Geometry, Hebb, HingeHebb, KWta,
    KrotovHopfield, Layer, LayerConfig, Oja, Response, Rng, Rule, SoftHebb, Stack, State, Synapses,
    Update, direct_feedback, response_by_rule, seeded,
};
use candle_nn::VarMap;
use std::sync::Arc;

const CPU: &Device = &Device::Cpu;
const HALVES: [DType; 2] = [DType::F16, DType::BF16];

fn filled(value: f64, shape: &[usize], dtype: DType) -> Result<Tensor> {
    (Tensor::ones(shape, DType::F64, CPU)? * value)?.to_dtype(dtype)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// With all fields 0, no margin is met: `1 + μ` for each of thousands of samples.
#[test]
fn the_mean_hinge_loss_of_many_samples() -> Result<()> {
    for dtype in HALVES {
        for samples in [64, 4096, 30_000] {
            let fields = filled(0.0, &[samples, 2], dtype)?;
            let labels = Tensor::zeros(samples, DType::U32, CPU)?;
            let loss = HingeHebb::new(1.0)?.loss(&fields, &labels)?;
            assert_eq!((loss.dtype(), numbers(&loss)?), (dtype, vec![2.0]), "{samples}");
        }
    }
    Ok(())
}

/// With many classes and all fields 0, the loss is `1 + μ` still, and the gradient at a class that is not the label is
/// `μ/(C−1)`, rounded once.
#[test]
fn the_hinge_loss_of_many_classes() -> Result<()> {
    for (dtype, relative) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
        for classes in [100, 1000] {
            let fields = Var::from_tensor(&filled(0.0, &[1, classes], dtype)?)?;
            let loss = HingeHebb::new(1.0)?.loss(&fields, &Tensor::zeros(1, DType::U32, CPU)?)?;
            let (found, grads) = (numbers(&loss)?[0], loss.backward()?);
            assert!((found - 2.0).abs() <= 2.0 * relative, "{dtype:?}, {classes}: {found}");
            let gradient = numbers(grads.get(&fields).expect("a gradient"))?;
            let each = 1.0 / (classes - 1) as f64;
            assert_eq!(gradient[0], -1.0);
            let near = |found: &f64| (found - each).abs() <= each * relative;
            assert!(gradient[1..].iter().all(near), "{dtype:?}, {classes}: {}", gradient[1]);
        }
    }
    Ok(())
}

/// For a loss that is scaled by 1,024, the gradient of one of 1,000 samples at a class of weight `μ = 2⁻¹⁰` is 0.001.
/// Without the scale it would be 16.4 times the smallest number of f16.
#[test]
fn the_gradient_of_a_scaled_hinge_loss() -> Result<()> {
    for (dtype, relative) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
        let fields = Var::from_tensor(&filled(0.0, &[1000, 2], dtype)?)?;
        let labels = Tensor::zeros(1000, DType::U32, CPU)?;
        let loss = HingeHebb::new(2f64.powi(-10))?.loss(&fields, &labels)?;
        let grads = (loss * 1024.0)?.backward()?;
        for pair in numbers(grads.get(&fields).expect("a gradient"))?.chunks(2) {
            assert!((pair[0] + 1.024).abs() <= 1.024 * relative, "{dtype:?}: {}", pair[0]);
            assert!((pair[1] - 0.001).abs() <= 0.001 * relative, "{dtype:?}: {}", pair[1]);
        }
    }
    Ok(())
}

/// With `W = 1` and noise of ones, the mean of `h xᵀ` is 1.
#[test]
fn a_mirror_sees_many_samples() -> Result<()> {
    for dtype in HALVES {
        let mirror =
            FeedbackConfig { source: Source::Own, learning: Learning::Mirror { rate: 1.0 } };
        let (w, r) = (filled(1.0, &[1, 1], dtype)?, filled(0.0, &[1, 1], dtype)?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, mirror)?;
        layer.mirror(&filled(1.0, &[30_000, 1], dtype)?)?;
        assert_eq!(numbers(layer.feedback().expect("R"))?, [1.0], "{dtype:?}");
    }
    Ok(())
}

/// A softmax over 2,048 equal values, whose share is a power of 2; and of no rows.
#[test]
fn a_softmax_over_many_units() -> Result<()> {
    for dtype in HALVES {
        let config: BlockConfig<KWta> = BlockConfig {
            layer: Some(LayerConfig::Dense { units: 2048 }),
            activation: Activation::Softmax { scale: 1.0 },
            ..Default::default()
        };
        let varmap = VarMap::new();
        let stack = Stack::new(vec![config], &[3], seeded(&varmap, &Rng::new(0), dtype, CPU))?;
        let y = stack.forward(&filled(0.0, &[2, 3], dtype)?)?;
        assert!(numbers(&y)?.iter().all(|&share| share == 1.0 / 2048.0), "{dtype:?}");
        assert_eq!(stack.forward(&filled(0.0, &[0, 3], dtype)?)?.dims(), [0, 2048]);
    }
    Ok(())
}

/// At `w = 1`, `x = u = y = 2`, each row's change is `y(x − u·w) = 0`. The decay `Σ y²` of 30,000 rows is beyond f16.
#[test]
fn a_fixed_point_stays_where_many_rows_decay() -> Result<()> {
    for dtype in HALVES {
        let layer = Layer::from_tensor(&filled(1.0, &[1, 1], dtype)?, Geometry::Dense)?;
        let rows = filled(2.0, &[1, 30_000, 1], dtype)?;
        let synapses = Synapses::new(layer.weight(), &rows, &rows, &rows)?;
        for rule in [&Oja as &dyn Rule, &SoftHebb] {
            let mut state = State::default();
            assert_eq!(numbers(&synapses.update_with(rule, &mut state)?)?, [0.0], "{dtype:?}");
            let grads = synapses.loss_with(rule, &mut state)?.backward()?;
            assert_eq!(
                numbers(grads.get(layer.weight()).expect("a gradient"))?,
                [0.0],
                "{dtype:?}"
            );
        }
    }
    Ok(())
}

/// `θ = 0.7·1 + 0.3·4 = 1.9`, and 30,000 rows of `y(y − θ)x = 2·0.1·1`. A threshold that moves slowly does move.
#[test]
fn the_threshold_of_bcm_is_kept_in_f32() -> Result<()> {
    for dtype in HALVES {
        let w = filled(1.0, &[1, 1, 1], dtype)?;
        let (x, y) = (filled(1.0, &[1, 30_000, 1], dtype)?, filled(2.0, &[1, 30_000, 1], dtype)?);
        let mut state = State::default();
        let update = Synapses::new(&w, &x, &y, &y)?.update_with(&Bcm::default(), &mut state)?;
        assert_eq!(update.dtype(), dtype);
        assert!((numbers(&update)?[0] / 6000.0 - 1.0).abs() < 4e-3, "{update}");
        assert!((numbers(state.get("threshold").expect("θ"))?[0] - 1.9).abs() < 1e-5);

        let (x, y) = (filled(1.0, &[1, 1, 1], dtype)?, filled(1.5, &[1, 1, 1], dtype)?);
        let (rule, mut state) = (Bcm { rate: 0.001, threshold: 1.0 }, State::default());
        for _ in 0..1000 {
            Synapses::new(&w, &x, &y, &y)?.update_with(&rule, &mut state)?;
        }
        let want = 2.25 - 1.25 * 0.999f64.powi(1000);
        assert!((numbers(state.get("threshold").expect("θ"))?[0] - want).abs() < 1e-4);
    }
    Ok(())
}

/// `Δw = y·x − M·w` with `y = 3`, `x = 2`, `M = 4`, `w = 0.5`: 4; and its loss, which has terms of two kinds.
#[test]
fn an_update_of_two_kinds_of_terms() -> Result<()> {
    struct Mixed;
    impl Rule for Mixed {
        fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
            let post = synapses.post();
            let mixing = (Tensor::ones((1, 1, 1), post.dtype(), post.device())? * 4.0)?;
            Ok(Update::hebbian(post.clone()).mixing(mixing))
        }
    }
    for dtype in HALVES {
        let layer = Layer::from_tensor(&filled(0.5, &[1, 1], dtype)?, Geometry::Dense)?;
        let [x, y] = [2.0, 3.0].map(|value| filled(value, &[1, 1, 1], dtype));
        let (x, y) = (x?, y?);
        let synapses = Synapses::new(layer.weight(), &x, &y, &y)?;
        assert_eq!(numbers(&synapses.update(&Mixed)?)?, [4.0], "{dtype:?}");
        let grads = synapses.loss(&Mixed)?.backward()?;
        let gradient = grads.get(layer.weight()).expect("a gradient");
        assert_eq!((gradient.dtype(), numbers(gradient)?), (dtype, vec![-4.0]));
    }
    Ok(())
}

/// The squares of these norms are beyond f16.
#[test]
fn radii_whose_squares_are_out_of_range() -> Result<()> {
    for radius in [300.0, 1.0 / 8192.0] {
        let weight = filled(radius, &[1, 1], DType::F16)?;
        let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
        assert_eq!(numbers(&layer.radii()?)?, numbers(&weight)?, "{radius}");
    }
    Ok(())
}

/// `∂L/∂x = Σ_k δ_k w_k` over so many units that neither type could count them one by one; `Δw = Σ y x` of two rows
/// with `y = u = 3`.
#[test]
fn the_error_of_many_units_that_learn_by_a_rule() -> Result<()> {
    for (dtype, units) in [(DType::F16, 4096), (DType::BF16, 512)] {
        let x = Var::from_tensor(&filled(1.0, &[1, 2, 3], dtype)?)?;
        let w = Var::from_tensor(&filled(1.0, &[units, 3], dtype)?)?;
        let u = response_by_rule(&x, &w, &w, |u| Ok(u.clone()), Arc::new(Hebb))?;
        let grads = u.backward()?; // δ = 1
        let gradient = |of: &Var| numbers(grads.get(of).expect("a gradient"));
        assert_eq!(gradient(&x)?, vec![units as f64; 6], "{dtype:?}");
        assert_eq!(gradient(&w)?, vec![-6.0; 3 * units], "{dtype:?}");
    }
    Ok(())
}

/// `e·B` of ones.
#[test]
fn direct_feedback_of_many_outputs() -> Result<()> {
    for (dtype, outputs) in [(DType::F16, 4096), (DType::BF16, 512)] {
        let hidden = Var::from_tensor(&filled(0.0, &[2, 3], dtype)?)?;
        let output = filled(0.0, &[2, outputs], dtype)?;
        let output = direct_feedback(&output, &hidden, &filled(1.0, &[outputs, 3], dtype)?)?;
        let grads = output.backward()?;
        let gradient = grads.get(&hidden).expect("a gradient");
        assert_eq!((gradient.dtype(), numbers(gradient)?), (dtype, vec![outputs as f64; 6]));
    }
    Ok(())
}

/// `Q = Σ w²·x` of many inputs; and `(2⁻¹⁰)³·2¹⁰`, where the power is out of the range of f16 and its product is not.
#[test]
fn the_response_of_krotov_and_hopfield() -> Result<()> {
    for (dtype, inputs) in [(DType::F16, 4096), (DType::BF16, 512)] {
        for (inputs, x, w, norm, want) in
            [(inputs, 1.0, 1.0, 3.0, inputs as f64), (1, 1024.0, 1.0 / 1024.0, 4.0, 2f64.powi(-20))]
        {
            let (x, w) = (filled(x, &[1, inputs], dtype)?, filled(w, &[1, inputs], dtype)?);
            let linear = Response::new(&w, Geometry::Dense, &x)?;
            let response = KrotovHopfield { norm }.response(linear)?;
            assert_eq!(response.u().dtype(), dtype);
            assert_eq!(numbers(response.u())?, [want], "{dtype:?}, p = {norm}");
        }
    }
    Ok(())
}
