//! How a time is measured.

use anyhow::Result;
use candle::Device;
use std::time::{Duration, Instant};

/// How long work is repeated before it is timed: what others left in the caches, and threads that were asleep, say
/// nothing about steps that follow each other.
const WARM_UP: Duration = Duration::from_millis(100);

/// Returns how many milliseconds `run` takes until the device is done, as the mean of as many times as take five.
pub(super) fn time(device: &Device, run: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let (started, mut warm) = (Instant::now(), 0_u32);
    while started.elapsed() < WARM_UP {
        run()?;
        device.synchronize()?;
        warm += 1;
    }
    let once = 1e3 * started.elapsed().as_secs_f64() / f64::from(warm);
    let count = (5.0 / once).ceil().clamp(1.0, 1e4) as u32;
    let started = Instant::now();
    for _ in 0..count {
        run()?;
        device.synchronize()?;
    }
    Ok(1e3 * started.elapsed().as_secs_f64() / f64::from(count))
}

/// Returns the median of values, `None` if there are none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
