//! Reading images before they are needed.

use std::ops::Range;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::ready::Ready;
use crate::store::Store;

/// A thread that reads images ahead, in the order in which they will be asked for. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    ready: Arc<Ready>,
    thread: Option<JoinHandle<()>>,
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
        let ready = Arc::new(Ready::new(order, at));
        let (theirs, source) = (ready.clone(), store.clone());
        let read = move || read_all(&source, &parts, &theirs);
        let thread = Builder::new().name("read-ahead".to_string()).spawn(read).ok()?;
        store.follow(&ready);
        Some(Self { ready, thread: Some(thread) })
    }

    /// Tells the thread that the batch at these places is next and that earlier ones are no longer needed.
    pub fn go_to(&self, at: Range<usize>) {
        self.ready.go_to(at);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.ready.leave();
        if let Some(thread) = self.thread.take() {
            // Images that the thread did not read are read when they are asked for.
            let _ = thread.join();
        }
    }
}

/// Reads the images of an order, part by part, as far as there is room for them.
fn read_all(store: &Store, Parts { ends, most }: &Parts, ready: &Ready) {
    /// Says that no more images will come, however the reading ended.
    struct End<'a>(&'a Ready);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _end = End(ready);
    let mut start = 0;
    for &end in ends {
        for mut places in blocks(store, ready.order(), start..end) {
            let Some(from) = ready.room(start, places.len(), *most) else { return };
            places.retain(|&place| place >= from);
            read(store, &places, ready);
        }
        start = end;
    }
}

fn read(store: &Store, places: &[usize], ready: &Ready) {
    let size = store.image_size();
    let mut pixels = vec![0; places.len() * size];
    let wanted = places.iter().map(|&place| ready.order()[place]);
    let is_read = store.read(wanted.zip(pixels.chunks_exact_mut(size)).collect()).is_ok();
    let images = pixels.chunks_exact(size).map(|image| is_read.then_some(image));
    ready.add(places.iter().copied().zip(images));
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
