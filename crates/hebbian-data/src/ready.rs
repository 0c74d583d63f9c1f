//! Images that were read before they are needed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::lock::lock;

/// The images that a thread has read ahead, which it shares with the sets.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Indices into the store, in the order in which the images will be asked for.
    order: Vec<usize>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The places in the order of the batch that was handed out last.
    at: Range<usize>,
    /// The pixels of images by their place in the order; `None` for an image that could not be read. A batch
    /// that needs such an image reads it again and gets the error.
    images: HashMap<usize, Option<Vec<u8>>>,
    /// No more images will come.
    has_ended: bool,
    /// No more images are wanted.
    is_left: bool,
}

impl Ready {
    /// Nothing yet of the images of an order, of which the batch at these places is the first.
    pub fn new(order: Vec<usize>, at: Range<usize>) -> Self {
        let state = State { at, images: HashMap::new(), has_ended: false, is_left: false };
        Self { order, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Drops the images before the batch at these places, which is next.
    pub fn go_to(&self, at: Range<usize>) {
        let mut state = lock(&self.state);
        for place in state.at.start..at.start {
            state.images.remove(&place);
        }
        state.at = at;
        self.changed.notify_all();
    }

    /// Tells the thread that no more images are wanted.
    pub fn leave(&self) {
        lock(&self.state).is_left = true;
        self.changed.notify_all();
    }

    /// Tells the sets that no more images will come.
    pub fn end(&self) {
        lock(&self.state).has_ended = true;
        self.changed.notify_all();
    }

    /// If the images of these indices are the batch that was handed out last, waits for them and copies them to
    /// `output`, one after another. Returns the positions in `wanted` of those that could not be read, or `None`
    /// if it is another batch.
    pub fn fill(&self, wanted: &[usize], output: &mut [u8]) -> Option<Vec<usize>> {
        let mut state = lock(&self.state);
        let at = state.at.clone();
        if wanted.is_empty() || self.order.get(at.clone()) != Some(wanted) {
            return None;
        }
        while !state.has_ended && !at.clone().all(|place| state.images.contains_key(&place)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let images = output.chunks_exact_mut(output.len() / wanted.len()).zip(at).enumerate();
        let missing = images.filter_map(|(which, (image, place))| match state.images.get(&place) {
            Some(Some(pixels)) => {
                image.copy_from_slice(pixels);
                None
            }
            Some(None) | None => Some(which),
        });
        Some(missing.collect())
    }

    /// Waits until there is room for `count` more images, or until the batches have reached the part that begins
    /// at place `part`. Returns the first place that is still wanted, or `None` if no more are.
    pub fn room(&self, part: usize, count: usize, most: usize) -> Option<usize> {
        let mut state = lock(&self.state);
        while !state.is_left && state.at.end <= part && state.images.len() + count > most {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.is_left).then_some(state.at.start)
    }

    /// Adds copies of images by their places, without those that are no longer wanted.
    pub fn add<'a>(&self, images: impl Iterator<Item = (usize, Option<&'a [u8]>)>) {
        let mut state = lock(&self.state);
        let first = state.at.start;
        let wanted = images.filter(|&(place, _)| place >= first);
        state.images.extend(wanted.map(|(place, image)| (place, image.map(<[u8]>::to_vec))));
        self.changed.notify_all();
    }
}
