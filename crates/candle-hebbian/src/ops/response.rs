//! The linear response `u = x·wᵀ` of every unit to every row, with a backward pass that may use other
//! weights than the forward pass and computes only the gradients that are asked for.

use super::custom_vjp::custom_vjp;
use super::gemm::{matmul, multiply};
use super::layout::{in_a_line, turn};
use super::tiles;
use super::value::Value;
use super::widen::{expect_real, widened};
use crate::cpu::{self, vectorised, with_real};
use crate::memory::filled;
use candle::backend::BackendStorage;
use candle::{CpuStorage, CudaStorage, CustomOp2, Layout, MetalStorage, Result, Shape, Tensor};

/// Returns `values` where there is a connection, i.e. where the mask is 1, and 0 times them elsewhere, which is NaN for
/// NaN and ∞; all of them without a mask.
pub(crate) fn masked(values: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    match mask {
        Some(mask) => values * mask.to_dtype(values.dtype())?,
        None => Ok(values.clone()),
    }
}

/// Computes the linear response of units to rows, with separate weights for the backward pass.
///
/// ```text
/// u = x·wᵀ
/// ∂L/∂x = δ·r              δ = ∂L/∂u
/// ∂L/∂w = G                G = δᵀ·x, summed over rows
/// ```
///
/// where `x` are the rows, `w` is `weight`, and `r` is `feedback`, which has the shape and the index
/// order of `w`. `r` gets no gradient: whether and how it learns is a separate choice, see
/// [`feedback`](crate::feedback). With `r = w` this is back-propagation; with another, fixed `r` it is
/// feedback alignment (Lillicrap et al. 2016, Nature Communications 7:13276); with an `r` that takes the
/// same steps as `w` it is Amit's updated random feedback (2019, §3).
///
/// Shapes: `x (…, F)` and a weight `(K, F)` give `u (…, K)`; `x (S, P, F)` and a weight of any other rank
/// that holds `(S, K, F)`, for instance that of a convolution whose patches are the rows, give
/// `u (S, P, K)`, with separate weights for each of the `S` sites. The gradients have the shapes of the
/// arguments. Empty batches and views are accepted.
///
/// Only the gradients that are asked for are computed: none for an `x` or a `w` that depends on no
/// variable, whereas candle's `matmul` always computes both. f16 and bf16 are summed in f32.
///
/// The backward pass reads `x` and `r` as they are when it runs, so it has to run before the weights are
/// updated.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// use candle_hebbian::ops::linear_response;
/// let x = Var::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let w = Var::new(&[[1f64, 0.0], [0.0, 1.0], [1.0, 1.0]], &Device::Cpu)?;
/// let r = Tensor::new(&[[0.5f64, 0.0], [0.0, -0.5], [0.0, 1.0]], &Device::Cpu)?;
/// let u = linear_response(&x, &w, &r)?;
/// assert_eq!(u.to_vec2::<f64>()?, [[1.0, 2.0, 3.0]]);
/// let delta = Tensor::new(&[[1f64, 2.0, 4.0]], &Device::Cpu)?;
/// let grads = (u * delta)?.sum_all()?.backward()?;
/// let grad = |var: &Var| grads.get(var).unwrap().to_vec2::<f64>();
/// assert_eq!(grad(&x)?, [[0.5, 3.0]]); // δ·r
/// assert_eq!(grad(&w)?, [[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]]); // δᵀ·x
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// Shapes that do not fit, or arguments of different types or on different devices.
pub fn linear_response(x: &Tensor, weight: &Tensor, feedback: &Tensor) -> Result<Tensor> {
    expect_real(x)?;
    let product = Product::of(x, weight, feedback)?;
    let respond = |x: &Tensor| {
        let weight = &weight.to_dtype(x.dtype())?;
        let feedback = feedback.detach().to_dtype(x.dtype())?;
        respond(x, weight, feedback, product)
    };
    // Matrix products on GPUs already sum half precision in f32.
    if x.device().is_cpu() { widened(x, respond) } else { respond(x) }
}

fn respond(x: &Tensor, weight: &Tensor, feedback: Tensor, product: Product) -> Result<Tensor> {
    let [sites, rows, fan_in, units] = product.sizes;
    custom_vjp(
        product.name(),
        [x, weight],
        |[x, weight]| {
            let x = x.contiguous()?;
            // Without inputs or rows there is nothing to add up.
            let u = if product.sizes.contains(&0) {
                Tensor::zeros(product.shape.as_slice(), x.dtype(), x.device())?.into()
            } else {
                Value::op2(&x, &weight.contiguous()?, &product)?
            };
            Ok((u, (x, feedback.contiguous()?)))
        },
        move |pass| {
            let (x, feedback) = pass.residuals;
            let grad = pass.grad.contiguous()?.reshape((sites, rows, units))?;
            let grad_x = if pass.wanted[0] {
                let matrices = feedback.reshape((sites, units, fan_in))?;
                Some(matmul(&grad, &matrices)?.reshape(x.shape())?)
            } else {
                None
            };
            let grad_weight = if pass.wanted[1] {
                let product = matmul(&grad.transpose(1, 2)?, &x.reshape((sites, rows, fan_in))?)?;
                Some(product.reshape(feedback.shape())?)
            } else {
                None
            };
            Ok([grad_x, grad_weight])
        },
    )
}

/// The product of rows and weights, both contiguous.
#[derive(Debug, Clone)]
struct Product {
    /// The numbers of sites, rows, inputs and units.
    sizes: [usize; 4],
    /// The shape of the response.
    shape: Vec<usize>,
}

impl Product {
    fn of(x: &Tensor, weight: &Tensor, feedback: &Tensor) -> Result<Self> {
        if feedback.shape() != weight.shape() {
            candle::bail!(
                "linear response: feedback weights of {:?} for weights of {:?}, expected the same \
                 shape and index order",
                feedback.dims(),
                weight.dims()
            )
        }
        if weight.dtype() != x.dtype() || feedback.dtype() != x.dtype() {
            candle::bail!(
                "linear response: rows in {:?}, weights in {:?} and feedback weights in {:?}, \
                 expected one type",
                x.dtype(),
                weight.dtype(),
                feedback.dtype()
            )
        }
        let sizes = match (x.dims(), weight.dims()) {
            (&[ref leading @ .., fan_in], &[units, inputs]) if inputs == fan_in => {
                Some([1, leading.iter().product(), fan_in, units])
            }
            (_, &[_, _]) => None,
            (&[sites, rows, fan_in], weight) => {
                // The axes of the inputs come last, however many they are.
                let inputs = |&at: &usize| weight[at..].iter().product::<usize>() == fan_in;
                let first = (0..=weight.len()).rev().find(inputs);
                let all = first.map(|first| weight[..first].iter().product::<usize>());
                all.filter(|all| all.is_multiple_of(sites))
                    .map(|all| [sites, rows, fan_in, all / sites.max(1)])
            }
            _ => None,
        };
        let (Some(sizes), Some((_, leading))) = (sizes, x.dims().split_last()) else {
            candle::bail!(
                "linear response: rows of {:?} for weights of {:?}, expected (…, F) for (K, F), or \
                 (S, P, F) for weights that hold (S, K, F)",
                x.dims(),
                weight.dims()
            )
        };
        Ok(Self { sizes, shape: [leading, &sizes[3..]].concat() })
    }

    fn layouts(&self, x: &Layout, weight: &Layout) -> (Layout, Layout) {
        let [sites, rows, fan_in, units] = self.sizes;
        let matrices = |rows, layout: &Layout| {
            Layout::contiguous_with_offset((sites, rows, fan_in), layout.start_offset())
        };
        (matrices(rows, x), matrices(units, weight))
    }

    fn plain<S: BackendStorage>(
        &self,
        x: &S,
        x_layout: &Layout,
        weight: &S,
        weight_layout: &Layout,
    ) -> Result<(S, Shape)> {
        let [sites, rows, fan_in, units] = self.sizes;
        let (x_layout, weight_layout) = self.layouts(x_layout, weight_layout);
        let dims = (sites, rows, units, fan_in);
        let u = x.matmul(weight, dims, &x_layout, &weight_layout.transpose(1, 2)?)?;
        Ok((u, self.shape.as_slice().into()))
    }

    /// [`plain`](Self::plain) for one site, as the transpose of `w·xᵀ`. Both factors are contiguous along the summed
    /// axis, so the product on the CPU has to transpose one of them: the one that gives the last axis of
    /// the result. Here that is the rows.
    fn turned(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [_, rows, _, units] = self.sizes;
        let (x_layout, weight_layout) = self.layouts(x_layout, weight_layout);
        let turned = multiply(weight, &weight_layout, x, &x_layout.transpose(1, 2)?)?;
        let u = with_real!(&turned, "linear_response", T => {
            let turned = turned.as_slice::<T>()?;
            // Rows whose values lie in one cache line are turned together.
            let together = in_a_line::<T>();
            let u = filled("response", &[rows, units], together * units, |at, u| {
                let columns = u.len() / units;
                vectorised(|| turn(&turned[at * together..], [rows, 1], (units, columns), u, units));
                Ok(())
            })?;
            cpu::owned(u)
        });
        Ok((u, self.shape.as_slice().into()))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear_response"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [sites, rows, fan_in, units] = self.sizes;
        let by_tiles =
            with_real!(x, "linear_response", T => tiles::pays::<T>([rows, units, fan_in]));
        if sites == 1 && units > rows && !by_tiles {
            return self.turned(x, x_layout, weight, weight_layout);
        }
        let (x_layout, weight_layout) = self.layouts(x_layout, weight_layout);
        let u = multiply(x, &x_layout, weight, &weight_layout.transpose(1, 2)?)?;
        Ok((u, self.shape.as_slice().into()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.plain(x, x_layout, weight, weight_layout)
    }

    fn metal_fwd(
        &self,
        x: &MetalStorage,
        x_layout: &Layout,
        weight: &MetalStorage,
        weight_layout: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.plain(x, x_layout, weight, weight_layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::largest::largest;
    use candle::{DType, Device, Var};

    const CPU: &Device = &Device::Cpu;

    fn draw(rng: &mut Rng, shape: &[usize], dtype: DType) -> Result<Var> {
        Var::from_tensor(&rng.normal(0.0, 1.0, shape, dtype, CPU)?)
    }

    /// Response and gradients equal the sums of the definition, for leading dimensions and for sites,
    /// with more and with fewer units than rows, for contiguous arguments and for views.
    #[test]
    fn is_its_definition() -> Result<()> {
        let mut rng = Rng::new(21);
        for (x_shape, w_shape, sites) in [
            (&[4, 3][..], &[2, 3][..], 1),
            (&[3], &[5, 3], 1),
            (&[37, 3], &[50, 3], 1),
            (&[2, 3, 2, 3], &[5, 3], 1),
            (&[2, 3, 6], &[2, 4, 6], 2),
            (&[6, 2, 4], &[3, 2, 5, 1, 2, 2], 6),
        ] {
            let turned = |shape: &[usize]| shape.iter().rev().copied().collect::<Vec<_>>();
            let x = draw(&mut rng, &turned(x_shape), DType::F64)?;
            let w = draw(&mut rng, &turned(w_shape), DType::F64)?;
            let r = draw(&mut rng, w_shape, DType::F64)?; // a variable, which gets no gradient
            let (x_view, w_view) = (x.t_all()?, w.t_all()?);
            let u = linear_response(&x_view, &w_view, &r)?;
            let delta = rng.normal(0.0, 1.0, u.shape(), DType::F64, CPU)?;
            let grads = (&u * &delta)?.sum_all()?.backward()?;

            let fan_in = x_shape[x_shape.len() - 1];
            let rows = x_view.elem_count() / fan_in / sites;
            let units = w_view.elem_count() / fan_in / sites;
            let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f64>();
            let (xs, ws, rs, ds) = (flat(&x_view)?, flat(&w_view)?, flat(&r)?, flat(&delta)?);
            let mut want_u = vec![0.0; sites * rows * units];
            let mut want_x = vec![0.0; xs.len()];
            let mut want_w = vec![0.0; ws.len()];
            for s in 0..sites {
                for (p, k) in (0..rows).flat_map(|p| (0..units).map(move |k| (p, k))) {
                    let at = (s * rows + p) * units + k;
                    for f in 0..fan_in {
                        let (xi, wi) = ((s * rows + p) * fan_in + f, (s * units + k) * fan_in + f);
                        want_u[at] += xs[xi] * ws[wi];
                        want_x[xi] += ds[at] * rs[wi];
                        want_w[wi] += ds[at] * xs[xi];
                    }
                }
            }
            let check = |what: &str, found: &[f64], want: &[f64]| {
                assert_eq!(found.len(), want.len(), "{what} {x_shape:?} {w_shape:?}");
                for (found, want) in found.iter().zip(want) {
                    assert!((found - want).abs() < 1e-12, "{what} {x_shape:?} {w_shape:?}");
                }
            };
            let grad = |var: &Var| grads.get(var).expect("a gradient");
            assert_eq!(u.dims()[..u.rank() - 1], x_shape[..x_shape.len() - 1]);
            check("u", &flat(&u)?, &want_u);
            check("x", &flat(&grad(&x).t_all()?)?, &want_x);
            check("w", &flat(&grad(&w).t_all()?)?, &want_w);
            assert!(grads.get(&r).is_none());
        }
        Ok(())
    }

    /// Reverses the order of all dimensions.
    trait TurnAll {
        fn t_all(&self) -> Result<Tensor>;
    }

    impl TurnAll for Tensor {
        fn t_all(&self) -> Result<Tensor> {
            self.permute((0..self.rank()).rev().collect::<Vec<_>>())
        }
    }

    /// Tensors without rows, without inputs and without units are accepted like others.
    #[test]
    fn empty_ones_are_taken() -> Result<()> {
        for (x, w, u) in [
            (&[0, 3][..], &[2, 3][..], &[0, 2][..]),
            (&[4, 0], &[2, 0], &[4, 2]),
            (&[4, 3], &[0, 3], &[4, 0]),
            (&[2, 0, 3], &[2, 5, 3], &[2, 0, 5]),
        ] {
            let var = |shape: &[usize]| Var::zeros(shape, DType::F32, CPU);
            let (x, w) = (var(x)?, var(w)?);
            let out = linear_response(&x, &w, &w)?;
            assert_eq!(out.dims(), u);
            assert_eq!(largest(&out)?, 0.0);
            let grads = out.sum_all()?.backward()?;
            for var in [&x, &w] {
                let grad = grads.get(var).expect("a gradient");
                assert_eq!(grad.shape(), var.shape());
                assert_eq!(largest(grad)?, 0.0);
            }
        }
        Ok(())
    }

    /// f16 holds only even numbers above 2048, and bf16 above 256, so sums of ones in them stop there.
    /// The sums here are twice as large and exact, in the response and in both gradients.
    #[test]
    fn halves_are_summed_in_f32() -> Result<()> {
        for (dtype, n) in [(DType::F16, 4096), (DType::BF16, 512)] {
            let ones =
                |rows, columns| Var::from_tensor(&Tensor::ones((rows, columns), dtype, CPU)?);
            let value = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            let all = |t: &Tensor, want: f64| -> Result<()> {
                assert_eq!(t.dtype(), dtype);
                assert!(value(t)?.iter().all(|&found| found == want), "{dtype:?}");
                Ok(())
            };
            // Many inputs, then many rows, then many units: in each case, the index that is summed over.
            let (x, w) = (ones(2, n)?, ones(3, n)?);
            all(&linear_response(&x, &w, &w)?, n as f64)?;
            let (x, w) = (ones(n, 2)?, ones(3, 2)?);
            let u = linear_response(&x, &w, &w)?;
            let grads = (&u * u.ones_like()?)?.backward()?;
            all(grads.get(&w).expect("of w"), n as f64)?;
            let (x, w) = (ones(2, 3)?, ones(n, 3)?);
            let grads = linear_response(&x, &w, &w)?.backward()?;
            all(grads.get(&x).expect("of x"), n as f64)?;
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() -> Result<()> {
        let of = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, CPU);
        let refused = |x: &[usize], w: &[usize], r: &[usize], r_type, parts: &[&str]| {
            let (x, w, r) = (of(x, DType::F32)?, of(w, DType::F32)?, of(r, r_type)?);
            let error = linear_response(&x, &w, &r).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            Ok::<_, candle::Error>(())
        };
        refused(&[4, 3], &[2, 4], &[2, 4], DType::F32, &["[4, 3]", "[2, 4]", "(K, F)"])?;
        refused(&[2, 4, 3], &[3, 4, 5], &[3, 4, 5], DType::F32, &["[2, 4, 3]", "(S, K, F)"])?;
        refused(&[4, 3], &[2, 3], &[3, 2], DType::F32, &["[3, 2]", "[2, 3]", "index order"])?;
        refused(&[4, 3], &[2, 3], &[2, 3], DType::F64, &["F64", "one type"])?;
        refused(&[], &[2, 3], &[2, 3], DType::F32, &["[]", "(K, F)"])
    }
}
