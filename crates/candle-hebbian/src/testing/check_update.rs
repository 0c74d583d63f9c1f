//! Comparison of rules with their equations.

use super::agreement::{agree, failed, near};
use super::synapse::{Synapse, Values, numbers};
use crate::device::to_host;
use crate::{Competition, Conv2dConfig, Geometry, Response, Rng, Rule, State, Synapses, Update};
use candle::{DType, Device, Error, Result, Tensor, Var};

/// The options of [`check_update`].
#[derive(Debug, Clone)]
pub struct UpdateOptions {
    /// The state of the rule before the batch. Default: empty.
    pub state: State,
    /// Whether the update of a batch is the sum of those of its halves. Default: true. If all rows share a statistic,
    /// such as BCM's threshold, it is not.
    pub is_sum: bool,
    /// The number of random directions in which the loss is checked. Default: 3.
    pub directions: usize,
    /// The seed of the random numbers. Default: 0.
    pub seed: u64,
}

impl Default for UpdateOptions {
    fn default() -> Self {
        Self { state: State::default(), is_sum: true, directions: 3, seed: 0 }
    }
}

/// Draws synapses of the sizes `[S, P, K, F]` to check a rule with, in f64 on the CPU: normally distributed rows of
/// variance 1 and weights of variance `1/F`, the rule's own response, and the result of `competition` on it.
///
/// # Errors
/// If the rule or the competition fails.
pub fn draw_synapses(
    rule: &(impl Rule + ?Sized),
    competition: &dyn Competition,
    [sites, rows, units, inputs]: [usize; 4],
    rng: &mut Rng,
) -> Result<Synapses> {
    let mut normal = |std, shape| rng.normal(0.0, std, shape, DType::F64, &Device::Cpu);
    let weight = normal((inputs.max(1) as f64).sqrt().recip(), (sites * units, inputs, 1, 1))?;
    let x = normal(1.0, (rows, sites * inputs, 1, 1))?;
    // Windows of one pixel: a site is a group of channels.
    let geometry = Geometry::Conv2d(Conv2dConfig { groups: sites, ..Conv2dConfig::default() });
    let response = rule.response(Response::new(&weight, geometry, &x)?)?;
    response.synapses(&competition.compete(response.u())?)
}

/// Checks that `rule` does what its `equation` says. The equation gives what one row adds to one weight, for example
/// `|s| s.y * (s.x - s.y * s.w)` for Oja's rule.
///
/// The following is checked for the batch of `synapses`, in f64 on the CPU:
///
/// 1. the update is the sum over rows of `equation`, at each weight;
/// 2. the gradient of the surrogate loss is minus the update;
/// 3. the value of the loss changes as that gradient says, along random directions `v` of the size of
///    `w`:
///
///    ```text
///    (L(w + v) − L(w − v)) / 2 = −⟨Δw, v⟩        L(w) = −Σ y·(x wᵀ) + ½ Σ_k d_k ‖w_k‖² − ⟨D, w⟩
///    ```
///
///    where the rule's result for the synapses at `w` (its `y`, `d` and other terms `D`) is held constant, as
///    the surrogate's stop-gradient does. `L` is then quadratic, so central differences are exact whatever
///    the step;
/// 4. loss and update leave the same state;
/// 5. the order of the rows changes neither the update nor the state;
/// 6. the update is the sum of the updates of the two halves of the batch, if [`UpdateOptions::is_sum`];
/// 7. in f32 the rule gives the same result for the same numbers, to within 10⁻⁴ of the largest entry.
///
/// A rule that keeps state is checked a second time with the state that the first batch left. Only check 1 costs more
/// than a few products, namely a pass over `S·P·K·F` numbers, so layers of any size can be checked with few rows.
///
/// ```
/// use candle::{Result, Tensor};
/// use candle_hebbian::testing::{UpdateOptions, check_update, draw_synapses};
/// use candle_hebbian::{Rng, SoftWta, State, Synapses, Update};
///
/// /// Plain Hebb with a forgetting rate: `Δw_k = Σ (y_k x − ρ w_k)`.
/// fn forgetful(synapses: &Synapses, _: &mut State) -> Result<Update> {
///     let post = synapses.post();
///     let (sites, rows, units) = post.dims3()?;
///     let decay = Tensor::ones((sites, units), post.dtype(), post.device())?;
///     Ok(Update::hebbian(post.clone()).decaying((decay * (0.25 * rows as f64))?))
/// }
///
/// let competition = SoftWta { inverse_temperature: 1.0 };
/// let synapses = draw_synapses(&forgetful, &competition, [2, 8, 3, 5], &mut Rng::new(0))?;
/// let options = UpdateOptions::default();
/// check_update("forgetful", &forgetful, |s| s.y * s.x - 0.25 * s.w, &synapses, &options)?;
///
/// // Half of the decay is found out.
/// let error = check_update("forgetful", &forgetful, |s| s.y * s.x - 0.5 * s.w, &synapses, &options);
/// let error = error.unwrap_err().to_string();
/// assert!(error.contains("forgetful") && error.contains("its equation"), "{error}");
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// If a check fails, with the name of the rule and the numbers of the first one that fails; if the equation gives 0 for
/// all weights, since then nothing was checked; or if the rule fails.
pub fn check_update(
    name: &str,
    rule: &(impl Rule + ?Sized),
    equation: impl Fn(&Synapse) -> f64,
    synapses: &Synapses,
    options: &UpdateOptions,
) -> Result<()> {
    let batch = Batch::of(synapses)?;
    let left = check(name, rule, &equation, &batch, options, &options.state)?;
    if left.iter().next().is_some() {
        let name = format!("{name}, with the state of a batch before");
        check(&name, rule, &equation, &batch, options, &left)?;
    }
    Ok(())
}

/// Runs all checks from one state; returns the state that is left.
fn check(
    name: &str,
    rule: &(impl Rule + ?Sized),
    equation: impl Fn(&Synapse) -> f64,
    batch: &Batch,
    options: &UpdateOptions,
    state: &State,
) -> Result<State> {
    let failed =
        |what: &'static str| move |error: Error| failed("check_update", name, what, &error);
    let update = |batch: &Batch, dtype| -> Result<(Vec<f64>, State)> {
        let mut state = state_in(state, dtype)?;
        let update = batch.synapses(dtype)?.1.update_with(rule, &mut state)?;
        Ok((numbers(&update)?, state))
    };

    let (got, left) = update(batch, DType::F64).map_err(failed("the update"))?;
    let values = Values::of(&batch.synapses(DType::F64)?.1, state)?;
    let place = |at| values.place(at);
    let want = values.sum(equation);
    agree(("the update is", &got), ("its equation gives", &want), 1e-10, place)
        .map_err(failed("the update and its equation"))?;
    if want.iter().all(|&want| want == 0.0) {
        candle::bail!(
            "check_update of {name}: the equation gives 0 for every weight, so nothing was checked: \
             take other synapses"
        )
    }

    let (weight, synapses) = batch.synapses(DType::F64)?;
    let mut of_loss = state.clone();
    let loss = synapses.loss_with(rule, &mut of_loss).map_err(failed("the loss"))?;
    let descent = match loss.backward().map_err(failed("the loss"))?.get(&weight) {
        Some(gradient) => numbers(&gradient.neg()?)?,
        None => candle::bail!("check_update of {name}: the loss has no gradient at the weights"),
    };
    agree(("minus the gradient is", &descent), ("the update is", &got), 1e-12, place)
        .map_err(failed("the gradient of the loss and the update"))?;
    value_changes_as_the_gradient_says(rule, batch, state, options, &descent)
        .map_err(failed("the value of the loss and its gradient"))?;
    same_state(&of_loss, &left, 0.0).map_err(failed("the states that loss and update leave"))?;

    let (permuted, state_of_permuted) =
        update(&batch.permuted(&mut Rng::new(options.seed).stream("rows"))?, DType::F64)
            .map_err(failed("rows in another order"))?;
    agree(("with other order it is", &permuted), ("the update is", &got), 1e-10, place)
        .and_then(|()| same_state(&state_of_permuted, &left, 1e-10))
        .map_err(failed("rows in another order"))?;

    let rows = batch.pre.dim(1)?;
    if options.is_sum && rows > 1 {
        let half = |start, len| update(&batch.part(start, len)?, DType::F64);
        let halves = half(0, rows / 2)
            .and_then(|(a, _)| Ok((a, half(rows / 2, rows - rows / 2)?.0)))
            .map_err(failed("half of the batch"))?;
        let sum: Vec<f64> = halves.0.iter().zip(&halves.1).map(|(a, b)| a + b).collect();
        agree(("the sum of the halves is", &sum), ("the update is", &got), 1e-10, place)
            .map_err(failed("the halves of the batch (is the update a sum over rows?)"))?;
    }

    let rounded = batch.rounded()?;
    let (single, _) = update(&rounded, DType::F32).map_err(failed("f32"))?;
    let (double, _) = update(&rounded, DType::F64).map_err(failed("the update"))?;
    agree(("in f32 it is", &single), ("in f64 it is", &double), 1e-4, place)
        .map_err(failed("f32 and f64"))?;
    Ok(left)
}

/// The third check.
fn value_changes_as_the_gradient_says(
    rule: &(impl Rule + ?Sized),
    batch: &Batch,
    state: &State,
    options: &UpdateOptions,
    descent: &[f64],
) -> Result<()> {
    let (_, synapses) = batch.synapses(DType::F64)?;
    let made = rule.update(&synapses, &mut state.clone())?;
    // The product of the mixing with the weights is a constant in the loss.
    let mixed = match &made.mixing {
        Some(mixing) => Some(mixing.matmul(&batch.weights)?.neg()?),
        None => None,
    };
    let direct = match (mixed, made.direct.clone()) {
        (Some(mixed), Some(direct)) => Some((mixed + direct)?),
        (mixed, direct) => mixed.or(direct),
    };
    let held = Update { mixing: None, direct, ..made };
    let held = move |_: &Synapses, _: &mut State| Ok(held.clone());
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let size = match norm(&numbers(&batch.weights)?) / (descent.len() as f64).sqrt() {
        0.0 => 1.0,
        size => size,
    };
    let mut rng = Rng::new(options.seed).stream("directions");
    for direction in 0..options.directions {
        let v = rng.normal(0.0, size, batch.weights.shape(), DType::F64, &Device::Cpu)?;
        let loss = |by: f64| -> Result<f64> {
            let weights = (&batch.weights + (&v * by)?)?;
            let response = batch.pre.matmul(&weights.transpose(1, 2)?)?;
            let moved = Batch { weights, response, ..batch.clone() };
            moved.synapses(DType::F64)?.1.loss(&held)?.to_scalar()
        };
        let difference = (loss(1.0)? - loss(-1.0)?) / 2.0;
        let slope = -descent.iter().zip(numbers(&v)?).map(|(d, v)| d * v).sum::<f64>();
        // The typical size of the product of two independent directions of these norms.
        let scale = norm(descent) * size;
        if !near(slope, difference, 1e-8 * scale) {
            candle::bail!(
                "direction {direction}: by its gradient it changes by {slope}, by central \
                 differences by {difference}"
            )
        }
    }
    Ok(())
}

/// What the synapses of a batch see, from which synapses are made in another order, part or type.
#[derive(Debug, Clone)]
struct Batch {
    pre: Tensor,
    response: Tensor,
    post: Tensor,
    weights: Tensor,
    third: Option<Tensor>,
}

impl Batch {
    fn of(synapses: &Synapses) -> Result<Self> {
        Ok(Self {
            pre: to_host(synapses.pre()?)?,
            response: to_host(synapses.response())?,
            post: to_host(synapses.post())?,
            weights: to_host(&synapses.weights()?)?.force_contiguous()?,
            third: synapses.third().ok().map(to_host).transpose()?,
        })
    }

    /// The synapses of a variable, with that variable.
    fn synapses(&self, dtype: DType) -> Result<(Var, Synapses)> {
        let in_type = |tensor: &Tensor| tensor.to_dtype(dtype);
        let weight = Var::from_tensor(&in_type(&self.weights)?)?;
        let (pre, response) = (in_type(&self.pre)?, in_type(&self.response)?);
        let synapses = Synapses::new(&weight, &pre, &response, &in_type(&self.post)?)?;
        let synapses = match &self.third {
            Some(third) => synapses.with_third(&in_type(third)?)?,
            None => synapses,
        };
        Ok((weight, synapses))
    }

    /// Applies `of` to everything that has rows.
    fn rows(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            pre: of(&self.pre)?,
            response: of(&self.response)?,
            post: of(&self.post)?,
            weights: self.weights.clone(),
            third: self.third.as_ref().map(of).transpose()?,
        })
    }

    fn part(&self, start: usize, len: usize) -> Result<Self> {
        self.rows(|tensor| tensor.narrow(1, start, len)?.contiguous())
    }

    fn permuted(&self, rng: &mut Rng) -> Result<Self> {
        let order = rng.permutation(self.pre.dim(1)?);
        let order = order.into_iter().map(|row| Ok(u32::try_from(row)?));
        let order = order.collect::<Result<Vec<u32>>>()?;
        let order = Tensor::new(order, &Device::Cpu)?;
        self.rows(|tensor| tensor.contiguous()?.index_select(&order, 1))
    }

    /// The batch with all numbers rounded to f32.
    fn rounded(&self) -> Result<Self> {
        let round = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.to_dtype(DType::F64);
        Ok(Self { weights: round(&self.weights)?, ..self.rows(round)? })
    }
}

fn state_in(state: &State, dtype: DType) -> Result<State> {
    let mut other = State::default();
    for (name, tensor) in state.iter() {
        let tensor = tensor.to_device(&Device::Cpu)?;
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(dtype)? } else { tensor };
        other.set(name, &tensor);
    }
    Ok(other)
}

fn same_state(got: &State, want: &State, tolerance: f64) -> Result<()> {
    let names = |state: &State| state.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    if names(got) != names(want) {
        candle::bail!("one keeps {:?}, the other {:?}", names(got), names(want))
    }
    for ((name, got), (_, want)) in got.iter().zip(want.iter()) {
        let (got, want) = (numbers(got)?, numbers(want)?);
        let place = |at| format!("entry {at} of {name}");
        agree(("one keeps", &got), ("the other keeps", &want), tolerance, place)?;
    }
    Ok(())
}
