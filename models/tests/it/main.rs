//! All integration tests in one program, because each program links all dependencies.

mod akrout;
mod amit;
mod amit_linear;
mod amit_mixture;
mod blocks;
mod common;
mod devices;
mod ghl;
mod golden;
mod golkar;
mod golkar_digits;
mod input;
mod k_means;
mod krotov_hopfield;
mod miconi;
mod numpy;
mod patches;
mod patches_head;
mod preset_sizes;
mod presets;
mod pretrained;
mod pytorch;
mod record;
mod softhebb;
mod transfers;
mod zoo;
