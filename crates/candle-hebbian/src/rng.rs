//! Random numbers that are the same on every device: drawn on the host from a seed, then copied.

use candle::{DType, Device, Result, Shape, Tensor};
use rand::seq::SliceRandom;
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// A seeded generator (ChaCha8), passed explicitly wherever something is drawn.
///
/// Each purpose takes its own [`stream`](Rng::stream), so that drawing more in one place (a longer
/// shuffle, say) never changes what another place draws.
///
/// ```
/// use candle_hebbian::Rng;
/// let rng = Rng::new(7);
/// assert_eq!(rng.stream("batches").permutation(5), rng.stream("batches").permutation(5));
/// assert_ne!(rng.stream("batches").permutation(50), rng.stream("dropout").permutation(50));
/// ```
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A generator at the start of the default stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The generator of the same seed for another `purpose`, at its start whatever `self` has
    /// drawn so far.
    pub fn stream(&self, purpose: &str) -> Self {
        // FNV-1a: any fixed hash would do, it only has to stay the same for ever.
        let id = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut rng = ChaCha8Rng::from_seed(self.0.get_seed());
        rng.set_stream(id);
        Self(rng)
    }

    /// A tensor of independent draws from the normal distribution of that mean and standard
    /// deviation.
    pub fn normal<S: Into<Shape>>(
        &mut self,
        mean: f64,
        std: f64,
        shape: S,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.tensor(shape, dtype, device, |rng| mean + std * rng.sample::<f64, _>(StandardNormal))
    }

    /// A tensor of independent draws from the uniform distribution on `[low, high)`.
    pub fn uniform<S: Into<Shape>>(
        &mut self,
        low: f64,
        high: f64,
        shape: S,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.tensor(shape, dtype, device, |rng| low + (high - low) * rng.random::<f64>())
    }

    /// A tensor whose entries are 1 with `probability`, else 0, independently.
    pub fn bernoulli<S: Into<Shape>>(
        &mut self,
        probability: f64,
        shape: S,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.tensor(shape, dtype, device, |rng| {
            f64::from(u8::from(rng.random::<f64>() < probability))
        })
    }

    /// The numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut self.0);
        order
    }

    /// A number from `0..n`, each as likely; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    fn tensor<S: Into<Shape>>(
        &mut self,
        shape: S,
        dtype: DType,
        device: &Device,
        draw: impl Fn(&mut ChaCha8Rng) -> f64,
    ) -> Result<Tensor> {
        let shape = shape.into();
        // Drawn in f64 and rounded, so that f32 and f64 runs start from the same values.
        match dtype {
            DType::F64 => {
                let values: Vec<f64> = (0..shape.elem_count()).map(|_| draw(&mut self.0)).collect();
                Tensor::from_vec(values, shape, device)
            }
            _ => {
                let values: Vec<f32> =
                    (0..shape.elem_count()).map(|_| draw(&mut self.0) as f32).collect();
                Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
            }
        }
    }
}
