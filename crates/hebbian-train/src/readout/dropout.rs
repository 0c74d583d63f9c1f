//! Batches of feature rows with inverted dropout.

use candle::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};
use candle_hebbian::Rng;
use rayon::prelude::*;

use crate::{Error, Result};

/// Keeps each entry with a fixed probability and divides it by that probability, else makes it 0.
///
/// The probability is a multiple of 2⁻¹⁶ (exactly ½ for ½), so that masks can be made 64 entries at
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
        let (count, width) = (rows.len(), features.dim(1)?);
        let device = features.device();
        let index = Tensor::from_slice(rows, count, device)?;
        let Some(keep) = self.keep else {
            return Ok(features.index_select(&index, 0)?);
        };
        let half = |rng: &mut Rng| rng.below(u32::MAX as usize) as u64;
        let seeds: Vec<u64> = (0..count).map(|_| half(rng) << 32 | half(rng)).collect();
        if device.is_cpu() && features.dtype() == DType::F32 {
            return Ok(features.apply_op1_no_bwd(&MaskedRows { rows, seeds, keep })?);
        }
        let row = |seed: u64| {
            let bits = mask(seed, keep, width).into_iter();
            bits.flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)).take(width)
        };
        let mask: Vec<u8> = seeds.into_iter().flat_map(row).collect();
        let mask = Tensor::from_vec(mask, (count, width), device)?.to_dtype(features.dtype())?;
        Ok(((features.index_select(&index, 0)? * mask)? * scale(keep))?)
    }
}

fn scale(keep: u16) -> f64 {
    65536.0 / f64::from(keep)
}

/// At least `count` bits, lowest first, that are 1 with probability `keep`·2⁻¹⁶, independently.
///
/// With random bits r, `r | m` is 1 with probability (1 + P(m))/2 and `r & m` with P(m)/2, so the
/// binary digits of the probability, from the last, say which to apply. ½ takes one step.
///
/// The random bits are SplitMix64's: a step of the head needs more of them than the ChaCha that
/// seeds it can draw in the time of the step's matrix products.
fn mask(seed: u64, keep: u16, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let word = |_| {
        (keep.trailing_zeros()..16).fold(0_u64, |mask, digit| {
            if keep >> digit & 1 == 1 { random() | mask } else { random() & mask }
        })
    };
    (0..count.div_ceil(64)).map(word).flat_map(u64::to_le_bytes).collect()
}

/// Gathers rows and masks them in one pass: on the CPU the separate operations take several times
/// as long as the head's matrix products.
struct MaskedRows<'a> {
    rows: &'a [u32],
    seeds: Vec<u64>,
    keep: u16,
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
        // The factors of eight entries by the byte that is their mask: 0 or the scale.
        let scale = scale(self.keep) as f32;
        let factors: [[f32; 8]; 256] = std::array::from_fn(|byte| {
            std::array::from_fn(|bit| if byte >> bit & 1 == 1 { scale } else { 0.0 })
        });
        let mut out = vec![0f32; self.rows.len() * width];
        out.par_chunks_mut(width).zip(self.rows).zip(&self.seeds).for_each(
            |((out, &row), &seed)| {
                let mask = mask(seed, self.keep, width);
                let (eights, rest) = features[row as usize * width..][..width].as_chunks::<8>();
                let (out_eights, out_rest) = out.as_chunks_mut::<8>();
                for ((out, values), &byte) in out_eights.iter_mut().zip(eights).zip(&mask) {
                    let factors = &factors[usize::from(byte)];
                    for ((out, value), factor) in out.iter_mut().zip(values).zip(factors) {
                        *out = value * factor;
                    }
                }
                let factors =
                    mask.get(eights.len()).map_or(&[0.0; 8], |&byte| &factors[usize::from(byte)]);
                for ((out, value), factor) in out_rest.iter_mut().zip(rest).zip(factors) {
                    *out = value * factor;
                }
            },
        );
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
