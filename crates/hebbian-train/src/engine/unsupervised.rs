//! Networks that learn from images alone and are then read out: the learner that they share.

use std::time::Instant;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Batches, Dataset, ImageSet};
use serde::Serialize;
use serde_json::Value;

use super::{Clock, Figures, Learner, Measured, Method, Model, OfPreset, Recorder, Start, shown};
use crate::{
    Checkpoint, Error, LinearHead, LinearHeadConfig, LinearReadout, Picture, Preset, ReadoutResult,
    Result, Ridge, Standardisation, Units, collect_features,
};

/// Images whose features are computed together.
const FEATURES_BATCH: usize = 500;

/// A method whose network is [`Unsupervised`]. It is a [`Method`] whose options are its preset alone.
pub trait UnsupervisedMethod {
    /// As [`Method::NAME`].
    const NAME: &'static str;

    /// As [`Method::MAY_GROW`].
    const MAY_GROW: &'static [&'static str] = &[];

    /// As [`Method::AUGMENTS`].
    const AUGMENTS: bool = true;

    /// Network and recipe.
    type Preset: Preset + Clone + Serialize;

    /// What learns.
    type Network: Unsupervised;

    /// A network with fresh weights for images `(C, H, W)`.
    ///
    /// # Errors
    /// A preset that is wrong, or does not fit the images.
    fn network(
        preset: &Self::Preset,
        image: (usize, usize, usize),
        rng: &Rng,
        device: &Device,
    ) -> Result<Self::Network>;

    /// How long it learns, and how it is read out; not at all, unless a method says otherwise.
    fn recipe(_preset: &Self::Preset) -> Recipe {
        Recipe { epochs: 0, batch_size: 1, head: LinearHeadConfig::default() }
    }
}

impl<M: UnsupervisedMethod> Method for M {
    const NAME: &'static str = M::NAME;
    const MAY_GROW: &'static [&'static str] = M::MAY_GROW;
    const AUGMENTS: bool = M::AUGMENTS;
    type Preset = M::Preset;
    type Options = OfPreset<M::Preset>;
    type Learner = UnsupervisedLearner<M::Network>;

    fn preset(options: &Self::Options) -> &M::Preset {
        &options.preset
    }

    fn preset_mut(options: &mut Self::Options) -> &mut M::Preset {
        &mut options.preset
    }

    fn learner(
        OfPreset { preset }: &Self::Options,
        data: &Dataset,
        start: &Start,
    ) -> Result<Self::Learner> {
        let network = M::network(preset, data.train.shape(), &start.rng, &start.device)?;
        let model = WithHead::new(network, data.class_names.len());
        UnsupervisedLearner::new(model, M::recipe(preset), data, start)
    }

    fn model(
        OfPreset { preset }: &Self::Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<WithHead<M::Network>> {
        Ok(WithHead::new(M::network(preset, image, &Rng::new(0), device)?, classes))
    }
}

/// A network of one layer that learns from images alone: what [`UnsupervisedLearner`] needs of it.
pub trait Unsupervised {
    /// Its tensors, by stable names.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Puts them back.
    ///
    /// # Errors
    /// A checkpoint of another network.
    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()>;

    /// `F`, the features of an image.
    fn width(&self) -> usize;

    /// The features `(B, F)` of images `(B, C, H, W)`.
    ///
    /// # Errors
    /// Images of another size.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// Its layer, as [`Model::units`] wants it.
    ///
    /// # Errors
    /// What the device says.
    fn units(&self) -> Result<Option<Units>> {
        Ok(None)
    }

    /// As [`Model::responses`], where [`units`](Self::units) says that there are any.
    ///
    /// # Errors
    /// Images of another size.
    fn responses(&self, _images: &Tensor) -> Result<Tensor> {
        Err(Error::Argument("there are no responses to draw".to_string()))
    }

    /// Computes what fresh weights need of the training images.
    ///
    /// # Errors
    /// Images that it cannot be computed of.
    fn begin(&mut self, train: &ImageSet, rng: &Rng, quiet: bool) -> Result<()> {
        let (_, _, _) = (train, rng, quiet);
        Ok(())
    }

    /// Penalties of [ridge regression](Ridge::fit_best), for a network whose standardised features are read
    /// out by that in place of the recipe's head.
    fn penalties(&self) -> Option<&[f64]> {
        None
    }

    /// One step on a batch, in the epoch that begins when the share `progress` of all is done.
    ///
    /// # Errors
    /// Images of another size.
    fn learn(&mut self, images: &Tensor, progress: f64) -> Result<()>;

    /// What there is to measure of it after an epoch.
    ///
    /// # Errors
    /// What the device says.
    fn measure(&self) -> Result<Measured>;

    /// What there is to see of it, for images `(C, H, W)`.
    ///
    /// # Errors
    /// Nothing to draw.
    fn pictures(&self, image: (usize, usize, usize)) -> Result<Vec<(String, Picture)>>;
}

/// A network with the linear head that reads it out, once that is trained.
#[derive(Debug)]
pub struct WithHead<N> {
    /// The network.
    pub network: N,
    head: Option<LinearReadout>,
    classes: usize,
}

impl<N> WithHead<N> {
    /// A network before there is a head for so many classes.
    pub fn new(network: N, classes: usize) -> Self {
        Self { network, head: None, classes }
    }
}

impl<N: Unsupervised> Model for WithHead<N> {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let head = self.head.iter().flat_map(LinearReadout::tensors);
        self.network.tensors().into_iter().chain(head).collect()
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.network.restore(checkpoint)?;
        self.head = LinearReadout::restore(checkpoint, self.classes, self.network.width())?;
        Ok(())
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.network.features(images)
    }

    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        let head = self.head.as_ref().ok_or_else(LinearReadout::untrained)?;
        head.scores(&self.features(images)?)
    }

    fn units(&self) -> Result<Vec<Units>> {
        Ok(self.network.units()?.into_iter().collect())
    }

    fn responses(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        match layer {
            0 => self.network.responses(images),
            _ => Err(Error::Argument(format!("there is no layer {layer}: expected 0"))),
        }
    }
}

/// How long a network learns, and how it is read out.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Times the images are seen.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// How the head is trained on the features, which are computed once.
    pub head: LinearHeadConfig,
}

/// An [`Unsupervised`] network in training: a batch a step, in an order drawn again for each epoch, then the
/// head. What is drawn follows from the seed and the number of the epoch.
#[derive(Debug)]
pub struct UnsupervisedLearner<N> {
    model: WithHead<N>,
    recipe: Recipe,
    data: Dataset,
    /// All images to learn from, those without labels too.
    seen: ImageSet,
    rng: Rng,
    device: Device,
    quiet: bool,
    clock: Clock,
    total: Clock,
    /// What is left of an epoch, with its number.
    under_way: Option<(usize, Batches)>,
}

impl<N: Unsupervised> UnsupervisedLearner<N> {
    /// A fresh network and what it learns from.
    ///
    /// # Errors
    /// No images per step; more epochs than can be counted; a head that cannot be trained so.
    pub fn new(
        model: WithHead<N>,
        recipe: Recipe,
        data: &Dataset,
        Start { rng, device, quiet }: &Start,
    ) -> Result<Self> {
        if recipe.batch_size == 0 {
            return Err(Error::Argument("the batch size is 0, expected 1 or more".to_string()));
        }
        let seen = data.seen()?;
        let (count, epochs) = (seen.len(), recipe.epochs);
        let images = shown(count, epochs)? as u64;
        let steps = (count.div_ceil(recipe.batch_size) * epochs) as u64;
        let learner = Self {
            model,
            recipe,
            data: data.clone(),
            seen,
            rng: rng.clone(),
            device: device.clone(),
            quiet: *quiet,
            clock: Clock::default(),
            total: Clock { steps, images },
            under_way: None,
        };
        // Refused before anything is learned.
        match learner.model.network.penalties() {
            Some(alphas) => {
                let width = learner.model.network.width();
                let check = |&alpha: &f64| Ridge::check(data.train.len(), width, alpha);
                alphas.iter().try_for_each(check)?;
            }
            None => drop(learner.head()?),
        }
        Ok(learner)
    }

    /// The epoch that is going on, from 0, and how many of its images were shown.
    fn place(&self) -> (usize, usize) {
        let (count, shown) = (self.seen.len().max(1), self.clock.images as usize);
        (shown / count, shown % count)
    }

    /// A head with fresh weights.
    fn head(&self) -> Result<LinearHead> {
        let (features, classes) = (self.model.network.width(), self.model.classes);
        let (config, mut rng) = (self.recipe.head.clone(), self.rng.stream("head.weight"));
        LinearHead::new(config, features, classes, DType::F32, &self.device, &mut rng)
    }

    /// What `compute` makes of the images of a set, on the device `to`.
    fn rows(
        &self,
        set: &ImageSet,
        to: &Device,
        recorder: &Recorder<'_>,
        compute: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut progress = recorder.progress(set.len(), "features");
        let rows = collect_features(set.in_order(FEATURES_BATCH)?, to, |indices| {
            recorder.go_on()?;
            let (images, _) = set.batch(indices, DType::F32, &self.device)?;
            progress.advance(indices.len() as u64);
            compute(&images)
        });
        progress.finish();
        rows
    }

    fn features(&self, set: &ImageSet, recorder: &Recorder<'_>) -> Result<Tensor> {
        self.rows(set, &self.device, recorder, |images| self.model.features(images))
    }

    /// Ridge regression on what `compute` makes of images, standardised: the read-out, its penalty, and what
    /// it makes of the test images.
    fn ridge(
        &self,
        name: &str,
        alphas: &[f64],
        recorder: &Recorder<'_>,
        compute: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<(LinearReadout, f64, ReadoutResult)> {
        let (started, Dataset { train, test, class_names, .. }) = (Instant::now(), &self.data);
        let (rows, classes) =
            (self.rows(train, &Device::Cpu, recorder, &compute)?, class_names.len());
        let scale = Standardisation::of(&rows)?;
        let (ridge, alpha) =
            Ridge::fit_best(&scale.apply(&rows)?, train.labels(), classes, alphas)?;
        let head = scale.fold(&ridge.weight().t()?, ridge.bias())?;
        drop(rows);
        let rows = self.rows(test, &Device::Cpu, recorder, compute)?;
        let judged = ReadoutResult::judge(name, started, &head, &rows, test.labels(), classes)?;
        Ok((head, alpha, judged))
    }

    /// The figures of [`ridge`](Self::ridge), beside those of the same on pixels.
    fn finish_with_ridge(&mut self, recorder: &Recorder<'_>, alphas: &[f64]) -> Result<Figures> {
        let features = |images: &Tensor| self.model.features(images);
        let (head, alpha, judged) = self.ridge("ridge", alphas, recorder, features)?;
        let pixels = |images: &Tensor| Ok(images.flatten_from(1)?);
        let (_, _, pixels) = self.ridge("ridge on raw pixels", alphas, recorder, pixels)?;
        self.model.head = Some(head.to(&self.device)?);
        Ok(Figures {
            test_accuracy: judged.test_accuracy,
            confusion: judged.confusion.clone(),
            readouts: vec![judged, pixels],
            extras: [("alpha".to_string(), alpha.into())].into(),
        })
    }
}

impl<N: Unsupervised> Learner for UnsupervisedLearner<N> {
    type Model = WithHead<N>;

    fn model(&self) -> &WithHead<N> {
        &self.model
    }

    fn model_mut(&mut self) -> &mut WithHead<N> {
        &mut self.model
    }

    fn uses_labels(&self) -> bool {
        false
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn total(&self) -> Clock {
        self.total
    }

    fn begin(&mut self) -> Result<()> {
        self.model.network.begin(&self.seen, &self.rng, self.quiet)
    }

    fn into_model(self) -> WithHead<N> {
        self.model
    }

    fn step(&mut self) -> Result<()> {
        let (epoch, at) = self.place();
        let mut batches = match self.under_way.take() {
            Some((of, batches)) if of == epoch => batches,
            _ => {
                let mut rng = self.rng.stream(&format!("order.{epoch}"));
                let mut batches = self.seen.shuffled(self.recipe.batch_size, &mut rng)?;
                batches.pass(at / self.recipe.batch_size);
                batches
            }
        };
        let indices = batches.next().unwrap_or_default();
        let (moment, seen) = (format!("augmentation.{epoch}"), &self.seen);
        let (images, _) =
            seen.augmented_batch(&indices, &self.rng, &moment, DType::F32, &self.device)?;
        self.model.network.learn(&images, epoch as f64 / self.recipe.epochs as f64)?;
        self.clock.tick(indices.len());
        self.under_way = Some((epoch, batches));
        Ok(())
    }

    fn stage(&self) -> String {
        format!("epoch {}", (self.place().0 + 1).min(self.recipe.epochs))
    }

    fn is_due(&self) -> bool {
        self.place().1 == 0
    }

    fn measure(&mut self) -> Result<Measured> {
        self.model.network.measure()
    }

    fn go_on(&mut self, clock: Clock, _: &Value, _: &mut Checkpoint) -> Result<()> {
        self.clock = clock;
        self.under_way = None;
        Ok(())
    }

    /// The head is left out: it is of the features that the network will have.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.model.network.restore(checkpoint)
    }

    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        self.model.network.pictures(self.data.train.shape())
    }

    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures> {
        if let Some(alphas) = self.model.network.penalties().map(<[f64]>::to_vec) {
            return self.finish_with_ridge(recorder, &alphas);
        }
        let (started, what) = (Instant::now(), "the read-out");
        let (features, labels) =
            (self.features(&self.data.train, recorder)?, self.data.train.labels());
        let (mut head, mut rng) = (self.head()?, self.rng.stream("head.batches"));
        let epochs = head.config().epochs;
        let mut progress = recorder.progress(epochs * labels.len(), "head");
        for epoch in 1..=epochs {
            recorder.go_on()?;
            let stats = head.train_epoch(&features, labels, &mut rng);
            let stats = stats.map_err(|error| recorder.diverged(error, what))?;
            recorder.check(what, epoch, &head.tensors())?;
            let values = [("loss", stats.loss), ("train_accuracy", stats.accuracy)];
            recorder.log("head", epoch, &values)?;
            progress.advance(labels.len() as u64);
        }
        progress.finish();
        let test = self.features(&self.data.test, recorder)?;
        let (labels, classes) = (self.data.test.labels(), self.data.class_names.len());
        let judged = ReadoutResult::judge("head", started, &head, &test, labels, classes)?;
        self.model.head = Some(LinearReadout::new(head.weight(), head.bias())?);
        Ok(Figures {
            test_accuracy: judged.test_accuracy,
            confusion: judged.confusion.clone(),
            readouts: vec![judged],
            ..Figures::default()
        })
    }
}
