//! What each epoch draws anew: the order of the images, and their augmentation.

use crate::common::Result;
use candle::Device;
use candle_hebbian::{Activation, Rng};
use hebbian_data::transforms::{Image, Pipeline, Shape, Transform};
use hebbian_data::{Dataset, ImageSet, digits};
use hebbian_models::golkar::{self, Golkar};
use hebbian_models::krotov_hopfield::{self, KrotovHopfield};
use hebbian_models::miconi::{self, Miconi};
use hebbian_models::softhebb::{self, Softhebb};
use hebbian_train::{Learner as _, Method, Model as _, Start, find_preset};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

const IMAGES: usize = 24;
const EPOCHS: usize = 2;

/// An augmentation that leaves an image as it is. It notes the image, whose first pixel is its index, and a number that
/// it draws for it.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<(usize, usize)>>>);

impl Transform for Notes {
    fn shape(&self, image: Shape) -> hebbian_data::Result<Shape> {
        Ok(image)
    }

    fn apply(&self, image: Image, rng: &mut Rng) -> hebbian_data::Result<Image> {
        let index = (image.values()[0] * 255.0).round() as usize;
        self.0.lock().expect("no test failed").push((index, rng.below(usize::MAX)));
        Ok(image)
    }

    fn is_random(&self) -> bool {
        true
    }

    /// One image after the other, so that they are noted in their order.
    fn apply_all(&self, images: Vec<Image>, rngs: &mut [Rng]) -> hebbian_data::Result<Vec<Image>> {
        images.into_iter().zip(rngs).map(|(image, rng)| self.apply(image, rng)).collect()
    }
}

/// The digits with these training images.
fn data(train: ImageSet) -> Dataset {
    let all = digits();
    Dataset { train, test: all.test.take(10), ..all }
}

fn start() -> Start {
    Start { rng: Rng::new(2), device: Device::Cpu, quiet: true }
}

/// Learns to the end. Returns the images in the order in which they were augmented, with the numbers that were drawn.
fn noted<M: Method>(options: &M::Options) -> Result<Vec<(usize, usize)>> {
    let (notes, all) = (Notes::default(), digits().train);
    let mut pixels = all.pixels(&(0..IMAGES).collect::<Vec<_>>())?;
    for (index, image) in pixels.chunks_exact_mut(64).enumerate() {
        image[0] = index as u8;
    }
    let train = ImageSet::new(pixels, all.labels()[..IMAGES].to_vec(), 1, 8, 8)?;
    let augmentation = Pipeline::default().then(notes.clone());
    let data = data(train.with_transforms(Pipeline::default(), augmentation)?);
    let mut learner = M::learner(options, &data, &start())?;
    while learner.clock() != learner.total() {
        learner.step()?;
    }
    let mut noted = notes.0.lock().map_err(|_| "a test failed")?;
    Ok(std::mem::take(&mut *noted))
}

/// Asserts that each epoch shows all images, in an order of its own.
fn are_shuffled(name: &str, images: &[usize], epochs: usize) {
    assert_eq!(images.len(), epochs * IMAGES, "{name}");
    let mut orders: Vec<&[usize]> = Vec::new();
    for order in images.chunks(IMAGES) {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..IMAGES).collect::<Vec<_>>(), "{name}");
        assert!(!orders.contains(&order), "{name}: {order:?} came before");
        orders.push(order);
    }
}

/// Asserts the same of what was noted, and that no number was drawn twice.
fn are_drawn_anew(name: &str, noted: &[(usize, usize)], epochs: usize) {
    let images: Vec<usize> = noted.iter().map(|&(index, _)| index).collect();
    are_shuffled(name, &images, epochs);
    let numbers: HashSet<usize> = noted.iter().map(|&(_, number)| number).collect();
    assert_eq!(numbers.len(), noted.len(), "{name}: an epoch augments images as another did");
}

fn softhebb_options(augment_layers: bool) -> Result<softhebb::Options> {
    let mut preset = softhebb::preset("softhebb-cnn-digits")?;
    (preset.training.epochs, preset.training.augment_layers) = (EPOCHS, augment_layers);
    Ok(softhebb::Options { preset, baselines: false })
}

/// SoftHebb learns the second layer in epochs of its own.
#[test]
fn softhebb_draws_each_epoch_of_each_layer_anew() -> Result {
    are_drawn_anew("softhebb", &noted::<Softhebb>(&softhebb_options(true)?)?, 2 * EPOCHS);
    Ok(())
}

/// Layers learn from images as they are, unless the preset says that they learn from augmented ones.
#[test]
fn layers_see_augmented_images_only_if_the_preset_says_so() -> Result {
    assert!(noted::<Softhebb>(&softhebb_options(false)?)?.is_empty());
    assert_eq!(noted::<Softhebb>(&softhebb_options(true)?)?.len(), 2 * EPOCHS * IMAGES);
    Ok(())
}

#[test]
fn back_propagation_draws_each_epoch_anew() -> Result {
    let mut options = softhebb_options(false)?;
    for block in &mut options.preset.blocks {
        block.learning = softhebb::Learning::Backprop;
        block.activation = Activation::Relu {};
    }
    options.preset.training.head_epochs = EPOCHS;
    options.preset.training.head_batch_size = 10;
    are_drawn_anew("backprop", &noted::<Softhebb>(&options)?, EPOCHS);
    Ok(())
}

#[test]
fn miconi_draws_each_epoch_anew() -> Result {
    let mut preset = miconi::preset("miconi-digits")?;
    (preset.training.epochs, preset.training.batch_size) = (EPOCHS, 10);
    let decoder = miconi::Decoder::default();
    let options = miconi::Options { preset, decoder, standardise_last: false };
    are_drawn_anew("miconi", &noted::<Miconi>(&options)?, EPOCHS);
    Ok(())
}

#[test]
fn krotov_hopfield_draws_each_epoch_anew() -> Result {
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    preset.epochs = EPOCHS;
    let options = krotov_hopfield::Options { preset };
    are_drawn_anew("krotov-hopfield", &noted::<KrotovHopfield>(&options)?, EPOCHS);
    Ok(())
}

/// Image i has light in pixel i alone. The gradient of ½‖y − W₂W₁x‖² in W₁ is a column times xᵀ, so a step with image i
/// moves column i and no other.
#[test]
fn golkar_draws_each_epoch_anew() -> Result {
    let mut preset = golkar::preset("golkar-digits")?;
    preset.circuit.nonlinearity = golkar::Nonlinearity::Identity;
    preset.scaling = Some(golkar::Scaling { mean: 0.0, deviation: 1.0 });
    (preset.training.epochs, preset.backprop.batch_size) = (EPOCHS, 1);
    let mut pixels = vec![0; IMAGES * 64];
    (0..IMAGES).for_each(|image| pixels[image * 64 + image] = 255);
    let labels = (0..IMAGES as u32).map(|image| image % 10).collect();
    let data = data(ImageSet::new(pixels, labels, 1, 8, 8)?);
    let options = golkar::Options { preset, backprop: true };
    let mut learner = Golkar::learner(&options, &data, &start())?;
    let w1 = |learner: &golkar::Learner| -> Result<Vec<Vec<f32>>> {
        let tensors = learner.model().tensors();
        let (_, w1) = tensors.iter().find(|(name, _)| name == "w1").ok_or("no w1")?;
        Ok(w1.to_vec2()?)
    };
    let mut images = Vec::new();
    while learner.clock() != learner.total() {
        let before = w1(&learner)?;
        learner.step()?;
        let after = w1(&learner)?;
        let moves = |&at: &usize| before.iter().zip(&after).any(|(was, is)| was[at] != is[at]);
        let moved: Vec<usize> = (0..64).filter(moves).collect();
        assert_eq!(moved.len(), 1, "{moved:?}");
        images.extend(moved);
    }
    are_shuffled("golkar", &images, EPOCHS);
    Ok(())
}
