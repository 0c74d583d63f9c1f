//! The programs, as their users run them.

mod amit_cli;
mod common;
mod golkar_cli;
mod library;
mod miconi_cli;
mod own_rule;
mod residual_network;
mod softhebb_cli;
mod verify_cli;
