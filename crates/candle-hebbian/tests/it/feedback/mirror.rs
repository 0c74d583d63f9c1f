//! Weight mirrors.

use super::*;
use candle::Module;

fn mirror(rate: f64) -> FeedbackConfig {
    FeedbackConfig { source: Source::Own, learning: Learning::Mirror { rate } }
}

/// The angle between two tensors, taken as vectors of all their entries, in degrees.
pub fn angle(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (flat(a)?, flat(b)?);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    Ok((dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).acos().to_degrees())
}

/// `W = [[1, 2], [3, 4]]`, `R = [[0, 1], [−1, 0]]` and four inputs: the mean of `h xᵀ` is
/// `[[0.75, 1.5], [2.25, 3]]`.
#[test]
fn by_hand() -> Result<()> {
    let (w, r) =
        (tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?, tensor(&[0.0, 1.0, -1.0, 0.0], &[2, 2])?);
    let noise = tensor(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, -1.0], &[4, 2])?;
    for (rate, want) in [
        (1.0, [0.75, 1.5, 2.25, 3.0]),
        (0.1, [0.075, 1.05, -0.675, 0.3]), // 0.9 R + 0.1 M
        (0.5, [0.375, 1.25, 0.625, 1.5]),
        (0.0, [0.0, 1.0, -1.0, 0.0]),
    ] {
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, mirror(rate))?;
        layer.mirror(&noise)?;
        near(&format!("κ = {rate}"), layer.feedback().expect("R"), &want, 1e-12)?;
        near("W", layer.weight(), &[1.0, 2.0, 3.0, 4.0], 0.0)?;
    }
    // cos = −1/√60 at the start.
    assert!((angle(&r, &w)? - 97.417556).abs() < 1e-6);
    Ok(())
}

/// The mean for each weight is over the positions at which its tap is in the image, by connections.
#[test]
fn on_every_geometry() -> Result<()> {
    let mut rng = Rng::new(40);
    for case in cases() {
        for thin in [false, true] {
            let w = normal(&mut rng, &case.weight, DType::F64)?;
            let r = normal(&mut rng, &case.weight, DType::F64)?;
            let mut layer = FeedbackLayer::from_tensors(&w, Some(&r), case.geometry, mirror(0.25))?;
            if thin {
                layer = layer.thinned(0.6, Pairing::Independent, &mut rng)?;
            }
            let noise = normal(&mut rng, &case.input, DType::F64)?;
            let h = layer.forward(&noise)?;
            let sum = flat(&oracle(&case, &noise, layer.weight(), &w, &h)?.grad_w)?;
            let mut seen = vec![0.0; sum.len()];
            for [_, _, weight] in connections(&case).1 {
                seen[weight] += case.input[0] as f64;
            }
            let before = flat(layer.feedback().expect("R"))?;
            let mask = layer.masks().1.map_or(Ok(vec![1.0; sum.len()]), flat)?;
            let of = |at: usize| {
                let mean = if seen[at] == 0.0 { 0.0 } else { sum[at] / seen[at] };
                0.75 * before[at] + 0.25 * mask[at] * mean
            };
            let want: Vec<f64> = (0..sum.len()).map(of).collect();
            layer.mirror(&noise)?;
            let got = layer.feedback().expect("R");
            assert_close(&format!("{case:?}"), got, &tensor(&want, &case.weight)?, 1e-12)?;
        }
    }
    Ok(())
}

/// The move is computed in f32 and rounded once. With ε a quarter of the distance from 1 to the next number,
/// `W = (1, 3ε)` and the input (1, 1) make `M = 1 + 3ε` for both weights, which would be rounded to 1 + 4ε. Half of it
/// and half of `R = (−1, 0)` are 3ε/2, a number of the type, and ½ + 3ε/2, whose nearest is ½ + 2ε.
#[test]
fn half_precision_is_rounded_once() -> Result<()> {
    for (dtype, epsilon) in [(DType::BF16, 2f64.powi(-9)), (DType::F16, 2f64.powi(-12))] {
        let half = |values: [f64; 2]| tensor(&values, &[1, 2])?.to_dtype(dtype);
        let (w, r) = (half([1.0, 3.0 * epsilon])?, half([-1.0, 0.0])?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, mirror(0.5))?;
        layer.mirror(&half([1.0, 1.0])?)?;
        let want = [1.5 * epsilon, 0.5 + 2.0 * epsilon];
        near(&format!("{dtype:?}"), layer.feedback().expect("R"), &want, 0.0)?;
    }
    Ok(())
}

/// `tan ∠(R, W) = √((F/N)·κ/(2 − κ))` once the initial `R` is forgotten.
#[test]
fn settles_at_the_angle_of_the_formula() -> Result<()> {
    let mut rng = Rng::new(41);
    for (fan_in, rows, rate) in [(128, 100, 0.1), (64, 400, 0.1), (256, 100, 0.05), (32, 50, 0.3)] {
        let mut draw = |shape: [usize; 2]| normal(&mut rng, &shape, DType::F32);
        let (w, r) = (draw([100, fan_in])?, draw([100, fan_in])?);
        let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, mirror(rate))?;
        let mut angles = Vec::new();
        let forgotten = (12.0 / rate) as usize;
        for step in 0..2 * forgotten {
            layer.mirror(&draw([rows, fan_in])?)?;
            if step >= forgotten {
                angles.push(angle(layer.feedback().expect("R"), &w)?);
            }
        }
        let mean = angles.iter().sum::<f64>() / angles.len() as f64;
        let ratio = fan_in as f64 / rows as f64;
        let want = (ratio * rate / (2.0 - rate)).sqrt().atan().to_degrees();
        assert!(
            (mean / want - 1.0).abs() < 0.05,
            "{fan_in} {rows} {rate}: {mean}, expected {want}"
        );
    }
    Ok(())
}

#[test]
fn refused() -> Result<()> {
    use super::bad_input::refused;
    let w = tensor(&[1.0, 2.0], &[1, 2])?;
    let layer = FeedbackLayer::from_tensors(&w, Some(&w), Geometry::Dense, mirror(0.5))?;
    refused(layer.mirror(&Tensor::zeros((0, 2), DType::F64, CPU)?), &["[0, 2]", "no samples"]);
    refused(layer.mirror(&Tensor::zeros((3, 4), DType::F64, CPU)?), &["[3, 4]"]);
    // A reflected pixel is read by two taps, whose weights `M` would mix.
    let reflect = Conv2dConfig {
        padding: 1,
        padding_mode: candle_hebbian::PaddingMode::Reflect,
        ..Default::default()
    };
    let kernel = tensor(&[1.0; 9], &[1, 1, 3, 3])?;
    let of = |window, config| {
        FeedbackLayer::from_tensors(&kernel, Some(&kernel), Geometry::Conv2d(window), config)
    };
    refused(of(reflect, mirror(0.5)), &["Mirror", "reflection padding of 1", "zeros"]);
    of(Conv2dConfig { padding: 0, ..reflect }, mirror(0.5))?;
    of(reflect, Protocol::Frfb.config())?;
    // With any other learning, `mirror` does nothing.
    let fixed = layer_of(&w, Protocol::Frfb)?;
    fixed.mirror(&tensor(&[1.0, 1.0], &[1, 2])?)?;
    near("R", fixed.feedback().expect("R"), &[1.0, 2.0], 0.0)
}

fn layer_of(w: &Tensor, protocol: Protocol) -> Result<FeedbackLayer> {
    layer(w, w, Geometry::Dense, protocol)
}
