//! The entries of the table as functions with their inputs.

use super::entries::{
    COMPETITIONS, Empty, GEOMETRIES, GeometryEntry, Gradient, OPS, RULES, Refused, RuleEntry, Run,
};
use crate::common::weighted_sum;
use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::{Competition, Geometry, Layer, Response, Rng, State, Synapses};

/// A function from inputs to a result, with all that the entry has to know.
type Function = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// A tensor function with its inputs, in f64 on the CPU.
pub struct Case {
    pub name: String,
    pub inputs: Vec<Tensor>,
    pub run: Function,
    pub batch: Vec<Option<usize>>,
    pub gradient: Gradient,
    pub empty: Empty,
    /// Whether f16 and bf16 results are rounded once, and so are their gradients. Two functions in
    /// a row round twice.
    pub rounds_once: bool,
}

/// Ops, competitions and layers.
pub fn cases() -> Result<Vec<Case>> {
    let ops = OPS.iter().map(|op| {
        let inputs = op.inputs.iter().enumerate();
        let inputs = inputs
            .map(|(at, shape)| off_kinks(&format!("{} {at}", op.name), shape, op.kinks))
            .collect::<Result<_>>()?;
        Ok(case(op.name, inputs, op.run, op.batch, op.gradient, op.empty))
    });
    let competitions = COMPETITIONS.iter().map(|entry| {
        let (u, competition) = (normal(entry.name, &[2, 4, 5])?, entry.competition);
        let run = move |u: &[Tensor]| competition.compete(&u[0]);
        Ok(case(entry.name, vec![u], run, &[Some(1)], Gradient::None, Empty::Nothing))
    });
    let mut all = ops.chain(competitions).collect::<Result<Vec<_>>>()?;
    for GeometryEntry { name, geometry, input, weight } in GEOMETRIES {
        let inputs = vec![normal(name, input)?, normal(&format!("{name} w"), weight)?];
        let layer = |what: &str, run: fn(&Layer, &Tensor) -> Result<Tensor>, gradient| {
            let run = move |x: &[Tensor]| run(&Layer::new(x[1].clone(), *geometry)?, &x[0]);
            let name = format!("{name}: {what}");
            case(&name, inputs.clone(), run, &[Some(0), None], gradient, Empty::Nothing)
        };
        let forward = layer("forward", |layer, x| layer.forward(x), Gradient::Exact);
        let rounds_once = !matches!(geometry, Geometry::LocallyConnected2d(_));
        all.push(Case { rounds_once, ..forward });
        all.push(layer("rows", |layer, x| layer.unfold(x), Gradient::None));
        let output = |layer: &Layer, x: &Tensor| layer.response(x)?.output();
        all.push(layer("response", output, Gradient::None));
    }
    Ok(all)
}

fn case(
    name: &str,
    inputs: Vec<Tensor>,
    run: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    batch: &[Option<usize>],
    gradient: Gradient,
    empty: Empty,
) -> Case {
    let (name, run, batch) = (name.to_string(), Box::new(run), batch.to_vec());
    Case { name, inputs, run, batch, gradient, empty, rounds_once: true }
}

/// The synapses of a layer for a rule, a competition and a geometry.
pub fn synapses(
    entry: &RuleEntry,
    competition: &dyn Competition,
    geometry: Geometry,
    inputs: &[Tensor],
) -> Result<Synapses> {
    let linear = Response::new(&inputs[1], geometry, &inputs[0])?;
    let response = (entry.rule)()?.response(linear)?;
    let synapses = response.synapses(&competition.compete(response.u())?)?;
    match (entry.third)(response.u())? {
        Some(third) => synapses.with_third(&third),
        None => Ok(synapses),
    }
}

/// Every rule with every competition in every geometry, as a function from a batch to its update.
/// The values are on a grid on which every response is exact in f32; otherwise rounding would
/// decide which unit wins.
pub fn learning() -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for GeometryEntry { name, geometry, input, weight } in GEOMETRIES {
        let inputs = vec![on_grid(name, input, 0.125)?, on_grid(name, weight, 0.25)?];
        for rule in RULES {
            for competition in COMPETITIONS {
                let name = format!("{} of {} in {name}", rule.name, competition.name);
                let run = move |x: &[Tensor]| {
                    synapses(rule, competition.competition, *geometry, x)?
                        .update_with(&*(rule.rule)()?, &mut State::default())
                };
                let batch = [Some(0), None];
                all.push(case(&name, inputs.clone(), run, &batch, Gradient::None, Empty::Zeros));
            }
        }
    }
    Ok(all)
}

/// Normal draws, different for each name.
pub fn normal(name: &str, shape: &[usize]) -> Result<Tensor> {
    Rng::new(0).stream(name).normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)
}

pub fn on_grid(name: &str, shape: &[usize], step: f64) -> Result<Tensor> {
    let name = format!("{name} {shape:?}");
    let steps =
        Rng::new(0).stream(&name).normal(0.0, 1.0 / step, shape, DType::F64, &Device::Cpu)?;
    steps.round()? * step
}

/// Normal draws, repeated until no value is near one of `kinks`, with and without its mean over
/// axis 1 subtracted.
fn off_kinks(name: &str, shape: &[usize], kinks: &[f64]) -> Result<Tensor> {
    let mut rng = Rng::new(0).stream(name);
    loop {
        let x = rng.normal(0.0, 1.5, shape, DType::F64, &Device::Cpu)?;
        if kinks.is_empty() {
            return Ok(x);
        }
        let excess = x.broadcast_sub(&x.mean_keepdim(1)?)?;
        let mut distances = numbers(&x)?;
        distances.extend(numbers(&excess)?);
        let far = |x: &f64| kinks.iter().all(|kink| (x.abs() - kink).abs() > 0.01);
        if distances.iter().all(far) {
            return Ok(x);
        }
    }
}

pub fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    candle_hebbian::device::to_host(t)?.flatten_all()?.to_vec1()
}

/// `|got − want| ≤ tolerance·max|want|` everywhere, for equal shapes; NaN is near nothing.
#[track_caller]
pub fn near(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(got.dims(), want.dims(), "{name}");
    all_near(name, &numbers(got)?, &numbers(want)?, tolerance);
    Ok(())
}

#[track_caller]
pub fn all_near(name: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}");
    let largest = want.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    assert!(largest.is_finite(), "{name}: {want:?}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let near = (got - want).abs() <= tolerance * largest;
        assert!(near, "{name}: [{at}] is {got}, expected {want}; the largest is {largest}");
    }
}

impl Case {
    /// The result for `inputs`, and the gradients at them of its product with random numbers
    /// rounded to `dtype`.
    pub fn pass(&self, inputs: &[Tensor], dtype: DType) -> Result<Vec<Tensor>> {
        if matches!(self.gradient, Gradient::None) {
            return Ok(vec![(self.run)(inputs)?]);
        }
        let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let vars: Vec<Tensor> = vars.into_iter().map(Var::into_inner).collect();
        self.pass_at(&vars, &vars, dtype)
    }

    /// The same for inputs that are computed from `vars`, with the gradients at `vars`.
    pub fn pass_at(&self, inputs: &[Tensor], vars: &[Tensor], dtype: DType) -> Result<Vec<Tensor>> {
        let out = (self.run)(inputs)?;
        let mut all = vec![out.detach()];
        if matches!(self.gradient, Gradient::None) {
            return Ok(all);
        }
        let g = normal("upstream", out.dims())?.to_dtype(dtype)?.to_dtype(out.dtype())?;
        let grads = weighted_sum(&out, &g.to_device(out.device())?)?.backward()?;
        for var in vars {
            // An input that the op takes as a constant has no gradient.
            all.push(grads.get(var).cloned().map_or_else(|| var.zeros_like(), Ok)?);
        }
        Ok(all)
    }

    /// The inputs in another type on another device.
    pub fn inputs_in(&self, dtype: DType, device: &Device) -> Result<Vec<Tensor>> {
        self.inputs.iter().map(|x| x.to_dtype(dtype)?.to_device(device)).collect()
    }

    /// The inputs with each of their rows or images `count` times; `None` if no input has any.
    pub fn with_batch(
        &self,
        count: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Vec<Tensor>>> {
        if self.batch.iter().all(Option::is_none) {
            return Ok(None);
        }
        let inputs = self.inputs_in(dtype, device)?.into_iter().zip(&self.batch);
        let repeated = inputs.map(|(x, axis)| match (axis, count) {
            (None, _) => Ok(x),
            (Some(axis), 0) => x.narrow(*axis, 0, 0)?.contiguous(),
            (Some(axis), _) => Tensor::cat(&vec![&x; count], *axis),
        });
        repeated.collect::<Result<_>>().map(Some)
    }
}

/// Checks that each of `entries` is refused with its message.
pub fn each_is_refused(entries: &[Refused]) -> Result<()> {
    for Refused { name, inputs, run, says } in entries {
        let run: Run = *run;
        let inputs = inputs
            .iter()
            .map(|shape| Tensor::ones(*shape, DType::F32, &Device::Cpu))
            .collect::<Result<Vec<_>>>()?;
        let check = || match run(&inputs) {
            Ok(out) => panic!("{name}: taken, with a result of {:?}", out.dims()),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    says.iter().all(|says| error.contains(says)),
                    "{name}: {says:?} in {error}"
                );
            }
        };
        check();
        candle_hebbian::ops::composed(check);
    }
    Ok(())
}
