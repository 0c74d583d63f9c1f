//! All integration tests of the library in one program, because each program links all dependencies.

mod candle_defects;
mod common;
mod equivalence;
mod exact;
mod feedback;
mod global_direction;
mod half;
#[path = "../../src/largest.rs"]
mod largest;
mod learning;
mod property;
mod rules;
mod single_precision;
mod sizes;
mod stack;
mod steps;
mod table;
mod values;
mod window_values;
mod without_unfolding;
