//! Changes that all images of a set go through when it is resized.

use image::GrayImage;
use rayon::prelude::*;

use crate::pictures::{Shape, square};
use crate::store::Store;
use crate::{Error, Result};

/// A change that each image goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// See [`ImageSet::resized`](crate::ImageSet::resized).
    Side {
        /// The height and width of the result.
        side: usize,
        /// The height and width before it is cropped to that.
        size: (u32, u32),
    },
}

impl Change {
    /// The shape that images of this shape get.
    pub fn shape(self, (channels, _, _): Shape) -> Shape {
        match self {
            Self::Side { side, .. } => (channels, side, side),
        }
    }

    /// Changes images of this shape, given their pixels.
    pub fn apply(self, pixels: &[u8], shape: Shape) -> Result<Vec<u8>> {
        let size = |(channels, height, width): Shape| channels * height * width;
        let new = self.shape(shape);
        let images = pixels.len() / size(shape);
        let bytes = images.saturating_mul(size(new));
        let mut output = Vec::new();
        let (channels, height, width) = new;
        let refused = |_| Error::Memory { images, channels, height, width, bytes };
        output.try_reserve_exact(bytes).map_err(refused)?;
        output.resize(bytes, 0);
        output
            .par_chunks_exact_mut(size(new))
            .zip(pixels.par_chunks_exact(size(shape)))
            .for_each(|(to, image)| self.one(image, shape, to));
        Ok(output)
    }

    /// Changes one image.
    fn one(self, image: &[u8], (_, height, width): Shape, output: &mut [u8]) {
        let area = height * width;
        match self {
            Self::Side { side, size } => {
                let planes = output.chunks_exact_mut(side * side).zip(image.chunks_exact(area));
                for (to, plane) in planes {
                    if let Some(plane) =
                        GrayImage::from_raw(width as u32, height as u32, plane.to_vec())
                    {
                        to.copy_from_slice(square(&plane.into(), side as u32, size).as_bytes());
                    }
                }
            }
        }
    }

    /// Changes all images of a store; `None` if they are not in memory.
    pub fn of_all(self, store: &Store) -> Result<Option<Store>> {
        let Some(pixels) = store.pixels_in_memory() else { return Ok(None) };
        let changed =
            Store::in_memory(self.apply(pixels, store.shape())?, self.shape(store.shape()));
        let changed = changed.with_origin(store.origin().cloned());
        Ok(Some(changed.with_blocks(store.blocks().map(<[usize]>::to_vec), store.buffer())))
    }
}
