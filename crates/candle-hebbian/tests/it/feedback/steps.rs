//! The definition of a step of feedback weights holds under each optimiser, or the optimiser is refused.

use super::momentum::{self, Momentum};
use super::training::{Net, batch};
use super::*;
use candle::Module;
use candle_hebbian::{
    Decoupled, LargestEntry, LinearDecay, NormDependent, PartConfig, StepsConfig, WeightDecay,
    WithFeedbackConfig, direct_feedback,
};
use candle_nn::{AdamW, Init, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap};

fn adam(lr: f64, weight_decay: f64) -> ParamsAdamW {
    ParamsAdamW { lr, weight_decay, ..Default::default() }
}

fn momentum(learning_rate: f64, weight_decay: f64) -> momentum::Config {
    momentum::Config { learning_rate, mu: 0.9, weight_decay, in_gradient: false }
}

const KP: FeedbackConfig = FeedbackConfig { source: Source::Own, learning: Learning::KolenPollack };

fn like_weights(rate: f64) -> FeedbackConfig {
    FeedbackConfig { source: Source::Own, learning: Learning::LikeWeights { rate } }
}

/// An optimiser of these layers.
fn around<O: Decoupled>(layers: &[FeedbackLayer], inner: O::Config) -> Result<WithFeedback<O>>
where
    O::Config: Clone,
{
    let vars = layers.iter().map(|layer| layer.var()).collect::<Result<_>>()?;
    WithFeedback::new(vars, WithFeedbackConfig { layers: layers.to_vec(), inner })
}

/// One weight of 1 with a feedback weight of −1 that get the gradients 1, −½ and ¼ at `η = 0.1`.
mod table {
    use super::*;

    /// `(W, R)` after each step.
    fn run<O: Decoupled>(config: FeedbackConfig, inner: O::Config) -> Result<Vec<(f64, f64)>>
    where
        O::Config: Clone,
    {
        let (w, r) = (tensor(&[1.0], &[1, 1])?, tensor(&[-1.0], &[1, 1])?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config)?;
        let mut optimizer = around::<O>(std::slice::from_ref(&layer), inner)?;
        let one = tensor(&[1.0], &[1, 1])?;
        let step = |grad: f64| {
            optimizer.backward_step(&(layer.forward(&one)? * grad)?.sum_all()?)?;
            Ok((flat(layer.weight())?[0], flat(layer.feedback().expect("R"))?[0]))
        };
        [1.0, -0.5, 0.25].into_iter().map(step).collect()
    }

    fn check(
        name: &str,
        steps: &[(f64, f64)],
        (w, r): (f64, f64),
        invariant: impl Fn(f64, f64) -> f64,
        wanted: [f64; 3],
    ) {
        let last = steps[2];
        assert!((last.0 - w).abs() < 1e-9, "{name}: W {}, expected {w}", last.0);
        assert!((last.1 - r).abs() < 1e-9, "{name}: R {}, expected {r}", last.1);
        for ((w, r), wanted) in steps.iter().zip(wanted) {
            let found = invariant(*w, *r);
            assert!((found - wanted).abs() < 1e-12, "{name}: {found}, expected {wanted}");
        }
    }

    #[test]
    fn adam_updated() -> Result<()> {
        let steps = run::<AdamW>(like_weights(1.0), adam(0.1, 0.0))?;
        check("Adam", &steps, (0.8393233831, -1.1606766169), |w, r| w - r, [2.0; 3]);
        Ok(())
    }

    /// `R` moves by a quarter of Adam's step for `G`, not by Adam's step for `¼G`.
    #[test]
    fn adam_partial() -> Result<()> {
        let steps = run::<AdamW>(like_weights(0.25), adam(0.1, 0.0))?;
        let r = -1.0 + 0.25 * (0.8393233831 - 1.0);
        check("ε = ¼", &steps, (0.8393233831, r), |w, r| r - 0.25 * w, [-1.25; 3]);
        Ok(())
    }

    #[test]
    fn adamw_kolen_pollack() -> Result<()> {
        let steps = run::<AdamW>(KP, adam(0.1, 0.1))?;
        let (w, r) = (0.8118787201, -1.1287192799);
        check("AdamW", &steps, (w, r), |w, r| w - r, [1.98, 1.9602, 1.940598]);
        Ok(())
    }

    #[test]
    fn adamw_fixed() -> Result<()> {
        let fixed = FeedbackConfig { source: Source::Own, learning: Learning::Fixed };
        let steps = run::<AdamW>(fixed, adam(0.1, 0.1))?;
        assert!(steps.iter().all(|&(_, r)| r == -1.0));
        assert!((steps[2].0 - 0.8118787201).abs() < 1e-9);
        Ok(())
    }

    /// `v` is 1, 0.4, 0.61: `W` is 0.9, 0.86, 0.799, and `R` the same less 2; with a decay of λ = 0.5
    /// `W` is 0.85, 0.7675, 0.668125 and `R` is −1.05, −1.0375, −1.046625.
    #[test]
    fn momentum_by_hand() -> Result<()> {
        let steps = run::<Momentum>(like_weights(1.0), momentum(0.1, 0.0))?;
        check("momentum", &steps, (0.799, -1.201), |w, r| w - r, [2.0; 3]);
        let steps = run::<Momentum>(like_weights(0.5), momentum(0.1, 0.0))?;
        check("half", &steps, (0.799, -1.1005), |w, r| r - 0.5 * w, [-1.5; 3]);
        let steps = run::<Momentum>(KP, momentum(0.1, 0.5))?;
        let wanted = [1.9, 1.805, 1.71475];
        check("momentum, KP", &steps, (0.668125, -1.046625), |w, r| w - r, wanted);
        Ok(())
    }
}

/// `W` and `R` as two variables of one optimiser, each with a gradient of its own, for the layer of `table`: what
/// happens if a decay, or the rate of the feedback weights, is inside the gradient.
mod inside_the_gradient {
    use super::*;

    /// `(W, R)` after each step with these gradients, to which the decay `λ` adds `λW` and `λR`.
    fn run<O: Optimizer>(
        config: FeedbackConfig,
        inner: O::Config,
        decay: f64,
        gradients: &[f64],
    ) -> Result<Vec<(f64, f64)>> {
        let (w, r) = (tensor(&[1.0], &[1, 1])?, tensor(&[-1.0], &[1, 1])?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config)?;
        let (w, r) = (layer.var()?, layer.feedback_var()?.expect("R"));
        let mut optimizer = O::new(vec![w.clone(), r.clone()], inner)?;
        let one = tensor(&[1.0], &[1, 1])?;
        let mut step = |grad: f64| {
            let mut grads = (layer.forward(&one)? * grad)?.sum_all()?.backward()?;
            let of_feedback = layer.feedback_gradient(&grads)?.expect("a gradient");
            let of_weights = gradient(&grads, &w);
            grads.insert(&w, (of_weights + (w.as_detached_tensor() * decay)?)?);
            grads.insert(&r, (of_feedback + (r.as_detached_tensor() * decay)?)?);
            optimizer.step(&grads)?;
            Ok((flat(&w)?[0], flat(&r)?[0]))
        };
        gradients.iter().map(|&grad| step(grad)).collect()
    }

    /// Under momentum, `D = W − R` follows `D(t+1) = (1 + μ − ηλ)·D(t) − μ·D(t−1)`, whatever the gradients are: here,
    /// with `ηλ = 0.05` above `(1 − √μ)² = 0.0026`, it changes its sign in the eighth step.
    #[test]
    fn momentum() -> Result<()> {
        let inner = momentum::Config { learning_rate: 0.1, mu: 0.9, ..Default::default() };
        let in_gradient = momentum::Config { weight_decay: 0.5, in_gradient: true, ..inner };
        let gradients = [1.0, -0.5, 0.25, 2.0, -3.0, 0.125, -1.0, 0.75];
        let left = [
            0.95,
            0.8575,
            0.731375,
            0.58129375,
            0.4171559375,
            0.2485741094,
            0.0844217586,
            -0.067536445,
        ];
        for (inner, decay) in [(inner, 0.5), (in_gradient, 0.0)] {
            let steps = run::<Momentum>(KP, inner, decay, &gradients)?;
            for ((w, r), left) in steps.iter().zip(left) {
                let found = (w - r) / 2.0;
                assert!((found - left).abs() < 6e-10, "{found}, expected {left}");
            }
        }
        Ok(())
    }

    /// Adam divides by the size of a gradient that is not the same for `W` and `R`, so `D` is none of 1.98, 1.9602 and
    /// 1.940598.
    #[test]
    fn adam_with_decay() -> Result<()> {
        let steps = run::<AdamW>(KP, adam(0.1, 0.0), 0.1, &[1.0, -0.5, 0.25])?;
        let (w, r) = steps[2];
        assert!((w - 0.8182785085).abs() < 1e-9 && (r + 1.1322794836).abs() < 1e-9, "{w} {r}");
        for ((w, r), apart) in steps.iter().zip([2.0, 1.9769, 1.9506]) {
            assert!((w - r - apart).abs() < 6e-5, "{}, expected {apart}", w - r);
        }
        Ok(())
    }

    /// Adam divides a quarter of the gradient by its own size: `R` takes full steps, and `R − ¼W` moves from −1.25.
    #[test]
    fn adam_with_a_rate() -> Result<()> {
        let steps = run::<AdamW>(like_weights(0.25), adam(0.1, 0.0), 0.0, &[1.0, -0.5, 0.25])?;
        let (w, r) = steps[2];
        assert!((w - 0.8393233831).abs() < 1e-9 && (r + 1.1606766114).abs() < 1e-9, "{w} {r}");
        assert!((r - 0.25 * w + 1.3705).abs() < 6e-5, "{}", r - 0.25 * w);
        Ok(())
    }
}

/// The largest absolute difference where `mask` is 1.
fn largest(a: &Tensor, b: &Tensor, mask: Option<&Tensor>) -> Result<f64> {
    let difference = (a - b)?.abs()?;
    let difference = mask.map_or(Ok(difference.clone()), |mask| &difference * mask)?;
    crate::largest::largest(&difference)
}

/// Checks that `R − εW` is shrunk by `keep` at each step, over `steps` steps of a network with convolutions, with all
/// connections and with only some.
fn invariant<O: Decoupled>(
    config: FeedbackConfig,
    inner: O::Config,
    (steps, keep): (u64, f64),
    (dtype, allowed): (DType, f64),
) -> Result<()>
where
    O::Config: Clone,
{
    for thin in [false, true] {
        let mut net = Net::with(config, dtype)?;
        if thin {
            net = net.thinned(0.6)?;
        }
        let rate = config.rate().expect("R learns");
        let apart = |layer: &FeedbackLayer| layer.feedback().expect("R") - (layer.weight() * rate)?;
        let copy = |layer: &FeedbackLayer| layer.weight().copy();
        let before = net.layers.iter().map(apart).collect::<Result<Vec<_>>>()?;
        let start = net.layers.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let mut optimizer = around::<O>(&net.layers, inner.clone())?;
        for step in 0..steps {
            let (x, labels) = batch(step, dtype)?;
            optimizer.backward_step(&net.loss(&x, &labels)?)?;
        }
        let left = keep.powi(steps as i32);
        for ((layer, before), start) in net.layers.iter().zip(before).zip(start) {
            // Where only one of `W` and `R` has a connection, there is no invariant.
            let both = match layer.masks() {
                (Some(w), Some(r)) => Some((w * r)?),
                _ => None,
            };
            let off = largest(&apart(layer)?, &(before.detach() * left)?, both.as_ref())?;
            assert!(off < allowed, "{config:?} {dtype:?} {:?}: {off:e}", layer.weight().dims());
            let moved = largest(layer.weight(), &(start * left)?, None)?;
            assert!(moved > 1e-2, "{config:?} {:?}: {moved}", layer.weight().dims());
        }
    }
    Ok(())
}

#[test]
fn invariant_of_descent() -> Result<()> {
    invariant::<SGD>(like_weights(1.0), 0.1, (3000, 1.0), (DType::F32, 5e-6))?;
    invariant::<SGD>(like_weights(0.3), 0.1, (300, 1.0), (DType::F64, 1e-13))
}

#[test]
fn invariant_of_momentum() -> Result<()> {
    for rate in [0.3, 1.0] {
        let config = like_weights(rate);
        invariant::<Momentum>(config, momentum(0.01, 0.0), (1000, 1.0), (DType::F32, 5e-6))?;
        invariant::<Momentum>(config, momentum(0.01, 0.0), (300, 1.0), (DType::F64, 1e-13))?;
    }
    Ok(())
}

#[test]
fn invariant_of_adam() -> Result<()> {
    for rate in [0.3, 1.0] {
        let config = like_weights(rate);
        invariant::<AdamW>(config, adam(1e-3, 0.0), (1000, 1.0), (DType::F32, 5e-6))?;
        invariant::<AdamW>(config, adam(1e-3, 0.0), (300, 1.0), (DType::F64, 1e-13))?;
    }
    Ok(())
}

/// `W − R` shrinks by `1 − ηλ` a step.
#[test]
fn kolen_pollack_converges() -> Result<()> {
    let plain = momentum::Config { mu: 0.0, ..momentum(0.1, 1e-3) };
    invariant::<Momentum>(KP, plain, (3000, 1.0 - 1e-4), (DType::F32, 5e-5))?;
    invariant::<Momentum>(KP, momentum(0.01, 0.01), (300, 1.0 - 1e-4), (DType::F64, 1e-13))?;
    invariant::<AdamW>(KP, adam(1e-3, 0.1), (1000, 1.0 - 1e-4), (DType::F32, 5e-5))?;
    invariant::<AdamW>(KP, adam(1e-3, 0.5), (300, 1.0 - 5e-4), (DType::F64, 1e-13))
}

fn steps(learning_rate: f64, parts: &[PartConfig]) -> StepsConfig {
    StepsConfig { learning_rate, parts: parts.to_vec() }
}

/// Chains of parts: with a decay, and divided by the largest entry of the product.
#[test]
fn invariant_of_steps() -> Result<()> {
    let decay = PartConfig::WeightDecay(WeightDecay { rate: 1e-3 });
    invariant::<Steps>(KP, steps(0.1, &[decay]), (1000, 1.0 - 1e-4), (DType::F32, 5e-5))?;
    let largest = PartConfig::LargestEntry {};
    let both = steps(1e-3, &[largest, PartConfig::WeightDecay(WeightDecay { rate: 0.5 })]);
    invariant::<Steps>(KP, both, (300, 1.0 - 5e-4), (DType::F64, 1e-12))?;
    invariant::<Steps>(
        like_weights(0.3),
        steps(1e-3, &[largest]),
        (300, 1.0),
        (DType::F64, 1e-12),
    )?;
    invariant::<Steps>(like_weights(0.3), steps(0.1, &[]), (300, 1.0), (DType::F64, 1e-13))
}

/// A schedule of the learning rate applies to the decay too.
#[test]
fn decay_under_a_schedule_of_steps() -> Result<()> {
    let (w, r) = (tensor(&[1.0, 2.0], &[1, 2])?, tensor(&[3.0, -1.0], &[1, 2])?);
    let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, KP)?;
    let chain =
        |vars| Steps::builder(0.1).then(LinearDecay).then(WeightDecay { rate: 2.0 }).build(vars);
    let mut optimizer = WithFeedback::build(vec![layer.var()?], [&layer], chain)?;
    let x = tensor(&[0.5, -1.0], &[1, 2])?;
    let mut left = 1.0;
    for progress in [0.0, 0.25, 0.5, 1.0] {
        optimizer.inner_mut().set_progress(progress);
        optimizer.backward_step(&layer.forward(&x)?.sum_all()?)?;
        left *= 1.0 - 0.2 * (1.0 - progress);
        let apart = (layer.weight() - layer.feedback().expect("R"))?;
        near("W − R", &apart, &[-2.0 * left, 3.0 * left], 1e-12)?;
    }
    Ok(())
}

/// The weights take exactly the steps that they take without feedback weights, and so do other variables.
#[test]
fn weights_step_as_ever() -> Result<()> {
    fn run<O: Decoupled>(config: FeedbackConfig, inner: O::Config) -> Result<()>
    where
        O::Config: Clone,
    {
        let mut rng = Rng::new(30);
        let mut draw = |shape: &[usize]| normal(&mut rng, shape, DType::F32);
        let (w, r) = (draw(&[4, 7])?, draw(&[4, 7])?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config)?;
        let bias = || Var::zeros(4, DType::F32, CPU);
        let (bias, alone, bias_alone) = (bias()?, Var::from_tensor(&w)?, bias()?);
        let vars = vec![bias.clone(), layer.feedback_var()?.expect("R"), layer.var()?];
        let layers = vec![layer.clone()];
        let with_feedback = WithFeedbackConfig { layers, inner: inner.clone() };
        let mut with = WithFeedback::<O>::new(vars, with_feedback)?;
        let mut without = O::new(vec![alone.clone(), bias_alone.clone()], inner)?;
        for _ in 0..20 {
            let (x, delta) = (draw(&[5, 7])?, draw(&[5, 4])?);
            let h = layer.forward(&x)?.broadcast_add(&bias)?;
            let mut grads = (h * &delta)?.sum_all()?.backward()?;
            with.step(&grads)?;
            grads.insert(&alone, gradient(&grads, layer.weight()));
            grads.insert(&bias_alone, gradient(&grads, &bias));
            without.step(&grads)?;
            assert_eq!(bits(layer.weight())?, bits(&alone)?);
            assert_eq!(bits(&bias)?, bits(&bias_alone)?);
        }
        assert_ne!(bits(&alone)?, bits(&w)?);
        assert_ne!(bits(layer.feedback().expect("R"))?, bits(&r)?);
        Ok(())
    }
    run::<SGD>(like_weights(1.0), 0.1)?;
    run::<Steps>(like_weights(0.5), steps(0.1, &[]))?;
    run::<Momentum>(like_weights(0.5), momentum(0.1, 0.0))?;
    run::<AdamW>(like_weights(0.5), adam(0.01, 0.0))?;
    run::<AdamW>(KP, adam(0.01, 0.1))
}

/// If `W` and `R` connect different units, each takes its part of the optimiser's step for the whole product, which is
/// computed here by an optimiser of a full matrix.
#[test]
fn different_connections() -> Result<()> {
    for (config, decay) in [(like_weights(0.5), 0.0), (like_weights(1.0), 0.0), (KP, 0.2)] {
        let mut rng = Rng::new(31);
        let shape = [6, 9];
        let mut draw = || normal(&mut rng, &shape, DType::F64);
        let (mut w, mut r) = (draw()?, draw()?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config)?;
        let layer = layer.thinned(0.5, Pairing::Independent, &mut rng)?;
        let (Some(mask_w), Some(mask_r)) = layer.masks() else { panic!("two masks") };
        (w, r) = ((w * mask_w)?, (r * mask_r)?);
        let mut optimizer = around::<AdamW>(std::slice::from_ref(&layer), adam(0.01, decay))?;
        let full = Var::zeros(&shape, DType::F64, CPU)?;
        let mut adam = AdamW::new(vec![full.clone()], adam(0.01, 0.0))?;
        for _ in 0..30 {
            let x = normal(&mut rng, &[5, 9], DType::F64)?;
            let delta = normal(&mut rng, &[5, 6], DType::F64)?;
            optimizer.backward_step(&(layer.forward(&x)? * &delta)?.sum_all()?)?;
            let before = full.as_tensor().copy()?.detach();
            let grad = delta.t()?.matmul(&x)?;
            adam.backward_step(&(full.as_tensor() * grad)?.sum_all()?)?;
            let step = (full.as_detached_tensor() - before)?;
            let keep = 1.0 - 0.01 * decay;
            w = ((w * keep)? + (&step * mask_w)?)?;
            r = ((r * keep)? + ((&step * mask_r)? * config.rate().expect("R learns"))?)?;
        }
        assert_close("W", layer.weight(), &w, 1e-12)?;
        assert_close("R", layer.feedback().expect("R"), &r, 1e-12)?;
    }
    Ok(())
}

/// With `K = W` every source is back-propagation, bit for bit.
#[test]
fn same_error_weights_are_backprop() -> Result<()> {
    let mut rng = Rng::new(32);
    let own = |learning| FeedbackConfig { source: Source::Own, learning };
    let signs = |sizes| FeedbackConfig { source: Source::Signs { sizes }, ..Default::default() };
    let configs = [
        own(Learning::Fixed),
        own(Learning::LikeWeights { rate: 1.0 }),
        own(Learning::LikeWeights { rate: 0.3 }),
        KP,
        own(Learning::Mirror { rate: 0.1 }),
        signs(Sizes::Own),
        signs(Sizes::Redrawn),
        signs(Sizes::Uniform),
    ];
    for config in configs {
        for case in cases() {
            let mut w = normal(&mut rng, &case.weight, DType::F32)?;
            if config.source == (Source::Signs { sizes: Sizes::Uniform }) {
                let kernel = if w.rank() == 6 { &w.dims()[2..] } else { w.dims() };
                let taps: usize = kernel[2..].iter().product();
                w = (w.sign()? * (2.0 / ((kernel[0] + kernel[1]) * taps) as f64).sqrt())?;
            }
            let r = config.has_feedback().then_some(&w);
            let layer = FeedbackLayer::from_tensors(&w, r, case.geometry, config)?;
            let backprop = FeedbackConfig::default();
            let backprop = FeedbackLayer::from_tensors(&w, None, case.geometry, backprop)?;
            let x = Var::from_tensor(&normal(&mut rng, &case.input, DType::F32)?)?;
            let delta = normal(&mut rng, layer.forward(&x)?.dims(), DType::F32)?;
            let (got, want) = (send(&layer, &x, &delta)?, send(&backprop, &x, &delta)?);
            let name = format!("{config:?} {case:?}");
            assert_eq!(bits(&gradient(&got, &x))?, bits(&gradient(&want, &x))?, "{name}");
            let weights = (gradient(&got, layer.weight()), gradient(&want, backprop.weight()));
            assert_eq!(bits(&weights.0)?, bits(&weights.1)?, "{name}");
        }
    }
    Ok(())
}

/// With `B = W`, direct feedback from the layer above is back-propagation too.
#[test]
fn same_direct_feedback_is_backprop() -> Result<()> {
    let mut rng = Rng::new(33);
    let w = normal(&mut rng, &[3, 8], DType::F32)?;
    let top = layer(&w, &w, Geometry::Dense, Protocol::Backprop)?;
    let hidden = Var::from_tensor(&normal(&mut rng, &[5, 8], DType::F32)?)?;
    let error = normal(&mut rng, &[5, 3], DType::F32)?;
    let want = (top.forward(&hidden)? * &error)?.sum_all()?.backward()?;
    let out = direct_feedback(&top.forward(&hidden.detach())?, &hidden, &w)?;
    let got = (out * &error)?.sum_all()?.backward()?;
    assert_eq!(bits(&gradient(&got, &hidden))?, bits(&gradient(&want, &hidden))?);
    Ok(())
}

/// An optimiser over all variables of a `VarMap` moves fixed feedback weights neither by steps nor by decay; nor does
/// one that knows the layers.
#[test]
fn fixed_feedback_stays_in_a_var_map() -> Result<()> {
    for with in [false, true] {
        let varmap = VarMap::new();
        let vb = VarBuilder::from_varmap(&varmap, DType::F32, CPU);
        let init = |_: &[usize]| Init::Randn { mean: 0.0, stdev: 0.5 };
        let frfb = Protocol::Frfb.config();
        let hidden = candle_hebbian::feedback::dense(4, 6, frfb, init, vb.pp("l0"))?;
        let direct = candle_hebbian::feedback::dense(6, 5, Default::default(), init, vb.pp("l1"))?;
        let output = candle_hebbian::feedback::dense(5, 3, frfb, init, vb.pp("l2"))?;
        let b = vb.pp("l1").get_with_hints((3, 5), "feedback", init(&[]))?;
        let fixed = || -> Result<Vec<Vec<u32>>> {
            let feedback = [hidden.feedback(), output.feedback(), Some(&b)];
            feedback.into_iter().map(|r| bits(r.expect("feedback weights"))).collect()
        };
        let (before, start) = (fixed()?, bits(hidden.weight())?);
        let layers = vec![hidden.clone(), direct.clone(), output.clone()];
        let mut plain = AdamW::new(varmap.all_vars(), adam(0.01, 0.1))?;
        let config = WithFeedbackConfig { layers, inner: adam(0.01, 0.1) };
        let mut knowing = WithFeedback::<AdamW>::new(varmap.all_vars(), config)?;
        let mut rng = Rng::new(34);
        for _ in 0..20 {
            let x = normal(&mut rng, &[7, 4], DType::F32)?;
            let x1 = direct.forward(&hidden.forward(&x)?.tanh()?)?.tanh()?;
            let out = direct_feedback(&output.forward(&x1.detach())?, &x1, &b)?;
            let loss = out.sqr()?.sum_all()?;
            if with { knowing.backward_step(&loss)? } else { plain.backward_step(&loss)? }
        }
        assert_eq!(fixed()?, before, "{with}");
        assert_ne!(bits(hidden.weight())?, start, "{with}");
    }
    Ok(())
}

/// A decay that changes during training, as in Kolen–Pollack's schedules.
#[test]
fn decay_on_a_schedule() -> Result<()> {
    let (w, r) = (tensor(&[1.0, 2.0], &[1, 2])?, tensor(&[3.0, -1.0], &[1, 2])?);
    let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, KP)?;
    let mut optimizer = around::<AdamW>(std::slice::from_ref(&layer), adam(0.1, 2.0))?;
    let x = tensor(&[0.5, -1.0], &[1, 2])?;
    let mut left = 1.0;
    for decay in [2.0, 2.0, 1.0, 0.0, 0.5] {
        optimizer.inner_mut().set_params(adam(0.1, decay));
        optimizer.backward_step(&layer.forward(&x)?.sum_all()?)?;
        left *= 1.0 - 0.1 * decay;
        let apart = (layer.weight() - layer.feedback().expect("R"))?;
        near("W − R", &apart, &[-2.0 * left, 3.0 * left], 1e-12)?;
    }
    optimizer.set_learning_rate(0.2);
    assert_eq!((optimizer.learning_rate(), optimizer.inner().learning_rate()), (0.2, 0.2));
    Ok(())
}

mod refused {
    use super::super::bad_input::refused;
    use super::*;

    fn one(config: FeedbackConfig) -> Result<FeedbackLayer> {
        let rng = &mut Rng::new(0);
        let (w, r) = (normal(rng, &[3, 2], DType::F32)?, normal(rng, &[3, 2], DType::F32)?);
        FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config)
    }

    #[test]
    fn decay_of_the_weights_alone() -> Result<()> {
        for rate in [0.25, 1.0] {
            let says = ["λ = 0.01", "do not decay", "R − εW would drift", "weight_decay to 0"];
            refused(around::<AdamW>(&[one(like_weights(rate))?], ParamsAdamW::default()), &says);
            let says = ["λ = 0.5", "kolen_pollack"];
            refused(around::<Momentum>(&[one(like_weights(rate))?], momentum(0.1, 0.5)), &says);
        }
        // If feedback weights are fixed, or learn as mirrors, the decay concerns the weights alone.
        let own = |learning| FeedbackConfig { source: Source::Own, learning };
        for learning in
            [Learning::Fixed, Learning::LikeWeights { rate: 0.0 }, Learning::Mirror { rate: 0.1 }]
        {
            around::<AdamW>(&[one(own(learning))?], ParamsAdamW::default())?;
        }
        Ok(())
    }

    #[test]
    fn kolen_pollack_without_decay() -> Result<()> {
        let says = ["Kolen–Pollack", "without weight decay", "updated random feedback"];
        refused(around::<SGD>(&[one(KP)?], 0.1), &says);
        refused(around::<AdamW>(&[one(KP)?], adam(0.1, 0.0)), &says);
        refused(around::<Momentum>(&[one(KP)?], momentum(0.1, 0.0)), &says);
        Ok(())
    }

    #[test]
    fn decay_inside_the_gradient() -> Result<()> {
        let coupled = momentum::Config { in_gradient: true, ..momentum(0.1, 1e-4) };
        let says = ["decay inside the gradient"];
        for config in [KP, like_weights(1.0)] {
            refused(around::<Momentum>(&[one(config)?], coupled), &says);
        }
        Ok(())
    }

    #[test]
    fn parts_that_depend_on_the_weights() -> Result<()> {
        let decay = PartConfig::WeightDecay(WeightDecay { rate: 0.1 });
        for (part, name) in [
            (PartConfig::NormDependent(NormDependent { power: 0.5 }), "NormDependent"),
            (PartConfig::UnitNorm {}, "UnitNorm"),
        ] {
            for config in [KP, like_weights(1.0)] {
                let says = [name, "depends on the weights themselves, so feedback weights cannot"];
                refused(around::<Steps>(&[one(config)?], steps(0.1, &[decay, part])), &says);
            }
        }
        let says = ["λ = 0.1", "kolen_pollack"];
        refused(around::<Steps>(&[one(like_weights(1.0))?], steps(0.1, &[decay])), &says);
        refused(around::<Steps>(&[one(KP)?], steps(0.1, &[])), &["without weight decay"]);
        Ok(())
    }

    /// A setting that becomes invalid later is refused at the step, before anything has moved.
    #[test]
    fn at_the_step() -> Result<()> {
        let layer = one(like_weights(1.0))?;
        let mut optimizer = around::<AdamW>(std::slice::from_ref(&layer), adam(0.1, 0.0))?;
        optimizer.inner_mut().set_params(adam(0.1, 0.3));
        let before = (bits(layer.weight())?, bits(layer.feedback().expect("R"))?);
        let x = Tensor::ones((1, 2), DType::F32, CPU)?;
        refused(optimizer.backward_step(&layer.forward(&x)?.sum_all()?), &["λ = 0.3"]);
        assert_eq!((bits(layer.weight())?, bits(layer.feedback().expect("R"))?), before);
        Ok(())
    }

    #[test]
    fn layers_and_variables_that_do_not_fit() -> Result<()> {
        let (a, b) = (one(like_weights(1.0))?, one(like_weights(1.0))?);
        let config = |layers: &[&FeedbackLayer]| WithFeedbackConfig {
            layers: layers.iter().map(|&layer| layer.clone()).collect(),
            inner: 0.1,
        };
        let missing = WithFeedback::<SGD>::new(vec![a.var()?], config(&[&a, &b]));
        refused(missing, &["[3, 2]", "not among the variables"]);
        let twice = WithFeedback::<SGD>::new(vec![a.var()?], config(&[&a, &a]));
        refused(twice, &["same feedback weights", "[3, 2]"]);
        let r = normal(&mut Rng::new(1), &[3, 2], DType::F32)?;
        let shared =
            FeedbackLayer::from_tensors(a.weight(), Some(&r), Geometry::Dense, like_weights(1.0))?;
        let shared = WithFeedback::<SGD>::new(vec![a.var()?], config(&[&a, &shared]));
        refused(shared, &["same weights", "[3, 2]"]);
        Ok(())
    }
}

/// Missing connections are not used, even if an optimiser with momentum from before moves their values.
#[test]
fn momentum_makes_no_connections() -> Result<()> {
    let mut rng = Rng::new(50);
    let config = FeedbackConfig::default();
    let w = normal(&mut rng, &[2, 4], DType::F64)?;
    let mut layer = FeedbackLayer::from_tensors(&w, None, Geometry::Dense, config)?;
    let mut adam = AdamW::new(vec![layer.var()?], adam(0.1, 0.0))?;
    let x = normal(&mut rng, &[5, 4], DType::F64)?;
    let mask = tensor(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0], &[2, 4])?;
    for step in 0..6 {
        if step == 3 {
            layer.set_masks(Some(mask.clone()), None)?;
        }
        adam.backward_step(&layer.forward(&x)?.sqr()?.sum_all()?)?;
    }
    let kept = (layer.weight().detach() * &mask)?;
    near("response", &layer.forward(&x)?, &flat(&x.matmul(&kept.t()?)?)?, 1e-12)
}

/// Nor does an error go back through them, whether the way back is made of the weights, of their signs or by a mirror:
/// `W = (2, 5)` without the second connection sends 2 times the error to the first input, and nothing to the second.
/// The deviation of Glorot's distribution for one unit and two inputs is √(2/3).
#[test]
fn missing_connections_send_no_error() -> Result<()> {
    let (x, mask) = (Var::new(&[[1f64, 1.0]], CPU)?, tensor(&[1.0, 0.0], &[1, 2])?);
    let mirror = FeedbackConfig { source: Source::Own, learning: Learning::Mirror { rate: 1.0 } };
    for (config, sent) in [
        (Protocol::Backprop.config(), 2.0),
        (Protocol::UniformSign.config(), (2f64 / 3.0).sqrt()),
        (mirror, 2.0),
    ] {
        let zeros = tensor(&[0.0, 0.0], &[1, 2])?;
        let r = config.has_feedback().then_some(&zeros);
        let mut layer = FeedbackLayer::from_tensors(&zeros, r, Geometry::Dense, config)?;
        layer.set_masks(Some(mask.clone()), None)?;
        layer.var()?.set(&tensor(&[2.0, 5.0], &[1, 2])?)?;
        // The mean of h xᵀ is (2, 0) over these.
        layer.mirror(&tensor(&[1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0], &[4, 2])?)?;
        let out = layer.forward(&x)?;
        near("h", &out, &[2.0], 1e-12)?;
        let grads = out.sum_all()?.backward()?;
        near(&format!("{config:?}"), &gradient(&grads, &x), &[sent, 0.0], 1e-12)?;
        near("K", &layer.error_weight()?, &[sent, 0.0], 1e-12)?;
    }
    Ok(())
}

/// Nor do feedback weights without a connection send an error, whatever wrote them: `R = (3, 7)` without the second is
/// `(3, 0)`, and so are the sizes of the signs of `W = (1, 2)`.
#[test]
fn missing_feedback_weights_send_no_error() -> Result<()> {
    let x = Var::new(&[[1f64, 1.0]], CPU)?;
    for protocol in [Protocol::Frfb, Protocol::Urfb, Protocol::FixedRandomSign] {
        let (w, r) = (tensor(&[1.0, 2.0], &[1, 2])?, tensor(&[0.0, 0.0], &[1, 2])?);
        let mut layer = layer(&w, &r, Geometry::Dense, protocol)?;
        layer.set_masks(None, Some(tensor(&[1.0, 0.0], &[1, 2])?))?;
        layer.feedback_var()?.expect("R").set(&tensor(&[3.0, 7.0], &[1, 2])?)?;
        let grads = layer.forward(&x)?.sum_all()?.backward()?;
        near(&format!("{protocol}"), &gradient(&grads, &x), &[3.0, 0.0], 0.0)?;
        near("K", &layer.error_weight()?, &[3.0, 0.0], 0.0)?;
    }
    Ok(())
}

/// Copied weights and feedback weights reach the connections that the layer has, and no others.
#[test]
fn copied_weights_keep_the_connections() -> Result<()> {
    let layer = |w: &[f64], r: &[f64]| -> Result<FeedbackLayer> {
        let (w, r) = (tensor(w, &[1, 2])?, tensor(r, &[1, 2])?);
        FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, like_weights(1.0))
    };
    let (mut to, from) = (layer(&[0.0; 2], &[0.0; 2])?, layer(&[1.0, 2.0], &[3.0, 4.0])?);
    to.set_masks(Some(tensor(&[1.0, 0.0], &[1, 2])?), Some(tensor(&[0.0, 1.0], &[1, 2])?))?;
    to.copy_weights(&from)?;
    near("W", to.weight(), &[1.0, 0.0], 0.0)?;
    near("R", to.feedback().expect("R"), &[0.0, 4.0], 0.0)?;
    // Nor do they come from connections that the other layer lacks, where momentum may have left a value.
    to.var()?.set(&tensor(&[5.0, 6.0], &[1, 2])?)?;
    to.feedback_var()?.expect("R").set(&tensor(&[7.0, 8.0], &[1, 2])?)?;
    from.copy_weights(&to)?;
    near("W", from.weight(), &[5.0, 0.0], 0.0)?;
    near("R", from.feedback().expect("R"), &[0.0, 8.0], 0.0)
}

/// Two masks with the same values are one mask: the step is that of the optimiser alone. `∂L/∂W = [1, 10]`, of which
/// only the first reaches the weights, so the largest entry is 1 and the step 0.1.
#[test]
fn equal_masks_are_one_mask() -> Result<()> {
    let mask = || tensor(&[1.0, 0.0], &[1, 2]);
    let (w, r) = (tensor(&[1.0, 1.0], &[1, 2])?, tensor(&[1.0, 1.0], &[1, 2])?);
    let mut layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, like_weights(1.0))?;
    layer.set_masks(Some(mask()?), Some(mask()?))?;
    let steps = |vars: Vec<Var>| Steps::builder(0.1).then(LargestEntry).build(vars);
    let mut optimizer = WithFeedback::build(vec![layer.var()?], [&layer], steps)?;
    let x = tensor(&[1.0, 10.0], &[1, 2])?;
    optimizer.backward_step(&layer.forward(&x)?.sum_all()?)?;
    near("W", layer.weight(), &[0.9, 0.0], 1e-12)?;
    near("R", layer.feedback().expect("R"), &[0.9, 0.0], 1e-12)
}

/// An optimiser that was made before masks were set again, with the same values, still moves both.
#[test]
fn masks_set_again_do_not_stop_an_optimiser() -> Result<()> {
    let mut rng = Rng::new(51);
    let [w, r] = [(); 2].map(|()| normal(&mut rng, &[3, 4], DType::F64));
    let layer = FeedbackLayer::from_tensors(&w?, Some(&r?), Geometry::Dense, like_weights(1.0))?;
    let mut layer = layer.thinned(0.5, Pairing::Independent, &mut rng)?;
    let mut optimizer =
        WithFeedback::build(vec![layer.var()?], [&layer], |vars| AdamW::new(vars, adam(0.1, 0.0)))?;
    let (weight, feedback) = layer.masks();
    let masks = (weight.cloned(), feedback.cloned());
    layer.set_masks(masks.0, masks.1)?;
    let before = (flat(layer.weight())?, flat(layer.feedback().expect("R"))?);
    let x = normal(&mut rng, &[5, 4], DType::F64)?;
    optimizer.backward_step(&layer.forward(&x)?.sqr()?.sum_all()?)?;
    assert_ne!(flat(layer.weight())?, before.0);
    assert_ne!(flat(layer.feedback().expect("R"))?, before.1);
    Ok(())
}
