//! Random numbers as NumPy's `RandomState` draws them, for numbers that others published.

use crate::common::Result;
use candle::{Device, Tensor};

/// NumPy's legacy generator: the Mersenne Twister MT19937, and normal numbers by the polar method.
pub struct Legacy {
    state: [u32; 624],
    next: usize,
    /// The second number of a pair.
    kept: Option<f64>,
}

impl Legacy {
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for at in 1..624 {
            let before: u32 = state[at - 1];
            let mixed = (before ^ (before >> 30)).wrapping_mul(1_812_433_253);
            state[at] = mixed.wrapping_add(at as u32);
        }
        Self { state, next: 624, kept: None }
    }

    fn word(&mut self) -> u32 {
        if self.next == 624 {
            for at in 0..624 {
                let joined =
                    self.state[at] & 0x8000_0000 | self.state[(at + 1) % 624] & 0x7fff_ffff;
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[at] = self.state[(at + 397) % 624] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    pub fn normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        loop {
            let (a, b) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = a * a + b * b;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.kept = Some(scale * a);
                return scale * b;
            }
        }
    }

    /// The numbers below `count` in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let mask = (last + 1).next_power_of_two() - 1;
            let at = loop {
                let drawn = self.word() as usize & mask;
                if drawn <= last {
                    break drawn;
                }
            };
            order.swap(at, last);
        }
        order
    }

    pub fn matrix(&mut self, deviation: f64, rows: usize, columns: usize) -> Result<Tensor> {
        let values: Vec<f64> = (0..rows * columns).map(|_| deviation * self.normal()).collect();
        Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
    }
}

/// `RandomState(1111).random_sample(2)` and `.normal(size=3)`, and `RandomState(0).permutation(10)`, of NumPy 2.4.
#[test]
fn the_legacy_generator_is_numpys() {
    let mut rng = Legacy::new(1111);
    assert_eq!([rng.uniform(), rng.uniform()], UNIFORM);
    let mut rng = Legacy::new(1111);
    assert_eq!([rng.normal(), rng.normal(), rng.normal()], NORMAL);
    assert_eq!(Legacy::new(0).permutation(10), [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]);
}

const UNIFORM: [f64; 2] = [0.09554919920876204, 0.9250037018616327];
const NORMAL: [f64; 3] = [-1.3000103150215676, -1.0729890356374097, 0.7901991944578705];
