//! Receptive fields of units, how often units win, what excites them: by definitions and hand-worked numbers.

use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::Rng;
use candle_hebbian::ops::{avg_pool2d, composed};
use hebbian_train::{
    Ascent, Checkpoint, Model, Units, Window, exciting_images, receptive_fields, win_shares,
};

const CPU: &Device = &Device::Cpu;

fn normal(name: &str, shape: &[usize]) -> Tensor {
    Rng::new(0).stream(name).normal(0.0, 1.0, shape, DType::F32, CPU).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn layer(weight: &Tensor, stride: usize, padding: usize, pools: &[Window]) -> Units {
    let (name, weight, pools) = ("a layer".to_string(), weight.clone(), pools.to_vec());
    Units { name, weight, competes: true, stride, padding, pools }
}

/// Strides and pools of any size are allowed if one place is left; what sees past it is too large for a picture.
#[test]
fn fields_that_no_memory_holds_are_refused() {
    let (first, second) = (normal("first", &[4, 1, 1, 1]), normal("second", &[3, 4, 3, 3]));
    let huge = usize::MAX / 2;
    let above = layer(&second, 1, 1, &[]);
    for below in [
        layer(&first, huge, 0, &[]),
        layer(&first, 1 << 16, 0, &[Window { kernel: 1, stride: 1 << 20, padding: 0 }]),
        layer(&first, 1 << 14, 0, &[]),
        layer(&first, huge, 0, &[Window { kernel: 3, stride: 1, padding: huge }]),
    ] {
        let error = receptive_fields(&[below, above.clone()], (1, 8, 8)).unwrap_err().to_string();
        assert!(error.contains("a layer: ") && error.contains("too much to draw"), "{error}");
    }
    // Just as large, but no layer reads it.
    let fields = receptive_fields(&[layer(&first, huge, huge, &[])], (1, 8, 8)).unwrap();
    assert_eq!((fields[0].step, fields[0].beyond), (huge, huge));
}

/// Two convolutions with a pool of means between them and a dense layer on top: the receptive field of a unit is the
/// gradient of its response in the image, which automatic differentiation finds independently.
#[test]
fn receptive_fields_are_gradients() -> Result<()> {
    let (first, second) = (normal("first", &[4, 2, 3, 3]), normal("second", &[3, 4, 2, 2]));
    let third = normal("third", &[5, 3 * 3 * 3]);
    let pool = Window { kernel: 2, stride: 2, padding: 0 };
    let layers = [
        layer(&first, 1, 1, &[pool]),
        layer(&second, 1, 0, &[]),
        layer(&third.reshape((5, 3, 3, 3))?, 1, 0, &[]),
    ];
    let fields = receptive_fields(&layers, (2, 8, 8)).unwrap();
    let sizes: Vec<&[usize]> = fields.iter().map(|field| field.pattern.dims()).collect();
    assert_eq!(sizes, [&[4, 2, 3, 3], &[3, 2, 6, 6], &[5, 2, 10, 10]]);
    let places: Vec<_> = fields.iter().map(|field| (field.step, field.beyond)).collect();
    assert_eq!(places, [(1, 1), (2, 1), (2, 1)]);

    let images = Var::from_tensor(&normal("images", &[1, 2, 8, 8]))?;
    let below = images.conv2d(&first, 1, 1, 1, 1)?;
    let below = avg_pool2d(&below, 2, 2, 0)?.conv2d(&second, 0, 1, 1, 1)?;
    let above = below.flatten_from(1)?.matmul(&third.t()?)?;
    for unit in 0..3 {
        // At the position (1, 2) of the map the field begins at row 2 − 1, column 4 − 1, and ends with the image.
        let response = below.narrow(1, unit, 1)?.narrow(2, 1, 1)?.narrow(3, 2, 1)?.sum_all()?;
        let gradient = response.backward()?.get(&images).unwrap().squeeze(0)?;
        let seen = gradient.narrow(1, 1, 6)?.narrow(2, 3, 5)?;
        let field = fields[1].pattern.get(unit)?.narrow(2, 0, 5)?;
        for (found, wanted) in numbers(&field).into_iter().zip(numbers(&seen)) {
            assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
    }
    for unit in 0..5 {
        let response = above.narrow(1, unit, 1)?.sum_all()?;
        let gradient = response.backward()?.get(&images).unwrap().squeeze(0)?;
        let field = fields[2].pattern.get(unit)?.narrow(1, 1, 8)?.narrow(2, 1, 8)?;
        for (found, wanted) in numbers(&field).into_iter().zip(numbers(&gradient)) {
            assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
        }
    }
    let wrong = [layer(&second, 1, 0, &[])];
    let error = receptive_fields(&wrong, (2, 8, 8)).unwrap_err().to_string();
    assert!(error.contains("[3, 4, 2, 2], expected (K, 2, h, w)"), "{error}");
    Ok(())
}

/// Weights of whole images, flattened, are shown as images.
#[test]
fn dense_weights_are_images() -> Result<()> {
    let weight = normal("weight", &[3, 2 * 4 * 5]);
    let fields = receptive_fields(&[layer(&weight, 1, 0, &[])], (2, 4, 5)).unwrap();
    assert_eq!(fields[0].pattern.dims(), [3, 2, 4, 5]);
    assert_eq!(numbers(&fields[0].pattern), numbers(&weight));
    Ok(())
}

#[test]
fn shares_of_wins_of_hand_worked_responses() -> Result<()> {
    // Two images, three units, two positions: winners 1, 0 and 1, 1; unit 2 ties with 1 and comes later.
    let responses =
        [[[0f32, 5.0], [3.0, 1.0], [3.0, 2.0]], [[-2.0, -3.0], [-1.0, 0.0], [-4.0, -1.0]]];
    let responses = Tensor::new(&responses, CPU)?;
    assert_eq!(win_shares(&responses).unwrap(), [0.25, 0.75, 0.0]);
    let one = Tensor::new(&[[1f32, 2.0], [4.0, 3.0]], CPU)?;
    assert_eq!(win_shares(&one).unwrap(), [0.5, 0.5]);
    let error = win_shares(&Tensor::zeros((0, 3), DType::F32, CPU)?).unwrap_err().to_string();
    assert!(error.contains("[0, 3] have no winner"), "{error}");
    Ok(())
}

/// More units than a block of a GPU's threads has, which all respond alike: the first one wins, by the kernel and by
/// the ops that a GPU would run. In half precision, 3,000 wins are counted one by one.
#[test]
fn among_many_equal_responses_the_first_wins() -> Result<()> {
    for dtype in [DType::F32, DType::F16] {
        let responses = Tensor::ones((3000, 1500), dtype, CPU)?;
        for shares in [win_shares(&responses), composed(|| win_shares(&responses))] {
            let shares = shares.unwrap();
            assert_eq!((shares.len(), shares[0]), (1500, 1.0));
            assert!(shares[1..].iter().all(|&share| share == 0.0));
        }
    }
    Ok(())
}

/// Linear units, whose responses have no gradient if they are detached.
struct Linear {
    weight: Tensor,
    detached: bool,
}

impl Model for Linear {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn restore(&mut self, _: &mut Checkpoint) -> hebbian_train::Result<()> {
        Ok(())
    }

    fn features(&self, images: &Tensor) -> hebbian_train::Result<Tensor> {
        self.responses(0, images)
    }

    fn scores(&self, images: &Tensor) -> hebbian_train::Result<Tensor> {
        self.features(images)
    }

    fn responses(&self, _: usize, images: &Tensor) -> hebbian_train::Result<Tensor> {
        let images = if self.detached { images.detach() } else { images.clone() };
        Ok(images.flatten_from(1)?.matmul(&self.weight.t()?)?)
    }
}

/// The image that excites a linear unit most is its weights, scaled to the requested norm.
#[test]
fn what_excites_a_linear_unit_is_its_weights() -> Result<()> {
    let weight = normal("weight", &[4, 12]);
    let model = Linear { weight: weight.clone(), detached: false };
    let (ascent, rng) = (Ascent { steps: 30, rate: 0.3, norm: 2.5 }, Rng::new(1));
    let found = exciting_images(&model, 0, &[2, 0], (1, 3, 4), ascent, (&rng, CPU)).unwrap();
    let found = found.expect("a gradient");
    assert_eq!(found.dims(), [2, 1, 3, 4]);
    for (row, unit) in [(0, 2), (1, 0)] {
        let (image, w) = (numbers(&found.get(row)?), numbers(&weight.get(unit)?));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let norm = dot(&image, &image).sqrt();
        assert!((norm - 2.5).abs() < 1e-5, "{norm}");
        let cosine = dot(&image, &w) / (norm * dot(&w, &w).sqrt());
        assert!(cosine > 0.999, "{cosine}");
    }
    let detached = Linear { weight, detached: true };
    let none = exciting_images(&detached, 0, &[0], (1, 3, 4), ascent, (&rng, CPU)).unwrap();
    assert!(none.is_none(), "there is no gradient");
    let error = exciting_images(&detached, 0, &[4], (1, 3, 4), ascent, (&rng, CPU)).unwrap_err();
    assert!(error.to_string().contains("there is no unit 4: the layer has 4"), "{error}");
    Ok(())
}
