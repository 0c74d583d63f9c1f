//! The flags of each method.

mod amit;
mod ghl;
mod golkar;
mod krotov_hopfield;
mod miconi;
mod patches;
mod softhebb;
