//! The functions that the page calls: two networks that learn the embedded digits, one digit per step.
//!
//! The page and this crate share memory: a pointer that a function returns is valid until the next
//! call. A function that fails returns false, 0, NaN or null, and [`message`] says why. Networks
//! are numbered: 0 is the layer and 1 the circuit.

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

/// The state of the page, with the values and the text that were returned last.
struct Page {
    lab: Option<Lab>,
    values: Vec<f32>,
    text: String,
}

/// Runs `f` on the networks, and keeps the message if it fails.
fn with<T>(f: impl FnOnce(&mut Lab) -> Result<T>) -> Option<T> {
    PAGE.with_borrow_mut(|page| {
        let result = match &mut page.lab {
            Some(lab) => f(lab),
            None => Err(candle::Error::msg("start comes first")),
        };
        result.map_err(|error| page.text = candle_hebbian::without_backtrace(&error)).ok()
    })
}

/// Runs `f` on the networks, keeps the values that it returns, and returns a pointer to them.
fn values(f: impl FnOnce(&mut Lab) -> Result<Vec<f32>>) -> *const f32 {
    let Some(found) = with(f) else { return std::ptr::null() };
    PAGE.with_borrow_mut(|page| {
        page.values = found;
        page.values.as_ptr()
    })
}

/// Creates both networks, with fresh weights.
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

/// Sets the rule with which the layer continues.
#[unsafe(no_mangle)]
pub extern "C" fn set_rule(rule: usize) -> bool {
    with(|lab| lab.layer.set_rule(rule)).is_some()
}

/// Sets the competition with which the layer continues.
#[unsafe(no_mangle)]
pub extern "C" fn set_competition(competition: usize, temperature: f64, k: usize) -> bool {
    with(|lab| lab.set_competition(competition, Settings { temperature, k })).is_some()
}

/// Sets whether the hidden units of the layer learn.
#[unsafe(no_mangle)]
pub extern "C" fn set_plastic(plastic: bool) -> bool {
    with(|lab| {
        lab.layer.set_plastic(plastic);
        Ok(())
    })
    .is_some()
}

/// Sets the learning rate of a network's hidden units.
#[unsafe(no_mangle)]
pub extern "C" fn set_rate(network: usize, rate: f64) -> bool {
    with(|lab| lab.set_rate(network, rate)).is_some()
}

/// Learns the next `count` digits.
#[unsafe(no_mangle)]
pub extern "C" fn learn(network: usize, count: usize) -> bool {
    with(|lab| lab.learn(network, count)).is_some()
}

/// Returns how many digits a network has learned.
#[unsafe(no_mangle)]
pub extern "C" fn learned(network: usize) -> u32 {
    with(|lab| Ok(lab.learned(network))).unwrap_or(0)
}

/// Returns the share of the held-out digits that a network classifies correctly.
#[unsafe(no_mangle)]
pub extern "C" fn accuracy(network: usize) -> f64 {
    with(|lab| lab.accuracy(network)).unwrap_or(f64::NAN)
}

/// Returns 64 weights for each of the 100 hidden units of a network.
#[unsafe(no_mangle)]
pub extern "C" fn filters(network: usize) -> *const f32 {
    values(|lab| lab.filters(network))
}

/// Returns where the 64 pixels of the pad are read from: ink from 0 to 1.
#[unsafe(no_mangle)]
pub extern "C" fn pad() -> *mut f32 {
    with(|lab| Ok(lab.pad.as_mut_ptr())).unwrap_or(std::ptr::null_mut())
}

/// Returns how many digits are held out.
#[unsafe(no_mangle)]
pub extern "C" fn held_out() -> usize {
    with(|lab| Ok(lab.held_out())).unwrap_or(0)
}

/// Puts a held-out digit on the pad, and returns its label.
#[unsafe(no_mangle)]
pub extern "C" fn show(at: usize) -> u32 {
    with(|lab| Ok(lab.show(at))).flatten().unwrap_or(0)
}

/// Returns how strongly a network believes in each of the ten classes for the digit on the pad,
/// from 0 to 1.
#[unsafe(no_mangle)]
pub extern "C" fn classify(network: usize) -> *const f32 {
    values(|lab| lab.classify(network))
}

/// Learns the digit on the pad.
#[unsafe(no_mangle)]
pub extern "C" fn teach(network: usize, label: u32) -> bool {
    with(|lab| lab.teach(network, label)).is_some()
}

/// Returns the rules and competitions as text: see `choices::listed`.
#[unsafe(no_mangle)]
pub extern "C" fn choices() -> *const u8 {
    PAGE.with_borrow_mut(|page| {
        page.text = choices::listed();
        page.text.as_ptr()
    })
}

/// Returns why the last call failed.
#[unsafe(no_mangle)]
pub extern "C" fn message() -> *const u8 {
    PAGE.with_borrow(|page| page.text.as_ptr())
}

/// Returns the length of the text that was returned last, in bytes of UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn text_length() -> usize {
    PAGE.with_borrow(|page| page.text.len())
}
