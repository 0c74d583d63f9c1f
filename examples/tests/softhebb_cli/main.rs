//! The real `softhebb` program, in folders of its own: what it writes, what it refuses, and what is
//! left when it is killed.

mod bad_data;
mod bad_input;
mod interrupted;
mod program;
mod runs;
mod shared;
