//! The embedded digits, as networks see them.

use candle::{Device, Result, Tensor};
use candle_hebbian::Rng;

/// Pixels of a digit.
pub const PIXELS: usize = 64;
pub const CLASSES: usize = 10;
/// The most ink of a pixel.
const INK: f32 = 16.0;
/// For each digit, a label, then the ink of each pixel.
static RECORDS: &[u8] = include_bytes!("../../../crates/hebbian-data/data/digits.bin");

/// One digit, with ink from 0 to 1.
#[derive(Clone)]
pub struct Digit {
    pub ink: [f32; PIXELS],
    pub label: u32,
}

/// The 1,442 digits that are learned and the 355 that are held out, split as `hebbian_data::digits`
/// splits them: of each class every fifth is held out.
pub struct Digits {
    pub train: Vec<Digit>,
    pub test: Vec<Digit>,
}

impl Digits {
    pub fn embedded() -> Self {
        let (records, _) = RECORDS.as_chunks::<{ PIXELS + 1 }>();
        let mut seen = [0; CLASSES];
        let (test, train) = records.iter().map(digit).partition(|digit| {
            let seen = &mut seen[digit.label as usize];
            *seen += 1;
            *seen % 5 == 0
        });
        Self { train, test }
    }
}

fn digit(record: &[u8; PIXELS + 1]) -> Digit {
    let ink = std::array::from_fn(|at| f32::from(record[at + 1]) / INK);
    Digit { ink, label: u32::from(record[0]) }
}

/// Returns what networks see: the ink minus its mean, scaled to norm 1. All zeros for a blank image.
pub fn seen(ink: &[f32; PIXELS]) -> [f32; PIXELS] {
    let mean = ink.iter().sum::<f32>() / PIXELS as f32;
    let contrast = ink.map(|ink| ink - mean);
    let norm = contrast.iter().map(|x| x * x).sum::<f32>().sqrt();
    contrast.map(|x| x / norm.max(f32::MIN_POSITIVE))
}

/// Returns what networks see of each digit, `(N, 64)`.
pub fn rows(digits: &[Digit]) -> Result<Tensor> {
    let values: Vec<f32> = digits.iter().flat_map(|digit| seen(&digit.ink)).collect();
    Tensor::from_vec(values, (digits.len(), PIXELS), &Device::Cpu)
}

/// An endless iterator over the numbers below `count`: all of them in random order, then all in
/// another order.
pub struct Order {
    rng: Rng,
    count: usize,
    left: Vec<usize>,
}

impl Order {
    pub fn new(rng: Rng, count: usize) -> Self {
        Self { rng, count, left: Vec::new() }
    }
}

impl Iterator for Order {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left.is_empty() {
            self.left = self.rng.permutation(self.count);
        }
        self.left.pop()
    }
}
