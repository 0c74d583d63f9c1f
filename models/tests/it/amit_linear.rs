//! The linear case of Amit 2019: hand-worked numbers, invariants of the flow, and the order of the
//! curves that the theory predicts.

use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use hebbian_models::amit::{Feedback, Figure12Config, LinearCurve, LinearSystem, figure_12};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RATES: [f64; 4] = [0.0, 0.25, 0.5, 1.0];

fn scalar(x: f64) -> Result<Tensor> {
    Ok(Tensor::new(&[[[x]]], &Device::Cpu)?)
}

fn largest(t: &Tensor) -> Result<f64> {
    Ok(t.abs()?.max_all()?.to_scalar()?)
}

fn sum(t: &Tensor) -> Result<f64> {
    Ok(t.sum_all()?.to_scalar()?)
}

fn numbers(tensors: &[Tensor]) -> Result<Vec<Vec<f64>>> {
    tensors.iter().map(|t| Ok(t.flatten_all()?.to_vec1()?)).collect()
}

/// The targets, `W_1…W_L` and `R_2…R_L` of three random networks.
fn random(sizes: &[usize], seed: u64) -> Result<(Tensor, Vec<Tensor>, Vec<Tensor>)> {
    let mut rng = Rng::new(seed);
    let mut normal = |inputs: usize, units: usize| {
        rng.normal(0.0, 0.3, (3, units, inputs), DType::F64, &Device::Cpu)
    };
    let target = normal(sizes[0], sizes[sizes.len() - 1])?;
    let mut levels = |sizes: &[usize]| {
        sizes.windows(2).map(|pair| normal(pair[0], pair[1])).collect::<candle::Result<_>>()
    };
    Ok((target, levels(sizes)?, levels(&sizes[1..])?))
}

fn system(sizes: &[usize], seed: u64, rate: f64) -> Result<LinearSystem> {
    let (target, weights, feedback) = random(sizes, seed)?;
    Ok(LinearSystem::new(target, weights, Feedback::Random { weights: feedback, rate })?)
}

fn feedback_of(system: &LinearSystem) -> Result<(&[Tensor], f64)> {
    match system.feedback() {
        Feedback::Random { weights, rate } => Ok((weights, *rate)),
        Feedback::Backprop => Err("no feedback weights".into()),
    }
}

mod exact {
    use super::*;

    fn scalar_system(rate: f64) -> Result<LinearSystem> {
        let feedback = Feedback::Random { weights: vec![scalar(0.5)?], rate };
        Ok(LinearSystem::new(scalar(1.0)?, vec![scalar(0.0)?, scalar(0.0)?], feedback)?)
    }

    /// `e` after k steps of 0.1 from `w₁ = w₂ = 0`, `r = 0.5`, `t = 1`, for each of `RATES`. From
    /// an independent simulation; the first three rows follow by hand (see `state_by_hand`).
    const ERRORS: [(usize, [f64; 4]); 7] = [
        (1, [1.000000, 1.000000, 1.000000, 1.000000]),
        (2, [0.999500, 0.999500, 0.999500, 0.999500]),
        (3, [0.997751, 0.997749, 0.997747, 0.997744]),
        (10, [0.894489, 0.890383, 0.886195, 0.877569]),
        (20, [0.436305, 0.381680, 0.331017, 0.243198]),
        (30, [0.114711, 0.070024, 0.042845, 0.016359]),
        (40, [0.023694, 0.009597, 0.004101, 0.000843]),
    ];

    #[test]
    fn scalar_table() -> Result<()> {
        for (column, rate) in RATES.into_iter().enumerate() {
            let mut system = scalar_system(rate)?;
            let mut taken = 0;
            for (k, row) in ERRORS {
                while taken < k {
                    system.step(0.1)?;
                    taken += 1;
                }
                let (e, expected) = (sum(system.error())?, row[column]);
                assert!((e - expected).abs() <= 0.5e-6, "ε {rate}, k {k}: {e}, not {expected}");
            }
        }
        Ok(())
    }

    /// `w₁: 0, .05, .1, .1 + .1·.505·.9995`; `w₂: 0, 0, .005, .005 + .1·.9995·.1`; `r = .5 + w₂`.
    #[test]
    fn state_by_hand() -> Result<()> {
        let mut system = scalar_system(1.0)?;
        for _ in 0..3 {
            system.step(0.1)?;
        }
        let (feedback, _) = feedback_of(&system)?;
        let state = [&system.weights()[0], &system.weights()[1], &feedback[0]];
        for (x, expected) in state.into_iter().zip([0.15047475, 0.014995, 0.514995]) {
            assert!((sum(x)? - expected).abs() < 1e-15, "{x}, not {expected}");
        }
        Ok(())
    }

    /// `W = (1, 2, 3, 4)` and `R = (1, 3, 2, 5)`: 5.5/√(5·8.75). `None` if a matrix has no spread, and NaN if it holds
    /// a NaN.
    #[test]
    fn correlation() -> Result<()> {
        let matrices = |x: [[f64; 4]; 2]| Tensor::new(&x, &Device::Cpu)?.reshape((2, 2, 2));
        let (counting, flat) = ([1.0, 2.0, 3.0, 4.0], [2.0; 4]);
        let w = matrices([counting, flat])?;
        let r = matrices([[1.0, 3.0, 2.0, 5.0], counting])?;
        let feedback = Feedback::Random { weights: vec![r, w.clone()], rate: 1.0 };
        let system = LinearSystem::new(w.clone(), vec![w; 3], feedback)?;
        let found = system.correlations()?;
        let [level_2, level_3] = [&found[0], &found[1]];
        assert!((level_2[0].ok_or("none")? - 5.5 / 43.75f64.sqrt()).abs() < 1e-15, "{found:?}");
        assert!((level_3[0].ok_or("none")? - 1.0).abs() < 1e-15, "{found:?}");
        assert_eq!([level_2[1], level_3[1]], [None, None]);
        let feedback = Feedback::Random { weights: vec![scalar(f64::NAN)?], rate: 1.0 };
        let system = LinearSystem::new(scalar(1.0)?, vec![scalar(2.0)?; 2], feedback)?;
        assert!(system.correlations()?[0][0].is_some_and(f64::is_nan));
        Ok(())
    }
}

mod equivalence {
    use super::*;

    /// A step of 1 moves the weights by minus autograd's gradient of `½‖E‖²`.
    #[test]
    fn backprop_is_the_gradient() -> Result<()> {
        let (target, weights, _) = random(&[6, 5, 4, 3], 1)?;
        let vars = weights.iter().map(Var::from_tensor).collect::<candle::Result<Vec<_>>>()?;
        let product = vars[2].matmul(&vars[1].matmul(&vars[0])?)?;
        let loss = ((&target - product)?.sqr()?.sum_all()? * 0.5)?;
        let grads = loss.backward()?;
        let mut system = LinearSystem::new(target, weights.clone(), Feedback::Backprop)?;
        system.step(1.0)?;
        for ((new, old), var) in system.weights().iter().zip(&weights).zip(&vars) {
            let gradient = grads.get(var).ok_or("no gradient")?;
            assert!(largest(&((new - old)? + gradient)?)? < 1e-14);
        }
        Ok(())
    }

    /// The two-level system as it is usually written, with `R` of `n₁ × n₂`.
    #[test]
    fn two_levels_in_the_usual_form() -> Result<()> {
        let (target, weights, feedback) = random(&[6, 5, 4], 2)?;
        let (dt, rate) = (0.1, 0.3);
        let (mut w1, mut w2) = (weights[0].clone(), weights[1].clone());
        let mut r = feedback[0].t()?.contiguous()?;
        let mut system = LinearSystem::new(
            target.clone(),
            weights,
            Feedback::Random { weights: feedback, rate },
        )?;
        for _ in 0..5 {
            let e = (&target - w2.matmul(&w1)?)?;
            let (dw1, dw2) = (r.matmul(&e)?, e.matmul(&w1.t()?)?);
            let dr = w1.matmul(&e.t()?)?;
            w1 = (w1 + (dw1 * dt)?)?;
            w2 = (w2 + (dw2 * dt)?)?;
            r = (r + (dr * (dt * rate))?)?;
            system.step(dt)?;
        }
        let (feedback, _) = feedback_of(&system)?;
        for (ours, usual) in [
            (&system.weights()[0], w1),
            (&system.weights()[1], w2),
            (&feedback[0], r.t()?.contiguous()?),
        ] {
            assert!(largest(&(ours - usual)?)? < 1e-14);
        }
        Ok(())
    }

    /// Each run gives, bit for bit, what it gives alone.
    #[test]
    fn runs_do_not_touch() -> Result<()> {
        let (target, weights, feedback) = random(&[8, 9, 7, 5], 13)?;
        let take = |run: usize, tensors: &[Tensor]| {
            tensors.iter().map(|t| t.narrow(0, run, 1)).collect::<candle::Result<Vec<_>>>()
        };
        let evolve = |target: &Tensor, weights, feedback| -> Result<Vec<Vec<f64>>> {
            let feedback = Feedback::Random { weights: feedback, rate: 0.5 };
            let mut system = LinearSystem::new(target.clone(), weights, feedback)?;
            for _ in 0..20 {
                system.step(0.05)?;
            }
            numbers(system.weights())
        };
        let together = evolve(&target, weights.clone(), feedback.clone())?;
        for run in 0..3 {
            let target = target.narrow(0, run, 1)?;
            let alone = evolve(&target, take(run, &weights)?, take(run, &feedback)?)?;
            for (together, alone) in together.iter().zip(alone) {
                assert_eq!(together[run * alone.len()..][..alone.len()], alone);
            }
        }
        Ok(())
    }

    /// Zipser and Rumelhart: feedback weights that equal the weights at the start equal them for ever.
    #[test]
    fn learning_feedback_that_starts_as_the_weights_is_backprop() -> Result<()> {
        for sizes in [&[12, 9, 5][..], &[8, 9, 7, 5]] {
            let (target, weights, _) = random(sizes, 3)?;
            let shadow = Feedback::Random { weights: weights[1..].to_vec(), rate: 1.0 };
            let mut shadowed = LinearSystem::new(target.clone(), weights.clone(), shadow)?;
            let mut backprop = LinearSystem::new(target, weights, Feedback::Backprop)?;
            for _ in 0..300 {
                shadowed.step(0.02)?;
                backprop.step(0.02)?;
            }
            assert!(backprop.relative_errors()?.iter().all(|&error| error < 0.5));
            let weights = numbers(backprop.weights())?;
            assert_eq!(numbers(shadowed.weights())?, weights);
            assert_eq!(numbers(feedback_of(&shadowed)?.0)?, weights[1..]);
        }
        Ok(())
    }
}

mod property {
    use super::*;

    fn balances(system: &LinearSystem) -> Result<Vec<Tensor>> {
        Ok(system.conserved()?.into_iter().map(|conserved| conserved.balance).collect())
    }

    /// How far the balances move in 2 units of time.
    fn drift(mut system: LinearSystem, steps: usize) -> Result<f64> {
        let before = balances(&system)?;
        for _ in 0..steps {
            system.step(2.0 / steps as f64)?;
        }
        let moved = before.iter().zip(balances(&system)?).map(|(a, b)| largest(&(a - b)?));
        Ok(moved.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max))
    }

    /// The difference moves only by the rounding errors of 300 steps; the weights are of order 1.
    #[test]
    fn difference_is_conserved() -> Result<()> {
        for sizes in [&[12, 9, 5][..], &[8, 9, 7, 5]] {
            for rate in RATES {
                let mut system = system(sizes, 4, rate)?;
                let before = system.conserved()?;
                assert_eq!(before.len(), sizes.len() - 2); // a level for each feedback
                for _ in 0..300 {
                    system.step(0.03)?;
                }
                for (level, (a, b)) in before.iter().zip(system.conserved()?).enumerate() {
                    let moved = largest(&(&a.difference - &b.difference)?)?;
                    assert!(moved < 1e-13, "{sizes:?}, ε {rate}, level {level}: {moved}");
                    // R − εW from its definition
                    let (feedback, _) = feedback_of(&system)?;
                    let defined = (&feedback[level] - (&system.weights()[level + 1] * rate)?)?;
                    assert_eq!(largest(&(b.difference - defined)?)?, 0.0);
                }
            }
        }
        Ok(())
    }

    /// The drift is of order `dt`: with half the step, it is half as large.
    #[test]
    fn balance_is_conserved_by_the_flow() -> Result<()> {
        for sizes in [&[12, 9, 5][..], &[8, 9, 7, 5]] {
            let (target, weights, _) = random(sizes, 5)?;
            let backprop = LinearSystem::new(target, weights, Feedback::Backprop)?;
            let systems = RATES.iter().map(|&rate| system(sizes, 5, rate));
            for system in systems.chain([Ok(backprop)]) {
                let system = system?;
                let (coarse, fine) = (drift(system.clone(), 200)?, drift(system, 400)?);
                assert!(coarse > 1e-6 && coarse < 0.1, "{coarse}");
                let ratio = coarse / fine;
                assert!((ratio - 2.0).abs() < 0.05, "{sizes:?}: {coarse}, then {fine}: {ratio}");
            }
        }
        Ok(())
    }

    /// The balance of two levels in its usual form, `W₁W₁ᵀ − εW₂ᵀW₂ − CW₂ − W₂ᵀCᵀ` with
    /// `C = Rᵗ − εW₂ᵀ`.
    #[test]
    fn balance_in_the_usual_form() -> Result<()> {
        let system = system(&[12, 9, 5], 6, 0.3)?;
        let (feedback, rate) = feedback_of(&system)?;
        let (w1, w2) = (&system.weights()[0], &system.weights()[1]);
        let c = (feedback[0].t()? - (w2.t()? * rate)?)?;
        let cw2 = c.matmul(w2)?;
        let usual = ((w1.matmul(&w1.t()?)? - (w2.t()?.matmul(w2)? * rate)?)? - &cw2)?;
        let usual = (usual - cw2.t()?)?;
        assert!(largest(&(usual - &balances(&system)?[0])?)? < 1e-14);
        Ok(())
    }

    /// `d/dt ½‖E‖² = −‖W₁Eᵀ‖² − ε‖W₂ᵀE‖² − tr(EᵀW₂CE)`, summed over the runs, against a central
    /// difference; its error is of order `dt² = 1e-8`.
    #[test]
    fn energy_identity() -> Result<()> {
        for rate in RATES {
            let mut system = system(&[12, 9, 5], 7, rate)?;
            for _ in 0..50 {
                system.step(0.02)?;
            }
            let (feedback, _) = feedback_of(&system)?;
            let (w1, w2, e) = (&system.weights()[0], &system.weights()[1], system.error());
            let c = (feedback[0].t()? - (w2.t()? * rate)?)?;
            let square = |t: Tensor| sum(&t.sqr()?);
            let cross = e.t()?.matmul(&w2.matmul(&c)?.matmul(e)?)?;
            let eye = Tensor::eye(cross.dim(1)?, DType::F64, &Device::Cpu)?;
            let formula = -square(w1.matmul(&e.t()?)?)?
                - rate * square(w2.t()?.matmul(e)?)?
                - sum(&cross.broadcast_mul(&eye)?)?;
            let energy = |dt: f64| -> Result<f64> {
                let mut system = system.clone();
                system.step(dt)?;
                Ok(0.5 * sum(&system.error().sqr()?)?)
            };
            let difference = (energy(1e-4)? - energy(-1e-4)?) / 2e-4;
            assert!(formula < -0.01, "{formula}");
            assert!((difference / formula - 1.0).abs() < 1e-6, "ε {rate}: {difference}, {formula}");
        }
        Ok(())
    }

    /// From zero weights, the first level moves through the feedback, then the levels above it in
    /// turn; with back-propagation, no weights ever move.
    #[test]
    fn zero_weights_leave_zero_through_the_feedback_only() -> Result<()> {
        let (target, weights, feedback) = random(&[8, 9, 7, 5], 8)?;
        let zeros = weights.iter().map(Tensor::zeros_like).collect::<candle::Result<Vec<_>>>()?;
        let moved = |system: &LinearSystem| -> Result<Vec<bool>> {
            system.weights().iter().map(|w| Ok(largest(w)? > 0.0)).collect()
        };
        let mut backprop = LinearSystem::new(target.clone(), zeros.clone(), Feedback::Backprop)?;
        let random = Feedback::Random { weights: feedback, rate: 1.0 };
        let mut system = LinearSystem::new(target, zeros, random)?;
        for levels in 1..=3 {
            system.step(0.1)?;
            backprop.step(0.1)?;
            assert_eq!(moved(&system)?, [0, 1, 2].map(|level| level < levels));
            assert_eq!(moved(&backprop)?, [false; 3]);
        }
        Ok(())
    }
}

mod figure {
    use super::*;

    /// 20 runs from zero weights; `means` are the mean arrivals of an independent simulation with
    /// 20 other draws.
    fn hitting_times(sizes: [usize; 3], iterations: usize, means: [f64; 4]) -> Result<()> {
        let config = Figure12Config {
            sizes: sizes.to_vec(),
            weight_std: 0.0,
            iterations,
            record_every: 5,
            runs: 20,
            backprop: false,
            ..Default::default()
        };
        let figure = figure_12(&config, &Rng::new(9))?;
        let mut arrivals = vec![Vec::new(); RATES.len()];
        for run in figure.curves.chunks(RATES.len()) {
            for (curve, arrivals) in run.iter().zip(&mut arrivals) {
                arrivals.push(curve.arrived_after.ok_or("not there yet: more iterations")? as f64);
            }
            for pair in run.windows(2) {
                let (slow, fast) = (&pair[0], &pair[1]);
                assert!(fast.arrived_after < slow.arrived_after, "run {}", fast.run);
                // The start does not depend on ε.
                let errors = slow.relative_errors.iter().zip(&fast.relative_errors).skip(1);
                for ((slow, fast), k) in errors.zip(&pair[0].iterations[1..]) {
                    assert!(fast < slow, "run {}, step {k}: {fast}, {slow}", pair[0].run);
                }
            }
        }
        // Two means of n draws each typically differ by √2 standard errors; four times that is
        // allowed, with the spread of this test's own draws.
        for ((arrivals, mean), rate) in arrivals.iter().zip(means).zip(RATES) {
            let n = arrivals.len() as f64;
            let ours = arrivals.iter().sum::<f64>() / n;
            let variance = arrivals.iter().map(|x| (x - ours).powi(2)).sum::<f64>() / (n - 1.0);
            let tolerance = 4.0 * (2.0 * variance / n).sqrt();
            assert!((ours - mean).abs() < tolerance, "{sizes:?}, ε {rate}: {ours}, not {mean}");
        }
        Ok(())
    }

    #[test]
    fn arrivals_10_10_10() -> Result<()> {
        hitting_times([10, 10, 10], 2400, [1422.0, 1027.0, 907.0, 788.0])
    }

    #[test]
    fn arrivals_30_20_10() -> Result<()> {
        hitting_times([30, 20, 10], 800, [652.0, 597.0, 562.0, 515.0])
    }

    #[test]
    fn arrivals_40_40_10() -> Result<()> {
        hitting_times([40, 40, 10], 800, [513.0, 485.0, 464.0, 434.0])
    }

    #[test]
    fn arrivals_20_40_20() -> Result<()> {
        hitting_times([20, 40, 20], 800, [633.0, 589.0, 561.0, 524.0])
    }

    /// The default figure: complete, and as the theory says.
    #[test]
    fn default_figure() -> Result<()> {
        let config: Figure12Config = serde_json::from_str("{}")?;
        assert_eq!(config, Figure12Config::default());
        let figure = figure_12(&config, &Rng::new(10))?;
        let kinds: Vec<_> = figure.curves.iter().map(|c| (c.run, c.feedback_rate)).collect();
        let run = |run| [None, Some(0.0), Some(0.25), Some(0.5), Some(1.0)].map(|rate| (run, rate));
        assert_eq!(kinds, [run(0), run(1), run(2)].concat());
        for curve in &figure.curves {
            let points: Vec<usize> = (0..=2000).step_by(10).collect();
            assert_eq!(curve.iterations, points);
            assert_eq!(curve.relative_errors.len(), points.len());
            assert_eq!(curve.correlations.len(), 1);
            assert_eq!(curve.correlations[0].len(), points.len());
            let correlation = curve.correlations[0].iter().map(|c| c.ok_or("none"));
            let correlation = correlation.collect::<std::result::Result<Vec<_>, _>>()?;
            let (first, last) = (correlation[0], correlation[points.len() - 1]);
            match curve.feedback_rate {
                None => assert!(correlation.iter().all(|c| (c - 1.0).abs() < 1e-12)),
                // 200 independent pairs: a standard error of 1/√200 = 0.07.
                Some(_) => assert!(first.abs() < 0.3 && last > 0.5, "{first}, {last}"),
            }
            let arrival = curve.arrived_after.ok_or("not there yet")?;
            for (&k, &error) in points.iter().zip(&curve.relative_errors) {
                assert_eq!(error < config.arrival, k >= arrival, "{k} of {arrival}");
            }
        }
        let all = serde_json::to_value(&figure)?;
        assert_eq!(all["curves"][0]["feedback_rate"], serde_json::Value::Null);
        Ok(())
    }

    /// Three levels: a correlation for each of the two with feedback. The same seed gives the same
    /// figure, and a run does not depend on the number of runs.
    #[test]
    fn three_levels() -> Result<()> {
        let config = Figure12Config {
            sizes: vec![12, 10, 8, 6],
            runs: 2,
            iterations: 100,
            weight_std: 0.2,
            ..Default::default()
        };
        let figure = figure_12(&config, &Rng::new(11))?;
        let falls = |c: &LinearCurve| c.relative_errors.windows(2).all(|pair| pair[1] < pair[0]);
        assert!(figure.curves.iter().all(|c| c.correlations.len() == 2));
        assert!(falls(&figure.curves[0]));
        assert_eq!(figure, figure_12(&config, &Rng::new(11))?);
        let single = figure_12(&Figure12Config { runs: 1, ..config }, &Rng::new(11))?;
        assert_eq!(single.curves, figure.curves[..5]);
        Ok(())
    }

    #[test]
    fn refusals() -> Result<()> {
        let refused = |config: Figure12Config| -> Result<String> {
            Ok(figure_12(&config, &Rng::new(0)).err().ok_or("accepted")?.to_string())
        };
        let default = Figure12Config::default;
        let cases = [
            (Figure12Config { sizes: vec![30, 10], ..default() }, "sizes [30, 10]"),
            (Figure12Config { sizes: vec![30, 0, 10], ..default() }, "none of them 0"),
            (Figure12Config { record_every: 0, ..default() }, "a point every 0 steps"),
            (Figure12Config { runs: 0, ..default() }, "0 runs"),
            (Figure12Config { step: f64::NAN, ..default() }, "a step of NaN"),
            (Figure12Config { step: 50.0, ..default() }, "take a smaller step"),
        ];
        for (config, expected) in cases {
            let message = refused(config)?;
            assert!(message.contains(expected), "{message}");
        }
        assert!(serde_json::from_str::<Figure12Config>(r#"{"sized": [1, 1, 1]}"#).is_err());
        Ok(())
    }
}

#[test]
fn refused_systems() -> Result<()> {
    let (target, weights, feedback) = random(&[6, 5, 4], 12)?;
    let random = |weights| Feedback::Random { weights, rate: 1.0 };
    let swapped: Vec<Tensor> = weights.iter().rev().cloned().collect();
    let single = |t: &Tensor| t.to_dtype(DType::F32);
    let cases = [
        (&target, weights[..1].to_vec(), Feedback::Backprop, "at least two"),
        (&target, swapped, Feedback::Backprop, "weights of [3, 4, 5] at level 1"),
        (&feedback[0], weights.clone(), Feedback::Backprop, "expected [3, 5, 5]"),
        (&target, weights.clone(), random(vec![]), "feedback weights of []"),
        (&target, weights.clone(), random(vec![target.clone()]), "expected [[3, 4, 5]]"),
        (&target, weights.clone(), random(vec![single(&feedback[0])?]), "convert all of it"),
        (&single(&target)?, weights.clone(), Feedback::Backprop, "a linear system of f32"),
    ];
    for (target, weights, feedback, expected) in cases {
        let refused = LinearSystem::new(target.clone(), weights, feedback).err();
        let message = refused.ok_or("accepted")?.to_string();
        assert!(message.contains(expected), "{message}");
    }
    Ok(())
}
