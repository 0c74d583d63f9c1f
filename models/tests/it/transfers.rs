//! A training step needs nothing from the host but its batch, and waits for no answer.
//!
//! Transfers are counted with the ops that GPUs run. The first steps create what is created once, and are not counted.

use super::devices::{
    Result, STEPS, amit_learner, amit_learner_by, ghl_learner, golkar_learner,
    krotov_hopfield_learner, miconi_learner,
};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::{Transfers, transfers};
use candle_hebbian::ops::composed;
use hebbian_data::digits;
use hebbian_models::amit::Protocol;
use hebbian_models::softhebb;
use hebbian_train::{Learner, LinearHead, LinearHeadConfig, Method as _, Start};

const CPU: Device = Device::Cpu;
/// Steps before those that count.
const FIRST: usize = 2;

/// The transfers of [`STEPS`] less [`FIRST`] steps.
fn of_steps<L: Learner>(mut learner: L) -> Result<Transfers> {
    composed(|| {
        for _ in 0..FIRST {
            learner.step()?;
        }
        let (stepped, transferred) = transfers(|| (FIRST..STEPS).try_for_each(|_| learner.step()));
        stepped?;
        Ok(transferred)
    })
}

/// The transfers with this many uploads per step, and this many reads in all.
fn expected(uploads: usize, reads: usize) -> Transfers {
    Transfers { uploads: uploads * (STEPS - FIRST), reads }
}

fn softhebb_learner(preset: &str) -> Result<softhebb::Learner> {
    let mut preset = softhebb::preset(preset)?;
    (preset.training.batch_size, preset.training.head_batch_size) = (20, 20);
    let mut data = digits();
    data.train = data.train.take(STEPS * 20);
    let start = Start { rng: Rng::new(1), device: CPU, quiet: true };
    let options = softhebb::Options { preset, baselines: false };
    let mut learner = softhebb::Softhebb::learner(&options, &data, &start)?;
    learner.begin()?;
    Ok(learner)
}

/// Images and labels. The values that the monitor samples, in one step in ten of the layer that learns, are read later.
#[test]
fn of_softhebb() -> Result {
    assert_eq!(of_steps(softhebb_learner("softhebb-cnn-digits")?)?, expected(2, 0));
    Ok(())
}

/// Images, labels, and the masks of both dropouts, which are drawn on the host so that they are the same everywhere.
#[test]
fn of_amit() -> Result {
    assert_eq!(of_steps(amit_learner(&CPU)?)?, expected(4, 0));
    Ok(())
}

/// As above, and for each of the three layers the sizes of the signs, or the noise of the mirror.
#[test]
fn of_amit_with_feedback_that_is_drawn() -> Result {
    for protocol in [Protocol::BatchwiseRandomSign, Protocol::WeightMirror { rate: 0.1 }] {
        assert_eq!(of_steps(amit_learner_by(protocol, &CPU)?)?, expected(7, 0), "{protocol}");
    }
    Ok(())
}

/// Images and labels. The monitor samples winners and outputs of each layer fifty times an epoch, and so at each of
/// these few steps.
#[test]
fn of_miconi() -> Result {
    let learner = miconi_learner(&CPU)?;
    let layers = learner.model().network().stack().blocks().len();
    assert_eq!(of_steps(learner)?, expected(2, 2 * layers * (STEPS - FIRST)));
    Ok(())
}

/// The indices of the samples; the samples are on the device.
#[test]
fn of_golkar() -> Result {
    assert_eq!(of_steps(golkar_learner(&CPU)?)?, expected(1, 0));
    Ok(())
}

/// Images, labels, and the masks of dropout.
#[test]
fn of_ghl() -> Result {
    assert_eq!(of_steps(ghl_learner(&CPU)?)?, expected(3, 0));
    Ok(())
}

#[test]
fn of_krotov_and_hopfield() -> Result {
    assert_eq!(of_steps(krotov_hopfield_learner(&CPU)?)?, expected(2, 0));
    Ok(())
}

/// Two uploads an epoch, order and labels, and the mask of each of its ten steps; one read, at the end.
#[test]
fn of_a_head() -> Result {
    let (mut rng, labels) = (Rng::new(3), vec![1u32; 100]);
    let features = Tensor::ones((100, 8), DType::F32, &CPU)?;
    let config = LinearHeadConfig { batch_size: 10, ..Default::default() };
    let mut head = LinearHead::new(config, 8, 2, DType::F32, &CPU, &mut rng)?;
    let mut epoch = || composed(|| head.train_epoch(&features, &labels, &mut rng));
    epoch()?;
    let (trained, transferred) = transfers(epoch);
    trained?;
    assert_eq!(transferred, Transfers { uploads: 2 + 10, reads: 1 });
    Ok(())
}
