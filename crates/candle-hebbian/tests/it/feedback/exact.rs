//! Hand-worked numbers in f64; those of the network over two steps also in f32.

use super::momentum::Momentum;
use super::*;
use candle::Module;
use candle_hebbian::ops::{Edge, Ties, composed, max_pool2d_same, ramp};
use candle_hebbian::{HingeHebb, Layer, Synapses, WithFeedbackConfig, direct_feedback};
use candle_nn::Optimizer;

/// Numbers that are exact in decimal, up to rounding in f64.
const EXACT: f64 = 1e-12;
/// The same in f32, for numbers of size 1.
const EXACT_IN_F32: f64 = 1e-6;
/// Half a unit in the sixth decimal.
const SIX_DIGITS: f64 = 5.1e-7;
/// Half a unit in the seventh decimal.
const SEVEN_DIGITS: f64 = 5.1e-8;

mod hinge {
    use super::*;

    fn check(mu: f64, fields: &[f64], label: u32, loss: f64, delta: &[f64]) -> Result<()> {
        let fields = Var::from_tensor(&tensor(fields, &[1, fields.len()])?)?;
        let labels = Tensor::new(&[label], CPU)?;
        let hinge = HingeHebb::new(mu)?;
        let value = hinge.loss(&fields, &labels)?;
        near("loss", &value, &[loss], SIX_DIGITS)?;
        near("δ", &gradient(&value.backward()?, &fields), delta, EXACT)?;
        // The activity of the rule, which is also the update of units that see a single input of 1.
        let (h, ones) = (fields.unsqueeze(0)?, tensor(&[1.0], &[1, 1, 1])?);
        let w = tensor(&vec![0.0; delta.len()], &[delta.len(), 1])?;
        let synapses = Synapses::new(&w, &ones, &h, &h)?;
        let synapses = synapses.with_third(&hinge.targets(&fields, &labels)?)?;
        near("y", &synapses.update(&hinge)?.neg()?, delta, EXACT)
    }

    #[test]
    fn table() -> Result<()> {
        let quarter = [0.0, 0.0, 0.25, 0.0, 0.25];
        check(1.0, &[2.0, -3.0, 0.5, -1.0, 1.0], 0, 0.875, &quarter)?;
        // Two fields exactly at their margin, and one on either side of it.
        check(1.0, &[1.0, -1.0, -0.999, -1.001, 0.0], 0, 0.25025, &quarter)?;
        let third = 1.0 / 3.0;
        check(1.0, &[0.2, -1.5, -0.4, 0.7], 2, 2.366667, &[third, 0.0, -1.0, third])?;
        for (classes, mu) in [(10, 1.0), (100, 10.0)] {
            for label in 0..classes {
                let mut delta = vec![mu / (classes - 1) as f64; classes];
                delta[label] = -1.0;
                check(mu, &vec![0.0; classes], label as u32, 1.0 + mu, &delta)?;
            }
        }
        Ok(())
    }

    /// Exactly at a margin, the derivative is 0 for the right class and for the wrong ones.
    #[test]
    fn equality() -> Result<()> {
        check(2.0, &[1.0, -1.0, -1.0], 0, 0.0, &[0.0; 3])?;
        let (below, above) = (1f64.next_down(), (-1f64).next_up());
        check(2.0, &[below, -1.0, above], 0, 0.0, &[-1.0, 0.0, 1.0])
    }

    #[test]
    fn softmax_row() -> Result<()> {
        let fields = Var::from_tensor(&tensor(&[0.2, -1.5, -0.4, 0.7], &[1, 4])?)?;
        let p = candle_nn::ops::softmax(&fields, 1)?;
        near("p", &p, &[0.295839, 0.054045, 0.162360, 0.487756], SIX_DIGITS)?;
        let loss = candle_nn::loss::cross_entropy(&fields, &Tensor::new(&[2u32], CPU)?)?;
        near("loss", &loss, &[1.817940], SIX_DIGITS)?;
        let delta = [0.295839, 0.054045, -0.837640, 0.487756];
        near("δ", &gradient(&loss.backward()?, &fields), &delta, SIX_DIGITS)
    }

    /// The class layer's update as a rule is minus N times the gradient of its loss.
    #[test]
    fn class_layer_is_hebbian() -> Result<()> {
        let mut rng = Rng::new(1);
        let (samples, hinge) = (6, HingeHebb::new(1.5)?);
        let x = normal(&mut rng, &[samples, 5], DType::F64)?;
        let w = normal(&mut rng, &[4, 5], DType::F64)?;
        for labels in [
            Tensor::new(&[0u32, 1, 2, 3, 0, 2], CPU)?,
            Tensor::new(&[0i64, 1, 2, 3, 0, 2], CPU)?,
            Tensor::new(&[0u8, 1, 2, 3, 0, 2], CPU)?,
        ] {
            let layer = Layer::from_tensor(&w, Geometry::Dense)?;
            let grads = hinge.loss(&layer.forward(&x)?, &labels)?.backward()?;
            let want = (gradient(&grads, layer.weight()) * -(samples as f64))?;
            let response = layer.response(&x)?;
            let targets = hinge.targets(&response.output()?, &labels)?;
            let synapses = response.synapses(response.u())?.with_third(&targets)?;
            assert_close("Σ y xᵀ", &synapses.update(&hinge)?, &want, EXACT)?;
            let surrogate = synapses.loss(&hinge)?.backward()?;
            assert_close("surrogate", &gradient(&surrogate, layer.weight()).neg()?, &want, EXACT)?;
        }
        Ok(())
    }
}

/// A network of 2–2–3 units over two steps.
mod two_steps {
    use super::*;

    const W1: [f64; 4] = [0.6, -0.4, 2.0, -1.0];
    const W2: [f64; 6] = [0.5, 0.2, -1.0, 0.1, 0.3, -2.0];
    const R2: [f64; 6] = [-0.3, 0.4, 0.2, 0.6, 1.0, -0.5];

    struct Net {
        hidden: FeedbackLayer,
        classes: FeedbackLayer,
    }

    /// Runs `check` in f64 and in f32, with kernels and with candle's ops.
    fn each_way(check: impl Fn(DType) -> Result<()>) -> Result<()> {
        for dtype in [DType::F64, DType::F32] {
            check(dtype)?;
            composed(|| check(dtype))?;
        }
        Ok(())
    }

    /// The quantities of one forward and backward pass.
    struct Seen {
        h1: Tensor,
        x1: Tensor,
        h2: Tensor,
        loss: Tensor,
        delta2: Tensor,
        phi1: Tensor,
        delta1: Tensor,
        grads: GradStore,
    }

    impl Net {
        fn new(protocol: Protocol) -> Result<Self> {
            Self::with(protocol.config(), DType::F64)
        }

        fn with(config: FeedbackConfig, dtype: DType) -> Result<Self> {
            let typed = |values: &[f64], shape: &[usize]| tensor(values, shape)?.to_dtype(dtype);
            let (w1, w2, r2) = (typed(&W1, &[2, 2])?, typed(&W2, &[3, 2])?, typed(&R2, &[3, 2])?);
            let r2 = config.has_feedback().then_some(&r2);
            Ok(Self {
                hidden: layer(&w1, &w1, Geometry::Dense, Protocol::Backprop)?,
                classes: FeedbackLayer::from_tensors(&w2, r2, Geometry::Dense, config)?,
            })
        }

        fn dtype(&self) -> DType {
            self.classes.weight().dtype()
        }

        /// How far numbers that are exact in decimal may be off.
        fn exact(&self) -> f64 {
            if self.dtype() == DType::F64 { EXACT } else { EXACT_IN_F32 }
        }

        fn pass(&self) -> Result<Seen> {
            let probe = |n: usize| Var::zeros((1, n), self.dtype(), CPU);
            let (at_h1, at_x1, at_h2) = (probe(2)?, probe(2)?, probe(3)?);
            let x = tensor(&[1.0, -0.5], &[1, 2])?.to_dtype(self.dtype())?;
            let h1 = self.hidden.forward(&x)?;
            let x1 = ramp(&(&h1 + at_h1.as_tensor())?, 0.5)?;
            let h2 = self.classes.forward(&(&x1 + at_x1.as_tensor())?)?;
            let loss = HingeHebb::new(1.0)?
                .loss(&(&h2 + at_h2.as_tensor())?, &Tensor::new(&[0u32], CPU)?)?;
            let grads = loss.backward()?;
            let [delta1, phi1, delta2] =
                [&at_h1, &at_x1, &at_h2].map(|probe| gradient(&grads, probe));
            Ok(Seen { h1, x1, h2, loss, delta2, phi1, delta1, grads })
        }

        fn learn(&self, seen: &Seen) -> Result<()> {
            descent(&[&self.hidden, &self.classes])?.step(&seen.grads)
        }

        fn weights(&self, w1: &[f64], w2: &[f64], r2: Option<&[f64]>) -> Result<()> {
            near("W1", self.hidden.weight(), w1, self.exact())?;
            near("W2", self.classes.weight(), w2, self.exact())?;
            match (self.classes.feedback(), r2) {
                (Some(r), Some(want)) => near("R2", r, want, self.exact()),
                (None, None) => Ok(()),
                (found, want) => panic!("found {found:?}, expected {want:?}"),
            }
        }
    }

    /// The rows of the table for one protocol.
    struct Table {
        protocol: Protocol,
        phi1: [f64; 2],
        delta1: [f64; 2],
        g1: [f64; 4],
        w1: [[f64; 2]; 2],
        w2_after_two: [f64; 6],
        r2: [Option<[f64; 6]>; 2],
        losses: [f64; 2],
        phi1_at_two: [f64; 2],
    }

    fn check(table: &Table) -> Result<()> {
        each_way(|dtype| check_in(table, dtype))
    }

    fn check_in(table: &Table, dtype: DType) -> Result<()> {
        let net = Net::with(table.protocol.config(), dtype)?;
        let exact = net.exact();
        let seen = net.pass()?;
        near("h1", &seen.h1, &[0.8, 2.5], exact)?;
        near("x1", &seen.x1, &[0.4, 1.0], exact)?;
        near("h2", &seen.h2, &[0.4, -0.3, -1.88], exact)?;
        near("loss", &seen.loss, &[0.95], exact)?;
        near("δ2", &seen.delta2, &[-1.0, 0.5, 0.0], exact)?;
        let g2 = gradient(&seen.grads, net.classes.weight());
        near("G2", &g2, &[-0.4, -1.0, 0.2, 0.5, 0.0, 0.0], exact)?;
        near("φ1", &seen.phi1, &table.phi1, exact)?;
        near("δ1", &seen.delta1, &table.delta1, exact)?;
        near("G1", &gradient(&seen.grads, net.hidden.weight()), &table.g1, exact)?;
        net.learn(&seen)?;
        let saturated = [2.0, -1.0];
        let after_one = [table.w1[0], saturated].concat();
        let w2 = [0.54, 0.3, -1.02, 0.05, 0.3, -2.0];
        net.weights(&after_one, &w2, table.r2[0].as_ref().map(|r| &r[..]))?;
        let seen = net.pass()?;
        near("loss at step 2", &seen.loss, &[table.losses[0]], exact)?;
        near("φ1 at step 2", &seen.phi1, &table.phi1_at_two, exact)?;
        net.learn(&seen)?;
        let after_two = [table.w1[1], saturated].concat();
        net.weights(&after_two, &table.w2_after_two, table.r2[1].as_ref().map(|r| &r[..]))?;
        if table.protocol == Protocol::Urfb {
            let r2 = net.classes.feedback().expect("feedback weights");
            let apart = (net.classes.weight() - r2)?;
            near("W2 − R2", &apart, &[0.8, -0.2, -1.2, -0.5, -0.7, -1.5], exact)?;
        }
        near("loss at step 3", &net.pass()?.loss, &[table.losses[1]], exact.max(SEVEN_DIGITS))
    }

    #[test]
    fn backprop() -> Result<()> {
        check(&Table {
            protocol: Protocol::Backprop,
            phi1: [-1.0, -0.15],
            delta1: [-0.5, 0.0],
            g1: [-0.5, 0.25, 0.0, 0.0],
            w1: [[0.65, -0.425], [0.7025, -0.45125]],
            w2_after_two: [0.583125, 0.4, -1.0415625, 0.0, 0.3, -2.0],
            r2: [None, None],
            losses: [0.7721875, 0.5877185],
            phi1_at_two: [-1.05, -0.275],
        })
    }

    fn through_r(protocol: Protocol) -> Table {
        Table {
            protocol,
            phi1: [0.4, -0.1],
            delta1: [0.2, 0.0],
            g1: [0.2, -0.1, 0.0, 0.0],
            w1: [[0.58, -0.39], [0.56, -0.38]],
            w2_after_two: [0.57875, 0.4, -1.039375, 0.0, 0.3, -2.0],
            r2: [Some(R2), Some(R2)],
            losses: [0.818125, 0.6880859],
            phi1_at_two: [0.4, -0.1],
        }
    }

    #[test]
    fn frfb() -> Result<()> {
        check(&through_r(Protocol::Frfb))
    }

    #[test]
    fn urfb() -> Result<()> {
        check(&Table {
            w1: [[0.58, -0.39], [0.5625, -0.38125]],
            r2: [
                Some([-0.26, 0.5, 0.18, 0.55, 1.0, -0.5]),
                Some([-0.22125, 0.6, 0.160625, 0.5, 1.0, -0.5]),
            ],
            losses: [0.818125, 0.6863696],
            phi1_at_two: [0.35, -0.225],
            ..through_r(Protocol::Urfb)
        })
    }

    const KP: FeedbackConfig =
        FeedbackConfig { source: Source::Own, learning: Learning::KolenPollack };
    /// `W2 − R2` at the start.
    const APART: [f64; 6] = [0.8, -0.2, -1.2, -0.5, -0.7, -1.5];

    /// The network with an optimiser, for which `1 − ηλ = 0.95` at each step.
    fn kolen_pollack(mu: f64, dtype: DType) -> Result<(Net, WithFeedback<Momentum>)> {
        let net = Net::with(KP, dtype)?;
        let inner =
            momentum::Config { learning_rate: 0.1, mu, weight_decay: 0.5, in_gradient: false };
        let layers = vec![net.hidden.clone(), net.classes.clone()];
        let vars = vec![net.hidden.var()?, net.classes.var()?];
        let optimizer = WithFeedback::new(vars, WithFeedbackConfig { layers, inner })?;
        Ok((net, optimizer))
    }

    fn apart(net: &Net, left: f64) -> Result<()> {
        let apart = (net.classes.weight() - net.classes.feedback().expect("R"))?;
        near("W2 − R2", &apart, &APART.map(|entry| left * entry), net.exact())
    }

    #[test]
    fn kolen_pollack_under_descent() -> Result<()> {
        each_way(|dtype| {
            let (net, mut optimizer) = kolen_pollack(0.0, dtype)?;
            let exact = net.exact();
            let seen = net.pass()?;
            near("loss", &seen.loss, &[0.95], exact)?;
            near("φ1", &seen.phi1, &[0.4, -0.1], exact)?;
            optimizer.step(&seen.grads)?;
            let r2 = [-0.245, 0.48, 0.17, 0.52, 0.95, -0.475];
            let w2 = [0.515, 0.29, -0.97, 0.045, 0.285, -1.9];
            net.weights(&[0.55, -0.37, 1.9, -0.95], &w2, Some(&r2))?;
            apart(&net, 0.95)?;
            let seen = net.pass()?;
            near("loss at step 2", &seen.loss, &[0.865], exact)?;
            near("φ1 at step 2", &seen.phi1, &[0.33, -0.22], exact)?;
            optimizer.step(&seen.grads)?;
            let r2 = [-0.196, 0.556, 0.143125, 0.444, 0.9025, -0.45125];
            let w2 = [0.526, 0.3755, -0.939875, -0.00725, 0.27075, -1.805];
            net.weights(&[0.506, -0.34325, 1.805, -0.9025], &w2, Some(&r2))?;
            apart(&net, 0.9025)?;
            near("loss at step 3", &net.pass()?.loss, &[0.78343892578125], exact)
        })
    }

    #[test]
    fn kolen_pollack_under_momentum() -> Result<()> {
        each_way(|dtype| {
            let (net, mut optimizer) = kolen_pollack(0.9, dtype)?;
            for _ in 0..2 {
                optimizer.step(&net.pass()?.grads)?;
            }
            let w2 = [0.562, 0.4655, -0.957875, -0.05225, 0.27075, -1.805];
            let r2 = [-0.16, 0.646, 0.125125, 0.399, 0.9025, -0.45125];
            near("W2", net.classes.weight(), &w2, net.exact())?;
            near("R2", net.classes.feedback().expect("R"), &r2, net.exact())?;
            apart(&net, 0.9025)
        })
    }

    /// Other error weights `K`, with the error (−1, ½, 0) at the classes: `φ1`, and the angle of `K` to `W2`.
    #[test]
    fn other_sources() -> Result<()> {
        for (protocol, phi1, degrees) in [
            (Protocol::Frfb, [0.4, -0.1], 70.086056),
            (Protocol::UniformSign, [-0.9486832981, -0.316227766], 43.865836),
            (Protocol::FixedRandomSign, [-0.4, -0.1], 55.989302),
        ] {
            let net = Net::new(protocol)?;
            near(&format!("φ1 of {protocol}"), &net.pass()?.phi1, &phi1, 1e-9)?;
            let angle = mirror::angle(&net.classes.error_weight()?, net.classes.weight())?;
            assert!((angle - degrees).abs() < 1e-6, "{protocol}: {angle}");
        }
        Ok(())
    }

    #[test]
    fn direct() -> Result<()> {
        let net = Net::new(Protocol::Backprop)?;
        let b = tensor(&[0.1, -0.2, 0.3, 0.4, -0.5, 0.6], &[3, 2])?;
        let x1 = Var::new(&[[0.4, 1.0]], CPU)?;
        let out = direct_feedback(&net.classes.forward(&x1.detach())?, &x1, &b)?;
        let loss = HingeHebb::new(1.0)?.loss(&out, &Tensor::new(&[0u32], CPU)?)?;
        near("φ1", &gradient(&loss.backward()?, &x1), &[0.05, 0.4], EXACT)
    }
}

/// A kernel of 2×2 whose window reaches over the lower and the right edge.
#[test]
fn even_kernel() -> Result<()> {
    let config = Conv2dConfig::same(2);
    assert_eq!((config.padding, config.trailing_padding), (0, 1));
    let x = tensor(&[1.0, 2.0, 0.0, 0.0, 1.0, -1.0, 2.0, 0.0, 1.0], &[1, 1, 3, 3])?;
    let w = tensor(&[0.5, -0.5, 0.25, 0.0], &[1, 1, 2, 2])?;
    let r = tensor(&[-0.2, 0.1, 0.4, 0.3], &[1, 1, 2, 2])?;
    let delta = tensor(&[1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 2.0], &[1, 1, 3, 3])?;
    let through_w = [0.5, -0.5, 0.0, 0.25, -0.5, 0.5, 0.0, -0.25, 1.0];
    let through_r = [-0.2, 0.1, 0.0, 0.4, 0.5, -0.1, 0.0, -0.4, -0.7];
    let protocols = [(Protocol::Backprop, through_w), (Protocol::Urfb, through_r)];
    for (protocol, phi) in protocols.into_iter().chain([(Protocol::Frfb, through_r)]) {
        let tied = layer(&w, &r, Geometry::Conv2d(config), protocol)?;
        let x = Var::from_tensor(&x)?;
        for (name, layer) in [("tied", &tied), ("untied", &tied.untied((3, 3))?)] {
            let want = [-0.5, 1.25, -0.25, 0.0, 1.0, -0.25, 1.0, -0.5, 0.5];
            near("h", &layer.forward(&x)?, &want, EXACT)?;
            let grads = send(layer, &x, &delta)?;
            let kernel = gradient(&grads, layer.weight()).reshape(((), 2, 2))?.sum(0)?;
            near(&format!("{protocol} {name} G"), &kernel, &[2.0, 3.0, 0.0, 0.0], EXACT)?;
            near(&format!("{protocol} {name} φ"), &gradient(&grads, &x), &phi, EXACT)?;
        }
    }
    Ok(())
}

/// Three equal maxima in the first window; the last window is won by the zeros beyond the edge.
#[test]
fn overlapping_pool() -> Result<()> {
    let values = [
        [1.0, 1.0, -0.5, 0.2],
        [-1.0, 0.3, 1.0, 0.2],
        [0.1, -0.2, -0.3, -0.4],
        [-0.6, -0.7, -0.8, -0.9],
    ];
    let x = Var::from_tensor(&tensor(&values.concat(), &[1, 1, 4, 4])?)?;
    let pool = |edge, ties| max_pool2d_same(&x, 3, 2, edge, ties);
    let zeros = pool(Edge::Zeros, Ties::All)?;
    near("zeros", &zeros, &[1.0, 1.0, 0.1, 0.0], EXACT)?;
    near("excluded", &pool(Edge::Excluded, Ties::All)?, &[1.0, 1.0, 0.1, -0.3], EXACT)?;
    let down = tensor(&[1.0, 10.0, 100.0, 1000.0], &[1, 1, 2, 2])?;
    let sent =
        |out: Tensor| Ok::<_, candle::Error>(gradient(&(out * &down)?.sum_all()?.backward()?, &x));
    let mut want = [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 11.0, 0.0], [100.0, 0.0, 0.0, 0.0], [0.0; 4]];
    near("φ", &sent(zeros)?, &want.concat(), EXACT)?;
    // If nothing beyond the edge competes, −0.3 wins in the last window.
    want[2][2] = 1000.0;
    near("φ, excluded", &sent(pool(Edge::Excluded, Ties::All)?)?, &want.concat(), EXACT)?;
    // With one winner, the first in row order.
    let first = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 0.0], [100.0, 0.0, 0.0, 0.0], [0.0; 4]];
    near("φ, first", &sent(pool(Edge::Zeros, Ties::First)?)?, &first.concat(), EXACT)
}

/// The gate of the ramp is shut at `|s·h| = 1` itself.
#[test]
fn ramp_gate() -> Result<()> {
    for slope in [0.5, 1.0, 2.0] {
        let edge: f64 = 1.0 / slope;
        let (inside, outside) = (edge.next_down(), edge.next_up());
        let h = [-outside, -edge, -inside, -0.0, 0.0, 0.25, inside, edge, outside, 1e300];
        let gates = [0.0, 0.0, slope, slope, slope, slope, slope, 0.0, 0.0, 0.0];
        let values = h.map(|h: f64| (slope * h).clamp(-1.0, 1.0));
        let h = Var::new(&h, CPU)?;
        let out = ramp(&h, slope)?;
        near("σ", &out, &values, 0.0)?;
        near("σ′", &gradient(&out.sum_all()?.backward()?, &h), &gates, 0.0)?;
    }
    Ok(())
}

/// With tiny outputs, the loss is `1 + μ`.
#[test]
fn initial_loss() -> Result<()> {
    let mut rng = Rng::new(2);
    for (classes, mu) in [(10, 1.0), (100, 10.0)] {
        let fields = (normal(&mut rng, &[50, classes], DType::F64)? * 1e-9)?;
        let labels: Vec<u32> = (0..50).map(|i| i % classes as u32).collect();
        let loss = HingeHebb::new(mu)?.loss(&fields, &Tensor::new(labels, CPU)?)?;
        near("loss", &loss, &[1.0 + mu], 1e-7)?;
    }
    Ok(())
}
