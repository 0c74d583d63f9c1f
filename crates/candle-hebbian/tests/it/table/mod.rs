//! One table of every op, competition, rule and geometry (`entries`), and the checks of all of them: gradients, types,
//! layouts, empty batches, refusals, the same results by kernel and by composition, and the same on every device. A new
//! item needs only an entry; a public item without one fails `complete`.

mod broken;
mod cases;
mod complete;
mod each;
mod entries;
mod metamorphic;
mod rules;
mod windows;
