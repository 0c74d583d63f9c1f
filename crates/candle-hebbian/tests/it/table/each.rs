//! Checks of every op, competition and layer.

use super::cases::{Case, all_near, cases, each_is_refused, learning, near, numbers};
use super::entries::{
    COMPETITIONS, Empty, Gradient, REFUSED, REFUSED_COMPETITIONS, REFUSED_GEOMETRIES, REFUSED_RULES,
};
use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::ops::composed;
use candle_hebbian::test_device;
use candle_hebbian::testing::check_gradient_of;

const CPU: &Device = &Device::Cpu;

/// Runs `check` with the CPU's kernels and with the ops that other devices run.
fn both_ways(check: impl Fn() -> Result<()>) -> Result<()> {
    check()?;
    composed(check)
}

fn check_gradient<const N: usize>(case: &Case) -> Result<()> {
    let held = &case.inputs;
    let run = |args: [&Tensor; N]| (case.run)(&args.map(Tensor::clone));
    let reference = |args: [&Tensor; N]| match case.gradient {
        Gradient::Of(reference) => reference(held, &args.map(Tensor::clone)),
        _ => run(args),
    };
    check_gradient_of(&case.name, std::array::from_fn(|at| &held[at]), run, reference)
}

#[test]
fn gradients_are_derivatives() -> Result<()> {
    let cases = cases()?;
    both_ways(|| {
        for case in cases.iter().filter(|case| !matches!(case.gradient, Gradient::None)) {
            match case.inputs.len() {
                1 => check_gradient::<1>(case)?,
                2 => check_gradient::<2>(case)?,
                _ => check_gradient::<3>(case)?,
            }
        }
        Ok(())
    })
}

/// f32 gives what f64 gives for the same numbers.
#[test]
fn single_precision() -> Result<()> {
    for case in cases()?.iter().chain(&learning()?) {
        let single = case.inputs_in(DType::F32, CPU)?;
        let double = single.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
        let (got, want) = (case.pass(&single, DType::F32)?, case.pass(&double, DType::F32)?);
        for (got, want) in got.iter().zip(&want) {
            assert_eq!((got.dtype(), want.dtype()), (DType::F32, DType::F64), "{}", case.name);
            near(&case.name, got, want, 1e-5)?;
        }
    }
    Ok(())
}

/// f16 and bf16 give what f32 gives for the same numbers, rounded once.
#[test]
fn half_precision() -> Result<()> {
    let cases = cases()?;
    for (dtype, unit) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
        let check = |composed: bool| -> Result<()> {
            for case in &cases {
                let name = format!("{} {dtype:?}", case.name);
                let half = case.inputs_in(dtype, CPU)?;
                let wide =
                    half.iter().map(|x| x.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
                let (got, want) = (case.pass(&half, dtype)?, case.pass(&wide, dtype)?);
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    assert_eq!(got.dtype(), dtype, "{name}");
                    // The composition of a layer is two ops, each of which rounds its gradient.
                    let layer = case.name.contains(": forward");
                    let once = at == 0 || case.rounds_once && !(composed && layer);
                    let tolerance = if once { 0.0 } else { 4.0 * unit };
                    near(&name, got, &want.to_dtype(dtype)?, tolerance)?;
                }
            }
            Ok(())
        };
        check(false)?;
        composed(|| check(true))?;
    }
    Ok(())
}

/// The same values behind strides, offsets and repetitions: a name, how they are stored, and how
/// they are viewed.
type View = (&'static str, fn(&Tensor) -> Result<Tensor>, fn(&Tensor, &[usize]) -> Result<Tensor>);

fn reversed(x: &Tensor) -> Result<Tensor> {
    x.permute((0..x.rank()).rev().collect::<Vec<_>>())
}

const VIEWS: [View; 4] = [
    ("turned", |x| reversed(x)?.contiguous(), |x, _| reversed(x)),
    (
        "part",
        |x| {
            let mut whole = x.clone();
            for dim in 0..x.rank() {
                let edge = whole.narrow(dim, 0, 1)?.affine(0.0, 1e6)?;
                whole = Tensor::cat(&[&edge, &whole, &edge], dim)?;
            }
            Ok(whole)
        },
        |x, shape| {
            let mut part = x.clone();
            for (dim, &size) in shape.iter().enumerate() {
                part = part.narrow(dim, 1, size)?;
            }
            Ok(part)
        },
    ),
    ("repeated", |x| x.narrow(0, 0, 1)?.contiguous(), |x, shape| x.broadcast_as(shape)),
    (
        "second to last",
        |x| x.transpose(1, x.rank() - 1)?.contiguous(),
        |x, _| x.transpose(1, x.rank() - 1),
    ),
];

/// Channels last, as convolutions return them.
const CHANNELS_LAST: View =
    ("channels last", |x| x.permute((0, 2, 3, 1))?.contiguous(), |x, _| x.permute((0, 3, 1, 2)));

/// Views give what their copies give, and gradients go back through them.
#[test]
fn layouts() -> Result<()> {
    let cases = cases()?;
    both_ways(|| {
        for case in &cases {
            for at in 0..case.inputs.len() {
                let shape = case.inputs[at].dims();
                let last = (shape.len() == 4).then_some(CHANNELS_LAST);
                for (view, store, see) in VIEWS.into_iter().chain(last) {
                    if shape.len() < 2 {
                        continue;
                    }
                    let mut vars = case.inputs.clone();
                    vars[at] = store(&vars[at])?;
                    let vars = vars.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
                    let vars: Vec<Tensor> = vars.into_iter().map(Var::into_inner).collect();
                    let (mut seen, mut copied) = (vars.clone(), vars.clone());
                    seen[at] = see(&vars[at], shape)?;
                    copied[at] = seen[at].force_contiguous()?;
                    let got = case.pass_at(&seen, &vars, DType::F64)?;
                    let want = case.pass_at(&copied, &vars, DType::F64)?;
                    for (got, want) in got.iter().zip(&want) {
                        near(&format!("{} of {view} {at}", case.name), got, want, 1e-14)?;
                    }
                }
            }
        }
        Ok(())
    })
}

#[test]
fn compositions_equal_kernels() -> Result<()> {
    for case in cases()?.iter().chain(&learning()?) {
        let kernel = case.pass(&case.inputs, DType::F64)?;
        let composition = composed(|| case.pass(&case.inputs, DType::F64))?;
        for (composition, kernel) in composition.iter().zip(&kernel) {
            near(&case.name, composition, kernel, 1e-12)?;
        }
    }
    Ok(())
}

/// A device in f32 gives what the CPU gives in f64 for the same numbers.
fn on_devices(device: &Device) -> Result<()> {
    for case in cases()?.iter().chain(&learning()?) {
        let single = case.inputs_in(DType::F32, CPU)?;
        let double = single.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
        let here = case.pass(&case.inputs_in(DType::F32, device)?, DType::F32)?;
        for (here, want) in here.iter().zip(&case.pass(&double, DType::F32)?) {
            assert!(here.device().same_device(device), "{}", case.name);
            near(&case.name, here, want, 1e-4)?;
        }
    }
    Ok(())
}

/// The shape of a result is linear in the size of the batch, so that of an empty batch follows from
/// those of one and two.
fn empty_batches(device: &Device) -> Result<()> {
    let dims = |case: &Case, count: usize| -> Result<Vec<usize>> {
        match case.with_batch(count, DType::F32, device)? {
            Some(inputs) => Ok((case.run)(&inputs)?.dims().to_vec()),
            None => Ok(Vec::new()),
        }
    };
    for case in cases()?.iter().chain(&learning()?) {
        let name = &case.name;
        let Some(inputs) = case.with_batch(0, DType::F32, device)? else { continue };
        if let Empty::Refused(says) = case.empty {
            let error = (case.run)(&inputs).expect_err(name).to_string();
            assert!(says.iter().all(|says| error.contains(says)), "{name}: {says:?} in {error}");
            continue;
        }
        let pass = case.pass(&inputs, DType::F32)?;
        let (one, two) = (dims(case, 1)?, dims(case, 2)?);
        let want: Vec<usize> = one.iter().zip(&two).map(|(one, two)| 2 * one - two).collect();
        assert_eq!(pass[0].dims(), want, "{name}");
        match case.empty {
            Empty::Zeros => assert!(numbers(&pass[0])?.iter().all(|&x| x == 0.0), "{name}"),
            _ => assert_eq!(pass[0].elem_count(), 0, "{name}"),
        }
        for (gradient, input) in pass[1..].iter().zip(&inputs) {
            assert_eq!(gradient.dims(), input.dims(), "{name}");
            assert!(numbers(gradient)?.iter().all(|&x| x == 0.0), "{name}");
        }
    }
    Ok(())
}

test_device!(on_devices, empty_batches);

/// Activity follows the definition of the competition, row by row.
#[test]
fn competitions_are_their_definitions() -> Result<()> {
    both_ways(|| {
        for entry in COMPETITIONS {
            let grid = super::cases::on_grid(entry.name, &[4, 30, 7], 0.5)?; // with ties
            for u in [super::cases::normal(entry.name, &[4, 30, 7])?, grid] {
                let got = numbers(&entry.competition.compete(&u)?)?;
                for (got, u) in got.chunks(7).zip(numbers(&u)?.chunks(7)) {
                    all_near(
                        &format!("{} of {u:?}", entry.name),
                        got,
                        &(entry.definition)(u),
                        1e-14,
                    );
                }
            }
        }
        Ok(())
    })
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    for entries in [REFUSED, REFUSED_COMPETITIONS, REFUSED_RULES, REFUSED_GEOMETRIES] {
        each_is_refused(entries)?;
    }
    Ok(())
}

/// Integers are refused by name and never computed with; candle would panic, or drop the remainder
/// of a division.
#[test]
fn integers_are_refused() -> Result<()> {
    // These only move values, or compute what a test defines.
    let takes_any = ["custom_vjp", "Dropout, nothing"];
    let dense_rows = |name: &str| name.starts_with("Dense") && name.ends_with(": rows");
    let cases = cases()?;
    both_ways(|| {
        for case in &cases {
            let name = &case.name;
            if takes_any.contains(&name.as_str()) || dense_rows(name) {
                continue;
            }
            for dtype in [DType::U8, DType::U32, DType::I64] {
                match (case.run)(&case.inputs_in(dtype, CPU)?) {
                    Ok(out) => panic!("{name}: {dtype:?} was taken and gave {:?}", out.dtype()),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(error.contains(&format!("{dtype:?}")), "{name}: {error}");
                    }
                }
            }
        }
        Ok(())
    })
}
