//! The checks detect what is wrong: rules and backward passes with one mistake each.

use candle::{Device, Error, Result, Tensor, Var, op};
use candle_hebbian::ops::{Value, column_dots, column_sums, custom_vjp};
use candle_hebbian::testing::{
    Synapse, UpdateOptions, check_gradient, check_gradient_of, check_update, draw_synapses,
};
use candle_hebbian::{NoCompetition, Rng, Rule, SoftWta, State, Synapses, Update};

type Function = fn(&Synapses, &mut State) -> Result<Update>;

/// Oja's equation.
fn oja(s: &Synapse) -> f64 {
    s.y * (s.x - s.y * s.w)
}

fn check(name: &str, rule: &dyn Rule, equation: fn(&Synapse) -> f64) -> Result<()> {
    let competition = SoftWta { inverse_temperature: 1.0 };
    let synapses = draw_synapses(rule, &competition, [2, 6, 3, 4], &mut Rng::new(3))?;
    check_update(name, rule, equation, &synapses, &UpdateOptions::default())
}

#[track_caller]
fn found_out(result: Result<()>, says: &[&str]) {
    let error = result.expect_err("it is wrong").to_string();
    assert!(says.iter().all(|says| error.contains(says)), "{says:?} in {error}");
    // The message contains the numbers.
    let numbers = error
        .split([' ', ',', ':', ';', '(', ')'])
        .filter(|word| word.contains('.') && word.parse::<f64>().is_ok());
    assert!(numbers.count() > 0, "{error}");
}

fn with_decay(synapses: &Synapses, share: f64) -> Result<Update> {
    let post = synapses.post();
    Ok(Update::hebbian(post.clone()).decaying((column_dots(post, post)? * share)?))
}

#[test]
fn a_right_rule_passes() -> Result<()> {
    let right: Function = |s, _| with_decay(s, 1.0);
    check("Oja", &right, oja)
}

#[test]
fn broken_rules() {
    let wrong_sign: Function =
        |s, _| Ok(Update::hebbian(s.post().neg()?).decaying(column_dots(s.post(), s.post())?));
    found_out(check("wrong sign", &wrong_sign, oja), &["wrong sign", "its equation", "unit"]);

    let ascent: Function = |s, _| {
        let gained = s.post().transpose(1, 2)?.matmul(s.pre()?)?;
        Ok(Update::direct(gained.neg()?))
    };
    found_out(check("ascent", &ascent, |s| s.y * s.x), &["ascent", "its equation", "input"]);

    let half: Function = |s, _| with_decay(s, 0.5);
    found_out(check("half of the decay", &half, oja), &["half of the decay", "its equation"]);

    // The derivative of −Σ y(w)·u(w), where y is the softmax of u; Hebb's rule holds y constant.
    let through_y: Function = |s, _| {
        let w = Var::from_tensor(&s.weights()?)?;
        let u = s.pre()?.matmul(&w.transpose(1, 2)?)?;
        let y = candle_nn::ops::softmax(&u, 2)?;
        let mut grads = (y * u)?.sum_all()?.backward()?;
        match grads.remove(&w) {
            Some(grad) => Ok(Update::direct(grad)),
            None => candle::bail!("no gradient"),
        }
    };
    let hebb = |s: &Synapse| s.y * s.x;
    found_out(check("through y", &through_y, hebb), &["through y", "its equation"]);

    let mean: Function = |s, _| Ok(Update::hebbian((s.post() / s.post().dim(1)? as f64)?));
    let of_mean = |s: &Synapse| s.y * s.x / s.rows() as f64;
    found_out(check("a mean", &mean, of_mean), &["a mean", "halves", "sum over rows"]);

    // Rows count by their place in the batch. The equation says the same, so only another order of the rows reveals it.
    let ordered: Function = |s, _| {
        let rows = s.post().dim(1)?;
        let last = s.post().narrow(1, rows - 1, 1)?.broadcast_as(s.post().shape())?;
        Ok(Update::hebbian(last.contiguous()?))
    };
    let of_order = |s: &Synapse| s.y_in(s.rows() - 1) * s.x;
    found_out(check("ordered", &ordered, of_order), &["ordered", "another order"]);
}

/// Mistakes with the state, with types and shapes, and an update that is 0.
#[test]
fn broken_rules_of_other_kinds() -> Result<()> {
    // Counts calls and not batches, in memory outside the state.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let counts = |s: &Synapses, state: &mut State| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as f64 + 0.5;
        state.set("calls", &Tensor::new(call, &Device::Cpu)?);
        Ok(Update::hebbian(s.post().clone()))
    };
    found_out(check("counts", &counts, |s| s.y * s.x), &["counts", "states", "calls"]);

    // The state is written but not used, as if each batch were the first.
    let forgets = |s: &Synapses, state: &mut State| {
        state.set("mean", &(column_sums(s.post())? / s.post().dim(1)? as f64)?);
        Ok(Update::hebbian(s.post().clone()))
    };
    let uses = |s: &Synapse| match s.kept("mean") {
        Some(mean) => (s.y - mean) * s.x,
        None => s.y * s.x,
    };
    found_out(check("forgets", &forgets, uses), &["forgets", "a batch before", "its equation"]);

    let double: Function = |s, _| {
        let half = Tensor::new(0.5f64, &Device::Cpu)?;
        Ok(Update::hebbian(s.post().broadcast_mul(&half)?))
    };
    let error = check("double", &double, |s| 0.5 * s.y * s.x).expect_err("f32 by f64").to_string();
    assert!(
        error.contains("double") && error.contains("f32") && error.contains("dtype"),
        "{error}"
    );

    let single: Function = |s, _| {
        let rounded = s.post().to_dtype(candle::DType::F32)?.to_dtype(s.post().dtype())?;
        Ok(Update::hebbian(rounded))
    };
    found_out(check("single", &single, |s| s.y * s.x), &["single", "its equation"]);

    let nan: Function = |s, _| Ok(Update::hebbian((s.post() * f64::NAN)?));
    let error = check("nan", &nan, |s| s.y * s.x).expect_err("NaN is no update").to_string();
    assert!(error.contains("nan") && error.contains("NaN"), "{error}");

    let nothing: Function = |s, _| Ok(Update::hebbian(s.post().zeros_like()?));
    let error = check("nothing", &nothing, |_| 0.0).expect_err("checks nothing").to_string();
    assert!(error.contains("nothing was checked"), "{error}");

    // An update of another shape than the weights: refused by the product or by the check, with the name.
    let shape: Function = |s, _| Ok(Update::hebbian(s.post().narrow(2, 0, 1)?));
    let error = check("shape", &shape, |s| s.y * s.x).expect_err("one unit").to_string();
    assert!(error.contains("check_update of shape"), "{error}");
    Ok(())
}

/// Units that subtract each other's weights: terms that are not a fused product are held constant in the loss as well.
#[test]
fn every_term_of_an_update_is_checked() -> Result<()> {
    let moments = |y: &Tensor| -> Result<Tensor> {
        let lower = Tensor::tril2(y.dim(2)?, y.dtype(), y.device())?;
        y.transpose(1, 2)?.matmul(y)?.broadcast_mul(&lower)
    };
    // Sanger's rule with a leak, and a direct update of Sanger's rule with its mixing subtracted once more.
    let leaking = move |s: &Synapses, _: &mut State| {
        let update = Update::hebbian(s.post().clone()).mixing(moments(s.post())?);
        Ok(update.decaying(column_sums(&s.post().abs()?)?))
    };
    let written_out = move |s: &Synapses, _: &mut State| {
        let gained = s.post().transpose(1, 2)?.matmul(s.pre()?)?;
        Ok(Update::direct((gained - moments(s.post())?.matmul(&s.weights()?)?)?)
            .mixing(moments(s.post())?))
    };
    let others = |s: &Synapse| (0..=s.unit()).map(|l| s.y * s.y_of(l) * s.w_of(l)).sum::<f64>();
    let synapses = draw_synapses(&leaking, &NoCompetition, [2, 6, 3, 4], &mut Rng::new(4))?;
    let options = UpdateOptions::default();
    let equation = |s: &Synapse| s.y * s.x - others(s) - s.y.abs() * s.w;
    check_update("with a leak", &leaking, equation, &synapses, &options)?;
    let equation = |s: &Synapse| s.y * s.x - 2.0 * others(s);
    check_update("written out", &written_out, equation, &synapses, &options)
}

fn square(x: &Tensor, slope: f64, constant: f64) -> Result<Tensor> {
    custom_vjp(
        "square",
        [x],
        |[x]| Ok((Value::unary::<op::Sqr>(x)?, x.clone())),
        move |pass| Ok([Some((pass.grad * ((pass.residuals * slope)? + constant)?)?)]),
    )
}

#[test]
fn broken_gradients() -> Result<()> {
    let x = Rng::new(5).normal(0.0, 1.0, (3, 4), candle::DType::F64, &Device::Cpu)?;
    let y = Rng::new(6).normal(0.0, 1.0, (3, 4), candle::DType::F64, &Device::Cpu)?;
    check_gradient("right", [&x], |[x]| square(x, 2.0, 0.0))?;
    for (name, slope, constant) in
        [("wrong sign", -2.0, 0.0), ("half", 1.0, 0.0), ("a little off", 2.0, 1e-4)]
    {
        let result = check_gradient(name, [&x], |[x]| square(x, slope, constant));
        found_out(result, &["check_gradient", name, "argument 0", "central differences"]);
    }
    // The second of two arguments; one entry of many; a gradient that is missing.
    let second = |[x, y]: [&Tensor; 2]| square(x, 2.0, 0.0)? + square(y, 3.0, 0.0)?;
    found_out(check_gradient("second", [&x, &y], second), &["second", "argument 1"]);
    let one = |[x]: [&Tensor; 1]| {
        let mask = Tensor::arange(0f64, 12.0, x.device())?.reshape((3, 4))?.eq(7.0)?;
        let value = x.sqr()?.detach();
        custom_vjp(
            "one entry",
            [x],
            |[x]| Ok((value.into(), x.clone())),
            move |pass| {
                let grad = (pass.grad * (pass.residuals * 2.0)?)?;
                Ok([Some(mask.where_cond(&grad.zeros_like()?, &grad)?)])
            },
        )
    };
    found_out(check_gradient("one entry", [&x], one), &["one entry", "argument 0"]);
    found_out(check_gradient("none", [&x], |[x]| x.detach().sqr()), &["none", "argument 0"]);
    let error = check_gradient("constant", [&x], |[x]| x.ones_like()).expect_err("constant");
    assert!(error.to_string().contains("nothing was checked"), "{error}");
    // What the backward pass holds must be held in the reference: in the second check it is not.
    let held = |[x]: [&Tensor; 1]| x * x.detach();
    check_gradient_of("held", [&x], held, |[moved]| moved * &x)?;
    found_out(check_gradient("not held", [&x], held), &["not held"]);
    // A refusal by the function is passed on with the name.
    let refuse = |_: [&Tensor; 1]| Err::<Tensor, _>(Error::Msg("too small".to_string()));
    let error = check_gradient("refuses", [&x], refuse).expect_err("refused").to_string();
    assert!(error.contains("refuses") && error.contains("too small"), "{error}");
    Ok(())
}
