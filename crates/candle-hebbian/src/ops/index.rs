//! Index tensors, made once.
//!
//! Without a kernel, windows and padding read their input by index. The indices depend only on the sizes,
//! which are the same at every step. But making a tensor from host memory is a transfer, which on a GPU
//! waits for the device and is refused while a graph is captured. So the tensors are kept, by device and
//! indices, and the least recently used ones are dropped when they hold too much.

use crate::device::upload;
use crate::memory;
use candle::{DType, Device, Result, Tensor};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Returns `places` as a tensor on `device`: the kept tensor if there is one, else a new one.
pub(crate) fn index(places: &[u32], device: &Device) -> Result<Tensor> {
    KEPT.get(places, device)
}

/// Returns the u32 numbers from 0 to `count` − 1 on `device`. They are made once and kept for the next call, since
/// `Tensor::arange` makes them on the host.
///
/// # Errors
/// If `count` is not a u32, or there is no memory for so many numbers.
pub fn numbers(count: usize, device: &Device) -> Result<Tensor> {
    memory::check("numbers", &[count], DType::U32, &Device::Cpu)?;
    let Ok(count) = u32::try_from(count) else {
        candle::bail!("numbers: found a count of {count}, expected at most {} (u32)", u32::MAX)
    };
    index(&(0..count).collect::<Vec<_>>(), device)
}

/// 4 MiB of indices.
static KEPT: Kept = Kept::new(1 << 20);

/// The kept tensors, the most recently used last.
struct Kept {
    /// The most indices to keep, over all tensors.
    most: usize,
    made: Mutex<VecDeque<Made>>,
}

struct Made {
    places: Vec<u32>,
    tensor: Tensor,
}

impl Kept {
    const fn new(most: usize) -> Self {
        Self { most, made: Mutex::new(VecDeque::new()) }
    }

    fn get(&self, places: &[u32], device: &Device) -> Result<Tensor> {
        // A panic elsewhere leaves only whole entries behind, since each is moved in one step.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |made: &Made| made.places == places && made.tensor.device().same_device(device);
        if let Some(at) = made.iter().rposition(is_it) {
            let used = made.remove(at);
            made.extend(used);
        } else {
            #[cfg(test)]
            tests::MADE.set(tests::MADE.get() + 1);
            let tensor = upload(places.to_vec(), places.len(), device)?;
            made.push_back(Made { places: places.to_vec(), tensor });
        }
        let latest = made.back().map(|latest| latest.tensor.clone());
        let mut held: usize = made.iter().map(|made| made.places.len()).sum();
        while held > self.most
            && let Some(oldest) = made.pop_front()
        {
            held -= oldest.places.len();
        }
        latest.map_or_else(|| upload(places.to_vec(), places.len(), device), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{
        Edge, Sites, Ties, avg_pool2d, composed, max_pool2d, max_pool2d_same, pad_reflect, unfold,
    };
    use crate::{Conv2dConfig, Rng};
    use candle::{DType, Var};
    use std::cell::Cell;

    thread_local! {
        /// How many index tensors this thread made.
        pub(super) static MADE: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn the_longest_unused_go_first() -> Result<()> {
        let kept = Kept::new(6);
        let get = |places: &[u32]| kept.get(places, &Device::Cpu);
        let made_by = |f: &dyn Fn() -> Result<Tensor>| -> Result<usize> {
            let before = MADE.get();
            f()?;
            Ok(MADE.get() - before)
        };
        let (a, b, c) = ([0u32, 1, 2], [0u32, 1, 3], [7u32]);
        assert_eq!(get(&a)?.to_vec1::<u32>()?, a);
        assert_eq!(get(&a)?.id(), get(&a)?.id());
        assert_eq!(made_by(&|| get(&b))?, 1);
        assert_eq!(made_by(&|| get(&a))?, 0); // b is the older one now
        assert_eq!(made_by(&|| get(&c))?, 1); // seven indices are one too many
        assert_eq!(made_by(&|| get(&a))?, 0);
        assert_eq!(made_by(&|| get(&b))?, 1);
        // A tensor of more indices than are kept at all is made each time, and evicts all others.
        let long: Vec<u32> = (0..7).collect();
        assert_eq!(made_by(&|| get(&long))?, 1);
        assert_eq!(get(&long)?.to_vec1::<u32>()?, long);
        assert_eq!(made_by(&|| get(&long))?, 1);
        Ok(())
    }

    #[test]
    fn numbers_from_zero() -> Result<()> {
        assert_eq!(numbers(3, &Device::Cpu)?.to_vec1::<u32>()?, [0, 1, 2]);
        assert_eq!(numbers(0, &Device::Cpu)?.dims(), [0]);
        assert!(numbers(1 << 32, &Device::Cpu).is_err());
        Ok(())
    }

    /// For every op that reads by index, a second, equal step forward and backward makes no index tensor.
    #[test]
    fn a_second_step_makes_none() -> Result<()> {
        type Step = fn(&Tensor) -> Result<Tensor>;
        fn config() -> Conv2dConfig {
            Conv2dConfig { stride: 2, padding: 1, ..Default::default() }
        }
        let steps: [(&str, Step); 6] = [
            ("unfold", |x| unfold(x, (3, 2), &config(), Sites::Groups(1))),
            ("untied", |x| unfold(x, (3, 2), &config(), Sites::Positions)),
            ("pad_reflect", |x| pad_reflect(x, 2)),
            ("max_pool2d", |x| max_pool2d(x, 3, 2, 1, Ties::All)),
            ("same", |x| max_pool2d_same(x, 3, 2, Edge::Zeros, Ties::First)),
            ("avg_pool2d", |x| avg_pool2d(x, 3, 2, 1)),
        ];
        let mut rng = Rng::new(1);
        // A size that no other test uses, so that the first step makes some index tensors.
        let x = rng.normal(0.0, 1.0, (2, 3, 37, 41), DType::F32, &Device::Cpu)?;
        composed(|| {
            for (name, step) in steps {
                let mut made = [0; 2];
                for made in &mut made {
                    let before = MADE.get();
                    step(Var::from_tensor(&x)?.as_tensor())?.sum_all()?.backward()?;
                    *made = MADE.get() - before;
                }
                assert!(made[1] == 0, "{name}: {made:?}");
            }
            assert!(MADE.get() > 0);
            Ok(())
        })
    }
}
