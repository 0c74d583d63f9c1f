//! Replaces the products of bf16 on targets that have none.

use super::factor::Factor;
use crate::cpu::Real;

pub(super) fn has_unit() -> bool {
    false
}

pub(super) fn pays<T: Real>(_: [usize; 3]) -> bool {
    false
}

pub(super) fn product<T: Real>(_: Factor<T>, _: Factor<T>, _: bool, _: &mut [T]) -> usize {
    0
}
