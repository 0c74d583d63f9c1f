//! Linear support vector machines.

use candle::{DType, Device, Tensor};
use candle_hebbian::device::to_host;
use faer::linalg::solvers::{Llt, Solve};
use faer::{MatMut, MatRef, Side};
use serde::{Deserialize, Serialize};

use super::{Readout, check_features, check_labels, largest, linear_scores};
use crate::{Error, Result, check_finite};

/// Rows of features in one matrix product; the products are summed in f64.
const CHUNK: usize = 4096;
/// The most features for which conjugate gradients are preconditioned: a matrix of 128 MiB.
const PRECONDITIONED: usize = 4096;
/// Conjugate gradients stop when the residual is this fraction of the gradient.
const RESIDUAL: f64 = 0.1;
/// A line search stops when the slope is this fraction of the slope at its start, or after this many trials.
const SLOPE: f64 = 1e-6;
const TRIALS: usize = 50;

/// How a [`LinearSvm`] is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearSvmConfig {
    /// The weight of the errors relative to the norm. Default 1.
    pub c: f64,
    /// A class has converged when the norm of its gradient is at most `tolerance · min(N₊, N₋)/N` times the norm
    /// for w = 0, with N₊ samples of the class and N₋ of the others. Default 10⁻⁴.
    pub tolerance: f64,
    /// The most Newton steps. Default 100.
    pub max_iterations: usize,
}

impl Default for LinearSvmConfig {
    fn default() -> Self {
        Self { c: 1.0, tolerance: 1e-4, max_iterations: 100 }
    }
}

impl LinearSvmConfig {
    /// Checks that a machine can be fitted with this configuration.
    ///
    /// # Errors
    /// When C or the tolerance is not a positive number.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("c", self.c), ("tolerance", self.tolerance)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Argument(format!("{name} is {value}, expected a number > 0")));
            }
        }
        Ok(())
    }
}

/// One linear support vector machine per class, against all others; the largest output is the class.
///
/// With x̃ = (x, 1) and y = 1 for samples of the class, −1 for others, each minimises
///
/// ```text
/// f(w) = ½‖w‖² + C Σ max(0, 1 − y·(w·x̃))²
/// ```
///
/// the squared hinge loss with the intercept penalised like any other weight. LIBLINEAR's solver 2
/// (Fan et al. 2008) and scikit-learn's `LinearSVC(dual=False)` minimise the same, to the same tolerance.
///
/// The method is Newton steps with an exact line search (Keerthi & DeCoste 2005): p ≈ −H⁻¹∇f by conjugate
/// gradients, with H = I + 2C Σ x̃x̃ᵀ over the samples whose loss is not 0, and w ← w + t·p with the
/// best t. For up to 4096 features, the conjugate gradients are preconditioned by the same matrix with the sum over
/// all samples. Products with features are in f32 (f64 for features in f64), everything else is in f64.
///
/// ```
/// use candle::{Device, Tensor};
/// use hebbian_train::{LinearSvm, LinearSvmConfig, Readout};
///
/// let features = Tensor::new(&[[-1f32], [1.]], &Device::Cpu)?;
/// let svm = LinearSvm::fit(&features, &[0, 1], 2, &LinearSvmConfig::default(), |_, _| {})?;
/// assert!(svm.converged());
/// assert_eq!(svm.accuracy(&features, &[0, 1])?, 1.0);
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearSvm {
    weight: Tensor,
    bias: Tensor,
    converged: bool,
}

impl LinearSvm {
    /// Fits the machines to `features` `(N, F)`.
    ///
    /// After each Newton step, `on_iteration` is given its number, from 1, and, for the slowest class, the norm of
    /// its gradient as a multiple of the norm at which the class has converged.
    ///
    /// # Errors
    /// When features and labels do not fit, features are not finite or so large that their sums are not, or C or the
    /// tolerance is not a positive number.
    pub fn fit(
        features: &Tensor,
        labels: &[u32],
        classes: usize,
        config: &LinearSvmConfig,
        mut on_iteration: impl FnMut(usize, f64),
    ) -> Result<Self> {
        let (_, width) = check_labels(features, labels, classes)?;
        config.check()?;
        let features = features.detach();
        check_features(&features)?;
        let rows = Rows::new(&features)?;
        let mut machines: Vec<Machine> = (0..classes as u32)
            .map(|class| Machine::new(labels.iter().map(|&label| label == class), width))
            .collect();
        let mut running: Vec<&mut Machine> = machines.iter_mut().collect();
        rows.gradients(&mut running, config.c, 0)?;
        for machine in &mut running {
            machine.limit = config.tolerance * machine.rarer_share() * norm(&machine.gradient);
        }
        running.retain(|machine| !machine.converged());
        let like_hessian = rows.like_hessian(config.c)?;
        for iteration in 1..=config.max_iterations {
            if running.is_empty() {
                break;
            }
            let steps = rows.newton_steps(&running, config.c, like_hessian.as_ref())?;
            let margins = rows.times(&steps)?;
            let moved = running.iter_mut().zip(steps.iter().zip(&margins));
            let moved = moved.map(|(machine, (step, margin))| machine.go(step, margin, config.c));
            let moved: Vec<bool> = moved.collect();
            rows.gradients(&mut running, config.c, iteration)?;
            let left = |machine: &&mut Machine| norm(&machine.gradient) / machine.limit;
            on_iteration(iteration, running.iter().map(left).fold(0.0, f64::max));
            let mut moved = moved.into_iter();
            running.retain(|machine| moved.next() == Some(true) && !machine.converged());
        }

        let converged = machines.iter().all(Machine::converged);
        let part = |range: std::ops::Range<usize>| -> Result<Tensor> {
            let values = machines.iter().flat_map(|machine| &machine.weight[range.clone()]);
            let values: Vec<f64> = values.copied().collect();
            Ok(Tensor::from_vec(values, (classes, range.len()), &Device::Cpu)?)
        };
        let weight = part(0..width)?.t()?.contiguous()?;
        let bias = part(width..width + 1)?.squeeze(1)?;
        Ok(Self { weight, bias, converged })
    }

    /// w without the intercept, f64 `(F, classes)`, on the host.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The intercepts, f64 `(classes,)`, on the host.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// Whether all classes converged; if not, they were stopped by `max_iterations` or by rounding.
    pub fn converged(&self) -> bool {
        self.converged
    }
}

impl Readout for LinearSvm {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        largest(&linear_scores(features, &self.weight, &self.bias)?)
    }
}

/// The machine of one class. The last weight is the intercept.
struct Machine {
    /// y of each sample.
    signs: Vec<f64>,
    /// 1 − y·(w·x̃) of each sample, whose loss is not 0 if this is positive.
    slack: Vec<f64>,
    weight: Vec<f64>,
    gradient: Vec<f64>,
    /// The norm of the gradient at which the machine has converged.
    limit: f64,
}

impl Machine {
    fn new(own: impl Iterator<Item = bool>, width: usize) -> Self {
        let signs: Vec<f64> = own.map(|own| if own { 1.0 } else { -1.0 }).collect();
        let zeros = vec![0.0; width + 1];
        Self {
            slack: vec![1.0; signs.len()],
            signs,
            weight: zeros.clone(),
            gradient: zeros,
            limit: 0.0,
        }
    }

    /// min(N₊, N₋)/N, with at least one sample assumed on the rarer side.
    fn rarer_share(&self) -> f64 {
        let own = self.signs.iter().filter(|&&sign| sign > 0.0).count();
        own.min(self.signs.len() - own).max(1) as f64 / self.signs.len() as f64
    }

    fn converged(&self) -> bool {
        norm(&self.gradient) <= self.limit
    }

    /// Moves the weights along `step`, which changes w·x̃ by `margins`, to the minimum of f. Returns whether they
    /// moved.
    ///
    /// f'(t) is piecewise linear and increasing: Newton's method finds its zero, kept between a t with
    /// negative slope and one with positive slope.
    fn go(&mut self, step: &[f64], margins: &[f64], c: f64) -> bool {
        let fall: Vec<f64> = self.signs.iter().zip(margins).map(|(y, m)| y * m).collect();
        let (along, square) = (dot(&self.weight, step), dot(step, step));
        let slope = |t: f64| {
            let (mut slope, mut curvature) = (along + t * square, square);
            for (slack, fall) in self.slack.iter().zip(&fall) {
                let slack = slack - t * fall;
                if slack > 0.0 {
                    slope -= 2.0 * c * slack * fall;
                    curvature += 2.0 * c * fall * fall;
                }
            }
            (slope, curvature)
        };
        let (first, _) = slope(0.0);
        // Also if the slope is NaN.
        if first.partial_cmp(&0.0) != Some(std::cmp::Ordering::Less) {
            return false;
        }
        let (mut low, mut high, mut t) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..TRIALS {
            let (slope, curvature) = slope(t);
            if slope.abs() <= SLOPE * first.abs() {
                break;
            }
            *(if slope < 0.0 { &mut low } else { &mut high }) = t;
            t -= slope / curvature;
            if !(low < t && t < high) {
                t = 0.5 * (low + high);
            }
        }
        add(&mut self.weight, t, step);
        add(&mut self.slack, -t, &fall);
        true
    }
}

/// The features, in parts.
struct Rows {
    parts: Vec<Tensor>,
    dtype: DType,
    width: usize,
}

impl Rows {
    fn new(features: &Tensor) -> Result<Self> {
        let (rows, width) = features.dims2()?;
        let dtype = if features.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let features = features.to_dtype(dtype)?.contiguous()?;
        let parts = (0..rows)
            .step_by(CHUNK)
            .map(|start| Ok(features.narrow(0, start, CHUNK.min(rows - start))?))
            .collect::<Result<_>>()?;
        Ok(Self { parts, dtype, width })
    }

    fn tensor(&self, rows: &[&[f64]]) -> Result<Tensor> {
        let (count, length) = (rows.len(), rows.first().map_or(0, |row| row.len()));
        let tensor = Tensor::from_vec(rows.concat(), (count, length), &Device::Cpu)?;
        Ok(tensor.to_dtype(self.dtype)?.to_device(self.parts[0].device())?)
    }

    /// v·x̃ of all samples, for each v.
    fn times(&self, vectors: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let weights: Vec<_> = vectors.iter().map(|vector| &vector[..self.width]).collect();
        let weights = self.tensor(&weights)?;
        let mut products = vec![Vec::new(); vectors.len()];
        for part in &self.parts {
            let found = rows_of(&weights.matmul(&part.t()?)?)?;
            for ((products, found), vector) in products.iter_mut().zip(found).zip(vectors) {
                products.extend(found.into_iter().map(|value| value + vector[self.width]));
            }
        }
        Ok(products)
    }

    /// Σ z·x̃ over all samples, for each z.
    fn sums(&self, factors: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
        let mut sums = vec![vec![0.0; self.width]; factors.len()];
        let mut start = 0;
        for part in &self.parts {
            let end = start + part.dim(0)?;
            let factors: Vec<_> = factors.iter().map(|factors| &factors[start..end]).collect();
            let found = rows_of(&self.tensor(&factors)?.matmul(part)?)?;
            for (sums, found) in sums.iter_mut().zip(&found) {
                add(sums, 1.0, found);
            }
            start = end;
        }
        for (sums, factors) in sums.iter_mut().zip(factors) {
            sums.push(factors.iter().sum());
        }
        Ok(sums)
    }

    /// Sets ∇f = w − 2C Σ y·max(0, slack)·x̃. The iteration is for an error.
    ///
    /// # Errors
    /// Gradients that are not finite: an infinite one would be within the limit of its own infinite norm.
    fn gradients(&self, machines: &mut [&mut Machine], c: f64, iteration: usize) -> Result<()> {
        // Unlike `max`, this keeps NaN.
        let positive = |slack: f64| if slack <= 0.0 { 0.0 } else { slack };
        let factors: Vec<Vec<f64>> = machines
            .iter()
            .map(|machine| {
                let samples = machine.signs.iter().zip(&machine.slack);
                samples.map(|(sign, &slack)| -2.0 * c * sign * positive(slack)).collect()
            })
            .collect();
        for (machine, sums) in machines.iter_mut().zip(self.sums(&factors)?) {
            machine.gradient = sums;
            add(&mut machine.gradient, 1.0, &machine.weight);
            if !machine.gradient.iter().all(|value| value.is_finite()) {
                let gradient = Tensor::new(machine.gradient.as_slice(), &Device::Cpu)?;
                let name = "the gradient of a support vector machine";
                check_finite(name, iteration as u64, &gradient)?;
            }
        }
        Ok(())
    }

    /// I + 2C Σ x̃x̃ᵀ over all samples, factored; `None` if the matrix is too large or too badly
    /// conditioned.
    fn like_hessian(&self, c: f64) -> Result<Option<Llt<f64>>> {
        if self.width > PRECONDITIONED {
            return Ok(None);
        }
        let size = self.width + 1;
        let mut gram = Tensor::zeros((size, size), DType::F64, &Device::Cpu)?;
        for part in &self.parts {
            let part = to_host(part)?;
            let one = Tensor::ones((part.dim(0)?, 1), DType::F64, &Device::Cpu)?;
            let part = Tensor::cat(&[&part, &one], 1)?;
            gram = (gram + part.t()?.matmul(&part)?)?;
        }
        let mut matrix = (gram * (2.0 * c))?.flatten_all()?.to_vec1::<f64>()?;
        matrix.iter_mut().step_by(size + 1).for_each(|value| *value += 1.0);
        Ok(MatRef::from_row_major_slice(&matrix, size, size).llt(Side::Lower).ok())
    }

    /// Approximates −H⁻¹∇f for each machine, by conjugate gradients preconditioned with M, which is like H.
    fn newton_steps(
        &self,
        machines: &[&mut Machine],
        c: f64,
        m: Option<&Llt<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        let mut steps = vec![vec![0.0; self.width + 1]; machines.len()];
        let negative = |machine: &&mut Machine| machine.gradient.iter().map(|g| -g).collect();
        let mut residuals: Vec<Vec<f64>> = machines.iter().map(negative).collect();
        let mut directions: Vec<Vec<f64>> = residuals.iter().map(|r| solved(m, r)).collect();
        let mut squares: Vec<f64> =
            residuals.iter().zip(&directions).map(|(r, z)| dot(r, z)).collect();
        let ends: Vec<f64> = squares.iter().map(|square| RESIDUAL * RESIDUAL * square).collect();
        for _ in 0..=self.width {
            let open: Vec<usize> =
                (0..machines.len()).filter(|&at| squares[at] > ends[at]).collect();
            if open.is_empty() {
                break;
            }
            let searched: Vec<_> = open.iter().map(|&at| directions[at].clone()).collect();
            let mut products = self.times(&searched)?;
            for (products, &at) in products.iter_mut().zip(&open) {
                for (product, slack) in products.iter_mut().zip(&machines[at].slack) {
                    *product *= if *slack > 0.0 { 2.0 * c } else { 0.0 };
                }
            }
            for (mut product, &at) in self.sums(&products)?.into_iter().zip(&open) {
                add(&mut product, 1.0, &directions[at]);
                let length = squares[at] / dot(&directions[at], &product);
                add(&mut steps[at], length, &directions[at]);
                add(&mut residuals[at], -length, &product);
                let next = solved(m, &residuals[at]);
                let square = dot(&residuals[at], &next);
                let kept = square / squares[at];
                squares[at] = square;
                for (direction, next) in directions[at].iter_mut().zip(next) {
                    *direction = next + kept * *direction;
                }
            }
        }
        Ok(steps)
    }
}

/// M⁻¹·r, or r if there is no M.
fn solved(m: Option<&Llt<f64>>, r: &[f64]) -> Vec<f64> {
    let mut solution = r.to_vec();
    if let Some(m) = m {
        m.solve_in_place(MatMut::from_column_major_slice_mut(&mut solution, r.len(), 1));
    }
    solution
}

fn rows_of(tensor: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(to_host(tensor)?.to_vec2()?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}
