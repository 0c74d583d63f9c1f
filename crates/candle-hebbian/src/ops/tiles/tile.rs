//! Tiles of bf16, of which both factors are made.

use std::mem::MaybeUninit;

/// Lines of a tile, and values of 32 bits in a line.
pub const LINES: usize = 16;
/// Rows and columns of the result that one product of tiles computes: two tiles in each direction.
pub const SIDE: usize = 2 * LINES;
/// Values of bf16 in a line of a tile.
pub const DEPTH: usize = 32;

/// 16 lines of 16 pairs of bf16, the contents of a register of the matrix unit.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile(pub [u32; LINES * LINES]);

/// The number of steps of the depth for which both panels hold two tiles of each part.
///
/// # Panics
/// If the panels are empty, of different sizes, or not whole steps.
pub fn steps<const PARTS: usize>(left: &[MaybeUninit<Tile>], right: &[MaybeUninit<Tile>]) -> usize {
    let steps = left.len() / (2 * PARTS);
    assert!(steps > 0 && left.len() == 2 * PARTS * steps && right.len() == left.len());
    steps
}

/// Allocates room for `count` tiles, or returns `None` if there is not enough memory.
pub fn room(count: usize) -> Option<Vec<MaybeUninit<Tile>>> {
    let mut room = Vec::new();
    room.try_reserve_exact(count).ok()?;
    // SAFETY: there is room for them, and they may hold anything.
    unsafe { room.set_len(count) };
    Some(room)
}
