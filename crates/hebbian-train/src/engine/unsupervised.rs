//! The learner shared by networks that learn from images alone and are then read out.

use std::fmt::Debug;
use std::time::Instant;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Batches, Dataset, ImageSet};
use serde::Serialize;
use serde_json::Value;

use super::learner::check_layer;
use super::{
    Clock, Figures, Learner, Measured, Method, Model, OfPreset, Recorder, Start, State, shown,
};
use crate::{
    Checkpoint, Error, LinearHead, LinearHeadConfig, LinearReadout, Picture, Preset, ReadoutResult,
    Result, Ridge, Standardisation, Units, collect_features,
};

/// The number of images whose features are computed together.
const FEATURES_BATCH: usize = 500;

/// A method whose network is [`Unsupervised`]. It is a [`Method`] whose options are its preset alone.
pub trait UnsupervisedMethod {
    /// As [`Method::NAME`].
    const NAME: &'static str;

    /// As [`Method::MAY_GROW`].
    const MAY_GROW: &'static [&'static str] = &[];

    /// As [`Method::AUGMENTS`].
    const AUGMENTS: bool = true;

    /// The network and its recipe.
    type Preset: Preset + Clone + Serialize;

    /// The network that learns.
    type Network: Unsupervised;

    /// Makes a network with fresh weights for images `(C, H, W)`.
    ///
    /// # Errors
    /// If the preset is wrong, or does not fit the images.
    fn network(
        preset: &Self::Preset,
        image: (usize, usize, usize),
        rng: &Rng,
        device: &Device,
    ) -> Result<Self::Network>;

    /// How long the network learns, and how it is read out; it does not learn at all unless a method says
    /// otherwise.
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

/// A network of one layer that learns from images alone, as [`UnsupervisedLearner`] uses it.
pub trait Unsupervised: Send + Sync {
    /// The tensors of the network, with stable names.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Restores the tensors from a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint belongs to another network.
    fn restore(&mut self, checkpoint: &mut Checkpoint) -> Result<()>;

    /// `F`, the number of features of an image.
    fn width(&self) -> usize;

    /// Computes the features `(B, F)` of images `(B, C, H, W)`.
    ///
    /// # Errors
    /// If the images have another size.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// Computes the same features as [`Model::layer_features`] has them. A network whose features are those of maps
    /// returns the maps `(B, K, h, w)`.
    ///
    /// # Errors
    /// If the images have another size.
    fn layer_features(&self, images: &Tensor) -> Result<Tensor> {
        self.features(images)
    }

    /// What learning goes on from besides the [`tensors`](Self::tensors), for instance the
    /// [`State`](candle_hebbian::State) of a rule, with names that begin with `state.`; nothing unless a method says
    /// otherwise. Without it, a run that was stopped and resumed would end differently.
    fn state(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Restores the [`state`](Self::state) from a checkpoint.
    ///
    /// # Errors
    /// If it is not there.
    fn go_on(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let _ = checkpoint;
        Ok(())
    }

    /// The layer of the network, for [`Model::units`].
    ///
    /// # Errors
    /// If the device fails.
    fn units(&self) -> Result<Option<Units>> {
        Ok(None)
    }

    /// As [`Model::responses`], if [`units`](Self::units) says that there are any.
    ///
    /// # Errors
    /// If the images have another size.
    fn responses(&self, _images: &Tensor) -> Result<Tensor> {
        Err(Error::Argument("there are no responses to draw".to_string()))
    }

    /// Computes what fresh weights need from the training images.
    ///
    /// # Errors
    /// If it cannot be computed from the images.
    fn begin(&mut self, train: &ImageSet, rng: &Rng, quiet: bool) -> Result<()> {
        let (_, _, _) = (train, rng, quiet);
        Ok(())
    }

    /// How the network is read out, if not by the recipe's head.
    fn own_readout(&self) -> Option<OwnReadout<'_>> {
        None
    }

    /// Learns from one batch; `progress` is the share of all epochs that was done when the current epoch
    /// began.
    ///
    /// # Errors
    /// If the images have another size.
    fn learn(&mut self, images: &Tensor, progress: f64) -> Result<()>;

    /// Measures the network after an epoch.
    ///
    /// # Errors
    /// If the device fails.
    fn measure(&self) -> Result<Measured>;

    /// Draws pictures of the network, for images `(C, H, W)`.
    ///
    /// # Errors
    /// If there is nothing to draw.
    fn pictures(&self, image: (usize, usize, usize)) -> Result<Vec<(String, Picture)>>;
}

/// How a network is read out, if not by the head of its [recipe](Recipe).
#[derive(Debug)]
pub enum OwnReadout<'a> {
    /// By [ridge regression](Ridge::fit_best) on the standardised features, with the best of these penalties.
    Ridge(&'a [f64]),
    /// By a head of the method's own.
    Head(&'a dyn OwnHead),
}

/// A linear read-out that a method trains in a way of its own.
pub trait OwnHead: Debug {
    /// The type in which the features of all training images are in memory. Default: f32.
    fn dtype(&self) -> DType {
        DType::F32
    }

    /// Trains on the features `(N, F)` of the training images. Everything that is drawn follows from `rng`.
    ///
    /// # Errors
    /// If the training diverges, or the run was asked to stop.
    fn train(
        &self,
        features: &Tensor,
        labels: &[u32],
        classes: usize,
        rng: &Rng,
        recorder: &mut Recorder<'_>,
    ) -> Result<LinearReadout>;
}

/// A network with the linear head that reads it out, once the head is trained.
#[derive(Debug)]
pub struct WithHead<N> {
    /// The network.
    pub network: N,
    head: Option<LinearReadout>,
    classes: usize,
}

impl<N> WithHead<N> {
    /// Makes a network that has no head yet, for so many `classes`.
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

    fn layer_features(&self, layer: usize, images: &Tensor) -> Result<Tensor> {
        check_layer(layer, 1)?;
        self.network.layer_features(images)
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
        check_layer(layer, 1)?;
        self.network.responses(images)
    }
}

/// How long a network learns, and how it is read out.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// How many times the images are seen.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// How the head is trained on the features, which are computed once.
    pub head: LinearHeadConfig,
}

/// An [`Unsupervised`] network in training: one batch per step, in an order that is drawn again for each
/// epoch; the head is trained afterwards. Everything that is drawn follows from the seed and the number of
/// the epoch.
#[derive(Debug)]
pub struct UnsupervisedLearner<N> {
    model: WithHead<N>,
    recipe: Recipe,
    data: Dataset,
    /// All images to learn from, including those without labels.
    seen: ImageSet,
    rng: Rng,
    device: Device,
    quiet: bool,
    clock: Clock,
    total: Clock,
    /// The number of the epoch of the last step, counted from 0, and its remaining batches.
    under_way: Option<(usize, Batches)>,
}

impl<N: Unsupervised> UnsupervisedLearner<N> {
    /// Makes a learner of a fresh network and the data that it learns from.
    ///
    /// # Errors
    /// If the batch size is 0, the epochs are too many to count, or the head cannot be trained as the recipe
    /// says.
    pub fn new(
        model: WithHead<N>,
        recipe: Recipe,
        data: &Dataset,
        Start { rng, device, quiet }: &Start,
    ) -> Result<Self> {
        let seen = data.seen()?;
        let total = Clock::after_epochs(recipe.epochs, seen.len(), recipe.batch_size)?;
        let learner = Self {
            model,
            recipe,
            data: data.clone(),
            seen,
            rng: rng.clone(),
            device: device.clone(),
            quiet: *quiet,
            clock: Clock::default(),
            total,
            under_way: None,
        };
        // A read-out that cannot be trained is refused before anything is learned.
        match learner.model.network.own_readout() {
            Some(OwnReadout::Ridge(alphas)) => {
                let width = learner.model.network.width();
                let check = |&alpha: &f64| Ridge::check(data.train.len(), width, alpha);
                alphas.iter().try_for_each(check)?;
            }
            Some(OwnReadout::Head(_)) => {}
            None => {
                shown(data.train.len(), learner.recipe.head.epochs)?;
                drop(learner.head()?);
            }
        }
        Ok(learner)
    }

    /// The current epoch, counted from 0, and how many of its images were shown.
    fn place(&self) -> (usize, usize) {
        let (count, shown) = (self.seen.len().max(1), self.clock.images as usize);
        (shown / count, shown % count)
    }

    /// Makes a head with fresh weights.
    fn head(&self) -> Result<LinearHead> {
        let (features, classes) = (self.model.network.width(), self.model.classes);
        let (config, mut rng) = (self.recipe.head.clone(), self.rng.stream("head.weight"));
        LinearHead::new(config, features, classes, DType::F32, &self.device, &mut rng)
    }

    /// Applies `compute` to the images of a set, and gathers the rows on the device `to`.
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

    /// Fits ridge regression to the standardised output of `compute` for the images. Returns the read-out,
    /// its penalty, and its result on the test images.
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
        let (ridge, alpha) = Ridge::fit_best(&rows, &scale, train.labels(), classes, alphas)?;
        let head = scale.fold(&ridge.weight().t()?, ridge.bias())?;
        drop(rows);
        let rows = self.rows(test, &Device::Cpu, recorder, compute)?;
        let judged = ReadoutResult::judge(name, started, &head, &rows, test.labels(), classes)?;
        Ok((head, alpha, judged))
    }

    /// Trains a head of the network's own on the features of the training images.
    fn own_head(&self, head: &dyn OwnHead, recorder: &mut Recorder<'_>) -> Result<LinearReadout> {
        let Dataset { train, class_names, .. } = &self.data;
        let features = self.rows(train, &self.device, recorder, |images| {
            Ok(self.model.features(images)?.to_dtype(head.dtype())?)
        })?;
        head.train(&features, train.labels(), class_names.len(), &self.rng, recorder)
    }

    /// The figures of a trained head, which becomes the model's.
    fn finish_with(
        &mut self,
        head: LinearReadout,
        started: Instant,
        recorder: &Recorder<'_>,
    ) -> Result<Figures> {
        let test = self.features(&self.data.test, recorder)?;
        let (labels, classes) = (self.data.test.labels(), self.data.class_names.len());
        let judged = ReadoutResult::judge("head", started, &head, &test, labels, classes)?;
        self.model.head = Some(head);
        Ok(Figures {
            test_accuracy: judged.test_accuracy,
            confusion: judged.confusion.clone(),
            readouts: vec![judged],
            ..Figures::default()
        })
    }

    /// The figures of [`ridge`](Self::ridge) on the features, beside those on raw pixels.
    fn finish_with_ridge(
        &mut self,
        recorder: &mut Recorder<'_>,
        alphas: &[f64],
    ) -> Result<Figures> {
        let (name, width) = ("ridge", self.model.network.width());
        let kept = match recorder.kept::<(f64, ReadoutResult)>(name)? {
            Some((kept, checkpoint)) => {
                let head = LinearReadout::restore(&checkpoint, self.model.classes, width)?;
                head.map(|head| (head, kept))
            }
            None => None,
        };
        let (head, (alpha, judged)) = match kept {
            Some(kept) => kept,
            None => {
                let features = |images: &Tensor| self.model.features(images);
                let (head, alpha, judged) = self.ridge(name, alphas, recorder, features)?;
                recorder.keep(name, &(alpha, &judged), &head.tensors())?;
                (head, (alpha, judged))
            }
        };
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
        // Before anything can fail, so that the stage is this epoch.
        self.under_way = Some((epoch, batches));
        let (moment, seen) = (format!("augmentation.{epoch}"), &self.seen);
        let (images, _) =
            seen.augmented_batch(&indices, &self.rng, &moment, DType::F32, &self.device)?;
        self.model.network.learn(&images, epoch as f64 / self.recipe.epochs as f64)?;
        self.clock.tick(indices.len());
        Ok(())
    }

    /// The epoch of the last step, also of one that failed.
    fn stage(&self) -> String {
        let (done, at) = self.place();
        let begun = self.under_way.as_ref().is_some_and(|&(epoch, _)| epoch == done);
        format!("epoch {}", done + usize::from(at > 0 || begun))
    }

    fn is_due(&self) -> bool {
        self.place().1 == 0
    }

    fn measure(&mut self) -> Result<Measured> {
        self.model.network.measure()
    }

    fn state(&self) -> Result<State> {
        Ok(State { tensors: self.model.network.state(), ..State::default() })
    }

    fn go_on(&mut self, clock: Clock, _: &Value, checkpoint: &mut Checkpoint) -> Result<()> {
        self.clock = clock;
        self.under_way = None;
        self.model.network.go_on(checkpoint)
    }

    /// The head of the checkpoint is left out: a new one is trained on the features that the network will
    /// have.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.model.network.restore(checkpoint)
    }

    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        self.model.network.pictures(self.data.train.shape())
    }

    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures> {
        match self.model.network.own_readout() {
            Some(OwnReadout::Ridge(alphas)) => {
                let alphas = alphas.to_vec();
                return self.finish_with_ridge(recorder, &alphas);
            }
            Some(OwnReadout::Head(head)) => {
                let started = Instant::now();
                let head = self.own_head(head, recorder)?;
                return self.finish_with(head, started, recorder);
            }
            None => {}
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
        self.finish_with(LinearReadout::new(head.weight(), head.bias())?, started, recorder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::draw::Draw;
    use hebbian_data::transforms::Pipeline;

    /// A network that notes what it is shown: the values of the images of each batch, and the progress.
    struct Notes(Vec<(Vec<f32>, f64)>);

    impl Unsupervised for Notes {
        fn tensors(&self) -> Vec<(String, Tensor)> {
            Vec::new()
        }

        fn restore(&mut self, _: &mut Checkpoint) -> Result<()> {
            Ok(())
        }

        fn width(&self) -> usize {
            1
        }

        fn features(&self, images: &Tensor) -> Result<Tensor> {
            Ok(images.flatten_from(1)?)
        }

        fn learn(&mut self, images: &Tensor, progress: f64) -> Result<()> {
            self.0.push((images.flatten_all()?.to_vec1::<f32>()?, progress));
            Ok(())
        }

        fn measure(&self) -> Result<Measured> {
            Ok(Measured::default())
        }

        fn pictures(&self, _: (usize, usize, usize)) -> Result<Vec<(String, Picture)>> {
            Ok(Vec::new())
        }
    }

    /// Two epochs of two batches: the stage is the epoch of the last step, at the end of an epoch, too.
    #[test]
    fn the_stage_is_the_epoch_that_was_trained() -> Result<()> {
        let data = hebbian_data::digits();
        let data = Dataset { train: data.train.take(4), ..data };
        let recipe = Recipe { epochs: 2, batch_size: 2, head: LinearHeadConfig::default() };
        let start = Start { rng: Rng::new(1), device: Device::Cpu, quiet: true };
        let model = WithHead::new(Notes(Vec::new()), data.class_names.len());
        let mut learner = UnsupervisedLearner::new(model, recipe, &data, &start)?;
        let mut stages = vec![learner.stage()];
        while learner.clock() != learner.total() {
            learner.step()?;
            stages.push(learner.stage());
        }
        assert_eq!(stages, ["epoch 0", "epoch 1", "epoch 1", "epoch 2", "epoch 2"]);
        Ok(())
    }

    /// Ten images of different greys, two epochs of four batches: each epoch has all images, in another order and with
    /// other draws of the augmentation. The progress is that at the beginning of the epoch.
    #[test]
    fn each_epoch_is_drawn_anew() -> Result<()> {
        const IMAGES: usize = 10;
        let train = ImageSet::new((0..IMAGES as u8).collect(), vec![0; IMAGES], 1, 1, 1)?;
        let train = train.with_transforms(Pipeline::default(), Pipeline::default().then(Draw))?;
        let data = Dataset { train, ..hebbian_data::digits() };
        let recipe = Recipe { epochs: 2, batch_size: 3, head: LinearHeadConfig::default() };
        let start = Start { rng: Rng::new(1), device: Device::Cpu, quiet: true };
        let model = WithHead::new(Notes(Vec::new()), data.class_names.len());
        let mut learner = UnsupervisedLearner::new(model, recipe, &data, &start)?;
        while learner.clock() != learner.total() {
            learner.step()?;
        }
        let noted = &learner.model().network.0;
        let progress: Vec<f64> = noted.iter().map(|&(_, progress)| progress).collect();
        assert_eq!(progress, [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]);
        let values = noted.iter().flat_map(|(values, _)| values).map(|&value| value as usize);
        let values: Vec<usize> = values.collect();
        assert_eq!(values.len(), 2 * IMAGES);
        let (mut orders, mut draws) = (Vec::new(), Vec::new());
        for epoch in values.chunks(IMAGES) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            let images: Vec<usize> = sorted.iter().map(|value| value / 1000).collect();
            assert_eq!(images, (0..IMAGES).collect::<Vec<_>>());
            draws.push(sorted.iter().map(|value| value % 1000).collect::<Vec<_>>());
            orders.push(epoch.iter().map(|value| value / 1000).collect::<Vec<_>>());
        }
        assert_ne!(orders[0], orders[1]);
        assert_ne!(draws[0], draws[1]);
        Ok(())
    }
}
