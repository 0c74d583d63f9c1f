//! Reading images before they are needed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::lock::lock;
use crate::store::Store;

/// A thread that reads images ahead, in the order in which they will be asked for. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The state that the thread shares with the sets.
#[derive(Debug)]
pub(crate) struct Shared {
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
    ready: HashMap<usize, Option<Vec<u8>>>,
    /// No more images will come.
    has_ended: bool,
    /// No more images are wanted.
    is_left: bool,
}

/// The parts in which an order is read.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    /// Where each part of the order ends. Within a part, images are read block by block, because they may be
    /// read in any order.
    pub ends: Vec<usize>,
    /// How many images may be held; more only if a part is larger.
    pub most: usize,
}

impl Ahead {
    /// Starts to read, beginning with the batch at these places; `None` if no thread can be started.
    pub fn start(
        store: &Arc<Store>,
        order: Vec<usize>,
        parts: Parts,
        at: Range<usize>,
    ) -> Option<Self> {
        let state = State { at, ready: HashMap::new(), has_ended: false, is_left: false };
        let shared = Arc::new(Shared { order, state: Mutex::new(state), changed: Condvar::new() });
        let (theirs, source) = (shared.clone(), store.clone());
        let read = move || theirs.read_all(&source, &parts);
        let thread = Builder::new().name("read-ahead".to_string()).spawn(read).ok()?;
        store.follow(&shared);
        Some(Self { shared, thread: Some(thread) })
    }

    /// Tells the thread that the batch at these places is next and that earlier ones are no longer needed.
    pub fn go_to(&self, at: Range<usize>) {
        let mut state = lock(&self.shared.state);
        for place in state.at.start..at.start {
            state.ready.remove(&place);
        }
        state.at = at;
        self.shared.changed.notify_all();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        lock(&self.shared.state).is_left = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Images that the thread did not read are read when they are asked for.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// If the images of these indices are the batch that was handed out last, waits for them and copies them to
    /// `output`, one after another. Returns the positions in `wanted` of those that could not be read, or `None`
    /// if it is another batch.
    pub fn fill(&self, wanted: &[usize], output: &mut [u8]) -> Option<Vec<usize>> {
        let mut state = lock(&self.state);
        let at = state.at.clone();
        if wanted.is_empty() || self.order.get(at.clone()) != Some(wanted) {
            return None;
        }
        while !state.has_ended && !at.clone().all(|place| state.ready.contains_key(&place)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let images = output.chunks_exact_mut(output.len() / wanted.len()).zip(at).enumerate();
        let missing = images.filter_map(|(which, (image, place))| match state.ready.get(&place) {
            Some(Some(pixels)) => {
                image.copy_from_slice(pixels);
                None
            }
            Some(None) | None => Some(which),
        });
        Some(missing.collect())
    }

    fn read_all(&self, store: &Store, Parts { ends, most }: &Parts) {
        /// Says that no more images will come, however the reading ended.
        struct End<'a>(&'a Shared);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                lock(&self.0.state).has_ended = true;
                self.0.changed.notify_all();
            }
        }
        let _end = End(self);
        let mut start = 0;
        for &end in ends {
            for mut places in blocks(store, &self.order, start..end) {
                let Some(from) = self.room(start, places.len(), *most) else { return };
                places.retain(|&place| place >= from);
                self.read(store, &places);
            }
            start = end;
        }
    }

    /// Waits until there is room for `count` more images, or until the batches have reached the part that begins
    /// at place `part`. Returns the first place that is still wanted, or `None` if no more are.
    fn room(&self, part: usize, count: usize, most: usize) -> Option<usize> {
        let mut state = lock(&self.state);
        while !state.is_left && state.at.end <= part && state.ready.len() + count > most {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (!state.is_left).then_some(state.at.start)
    }

    fn read(&self, store: &Store, places: &[usize]) {
        let size = store.image_size();
        let mut pixels = vec![0; places.len() * size];
        let wanted = places.iter().map(|&place| self.order[place]);
        let is_read = store.read(wanted.zip(pixels.chunks_exact_mut(size)).collect()).is_ok();
        let mut state = lock(&self.state);
        for (&place, image) in places.iter().zip(pixels.chunks_exact(size)) {
            if place >= state.at.start {
                state.ready.insert(place, is_read.then(|| image.to_vec()));
            }
        }
        self.changed.notify_all();
    }
}

/// The places of a part of the order, grouped by block.
fn blocks(store: &Store, order: &[usize], part: Range<usize>) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = part.collect();
    if store.blocks().is_none() {
        return vec![places];
    }
    places.sort_by_key(|&place| order[place]);
    places
        .chunk_by(|&one, &next| store.block(order[one]) == store.block(order[next]))
        .map(<[usize]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::{Form, How};
    use crate::store::{Encoded, Pile};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// 200 pictures of one pixel; counts how many are read.
    #[derive(Debug)]
    struct Pixels(AtomicUsize);

    impl Pile for Pixels {
        fn len(&self) -> usize {
            200
        }

        fn blocks(&self) -> Option<&[usize]> {
            None
        }

        fn read(&self, wanted: &[usize]) -> crate::Result<Vec<Encoded>> {
            self.0.fetch_add(wanted.len(), Ordering::SeqCst);
            let mut png = std::io::Cursor::new(Vec::new());
            let picture = image::GrayImage::from_pixel(1, 1, image::Luma([wanted[0] as u8]));
            picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
            Ok(vec![Encoded::new(png.into_inner())])
        }

        fn place(&self, _: usize) -> (PathBuf, Option<usize>) {
            (PathBuf::new(), None)
        }
    }

    #[test]
    fn no_more_is_read_than_there_is_room_for() {
        let pile = Arc::new(Pixels(AtomicUsize::new(0)));
        let how = How { shape: (1, 1, 1), form: Form::AsTheyAre };
        let store = Arc::new(Store::in_files(pile.clone(), how, 0, 1));
        let order: Vec<usize> = (0..200).rev().collect();
        let parts = Parts { ends: (1..=20).map(|part| 10 * part).collect(), most: 30 };
        let ahead = Ahead::start(&store, order, parts, 0..5).unwrap();
        assert_eq!(store.pixels(&[199, 198, 197, 196, 195]).unwrap(), [199, 198, 197, 196, 195]);
        // Long enough to read all images if there were room.
        let wait = || std::thread::sleep(Duration::from_millis(100));
        wait();
        assert!(pile.0.load(Ordering::SeqCst) <= 30);
        ahead.go_to(100..105);
        assert_eq!(store.pixels(&[99, 98, 97, 96, 95]).unwrap(), [99, 98, 97, 96, 95]);
        wait();
        // Skipped images are not read, except in the part that had begun: 30 from 0 on, 30 from 100 on.
        assert!(pile.0.load(Ordering::SeqCst) <= 60);
        // The thread ends, even while it waits for room.
        drop(ahead);
        drop(store);
        assert_eq!(Arc::strong_count(&pile), 1);
    }
}
