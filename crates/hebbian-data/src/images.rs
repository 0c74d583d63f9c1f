use std::path::PathBuf;
use std::sync::Arc;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::{send, upload};

use crate::changes::Change;
use crate::pictures::resized;
use crate::store::Store;
use crate::transforms::{Image, Pipeline, Shape, Transform};
use crate::{DatasetName, Error, Result, split};

/// The most images that a file may hold.
pub(crate) const MOST_IMAGES: usize = 1_000_000;

/// A data set: two splits and what the labels mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The name of a named set (see [`DatasetName`](crate::DatasetName)), or else the name under which it was loaded.
    pub name: String,
    /// The training images.
    pub train: ImageSet,
    /// The test images.
    pub test: ImageSet,
    /// Images without labels, which are also used for learning where no labels are needed, in as many parts as the
    /// data set has. Their labels are [`NO_LABEL`](ImageSet::NO_LABEL).
    pub unlabelled: Vec<ImageSet>,
    /// The name of each label, `class_names[label]`.
    pub class_names: Vec<String>,
}

impl Dataset {
    /// Replaces the test images by a validation set: `share` of the training images of each class, drawn by `seed` and
    /// removed from the training images. Use it to choose settings without looking at the test images.
    ///
    /// # Errors
    /// When there are no training images, or `share` is not between 0 and 1.
    pub fn with_validation(self, share: f64, seed: u64) -> Result<Self> {
        let (train, test) = split::split(&self.train, share, seed)?;
        Ok(Self { train, test, ..self })
    }

    /// Keeps the labels of only `count` training images, drawn by `seed`: each class in proportion, with at least one
    /// image. The other images become [unlabelled](Self::unlabelled).
    ///
    /// # Errors
    /// If `count` is smaller than the number of classes of the training images, or larger than the number of images.
    pub fn with_labelled(self, count: usize, seed: u64) -> Result<Self> {
        let (kept, others) = self.train.draw_labelled(count, seed)?;
        let mut unlabelled = self.unlabelled;
        if !others.is_empty() {
            unlabelled.insert(0, self.train.select(&others)?.without_labels());
        }
        Ok(Self { train: self.train.select(&kept)?, unlabelled, ..self })
    }

    /// Returns the data set with exchanged roles: the test images become the training images, and the first `count`
    /// training images, [of all classes](ImageSet::split_at), become the test images.
    pub fn swapped(self, count: usize) -> Self {
        let (test, _) = self.train.split_at(count);
        Self { train: self.test, test, ..self }
    }

    /// Returns the data set with its classes numbered as in `class_names`, for instance those of a trained model, which
    /// may have more classes than the data set. A class is recognised by its name, so that two classes of one name are
    /// accepted only if `class_names` are those of the data set.
    ///
    /// # Errors
    /// A class of the data set that is not among them, or two classes of one name.
    pub fn with_class_names(self, class_names: &[String]) -> Result<Self> {
        if self.class_names == class_names {
            return Ok(self);
        }
        for names in [&self.class_names[..], class_names] {
            let mut sorted: Vec<&String> = names.iter().collect();
            sorted.sort_unstable();
            if let Some(twins) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                let (name, known) = (twins[0].clone(), names.join(", "));
                return Err(Error::SameClasses { name, known });
            }
        }
        let numbers: Option<Vec<u32>> = (self.class_names.iter())
            .map(|name| class_names.iter().position(|other| other == name).map(|at| at as u32))
            .collect();
        let Some(numbers) = numbers else {
            let names = |names: &[String]| names.join(", ");
            let (found, expected) = (names(&self.class_names), names(class_names));
            return Err(Error::Classes { found, expected });
        };
        let (train, test) = (self.train.renumbered(&numbers), self.test.renumbered(&numbers));
        Ok(Self { train, test, class_names: class_names.to_vec(), ..self })
    }

    /// Returns all images for learning without labels: the training images and the unlabelled ones. Images that
    /// [`with_labelled`](Self::with_labelled) made unlabelled are in their old places, so that the result is the same
    /// for any number of labels.
    ///
    /// # Errors
    /// If unlabelled images have another shape.
    pub fn seen(&self) -> Result<ImageSet> {
        let Some((first, rest)) = self.unlabelled.split_first() else {
            return Ok(self.train.clone());
        };
        let mut parts = match self.train.merged(first) {
            Some(both) => vec![both],
            None => vec![self.train.clone(), first.clone()],
        };
        parts.extend_from_slice(rest);
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        ImageSet::several(parts)
    }

    /// A data set of [`DatasetName`].
    pub(crate) fn known(
        name: DatasetName,
        train: ImageSet,
        test: ImageSet,
        unlabelled: Vec<ImageSet>,
    ) -> Self {
        let class_names = name.class_names();
        Self { name: name.to_string(), train, test, unlabelled, class_names }
    }

    /// Returns the data set with [`ImageSet::with_transforms`] applied to every split.
    ///
    /// # Errors
    /// As [`ImageSet::with_transforms`].
    pub fn with_transforms(self, transforms: Pipeline, augmentation: Pipeline) -> Result<Self> {
        let train = self.train.with_transforms(transforms.clone(), augmentation.clone())?;
        let test = self.test.with_transforms(transforms.clone(), augmentation.clone())?;
        let unlabelled = self.unlabelled.iter();
        let unlabelled = unlabelled
            .map(|set| set.with_transforms(transforms.clone(), augmentation.clone()))
            .collect::<Result<_>>()?;
        Ok(Self { train, test, unlabelled, ..self })
    }
}

/// One split: N images of C×H×W, each channel by channel and row by row, as `u8`. The images are in memory, or stay in
/// their files until a batch needs them; clones and parts of a set share them. The set also holds the transforms that
/// its images go through before they are handed out in a batch, see [`with_transforms`](Self::with_transforms).
#[derive(Debug, Clone)]
pub struct ImageSet {
    store: Arc<Store>,
    /// The chosen images of the store; `None` for all of them, in order.
    chosen: Option<Arc<Vec<usize>>>,
    labels: Arc<Vec<u32>>,
    /// The changes that images go through after they are read from the store, if it is not in memory.
    changes: Vec<Change>,
    transforms: Pipeline,
    augmentation: Pipeline,
    /// The shape of an image in a batch.
    shape: Shape,
}

impl ImageSet {
    /// The label of an unlabelled image.
    pub const NO_LABEL: u32 = u32::MAX;

    /// A split of `labels.len()` images; `images` holds their pixels one image after another.
    ///
    /// # Errors
    /// When the number of pixels is not N·C·H·W, or an image would have no pixel.
    pub fn new(
        images: Vec<u8>,
        labels: Vec<u32>,
        channels: usize,
        height: usize,
        width: usize,
    ) -> Result<Self> {
        if channels == 0 || height == 0 || width == 0 {
            return Err(Error::Size { what: "pixels per image", found: 0, expected: 1 });
        }
        let expected =
            [channels, height, width].into_iter().fold(labels.len(), usize::saturating_mul);
        if images.len() != expected {
            return Err(Error::Size {
                what: "bytes of pixels (images x channels x height x width)",
                found: images.len(),
                expected,
            });
        }
        Ok(Self::of_parts(images, labels, (channels, height, width)))
    }

    /// A split of parts that are known to fit together.
    pub(crate) fn of_parts(images: Vec<u8>, labels: Vec<u32>, shape: Shape) -> Self {
        debug_assert_eq!(images.len(), labels.len() * shape.0 * shape.1 * shape.2);
        Self::of_store(Store::in_memory(images, shape), labels)
    }

    /// All images of a store, with a label each.
    pub(crate) fn of_store(store: Store, labels: Vec<u32>) -> Self {
        let shape = store.shape();
        Self {
            store: Arc::new(store),
            chosen: None,
            labels: Arc::new(labels),
            changes: Vec::new(),
            transforms: Pipeline::default(),
            augmentation: Pipeline::default(),
            shape,
        }
    }

    /// Returns the same images with new transforms, which replace those that the set had. Batches hold the images
    /// after `transforms`; those of [`augmented_batch`](Self::augmented_batch) after `augmentation` and then
    /// `transforms`.
    ///
    /// # Errors
    /// If the transforms do not fit the images or draw at random, or if with the augmentation they give images of
    /// another shape than without.
    pub fn with_transforms(&self, transforms: Pipeline, augmentation: Pipeline) -> Result<Self> {
        transforms.check_fixed()?;
        let stored = self.stored_shape();
        let shape = transforms.shape(stored)?;
        let augmented = transforms.shape(augmentation.shape(stored)?)?;
        if augmented != shape {
            let problem = format!(
                "with it images are of {}, found {} without: expected one shape to learn from and to test with, as \
                 after a resize or a centre-crop",
                sizes(augmented),
                sizes(shape)
            );
            return Err(Error::Transform { transform: "augmentation".to_string(), problem });
        }
        Ok(Self { transforms, augmentation, shape, ..self.clone() })
    }

    /// The transforms of every image that is handed out in a batch.
    pub fn transforms(&self) -> &Pipeline {
        &self.transforms
    }

    /// The transforms that are applied before [`transforms`](Self::transforms), but only while something learns from
    /// the images.
    pub fn augmentation(&self) -> &Pipeline {
        &self.augmentation
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Whether all pixels are in memory, or would fit. Code that needs all of them at once should refuse a
    /// [larger](crate::LoadOptions::memory) set.
    pub fn fits_in_memory(&self) -> bool {
        self.store.may_hold(self.len() as u64 * self.image_size() as u64)
    }

    /// Whether the pixels are in memory. If not, each batch reads its images.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.store.pixels_in_memory().is_some()
    }

    /// Channels, height and width of every image in a batch.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Channels, height and width of every image before the transforms, as [`image`](Self::image) returns it.
    pub fn stored_shape(&self) -> Shape {
        self.changes.iter().fold(self.store.shape(), |shape, change| change.shape(shape))
    }

    /// Returns the C·H·W pixels of image `i`, as they are stored.
    ///
    /// # Errors
    /// As [`pixels`](Self::pixels).
    pub fn image(&self, i: usize) -> Result<Vec<u8>> {
        self.pixels(&[i])
    }

    /// Returns the C·H·W pixels of each of these images, one after another, as they are stored.
    ///
    /// # Errors
    /// If an index is not below [`len`](Self::len), or if a file cannot be read or holds no picture that fits.
    pub fn pixels(&self, indices: &[usize]) -> Result<Vec<u8>> {
        if let Some(&index) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(Error::Index { index, len: self.len() });
        }
        let wanted: Vec<usize> = indices.iter().map(|&i| self.in_store(i)).collect();
        let (mut pixels, mut shape) = (self.store.pixels(&wanted)?, self.store.shape());
        for change in &self.changes {
            pixels = change.apply(&pixels, shape)?;
            shape = change.shape(shape);
        }
        Ok(pixels)
    }

    /// The file that image `i` was read from and, if the file is a table, the row of the image in it, counted from 0.
    /// `None` if there is no such image, or if it is not from a picture or table: from the original files of a known
    /// set, or from bytes.
    pub fn file(&self, i: usize) -> Option<(PathBuf, Option<usize>)> {
        (i < self.len()).then(|| self.store.file(self.in_store(i)))?
    }

    /// The label of every image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Returns the images with these indices, in this order.
    ///
    /// # Errors
    /// When an index is not below [`len`](Self::len).
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        match indices.iter().find(|&&i| i >= self.len()) {
            Some(&index) => Err(Error::Index { index, len: self.len() }),
            None => Ok(self.part(indices.iter().copied())),
        }
    }

    /// Draws `count` images by `seed`, each class in proportion and with at least one image. Returns the indices of
    /// the drawn images and those of the others, both in order.
    ///
    /// # Errors
    /// If `count` is smaller than the number of classes, or larger than the number of images.
    pub fn draw_labelled(&self, count: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
        let mut classes = self.labels().to_vec();
        classes.sort_unstable();
        classes.dedup();
        let (classes, images) = (classes.len().max(1), self.len());
        if count < classes || count > images {
            return Err(Error::Labelled { found: count, classes, images });
        }
        Ok(split::labelled(self.labels(), count, seed))
    }

    /// Returns the first `n` images, or all if there are fewer.
    pub fn take(&self, n: usize) -> Self {
        self.part(0..n.min(self.len()))
    }

    /// Splits the set after `n` images of all classes, see [`split_at`](crate::split_at).
    pub fn split_at(&self, n: usize) -> (Self, Self) {
        let (first, others) = split::split_at(self.labels(), n);
        (self.part(first.into_iter()), self.part(others.into_iter()))
    }

    /// The images with these indices, which must exist.
    fn part(&self, indices: impl Iterator<Item = usize> + Clone) -> Self {
        let labels = indices.clone().map(|i| self.labels[i]).collect();
        let chosen = indices.map(|i| self.in_store(i)).collect();
        Self { chosen: Some(Arc::new(chosen)), labels: Arc::new(labels), ..self.clone() }
    }

    /// The same images without labels.
    fn without_labels(self) -> Self {
        Self { labels: Arc::new(vec![Self::NO_LABEL; self.len()]), ..self }
    }

    /// The same images with the label `numbers[label]` in place of each `label`; others, such as
    /// [`NO_LABEL`](Self::NO_LABEL), are kept.
    fn renumbered(self, numbers: &[u32]) -> Self {
        let number = |&label: &u32| numbers.get(label as usize).copied().unwrap_or(label);
        let labels = self.labels.iter().map(number).collect();
        Self { labels: Arc::new(labels), ..self }
    }

    /// The images of both sets in the order of their common store, or `None` if they do not share one.
    fn merged(&self, other: &Self) -> Option<Self> {
        if !Arc::ptr_eq(&self.store, &other.store) || self.changes != other.changes {
            return None;
        }
        let of = |set: &Self| -> Vec<(usize, u32)> {
            (0..set.len()).map(|i| (set.in_store(i), set.labels[i])).collect()
        };
        let mut both = [of(self), of(other)].concat();
        both.sort_by_key(|&(at, _)| at);
        let (chosen, labels): (Vec<usize>, Vec<u32>) = both.into_iter().unzip();
        Some(Self { chosen: Some(Arc::new(chosen)), labels: Arc::new(labels), ..self.clone() })
    }

    /// All images of sets of one shape, one set after the other, with the transforms of the first.
    fn several(sets: Vec<Self>) -> Result<Self> {
        let shape = sets.first().map_or((1, 1, 1), Self::stored_shape);
        if let Some(other) = sets.iter().find(|set| set.stored_shape() != shape) {
            let (what, size) = ("pixels of an image", |(c, h, w)| c * h * w);
            let (found, expected) = (size(other.stored_shape()), size(shape));
            return Err(Error::Size { what, found, expected });
        }
        let (transforms, augmentation) = sets
            .first()
            .map(|set| (set.transforms.clone(), set.augmentation.clone()))
            .unwrap_or_default();
        let labels = sets.iter().flat_map(|set| set.labels().iter().copied()).collect();
        let all = Self::of_store(Store::several(sets, shape), labels);
        all.with_transforms(transforms, augmentation)
    }

    /// Returns the images with the shorter side resized to `side` pixels (by a triangle filter, widened when an image
    /// shrinks, like Pillow's `BILINEAR`) and cropped to a square around the middle. The result has no transforms,
    /// unless the images already have this size: then the set is returned unchanged.
    ///
    /// # Errors
    /// If `side` is 0, if images have neither 3 channels nor 1, or if they are so narrow that they would have far more
    /// pixels before they are cropped.
    pub fn resized(&self, side: usize) -> Result<Self> {
        let (channels, height, width) = self.stored_shape();
        if side == 0 {
            return Err(Error::Size { what: "pixels a side of an image", found: 0, expected: 1 });
        }
        if ![1, 3].contains(&channels) {
            let (what, found) = ("channels of an image to resize", channels);
            return Err(Error::Size { what, found, expected: 3 });
        }
        match (height, width) == (side, side) {
            true => Ok(self.clone()),
            false => {
                let wrong = |[found, expected]: [usize; 2]| {
                    let what =
                        "pixels of a resized image before it is cropped (the most there may be)";
                    Error::Size { what, found, expected }
                };
                let size = resized((height, width), side).map_err(wrong)?;
                self.changed(Change::Side { side, size })
            }
        }
    }

    /// The images after a change, which is applied at once if they are in memory and else whenever images are read.
    fn changed(&self, change: Change) -> Result<Self> {
        let mut set = self.clone();
        match change.of_all(&self.store)? {
            Some(store) => set.store = Arc::new(store),
            None => set.changes.push(change),
        }
        set.with_transforms(Pipeline::default(), Pipeline::default())
    }

    /// Returns a batch: images `(B, C, H, W)` of `dtype`, each pixel `u8 / 255` followed by the
    /// [transforms](Self::transforms), and labels `(B,)` of `u32`.
    ///
    /// Everything is computed on the host, so that the values are the same on every device: the division in `f64` if
    /// `dtype` is `f64` and else in `f32`, the transforms always in `f32`.
    ///
    /// # Errors
    /// As [`pixels`](Self::pixels), or when the tensor cannot be made.
    pub fn batch(
        &self,
        indices: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let images = match self.transforms.is_empty() {
            true => self.scaled(indices, dtype)?,
            false => self.transformed(self.images(indices)?)?,
        };
        self.on(images, indices, dtype, device)
    }

    /// Returns a [`batch`](Self::batch) for training, in which the images go through the
    /// [augmentation](Self::augmentation) first. The random draws for an image depend on the seed of `rng`, on
    /// `moment` (such as `augmentation.` and the number of the epoch) and on the index of the image, but not on the
    /// rest of the batch or on earlier draws.
    ///
    /// # Errors
    /// As [`batch`](Self::batch).
    pub fn augmented_batch(
        &self,
        indices: &[usize],
        rng: &Rng,
        moment: &str,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        if self.augmentation.is_empty() {
            return self.batch(indices, dtype, device);
        }
        let stream = |i: &usize| rng.stream(&format!("{moment}.{i}"));
        let mut rngs: Vec<Rng> = indices.iter().map(stream).collect();
        let augmented = self.augmentation.apply_all(self.images(indices)?, &mut rngs)?;
        self.on(self.transformed(augmented)?, indices, dtype, device)
    }

    /// These images after the transforms, as one tensor, which has the shape of an image also if there are none.
    fn transformed(&self, images: Vec<Image>) -> Result<Tensor> {
        if images.is_empty() {
            let (channels, height, width) = self.shape;
            let shape = (0, channels, height, width);
            return Ok(Tensor::from_vec(Vec::<f32>::new(), shape, &Device::Cpu)?);
        }
        Image::tensor(&self.transforms.apply_fixed(images)?)
    }

    /// The pixels of these images, from 0 to 1.
    fn scaled(&self, indices: &[usize], dtype: DType) -> Result<Tensor> {
        let (channels, height, width) = self.stored_shape();
        let shape = (indices.len(), channels, height, width);
        let pixels = self.pixels(indices)?.into_iter();
        Ok(match dtype {
            DType::F64 => {
                let values: Vec<f64> = pixels.map(|p| f64::from(p) / 255.).collect();
                Tensor::from_vec(values, shape, &Device::Cpu)?
            }
            _ => {
                let values: Vec<f32> = pixels.map(|p| f32::from(p) / 255.).collect();
                Tensor::from_vec(values, shape, &Device::Cpu)?
            }
        })
    }

    /// The pixels of these images, from 0 to 1, as one [`Image`] each.
    fn images(&self, indices: &[usize]) -> Result<Vec<Image>> {
        let pixels = self.pixels(indices)?;
        let images = pixels.chunks_exact(self.image_size()).map(|pixels| {
            let values = pixels.iter().map(|&p| f32::from(p) / 255.).collect();
            Image::new(values, self.stored_shape())
        });
        images.collect()
    }

    /// Moves a batch of images to a device, and adds their labels.
    fn on(
        &self,
        images: Tensor,
        indices: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let labels: Vec<u32> = indices.iter().map(|&i| self.labels[i]).collect();
        let images = send(&images, device)?.to_dtype(dtype)?;
        Ok((images, upload(labels, indices.len(), device)?))
    }

    /// How many values an image in a batch has.
    pub(crate) fn values(&self) -> usize {
        let (channels, height, width) = self.shape;
        channels * height * width
    }

    /// How many pixels an image has, in all its channels.
    pub(crate) fn image_size(&self) -> usize {
        let (channels, height, width) = self.stored_shape();
        channels * height * width
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The index in the store of image `i`.
    pub(crate) fn in_store(&self, i: usize) -> usize {
        self.chosen.as_ref().map_or(i, |chosen| chosen[i])
    }

    /// Where each run of consecutive images from the same block of the store begins, followed by the end of the last
    /// run; `None` if each image is read by itself.
    pub(crate) fn runs(&self) -> Option<Vec<usize>> {
        let blocks = self.store.blocks()?;
        let Some(chosen) = &self.chosen else { return Some(blocks.to_vec()) };
        let lengths =
            chosen.chunk_by(|&one, &next| self.store.block(one) == self.store.block(next));
        let ends = lengths.scan(0, |end, run| {
            *end += run.len();
            Some(*end)
        });
        Some(std::iter::once(0).chain(ends).collect())
    }
}

/// Writes a shape as `3x32x32`.
fn sizes((channels, height, width): Shape) -> String {
    format!("{channels}x{height}x{width}")
}
