//! Conversion of data sets to the form of `candle-datasets`, and back.

use candle::{DType, Device, Tensor};
use candle_datasets::vision;

use crate::{Dataset, Error, ImageSet, Result};

/// How far from a level of 255 a pixel may be: more than the rounding error of `f32`, and less than any scaling
/// would move it.
const NEAR: f32 = 1e-3;

impl Dataset {
    /// Converts the data set to the form of `candle-datasets`: images `(N, C, H, W)` of `f32` from 0 to 1,
    /// `u8 / 255`, and labels `(N)` of `u8`, or of `u32` if there are more than 256 classes, on the host.
    ///
    /// candle's own MNIST loader returns images `(N, H·W)`: flatten the images for code that was written for it. The
    /// name, the class names and the [unlabelled](Dataset::unlabelled) images are lost.
    ///
    /// # Errors
    /// If a set [does not fit in memory](ImageSet::fits_in_memory), or if images cannot be read.
    pub fn to_candle(&self) -> Result<vision::Dataset> {
        let labels = self.class_names.len();
        let part = |set: &ImageSet| -> Result<(Tensor, Tensor)> {
            if !set.fits_in_memory() {
                let ((channels, height, width), images) = (set.shape(), set.len());
                let bytes =
                    [channels, height, width].into_iter().fold(images, usize::saturating_mul);
                return Err(Error::Memory { images, channels, height, width, bytes });
            }
            let all: Vec<usize> = (0..set.len()).collect();
            let (images, classes) = set.batch(&all, DType::F32, &Device::Cpu)?;
            let dtype = if labels <= 256 { DType::U8 } else { DType::U32 };
            Ok((images, classes.to_dtype(dtype)?))
        };
        let ((train_images, train_labels), (test_images, test_labels)) =
            (part(&self.train)?, part(&self.test)?);
        Ok(vision::Dataset { train_images, train_labels, test_images, test_labels, labels })
    }

    /// Converts a data set of `candle-datasets`, and gives it this name. Images are `(N, C, H, W)`, `(N, H, W)`, or
    /// `(N, F)`, which are taken as grey squares, as in its MNIST. The names of the classes are their numbers.
    ///
    /// candle's images are floating-point and ours are bytes: a pixel `p` must be a level, `p = u8 / 255` up to
    /// rounding. Images that were standardised, or resized in floating point, are refused and not rounded.
    ///
    /// # Errors
    /// If images have another shape, if a pixel is not a level, or if a label is not a class.
    pub fn from_candle(name: &str, data: &vision::Dataset) -> Result<Self> {
        let classes = data.labels;
        Ok(Self {
            name: name.to_string(),
            train: part(&data.train_images, &data.train_labels, classes)?,
            test: part(&data.test_images, &data.test_labels, classes)?,
            unlabelled: Vec::new(),
            class_names: (0..classes).map(|class| class.to_string()).collect(),
        })
    }
}

fn part(images: &Tensor, labels: &Tensor, classes: usize) -> Result<ImageSet> {
    let (channels, height, width) = match *images.dims() {
        [_, channels, height, width] => (channels, height, width),
        [_, height, width] => (1, height, width),
        [_, pixels] if pixels.isqrt().pow(2) == pixels => (1, pixels.isqrt(), pixels.isqrt()),
        _ => {
            let shape = format!("images of shape {:?}", images.dims());
            return Err(Error::Levels {
                found: shape,
                expected: "(N, C, H, W), (N, H, W) or (N, side²)",
            });
        }
    };
    let values =
        images.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let level = |value: f32| {
        let level = (255. * value).round();
        match (0. ..=255.).contains(&level) && (255. * value - level).abs() < NEAR {
            true => Ok(level as u8),
            false => Err(Error::Levels {
                found: format!("a pixel of {value}"),
                expected: "a level, one of 0/255 to 255/255: convert the images before they are scaled otherwise",
            }),
        }
    };
    let pixels = values.into_iter().map(level).collect::<Result<Vec<u8>>>()?;
    let labels = labels.to_dtype(DType::U32)?.to_device(&Device::Cpu)?.to_vec1::<u32>()?;
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        let found = format!("label {label}");
        return Err(Error::Levels { found, expected: "labels below the number of classes" });
    }
    ImageSet::new(pixels, labels, channels, height, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(set: &ImageSet) -> (Vec<u8>, Vec<u32>) {
        let all: Vec<usize> = (0..set.len()).collect();
        (set.pixels(&all).unwrap(), set.labels().to_vec())
    }

    /// All levels, in the shapes of CIFAR and MNIST.
    #[test]
    fn there_and_back() -> Result<()> {
        let pixels = |size: usize| (0..size).map(|i| (i * 7 % 256) as u8).collect::<Vec<_>>();
        let cifar = ImageSet::new(pixels(3 * 3072), vec![2, 0, 1], 3, 32, 32)?;
        let data = Dataset {
            name: "mine".into(),
            train: cifar.clone(),
            test: cifar.take(1),
            unlabelled: Vec::new(),
            class_names: ["ant", "bee", "cow"].map(String::from).to_vec(),
        };
        let candle = data.to_candle()?;
        assert_eq!((candle.train_images.dims(), candle.labels), (&[3, 3, 32, 32][..], 3));
        assert_eq!(candle.train_labels.to_vec1::<u8>()?, [2, 0, 1]);
        assert_eq!(candle.train_images.flatten_all()?.to_vec1::<f32>()?[1], 7. / 255.);
        let back = Dataset::from_candle("theirs", &candle)?;
        assert_eq!((back.name.as_str(), &back.class_names[2]), ("theirs", &"2".to_string()));
        assert_eq!((back.train.shape(), back.test.len()), ((3, 32, 32), 1));
        assert_eq!(contents(&back.train), contents(&data.train));

        // Rows of 784 values, as in candle's MNIST.
        let rows = Tensor::from_vec(pixels(2 * 784), (2, 784), &Device::Cpu)?;
        let rows = (rows.to_dtype(DType::F32)? / 255.)?;
        let labels = Tensor::new(&[1u8, 0], &Device::Cpu)?;
        let of = |images: &Tensor, labels: &Tensor| {
            Dataset::from_candle(
                "mnist",
                &vision::Dataset {
                    train_images: images.clone(),
                    train_labels: labels.clone(),
                    test_images: images.clone(),
                    test_labels: labels.clone(),
                    labels: 2,
                },
            )
        };
        let mnist = of(&rows, &labels)?.train;
        assert_eq!(mnist.shape(), (1, 28, 28));
        assert_eq!(contents(&mnist), (pixels(2 * 784), vec![1, 0]));
        for (images, labels, says) in [
            ((&rows * 0.5)?, &labels, "no pixel"),
            ((&rows - 0.5)?, &labels, "a pixel of -0.5"),
            (rows.narrow(1, 0, 700)?.contiguous()?, &labels, "[2, 700]"),
            (rows.clone(), &Tensor::new(&[2u8, 0], &Device::Cpu)?, "label 2"),
        ] {
            let error = of(&images, labels).unwrap_err().to_string();
            assert!(
                says == "no pixel" && error.contains("a pixel of 0.0") || error.contains(says),
                "{error}"
            );
        }
        Ok(())
    }
}
