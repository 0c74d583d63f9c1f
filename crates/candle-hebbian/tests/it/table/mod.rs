//! One table of every op, competition, rule and geometry (`entries`), and what is asked of all of them:
//! gradients, types, layouts, empty batches, refusals, the same by kernel and by composition, the same
//! on every device. An entry is all that a new one needs; a public item without one fails `complete`.

mod broken;
mod cases;
mod complete;
mod each;
mod entries;
mod metamorphic;
mod rules;
mod windows;
