//! The flags of each method.

mod amit;
mod golkar;
mod krotov_hopfield;
mod miconi;
mod patches;
mod softhebb;
