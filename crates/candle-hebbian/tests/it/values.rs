//! Results of the ops on units and of competitions for unusual values: NaN, infinity, sums in half precision, empty
//! batches. The policy is documented in `candle_hebbian::ops`; other types and views are tested in `table`.

use crate::common::weighted_sum;
use crate::largest::largest;
use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::competition::over_rows;
use candle_hebbian::ops::{
    BatchNorm, column_counts, column_dots, column_sums, composed, kth_largest, ramp, repu,
    squared_norms, standardise, triangle,
};
use candle_hebbian::{
    AdaptiveThreshold, Competition, HardWta, Hebb, KWta, NoCompetition, Oja, RankedWta, Rng, Rule,
    SoftWta, SoftWtaAntiHebbian, Synapses, test_device,
};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

type Op = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

fn competitions() -> Vec<Box<dyn Competition>> {
    vec![
        Box::new(HardWta),
        Box::new(KWta::binary(2)),
        Box::new(KWta::graded(3)),
        Box::new(SoftWta { inverse_temperature: 1.5 }),
        Box::new(SoftWta { inverse_temperature: -0.5 }),
        Box::new(SoftWtaAntiHebbian { inverse_temperature: 0.7 }),
        Box::new(RankedWta { k: 3, delta: 0.5 }),
    ]
}

/// Every op that takes one tensor `(2, P, 5)`.
fn ops() -> Vec<(String, Op)> {
    let mut ops: Vec<(String, Op)> = Vec::new();
    ops.push(("none".into(), Box::new(|u| NoCompetition.compete(u))));
    ops.push(("user's".into(), Box::new(|u| over_rows(u, |u| u.relu()))));
    for competition in competitions() {
        ops.push((format!("{competition:?}"), Box::new(move |u| competition.compete(u))));
    }
    ops.push(("ramp".into(), Box::new(|u| ramp(u, 0.5))));
    ops.push(("repu".into(), Box::new(|u| repu(&u.transpose(1, 2)?, 1.4))));
    ops.push(("relu".into(), Box::new(|u| repu(&u.transpose(1, 2)?, 1.0))));
    ops.push(("triangle".into(), Box::new(|u| triangle(&u.transpose(1, 2)?, 0.7, true))));
    ops.push(("exact triangle".into(), Box::new(|u| triangle(&u.transpose(1, 2)?, 1.0, false))));
    ops.push(("standardise".into(), Box::new(|u| standardise(&u.flatten(0, 1)?, 1e-10))));
    ops.push(("kth_largest".into(), Box::new(|u| kth_largest(u, 2))));
    ops.push(("column_sums".into(), Box::new(column_sums)));
    ops.push(("column_counts".into(), Box::new(column_counts)));
    ops.push(("column_dots".into(), Box::new(|u| column_dots(u, u))));
    ops.push(("squared_norms".into(), Box::new(|u| squared_norms(&u.transpose(1, 2)?))));
    ops.push((
        "threshold".into(),
        Box::new(|u| {
            let threshold = AdaptiveThreshold::new((2, 5), 1.0, 0.2, u.dtype(), u.device())?;
            threshold.set(&Tensor::full(0.25f32, (2, 5), u.device())?)?;
            threshold.apply(u)
        }),
    ));
    ops
}

/// The ops that have a gradient.
fn differentiable() -> Vec<(String, Op)> {
    let with = ["ramp", "repu", "relu", "triangle", "exact triangle"];
    ops().into_iter().filter(|(name, _)| with.contains(&name.as_str())).collect()
}

/// Whether NaN and infinity exist on the device: Metal's fast arithmetic assumes that they do not.
fn has_nan(device: &Device) -> bool {
    !device.is_metal() || std::env::var("CANDLE_METAL_ENABLE_FAST_MATH").is_ok_and(|x| x == "0")
}

fn rows(t: &Tensor) -> Result<Vec<Vec<f32>>> {
    t.to_dtype(DType::F32)?.flatten_to(t.rank() - 2)?.to_vec2()
}

fn numbers(t: &Tensor) -> Result<Vec<f32>> {
    t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// Asserts equality to a relative tolerance, with NaN equal to NaN.
fn same(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (got_one, want_one) in got.iter().zip(want) {
        let equal = match (got_one, want_one) {
            (got, want) if got.is_nan() || want.is_nan() => got.is_nan() && want.is_nan(),
            (got, want) if got.is_infinite() || want.is_infinite() => got == want,
            (got, want) => (got - want).abs() <= tolerance * want.abs().max(1.0),
        };
        assert!(equal, "{name}: {got:?}, expected {want:?}");
    }
}

fn gradient(x: &Tensor, op: &Op, upstream: &Tensor) -> Result<Tensor> {
    let x = Var::from_tensor(x)?;
    let out = op(&x)?;
    let grads = (&out * upstream.reshape(out.shape())?)?.sum_all()?.backward()?;
    grads.get(&x).cloned().ok_or_else(|| candle::Error::msg("no gradient"))
}

fn normal(seed: u64, dims: &[usize], device: &Device) -> Result<Tensor> {
    Rng::new(seed).normal(0.3, 1.0, dims, DType::F32, &Device::Cpu)?.to_device(device)
}

/// A NaN of either sign, anywhere in a row, alone or not, makes all units of that row NaN and none of another.
fn a_nan_is_its_whole_row(device: &Device) -> Result<()> {
    let negative = f32::from_bits(0xffc0_0000);
    let unit = [0.5f32, -1.0, 2.0, 0.25];
    if !has_nan(device) {
        return Ok(());
    }
    for competition in competitions() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let compete = |rows: &[[f32; 4]]| -> Result<Vec<Vec<f32>>> {
                let u = Tensor::from_slice(rows.as_flattened(), (rows.len(), 4), device)?;
                let u = u.to_dtype(dtype)?;
                let y = competition.compete(&u)?;
                assert_eq!((y.dims(), y.dtype()), (u.dims(), dtype));
                self::rows(&y)
            };
            let alone = compete(&[unit])?.remove(0);
            assert!(alone.iter().all(|y| y.is_finite()));
            for nan in [NAN, negative] {
                let mut broken = vec![[nan; 4], [nan, INF, -INF, nan]];
                for at in 0..4 {
                    let mut row = unit;
                    row[at] = nan;
                    broken.push(row);
                }
                for row in broken {
                    let y = compete(&[unit, row, unit])?;
                    let name = format!("{competition:?} {dtype:?} of {row:?}: {y:?}");
                    assert!(y[1].iter().all(|y| y.is_nan()), "{name}");
                    assert_eq!((&y[0], &y[2]), (&alone, &alone), "{name}");
                }
            }
        }
    }
    let u = Tensor::new(&[[1f32, NAN]], device)?;
    same("none", &rows(&NoCompetition.compete(&u)?)?[0], &[1.0, NAN], 0.0);
    Ok(())
}

/// Rows long enough for a sort to notice that NaNs have no order, to which the standard library responds with a panic.
fn many_nans_panic_nowhere(device: &Device) -> Result<()> {
    if !has_nan(device) {
        return Ok(());
    }
    let mut rng = Rng::new(4);
    let mut values: Vec<f32> = (0..200 * 301).map(|i| ((i * 7919) % 1013) as f32 - 500.0).collect();
    for at in (0..200).filter(|row| row % 3 != 0).map(|row| row * 301) {
        for _ in 0..1 + rng.below(150) {
            values[at + rng.below(301)] = NAN;
        }
    }
    let u = Tensor::from_vec(values, (200, 301), device)?;
    let mut results = competitions()
        .iter()
        .map(|competition| rows(&competition.compete(&u)?))
        .collect::<Result<Vec<_>>>()?;
    results.push(rows(&kth_largest(&u, 150)?)?);
    for y in results {
        for (at, row) in y.iter().enumerate() {
            assert!(row.iter().all(|y| y.is_nan() == (at % 3 != 0)), "row {at}: {row:?}");
        }
    }
    Ok(())
}

/// An infinity may win. In a softmax, a quotient of infinities is NaN, but finite responses never give NaN.
fn infinite_and_large_responses(device: &Device) -> Result<()> {
    let check = |competition: &dyn Competition, u: &[f32], want: &[f32]| -> Result<()> {
        let y = competition.compete(&Tensor::new(u, device)?)?.to_vec1::<f32>()?;
        same(&format!("{competition:?} of {u:?}"), &y, want, 1e-6);
        Ok(())
    };
    let soft = |inverse_temperature| SoftWta { inverse_temperature };
    let signed = |inverse_temperature| SoftWtaAntiHebbian { inverse_temperature };
    let large = f32::MAX;
    check(&soft(10.0), &[large, -large, large], &[0.5, 0.0, 0.5])?;
    check(&soft(-10.0), &[large, -large, large], &[0.0, 1.0, 0.0])?;
    check(&soft(0.25), &[large, -large, 0.0], &[1.0, 0.0, 0.0])?;
    check(&signed(10.0), &[large, -large, large], &[0.5, 0.0, -0.5])?;
    // Neighbouring numbers, whose difference is exact, while each `t·u` is rounded to a multiple of ½.
    let (t, step) = (8191.3, 2f32.powi(-13));
    let ratio = (-t * f64::from(step)).exp();
    let want = [1.0, ratio].map(|part| (part / (1.0 + ratio)) as f32);
    check(&soft(t), &[1024.0, 1024.0 - step], &want)?;
    check(&signed(t), &[1024.0, 1024.0 - step], &[want[0], -want[1]])?;
    let u = Tensor::new(&[[6e4f32, -6e4], [-6e4, -6e4]], device)?.to_dtype(DType::F16)?;
    assert_eq!(rows(&soft(1e30).compete(&u)?)?, [[1.0, 0.0], [0.5, 0.5]]);
    if !has_nan(device) {
        return Ok(());
    }
    check(&HardWta, &[1.0, INF, -INF], &[0.0, 1.0, 0.0])?;
    check(&HardWta, &[-INF, -INF, -INF], &[1.0, 0.0, 0.0])?;
    check(&KWta::binary(1), &[1.0, INF, -INF], &[0.0, 1.0, 0.0])?;
    check(&KWta::graded(1), &[1.0, INF, -INF], &[0.0, INF, 0.0])?;
    check(&KWta::graded(3), &[1.0, INF, -INF], &[1.0, INF, 0.0])?;
    check(&RankedWta { k: 3, delta: 0.5 }, &[1.0, INF, -INF], &[0.0, 1.0, -0.5])?;
    check(&soft(1.0), &[0.0, -INF, 0.0], &[0.5, 0.0, 0.5])?;
    check(&signed(1.0), &[0.0, -INF, 0.0], &[0.5, 0.0, -0.5])?;
    check(&soft(-1.0), &[0.0, INF, 0.0], &[0.5, 0.0, 0.5])?;
    for (t, row) in [(1.0, [INF, 0.0]), (1.0, [-INF, -INF]), (-1.0, [-INF, 0.0])] {
        check(&soft(t), &row, &[NAN, NAN])?;
        check(&signed(t), &row, &[NAN, NAN])?;
    }
    Ok(())
}

fn single_values(device: &Device) -> Result<()> {
    if !has_nan(device) {
        return Ok(());
    }
    let x = Tensor::new(&[[NAN, INF, -INF, 0.5, -3.0]], device)?;
    let ones = x.ones_like()?;
    let op = |op: fn(&Tensor) -> Result<Tensor>| -> Op { Box::new(op) };
    let soft = op(|x| ramp(x, 0.5));
    same("ramp", &numbers(&soft(&x)?)?, &[NAN, 1.0, -1.0, 0.25, -1.0], 0.0);
    same("its slope", &numbers(&gradient(&x, &soft, &ones)?)?, &[NAN, 0.0, 0.0, 0.5, 0.0], 0.0);
    let relu = op(|x| repu(x, 1.0));
    same("relu", &numbers(&relu(&x)?)?, &[NAN, INF, 0.0, 0.5, 0.0], 0.0);
    same("its slope", &numbers(&gradient(&x, &relu, &ones)?)?, &[NAN, 1.0, 0.0, 1.0, 0.0], 0.0);
    let square = op(|x| repu(x, 2.0));
    same("square", &numbers(&square(&x)?)?, &[NAN, INF, 0.0, 0.25, 0.0], 1e-6);
    let slope = numbers(&gradient(&x, &square, &ones)?)?;
    same("its slope", &slope, &[NAN, INF, 0.0, 1.0, 0.0], 1e-6);
    // √u grows ever more slowly, so its slope at infinity is 0.
    let root = op(|x| repu(x, 0.5));
    let slope = numbers(&gradient(&x, &root, &ones)?)?;
    same("slope of a root", &slope, &[NAN, 0.0, 0.0, 0.5 / 0.5f32.sqrt(), 0.0], 1e-6);
    // A NaN that arrives from above where the op is flat.
    let x = Tensor::new(&[[-3.0f32, 0.5]], device)?;
    let nan = Tensor::new(&[[NAN, 1.0]], device)?;
    same("ramp back", &numbers(&gradient(&x, &soft, &nan)?)?, &[NAN, 0.5], 0.0);
    same("relu back", &numbers(&gradient(&x, &relu, &nan)?)?, &[NAN, 1.0], 0.0);
    Ok(())
}

/// In a triangle, a broken value affects all channels of its position; in `standardise`, all values of its sample.
fn positions_and_samples(device: &Device) -> Result<()> {
    if !has_nan(device) {
        return Ok(());
    }
    // Two channels at three positions; the second position is broken.
    let x = Tensor::new(&[[[1f32, NAN, 4.0], [3.0, 1.0, 2.0]]], device)?;
    for constant_mean in [true, false] {
        for power in [0.5, 1.0, 2.0] {
            let op: Op = Box::new(move |x| triangle(x, power, constant_mean));
            let y = numbers(&op(&x)?)?;
            same("triangle", &y, &[0.0, NAN, 1.0, 1.0, NAN, 0.0], 1e-6);
            let slope = power as f32;
            // Through the mean, both channels lose half of the slope.
            let half = if constant_mean { 0.0 } else { slope / 2.0 };
            let want = [-half, NAN, slope - half, slope - half, NAN, -half];
            let slope = gradient(&x, &op, &x.ones_like()?)?;
            same("its slope", &numbers(&slope)?, &want, 1e-6);
        }
    }
    let x = Tensor::new(&[[1f32, 2.0, 3.0], [NAN, 2.0, 3.0], [INF, 2.0, 3.0], [7.0; 3]], device)?;
    for epsilon in [0.0, 1e-10] {
        let z = numbers(&standardise(&x, epsilon)?)?;
        let mut want = vec![-1.0, 0.0, 1.0];
        want.extend([NAN; 6]);
        want.extend([0.0; 3]);
        same("standardise", &z, &want, 1e-6);
    }
    Ok(())
}

fn columns(device: &Device) -> Result<()> {
    if !has_nan(device) {
        return Ok(());
    }
    let a = Tensor::new(&[[[1f32, NAN, -INF, 0.0], [2.0, 1.0, 1.0, INF]]], device)?;
    same("sums", &numbers(&column_sums(&a)?)?, &[3.0, NAN, -INF, INF], 0.0);
    same("counts", &numbers(&column_counts(&a)?)?, &[2.0, NAN, 1.0, 1.0], 0.0);
    same("dots", &numbers(&column_dots(&a, &a)?)?, &[5.0, NAN, INF, INF], 0.0);
    let zeros = a.zeros_like()?;
    same("0 times", &numbers(&column_dots(&a, &zeros)?)?, &[0.0, NAN, NAN, NAN], 0.0);
    same("norms", &numbers(&squared_norms(&a)?)?, &[NAN, INF], 0.0);
    let kth = numbers(&kth_largest(&a, 2)?)?;
    same("second", &kth, &[NAN, 2.0], 0.0);

    let threshold = AdaptiveThreshold::new((1, 4), 2.0, 0.5, DType::F32, device)?;
    threshold.adapt(&a)?;
    same("θ", &numbers(threshold.values())?, &[1.0, NAN, 0.0, 0.0], 0.0);
    let excess = numbers(&threshold.apply(&a)?)?;
    same("u − θ", &excess, &[0.0, NAN, -INF, 0.0, 1.0, NAN, 1.0, INF], 0.0);
    Ok(())
}

test_device!(
    a_nan_is_its_whole_row,
    many_nans_panic_nowhere,
    infinite_and_large_responses,
    single_values,
    positions_and_samples,
    columns,
    sums_in_half_precision,
    empty_batches,
);

/// Kernels and compositions give the same results, backward too.
#[test]
fn kernels_and_compositions_agree() -> Result<()> {
    let specials = [NAN, INF, -INF, 0.0, -0.0];
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut values = numbers(&normal(seed, &[2, 3, 5], &Device::Cpu)?)?;
        for _ in 0..rng.below(5) {
            values[rng.below(30)] = specials[rng.below(specials.len())];
        }
        let x = Tensor::from_vec(values, (2, 3, 5), &Device::Cpu)?;
        for (name, op) in ops() {
            let name = format!("{name} of {:?}", numbers(&x)?);
            same(&name, &numbers(&op(&x)?)?, &numbers(&composed(|| op(&x))?)?, 1e-5);
        }
        let upstream = normal(seed + 100, &[2, 3, 5], &Device::Cpu)?;
        for (name, op) in differentiable() {
            let name = format!("gradient of {name} at {:?}", numbers(&x)?);
            let kernel = numbers(&gradient(&x, &op, &upstream)?)?;
            same(&name, &kernel, &numbers(&composed(|| gradient(&x, &op, &upstream))?)?, 1e-5);
        }
    }
    // Values for several blocks of parallel work.
    let shape = (2, 12_000, 5);
    let x = Rng::new(40).normal(0.3, 1.0, shape, DType::F64, &Device::Cpu)?;
    let batch_norm: Op =
        Box::new(|u| BatchNorm::new(5, DType::F64, &Device::Cpu)?.forward_train(&u.flatten(0, 1)?));
    let norm = || [("batch norm".to_string(), &batch_norm)];
    let (ops, differentiable) = (ops(), differentiable());
    for (name, op) in ops.iter().map(|(name, op)| (name.clone(), op)).chain(norm()) {
        same(&name, &numbers(&op(&x)?)?, &numbers(&composed(|| op(&x))?)?, 1e-6);
    }
    let upstream = Rng::new(41).normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)?;
    for (name, op) in differentiable.iter().map(|(name, op)| (name.clone(), op)).chain(norm()) {
        let kernel = numbers(&gradient(&x, op, &upstream)?)?;
        same(&name, &kernel, &numbers(&composed(|| gradient(&x, op, &upstream))?)?, 1e-6);
    }
    Ok(())
}

/// Updates of weights that several blocks of parallel work fill: of activities that are dense and sparse, by rules with
/// and without decay.
#[test]
fn updates_of_many_weights() -> Result<()> {
    let mut rng = Rng::new(42);
    let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
    let (w, x) = (Var::from_tensor(&normal((1, 384, 864))?)?, normal((1, 4, 864))?);
    let u = normal((1, 4, 384))?;
    for competition in [KWta::graded(2), KWta::graded(200)] {
        let post = competition.compete(&u)?;
        for rule in [&Hebb as &dyn Rule, &Oja] {
            let updates = || -> Result<[Vec<f32>; 2]> {
                let synapses = Synapses::new(&w, &x, &u, &post)?;
                let grads = synapses.loss(rule)?.backward()?;
                let gradient = grads.get(&w).expect("a gradient").neg()?;
                Ok([numbers(&synapses.update(rule)?)?, numbers(&gradient)?])
            };
            let ([update, by_loss], [want, _]) = (updates()?, composed(updates)?);
            same("update", &update, &want, 1e-6);
            same("by its loss", &by_loss, &want, 1e-6);
        }
    }
    Ok(())
}

/// In f16 a sum of ones would stop at 2048, in bf16 at 256; ε = 1e-10 is 0 in f16.
fn sums_in_half_precision(device: &Device) -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let ones = Tensor::ones((1, 4096, 2), dtype, device)?;
        for sums in [column_sums(&ones)?, column_counts(&ones)?, column_dots(&ones, &ones)?] {
            assert_eq!(numbers(&sums)?, [4096.0; 2], "{dtype:?}");
        }
        assert_eq!(numbers(&squared_norms(&ones.transpose(1, 2)?)?)?, [4096.0; 2]);

        let equal = Tensor::full(0.1f32, (2, 75), device)?.to_dtype(dtype)?;
        assert_eq!(numbers(&standardise(&equal, 1e-10)?)?, [0.0; 150]);

        // 4096 wins in 4096 rows against a target of a half: 100 steps of 2⁻¹⁰ from 1, where the numbers of bf16 are
        // 2⁻⁷ apart.
        let threshold = AdaptiveThreshold::new((1, 2), 2f64.powi(-9), 0.5, dtype, device)?;
        threshold.set(&Tensor::ones((1, 2), dtype, device)?)?;
        for _ in 0..100 {
            threshold.adapt(&ones)?;
        }
        let theta = 1.0 + 100.0 / 1024.0;
        assert_eq!(numbers(threshold.values())?, [theta; 2]);
        let excess = threshold.apply(&(&ones * 2.0)?)?;
        assert_eq!(excess.dtype(), dtype);
        let want = Tensor::full(2.0 - theta, (1, 4096, 2), device)?.to_dtype(dtype)?;
        assert_eq!(numbers(&excess)?, numbers(&want)?);
    }
    Ok(())
}

fn empty_batches(device: &Device) -> Result<()> {
    let empty = Tensor::zeros((2, 0, 5), DType::F32, device)?;
    for (name, op) in ops() {
        let out = op(&empty)?;
        // Sums over no rows are 0; everything else has no rows either.
        let sums = ["column_sums", "column_counts", "column_dots", "squared_norms"]
            .contains(&name.as_str());
        let want = if sums { vec![0.0; 10] } else { vec![] };
        assert_eq!(numbers(&out)?, want, "{name}");
        let one = op(&Tensor::ones((2, 1, 5), DType::F32, device)?)?;
        assert_eq!(out.rank(), one.rank(), "{name}");
    }
    for (name, op) in differentiable() {
        let x = Var::from_tensor(&empty)?;
        let out = op(&x)?;
        let grads = weighted_sum(&out, &out.detach())?.backward()?;
        let grad = grads.get(&x).ok_or_else(|| candle::Error::msg(format!("{name}: none")))?;
        assert_eq!(grad.dims(), [2, 0, 5], "{name}");
    }
    let threshold = AdaptiveThreshold::new((2, 5), 1.0, 0.2, DType::F32, device)?;
    threshold.adapt(&empty)?;
    assert_eq!(numbers(threshold.values())?, [0.0; 10]);

    // Having no units is a mistake, and reported as one.
    let nobody = Tensor::zeros((2, 3, 0), DType::F32, device)?;
    for (name, op) in ops() {
        if name != "ramp" {
            let error = op(&nobody).expect_err(&name).to_string();
            assert!(error.contains('0'), "{name}: {error}");
        }
    }
    assert!(AdaptiveThreshold::new((2, 0), 1.0, 0.2, DType::F32, device).is_err());
    Ok(())
}

#[test]
fn parameters_that_make_nan_are_refused() -> Result<()> {
    let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
    for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY] {
        assert!(SoftWta { inverse_temperature: bad }.compete(&x).is_err());
        assert!(SoftWtaAntiHebbian { inverse_temperature: bad }.compete(&x).is_err());
        assert!(ramp(&x, bad).is_err() && repu(&x, bad).is_err());
        assert!(triangle(&x, bad, true).is_err() && standardise(&x, bad).is_err());
        for (rate, target) in [(bad, 0.5), (1.0, bad)] {
            let made = AdaptiveThreshold::new((1, 3), rate, target, DType::F32, &Device::Cpu);
            assert!(made.is_err(), "{rate} {target}");
        }
    }
    // Finite, but not in the type of the computation.
    assert!(SoftWta { inverse_temperature: 1e300 }.compete(&x).is_err());
    assert!(ramp(&x, 1e300).is_err() && ramp(&x, 1e-300).is_err());
    assert!(repu(&x, 1e300).is_err() && triangle(&x, 1e-300, true).is_err());
    assert!(AdaptiveThreshold::new((1, 3), 1e300, 0.5, DType::F32, &Device::Cpu).is_err());
    assert!(column_dots(&x.unsqueeze(0)?, &x.unsqueeze(0)?.to_dtype(DType::F64)?).is_err());
    assert!(column_sums(&x).is_err() && kth_largest(&x, 4).is_err());
    let wrong = AdaptiveThreshold::new((1, 3), 1.0, 0.5, DType::F64, &Device::Cpu)?;
    assert!(wrong.apply(&x.unsqueeze(0)?).is_err());
    Ok(())
}

/// Finite input, whatever it is, gives finite activity.
#[test]
fn finite_responses_give_finite_activity() -> Result<()> {
    let mut rng = Rng::new(12);
    for competition in competitions() {
        for exponent in [-40, -10, 0, 10, 38] {
            let u = rng.uniform(-3.0, 3.0, (20, 7), DType::F64, &Device::Cpu)?;
            let u = (u * 10f64.powi(exponent))?.to_dtype(DType::F32)?;
            let largest = largest(&competition.compete(&u)?)?;
            assert!(largest.is_finite(), "{competition:?} at 1e{exponent}");
        }
    }
    Ok(())
}
