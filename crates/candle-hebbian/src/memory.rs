//! Allocations whose size a caller chose: checked before memory is taken, and refused with an error.

use crate::cpu::{Real, RowKernel, rows_per_block, run_block};
use candle::{DType, Device, Error, Result};
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::MaybeUninit;

/// The most bytes that one tensor or buffer may have: 2⁴⁰ (1 TiB), or the size of the address space if that is less. An
/// allocator that overcommits would grant more, and the process would be killed when the memory is used.
const MOST_BYTES: u128 = if (1 << 40) < isize::MAX as u128 { 1 << 40 } else { isize::MAX as u128 };

thread_local! {
    /// The limit that [`with_most_bytes`] sets on this thread.
    static ALLOWED: Cell<u128> = const { Cell::new(MOST_BYTES) };
}

/// Runs `make` with a limit of `bytes` bytes for each drawn tensor, each weight and each buffer of an op. Anything
/// larger is an error. Use it for sizes from untrusted input, which could otherwise take all memory.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::{Rng, with_most_bytes};
/// let weights = |units: usize| {
///     with_most_bytes(4 << 10, || Rng::new(0).normal(0., 1., (units, 64), DType::F32, &Device::Cpu))
/// };
/// assert!(weights(16).is_ok());
/// assert!(weights(17).unwrap_err().to_string().contains("more than the 4096"));
/// ```
pub fn with_most_bytes<T>(bytes: u64, make: impl FnOnce() -> T) -> T {
    struct Before(u128);
    impl Drop for Before {
        fn drop(&mut self) {
            ALLOWED.set(self.0);
        }
    }
    let before = ALLOWED.get();
    let _before = Before(before);
    ALLOWED.set(before.min(bytes.into()));
    make()
}

/// Checks that an array of `bytes` bytes, described by `what`, is not larger than allowed.
///
/// # Errors
/// If it is larger.
pub(crate) fn check_bytes(bytes: u128, what: impl FnOnce() -> String) -> Result<()> {
    let most = ALLOWED.get();
    if bytes > most {
        candle::bail!(
            "{} need {bytes} bytes, more than the {most} that are given to one tensor: use fewer units, or a smaller \
             image, kernel, padding or batch",
            what()
        )
    }
    Ok(())
}

/// The number of elements of an array of these `sizes`, whose elements have `bytes` bytes each. For the limit, a size
/// of 0 counts as 1, so that any part of the product fits in `usize`.
///
/// # Errors
/// If the array has more bytes than any array may have.
pub(crate) fn count(what: &str, sizes: &[usize], bytes: usize) -> Result<usize> {
    let all =
        sizes.iter().fold(bytes as u128, |all, &size| all.saturating_mul(size.max(1) as u128));
    check_bytes(all, || format!("{what}: {sizes:?} elements of {bytes} bytes"))?;
    Ok(sizes.iter().product())
}

/// An empty vector with room for an array of these `sizes`.
///
/// # Errors
/// If that is more than any array may have, or more memory than is available.
pub(crate) fn room<T>(what: &str, sizes: &[usize]) -> Result<Vec<T>> {
    let mut room = Vec::new();
    reserve(what, &mut room, count(what, sizes, size_of::<T>())?)?;
    Ok(room)
}

fn reserve<T>(what: &str, buffer: &mut Vec<T>, length: usize) -> Result<()> {
    buffer.try_reserve_exact(length.saturating_sub(buffer.len())).map_err(|_| {
        let bytes = length as u128 * size_of::<T>() as u128;
        Error::Msg(format!(
            "{what}: no memory for {length} elements, {bytes} bytes: use a smaller image, kernel, \
             padding or batch"
        ))
    })
}

/// Makes `buffer` hold `length` zeros, reusing its memory if that suffices.
///
/// # Errors
/// If there is not enough memory.
pub(crate) fn clear<T: Real>(what: &str, buffer: &mut Vec<T>, length: usize) -> Result<()> {
    buffer.clear();
    reserve(what, buffer, length)?;
    buffer.resize(length, T::zero());
    Ok(())
}

/// Makes an array of `sizes` in parallel, in chunks of `chunk` elements: `fill(index, chunk)` receives zeros and
/// overwrites them as needed. The zeros are written chunk by chunk just before, so they are still in the cache, which
/// would not hold for an array that is zeroed as a whole.
///
/// # Errors
/// If that is more than any array may have, or more memory than is available, or if `fill` fails; the first error of
/// `fill` is returned.
pub(crate) fn filled<T: Real>(
    what: &str,
    sizes: &[usize],
    chunk: usize,
    fill: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    filled_with(what, sizes, chunk, || (), |(), index, chunk| fill(index, chunk))
}

/// Makes an array of `length` elements in rows of `width`, which `kernel` writes block by block in parallel. `cost` is
/// that of [`for_row_blocks`](crate::cpu::for_row_blocks), which writes an array that exists.
///
/// # Errors
/// If that is more than any array may have, or more memory than is available.
pub(crate) fn filled_rows<T: Real>(
    what: &str,
    (length, width): (usize, usize),
    cost: usize,
    kernel: &impl RowKernel<T>,
) -> Result<Vec<T>> {
    let together = rows_per_block(cost);
    filled(what, &[length / width.max(1), width], together.saturating_mul(width), |block, chunk| {
        run_block(kernel, block * together, chunk);
        Ok(())
    })
}

/// Like [`filled`], with a state, such as a buffer, that `init` makes for every run of chunks.
pub(crate) fn filled_with<T: Real, S>(
    what: &str,
    sizes: &[usize],
    chunk: usize,
    init: impl Fn() -> S + Sync + Send,
    fill: impl Fn(&mut S, usize, &mut [T]) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    let length = count(what, sizes, size_of::<T>())?;
    let mut out: Vec<T> = Vec::new();
    reserve(what, &mut out, length)?;
    let spare = &mut out.spare_capacity_mut()[..length];
    spare.par_chunks_mut(chunk.max(1)).enumerate().try_for_each_init(
        init,
        |state, (index, chunk)| {
            chunk.fill(MaybeUninit::new(T::zero()));
            // SAFETY: every element was written in the line above.
            fill(state, index, unsafe { chunk.assume_init_mut() })
        },
    )?;
    // SAFETY: the chunks cover `length` elements, and each was written before `fill` saw it.
    unsafe { out.set_len(length) };
    Ok(out)
}

/// Checks that one of candle's ops can be asked for an array of these `sizes` on `device`. Without memory, these ops
/// abort the process on the CPU and return an error elsewhere.
///
/// # Errors
/// If that is more than any array may have or, on the CPU, more memory than is available.
pub(crate) fn check(what: &str, sizes: &[usize], dtype: DType, device: &Device) -> Result<()> {
    let length = count(what, sizes, dtype.size_in_bytes())?;
    if device.is_cpu() {
        reserve(what, &mut Vec::<u8>::new(), length * dtype.size_in_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_past_the_limit_are_refused_with_the_bytes() {
        assert_eq!(count("x", &[2, 3, 0], 4).ok(), Some(0));
        assert_eq!(count("x", &[1 << 20, 1 << 18], 4).ok(), Some(1 << 38));
        for sizes in [&[1 << 20, (1 << 18) + 1][..], &[usize::MAX, usize::MAX, usize::MAX, 0]] {
            let error = count("patches", sizes, 4).expect_err("too much").to_string();
            assert!(error.starts_with("patches: [") && error.contains("1099511627776"), "{error}");
        }
        // 5 · 2³⁸ · 8 bytes
        let error = room::<f64>("taps", &[5, 1 << 38]).expect_err("too much").to_string();
        assert!(error.contains("10995116277760 bytes"), "{error}");
        let error = check("image", &[1 << 39], DType::F32, &Device::Cpu).expect_err("too much");
        assert!(error.to_string().contains("2199023255552 bytes"), "{error}");
    }

    #[test]
    fn chunks_are_zeros_and_all_of_them_are_kept() -> Result<()> {
        let out = filled::<f32>("x", &[5, 3], 4, |index, chunk| {
            assert!(chunk.iter().all(|&x| x == 0.0));
            chunk[0] = index as f32 + 1.0;
            Ok(())
        })?;
        assert_eq!(out, [1., 0., 0., 0., 2., 0., 0., 0., 3., 0., 0., 0., 4., 0., 0.]);
        let failed = filled::<f32>("x", &[8], 2, |index, _| match index {
            2 => candle::bail!("the third"),
            _ => Ok(()),
        });
        assert!(failed.is_err_and(|error| error.to_string().contains("the third")));
        assert!(filled::<f64>("x", &[0, 7], 0, |_, _| Ok(()))?.is_empty());
        Ok(())
    }

    #[test]
    fn a_buffer_is_cleared() -> Result<()> {
        let mut buffer = vec![1f32, 2.0, 3.0];
        clear("buffer", &mut buffer, 2)?;
        assert_eq!(buffer, [0.0, 0.0]);
        clear("buffer", &mut buffer, 4)?;
        assert_eq!(buffer, [0.0; 4]);
        assert!(clear("buffer", &mut buffer, usize::MAX).is_err());
        Ok(())
    }
}
