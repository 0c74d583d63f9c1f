//! Two epochs of updated random feedback on MNIST, computed again: Akrout et al. (2019) logged the loss, the angles
//! between weights and feedback weights, and the angle of the error for a network of 784, 500 and 10 sigmoid units.
//! Their log has no decay of weights, so their rule is Amit's. The loss is the sum of ten sigmoid cross-entropies,
//! batches of 128 are taken in the order of the file, and the rate of the biases is a 128th of that of the weights.

use crate::common::{Result, shared};
use crate::numpy::Legacy;
use candle::{DType, Device, IndexOp, Module, Tensor, Var};
use candle_hebbian::feedback::{Learning, Source};
use candle_hebbian::{FeedbackConfig, FeedbackLayer, Geometry, WithFeedback};
use candle_nn::ops::sigmoid;
use candle_nn::{Optimizer, SGD};
use hebbian_data::ImageSet;
use hebbian_train::one_hot;

const CPU: &Device = &Device::Cpu;
const BATCH: usize = 128;
const RATE: f64 = 0.3;

/// Pixels as f32, divided by 255.
fn pixels(set: &ImageSet) -> Result<Tensor> {
    let indices: Vec<usize> = (0..set.len()).collect();
    let values = set.pixels(&indices)?;
    let values: Vec<f64> = values.into_iter().map(|p| f64::from(f32::from(p) / 255.0)).collect();
    Ok(Tensor::from_vec(values, (set.len(), 784), CPU)?)
}

/// What was logged after an epoch.
struct Epoch {
    /// The mean over the batches.
    loss: f64,
    /// The number of test images, of 10,000, that are classified correctly.
    right: usize,
    /// Between weights and feedback weights, by layer, in degrees.
    angles: [f64; 2],
    /// Between the errors that both send to the hidden layer for the first training image.
    of_error: f64,
}

fn angle(a: &Tensor, b: &Tensor) -> Result<f64> {
    let sum = |t: Tensor| t.sum_all()?.to_scalar::<f64>();
    let cosine = sum((a * b)?)? / (sum(a.sqr()?)? * sum(b.sqr()?)?).sqrt();
    Ok(cosine.acos().to_degrees())
}

#[test]
fn updated_random_feedback_is_the_logged_run() -> Result {
    let Some(data) = shared("mnist")? else { return Ok(()) };

    let sizes = [(784, 500), (500, 10)];
    let deviation = |(inputs, units)| 1.0 / ((inputs + units) as f64).sqrt();
    let mut rng = Legacy::new(1111);
    let biases = sizes.map(|size| rng.matrix(deviation(size), 1, size.1));
    let weights = sizes.map(|size| rng.matrix(deviation(size), size.1, size.0));
    // Feedback weights are drawn input by input.
    let feedback =
        sizes.map(|size| rng.matrix(deviation(size), size.0, size.1)?.t().map_err(Into::into));
    let biases =
        biases.map(|bias: Result<Tensor>| -> Result<Var> { Ok(Var::from_tensor(&bias?)?) });
    let [bias1, bias2] = biases;
    let (bias1, bias2) = (bias1?, bias2?);
    let updated =
        FeedbackConfig { source: Source::Own, learning: Learning::LikeWeights { rate: 1.0 } };
    let layers = weights.into_iter().zip(feedback).map(|(w, r): (_, Result<Tensor>)| {
        Ok(FeedbackLayer::from_tensors(&w?, Some(&r?), Geometry::Dense, updated)?)
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let fields = |x: &Tensor| -> candle::Result<(Tensor, Tensor)> {
        let hidden = sigmoid(&layers[0].forward(x)?.broadcast_add(&bias1)?)?;
        let output = layers[1].forward(&hidden)?.broadcast_add(&bias2)?;
        Ok((hidden, output))
    };
    let vars = layers.iter().map(FeedbackLayer::var).collect::<candle::Result<Vec<_>>>()?;
    let mut steps = WithFeedback::build(vars, &layers, |vars| SGD::new(vars, RATE))?;
    let mut bias_steps = SGD::new(vec![bias1.clone(), bias2.clone()], RATE / BATCH as f64)?;

    let x = pixels(&data.train)?;
    let target = |labels: &[u32]| one_hot(labels, 10, DType::F64, CPU);
    let batches = data.train.len() / BATCH;
    let near = |name: &str, found: f64, want: f64| {
        assert!((found / want - 1.0).abs() < 1e-9, "{name}: {found}, expected {want}");
    };
    for logged in [
        Epoch {
            loss: 1.41406394988102,
            right: 8890,
            angles: [70.9514188986167, 19.7463294994220],
            of_error: 19.4125681730024,
        },
        Epoch {
            loss: 0.725009161960840,
            right: 9065,
            angles: [65.2772096204397, 17.0899698207256],
            of_error: 16.1213041394657,
        },
    ] {
        let mut sum = 0.0;
        for batch in 0..batches {
            let rows = batch * BATCH..(batch + 1) * BATCH;
            let target = target(&data.train.labels()[rows.clone()])?;
            let (_, u) = fields(&x.i(rows)?)?;
            // −t·ln σ(u) − (1 − t)·ln(1 − σ(u)), without overflow.
            let softplus = (u.relu()? + (u.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
            let loss = ((softplus - (&u * target)?)?.sum_all()? / BATCH as f64)?;
            sum += loss.to_scalar::<f64>()?;
            let grads = loss.backward()?;
            steps.step(&grads)?;
            bias_steps.step(&grads)?;
        }
        near("loss", sum / batches as f64, logged.loss);
        for (layer, want) in layers.iter().zip(logged.angles) {
            let feedback = layer.feedback().ok_or("feedback weights")?;
            near("angle", angle(&layer.weight().detach(), &feedback.detach())?, want);
        }
        let (hidden, u) = fields(&x.i(0..1)?)?;
        let delta = (sigmoid(&u)? - target(&data.train.labels()[..1])?)?;
        let slope = (&hidden - hidden.sqr()?)?;
        let sent = |through: &Tensor| delta.matmul(&through.detach())? * &slope;
        let found = angle(&sent(layers[1].weight())?, &sent(&layers[1].error_weight()?)?)?;
        near("angle of the error", found, logged.of_error);
        let predicted = fields(&pixels(&data.test)?)?.1.argmax(1)?.to_vec1::<u32>()?;
        let right = predicted.iter().zip(data.test.labels()).filter(|(a, b)| a == b).count();
        assert_eq!(right, logged.right);
    }
    Ok(())
}
