//! How well classes are distinguished: by the model, and by the outputs of each of its layers.

use super::images::{Images, multiplications};
use super::sheet::Sheet;
use crate::rows::{Of, Ridged, rows};
use anyhow::Result;
use candle::{D, DType, Device, Tensor};
use candle_hebbian::device::to_host;
use hebbian_data::{Dataset, evenly};
use hebbian_models::Model;
use hebbian_train::{ConfusionMatrix, Error, Progress};
use serde::Serialize;
use std::collections::BTreeMap;

/// Images per batch.
const BATCH: usize = 100;
/// How many pairs of classes are shown, and how many images of each.
const PAIRS: usize = 12;
const OF_PAIR: usize = 8;
/// How many multiplications classifying may take, and how many images are classified at least.
const CLASSIFYING: u64 = 100_000_000_000;
const FEW_IMAGES: usize = 100;
/// Images that the read-outs of layers learn from and are tested with; with fewer than `LEAST`, their accuracies mean
/// nothing.
const LEARNED: usize = 2000;
const TESTED: usize = 1000;
const LEAST: usize = 500;
/// The most features of a layer that are read out; with more it would take seconds.
const WIDEST: usize = 4096;
/// The penalty on the squares of weights: one that suits features of standard deviation 1 and this number of images.
const PENALTY: f64 = 30.0;

/// The images that are classified wrongly.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Mistakes {
    /// The number of images that were classified.
    images: usize,
    wrong: usize,
    pairs: Vec<Pair>,
    sheet: Option<Sheet>,
}

/// Images of one class that are taken for another.
#[derive(Debug, Clone, Serialize, PartialEq)]
struct Pair {
    label: usize,
    predicted: usize,
    count: usize,
    /// The index of the first of them in the sheet, and how many the sheet has.
    first: usize,
    shown: usize,
}

/// Classifies images, and collects the mistakes: of each pair of classes, first those that the model is most wrong
/// about. `None` if the model has no read-out.
pub(super) fn classify(
    model: &Model,
    images: &Images,
    device: &Device,
) -> Result<Option<(ConfusionMatrix, Mistakes)>> {
    let layers = model.network().units()?.len();
    let cost = if layers > 0 { multiplications(model, images, device, layers - 1)? } else { 0 };
    let count = images.affordable(cost, CLASSIFYING, FEW_IMAGES);
    let all = images.some(count);
    let labels: Vec<u32> = all.iter().map(|&index| images.set.labels()[index]).collect();
    let (mut predicted, mut margins) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for indices in all.chunks(BATCH) {
        let (batch, _) = images.set.batch(indices, DType::F32, device)?;
        let Some(scores) = if_read_out(model.scores(&batch))? else { return Ok(None) };
        let classes: Vec<u32> = scores.argmax(D::Minus1)?.to_vec1()?;
        let scores: Vec<Vec<f64>> = to_host(&scores)?.to_vec2()?;
        let of_batch = &labels[predicted.len()..];
        margins.extend(scores.iter().zip(&classes).zip(of_batch).map(
            |((of_classes, &class), &label)| {
                of_classes[class as usize] - of_classes[label as usize]
            },
        ));
        predicted.extend(classes);
    }
    let confusion = ConfusionMatrix::new(&labels, &predicted, model.class_names().len())?;
    let (pairs, shown) = pairs(&labels, &predicted, &margins);
    let shown: Vec<usize> = shown.into_iter().map(|at| all[at]).collect();
    let wrong = labels.iter().zip(&predicted).filter(|(label, class)| label != class).count();
    let sheet = match shown.is_empty() {
        true => None,
        false => Some(Sheet::new(&images.shown(&shown)?, images.shades())?),
    };
    Ok(Some((confusion, Mistakes { images: count, wrong, pairs, sheet })))
}

/// Returns the scores of a model; `None` if it has no read-out.
fn if_read_out(scores: hebbian_train::Result<Tensor>) -> Result<Option<Tensor>> {
    match scores {
        Ok(scores) => Ok(Some(scores.detach())),
        Err(Error::NoReadout(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the pairs of classes that are confused most often, and the images to show of them, one pair after the
/// other: first those with the largest of the `margins` by which the wrong class is ahead.
fn pairs(labels: &[u32], predicted: &[u32], margins: &[f64]) -> (Vec<Pair>, Vec<usize>) {
    let mut all: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for (index, (&label, &class)) in labels.iter().zip(predicted).enumerate() {
        if label != class {
            all.entry((label, class)).or_default().push(index);
        }
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, images)| std::cmp::Reverse(images.len()));
    let (mut pairs, mut shown) = (Vec::new(), Vec::new());
    for ((label, class), mut images) in all.into_iter().take(PAIRS) {
        images.sort_by(|&a, &b| margins[b].total_cmp(&margins[a]));
        let some = &images[..images.len().min(OF_PAIR)];
        pairs.push(Pair {
            label: label as usize,
            predicted: class as usize,
            count: images.len(),
            first: shown.len(),
            shown: some.len(),
        });
        shown.extend(some);
    }
    (pairs, shown)
}

/// How well the classes are read out of a layer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Readable {
    name: String,
    features: usize,
    accuracy: f64,
    /// Images that the read-out learned from, and was tested with.
    learned: usize,
    tested: usize,
}

/// Fits ridge regression to the pixels and to the outputs of every layer, in the same way for all methods. Leaves out
/// what would take long: single layers, or all of them.
pub(super) fn by_layer(model: &Model, data: &Dataset, device: &Device) -> Result<Vec<Readable>> {
    let Some(images) = Images::new(&data.train, model) else { return Ok(Vec::new()) };
    let units = model.network().units()?;
    let known = units.len();
    let cost = if known > 0 { multiplications(model, &images, device, known - 1)? } else { 0 };
    let learned = images.affordable(cost, CLASSIFYING, 1).min(LEARNED);
    let tested = data.test.len().min(TESTED).min(learned);
    if learned < LEAST.min(data.train.len()) || tested == 0 {
        return Ok(Vec::new());
    }
    let classes = model.class_names().len();
    let train = data.train.select(&evenly(data.train.len(), learned))?;
    let test = data.test.select(&evenly(data.test.len(), tested))?;
    let mut all = Vec::new();
    for layer in 0..=model.layers() {
        let of = match layer {
            0 => Of::Pixels,
            layer => Of::Layer(layer - 1),
        };
        let features = |set| rows(model, of, set, device, &mut Progress::new(0, "", true));
        let seen = features(&test)?;
        let width = seen.dim(1)?;
        if width > WIDEST {
            continue;
        }
        let ridged = Ridged::new(features(&train)?, &seen, classes)?;
        let (accuracy, _) = ridged.accuracy(train.labels(), test.labels(), &[PENALTY])?;
        let name = match layer {
            0 => "pixels".to_string(),
            layer if known == model.layers() => units[layer - 1].name.clone(),
            layer => format!("layer {layer}"),
        };
        all.push(Readable { name, features: width, accuracy, learned, tested });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any other error is no sign of a missing read-out.
    #[test]
    fn a_model_without_a_read_out_classifies_nothing() {
        let (data, model) = (hebbian_data::digits(), Model::from_zoo("softhebb-digits").unwrap());
        let some = Dataset { train: data.train.take(100), test: data.test.take(20), ..data };
        let random = model.random(&some, 0, &Device::Cpu).unwrap().unwrap();
        let images = Images::new(&some.test, &model).unwrap();
        let classified = |model| classify(model, &images, &Device::Cpu).unwrap();
        assert!(classified(&random).is_none());
        assert_eq!(classified(&model).unwrap().1.images, 20);

        let other = if_read_out(Err(Error::Argument("out of memory".to_string())));
        assert_eq!(other.unwrap_err().to_string(), "out of memory");
    }

    #[test]
    fn pairs_come_in_the_order_of_how_often_and_images_of_how_wrong() {
        let margins = [0.0, 0.3, 0.1, 0.0, 0.2, 0.4];
        let (pairs, shown) = pairs(&[0, 1, 1, 2, 2, 1], &[0, 0, 2, 2, 1, 2], &margins);
        let pair =
            |label, predicted, count, first| Pair { label, predicted, count, first, shown: count };
        assert_eq!(pairs, [pair(1, 2, 2, 0), pair(1, 0, 1, 2), pair(2, 1, 1, 3)]);
        assert_eq!(shown, [5, 2, 1, 4]);
    }
}
