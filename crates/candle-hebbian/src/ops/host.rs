//! Runs on the CPU what a device does not support.

use crate::device::{read, send};
use candle::{Result, Tensor};
use std::collections::BTreeSet;
use std::io::{Write, stderr};
use std::sync::{Mutex, PoisonError};

/// Runs `f` on the CPU with a copy of `tensor`, and moves the result to the device of `tensor`.
/// This is slow, so a line on stderr reports it the first time for each `op`.
pub(crate) fn on_host(
    op: &'static str,
    tensor: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let device = tensor.device();
    if is_first(op) {
        let place = device.location();
        let _ = writeln!(stderr(), "warning: {op} runs on the CPU, {place:?} does not have it");
    }
    send(&f(&read(tensor)?)?, device)
}

/// Whether this is the first call for `op`.
fn is_first(op: &'static str) -> bool {
    static SEEN: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn result_and_error_are_passed_on() -> Result<()> {
        let x = Tensor::new(&[1f32, 4.0], &Device::Cpu)?;
        let roots = on_host("a test's root", &x, Tensor::sqrt)?;
        assert_eq!(roots.to_vec1::<f32>()?, [1.0, 2.0]);
        let failed = on_host("a test's failure", &x, |_| candle::bail!("no root of this"));
        assert!(failed.unwrap_err().to_string().contains("no root of this"));
        Ok(())
    }

    #[test]
    fn each_op_is_named_once() {
        assert!(is_first("one op"));
        assert!(is_first("another op"));
        assert!(!is_first("one op") && !is_first("another op"));
    }
}
