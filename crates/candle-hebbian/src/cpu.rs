//! Code that the CPU kernels share. Each kernel works on contiguous rows, splits them into blocks
//! whose size does not depend on the number of threads (so results do not either), and is compiled
//! for the widest vectors the processor has, chosen at run time.

use candle::{CpuStorage, Layout, Result, WithDType};
use num_traits::Float;
use pulp::Simd;
use rayon::prelude::*;
use std::sync::LazyLock;

/// The float types that kernels are written for.
pub(crate) trait Real: Float + WithDType + Send + Sync {
    /// `e^self`, in a form that the compiler turns into vector code. In f32 the relative error is
    /// below 2e-7, and results below `e^−87` are 0.
    fn fast_exp(self) -> Self;
    /// `self^power` for a power that is not 0; 0 for `self ≤ 0`, NaN for NaN. Relative error below
    /// 4e-6 in f32 for values between 1e-8 and 1e8 and powers up to 4.
    fn fast_pow(self, power: Self) -> Self;
    /// The nearest value to `x`.
    fn of(x: f64) -> Self {
        <Self as WithDType>::from_f64(x)
    }
    /// The elements of a storage of this type, for writing.
    fn storage_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;
    /// A vector register of the instruction set `S`.
    type Vector<S: Simd>: Copy;
    /// `x` in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `a + b`
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a − b`
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a·b + c`, rounded once where the instruction set can.
    fn multiply_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

impl Real for f64 {
    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f64s {
        simd.splat_f64s(x)
    }

    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.add_f64s(a, b)
    }

    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.sub_f64s(a, b)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }

    fn storage_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F64(values) => Ok(values),
            _ => candle::bail!("expected f64"),
        }
    }

    #[inline(always)]
    fn fast_exp(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn fast_pow(self, power: Self) -> Self {
        if self <= 0.0 { 0.0 } else { self.powf(power) }
    }
}

impl Real for f32 {
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f32s {
        simd.splat_f32s(x)
    }

    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.add_f32s(a, b)
    }

    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.sub_f32s(a, b)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }

    fn storage_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Ok(values),
            _ => candle::bail!("expected f32"),
        }
    }

    #[inline(always)]
    fn fast_exp(self) -> Self {
        // e^x = 2^n · e^r with r in ±ln(2)/2; ln 2 in two parts keeps r exact.
        let x = self.clamp(-87.0, 89.0);
        // The nearest integer is in the last bits of the shifted number.
        let shifted = x * std::f32::consts::LOG2_E + SHIFT;
        let n = shifted - SHIFT;
        let r = n.mul_add(-0.693_359_4, x);
        let r = n.mul_add(2.121_944_4e-4, r);
        let p = 1.987_569_1e-4_f32;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let e = p * (r * r) + r + 1.0;
        let n = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
        // In two factors, since n may be 128 and f32 cannot hold 2^128.
        let half = n >> 1;
        let two_to = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
        // Below −87 the true value is under the smallest normal number.
        if self < -87.0 { 0.0 } else { e * two_to(half) * two_to(n.wrapping_sub(half)) }
    }

    #[inline(always)]
    fn fast_pow(self, power: Self) -> Self {
        // ln(m·2^e) with m in [√½, √2), then e^(power·ln).
        let bits = self.to_bits() as i32;
        let e = bits.wrapping_sub(0x3f35_04f3) >> 23;
        let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32) - 1.0;
        let p = 7.037_683_6e-2_f32;
        let p = p * m + -1.151_461e-1;
        let p = p * m + 1.167_699_9e-1;
        let p = p * m + -1.242_014_1e-1;
        let p = p * m + 1.424_932_3e-1;
        let p = p * m + -1.666_805_8e-1;
        let p = p * m + 2.000_071_5e-1;
        let p = p * m + -2.499_999_4e-1;
        let p = p * m + 3.333_333e-1;
        let square = m * m;
        let e = e as f32;
        let tail = p * m * square - e * 2.121_944_4e-4 - 0.5 * square;
        let ln = m + tail + e * 0.693_359_4;
        // Infinity and NaN cannot be split into exponent and mantissa.
        let ln = if self < f32::INFINITY { ln } else { self };
        if self < f32::MIN_POSITIVE { 0.0 } else { (power * ln).fast_exp() }
    }
}

/// 1.5·2²³. Adding a number to it rounds that number to the nearest integer, which every processor
/// can do in vectors.
const SHIFT: f32 = 12_582_912.0;

pub(crate) static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// Runs `work` compiled for the widest vectors of this processor. Only inlined code is compiled
/// this way, so everything hot must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    ARCH.dispatch(work)
}

/// The elements of a contiguous tensor.
pub(crate) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    entries(storage.as_slice::<T>()?, layout)
}

/// The entries of a contiguous tensor within its storage.
pub(crate) fn entries<'a, T>(storage: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        // An empty view may start past the end.
        Some((start, end)) if start == end => Ok(&[]),
        Some((start, end)) => Ok(&storage[start..end]),
        None => candle::bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

/// The approximate number of elements in one block of work.
const BLOCK: usize = 1 << 14;

/// The number of rows of `width` elements in one block of work.
pub(crate) fn rows_per_block(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1)
}

/// A kernel over rows. It is a trait, not a closure, so that `#[inline(always)]` can be applied to
/// `run`: only inlined code is compiled for the wide vectors.
pub(crate) trait RowKernel<T>: Sync {
    /// Writes the rows of `block`, the first of which is row `first` of the whole output.
    fn run(&self, first: usize, block: &mut [T]);
}

/// Writes `out`, which holds rows of `width` elements, block by block in parallel. `cost` is
/// roughly the number of elements touched per row. If there are no rows or if rows are empty, the
/// kernel does not run, so it may split its block into chunks of `width`.
pub(crate) fn for_row_blocks<T: Real>(
    out: &mut [T],
    width: usize,
    cost: usize,
    kernel: &impl RowKernel<T>,
) {
    if width == 0 || out.is_empty() {
        return;
    }
    let rows = rows_per_block(cost);
    out.par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(block, chunk)| run_block(kernel, block * rows, chunk));
}

/// Runs `kernel` for one block, whose first row is row `first`, compiled for the widest vectors.
pub(crate) fn run_block<T>(kernel: &impl RowKernel<T>, first: usize, block: &mut [T]) {
    struct Block<'a, T, K>(&'a K, usize, &'a mut [T]);
    impl<T, K: RowKernel<T>> pulp::NullaryFnOnce for Block<'_, T, K> {
        type Output = ();
        #[inline(always)]
        fn call(self) {
            self.0.run(self.1, self.2);
        }
    }
    ARCH.dispatch(Block(kernel, first, block));
}

/// `Σ map(x)`
#[inline(always)]
pub(crate) fn sum<T: Real>(values: &[T], map: impl Fn(T) -> T) -> T {
    fold(values, T::zero(), map, |a, b| a + b)
}

/// `max map(x)`, or −∞ if there are no values.
#[inline(always)]
pub(crate) fn maximum<T: Real>(values: &[T], map: impl Fn(T) -> T) -> T {
    fold(values, T::neg_infinity(), map, |a, b| if b > a { b } else { a })
}

/// Whether any value is NaN.
#[inline(always)]
pub(crate) fn holds_nan<T: Real>(values: &[T]) -> bool {
    // Looks at all values: an early exit would not vectorise.
    values.iter().fold(false, |any, x| any | x.is_nan())
}

/// Folds into sixteen running results, so that the order is fixed and the compiler may use vectors.
#[inline(always)]
pub(crate) fn fold<T: Real>(
    values: &[T],
    start: T,
    map: impl Fn(T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [start; 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = join(*lane, map(x));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, map(x));
    }
    lanes.into_iter().fold(start, join)
}

/// New storage with these elements.
pub(crate) fn owned<T: Real>(values: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(values)
}

/// Runs `$body` with the type alias `$t` for the float type of `$storage`.
macro_rules! with_real {
    ($storage:expr, $name:expr, $t:ident => $body:expr) => {
        match candle::backend::BackendStorage::dtype(&*$storage) {
            candle::DType::F32 => {
                type $t = f32;
                $body
            }
            candle::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle::bail!("{}: expected f32 or f64, found {other:?}", $name),
        }
    };
}
pub(crate) use with_real;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        // Up to the last such x whose exponential fits in f32.
        for i in -8600..=8872 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            assert!((f64::from(x.fast_exp()) / want - 1.0).abs() < 2e-7, "e^{x}");
        }
        for x in [88.73f32, 89.0, 1e3, f32::INFINITY] {
            assert_eq!(x.fast_exp(), f32::INFINITY, "e^{x}");
        }
        assert!(f32::NAN.fast_exp().is_nan());
        assert_eq!(f32::NEG_INFINITY.fast_exp(), 0.0);
        assert_eq!(0f32.fast_exp(), 1.0);
    }

    #[test]
    fn pow_agrees_with_the_standard_library() {
        for power in [0.3f32, 0.7, 1.4, 2.5, 4.0] {
            for i in 1..4000 {
                let x = (f64::from(i) * 0.01 - 20.0).exp() as f32;
                let want = f64::from(x).powf(f64::from(power));
                if want < 1e-30 {
                    continue;
                }
                let got = f64::from(x.fast_pow(power));
                assert!((got / want - 1.0).abs() < 4e-6, "{x}^{power}: {got} for {want}");
            }
            for nothing in [0.0f32, -0.0, -1e-30, -1.0, f32::MIN] {
                assert_eq!(nothing.fast_pow(power), 0.0, "{nothing}^{power}");
            }
            assert_eq!(1f32.fast_pow(power), 1.0);
            assert_eq!(f32::INFINITY.fast_pow(power), f32::INFINITY);
            assert_eq!(f32::INFINITY.fast_pow(-power), 0.0);
            assert_eq!(1e30f32.fast_pow(power) == f32::INFINITY, power > 1.3, "{power}");
            assert!(f32::NAN.fast_pow(power).is_nan() && f64::NAN.fast_pow(2.0).is_nan());
        }
    }
}
