//! `hebbian data`: describes a data set, and what a network sees of it.

use crate::data_args::DataArgs;
use crate::paths::writable;
use crate::transform_args::TransformArgs;
use anyhow::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::transforms::InputConfig;
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{image_rows, see};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// How many images of each class the preview has, and how many classes at most.
const IMAGES: usize = 8;
const CLASSES: usize = 20;

/// Describes a data set, and what a network sees of it.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    transforms: TransformArgs,
    /// Seed of a test share and of the images in the preview
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Draw images of each class, as a network sees them, into this file [default: preview.png]
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "preview.png")]
    preview: Option<PathBuf>,
}

impl ShowArgs {
    pub(crate) fn run(self) -> Result<String> {
        if let Some(file) = &self.preview {
            writable("--preview", file)?;
        }
        let mut input = InputConfig::default();
        self.transforms.put_into(&mut input);
        let stored = self.data.dataset("digits", self.seed)?;
        let rng = Rng::new(self.seed);
        let data = see(&input, &stored, &rng, self.data.quiet, None)?;
        let part = hebbian_train::part(self.data.validation);
        let mut text = about(&data, &input, part)?;
        if let Some(file) = &self.preview {
            preview(&data, &input, &rng, file)?;
            writeln!(text, "\nwrote {}", file.display())?;
        }
        Ok(text)
    }
}

/// Returns the counts, the shape and the moments of a data set, whose images to test with are called `part`, as text.
fn about(data: &Dataset, input: &InputConfig, part: &str) -> Result<String> {
    let Dataset { name, train, test, unlabelled, class_names } = data;
    let shape = |(channels, height, width)| format!("{channels} x {height} x {width}");
    let classes = if class_names.len() == 1 { "class" } else { "classes" };
    let mut text = format!(
        "{name}: {} {classes}, {} training images and {} {part} images of {}\n",
        class_names.len(),
        train.len(),
        test.len(),
        shape(train.stored_shape())
    );
    let without: usize = unlabelled.iter().map(ImageSet::len).sum();
    if without > 0 {
        writeln!(text, "{without} more training images without labels")?;
    }
    if !input.is_empty() {
        let seen = shape(train.shape());
        writeln!(text, "the network sees {seen}: transforms {}", input.transforms)?;
        writeln!(text, "augmentation, before these: {}", input.augmentation)?;
    }
    let (mean, deviation) = train.channel_moments()?;
    for (channel, (mean, deviation)) in mean.iter().zip(&deviation).enumerate() {
        writeln!(
            text,
            "channel {channel} as the network sees it: mean {mean:.4}, standard deviation {deviation:.4}"
        )?;
    }
    writeln!(text, "\n{:24} {:>8} {part:>10}", "class", "training")?;
    let count = |set: &ImageSet, class: usize| {
        set.labels().iter().filter(|&&label| label as usize == class).count()
    };
    for (class, name) in class_names.iter().enumerate() {
        writeln!(text, "{name:24} {:>8} {:>10}", count(train, class), count(test, class))?;
    }
    Ok(text)
}

/// Draws training images of each class or, if there is an augmentation, one image of each class with
/// augmented versions of it.
fn preview(data: &Dataset, input: &InputConfig, rng: &Rng, file: &Path) -> Result<()> {
    let Dataset { name, train, class_names, .. } = data;
    let mut rows = Vec::new();
    for (class, class_name) in class_names.iter().enumerate().take(CLASSES) {
        let of_class = train.labels().iter().enumerate();
        let of_class = of_class.filter(|(_, label)| **label as usize == class).map(|(i, _)| i);
        let images: Vec<usize> = of_class.take(IMAGES).collect();
        let Some(&first) = images.first() else { continue };
        let batch = |indices: &[usize]| train.batch(indices, DType::F32, &Device::Cpu);
        let images = match input.augmentation.is_empty() {
            true => batch(&images)?.0,
            false => {
                let mut parts = vec![batch(&[first])?.0];
                for draw in 1..IMAGES {
                    let moment = format!("augmentation.{draw}");
                    let (image, _) =
                        train.augmented_batch(&[first], rng, &moment, DType::F32, &Device::Cpu)?;
                    parts.push(image);
                }
                Tensor::cat(&parts, 0)?
            }
        };
        rows.push((class_name.clone(), images));
    }
    let mut title = format!("{name}: transforms {}", input.transforms);
    if !input.augmentation.is_empty() {
        let augmentation = &input.augmentation;
        write!(title, "\nfirst as tested, then as augmented: {augmentation}")?;
    }
    if class_names.len() > CLASSES {
        write!(title, "\nthe first {CLASSES} of {} classes", class_names.len())?;
    }
    image_rows(&rows, &title)?.save_png(file)?;
    Ok(())
}
