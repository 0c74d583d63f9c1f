//! Factors of a product whose values are read from a matrix or from the windows of images.

use super::matrix::Matrix;
use crate::cpu::Real;

/// A factor of a product: lines, which have one value at each depth. They are the rows of the left factor and the
/// columns of the right one.
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a, T> {
    pub entries: Entries<'a, T>,
    pub lines: usize,
    pub depth: usize,
    /// The scale by which every value is multiplied.
    pub scale: T,
}

/// Where a factor has the value of a line at a depth.
#[derive(Debug, Clone, Copy)]
pub enum Entries<'a, T> {
    /// Line `i` at depth `k` is entry `(i, k)` of the matrix.
    Matrix(Matrix<'a, T>),
    /// Line `i` is the window at position `i`, and depth `k` is its `k`-th value.
    Windows(&'a Windows<'a, T>),
    /// Line `i` is the `i`-th value of the windows, and depth `k` is the position.
    TurnedWindows(&'a Windows<'a, T>),
}

/// The windows of padded images, channels last. They overlap, and are never written out.
#[derive(Debug)]
pub struct Windows<'a, T> {
    pub images: &'a [T],
    /// The step from one image to the next.
    pub image: usize,
    /// The lines and columns of positions in an image.
    pub out: (usize, usize),
    /// The steps from one line of positions to the next, and from one column to the next.
    pub step: (usize, usize),
    /// Where each contiguous stretch of a window begins, counted from the window's first value.
    pub starts: Vec<usize>,
    /// The length of each stretch.
    pub length: usize,
}

impl<T> Windows<'_, T> {
    /// Where the window at a position begins.
    fn position(&self, at: usize) -> usize {
        let (lines, columns) = self.out;
        let (image, at) = (at / (lines * columns), at % (lines * columns));
        image * self.image + at / columns * self.step.0 + at % columns * self.step.1
    }

    /// Where a value of a window is, counted from the beginning of the window.
    fn value(&self, at: usize) -> usize {
        self.starts[at / self.length] + at % self.length
    }

    /// Whether `count` values from `first` on are in one stretch.
    fn are_together(&self, first: usize, count: usize) -> bool {
        first % self.length + count <= self.length
    }

    fn hold(&self, positions: usize, values: usize) -> bool {
        let (lines, columns) = self.out;
        if positions == 0 || values == 0 {
            return true;
        }
        let images = positions.div_ceil(lines * columns);
        let last = (images - 1) * self.image
            + (lines - 1) * self.step.0
            + (columns - 1) * self.step.1
            + self.starts.iter().max().map_or(0, |start| start + self.length);
        values <= self.starts.len() * self.length && last <= self.images.len()
    }
}

/// The `N` values from `first` on.
///
/// # Panics
/// If there are fewer.
fn adjacent<T, const N: usize>(values: &[T], first: usize) -> &[T; N] {
    values[first..].first_chunk().expect("the factor holds its lines")
}

impl<'a, T: Real> Factor<'a, T> {
    /// A factor whose lines are the rows of a matrix.
    pub fn rows(of: Matrix<'a, T>, lines: usize, depth: usize) -> Self {
        Self { entries: Entries::Matrix(of), lines, depth, scale: T::one() }
    }

    /// # Panics
    /// If entries are missing.
    pub fn check(&self) {
        let Self { lines, depth, .. } = *self;
        let holds = match self.entries {
            Entries::Matrix(of) => of.holds(lines, depth),
            Entries::Windows(of) => of.hold(lines, depth),
            Entries::TurnedWindows(of) => of.hold(depth, lines),
        };
        assert!(holds, "a factor of {lines} lines to a depth of {depth}");
    }

    /// Copies line `i` from depth `k` on, as far as the factor reaches; the rest of `line` is unchanged.
    pub fn copy(&self, i: usize, k: usize, line: &mut [T]) {
        let there = self.depth.saturating_sub(k).min(line.len());
        let line = &mut line[..there];
        if let Entries::Windows(of) = self.entries {
            let (at, mut k, mut line) = (of.position(i), k, line);
            while !line.is_empty() {
                let together = (of.length - k % of.length).min(line.len());
                let (stretch, rest) = line.split_at_mut(together);
                stretch.copy_from_slice(&of.images[at + of.value(k)..][..together]);
                (k, line) = (k + together, rest);
            }
            return;
        }
        for (k, value) in (k..).zip(line) {
            *value = self.entry(i, k);
        }
    }

    fn entry(&self, i: usize, k: usize) -> T {
        match self.entries {
            Entries::Matrix(of) => of.data[i * of.row + k * of.column],
            Entries::Windows(of) => of.images[of.position(i) + of.value(k)],
            Entries::TurnedWindows(of) => of.images[of.position(k) + of.value(i)],
        }
    }

    /// For each of `L` lines from `i` on, its `D` values from depth `k` on, if they are adjacent in memory.
    ///
    /// # Panics
    /// If the factor does not have these lines to this depth.
    pub fn along<const L: usize, const D: usize>(
        &self,
        i: usize,
        k: usize,
    ) -> Option<[&'a [T; D]; L]> {
        match self.entries {
            Entries::Matrix(of) if of.column == 1 => {
                Some(std::array::from_fn(|at| adjacent(of.data, (i + at) * of.row + k)))
            }
            Entries::Windows(of) if of.are_together(k, D) => {
                let value = of.value(k);
                Some(std::array::from_fn(|at| adjacent(of.images, of.position(i + at) + value)))
            }
            _ => None,
        }
    }

    /// For each of `D` depths from `k` on, the values of `L` lines from `i` on, if they are adjacent in memory.
    ///
    /// # Panics
    /// As [`along`](Self::along).
    pub fn across<const L: usize, const D: usize>(
        &self,
        i: usize,
        k: usize,
    ) -> Option<[&'a [T; L]; D]> {
        match self.entries {
            Entries::Matrix(of) if of.row == 1 => {
                Some(std::array::from_fn(|at| adjacent(of.data, i + (k + at) * of.column)))
            }
            Entries::TurnedWindows(of) if of.are_together(i, L) => {
                let value = of.value(i);
                Some(std::array::from_fn(|at| adjacent(of.images, of.position(k + at) + value)))
            }
            _ => None,
        }
    }
}
