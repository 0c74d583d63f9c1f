//! Inverted dropout.

use super::backend::has_kernels;
use super::index::index;
use super::widen::{expect_real, wide_dtype, widened};
use crate::Rng;
use crate::cpu::{self, Real, entries, slice, with_real};
use crate::device::upload;
use candle::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, ModuleT, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Inverted dropout: sets each entry to 0 with the given probability and divides the others by the probability
/// of keeping them, which preserves the mean. The gradient uses the same mask.
///
/// Entries are kept with a probability `q` that is rounded to a multiple of 2⁻¹⁶ (½ is exact), so that masks can be
/// made 64 entries at a time; what is kept is divided by `q` as it was given. So the mean is preserved to a relative
/// error of `2⁻¹⁷/q`, a thousandth if 99 % are dropped. Masks are drawn on the host, so
/// that they are the same for every device, and uploaded as one bit per entry.
///
/// [`apply`](Self::apply) takes the generator as an argument; [`seeded`](Self::seeded) makes a `ModuleT` of
/// candle with its own generator.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use candle_hebbian::{Rng, ops::Dropout};
/// let x = Tensor::ones((4, 100), DType::F32, &Device::Cpu)?;
/// let y = Dropout::new(0.5)?.apply(&x, &mut Rng::new(0))?;
/// assert!(y.flatten_all()?.to_vec1::<f32>()?.iter().all(|&y| y == 0.0 || y == 2.0));
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// `None` to keep all.
    kept: Option<Kept>,
}

/// How entries are kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// The probability, in units of 2⁻¹⁶.
    share: u16,
    /// What they are multiplied by.
    scale: f64,
}

impl Dropout {
    /// Creates a dropout that drops each entry with `probability`.
    ///
    /// # Errors
    /// A probability outside [0, 1).
    pub fn new(probability: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            candle::bail!(
                "dropout is {probability}, expected a probability from 0 to below 1: the share that \
                 is dropped, not the one that is kept"
            )
        }
        let share = ((1.0 - probability) * 65536.0).round().max(1.0);
        let scale = 1.0 / (1.0 - probability);
        Ok(Self { kept: (share < 65536.0).then_some(Kept { share: share as u16, scale }) })
    }

    /// Converts the dropout to a module that draws its masks from its own generator.
    pub fn seeded(self, rng: Rng) -> SeededDropout {
        SeededDropout { dropout: self, rng: Mutex::new(rng) }
    }

    /// Applies a fresh mask to `x (N, …)`; differentiable in `x`.
    ///
    /// # Errors
    /// If `x` has no dimension or holds integers.
    pub fn apply(&self, x: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        masked(x, self.draw(x, rng)?)
    }

    /// Draws a mask for each of the N rows of `x (N, …)`; `None` to keep all.
    fn draw(&self, x: &Tensor, rng: &mut Rng) -> Result<Option<Masked>> {
        let Some(kept) = self.kept else { return Ok(None) };
        Ok(Some(Masked { kept, seeds: seeds(x.dim(0)?, rng) }))
    }

    /// Gathers the chosen rows of `features (N, F)` and applies a fresh mask, in one pass. Returns `(B, F)` for
    /// the u32 indices `rows (B)`, which are on the device of the features. Rows in half precision come out in
    /// f32, in which a read-out learns. Not differentiable.
    ///
    /// # Errors
    /// If `rows` has another type or shape; on the CPU, also if a row does not exist.
    pub fn rows(&self, features: &Tensor, rows: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (all, width) = features.dims2()?;
        let count = rows.dims1()?;
        expect_real(features)?;
        if rows.device().is_cpu()
            && let Some(row) = rows.to_vec1::<u32>()?.into_iter().find(|&row| row as usize >= all)
        {
            candle::bail!("dropout: there is no row {row}: the features have {all}, counted from 0")
        }
        let features = features.detach();
        if [count, width].contains(&0) {
            let dtype = wide_dtype(features.dtype());
            return Tensor::zeros((count, width), dtype, features.device());
        }
        let gather = || {
            let chosen = features.contiguous()?.index_select(rows, 0)?;
            chosen.to_dtype(wide_dtype(chosen.dtype()))
        };
        let Some(masked) = self.draw(rows, rng)? else {
            return gather();
        };
        if has_kernels(features.device()) {
            return features.contiguous()?.apply_op2_no_bwd(&rows.contiguous()?, &masked);
        }
        let chosen = gather()?;
        &chosen * masked.mask((count, width), &chosen)?
    }
}

/// A [`Dropout`] with its own generator: it applies a fresh mask at each call in training, and returns its input
/// in evaluation.
///
/// ```
/// use candle::{DType, Device, ModuleT, Tensor};
/// use candle_hebbian::{Rng, ops::Dropout};
/// let x = Tensor::ones((4, 100), DType::F32, &Device::Cpu)?;
/// let dropout = Dropout::new(0.5)?.seeded(Rng::new(0).stream("dropout"));
/// let sum = |y: Tensor| y.sum_all()?.to_scalar::<f32>();
/// assert_eq!(sum(dropout.forward_t(&x, false)?)?, 400.0);
/// assert_ne!(sum(dropout.forward_t(&x, true)?)?, 400.0);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug)]
pub struct SeededDropout {
    dropout: Dropout,
    rng: Mutex<Rng>,
}

impl ModuleT for SeededDropout {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        if !train {
            return Ok(x.clone());
        }
        // The lock is held only while the mask is drawn: a thread of rayon's pool that waits for its part of a product
        // with the mask may meanwhile run another job, which must not find the lock held by its own thread.
        let mask =
            self.dropout.draw(x, &mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))?;
        masked(x, mask)
    }
}

/// Applies a mask to `x (N, …)`; all is kept without one.
fn masked(x: &Tensor, mask: Option<Masked>) -> Result<Tensor> {
    let Some(masked) = mask.filter(|_| x.elem_count() > 0) else {
        return Ok(x.clone());
    };
    widened(x, |x| {
        if has_kernels(x.device()) {
            return x.contiguous()?.apply_op1(masked);
        }
        let rows = x.dim(0)?;
        let mask = masked.mask((rows, x.elem_count() / rows), x)?;
        x * mask.reshape(x.shape())?
    })
}

/// Draws a seed for the mask of each row.
fn seeds(count: usize, rng: &mut Rng) -> Vec<u64> {
    let half = |rng: &mut Rng| rng.below(u32::MAX as usize) as u64;
    (0..count).map(|_| half(rng) << 32 | half(rng)).collect()
}

/// At least `count` bits, lowest first, that are 1 with probability `share`·2⁻¹⁶, independently.
///
/// With random bits r, `r | m` is 1 with probability (1 + P(m))/2 and `r & m` with P(m)/2, so the
/// binary digits of the probability, from the last, say which to apply. ½ takes one step.
///
/// The random bits come from SplitMix64: the ChaCha that seeds it cannot draw as many as a step of the head
/// needs in the time of the step's matrix products.
fn mask(seed: u64, share: u16, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let word = |_| {
        (share.trailing_zeros()..16).fold(0_u64, |mask, digit| {
            if share >> digit & 1 == 1 { random() | mask } else { random() & mask }
        })
    };
    (0..count.div_ceil(64)).map(word).flat_map(u64::to_le_bytes).collect()
}

/// Masks rows, and gathers them in the same pass: on the CPU the separate operations take several times
/// as long as the products of a linear layer.
struct Masked {
    kept: Kept,
    seeds: Vec<u64>,
}

impl Masked {
    /// The factors of all entries as a tensor like `like`, for the devices that have no kernel here. A bit of
    /// each mask is uploaded per entry; the device looks up the eight factors of each byte.
    fn mask(&self, (rows, width): (usize, usize), like: &Tensor) -> Result<Tensor> {
        let bytes = width.div_ceil(8);
        let row = |&seed: &u64| mask(seed, self.kept.share, width).into_iter().take(bytes);
        let masks: Vec<u8> = self.seeds.iter().flat_map(row).collect();
        // A u8 index of 255 would be candle's mark of a row of zeros.
        let masks = upload(masks, rows * bytes, like.device())?.to_dtype(DType::U32)?;
        let bits: Vec<u32> = (0..256 * 8).map(|at| ((at / 8) >> (at % 8)) & 1).collect();
        let factors = (index(&bits, like.device())?.to_dtype(like.dtype())? * self.kept.scale)?;
        let factors = factors.reshape((256, 8))?.index_select(&masks, 0)?;
        factors.reshape((rows, bytes * 8))?.narrow(1, 0, width)
    }

    /// Masks the rows of `x` whose indices `row` gives, of `width` entries each.
    fn run<S: Copy + Into<T> + Sync, T: Real>(
        &self,
        x: &[S],
        row: impl Fn(usize) -> usize + Sync,
        width: usize,
    ) -> Vec<T> {
        // The factors of eight entries by the byte that is their mask: 0 or the scale.
        let scale = T::of(self.kept.scale);
        let factors: [[T; 8]; 256] = std::array::from_fn(|byte| {
            std::array::from_fn(|bit| if byte >> bit & 1 == 1 { scale } else { T::zero() })
        });
        let mut out = vec![T::zero(); self.seeds.len() * width];
        out.par_chunks_mut(width.max(1)).zip(&self.seeds).enumerate().for_each(
            |(at, (out, &seed))| {
                let mask = mask(seed, self.kept.share, width);
                let (eights, rest) = x[row(at) * width..][..width].as_chunks::<8>();
                let (out_eights, out_rest) = out.as_chunks_mut::<8>();
                for ((out, values), &byte) in out_eights.iter_mut().zip(eights).zip(&mask) {
                    let factors = &factors[usize::from(byte)];
                    for ((out, &value), &factor) in out.iter_mut().zip(values).zip(factors) {
                        *out = value.into() * factor;
                    }
                }
                let last = mask.get(eights.len()).map_or(0, |&byte| usize::from(byte));
                for ((out, &value), &factor) in out_rest.iter_mut().zip(rest).zip(&factors[last]) {
                    *out = value.into() * factor;
                }
            },
        );
        out
    }
}

impl CustomOp1 for Masked {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let count = layout.dims().first().copied().unwrap_or(1);
        let width = layout.shape().elem_count() / count.max(1);
        with_real!(x, "dropout", T => {
            let out = self.run::<T, T>(slice::<T>(x, layout)?, |row| row, width);
            Ok((cpu::owned(out), layout.shape().clone()))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let masked = Masked { kept: self.kept, seeds: self.seeds.clone() };
        grad.detach().contiguous()?.apply_op1_no_bwd(&masked).map(Some)
    }
}

impl CustomOp2 for Masked {
    fn name(&self) -> &'static str {
        "dropout-rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let rows = entries(rows.as_slice::<u32>()?, rows_layout)?;
        let row = |at: usize| rows[at] as usize;
        let out = match x {
            CpuStorage::F64(x) => cpu::owned(self.run::<_, f64>(entries(x, layout)?, row, width)),
            CpuStorage::F32(x) => cpu::owned(self.run::<_, f32>(entries(x, layout)?, row, width)),
            CpuStorage::F16(x) => cpu::owned(self.run::<_, f32>(entries(x, layout)?, row, width)),
            CpuStorage::BF16(x) => cpu::owned(self.run::<_, f32>(entries(x, layout)?, row, width)),
            _ => candle::bail!("dropout: expected f16, bf16, f32 or f64"),
        };
        Ok((out, (rows.len(), width).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{Device, Var};

    fn ones(rows: usize, width: usize, dtype: DType) -> Tensor {
        Tensor::ones((rows, width), dtype, &Device::Cpu).unwrap()
    }

    #[test]
    fn as_many_are_kept_as_asked_and_the_mean_stays() {
        let (rows, width) = (64, 1000);
        let index = Tensor::arange(0, rows as u32, &Device::Cpu).unwrap();
        for probability in [0.5, 0.4, 0.1, 0.8, 0.9] {
            let dropout = Dropout::new(probability).unwrap();
            let x = ones(rows, width, DType::F32);
            let x = dropout.rows(&x, &index, &mut Rng::new(0)).unwrap();
            let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let kept = x.iter().filter(|&&value| value != 0.0).count() as f64;
            let (n, keep) = ((rows * width) as f64, 1.0 - probability);
            // Four standard deviations of a binomial count.
            assert!((kept - n * keep).abs() < 4.0 * (n * keep * probability).sqrt(), "{kept}");
            assert!(x.iter().all(|v| *v == 0.0 || *v == (1.0 / keep) as f32));
        }
    }

    #[test]
    fn bits_of_a_mask_are_independent() {
        // Neighbours in a byte, neighbouring words, and the masks of neighbouring seeds agree half
        // of the time; 0.003 is more than five standard deviations.
        let (one, other) = (mask(1, 1 << 15, 800_000), mask(2, 1 << 15, 800_000));
        let agree = |a: &[u8], b: &[u8], turn: u32| {
            let pairs = a.iter().zip(b);
            let bits: u32 = pairs.map(|(a, b)| (a ^ b.rotate_left(turn)).count_zeros()).sum();
            f64::from(bits) / (8 * a.len().min(b.len())) as f64
        };
        for share in [
            agree(&one, &one, 1),
            agree(&one, &one[8..], 0),
            agree(&one, &one[9..], 3),
            agree(&one, &other, 0),
        ] {
            assert!((share - 0.5).abs() < 0.003, "{share}");
        }
    }

    /// The kernel agrees with a product with the mask as a tensor, also for widths that are no multiple of
    /// eight.
    #[test]
    fn one_pass_equals_separate_operations() -> Result<()> {
        for (width, probability) in [(70, 0.5), (32, 0.4), (1, 0.3), (5, 0.0)] {
            let dropout = Dropout::new(probability)?;
            let mut rng = Rng::new(2);
            let features = rng.normal(0.0, 1.0, (9, width), DType::F64, &Device::Cpu)?;
            let whole = Var::from_tensor(&features)?;
            // A view that starts inside its storage.
            let features = whole.narrow(0, 2, 6)?;
            let rows = Tensor::new(&[3u32, 0, 5, 3], &Device::Cpu)?;
            let mask = |count| match dropout.kept {
                Some(kept) => Masked { kept, seeds: seeds(count, &mut Rng::new(3)) }
                    .mask((count, width), &features),
                None => Tensor::ones((count, width), DType::F64, &Device::Cpu),
            };
            let gathered = features.index_select(&rows, 0)?;
            let want = (gathered * mask(4)?)?.detach();
            let got = dropout.rows(&features, &rows, &mut Rng::new(3))?;
            assert_eq!(got.to_vec2::<f64>()?, want.to_vec2::<f64>()?);
            let out = dropout.apply(&features, &mut Rng::new(3))?;
            assert_eq!(out.to_vec2::<f64>()?, (&features * mask(6)?)?.to_vec2::<f64>()?);
            let grads = out.sum_all()?.backward()?;
            let got = grads.get(&whole).ok_or_else(|| candle::Error::msg("no gradient"))?;
            assert_eq!(got.narrow(0, 2, 6)?.to_vec2::<f64>()?, mask(6)?.to_vec2::<f64>()?);
        }
        Ok(())
    }

    /// A half-precision tensor keeps its type, is scaled and rounded once, and loses the same entries as in f32,
    /// both by the kernel and by the composition; the gradient is the mask.
    #[test]
    fn halves_are_masked_as_f32() -> Result<()> {
        let dropout = Dropout::new(0.4)?;
        let wide = |t: &Tensor| t.to_dtype(DType::F32)?.to_vec2::<f32>();
        for dtype in [DType::F16, DType::BF16] {
            let x = Rng::new(4).normal(0.0, 1.0, (7, 13), dtype, &Device::Cpu)?;
            let want_wide = dropout.apply(&x.to_dtype(DType::F32)?, &mut Rng::new(5))?;
            let want = wide(&want_wide.to_dtype(dtype)?)?;
            let x = Var::from_tensor(&x)?;
            let mask = ones(7, 13, DType::F32);
            let mask = wide(&dropout.apply(&mask, &mut Rng::new(5))?.to_dtype(dtype)?)?;
            let check = || {
                let y = dropout.apply(&x, &mut Rng::new(5))?;
                assert_eq!(y.dtype(), dtype);
                assert_eq!(wide(&y)?, want);
                let grads = y.sum_all()?.backward()?;
                assert_eq!(wide(grads.get(&x).expect("a gradient"))?, mask);
                // A head learns in f32: gathered rows are not rounded back.
                let rows = Tensor::arange(0u32, 7, &Device::Cpu)?;
                let rows = dropout.rows(&x, &rows, &mut Rng::new(5))?;
                assert_eq!(rows.to_vec2::<f32>()?, want_wide.to_vec2::<f32>()?);
                Ok::<_, candle::Error>(())
            };
            check()?;
            crate::ops::composed(check)?;
        }
        Ok(())
    }

    #[test]
    fn empty_and_turned_ones_are_taken() -> Result<()> {
        let dropout = Dropout::new(0.5)?;
        let apply = |x: &Tensor| dropout.apply(x, &mut Rng::new(6));
        for shape in [&[0, 3][..], &[3, 0], &[0]] {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            assert_eq!(apply(&x)?.id(), x.id());
            assert_eq!(crate::ops::composed(|| apply(&x))?.id(), x.id());
        }
        // Without rows to gather, no mask is sent to a device.
        let (features, none) =
            (ones(3, 4, DType::F16), Tensor::zeros(0, DType::U32, &Device::Cpu)?);
        let gather = || dropout.rows(&features, &none, &mut Rng::new(6));
        let (gathered, transfers) = crate::device::transfers(|| crate::ops::composed(gather));
        assert_eq!(transfers.uploads, 0);
        for gathered in [gathered?, gather()?] {
            assert_eq!((gathered.dims(), gathered.dtype()), (&[0, 4][..], DType::F32));
        }
        let x = Rng::new(4).normal(0.0, 1.0, (3, 9), DType::F64, &Device::Cpu)?;
        for view in [x.t()?, x.narrow(1, 2, 5)?, x.get(0)?.broadcast_as((4, 9))?] {
            let want = apply(&view.force_contiguous()?)?;
            assert_eq!(apply(&view)?.to_vec2::<f64>()?, want.to_vec2::<f64>()?);
        }
        let rows = Tensor::new(&[0u32, 3], &Device::Cpu)?;
        let refuse = || dropout.rows(&x, &rows, &mut Rng::new(0)).unwrap_err().to_string();
        let says = "there is no row 3: the features have 3";
        assert!(refuse().contains(says));
        assert!(crate::ops::composed(refuse).contains(says));
        Ok(())
    }

    /// Jobs of one pool share a module. While a thread waits for the parts of its own mask, it runs other jobs.
    #[test]
    fn jobs_of_rayon_share_a_module() -> Result<()> {
        let module = Dropout::new(0.5)?.seeded(Rng::new(9));
        let (send, done) = std::sync::mpsc::channel();
        // On threads of their own, so that a deadlock fails this test instead of the time limit of all.
        std::thread::spawn(move || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("threads");
            let kept = pool.install(|| {
                let jobs = (0..256).into_par_iter();
                jobs.map(|_| module.forward_t(&ones(64, 256, DType::F32), true)?.dims2())
                    .collect::<Result<Vec<_>>>()
            });
            send.send(kept)
        });
        let Ok(shapes) = done.recv_timeout(std::time::Duration::from_secs(120)) else {
            panic!("the jobs wait for each other")
        };
        assert_eq!(shapes?, [(64, 256); 256]);
        Ok(())
    }

    /// The module draws its masks one after the other from its generator, and none in evaluation.
    #[test]
    fn a_module_draws_as_its_generator() -> Result<()> {
        let (dropout, mut rng) = (Dropout::new(0.3)?, Rng::new(8).stream("dropout"));
        let (module, x) = (dropout.seeded(rng.clone()), ones(5, 40, DType::F32));
        for _ in 0..2 {
            let want = dropout.apply(&x, &mut rng)?.to_vec2::<f32>()?;
            assert_eq!(module.forward_t(&x, true)?.to_vec2::<f32>()?, want);
            assert_eq!(module.forward_t(&x, false)?.to_vec2::<f32>()?, [[1.0; 40]; 5]);
        }
        Ok(())
    }
}
