//! Windows over an image: how many there are and which pixels they read. This is shared by convolution, untied layers,
//! pooling and padding; it involves no tensors.

use crate::memory;
use candle::Result;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a window reads outside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingMode {
    /// `00|1234|00`
    #[default]
    Zeros,
    /// `32|1234|32`, mirrored without repeating the edge.
    Reflect,
}

/// The window of a convolutional or locally connected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conv2dConfig {
    /// Step between windows, in pixels. Default: 1.
    pub stride: usize,
    /// Pixels added on each side. Default: 0.
    pub padding: usize,
    /// Pixels added below and on the right in addition to `padding`. Default: 0. With an even kernel, one is needed for
    /// an output of the input's size.
    pub trailing_padding: usize,
    /// Step between the taps of a window, in pixels. Default: 1.
    pub dilation: usize,
    /// Number of groups of channels that do not see each other. Default: 1. Each group has its own competition.
    pub groups: usize,
    /// What the padding holds. Default: zeros.
    pub padding_mode: PaddingMode,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: 0,
            trailing_padding: 0,
            dilation: 1,
            groups: 1,
            padding_mode: PaddingMode::Zeros,
        }
    }
}

impl Conv2dConfig {
    /// Stride 1 and zero padding such that the output has the input's size. An even kernel reaches one pixel further
    /// below and on the right (TensorFlow's `SAME`).
    pub fn same(kernel: usize) -> Self {
        let around = kernel.saturating_sub(1);
        Self { padding: around / 2, trailing_padding: around % 2, ..Self::default() }
    }

    /// The number of windows along a side of `size` pixels: `⌊(padded − dilation·(kernel − 1) − 1) / stride⌋ + 1` for
    /// `padded = size + 2·padding + trailing_padding`.
    ///
    /// # Errors
    /// If the image has no pixels; if the window is larger than the padded image; if the image is reflected by its own
    /// size or more; if the stride, dilation or kernel is 0; or if the padded image has more than 2³¹ − 1 pixels a
    /// side.
    pub fn output_size(&self, size: usize, kernel: usize) -> Result<usize> {
        Ok(self.axis(size, kernel)?.out)
    }

    /// The windows along a side of `size` pixels.
    pub(crate) fn axis(&self, size: usize, kernel: usize) -> Result<Axis> {
        let Self { stride, padding: before, dilation, padding_mode: mode, .. } = *self;
        let after = before.saturating_add(self.trailing_padding);
        Axis::new(size, Window { kernel, stride, dilation, before, after, mode })
    }

    /// Returns, for each output position and tap in the order `(OH, OW, kh, kw)`, whether the tap lies in the image of
    /// size `(height, width)` and not in its padding.
    ///
    /// # Errors
    /// If the padding is a reflection, which repeats pixels of the image; if the image is too small; or if there are
    /// more taps than memory for them.
    pub fn taps_in_image(
        &self,
        (height, width): (usize, usize),
        (kh, kw): (usize, usize),
    ) -> Result<Vec<bool>> {
        if self.padding_mode == PaddingMode::Reflect {
            candle::bail!("taps in the image: expected zero padding, found reflection")
        }
        let (rows, columns) = (self.axis(height, kh)?, self.axis(width, kw)?);
        let sizes = [rows.out, columns.out, kh, kw];
        let mut inside = memory::room("taps in the image", &sizes)?;
        let (rows, columns) = (rows.taps()?, columns.taps()?);
        for row in rows.chunks_exact(kh) {
            for column in columns.chunks_exact(kw) {
                for h in row {
                    inside.extend(column.iter().map(|w| h.is_some() && w.is_some()));
                }
            }
        }
        Ok(inside)
    }
}

/// A window along one axis, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Number of taps.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Step between taps.
    pub dilation: usize,
    /// Padding in front of the image.
    pub before: usize,
    /// Padding behind the image.
    pub after: usize,
    /// What the padding holds.
    pub mode: PaddingMode,
}

/// The windows along one side of an image.
///
/// No sum or product of these values exceeds the padded side, which has fewer than 2³¹ pixels: if there is only one
/// window, the stride is set to 1, and if there is only one tap, the dilation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Number of pixels of the image.
    pub size: usize,
    /// Number of windows.
    pub out: usize,
    pub window: Window,
}

/// The most pixels that a padded side may have. Indices in candle's ops have 32 bits.
const MOST_PIXELS: u128 = i32::MAX as u128;

impl Axis {
    /// # Errors
    /// As [`Conv2dConfig::output_size`].
    pub(crate) fn new(size: usize, window: Window) -> Result<Self> {
        let Window { kernel, stride, dilation, before, after, mode } = window;
        if stride == 0 || dilation == 0 || kernel == 0 {
            candle::bail!(
                "stride {stride}, dilation {dilation} and kernel {kernel} must all be at least 1"
            )
        }
        if size == 0 {
            candle::bail!("image too small: 0 pixels, and a window reads at least one")
        }
        if mode == PaddingMode::Reflect && before.max(after) >= size {
            let padding = before.max(after);
            candle::bail!(
                "reflection padding of {padding} needs an image of more than {padding} pixels, \
                 found {size}"
            )
        }
        let padded = size as u128 + before as u128 + after as u128;
        if padded > MOST_PIXELS {
            candle::bail!(
                "image too large: {size} pixels with padding {before} and {after} are {padded}, and \
                 a side may have {MOST_PIXELS}: use less padding"
            )
        }
        let covered = dilation as u128 * (kernel as u128 - 1) + 1;
        let Some(room) = padded.checked_sub(covered) else {
            candle::bail!(
                "image too small: {size} pixels with padding {before} and {after} is less than the \
                 {covered} that a kernel of {kernel} with dilation {dilation} covers"
            )
        };
        // `padded` and `covered` are below the limit now.
        let out = room as usize / stride + 1;
        let stride = if out == 1 { 1 } else { stride };
        let dilation = if kernel == 1 { 1 } else { dilation };
        Ok(Self { size, out, window: Window { stride, dilation, ..window } })
    }

    /// The windows that start at the multiples of the stride, `⌈size / stride⌉` of them. The last ones may reach over
    /// the far edge.
    ///
    /// # Errors
    /// If the kernel or stride is 0, or the image has no pixels or more than 2³¹ − 1.
    pub(crate) fn reaching_over(size: usize, kernel: usize, stride: usize) -> Result<Self> {
        // Taps beyond the first one outside the image read the same value as that one.
        let kernel = kernel.min(size.saturating_add(1));
        let last = size.saturating_sub(1) / stride.max(1) * stride;
        let after = last.saturating_add(kernel).saturating_sub(size);
        let mode = PaddingMode::Zeros;
        Self::new(size, Window { kernel, stride, dilation: 1, before: 0, after, mode })
    }

    /// The number of pixels of the side with its padding.
    pub(crate) fn padded(&self) -> usize {
        self.window.before + self.size + self.window.after
    }

    /// The pixel that is read at position `at` of the padded side; `None` for a zero.
    #[inline(always)]
    pub(crate) fn source(&self, at: usize) -> Option<usize> {
        match self.window.mode {
            PaddingMode::Zeros => {
                at.checked_sub(self.window.before).filter(|&pixel| pixel < self.size)
            }
            PaddingMode::Reflect => {
                Some(reflect(at as isize - self.window.before as isize, self.size))
            }
        }
    }

    /// The pixel at position `at` of the padded side, or the nearest pixel if the position is in the padding.
    pub(crate) fn nearest(&self, at: usize) -> usize {
        at.saturating_sub(self.window.before).min(self.size - 1)
    }

    /// The position in the padded side of tap `i` of window `o`.
    pub(crate) fn position(&self, o: usize, i: usize) -> usize {
        o * self.window.stride + i * self.window.dilation
    }

    /// The pixel that every tap of every window reads: entry `o·kernel + i` is that of tap `i` of window `o`.
    ///
    /// # Errors
    /// If there are more taps than memory for them.
    pub(crate) fn taps(&self) -> Result<Vec<Option<usize>>> {
        let kernel = self.window.kernel;
        let mut taps = memory::room("taps of a window", &[self.out, kernel])?;
        for o in 0..self.out {
            taps.extend((0..kernel).map(|i| self.source(self.position(o, i))));
        }
        Ok(taps)
    }

    /// The pixels that window `o` covers, for windows without dilation over an image without reflection.
    #[inline(always)]
    pub(crate) fn span(&self, o: usize) -> Range<usize> {
        let Window { kernel, stride, before, .. } = self.window;
        let end = (o * stride + kernel).saturating_sub(before).min(self.size);
        (o * stride).saturating_sub(before)..end
    }

    /// Whether window `o` reaches over the far edge of the image.
    #[inline(always)]
    pub(crate) fn reaches_over(&self, o: usize) -> bool {
        self.position(o, self.window.kernel) > self.window.before + self.size
    }
}

/// The index in `0..size` that mirroring puts at position `at` of an axis, without repeating the edge: −1 reads 1, and
/// `size` reads `size − 2`. Valid for `at` from `1 − size` to `2·size − 2`.
pub fn reflect(at: isize, size: usize) -> usize {
    let (at, last) = (at.unsigned_abs(), size.saturating_sub(1));
    if at > last { last.saturating_mul(2).saturating_sub(at) } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Conv2dConfig = Conv2dConfig {
        stride: 1,
        padding: 0,
        trailing_padding: 0,
        dilation: 1,
        groups: 1,
        padding_mode: PaddingMode::Zeros,
    };

    /// `00|1234|000` with taps 2 apart and windows 3 apart has windows at 0 and 3: `0.1.3` and `2.4.0`.
    #[test]
    fn taps_by_hand() -> Result<()> {
        let config =
            Conv2dConfig { stride: 3, padding: 2, trailing_padding: 1, dilation: 2, ..PLAIN };
        let axis = config.axis(4, 3)?;
        assert_eq!((axis.out, axis.padded()), (2, 9));
        assert_eq!(axis.taps()?, [None, Some(0), Some(2), Some(1), Some(3), None]);
        let mirror = Conv2dConfig { padding: 2, padding_mode: PaddingMode::Reflect, ..PLAIN };
        // 32|1234|32
        let taps: Vec<_> = [2, 1, 0, 1, 2, 3, 2, 1].map(Some).into();
        assert_eq!(mirror.axis(4, 1)?.taps()?, taps);
        assert_eq!(PLAIN.taps_in_image((1, 2), (1, 1))?, [true, true]);
        assert_eq!(
            Conv2dConfig::same(2).taps_in_image((1, 1), (2, 2))?,
            [true, false, false, false]
        );
        // A reflected tap repeats a pixel of the image: it is neither in the padding nor a pixel of its own.
        let error = mirror.taps_in_image((4, 4), (1, 1)).unwrap_err().to_string();
        assert!(error.contains("expected zero padding, found reflection"), "{error}");
        Ok(())
    }

    #[test]
    fn spans_by_hand() -> Result<()> {
        let window = Window {
            kernel: 4,
            stride: 2,
            dilation: 1,
            before: 1,
            after: 1,
            mode: PaddingMode::Zeros,
        };
        // x|12345|x: windows at −1, 1.
        let axis = Axis::new(5, window)?;
        assert_eq!((0..axis.out).map(|o| axis.span(o)).collect::<Vec<_>>(), [0..3, 1..5]);
        assert_eq!((axis.reaches_over(0), axis.reaches_over(1)), (false, false));
        assert_eq!([0, 1, 5, 6].map(|at| axis.nearest(at)), [0, 0, 4, 4]);
        // 12345xx: windows of 3 at 0, 2, 4.
        let axis = Axis::reaching_over(5, 3, 2)?;
        assert_eq!((0..axis.out).map(|o| axis.span(o)).collect::<Vec<_>>(), [0..3, 2..5, 4..5]);
        assert_eq!([0, 1, 2].map(|o| axis.reaches_over(o)), [false, false, true]);
        // Windows of 2 at 0, 3 leave pixels out; one window larger than the image sees all of it.
        assert_eq!(Axis::reaching_over(5, 2, 3)?.span(1), 3..5);
        let axis = Axis::reaching_over(5, usize::MAX, usize::MAX)?;
        assert_eq!((axis.out, axis.span(0), axis.reaches_over(0)), (1, 0..5, true));
        Ok(())
    }

    /// Sizes whose sums and products overflow are refused with their true values.
    #[test]
    fn hostile_sizes_are_refused() {
        let says = |config: Conv2dConfig, size, kernel, what: &[&str]| {
            let error = config.output_size(size, kernel).expect_err("hostile").to_string();
            assert!(what.iter().all(|what| error.contains(what)), "{error}");
        };
        let huge = 1 << 62;
        says(Conv2dConfig { padding: huge, ..PLAIN }, 3, 2, &["too large", "9223372036854775811"]);
        let all = usize::MAX;
        says(Conv2dConfig { padding: all, ..PLAIN }, 3, 2, &["too large", "36893488147419103233"]);
        says(Conv2dConfig { trailing_padding: all, padding: all, ..PLAIN }, 3, 2, &["too large"]);
        says(PLAIN, all, 1, &["too large", "18446744073709551615"]);
        says(PLAIN, 3, all, &["too small", "18446744073709551615"]);
        says(Conv2dConfig { dilation: 1_000_000, ..PLAIN }, 3, 2, &["too small", "1000001"]);
        // (2⁶⁴ − 1)·(2⁶⁴ − 2) + 1
        let covered = "340282366920938463408034375210639556611";
        says(Conv2dConfig { dilation: all, ..PLAIN }, 3, all, &["too small", covered]);
        for mode in [PaddingMode::Zeros, PaddingMode::Reflect] {
            says(Conv2dConfig { padding_mode: mode, ..PLAIN }, 0, 1, &["too small", "0 pixels"]);
        }
        let reflect = Conv2dConfig { padding_mode: PaddingMode::Reflect, padding: all, ..PLAIN };
        says(reflect, 3, 1, &["reflection padding of 18446744073709551615"]);
        let taps = Conv2dConfig { padding: 1 << 29, ..PLAIN };
        let error = taps.taps_in_image((4, 4), (1 << 29, 1)).expect_err("hostile").to_string();
        assert!(error.contains("bytes"), "{error}");
        // A stride past the image gives one window.
        assert_eq!(Conv2dConfig { stride: all, ..PLAIN }.output_size(9, 3).ok(), Some(1));
        assert_eq!(
            Conv2dConfig { stride: all, dilation: all, ..PLAIN }.output_size(9, 1).ok(),
            Some(1)
        );
    }

    #[test]
    fn mirrors_never_panic() {
        assert_eq!([-2, -1, 0, 3, 4, 5].map(|at| reflect(at, 4)), [2, 1, 0, 3, 2, 1]);
        for at in [isize::MIN, -1, 0, isize::MAX] {
            for size in [0, 1, usize::MAX] {
                reflect(at, size);
            }
        }
    }
}
