//! Batches of feature rows with inverted dropout.

use candle::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use candle_hebbian::Rng;
use rayon::prelude::*;

use crate::{Error, Result};

/// Keeps each entry with a fixed probability and divides it by that probability, else makes it 0.
///
/// The probability is a multiple of 2⁻¹⁶ (exactly ½ for ½), so that masks can be made 32 entries at
/// a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    /// The probability to keep, in units of 2⁻¹⁶; `None` to keep all.
    keep: Option<u16>,
}

impl Dropout {
    pub(super) fn new(probability: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::Argument(format!(
                "dropout is {probability}, expected a probability from 0 to below 1"
            )));
        }
        let keep = ((1.0 - probability) * 65536.0).round().max(1.0);
        Ok(Self { keep: (keep < 65536.0).then_some(keep as u16) })
    }

    /// The chosen rows of contiguous `(N, F)` features, with a fresh mask.
    pub(super) fn rows(&self, features: &Tensor, rows: &[u32], rng: &mut Rng) -> Result<Tensor> {
        let width = features.dim(1)?;
        let Some(keep) = self.keep else {
            let index = Tensor::from_slice(rows, rows.len(), features.device())?;
            return Ok(features.index_select(&index, 0)?);
        };
        let scale = 65536.0 / f64::from(keep);
        let words = words(keep, rows.len() * width.div_ceil(32), rng);
        if features.device().is_cpu() && features.dtype() == DType::F32 {
            let op = MaskedRows { rows, words: &words, scale: scale as f32 };
            return Ok(features.apply_op1_no_bwd(&op)?);
        }
        let mask: Vec<u8> = words
            .chunks_exact(width.div_ceil(32))
            .flat_map(|row| (0..width).map(|at| (row[at / 32] >> (at % 32) & 1) as u8))
            .collect();
        let mask = Tensor::from_vec(mask, (rows.len(), width), features.device())?;
        let index = Tensor::from_slice(rows, rows.len(), features.device())?;
        let kept = (features.index_select(&index, 0)? * mask.to_dtype(features.dtype())?)?;
        Ok((kept * scale)?)
    }
}

/// `count` words whose bits are 1 with probability `keep`·2⁻¹⁶, independently.
///
/// With random bits r, `r | m` is 1 with probability (1 + P(m))/2 and `r & m` with P(m)/2, so the
/// binary digits of the probability, from the last, say which to apply. ½ takes one step.
fn words(keep: u16, count: usize, rng: &mut Rng) -> Vec<u32> {
    // Never all ones: each bit is 1 with probability ½ − 2⁻³³.
    let mut random = || rng.below(u32::MAX as usize) as u32;
    let word = |_| {
        (keep.trailing_zeros()..16).fold(0, |mask, digit| {
            if keep >> digit & 1 == 1 { random() | mask } else { random() & mask }
        })
    };
    (0..count).map(word).collect()
}

/// Gathers rows and masks them in one pass: on the CPU the separate operations take several times
/// as long as the head's matrix products.
struct MaskedRows<'a> {
    rows: &'a [u32],
    words: &'a [u32],
    scale: f32,
}

impl CustomOp1 for MaskedRows<'_> {
    fn name(&self) -> &'static str {
        "masked-rows"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle::Result<(CpuStorage, Shape)> {
        let (count, width) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle::bail!("masked-rows needs contiguous features")
        };
        let features = &storage.as_slice::<f32>()?[start..end];
        if self.rows.iter().any(|&row| row as usize >= count) {
            candle::bail!("masked-rows: a row is not below {count}")
        }
        let mut out = vec![0f32; self.rows.len() * width];
        out.par_chunks_mut(width)
            .zip(self.rows)
            .zip(self.words.par_chunks(width.div_ceil(32)))
            .for_each(|((out, &row), words)| {
                let row = &features[row as usize * width..][..width];
                for ((out, values), &word) in out.chunks_mut(32).zip(row.chunks(32)).zip(words) {
                    for (bit, (out, value)) in out.iter_mut().zip(values).enumerate() {
                        *out = if word & 1 << bit != 0 { value * self.scale } else { 0.0 };
                    }
                }
            });
        Ok((CpuStorage::F32(out), (self.rows.len(), width).into()))
    }
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::*;

    fn ones(rows: usize, width: usize, dtype: DType) -> Tensor {
        Tensor::ones((rows, width), dtype, &Device::Cpu).unwrap()
    }

    #[test]
    fn as_many_are_kept_as_asked_and_the_mean_stays() {
        let (rows, width) = (64, 1000);
        let index: Vec<u32> = (0..rows as u32).collect();
        for probability in [0.5, 0.4, 0.1, 0.9] {
            let dropout = Dropout::new(probability).unwrap();
            let x = ones(rows, width, DType::F32);
            let x = dropout.rows(&x, &index, &mut Rng::new(0)).unwrap();
            let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let kept = x.iter().filter(|&&value| value != 0.0).count() as f64;
            let (n, keep) = ((rows * width) as f64, 1.0 - probability);
            // Four standard deviations of a binomial count.
            assert!((kept - n * keep).abs() < 4.0 * (n * keep * probability).sqrt(), "{kept}");
            assert!(x.iter().all(|v| *v == 0.0 || (f64::from(*v) * keep - 1.0).abs() < 1e-4));
        }
    }

    #[test]
    fn bits_of_a_mask_are_independent() {
        // Neighbours in a word, the same bit of neighbouring words, and the two ends of a word agree
        // half of the time.
        let words = words(1 << 15, 40_000, &mut Rng::new(1));
        let agree = |a: fn(u32, u32) -> u32| {
            let bits: u32 = words.windows(2).map(|pair| a(pair[0], pair[1]).count_zeros()).sum();
            f64::from(bits) / (39_999.0 * 32.0)
        };
        for share in [
            agree(|a, _| a ^ a.rotate_left(1)),
            agree(|a, b| a ^ b),
            agree(|a, b| a ^ b.rotate_left(9)),
        ] {
            assert!((share - 0.5).abs() < 0.003, "{share}");
        }
    }

    #[test]
    fn one_pass_equals_separate_operations() {
        // f64 goes the general way; from the same seed both have the same mask.
        for (width, probability) in [(70, 0.5), (32, 0.4), (1, 0.3), (5, 0.0)] {
            let dropout = Dropout::new(probability).unwrap();
            let mut rng = Rng::new(2);
            let features = rng.normal(0.0, 1.0, (9, width), DType::F32, &Device::Cpu).unwrap();
            // A view that starts inside its storage.
            let features = features.narrow(0, 2, 6).unwrap();
            let rows = |features: &Tensor| {
                let rows = dropout.rows(features, &[3, 0, 5, 3], &mut Rng::new(3)).unwrap();
                rows.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap()
            };
            let (one, separate) = (rows(&features), rows(&features.to_dtype(DType::F64).unwrap()));
            for (one, separate) in one.iter().flatten().zip(separate.iter().flatten()) {
                assert!((one - separate).abs() < 1e-6, "{one} {separate}");
            }
        }
    }
}
