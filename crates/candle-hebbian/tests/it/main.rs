//! All tests of the library from outside, in one program: each program links all that is below it.

mod candle_defects;
mod common;
mod equivalence;
mod exact;
mod feedback;
mod global_direction;
mod learning;
mod property;
mod rules;
mod sizes;
mod stack;
mod steps;
mod table;
mod values;
mod window_values;
