//! The matrix unit: whether it is available, its registers, and the product of a row of tiles and a column of tiles.
//!
//! rustc has no stable functions for its instructions. Their names and meanings are those of Intel's manual (Software
//! Developer's Manual, volume 2, "Advanced Matrix Extensions").

use super::tile::{LINES, Tile, steps};
use super::vectors;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

/// Whether the processor has the unit and the vectors to fill it, and the system lets this process use it.
pub fn is_there() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| {
        let features = __cpuid_count(7, 0).edx;
        let (bf16, tile) = (1 << 22, 1 << 24);
        let unit = features & bf16 != 0 && features & tile != 0;
        unit && vectors::are_there() && permitted()
    });
    *THERE
}

/// Asks Linux for the state of the tile registers, which it saves only for processes that asked for it.
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_int = 18;
    // SAFETY: the call reads and writes no memory of this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes_of_a_line: [u16; 16],
    lines: [u8; 16],
}

/// Eight registers of 16 lines of 64 bytes.
static CONFIGURATION: Configuration = {
    let (mut bytes_of_a_line, mut lines) = ([0; 16], [0; 16]);
    let mut at = 0;
    while at < 8 {
        (bytes_of_a_line[at], lines[at]) = (64, 16);
        at += 1;
    }
    Configuration { palette: 1, start: 0, reserved: [0; 14], bytes_of_a_line, lines }
};

/// A guard: while it lives, this thread's registers are ready. Afterwards they need not be saved any more.
pub struct Ready(());

impl Ready {
    /// # Panics
    /// If there is no matrix unit.
    pub fn new() -> Self {
        assert!(is_there(), "a matrix unit");
        // SAFETY: the unit is available, and the configuration is valid and has 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // SAFETY: the unit is available. No register is in use between two calls of `multiply`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Joins instructions, one a line.
macro_rules! lines {
    ($($line:expr),* $(,)?) => { concat!($($line, "\n"),*) };
}

/// Loads part `$part` of the two left tiles of a step.
macro_rules! left {
    ($part:literal) => {
        lines!(
            concat!("tileloadd tmm4, [{left} + {line} + 2048 * ", $part, "]"),
            concat!("tileloadd tmm5, [{left} + {line} + 2048 * ", $part, " + 1024]"),
        )
    };
}

/// Loads part `$part` of the two right tiles of a step.
macro_rules! right {
    ($part:literal) => {
        lines!(
            concat!("tileloadd tmm6, [{right} + {line} + 2048 * ", $part, "]"),
            concat!("tileloadd tmm7, [{right} + {line} + 2048 * ", $part, " + 1024]"),
        )
    };
}

/// Adds the products of the parts that are loaded to the four sums.
macro_rules! add {
    () => {
        lines!(
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
        )
    };
}

/// The whole product: `$step` has the instructions of one step, and `$bytes` is the size of its tiles on each side.
macro_rules! product {
    ($step:expr, $bytes:literal) => {
        lines!(
            "test {adds}, {adds}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{upper} + {width}]",
            "tileloadd tmm1, [{upper} + {width} + 64]",
            "tileloadd tmm2, [{lower} + {width}]",
            "tileloadd tmm3, [{lower} + {width} + 64]",
            "3:",
            $step,
            concat!("add {left}, ", $bytes),
            concat!("add {right}, ", $bytes),
            "dec {steps}",
            "jnz 3b",
            "tilestored [{upper} + {width}], tmm0",
            "tilestored [{upper} + {width} + 64], tmm1",
            "tilestored [{lower} + {width}], tmm2",
            "tilestored [{lower} + {width} + 64], tmm3",
        )
    };
}

/// Computes `out = left·right`, `SIDE` lines of `SIDE` values, whose lines are `width` values apart. If `adds`, the
/// product is added to `out` instead.
///
/// `left` and `right` hold two tiles for each step of the depth and each of the `PARTS` parts of the values, the
/// largest part first. Only products of parts that are no smaller than the last part are summed: `hh` for one part;
/// `hh + hm + mh` for two; `hh + hl + hm + mm + mh + lh` for three.
///
/// # Safety
/// All tiles must have been written, the lines of `out` must be readable and writable, and a [`Ready`] must live on
/// this thread.
///
/// # Panics
/// If the numbers of tiles do not match, or `PARTS` is not one, two or three.
#[inline]
pub unsafe fn multiply<const PARTS: usize>(
    left: &[MaybeUninit<Tile>],
    right: &[MaybeUninit<Tile>],
    out: *mut f32,
    width: usize,
    adds: bool,
) {
    let steps = steps::<PARTS>(left, right);
    macro_rules! run {
        ($text:expr) => {
            asm!(
                $text,
                left = inout(reg) left.as_ptr() => _,
                right = inout(reg) right.as_ptr() => _,
                steps = inout(reg) steps => _,
                line = in(reg) 64usize,
                upper = in(reg) out,
                lower = in(reg) out.wrapping_add(LINES * width),
                width = in(reg) width * size_of::<f32>(),
                adds = in(reg) usize::from(adds),
                options(nostack),
            )
        };
    }
    // SAFETY: the tiles are read up to the end of `left` and `right`, as asserted; the caller ensures that `out` is
    // valid.
    unsafe {
        match PARTS {
            1 => run!(product!(lines!(left!(0), right!(0), add!()), 2048)),
            2 => run!(product!(
                lines!(left!(0), right!(1), add!(), right!(0), add!(), left!(1), add!()),
                4096
            )),
            3 => run!(product!(
                lines!(
                    left!(0),
                    right!(0),
                    add!(),
                    right!(2),
                    add!(),
                    right!(1),
                    add!(),
                    left!(1),
                    add!(),
                    right!(0),
                    add!(),
                    left!(2),
                    add!(),
                ),
                6144
            )),
            parts => panic!("{parts} parts of a value"),
        }
    }
}
