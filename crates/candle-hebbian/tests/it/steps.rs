//! Steps: the definitions of the parts, how parts chain, and what is refused. Expected values are worked out by hand or
//! by a plain loop over weights.

use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::{
    Constraint, CosineDecay, Descent, ExponentialDecay, LargestEntry, LinearDecay, NormDependent,
    Part, PartConfig, Rng, Steps, StepsBuilder, StepsConfig, UnitNorm, WeightDecay, WeightDims,
    ops::composed,
};
use candle_nn::Optimizer;

const CPU: &Device = &Device::Cpu;

fn var(values: &[f64], shape: &[usize]) -> Result<Var> {
    Var::from_slice(values, shape, CPU)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn near(got: &Tensor, want: &[f64]) -> Result<()> {
    let got = numbers(got)?;
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 1e-9, "{got:?}, expected {want:?}");
    }
    Ok(())
}

/// Takes one step of one variable.
fn step(chain: StepsBuilder, weight: &Var, gradient: &[f64]) -> Result<()> {
    let gradient = Tensor::from_slice(gradient, weight.shape(), CPU)?.to_dtype(weight.dtype())?;
    chain.build([weight.clone()])?.descend(|_| Some(gradient.clone()))
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

mod exact {
    use super::*;

    #[test]
    fn plain_descent() -> Result<()> {
        let (weight, other) = (var(&[1.0, 2.0, 3.0], &[3])?, var(&[5.0], &[1])?);
        let mut steps = Steps::new(
            vec![weight.clone(), other.clone()],
            StepsConfig { learning_rate: 0.25, ..Default::default() },
        )?;
        // ½‖w‖² has the gradient w; the other variable has no gradient and keeps its value.
        steps.backward_step(&(weight.as_tensor().sqr()? * 0.5)?.sum_all()?)?;
        assert_eq!(numbers(&weight)?, [0.75, 1.5, 2.25]);
        assert_eq!(numbers(&other)?, [5.0]);
        steps.set_learning_rate(1.0);
        steps.backward_step(&weight.sum_all()?)?;
        assert_eq!(numbers(&weight)?, [-0.25, 0.5, 1.25]);
        assert_eq!(steps.learning_rate(), 1.0);
        Ok(())
    }

    /// (1 − 0.5·0.2)·w − 0.5·G = 0.9·w − 0.5·G.
    #[test]
    fn weight_decay() -> Result<()> {
        let weight = var(&[1.0, -2.0, 0.0], &[3])?;
        step(Steps::builder(0.5).then(WeightDecay { rate: 0.2 }), &weight, &[1.0, 2.0, -3.0])?;
        near(&weight, &[0.4, -2.8, 1.5])
    }

    /// The schedule scales the decay, wherever it stands in the chain; the division by the largest entry (4) and the
    /// norm-dependent factor (|5 − 1|^½ = 2) do not. η = 0.5·(1 − 0.6) = 0.2, so w is multiplied by 1 − 0.2·0.5 = 0.9
    /// and loses 0.2·2·(4, −2)/4 = (0.4, −0.2).
    #[test]
    fn decay_is_decoupled() -> Result<()> {
        let decay = WeightDecay { rate: 0.5 };
        let chain = || Steps::builder(0.5);
        let norm_dependent = NormDependent { power: 0.5 };
        for chain in [
            chain().then(decay).then(LargestEntry).then(norm_dependent).then(LinearDecay),
            chain().then(LinearDecay).then(LargestEntry).then(norm_dependent).then(decay),
        ] {
            let weight = var(&[3.0, 4.0], &[1, 2])?;
            let mut steps = chain.build([weight.clone()])?;
            steps.set_progress(0.6);
            let gradient = Tensor::new(&[[4f64, -2.0]], CPU)?;
            steps.descend(|_| Some(gradient.clone()))?;
            near(&weight, &[2.3, 3.8])?;
        }
        Ok(())
    }

    /// Norms 5 and 2, q = 1: factors 4 and 1. If the factors come first, the largest of (4·1, 1·3) is 4; if the largest
    /// entry comes first, it is 3, and the first unit's step is larger than η.
    #[test]
    fn parts_act_in_order() -> Result<()> {
        let (weight, gradient) = (&[3.0, 4.0, 0.0, 2.0], &[1.0, 0.0, 0.0, 3.0]);
        let norm_dependent = NormDependent { power: 1.0 };
        let moved = var(weight, &[2, 2])?;
        step(Steps::builder(0.3).then(norm_dependent).then(LargestEntry), &moved, gradient)?;
        near(&moved, &[3.0 - 0.3, 4.0, 0.0, 2.0 - 0.3 * 0.75])?;
        let moved = var(weight, &[2, 2])?;
        step(Steps::builder(0.3).then(LargestEntry).then(norm_dependent), &moved, gradient)?;
        near(&moved, &[3.0 - 0.3 * 4.0 / 3.0, 4.0, 0.0, 2.0 - 0.3])
    }

    /// (2, 2) − (−1, −2) = (3, 4) of norm 5. A unit whose weights are 0 and do not move stays at 0.
    #[test]
    fn norm_one_after_the_step() -> Result<()> {
        let weight = var(&[2.0, 2.0, 0.0, 0.0], &[2, 2])?;
        step(Steps::builder(1.0).then(UnitNorm), &weight, &[-1.0, -2.0, 0.0, 0.0])?;
        near(&weight, &[0.6, 0.8, 0.0, 0.0])?;
        // In the pass that also scales by the rates of units: the largest entry becomes 1, so (0.6, 0.8 + 1).
        step(
            Steps::builder(1.0).then(LargestEntry).then(UnitNorm),
            &weight,
            &[0.0, -7.0, 0.0, 0.0],
        )?;
        let norm = (0.36f64 + 3.24).sqrt();
        near(&weight, &[0.6 / norm, 1.8 / norm, 0.0, 0.0])
    }

    /// A schedule changes the rate of a step, not the learning rate that it starts from.
    #[test]
    fn schedules_start_from_the_learning_rate() -> Result<()> {
        let weight = var(&[0.0], &[1])?;
        let mut steps = Steps::builder(1.0).then(LinearDecay).build([weight.clone()])?;
        for progress in [0.0, 0.25, 0.5] {
            steps.set_progress(progress);
            assert_eq!(steps.progress(), progress);
            steps.descend(|weight| weight.ones_like().ok())?;
        }
        near(&weight, &[-(1.0 + 0.75 + 0.5)])?;
        assert_eq!(steps.learning_rate(), 1.0);
        assert_eq!([1.0, 1.5].map(|progress| LinearDecay.rate(0.05, progress)), [0.0, 0.0]);
        assert!(LinearDecay.rate(0.05, f64::NAN).is_nan());

        // ½(1 + cos πp): cos of 0, 60, 90, 120 and 180 degrees is 1, ½, 0, −½, −1.
        let mut total = 0.0;
        let weight = var(&[0.0], &[1])?;
        let mut steps = Steps::builder(2.0).then(CosineDecay).build([weight.clone()])?;
        for (progress, rate) in
            [(0.0, 2.0), (1.0 / 3.0, 1.5), (0.5, 1.0), (2.0 / 3.0, 0.5), (1.0, 0.0)]
        {
            steps.set_progress(progress);
            steps.descend(|weight| weight.ones_like().ok())?;
            total += rate;
            near(&weight, &[-total])?;
        }
        Ok(())
    }
}

/// The step of the released code, weight by weight, in the type's own arithmetic.
macro_rules! released {
    ($name:ident, $t:ty) => {
        fn $name(weight: &[$t], gradient: &[$t], sites: usize, fan_in: usize) -> Vec<$t> {
            let site = weight.len() / sites;
            let mut moved = weight.to_vec();
            for (moved, gradient) in moved.chunks_mut(site).zip(gradient.chunks(site)) {
                let largest = gradient.iter().fold(0.0, |most: $t, g| most.max(g.abs()));
                for (w, g) in moved.chunks_mut(fan_in).zip(gradient.chunks(fan_in)) {
                    // The sum of squares as it is formed on the CPU: in sixteen running sums.
                    let mut sums = [0.0 as $t; 16];
                    w.iter().enumerate().for_each(|(i, w)| sums[i % 16] += w * w);
                    let norm = sums.into_iter().fold(0.0 as $t, |a, b| a + b).sqrt();
                    let rate = ((norm - 1.0).abs() + 1e-10).powf(0.5) * 0.08;
                    let scale = rate / (largest + 1e-30);
                    w.iter_mut().zip(g).for_each(|(w, g)| *w -= scale * g);
                }
            }
            moved
        }
    };
}
released!(released_f32, f32);
released!(released_f64, f64);

/// Steps equal the released ones to the bit, on sites larger than a block of parallel work.
#[test]
fn bits_of_the_released_step() -> Result<()> {
    let mut rng = Rng::new(31);
    let chain = || Steps::builder(0.08).then(LargestEntry).then(NormDependent { power: 0.5 });
    for (shape, sites, fan_in) in
        [(vec![6, 2, 3, 3], 2, 18), (vec![50, 1000], 1, 1000), (vec![3, 2, 4, 2, 3, 1], 6, 6)]
    {
        let units = shape.iter().product::<usize>() / fan_in / sites;
        let dims = WeightDims { sites, units, fan_in };
        for dtype in [DType::F32, DType::F64] {
            let weight = Var::from_tensor(&rng.normal(0.0, 0.4, shape.clone(), dtype, CPU)?)?;
            let gradient = rng.normal(0.0, 2.0, shape.clone(), dtype, CPU)?;
            let (w, g) = (weight.flatten_all()?, gradient.flatten_all()?);
            let want = match dtype {
                DType::F32 => {
                    let moved = released_f32(&w.to_vec1()?, &g.to_vec1()?, sites, fan_in);
                    Tensor::new(moved, CPU)?
                }
                _ => {
                    let moved = released_f64(&w.to_vec1()?, &g.to_vec1()?, sites, fan_in);
                    Tensor::new(moved, CPU)?
                }
            };
            chain().build([(weight.clone(), dims)])?.descend(|_| Some(gradient.clone()))?;
            assert_eq!(numbers(&weight)?, numbers(&want)?, "{shape:?} {dtype:?}");
        }
    }
    Ok(())
}

/// For the built-in parts, the ops that GPUs run give what the kernels give.
#[test]
fn kernels_equal_compositions() -> Result<()> {
    let mut rng = Rng::new(32);
    let chain = || Steps::builder(0.3);
    let chains: [fn(StepsBuilder) -> StepsBuilder; 5] = [
        |chain| chain,
        |chain| chain.then(WeightDecay { rate: 0.1 }),
        |chain| chain.then(UnitNorm),
        |chain| chain.then(WeightDecay { rate: 0.1 }).then(LargestEntry).then(UnitNorm),
        |chain| {
            let exponential = ExponentialDecay { speed: 2.0, divisor: 10.0 };
            chain.then(NormDependent { power: 0.75 }).then(LargestEntry).then(exponential)
        },
    ];
    // The second has several blocks of parallel work.
    let sizes = [
        ((6, 2, 3, 3), WeightDims { sites: 2, units: 3, fan_in: 18 }),
        ((900, 6, 3, 3), WeightDims { sites: 1, units: 900, fan_in: 54 }),
    ];
    let each = chains.into_iter().flat_map(|parts| sizes.map(|(shape, dims)| (parts, shape, dims)));
    for (parts, shape, dims) in each {
        let weight = rng.normal(0.0, 0.4, shape, DType::F64, CPU)?;
        let gradient = rng.normal(0.0, 1.0, shape, DType::F64, CPU)?;
        let run = || -> Result<Vec<f64>> {
            let weight = Var::from_tensor(&weight)?;
            let mut steps = parts(chain()).build([(weight.clone(), dims)])?;
            steps.set_progress(0.5);
            steps.descend(|_| Some(gradient.clone()))?;
            numbers(&weight)
        };
        for (kernel, composition) in run()?.into_iter().zip(composed(run)?) {
            assert!((kernel - composition).abs() < 1e-14, "{kernel} and {composition}");
        }
    }
    Ok(())
}

mod types_and_values {
    use super::*;

    /// A step in half precision is the step in f32, rounded at its end.
    #[test]
    fn half_precision_is_rounded_once() -> Result<()> {
        for dtype in [DType::F16, DType::BF16] {
            let values = [0.3f32, -1.7, 2.9, 0.011, 5.3, -0.6];
            let half = Tensor::new(&values, CPU)?.reshape((2, 3))?.to_dtype(dtype)?;
            let gradient = (&half * 0.37)?;
            let chain = || {
                let decay = WeightDecay { rate: 0.3 };
                Steps::builder(0.7).then(LargestEntry).then(decay).then(UnitNorm)
            };
            let wide = Var::from_tensor(&half.to_dtype(DType::F32)?)?;
            let wide_gradient = gradient.to_dtype(DType::F32)?;
            chain().build([wide.clone()])?.descend(|_| Some(wide_gradient.clone()))?;
            for in_composition in [false, true] {
                let weight = Var::from_tensor(&half)?;
                let mut steps = chain().build([weight.clone()])?;
                let mut run = || steps.descend(|_| Some(gradient.clone()));
                if in_composition {
                    composed(run)?
                } else {
                    run()?
                }
                assert_eq!(weight.dtype(), dtype);
                assert_eq!(numbers(&weight)?, numbers(&wide.to_dtype(dtype)?)?, "{dtype:?}");
            }
        }
        Ok(())
    }

    /// A NaN in one entry makes its weight NaN and, with `LargestEntry`, its site; it is never lost.
    #[test]
    fn nan_reaches_the_weights() -> Result<()> {
        for at in 0..4 {
            let mut gradient = [1.0; 8];
            gradient[at] = f64::NAN;
            let is_nan = |chain: StepsBuilder| -> Result<Vec<bool>> {
                let weight = var(&[0.5; 8], &[2, 1, 2, 2, 1, 1])?; // two sites
                step(chain, &weight, &gradient)?;
                Ok(numbers(&weight)?.into_iter().map(f64::is_nan).collect())
            };
            let alone: Vec<bool> = (0..8).map(|i| i == at).collect();
            let site = [true, true, true, true, false, false, false, false];
            let plain = || Steps::builder(0.1);
            assert_eq!(is_nan(plain())?, alone);
            assert_eq!(composed(|| is_nan(plain()))?, alone);
            assert_eq!(is_nan(plain().then(LargestEntry))?, site);
            assert_eq!(composed(|| is_nan(plain().then(LargestEntry)))?, site);
        }
        Ok(())
    }

    /// The norm of (3e25, 4e25) is 5e25, whose square f32 does not hold: NaN, not weights of 0. Others are scaled.
    #[test]
    fn a_norm_beyond_the_range_is_not_zero() -> Result<()> {
        let check = || -> Result<()> {
            for by_step in [false, true] {
                let weight = Var::new(&[[3e25f32, 4e25], [3.0, 4.0]], CPU)?;
                let mut steps = Steps::builder(1.0).then(UnitNorm).build([weight.clone()])?;
                match by_step {
                    true => steps.descend(|weight| weight.zeros_like().ok())?,
                    false => steps.constrain()?,
                }
                let got = numbers(&weight)?;
                assert!(got[0].is_nan() && got[1].is_nan(), "{got:?}");
                assert!((got[2] - 0.6).abs() < 1e-6 && (got[3] - 0.8).abs() < 1e-6, "{got:?}");
            }
            Ok(())
        };
        check()?;
        composed(check)
    }

    /// A gradient of 0 leaves weights as they are, and empty weights are not an error.
    #[test]
    fn zeros_and_nothing() -> Result<()> {
        let weight = var(&[1.0, 2.0], &[1, 2])?;
        step(Steps::builder(0.1).then(LargestEntry), &weight, &[0.0, 0.0])?;
        assert_eq!(numbers(&weight)?, [1.0, 2.0]);
        for shape in [[0, 3], [3, 0]] {
            let weight = var(&[], &shape)?;
            let chain = Steps::builder(0.1).then(LargestEntry).then(NormDependent::default());
            step(chain.then(UnitNorm), &weight, &[])?;
        }
        Ok(())
    }

    /// The gradient of each of two variables is the other one, with its value before the step: 1 − ½·2 and 2 − ½·1.
    #[test]
    fn gradients_that_are_other_variables() -> Result<()> {
        let run = || -> Result<()> {
            let vars = [var(&[1.0], &[1])?, var(&[2.0], &[1])?];
            let mut steps = Steps::builder(0.5).build(vars.clone())?;
            steps.descend(|weight| {
                let other = usize::from(weight.id() == vars[0].id());
                Some(vars[other].as_tensor().clone())
            })?;
            near(&vars[0], &[0.0])?;
            near(&vars[1], &[1.5])
        };
        run()?;
        composed(run)
    }

    /// A gradient that shares the memory of the weights, or is a view of something larger.
    #[test]
    fn gradients_of_any_layout() -> Result<()> {
        let weight = var(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
        let mut steps = Steps::builder(0.5).build([weight.clone()])?;
        steps.descend(|weight| Some(weight.as_tensor().clone()))?; // w − ½w
        assert_eq!(numbers(&weight)?, [0.5, 1.0, 1.5, 2.0]);
        steps.descend(|weight| weight.t().ok())?; // w − ½wᵀ
        assert_eq!(numbers(&weight)?, [0.25, 0.25, 1.0, 1.0]);
        let larger = Tensor::arange(0f64, 12.0, CPU)?.reshape((3, 4))?;
        steps.descend(|_| larger.narrow(0, 1, 2).and_then(|rows| rows.narrow(1, 2, 2)).ok())?;
        assert_eq!(numbers(&weight)?, [0.25 - 3.0, 0.25 - 3.5, 1.0 - 5.0, 1.0 - 5.5]);
        Ok(())
    }
}

mod sites_and_units {
    use super::*;

    /// Every site has its own largest entry: the sites of an untied weight follow from its shape, those of groups from
    /// the dimensions given with it.
    #[test]
    fn sites_are_scaled_apart() -> Result<()> {
        let gradient = [1.0, -2.0, 10.0, 20.0];
        let moved = [-0.5, 1.0, -0.5, -1.0];
        let untied = var(&[0.0; 4], &[2, 1, 1, 1, 1, 2])?;
        step(Steps::builder(1.0).then(LargestEntry), &untied, &gradient)?;
        near(&untied, &moved)?;

        let grouped = var(&[0.0; 4], &[2, 2, 1, 1])?;
        step(Steps::builder(1.0).then(LargestEntry), &grouped, &gradient)?; // one group
        near(&grouped, &[-0.05, 0.1, -0.5, -1.0])?;
        grouped.set(&grouped.zeros_like()?)?;
        let dims = WeightDims { sites: 2, units: 1, fan_in: 2 };
        let gradient = Tensor::from_slice(&gradient, (2, 2, 1, 1), CPU)?;
        let chain = Steps::builder(1.0).then(LargestEntry);
        chain.build([(grouped.clone(), dims)])?.descend(|_| Some(gradient.clone()))?;
        near(&grouped, &moved)
    }

    #[test]
    fn a_bias_has_no_units() -> Result<()> {
        let bias = var(&[1.0, 2.0], &[2])?;
        let plain = || Steps::builder(0.1).then(WeightDecay::default()).then(LinearDecay);
        step(plain().then(ExponentialDecay::default()), &bias, &[1.0, 1.0])?;
        for chain in [
            plain().then(LargestEntry),
            plain().then(NormDependent::default()),
            plain().then(UnitNorm),
        ] {
            let error = message(chain.build([bias.clone()]));
            assert!(error.contains("[2]") && error.contains("WeightDims"), "{error}");
        }
        // A bias is taken as the inputs of one unit if the dimensions say so.
        let dims = WeightDims { sites: 1, units: 1, fan_in: 2 };
        Steps::builder(0.1).then(UnitNorm).build([(bias.clone(), dims)])?.constrain()?;
        near(&bias.sqr()?.sum_all()?, &[1.0])
    }

    #[test]
    fn dimensions_must_fit() -> Result<()> {
        let weight = var(&[0.0; 6], &[2, 3])?;
        let dims = WeightDims { sites: 2, units: 2, fan_in: 3 };
        let error = message(Steps::builder(0.1).build([(weight, dims)]));
        assert!(error.contains("2 sites of 2 units with 3") && error.contains("[2, 3]"), "{error}");
        Ok(())
    }
}

mod refused {
    use super::*;

    fn refuses(chain: StepsBuilder, words: &[&str]) {
        let error = message(chain.build(Vec::<Var>::new()));
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn numbers_that_would_make_nan() {
        let plain = || Steps::builder(0.1);
        for rate in [f64::NAN, f64::INFINITY, -0.1] {
            refuses(Steps::builder(rate), &["learning rate", &rate.to_string()]);
            refuses(plain().then(WeightDecay { rate }), &["weight decay", &rate.to_string()]);
        }
        for power in [f64::NAN, f64::INFINITY, -0.5] {
            refuses(plain().then(NormDependent { power }), &["power", &power.to_string()]);
        }
        // e^{−1e-17} is 1 in f64, which gives 0/0 as a speed of 0 does.
        for speed in [0.0, -1.0, 1e-17, f64::NAN, f64::INFINITY] {
            let words = ["speed", &speed.to_string()[..]];
            refuses(plain().then(ExponentialDecay { speed, divisor: 10.0 }), &words);
        }
        // The last rate over the first, 1e310, is infinite in f64.
        for divisor in [0.0, -2.0, 1e-310, f64::NAN, f64::INFINITY] {
            let words = ["divisor", &divisor.to_string()[..]];
            refuses(plain().then(ExponentialDecay { speed: 1.0, divisor }), &words);
        }
    }

    /// What an optimiser's interface cannot refuse when it is set is refused by the next step.
    #[test]
    fn numbers_set_later() -> Result<()> {
        let weight = var(&[1.0], &[1])?;
        let mut steps = Steps::builder(0.1).then(LinearDecay).build([weight.clone()])?;
        for rate in [f64::NAN, -1.0] {
            steps.set_learning_rate(rate);
            let error = message(steps.backward_step(&weight.sum_all()?));
            assert!(error.contains("learning rate"), "{error}");
        }
        steps.set_learning_rate(0.1);
        steps.set_progress(f64::NAN);
        let error = message(steps.backward_step(&weight.sum_all()?));
        assert!(error.contains("progress"), "{error}");
        assert_eq!(numbers(&weight)?, [1.0]);
        Ok(())
    }

    /// Such a gradient is refused before anything has moved.
    #[test]
    fn a_gradient_of_another_shape() -> Result<()> {
        let (first, second) = (var(&[1.0, 2.0], &[1, 2])?, var(&[1.0, 2.0], &[2, 1])?);
        let mut steps = Steps::builder(0.1).build([first.clone(), second.clone()])?;
        let gradient = Tensor::ones((1, 2), DType::F64, CPU)?;
        let error = message(steps.descend(|_| Some(gradient.clone())));
        assert!(error.contains("[1, 2]") && error.contains("[2, 1]"), "{error}");
        assert_eq!([numbers(&first)?, numbers(&second)?], [[1.0, 2.0], [1.0, 2.0]]);
        Ok(())
    }

    #[test]
    fn unknown_fields() -> std::result::Result<(), serde_json::Error> {
        let text = r#"{"learning_rate":0.5,"parts":[{"kind":"largest_entry"},
            {"kind":"norm_dependent","power":0.75},{"kind":"weight_decay","rate":0.001},
            {"kind":"unit_norm"},{"kind":"linear_decay"},{"kind":"cosine_decay"},
            {"kind":"exponential_decay","speed":3.0,"divisor":4.0}]}"#;
        let config: StepsConfig = serde_json::from_str(text)?;
        let parts = [
            PartConfig::LargestEntry {},
            PartConfig::NormDependent(NormDependent { power: 0.75 }),
            PartConfig::WeightDecay(WeightDecay { rate: 0.001 }),
            PartConfig::UnitNorm {},
            PartConfig::LinearDecay {},
            PartConfig::CosineDecay {},
            PartConfig::ExponentialDecay(ExponentialDecay { speed: 3.0, divisor: 4.0 }),
        ];
        assert_eq!(config, StepsConfig { learning_rate: 0.5, parts: parts.to_vec() });
        let value = serde_json::to_value(&config)?;
        assert_eq!(serde_json::from_value::<StepsConfig>(value.clone())?, config);
        for at in 0..parts.len() {
            let mut surprise = value.clone();
            surprise["parts"][at]["surprise"] = 1.into();
            assert!(serde_json::from_value::<StepsConfig>(surprise).is_err(), "{:?}", parts[at]);
        }
        let mut surprise = value;
        surprise["surprise"] = 1.into();
        assert!(serde_json::from_value::<StepsConfig>(surprise).is_err());
        Ok(())
    }
}

mod ones_own {
    use super::*;

    /// Scales every unit's direction down to norm 1 at most.
    #[derive(Debug)]
    struct Clip;

    impl Part for Clip {
        fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
            let norms = descent.direction()?.sqr()?.sum(2)?.sqrt()?;
            descent.divide(&norms.maximum(1.0)?)
        }
    }

    /// Dale's law: no weight is below 0.
    #[derive(Debug)]
    struct Excitatory;

    impl Part for Excitatory {
        fn constraint(&self) -> Option<Constraint<'_>> {
            Some(Constraint::Map(Box::new(|weight| weight.maximum(0.0))))
        }
    }

    /// The direction (3, 4) becomes (0.6, 0.8), and (0.5, 0) stays as it is; weights below 0 become 0, and then units
    /// get norm 1.
    #[test]
    fn parts_chain_with_built_in_ones() -> Result<()> {
        let weight = var(&[1.2, 0.3, 1.0, 1.0], &[2, 2])?;
        let gradient = [3.0, 4.0, 0.5, 0.0];
        step(Steps::builder(1.0).then(Clip).then(Excitatory), &weight, &gradient)?;
        near(&weight, &[0.6, 0.0, 0.5, 1.0])?;
        let chain = || Steps::builder(1.0).then(Excitatory).then(UnitNorm);
        step(chain(), &weight, &[0.2, 5.0, -2.5, -3.0])?; // (0.4, −5), (3, 4)
        near(&weight, &[1.0, 0.0, 0.6, 0.8])?;
        // Without a step, in the memory of f32 and f64 weights and in a copy of f16 weights.
        for dtype in [DType::F64, DType::F32, DType::F16] {
            let weight = Tensor::new(&[[3f64, -4.0], [3.0, 4.0]], CPU)?.to_dtype(dtype)?;
            let weight = Var::from_tensor(&weight)?;
            chain().build([weight.clone()])?.constrain()?;
            let got = numbers(&weight)?;
            for (got, want) in got.iter().zip([1.0, 0.0, 0.6, 0.8]) {
                assert!((got - want).abs() < 5e-4, "{got}, expected {want}");
            }
        }
        Ok(())
    }

    #[test]
    fn constraints_can_be_printed() {
        let map = Constraint::Map(Box::new(|weight| Ok(weight.detach())));
        assert_eq!(format!("{:?}, {map:?}", Constraint::UnitNorm), "UnitNorm, Map(..)");
    }

    /// The weights themselves as the direction: the same memory is both read and written.
    #[test]
    fn a_direction_of_the_weights() -> Result<()> {
        #[derive(Debug)]
        struct Fade;
        impl Part for Fade {
            fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
                let weight = descent.weight().clone();
                descent.replace(&weight)
            }
            fn constraint(&self) -> Option<Constraint<'_>> {
                Some(Constraint::Map(Box::new(|weight| Ok(weight.detach()))))
            }
        }
        let weight = var(&[1.0, 2.0], &[1, 2])?;
        step(Steps::builder(0.5).then(Fade), &weight, &[7.0, 7.0])?;
        assert_eq!(numbers(&weight)?, [0.5, 1.0]);
        Ok(())
    }

    /// Factors multiply each other, and a part that replaces the direction by what the parts before made of it is not
    /// scaled by them again: of (4, −2) the largest entry is 4, so the direction is (1, −½).
    #[test]
    fn factors_act_once() -> Result<()> {
        #[derive(Debug)]
        struct AsItIs;
        impl Part for AsItIs {
            fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
                let direction = descent.direction()?;
                descent.replace(&direction)
            }
        }
        #[derive(Debug)]
        struct Twice;
        impl Part for Twice {
            fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
                descent.multiply(&Tensor::new(&[[2f64]], CPU)?)
            }
        }
        let weight = var(&[0.0, 0.0], &[1, 2])?;
        step(Steps::builder(1.0).then(LargestEntry).then(AsItIs), &weight, &[4.0, -2.0])?;
        near(&weight, &[-1.0, 0.5])?;
        let weight = var(&[0.0, 0.0], &[1, 2])?;
        step(Steps::builder(1.0).then(Twice).then(Twice), &weight, &[4.0, -2.0])?;
        near(&weight, &[-16.0, 8.0])
    }

    /// What a part keeps is each variable's own: velocities of momentum 0.9 after gradients of 1 and of 10, twice.
    #[test]
    fn parts_know_the_variable() -> Result<()> {
        #[derive(Debug, Default)]
        struct Velocity([Option<Tensor>; 2]);
        impl Part for Velocity {
            fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
                let (at, now) = (descent.index(), descent.direction()?);
                let velocity = match &self.0[at] {
                    Some(before) => (before * 0.9)?.add(&now)?,
                    None => now,
                };
                descent.replace(&velocity)?;
                self.0[at] = Some(velocity);
                Ok(())
            }
        }
        let vars = [var(&[0.0], &[1, 1])?, var(&[0.0], &[1, 1])?];
        let mut steps = Steps::builder(1.0).then(Velocity::default()).build(vars.clone())?;
        for _ in 0..2 {
            steps.descend(|weight| {
                let of_first = weight.id() == vars[0].id();
                Tensor::new(&[[if of_first { 1f64 } else { 10.0 }]], CPU).ok()
            })?;
        }
        near(&vars[0], &[-(1.0 + 1.9)])?;
        near(&vars[1], &[-(10.0 + 19.0)])
    }

    #[test]
    fn shapes_are_checked() -> Result<()> {
        #[derive(Debug)]
        struct Wrong(usize);
        impl Part for Wrong {
            fn apply(&mut self, descent: &mut Descent<'_>) -> Result<()> {
                let wrong = Tensor::ones((3, 3), DType::F64, CPU)?;
                match self.0 {
                    0 => descent.multiply(&wrong),
                    1 => descent.divide(&wrong),
                    2 => descent.replace(&wrong),
                    _ => Ok(()),
                }
            }
            fn constraint(&self) -> Option<Constraint<'_>> {
                Some(Constraint::Map(Box::new(|_| Tensor::ones((3, 3), DType::F64, CPU))))
            }
        }
        for at in 0..4 {
            let weight = var(&[1.0, 2.0], &[1, 2])?;
            let error = message(step(Steps::builder(0.1).then(Wrong(at)), &weight, &[1.0, 1.0]));
            assert!(error.contains("[3, 3]") && error.contains("expected [1, "), "{error}");
        }
        Ok(())
    }
}

/// A weight that two layers share takes one step.
#[test]
fn a_variable_that_is_given_twice_moves_once() -> Result<()> {
    let weight = var(&[1.0], &[1, 1])?;
    let gradient = Tensor::ones((1, 1), DType::F64, CPU)?;
    let twice = [weight.clone(), weight.clone()];
    Steps::builder(0.1).build(twice)?.descend(|_| Some(gradient.clone()))?;
    near(&weight, &[0.9])
}
