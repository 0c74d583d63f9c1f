//! Storage of the pixels of images: in memory, or in files until a batch needs them.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, Weak};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::lock::lock;
use crate::pictures::{How, Shape, refused};
use crate::ready::Ready;
use crate::{Error, ImageSet, Result};

/// The threads that read and decode files. They are separate from rayon's own pool, whose threads may be waiting
/// for the pictures.
static READERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let name = |at| format!("read-{at}");
    let threads = rayon::current_num_threads();
    ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build().ok()
});

/// The bytes of an encoded picture. They may be a part of what was read: copies of a picture to which many rows of a
/// table refer would take far more memory than the table.
pub(crate) struct Encoded(Box<dyn AsRef<[u8]> + Send + Sync>);

impl Encoded {
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Box::new(bytes))
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// A collection of encoded pictures in files.
pub(crate) trait Pile: std::fmt::Debug + Send + Sync {
    /// The number of pictures.
    fn len(&self) -> usize;

    /// Where each block of pictures that are read together begins, followed by the end of the last block; `None` if
    /// each picture is read by itself.
    fn blocks(&self) -> Option<&[usize]>;

    /// Reads the bytes of these pictures, which belong to one block, in order.
    fn read(&self, wanted: &[usize]) -> Result<Vec<Encoded>>;

    /// The file that holds a picture, and the row of the picture in it.
    fn place(&self, index: usize) -> (PathBuf, Option<usize>);

    /// Frees the memory of what was read before, if it is kept.
    fn release(&self) {}
}

/// Where the images of a store in memory were read from: the pile, and the index of each image in it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub pile: Arc<dyn Pile>,
    pub indices: Arc<Vec<usize>>,
}

/// Images of one shape, shared by sets.
#[derive(Debug)]
pub(crate) struct Store {
    shape: Shape,
    place: Place,
    /// For pixels in memory; `None` if they came from no pile.
    origin: Option<Origin>,
    /// The blocks as in [`Pile::blocks`], also for pixels in memory.
    blocks: Option<Vec<usize>>,
    /// How many images are held when the images are shuffled, if not all of them.
    buffer: usize,
    /// The images that are being read ahead.
    ahead: Mutex<Vec<Weak<Ready>>>,
}

#[derive(Debug)]
enum Place {
    /// One image after the other.
    Memory(Vec<u8>),
    Files {
        pile: Arc<dyn Pile>,
        how: How,
        /// The most bytes of pixels that may be in memory.
        memory: u64,
    },
    /// Sets, one after the other.
    Several(Vec<ImageSet>),
}

/// The index of a requested image, and where its pixels go.
pub(crate) type Job<'a> = (usize, &'a mut [u8]);

impl Store {
    /// Stores images in memory; their number must fit.
    pub fn in_memory(pixels: Vec<u8>, shape: Shape) -> Self {
        Self::new(shape, Place::Memory(pixels), None, usize::MAX)
    }

    /// Stores images that stay in files.
    pub fn in_files(pile: Arc<dyn Pile>, how: How, memory: u64, buffer: usize) -> Self {
        let blocks = pile.blocks().map(<[usize]>::to_vec);
        Self::new(how.shape, Place::Files { pile, how, memory }, blocks, buffer)
    }

    /// Stores the images of sets of one shape.
    pub fn several(sets: Vec<ImageSet>, shape: Shape) -> Self {
        let mut blocks: Option<Vec<usize>> = None;
        if sets.iter().any(|set| set.runs().is_some()) {
            let (mut all, mut before) = (vec![0], 0);
            for set in &sets {
                let runs = set.runs().unwrap_or_else(|| (0..=set.len()).collect());
                all.extend(runs.iter().skip(1).map(|end| before + end));
                before += set.len();
            }
            blocks = Some(all);
        }
        let buffer = sets.iter().map(|set| set.store().buffer).min().unwrap_or(usize::MAX);
        Self::new(shape, Place::Several(sets), blocks, buffer)
    }

    fn new(shape: Shape, place: Place, blocks: Option<Vec<usize>>, buffer: usize) -> Self {
        Self { shape, place, origin: None, blocks, buffer, ahead: Mutex::default() }
    }

    /// The same images, which are in memory and were read from there.
    pub fn with_origin(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The file that holds an image, and the row of the image in it if that is a table; `None` if the image came from
    /// somewhere else.
    pub fn file(&self, index: usize) -> Option<(PathBuf, Option<usize>)> {
        match &self.place {
            Place::Memory(_) => {
                self.origin.as_ref().map(|from| from.pile.place(from.indices[index]))
            }
            Place::Files { pile, .. } => Some(pile.place(index)),
            Place::Several(sets) => {
                let mut first = 0;
                sets.iter().find_map(|set| match index < first + set.len() {
                    true => Some(set.file(index - first)),
                    false => {
                        first += set.len();
                        None
                    }
                })?
            }
        }
    }

    /// The same images with these blocks and this buffer.
    pub fn with_blocks(self, blocks: Option<Vec<usize>>, buffer: usize) -> Self {
        Self { blocks, buffer, ..self }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn blocks(&self) -> Option<&[usize]> {
        self.blocks.as_deref()
    }

    pub fn buffer(&self) -> usize {
        self.buffer
    }

    /// The block that contains an image.
    pub fn block(&self, index: usize) -> usize {
        self.blocks.as_ref().map_or(index, |starts| starts.partition_point(|&start| start <= index))
    }

    /// The pixels, or `None` if they are not in memory.
    pub fn pixels_in_memory(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Memory(pixels) => Some(pixels),
            Place::Files { .. } | Place::Several(_) => None,
        }
    }

    /// Whether this many bytes of pixels may be in memory.
    pub fn may_hold(&self, bytes: u64) -> bool {
        match &self.place {
            Place::Memory(_) => true,
            Place::Files { memory, .. } => bytes <= *memory,
            Place::Several(sets) => sets.iter().all(|set| set.store().may_hold(bytes)),
        }
    }

    /// The bytes of an image.
    pub fn image_size(&self) -> usize {
        let (channels, height, width) = self.shape;
        channels * height * width
    }

    /// Registers a thread that reads ahead, whose images are then used.
    pub fn follow(&self, ahead: &Arc<Ready>) {
        let mut all = lock(&self.ahead);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(ahead));
    }

    /// Returns the pixels of these images, one after another.
    pub fn pixels(&self, wanted: &[usize]) -> Result<Vec<u8>> {
        let size = self.image_size();
        if let Place::Memory(pixels) = &self.place {
            let mut output = Vec::with_capacity(wanted.len() * size);
            wanted.iter().for_each(|&i| output.extend_from_slice(&pixels[i * size..][..size]));
            return Ok(output);
        }
        let mut output = Vec::new();
        let bytes = wanted.len().saturating_mul(size);
        output.try_reserve_exact(bytes).map_err(|_| {
            let (channels, height, width) = self.shape;
            Error::Memory { images: wanted.len(), channels, height, width, bytes }
        })?;
        output.resize(bytes, 0);
        let ahead: Vec<_> = lock(&self.ahead).iter().filter_map(Weak::upgrade).collect();
        let missing = ahead.iter().find_map(|ahead| ahead.fill(wanted, &mut output));
        let jobs = wanted.iter().copied().zip(output.chunks_exact_mut(size)).enumerate();
        let jobs = jobs.filter(|(at, _)| missing.as_ref().is_none_or(|these| these.contains(at)));
        self.read(jobs.map(|(_, job)| job).collect())?;
        Ok(output)
    }

    /// Reads images now, ignoring what was read ahead.
    pub fn read(&self, mut jobs: Vec<Job<'_>>) -> Result<()> {
        jobs.sort_by_key(|(index, _)| *index);
        match &self.place {
            Place::Memory(pixels) => {
                let size = self.image_size();
                jobs.into_iter()
                    .for_each(|(i, to)| to.copy_from_slice(&pixels[i * size..][..size]));
                Ok(())
            }
            Place::Files { pile, how, .. } => match &*READERS {
                Some(readers) => readers.install(|| read(&**pile, how, &self.blocks, jobs)),
                None => read(&**pile, how, &self.blocks, jobs),
            },
            Place::Several(sets) => {
                let mut first = 0;
                for set in sets {
                    let rest =
                        jobs.split_off(jobs.partition_point(|&(i, _)| i < first + set.len()));
                    let wanted: Vec<usize> = jobs.iter().map(|&(i, _)| i - first).collect();
                    let found = set.pixels(&wanted)?;
                    let images = found.chunks_exact(self.image_size());
                    jobs.into_iter()
                        .zip(images)
                        .for_each(|((_, to), image)| to.copy_from_slice(image));
                    jobs = rest;
                    first += set.len();
                }
                Ok(())
            }
        }
    }
}

/// Reads pictures of a pile, in the order of their indices.
fn read(pile: &dyn Pile, how: &How, blocks: &Option<Vec<usize>>, jobs: Vec<Job<'_>>) -> Result<()> {
    let decode = |index: usize, bytes: &[u8], pixels: &mut [u8]| {
        how.decode(bytes, pixels).map_err(|problem| refused(pile.place(index), problem))
    };
    let Some(starts) = blocks else {
        let one = |(index, pixels): Job<'_>| match pile.read(&[index])?.first() {
            Some(bytes) => decode(index, bytes.as_ref(), pixels),
            None => Ok(()),
        };
        return first_error(jobs.into_par_iter().map(one).collect());
    };
    let mut jobs = jobs.into_iter().peekable();
    while let Some(&(first, _)) = jobs.peek() {
        let end = starts[starts.partition_point(|&start| start <= first).min(starts.len() - 1)];
        let mut block = Vec::new();
        while let Some(job) = jobs.next_if(|&(index, _)| index < end) {
            block.push(job);
        }
        let wanted: Vec<usize> = block.iter().map(|&(index, _)| index).collect();
        let encoded = pile.read(&wanted)?;
        let one =
            |((index, pixels), bytes): (Job<'_>, Encoded)| decode(index, bytes.as_ref(), pixels);
        first_error(block.into_par_iter().zip(encoded).map(one).collect())?;
    }
    Ok(())
}

/// The error of the lowest index, whichever occurred first.
fn first_error(all: Vec<Result<(), Error>>) -> Result<()> {
    all.into_iter().collect()
}
