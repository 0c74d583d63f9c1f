//! Random numbers that are the same on every device: drawn on the host from a seed, then copied.

use crate::device::upload;
use crate::memory;
use candle::{DType, Device, Result, Shape, Tensor};
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
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
    /// A new generator, at the start of the default stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Returns the generator of the same seed for another `purpose`. It is at the start of its
    /// stream, whatever `self` has drawn so far, and whatever stream `self` is: name a purpose in full.
    pub fn stream(&self, purpose: &str) -> Self {
        // FNV-1a. Any fixed hash would do, as long as it never changes.
        let id = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut rng = ChaCha8Rng::from_seed(self.0.get_seed());
        rng.set_stream(id);
        Self(rng)
    }

    /// The position in the stream, which grows as numbers are drawn, for [`at`](Self::at).
    pub fn position(&self) -> u128 {
        self.0.get_word_pos()
    }

    /// Moves the generator to another position in its stream.
    ///
    /// ```
    /// use candle_hebbian::Rng;
    /// let mut rng = Rng::new(7).stream("dropout");
    /// rng.below(10);
    /// let mut again = Rng::new(7).stream("dropout").at(rng.position());
    /// assert_eq!(rng.permutation(50), again.permutation(50));
    /// ```
    pub fn at(mut self, position: u128) -> Self {
        self.0.set_word_pos(position);
        self
    }

    /// Draws a tensor of independent values from the normal distribution with this mean and
    /// standard deviation.
    ///
    /// # Errors
    /// If there is no memory for so many entries, or candle does not convert f32, in which all types
    /// but f64 are drawn, to `dtype` on `device`.
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

    /// Draws a tensor of independent values from the uniform distribution on `[low, high)`. They are drawn as f64 and
    /// rounded, which may give `high` itself.
    ///
    /// # Errors
    /// As for [`normal`](Self::normal).
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

    /// Draws a tensor whose entries are independently 1 with `probability`, else 0.
    ///
    /// # Errors
    /// If the probability is not in [0, 1], or if there is no memory for so many entries.
    pub fn bernoulli<S: Into<Shape>>(
        &mut self,
        probability: f64,
        shape: S,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&probability) {
            candle::bail!("probability {probability}: expected 0 to 1")
        }
        self.tensor(shape, dtype, device, |rng| {
            f64::from(u8::from(rng.random::<f64>() < probability))
        })
    }

    /// Draws a tensor from the distribution that `init` describes for a weight of this shape. For
    /// normal and uniform distributions the numbers are those of [`normal`](Self::normal) and
    /// [`uniform`](Self::uniform). A constant draws nothing.
    ///
    /// Kaiming's distributions (He et al. 2015) are, as in `candle_nn::init`, `N(0, σ²)` or
    /// `U(−√3·σ, √3·σ)` with `σ = gain/√fan`.
    ///
    /// # Errors
    /// If there is no memory for so many entries, as in the other methods that draw tensors.
    pub fn draw<S: Into<Shape>>(
        &mut self,
        init: Init,
        shape: S,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        match init {
            Init::Const(value) => self.tensor(shape, dtype, device, |_| value),
            Init::Randn { mean, stdev } => self.normal(mean, stdev, shape, dtype, device),
            Init::Uniform { lo, up } => self.uniform(lo, up, shape, dtype, device),
            Init::Kaiming { dist, fan, non_linearity } => {
                entries(&shape)?;
                let std = non_linearity.gain() / (fan.for_shape(&shape) as f64).sqrt();
                let bound = 3f64.sqrt() * std;
                match dist {
                    NormalOrUniform::Normal => self.normal(0.0, std, shape, dtype, device),
                    NormalOrUniform::Uniform => self.uniform(-bound, bound, shape, dtype, device),
                }
            }
        }
    }

    /// Returns the numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut self.0);
        order
    }

    /// Draws a number from `0..n`, each equally likely.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// Draws a number uniformly from `[low, high)`; if the bounds are equal, returns that number.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
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
                let values = drawn(&shape, || draw(&mut self.0))?;
                upload(values, shape, device)
            }
            _ => {
                let values = drawn(&shape, || draw(&mut self.0) as f32)?;
                upload(values, shape, device)?.to_dtype(dtype)
            }
        }
    }
}

/// The number of entries of a tensor of `shape`.
fn entries(shape: &Shape) -> Result<usize> {
    match shape.dims().iter().try_fold(1_usize, |count, &size| count.checked_mul(size)) {
        Some(count) => Ok(count),
        None => {
            candle::bail!("random tensor: {:?} is more entries than can be counted", shape.dims())
        }
    }
}

/// Draws as many values as a tensor of `shape` has entries.
fn drawn<T>(shape: &Shape, mut draw: impl FnMut() -> T) -> Result<Vec<T>> {
    let count = entries(shape)?;
    memory::check_bytes(count as u128 * size_of::<T>() as u128, || {
        format!("random tensor: the {count} entries of {:?}", shape.dims())
    })?;
    let mut values = Vec::new();
    if let Err(error) = values.try_reserve_exact(count) {
        candle::bail!(
            "random tensor: no memory for the {count} entries of {:?}: {error}",
            shape.dims()
        )
    }
    values.extend((0..count).map(|_| draw()));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_nn::init::{FanInOut, NonLinearity};

    /// Recorded results rest on these: the generator, the seeding and the streams never change. The values follow from
    /// the definitions of ChaCha8, of the PCG32 that makes its key from a seed, and of FNV-1a, computed by another
    /// program.
    #[test]
    fn draws_never_change() {
        let drawn = |mut rng: Rng| [(); 3].map(|()| rng.between(0.0, 1.0));
        let want = [0.7090754154265618, 0.46592172228961015, 0.6991432426747317];
        assert_eq!(drawn(Rng::new(0)), want);
        let want = [0.15779609702061936, 0.1679893627721013, 0.7042761280364565];
        assert_eq!(drawn(Rng::new(7)), want);
        let want = [0.8425981354824361, 0.007103528242735857, 0.48908117027582976];
        assert_eq!(drawn(Rng::new(7).stream("dropout")), want);
    }

    /// A shape that is too large causes neither an overflow nor an abort.
    #[test]
    fn a_hostile_shape_is_an_error() {
        for shape in [vec![usize::MAX, 2], vec![1 << 60], vec![1 << 33, 1 << 33]] {
            for dtype in [DType::F32, DType::F64, DType::BF16] {
                let refused = Rng::new(0).normal(0.0, 1.0, shape.clone(), dtype, &Device::Cpu);
                let message = refused.unwrap_err().to_string();
                assert!(message.contains(&format!("{shape:?}")), "{message}");
            }
        }
        // A size of 0 makes the product 0 whatever the others are, unless those before it overflow.
        let none = Rng::new(0).uniform(0.0, 1.0, (0, usize::MAX), DType::F32, &Device::Cpu);
        assert_eq!(none.unwrap().dims(), [0, usize::MAX]);
    }

    /// NaN and numbers outside [0, 1] are refused; at 0 and at 1 nothing is left to chance.
    #[test]
    fn probabilities() -> Result<()> {
        let mut rng = Rng::new(0);
        let mut draw = |p| rng.bernoulli(p, (10, 10), DType::F64, &Device::Cpu);
        for p in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            let message = draw(p).unwrap_err().to_string();
            assert!(message.contains(&format!("probability {p}")), "{message}");
        }
        for p in [0.0, 1.0] {
            assert_eq!(draw(p)?.to_vec2::<f64>()?, [[p; 10]; 10]);
        }
        Ok(())
    }

    /// A ReLU's gain is √2: with eight inputs σ = ½, with two outputs of two taps σ = 1/√2.
    #[test]
    fn kaiming_draws_by_its_equations() -> Result<()> {
        let draw = |init, shape: &[usize]| {
            Rng::new(5).draw(init, shape, DType::F64, &Device::Cpu)?.flatten_all()?.to_vec1::<f64>()
        };
        let non_linearity = NonLinearity::ReLU;
        for (fan, shape, std) in [
            (FanInOut::FanIn, &[3, 8][..], 0.5),
            (FanInOut::FanIn, &[3, 2, 4], 0.5),
            (FanInOut::FanOut, &[2, 7, 2], 0.5f64.sqrt()),
        ] {
            let count = shape.iter().product::<usize>();
            for (dist, want) in [
                (
                    NormalOrUniform::Normal,
                    Rng::new(5).normal(0.0, std, count, DType::F64, &Device::Cpu)?,
                ),
                (NormalOrUniform::Uniform, {
                    let bound = 3f64.sqrt() * std;
                    Rng::new(5).uniform(-bound, bound, count, DType::F64, &Device::Cpu)?
                }),
            ] {
                let found = draw(Init::Kaiming { dist, fan, non_linearity }, shape)?;
                for (found, want) in found.iter().zip(want.to_vec1::<f64>()?) {
                    assert!((found - want).abs() < 1e-14, "{dist:?} {fan:?}: {found} for {want}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_constant_draws_nothing() -> Result<()> {
        let mut rng = Rng::new(1);
        let halves = rng.draw(Init::Const(0.5), (2, 2), DType::F32, &Device::Cpu)?;
        assert_eq!(halves.to_vec2::<f32>()?, [[0.5; 2]; 2]);
        assert_eq!(rng.permutation(20), Rng::new(1).permutation(20));
        Ok(())
    }
}
