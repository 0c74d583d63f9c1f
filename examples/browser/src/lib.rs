//! What the page calls: two networks that learn the embedded digits, one digit a step.
//!
//! The page and this crate share memory: a pointer that is handed out is good until the next call.
//! What fails is 0, NaN or null, and [`message`] says why. Networks are numbered, 0 the layer and 1
//! the circuit.

mod choices;
mod circuit;
mod digits;
mod lab;
mod layer;
mod network;

use candle::Result;
use choices::Settings;
use lab::Lab;
use std::cell::RefCell;

thread_local! {
    static PAGE: RefCell<Page> = const { RefCell::new(Page { lab: None, values: Vec::new(), text: String::new() }) };
}

/// All that there is, with what was handed out last.
struct Page {
    lab: Option<Lab>,
    values: Vec<f32>,
    text: String,
}

/// Runs `f` on the networks, and keeps what it says when it fails.
fn with<T>(f: impl FnOnce(&mut Lab) -> Result<T>) -> Option<T> {
    PAGE.with_borrow_mut(|page| {
        let result = match &mut page.lab {
            Some(lab) => f(lab),
            None => Err(candle::Error::msg("start comes first")),
        };
        result.map_err(|error| page.text = candle_hebbian::without_backtrace(&error)).ok()
    })
}

/// The same for what is handed out as values.
fn values(f: impl FnOnce(&mut Lab) -> Result<Vec<f32>>) -> *const f32 {
    let Some(found) = with(f) else { return std::ptr::null() };
    PAGE.with_borrow_mut(|page| {
        page.values = found;
        page.values.as_ptr()
    })
}

/// Both networks with fresh weights.
#[unsafe(no_mangle)]
pub extern "C" fn start(seed: u32) -> bool {
    let lab = Lab::new(u64::from(seed));
    PAGE.with_borrow_mut(|page| match lab {
        Ok(lab) => {
            page.lab = Some(lab);
            true
        }
        Err(error) => {
            page.text = candle_hebbian::without_backtrace(&error);
            false
        }
    })
}

/// The rule by which the layer goes on.
#[unsafe(no_mangle)]
pub extern "C" fn set_rule(rule: usize) -> bool {
    with(|lab| lab.layer.set_rule(rule)).is_some()
}

/// The competition with which the layer goes on.
#[unsafe(no_mangle)]
pub extern "C" fn set_competition(competition: usize, temperature: f64, k: usize) -> bool {
    with(|lab| lab.set_competition(competition, Settings { temperature, k })).is_some()
}

/// Whether the hidden units of the layer learn.
#[unsafe(no_mangle)]
pub extern "C" fn set_plastic(plastic: bool) -> bool {
    with(|lab| {
        lab.layer.set_plastic(plastic);
        Ok(())
    })
    .is_some()
}

/// The rate of a network's hidden units.
#[unsafe(no_mangle)]
pub extern "C" fn set_rate(network: usize, rate: f64) -> bool {
    with(|lab| lab.set_rate(network, rate)).is_some()
}

/// Learns the next `count` digits.
#[unsafe(no_mangle)]
pub extern "C" fn learn(network: usize, count: usize) -> bool {
    with(|lab| lab.learn(network, count)).is_some()
}

/// How many digits a network has learned.
#[unsafe(no_mangle)]
pub extern "C" fn learned(network: usize) -> u32 {
    with(|lab| Ok(lab.learned(network))).unwrap_or(0)
}

/// The share of the digits that are held out which a network classifies correctly.
#[unsafe(no_mangle)]
pub extern "C" fn accuracy(network: usize) -> f64 {
    with(|lab| lab.accuracy(network)).unwrap_or(f64::NAN)
}

/// 64 weights for each of the 100 hidden units of a network.
#[unsafe(no_mangle)]
pub extern "C" fn filters(network: usize) -> *const f32 {
    values(|lab| lab.filters(network))
}

/// Where 64 pixels are read from: ink from 0 to 1.
#[unsafe(no_mangle)]
pub extern "C" fn pad() -> *mut f32 {
    with(|lab| Ok(lab.pad.as_mut_ptr())).unwrap_or(std::ptr::null_mut())
}

/// How many digits are held out.
#[unsafe(no_mangle)]
pub extern "C" fn held_out() -> usize {
    with(|lab| Ok(lab.held_out())).unwrap_or(0)
}

/// Puts a digit that is held out on the pad; its label.
#[unsafe(no_mangle)]
pub extern "C" fn show(at: usize) -> u32 {
    with(|lab| Ok(lab.show(at))).flatten().unwrap_or(0)
}

/// How much a network believes in each of the ten classes for what is on the pad, 0 to 1.
#[unsafe(no_mangle)]
pub extern "C" fn classify(network: usize) -> *const f32 {
    values(|lab| lab.classify(network))
}

/// Learns what is on the pad.
#[unsafe(no_mangle)]
pub extern "C" fn teach(network: usize, label: u32) -> bool {
    with(|lab| lab.teach(network, label)).is_some()
}

/// Rules and competitions: see `choices::listed`.
#[unsafe(no_mangle)]
pub extern "C" fn choices() -> *const u8 {
    PAGE.with_borrow_mut(|page| {
        page.text = choices::listed();
        page.text.as_ptr()
    })
}

/// Why the last call failed.
#[unsafe(no_mangle)]
pub extern "C" fn message() -> *const u8 {
    PAGE.with_borrow(|page| page.text.as_ptr())
}

/// Bytes of the text that was handed out last, in UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn text_length() -> usize {
    PAGE.with_borrow(|page| page.text.len())
}
