//! Golkar 2020: hand-worked steps and trajectories in f64, identities, and what must fail.

use crate::common::{Result, near};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_models::golkar::{
    Backprop, Circuit, CircuitConfig, Experiment, Initial, Nonlinearity, Online, Optimum, Rates,
    Way, loss, preset,
};

const CPU: &Device = &Device::Cpu;
const WAYS: [Way; 3] = [Way::Surrogates, Way::Energy, Way::Explicit];

fn config(nonlinearity: Nonlinearity) -> CircuitConfig {
    CircuitConfig { nonlinearity, mean_rate: 0.0, ridge: 0.0, level: 1.0, decoupled: false }
}

fn initial(w1: f64, w2: f64) -> Initial {
    Initial { w1, w2, q: 1.0 / 3.0 }
}

fn tensor<const N: usize>(rows: &[[f64; N]]) -> Result<Tensor> {
    Ok(Tensor::from_slice(rows.as_flattened(), (rows.len(), N), CPU)?)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// An example small enough to work by hand: two of everything.
mod by_hand {
    use super::*;

    const EXACT: f64 = 1e-12;
    const RATES: Rates = Rates { w1: 0.1, w2: 0.1, q: 0.05 };

    fn x() -> Result<Tensor> {
        tensor(&[[1.0, 2.0]])
    }

    fn y() -> Result<Tensor> {
        tensor(&[[1.0, -1.0]])
    }

    /// A batch without samples has no means, and a rate that is no number, or one that is negative in descent, moves
    /// nothing.
    #[test]
    fn what_a_step_refuses() -> Result {
        let relu = config(Nonlinearity::Relu);
        let values = |tensors: Vec<(String, Tensor)>| -> Result<Vec<Vec<f64>>> {
            tensors.iter().map(|(_, tensor)| numbers(tensor)).collect()
        };
        let says = |found: candle::Result<()>, words: &str| {
            let error = found.expect_err("accepted").to_string();
            assert!(error.contains(words), "{words:?} in {error}");
        };
        let (none, empty) = (Tensor::zeros((0, 2), DType::F64, CPU)?, "an empty batch [0, 2]");
        for way in WAYS {
            let mut circuit = circuit(relu)?;
            let before = values(circuit.tensors())?;
            says(circuit.step(&none, &none, RATES, way), empty);
            says(circuit.start_mean(&none), empty);
            for (rate, problem) in [
                (f64::NAN, "a learning rate of NaN, expected a finite number"),
                (f64::INFINITY, "a learning rate of inf, expected a finite number"),
                (-0.1, "the learning rate is -0.1"),
            ] {
                if rate < 0.0 && way == Way::Explicit {
                    continue;
                }
                says(circuit.step(&x()?, &y()?, Rates { q: rate, ..RATES }, way), problem);
            }
            assert_eq!(values(circuit.tensors())?, before, "{way:?}");
        }
        let mut network = Backprop::from_circuit(&circuit(relu)?, 0.0)?;
        says(network.step(&none, &none, (0.1, 0.1)), empty);
        let before = numbers(&network.predict(&x()?)?)?;
        says(network.step(&x()?, &y()?, (0.1, f64::NAN)), "the learning rate is NaN");
        assert_eq!(numbers(&network.predict(&x()?)?)?, before);
        says(loss(&none, &none).map(drop), empty);
        Ok(())
    }

    fn circuit(config: CircuitConfig) -> Result<Circuit> {
        circuit_in(DType::F64, config)
    }

    fn circuit_in(dtype: DType, config: CircuitConfig) -> Result<Circuit> {
        let w1 = tensor(&[[0.5, 0.0], [0.25, -0.5]])?.to_dtype(dtype)?;
        let w2 = tensor(&[[1.0, 0.0], [0.5, 2.0]])?.to_dtype(dtype)?;
        let q = tensor(&[[1.0, 0.0], [0.5, 0.5]])?.to_dtype(dtype)?;
        let r = config.decoupled.then(|| q.t()).transpose()?;
        Ok(Circuit::from_weights(config, &w1, &w2, &q, r.as_ref())?)
    }

    fn with_mean(config: CircuitConfig) -> Result<Circuit> {
        with_mean_in(DType::F64, config)
    }

    fn with_mean_in(dtype: DType, config: CircuitConfig) -> Result<Circuit> {
        let mut circuit = circuit_in(dtype, config)?;
        let tensors: std::collections::HashMap<_, _> = circuit.tensors().into_iter().collect();
        circuit.restore(|name, _| match name {
            "mean" => Tensor::new(&[0.1, 0.2], CPU)?.to_dtype(dtype),
            _ => tensors[name].copy(),
        })?;
        Ok(circuit)
    }

    #[test]
    fn linear() -> Result {
        for way in WAYS {
            let mut circuit = circuit(config(Nonlinearity::Identity))?;
            let activity = circuit.activity(&x()?, &y()?)?;
            near("z", &activity.z, &[0.5, -0.75], EXACT)?;
            near("ν", &activity.nu, &[0.125, -0.375], EXACT)?;
            near("c", &activity.c, &[0.375, -1.875], EXACT)?;
            near("E", &circuit.energy(&x()?, &y()?)?, &[0.203125], EXACT)?;
            circuit.step(&x()?, &y()?, RATES, way)?;
            near("W1", circuit.w1(), &[0.5375, 0.075, 0.0625, -0.875], EXACT)?;
            near("W2ᵀ", &circuit.w2().t()?, &[0.95, 0.4, -0.075, 1.875], EXACT)?;
            near("Q", circuit.q(), &[0.953125, -0.009375, 0.4703125, 0.4890625], EXACT)?;
        }
        Ok(())
    }

    #[test]
    fn linear_with_ridge() -> Result {
        let ridge = CircuitConfig { ridge: 0.1, ..config(Nonlinearity::Identity) };
        let w1 = [0.3125, 0.775, -1.9125, -3.725];
        let q = [-0.90625, -0.18125, -0.565625, -0.203125];
        let increments = circuit(ridge)?.increments(&x()?, &y()?)?.1;
        near("ΔW1", &increments.w1, &w1, EXACT)?;
        near("ΔQ", &increments.q, &q, EXACT)?;
        for way in WAYS {
            let mut moved = circuit(ridge)?;
            moved.step(&x()?, &y()?, Rates { w1: 1.0, w2: 0.0, q: 1.0 }, way)?;
            let start = circuit(ridge)?;
            near("W1", &(moved.w1().as_tensor() - start.w1().as_tensor())?, &w1, EXACT)?;
            near("Q", &(moved.q().as_tensor() - start.q().as_tensor())?, &q, EXACT)?;
        }
        for (dtype, tolerance) in [(DType::F16, 2f64.powi(-9)), (DType::BF16, 2f64.powi(-6))] {
            let half = circuit_in(dtype, ridge)?;
            let (x, y) = (x()?.to_dtype(dtype)?, y()?.to_dtype(dtype)?);
            let increments = half.increments(&x, &y)?.1;
            let grads = half.surrogates(&x, &y)?.1.backward()?;
            for (name, increment, var, want) in
                [("ΔW1", increments.w1, half.w1(), w1), ("ΔQ", increments.q, half.q(), q)]
            {
                near(name, &increment, &want, tolerance)?;
                near(name, &grads.get(var).ok_or(name)?.neg()?, &want, tolerance)?;
            }
        }
        Ok(())
    }

    #[test]
    fn relu_with_a_running_mean() -> Result {
        let relu = CircuitConfig { mean_rate: 0.01, ..config(Nonlinearity::Relu) };
        for way in WAYS {
            let mut circuit = with_mean(relu)?;
            let activity = circuit.activity(&x()?, &y()?)?;
            near("h", &activity.h, &[0.5, -0.75], EXACT)?;
            near("z", &activity.z, &[0.4, -0.2], EXACT)?;
            near("ν", &activity.nu, &[0.3, -0.1], EXACT)?;
            near("c", &activity.c, &[0.2, -2.1], EXACT)?;
            near("E", &circuit.energy(&x()?, &y()?)?, &[1.325], EXACT)?;
            circuit.step(&x()?, &y()?, RATES, way)?;
            near("W1", circuit.w1(), &[0.52, 0.04, 0.25, -0.5], EXACT)?;
            near("W2ᵀ", &circuit.w2().t()?, &[0.94, 0.41, -0.02, 1.82], EXACT)?;
            near("Q", circuit.q(), &[0.956, -0.002, 0.472, 0.476], EXACT)?;
            near("z̄", circuit.mean(), &[0.104, 0.198], EXACT)?;
        }
        Ok(())
    }

    #[test]
    fn batch_of_two() -> Result {
        let (x, y) = (tensor(&[[1.0, 2.0], [0.0, 1.0]])?, tensor(&[[1.0, -1.0], [0.0, 1.0]])?);
        let (activity, increments) = circuit(config(Nonlinearity::Identity))?.increments(&x, &y)?;
        near("C", &activity.c, &[0.375, -1.875, 0.75, 2.25], EXACT)?;
        near("ΔW1", &increments.w1, &[0.1875, 0.75, -0.9375, -0.75], EXACT)?;
        near("ΔW2", &increments.w2, &[-0.75, -0.375, -0.75, -1.875], EXACT)?;
        near("ΔQ", &increments.q, &[-0.96875, -0.09375, -0.484375, -0.296875], EXACT)
    }

    #[test]
    fn backprop() -> Result {
        for (nonlinearity, prediction, w1, w2) in [
            (Nonlinearity::Relu, [0.4, -0.2], [0.2, 0.4, 0.0, 0.0], [0.24, -0.12, -0.32, 0.16]),
            (
                Nonlinearity::Identity,
                [0.5, -1.25],
                [0.625, 1.25, 0.5, 1.0],
                [0.25, -0.375, 0.125, -0.1875],
            ),
        ] {
            let relu = nonlinearity == Nonlinearity::Relu;
            let start = if relu {
                with_mean(config(nonlinearity))?
            } else {
                circuit(config(nonlinearity))?
            };
            near("ŷ", &start.predict(&x()?)?, &prediction, EXACT)?;
            let mut network = Backprop::from_circuit(&start, 0.0)?;
            network.step(&x()?, &y()?, (1.0, 1.0))?;
            near("W1", &(network.w1().as_tensor() - start.w1().as_tensor())?, &w1, EXACT)?;
            near("W2", &(network.w2().as_tensor() - start.w2().as_tensor())?, &w2, EXACT)?;
        }
        // z̄ moves to the mean rate (0.5, 0): 0.1 + 0.01·0.4 and 0.2 − 0.01·0.2.
        let moving = CircuitConfig { mean_rate: 0.01, ..config(Nonlinearity::Relu) };
        let mut network = Backprop::from_circuit(&with_mean(moving)?, 0.0)?;
        network.step(&x()?, &y()?, (1.0, 1.0))?;
        let tensors = network.tensors();
        let (_, mean) = tensors.iter().find(|(name, _)| name == "mean").ok_or("a mean")?;
        near("z̄", mean, &[0.104, 0.198], EXACT)?;
        Ok(())
    }

    /// The linear step and the rectified one in f32 and in half precision, to about one unit in the last place: in
    /// tensors, and in f32 on one sample in plain memory.
    #[test]
    fn lower_precision() -> Result {
        struct After {
            config: CircuitConfig,
            w1: [f64; 4],
            w2t: [f64; 4],
            q: [f64; 4],
            mean: [f64; 2],
        }
        let is_right = |name: &str, found: &Circuit, want: &After, tolerance: f64| -> Result {
            near(&format!("{name}, W1"), found.w1(), &want.w1, tolerance)?;
            near(&format!("{name}, W2ᵀ"), &found.w2().t()?, &want.w2t, tolerance)?;
            near(&format!("{name}, Q"), found.q(), &want.q, tolerance)?;
            near(&format!("{name}, z̄"), found.mean(), &want.mean, tolerance)
        };
        for want in [
            After {
                config: config(Nonlinearity::Identity),
                w1: [0.5375, 0.075, 0.0625, -0.875],
                w2t: [0.95, 0.4, -0.075, 1.875],
                q: [0.953125, -0.009375, 0.4703125, 0.4890625],
                mean: [0.0, 0.0],
            },
            After {
                config: CircuitConfig { mean_rate: 0.01, ..config(Nonlinearity::Relu) },
                w1: [0.52, 0.04, 0.25, -0.5],
                w2t: [0.94, 0.41, -0.02, 1.82],
                q: [0.956, -0.002, 0.472, 0.476],
                mean: [0.104, 0.198],
            },
        ] {
            let start = |dtype| match want.config.nonlinearity {
                Nonlinearity::Identity => circuit_in(dtype, want.config),
                Nonlinearity::Relu => with_mean_in(dtype, want.config),
            };
            for (dtype, tolerance) in
                [(DType::F32, 1e-6), (DType::F16, 2f64.powi(-10)), (DType::BF16, 2f64.powi(-7))]
            {
                let (x, y) = (x()?.to_dtype(dtype)?, y()?.to_dtype(dtype)?);
                for way in WAYS {
                    let mut circuit = start(dtype)?;
                    circuit.step(&x, &y, RATES, way)?;
                    is_right(&format!("{way:?} in {dtype:?}"), &circuit, &want, tolerance)?;
                }
            }
            let (mut online, mut stored) = (Online::of(&start(DType::F32)?)?, start(DType::F32)?);
            online.step(&[1.0, 2.0], &[1.0, -1.0], RATES)?;
            online.store(&mut stored)?;
            is_right("online", &stored, &want, 1e-6)?;
        }
        Ok(())
    }

    /// The running mean of rates of 1 is 1 − 0.99ⁿ after n steps. In bf16 it would stop at about 0.8, where a hundredth
    /// of what is left is rounded away.
    #[test]
    fn the_running_mean_of_half_precision_moves_on() -> Result {
        let relu = CircuitConfig { mean_rate: 0.01, ..config(Nonlinearity::Relu) };
        let one = tensor(&[[1.0]])?.to_dtype(DType::BF16)?;
        let mut circuit = Circuit::from_weights(relu, &one, &one, &one, None)?;
        for _ in 0..1000 {
            circuit.step(&one, &one, Rates { w1: 0.0, w2: 0.0, q: 0.0 }, Way::Explicit)?;
        }
        near("z̄", circuit.mean(), &[1.0 - 0.99f64.powi(1000)], 1e-4)
    }

    /// A basal current that is no number makes no rate of 0: the step leaves no weight and no mean that is a number.
    #[test]
    fn nan_stays() -> Result {
        let relu = CircuitConfig { mean_rate: 0.01, ..config(Nonlinearity::Relu) };
        let are_nan = |name: &str, tensors: Vec<(String, Tensor)>| -> Result {
            for (tensor, values) in tensors {
                let values = numbers(&values.to_dtype(DType::F64)?)?;
                assert!(values.iter().all(|value| value.is_nan()), "{name}, {tensor}: {values:?}");
            }
            Ok(())
        };
        let x = tensor(&[[f64::NAN, 2.0]])?;
        let rate = circuit(relu)?.activity(&x, &y()?)?.rate;
        are_nan("activity", vec![("rate".to_string(), rate)])?;
        for way in WAYS {
            let mut circuit = circuit(relu)?;
            circuit.step(&x, &y()?, RATES, way)?;
            are_nan(&format!("{way:?}"), circuit.tensors())?;
        }
        let mut network = Backprop::from_circuit(&circuit(relu)?, 0.0)?;
        network.step(&x, &y()?, (0.1, 0.1))?;
        are_nan("back-propagation", network.tensors())?;
        let mut stored = circuit_in(DType::F32, relu)?;
        let mut online = Online::of(&stored)?;
        online.step(&[f32::NAN, 2.0], &[1.0, -1.0], RATES)?;
        online.store(&mut stored)?;
        are_nan("online", stored.tensors())
    }

    /// The slope at 0 is 0. For x = (2, 1), h = (1, 0), c = (½, −2) − (1, ½), and back-propagation sends W₂ᵀ(0, −1.5) =
    /// (−.75, −3).
    #[test]
    fn a_unit_at_the_threshold_does_not_learn() -> Result {
        let (relu, x) = (config(Nonlinearity::Relu), tensor(&[[2.0, 1.0]])?);
        for way in WAYS {
            let mut circuit = circuit(relu)?;
            near("c", &circuit.activity(&x, &y()?)?.c, &[-0.5, -2.5], EXACT)?;
            circuit.step(&x, &y()?, Rates { w1: 0.1, w2: 0.0, q: 0.0 }, way)?;
            near(&format!("{way:?}"), circuit.w1(), &[0.4, -0.05, 0.25, -0.5], EXACT)?;
        }
        let start = circuit(relu)?;
        let mut network = Backprop::from_circuit(&start, 0.0)?;
        network.step(&x, &y()?, (1.0, 0.0))?;
        let moved = (network.w1().as_tensor() - start.w1().as_tensor())?;
        near("back-propagation", &moved, &[-1.5, -0.75, 0.0, 0.0], EXACT)
    }

    /// NaN would be taken for no ridge, and for a running mean that is that of the last batch.
    #[test]
    fn what_a_circuit_refuses() -> Result {
        let linear = config(Nonlinearity::Identity);
        for wrong in [f64::NAN, f64::INFINITY, -0.1] {
            for (name, config) in [
                ("ridge", CircuitConfig { ridge: wrong, ..linear }),
                ("mean_rate", CircuitConfig { mean_rate: wrong, ..linear }),
            ] {
                let error = circuit(config).err().ok_or("accepted")?.to_string();
                assert!(error.contains(&format!("{name} is {wrong}")), "{error}");
            }
            let error = Backprop::from_circuit(&circuit(linear)?, wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("ridge is {wrong}")), "{error}");
        }
        // W₁ is (2, 2), and an R belongs to a decoupled circuit alone.
        let (square, wide) = (tensor(&[[1.0, 0.0], [0.0, 1.0]])?, tensor(&[[1.0, 0.0, 2.0]])?);
        let decoupled = CircuitConfig { decoupled: true, ..linear };
        for (config, w2, q, r) in [
            (linear, &wide, &square, None),
            (linear, &square, &wide, None),
            (linear, &square, &square, Some(&square)),
            (decoupled, &square, &square, None),
            (decoupled, &square, &square, Some(&wide)),
        ] {
            let made = Circuit::from_weights(config, &square, w2, q, r);
            let error = made.unwrap_err().to_string();
            assert!(error.contains("do not fit: expected (k, m), (n, k)"), "{error}");
        }
        Ok(())
    }

    /// `½λ‖W₂W₁‖²` takes off `λW₂ᵀW₂W₁` and `λW₂W₁W₁ᵀ`, where `W₂W₁` is ((.5, 0), (.75, −1)): a tenth of
    /// ((.875, −.5), (1.5, −2)) and of ((.25, .125), (.375, .6875)).
    #[test]
    fn backprop_with_ridge() -> Result {
        let start = circuit(config(Nonlinearity::Identity))?;
        let mut network = Backprop::from_circuit(&start, 0.1)?;
        network.step(&x()?, &y()?, (1.0, 1.0))?;
        let moved = (network.w1().as_tensor() - start.w1().as_tensor())?;
        near("W1", &moved, &[0.5375, 1.3, 0.35, 1.2], EXACT)?;
        let moved = (network.w2().as_tensor() - start.w2().as_tensor())?;
        near("W2", &moved, &[0.225, -0.3875, 0.0875, -0.25625], EXACT)
    }

    /// Four samples at ε = 0.3 would count 1.2 times: the running mean becomes their own mean and goes no further. The
    /// rates are (.5, 0), (0, 0), (.5, .25) and (1, 1).
    #[test]
    fn a_batch_replaces_the_running_mean_at_most() -> Result {
        let relu = CircuitConfig { mean_rate: 0.3, ..config(Nonlinearity::Relu) };
        let x = tensor(&[[1.0, 2.0], [0.0, 1.0], [1.0, 0.0], [2.0, -1.0]])?;
        let y = tensor(&[[1.0, -1.0], [0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])?;
        for way in WAYS {
            let mut circuit = with_mean(relu)?;
            circuit.step(&x, &y, RATES, way)?;
            near("z̄", circuit.mean(), &[0.5, 0.3125], EXACT)?;
        }
        Ok(())
    }

    /// The level of the constraint: decays, and nothing else, are multiplied by it.
    #[test]
    fn level() -> Result {
        let level = CircuitConfig { level: 0.5, ..config(Nonlinearity::Identity) };
        let half = circuit(level)?.increments(&x()?, &y()?)?.1;
        let whole = circuit(config(Nonlinearity::Identity))?.increments(&x()?, &y()?)?.1;
        near("ΔW1", &half.w1, &numbers(&whole.w1)?, EXACT)?;
        let start = circuit(level)?;
        near("ΔQ", &(half.q - whole.q)?, &numbers(&(start.q().as_tensor() * 0.5)?)?, EXACT)?;
        near("ΔW2", &(half.w2 - whole.w2)?, &numbers(&(start.w2().as_tensor() * 0.5)?)?, EXACT)?;
        for way in WAYS {
            let mut moved = circuit(level)?;
            moved.step(&x()?, &y()?, RATES, way)?;
            let mut explicit = circuit(level)?;
            explicit.step(&x()?, &y()?, RATES, Way::Explicit)?;
            near("Q", moved.q(), &numbers(explicit.q())?, EXACT)?;
        }
        Ok(())
    }
}

/// Four samples (±2, ±1), half of which is the target: a full batch, no random number.
mod trajectory {
    use super::*;

    fn samples() -> Result<(Tensor, Tensor)> {
        let x = tensor(&[[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])?;
        let y = (&x * 0.5)?;
        Ok((x, y))
    }

    const RATES: Rates = Rates { w1: 0.02, w2: 0.02, q: 0.02 };

    fn one() -> Result<Circuit> {
        let (w1, w2) = (tensor(&[[0.1, 0.1]])?, tensor(&[[0.1], [0.1]])?);
        Ok(Circuit::from_weights(
            config(Nonlinearity::Identity),
            &w1,
            &w2,
            &tensor(&[[1.0 / 3.0]])?,
            None,
        )?)
    }

    /// `W₁C_xxW₁ᵀ`, with `C_xx = diag(4, 1)`.
    fn variance(circuit: &Circuit) -> Result<f64> {
        let w1 = numbers(circuit.w1())?;
        Ok(4.0 * w1[0] * w1[0] + w1[1] * w1[1])
    }

    #[test]
    fn one_unit() -> Result {
        let (x, y) = samples()?;
        for way in WAYS {
            let mut circuit = one()?;
            for step in 1..=1000 {
                circuit.step(&x, &y, RATES, way)?;
                let error = loss(&circuit.predict(&x)?, &y)?;
                let check = |w1: [f64; 2], q: f64, l1: f64, digits: f64| -> Result {
                    near(&format!("W1 after {step}"), circuit.w1(), &w1, digits)?;
                    near(&format!("Q after {step}"), circuit.q(), &[q], digits)?;
                    assert!((error - l1).abs() < digits, "L1 after {step}: {error}");
                    Ok(())
                };
                match step {
                    1 => {
                        check([0.10311111, 0.10077778], 0.327, 1.19901814, 6e-9)?;
                        near("W2", circuit.w2(), &[0.102, 0.099], 1e-12)?;
                    }
                    10 => check([0.13542962, 0.10763773], 0.27594233, 1.17500676, 6e-9)?,
                    100 => {
                        check([0.68217353, 0.12494122], 1.50647268, 0.91731359, 6e-9)?;
                        assert!((variance(&circuit)? - 1.8770532).abs() < 6e-8);
                    }
                    1000 => {
                        check([0.5, 8.6e-6], 1.0, 0.25, 1e-7)?;
                        near("W2", circuit.w2(), &[1.0, 8.6e-6], 1e-7)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    #[test]
    fn two_units() -> Result {
        let (x, y) = samples()?;
        let eye = Tensor::eye(2, DType::F64, CPU)?;
        let w1 = tensor(&[[0.1, 0.2], [0.2, -0.1]])?;
        let (w2, q) = ((&eye * 0.1)?, (&eye / 3.0)?);
        let mut circuit =
            Circuit::from_weights(config(Nonlinearity::Identity), &w1, &w2, &q, None)?;
        for step in 1..=20_000 {
            circuit.step(&x, &y, RATES, Way::Explicit)?;
            let (want, digits) = match step {
                1 => (1.2133336, 6e-8),
                10 => (1.1342404, 6e-8),
                100 => (0.272994, 6e-7),
                1000 => (0.0463946, 6e-8),
                5000 => (4.379e-5, 6e-9),
                20_000 => (0.0, 1e-8),
                _ => continue,
            };
            let error = loss(&circuit.predict(&x)?, &y)?;
            assert!((error - want).abs() < digits, "L1 after {step}: {error}, expected {want}");
        }
        let z = circuit.forward(&x)?;
        near("C_zz", &(z.t()?.matmul(&z)? / 4.0)?, &[1.0, 0.0, 0.0, 1.0], 1e-7)?;
        // What is learned is subtracted from the target: nothing is left to teach.
        near("c", &circuit.activity(&x, &y)?.c, &[0.0; 8], 1e-4)?;
        let optimum = Optimum::of(&x, &y, 2, 0.0)?;
        assert!(optimum.loss.abs() < 1e-9 && (optimum.modes[0] - 1.0).abs() < 1e-9);
        assert!((optimum.modes[1] - 0.25).abs() < 1e-9, "{:?}", optimum.modes);
        Ok(())
    }

    /// Descent in Q as well destroys the circuit; without Q, nothing bounds it.
    #[test]
    fn what_must_go_wrong() -> Result {
        let (x, y) = samples()?;
        let mut circuit = one()?;
        for _ in 0..300 {
            circuit.step(&x, &y, Rates { q: -0.02, ..RATES }, Way::Explicit)?;
        }
        assert!(numbers(circuit.w1())?.iter().any(|w| !w.is_finite()));

        let mut circuit = one()?;
        circuit.q().set(&Tensor::zeros((1, 1), DType::F64, CPU)?)?;
        for step in 1..=1000 {
            circuit.step(&x, &y, RATES, Way::Explicit)?;
            let want = match step {
                100 => 2.4,
                300 => 1.1e3,
                1000 => 2.5e12,
                _ => continue,
            };
            let w1 = numbers(circuit.w1())?[0];
            assert!((w1 / want - 1.0).abs() < 0.05, "W1 after {step}: {w1}, expected {want}");
        }
        near("Q", circuit.q(), &[0.0], 0.0)
    }
}

mod identities {
    use super::*;

    fn draw(seed: u64, dtype: DType) -> Result<(Circuit, Tensor, Tensor)> {
        let rng = Rng::new(seed);
        let config =
            CircuitConfig { mean_rate: 0.01, ridge: 0.2, level: 0.7, ..config(Nonlinearity::Relu) };
        let circuit = Circuit::new(config, (7, 5, 3), initial(0.4, 0.4), &rng, dtype, CPU)?;
        let q = rng.stream("q").normal(0.0, 0.5, (5, 5), dtype, CPU)?;
        circuit.q().set(&q)?;
        let mut batch = rng.stream("batch");
        let x = batch.normal(0.0, 1.0, (11, 7), dtype, CPU)?;
        Ok((circuit, x, batch.normal(0.0, 1.0, (11, 3), dtype, CPU)?))
    }

    /// Both gradients are minus the increments, except that the energy's has the other sign in Q.
    #[test]
    fn gradients_are_increments() -> Result {
        for seed in 0..5 {
            let (mut circuit, x, y) = draw(seed, DType::F32)?;
            circuit.start_mean(&x)?;
            let increments = circuit.increments(&x, &y)?.1;
            let surrogates = circuit.surrogates(&x, &y)?.1.backward()?;
            let energy = circuit.energy(&x, &y)?.backward()?;
            for (name, var, increment, sign) in [
                ("W1", circuit.w1(), &increments.w1, -1.0),
                ("W2", circuit.w2(), &increments.w2, -1.0),
                ("Q", circuit.q(), &increments.q, 1.0),
            ] {
                let want = increment.to_dtype(DType::F64)?;
                let scale = want.abs()?.max_all()?.to_scalar::<f64>()?;
                assert!(scale > 1e-2, "{name} {scale}");
                for (grads, sign) in [(&surrogates, -1.0), (&energy, sign)] {
                    let grad = grads.get(var).expect("a gradient").to_dtype(DType::F64)?;
                    near(name, &(grad * sign)?, &numbers(&want)?, 1e-5 * scale)?;
                }
            }
        }
        Ok(())
    }

    /// Leaky compartments come to rest at the closed form, for any Q.
    #[test]
    fn relaxation_ends_at_the_closed_form() -> Result {
        let (circuit, x, y) = draw(3, DType::F64)?;
        let activity = circuit.activity(&x, &y)?;
        let q = circuit.q().as_detached_tensor();
        let mut nu = Tensor::zeros((11, 5), DType::F64, CPU)?;
        let mut c = nu.clone();
        let apical = y.matmul(&circuit.w2().as_detached_tensor())?;
        for _ in 0..400 {
            let driven = activity.z.matmul(&q)?;
            nu = (&nu + ((driven - &nu)? * 0.05)?)?;
            let plateau = (&apical - nu.matmul(&q.t()?)?)?;
            c = (&c + ((plateau - &c)? * 0.05)?)?;
        }
        for (name, got, want) in [("ν", nu, activity.nu), ("c", c, activity.c)] {
            near(name, &got, &numbers(&want)?, 1e-5)?;
        }
        Ok(())
    }

    /// `Qᵀ − R` shrinks by `1 − η_q` a step, whatever the activity.
    #[test]
    fn decoupled_weights_become_transposes() -> Result {
        let rng = Rng::new(9);
        let mut normal = {
            let mut rng = rng.stream("weights");
            move |rows: usize, columns: usize| {
                rng.normal(0.0, 0.4, (rows, columns), DType::F64, CPU)
            }
        };
        let config = CircuitConfig { decoupled: true, ..config(Nonlinearity::Relu) };
        let (w1, w2, q, r) = (normal(5, 7)?, normal(3, 5)?, normal(5, 5)?, normal(5, 5)?);
        for way in [Way::Surrogates, Way::Explicit] {
            let mut circuit = Circuit::from_weights(config, &w1, &w2, &q, Some(&r))?;
            let rates = Rates { w1: 0.02, w2: 0.01, q: 0.05 };
            for _ in 0..40 {
                circuit.step(&normal(4, 7)?, &normal(4, 3)?, rates, way)?;
            }
            let difference = (circuit.q().t()? - circuit.r().expect("r").as_tensor())?;
            let want = ((q.t()? - &r)? * 0.95f64.powi(40))?;
            near("Qᵀ − R", &difference, &numbers(&want)?, 1e-13)?;
            let energy = circuit.energy(&normal(4, 7)?, &normal(4, 3)?);
            let error = energy.unwrap_err().to_string();
            assert!(error.contains("a decoupled circuit has none"), "{error}");
        }
        Ok(())
    }

    /// A decoupled circuit starts with other weights in the two directions, or there would be nothing to learn.
    #[test]
    fn decoupled_weights_differ_at_first() -> Result {
        let config = CircuitConfig { decoupled: true, ..config(Nonlinearity::Relu) };
        let circuit =
            Circuit::new(config, (7, 50, 3), initial(0.1, 0.4), &Rng::new(0), DType::F64, CPU)?;
        let difference = (circuit.q().t()? - circuit.r().expect("r").as_tensor())?;
        // 2,500 values with the standard deviation q/√50.
        let deviation = difference.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt();
        let want = initial(0.1, 0.4).q / 50f64.sqrt();
        assert!((deviation / want - 1.0).abs() < 0.06, "{deviation}, expected {want}");
        Ok(())
    }

    /// Steps of one sample at a time in plain memory equal those in tensors.
    #[test]
    fn online_steps_are_batches_of_one() -> Result {
        let rates = Rates { w1: 0.05, w2: 0.02, q: 0.03 };
        for (nonlinearity, ridge, decoupled) in [
            (Nonlinearity::Relu, 0.0, false),
            (Nonlinearity::Relu, 0.0, true),
            (Nonlinearity::Identity, 0.3, false),
            (Nonlinearity::Relu, 0.3, false),
        ] {
            let config =
                CircuitConfig { nonlinearity, mean_rate: 0.1, ridge, level: 0.8, decoupled };
            let rng = Rng::new(6);
            // Wide enough for sums in lanes with a remainder.
            let mut circuit =
                Circuit::new(config, (77, 5, 3), initial(0.1, 0.4), &rng, DType::F32, CPU)?;
            let mut batch = rng.stream("samples");
            let x = batch.normal(0.0, 1.0, (20, 77), DType::F32, CPU)?;
            let y = batch.normal(0.0, 1.0, (20, 3), DType::F32, CPU)?;
            let mut online = Online::of(&circuit)?;
            for (x, y) in x.to_vec2::<f32>()?.iter().zip(y.to_vec2::<f32>()?) {
                online.step(x, &y, rates)?;
                let (x, y) =
                    (Tensor::from_slice(x, (1, 77), CPU)?, Tensor::new(y, CPU)?.unsqueeze(0)?);
                circuit.step(&x, &y, rates, Way::Explicit)?;
            }
            let mut stored =
                Circuit::new(config, (77, 5, 3), initial(0.1, 0.4), &rng, DType::F32, CPU)?;
            online.store(&mut stored)?;
            for ((name, got), (_, want)) in stored.tensors().iter().zip(circuit.tensors()) {
                let want = numbers(&want.to_dtype(DType::F64)?)?;
                near(name, &got.to_dtype(DType::F64)?, &want, 1e-5)?;
            }
            for (x, y, found) in [(5, 3, "found 5 and 3"), (77, 4, "found 77 and 4")] {
                let error = online.step(&vec![0.0; x], &vec![0.0; y], rates).unwrap_err();
                let error = error.to_string();
                assert!(error.contains("sample of 77 and 3 values") && error.contains(found));
            }
        }
        Ok(())
    }

    #[test]
    fn no_interneurons_stay_none() -> Result {
        let (mut circuit, x, y) = draw(4, DType::F32)?;
        for way in WAYS {
            circuit.q().set(&Tensor::zeros((5, 5), DType::F32, CPU)?)?;
            for _ in 0..5 {
                circuit.step(&x, &y, Rates { w1: 0.0, w2: 0.01, q: 0.1 }, way)?;
            }
            // λW₁W₁ᵀQ and z νᵀ are multiples of Q.
            assert!(circuit.q().flatten_all()?.to_vec1::<f32>()?.iter().all(|&q| q == 0.0));
        }
        Ok(())
    }
}

fn matrix(tensor: &Tensor) -> Result<faer::Mat<f64>> {
    let rows = tensor.to_vec2::<f64>()?;
    Ok(faer::Mat::from_fn(rows.len(), rows[0].len(), |row, column| rows[row][column]))
}

/// The largest angle, in degrees, between the spaces of the rows of `a` and of `b`, both of rank `k`.
fn largest_angle(a: &Tensor, b: &Tensor, k: usize) -> Result<f64> {
    let basis = |tensor: &Tensor| -> Result<faer::Mat<f64>> {
        let svd = matrix(&tensor.detach())?.svd().map_err(|error| format!("{error:?}"))?;
        Ok(svd.V().subcols(0, k).to_owned())
    };
    let (a, b) = (basis(a)?, basis(b)?);
    // By the sine, which is exact for small angles.
    let beyond = &a - &b * (b.transpose() * &a);
    let sines = beyond.singular_values().map_err(|error| format!("{error:?}"))?;
    Ok(sines.iter().fold(0f64, |most, sine| most.max(*sine)).asin().to_degrees())
}

/// Learning approaches the best regression of rank k, which is known in closed form.
#[test]
fn linear_circuits_find_reduced_rank_regression() -> Result {
    let mut rng = Rng::new(12).stream("data");
    let mut normal = |sd: f64, rows, columns| rng.normal(0.0, sd, (rows, columns), DType::F64, CPU);
    let (samples, m, n) = (500, 8, 5);
    // Three targets, each of its own input, with inputs that are correlated.
    let mut map = vec![0f64; m * n];
    for (at, weight) in [1.5, 1.2, 1.0].into_iter().enumerate() {
        map[at * n + at] = weight;
    }
    let map = Tensor::from_vec(map, (m, n), CPU)?;
    let latent = normal(1.0, samples, m)?;
    let mixing = (Tensor::eye(m, DType::F64, CPU)? + normal(0.15, m, m)?)?;
    let x = latent.matmul(&mixing)?;
    let y = (x.matmul(&map)? + normal(0.3, samples, n)?)?;
    for k in [2, 3] {
        let optimum = Optimum::of(&x, &y, k, 0.0)?;
        let config = config(Nonlinearity::Identity);
        let start = Rng::new(k as u64);
        let mut circuit =
            Circuit::new(config, (m, k, n), initial(0.1, 0.1), &start, DType::F64, CPU)?;
        let rates = Rates { w1: 0.02, w2: 0.02, q: 0.02 };
        for _ in 0..10_000 {
            circuit.step(&x, &y, rates, Way::Explicit)?;
        }
        let gap = loss(&circuit.predict(&x)?, &y)? - optimum.loss;
        assert!(gap.abs() < 1e-4 * optimum.total, "k = {k}: {gap} above the optimum");
        let angle = largest_angle(circuit.w1(), &optimum.weights, k)?;
        assert!(angle < 0.1, "k = {k}: rows are {angle}° from those of the optimum");
        let z = circuit.forward(&x)?;
        let apart = ((z.t()?.matmul(&z)? / samples as f64)? - Tensor::eye(k, DType::F64, CPU)?)?;
        let apart = apart.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
        assert!(apart < 1e-3, "k = {k}: C_zz is {apart} from the identity");
        // At the optimum QQᵀ = W₂ᵀW₂, with the modes as eigenvalues, and the plateau is what back-propagation would
        // send.
        let q = circuit.q().as_detached_tensor();
        let (w2, qq) = (circuit.w2().as_detached_tensor(), q.matmul(&q.t()?)?);
        let want = numbers(&w2.t()?.matmul(&w2)?)?;
        let scale = want.iter().fold(0f64, |most, value| most.max(value.abs()));
        near("QQᵀ", &qq, &want, 1e-3 * scale)?;
        let eigenvalues = matrix(&qq)?.self_adjoint_eigenvalues(faer::Side::Lower);
        let eigenvalues = eigenvalues.map_err(|error| format!("eigenvalues: {error:?}"))?;
        assert!(optimum.modes.len() >= k && eigenvalues.len() == k);
        for (found, mode) in eigenvalues.iter().rev().zip(&optimum.modes) {
            assert!((found / mode - 1.0).abs() < 1e-3, "k = {k}: {found}, expected {mode}");
        }
        let sent = (&y - circuit.predict(&x)?)?.matmul(&w2)?;
        let c = circuit.activity(&x, &y)?.c;
        let (sent, c) = (numbers(&sent)?, numbers(&c)?);
        let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let apart: Vec<f64> = sent.iter().zip(&c).map(|(a, b)| a - b).collect();
        assert!(norm(&apart) < 1e-2 * norm(&sent), "k = {k}");
    }
    Ok(())
}

/// The closed form in a case with an obvious answer: independent inputs, each with its own target.
#[test]
fn the_optimum_by_hand() -> Result {
    let x = tensor(&[[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])?;
    let y = (&x * 0.5)?;
    // C_xx = diag(4, 1), C_xy = diag(2, ½): modes 2²/4 and ½²/1 of Tr C_yy = 1.25.
    for (k, want) in [(1, 0.25), (2, 0.0)] {
        let optimum = Optimum::of(&x, &y, k, 0.0)?;
        assert!((optimum.total - 1.25).abs() < 1e-12 && (optimum.loss - want).abs() < 1e-12);
        let fit = loss(&x.matmul(&optimum.weights.t()?)?, &y)?;
        assert!((fit - want).abs() < 1e-12, "the weights have the loss: {fit}");
    }
    // With λ = 1 the modes are 4/5 and ¼/2.
    let ridge = Optimum::of(&x, &y, 2, 1.0)?;
    assert!((ridge.modes[0] - 0.8).abs() < 1e-12 && (ridge.modes[1] - 0.125).abs() < 1e-12);
    // B = diag(2/5, ½/2) in place of ½: the errors are 0.1² · 4 and 0.25² · 1.
    assert!((ridge.loss - (0.04 + 0.0625)).abs() < 1e-12, "{}", ridge.loss);
    // An input that is the same as another: the covariance has no inverse, the optimum is the same.
    let doubled = Tensor::cat(&[&x, &x.narrow(1, 0, 1)?], 1)?;
    assert!((Optimum::of(&doubled, &y, 1, 0.0)?.loss - 0.25).abs() < 1e-9);
    Ok(())
}

/// The optimum of Fig. 3 is for pixels with a single mean subtracted and divided by a single deviation, which the
/// preset of every panel states.
#[test]
fn panels_of_figure_3_say_how_pixels_are_scaled() -> Result {
    // Mean and deviation of all pixels of the training set; for colour images, from the usually quoted values of the
    // channels: 0.5071, 0.4865, 0.4409 and 0.2673, 0.2564, 0.2762 for CIFAR-100.
    for (name, mean, deviation) in [
        ("golkar-mnist-linear", 0.1307, 0.3081),
        ("golkar-fashion-linear", 0.2860, 0.3530),
        ("golkar-cifar10-linear", 0.4734, 0.2516),
        ("golkar-cifar100-linear", 0.4782, 0.2682),
    ] {
        let scaling = preset(name).unwrap().scaling.expect(name);
        assert!((scaling.mean - mean).abs() < 1e-9, "{name}: {scaling:?}");
        assert!((scaling.deviation - deviation).abs() < 1e-9, "{name}: {scaling:?}");
    }
    Ok(())
}

/// As in the paper, the networks for MNIST learn its test images; those for the digits learn the training images.
#[test]
fn experiments_say_which_images_are_learned() {
    for experiment in [Experiment::Fig3, Experiment::Table1] {
        assert_eq!(experiment.swapped("mnist"), Some(50_000), "{experiment:?}");
    }
    assert_eq!(Experiment::Fig3.swapped("digits"), None);
    // It has no network for these images.
    assert_eq!(Experiment::Digits.swapped("mnist"), None);
}
