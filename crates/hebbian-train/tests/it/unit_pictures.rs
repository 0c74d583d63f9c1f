//! Pictures of units before and after learning.

use candle::{DType, Device, Tensor};
use hebbian_train::{Checkpoint, Model, Picture, Result, Units, UnitsBefore, save_checkpoint};

const CPU: &Device = &Device::Cpu;

/// Two layers of two units: those of the first see a whole image of 8×8 pixels, each of the second one of the first.
struct TwoLayers {
    /// The value of all weights of each unit of the first layer.
    values: [f32; 2],
    /// The pixel to which each unit of either layer responds.
    pixels: [usize; 2],
    competes: bool,
    /// The stride of the first layer.
    stride: usize,
}

impl Model for TwoLayers {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn restore(&mut self, _: &mut Checkpoint) -> Result<()> {
        Ok(())
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.responses(0, images)
    }

    fn scores(&self, images: &Tensor) -> Result<Tensor> {
        self.responses(1, images)
    }

    fn units(&self) -> Result<Vec<Units>> {
        let first = Tensor::new(&self.values, CPU)?.reshape((2, 1))?.repeat((1, 64))?;
        let second = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], CPU)?.reshape((2, 2, 1, 1))?;
        // A second column, where the stride matters.
        let second = second.pad_with_zeros(3, 0, usize::from(self.stride > 1))?;
        let layer = |name: &str, weight, stride| {
            let (name, competes, pools) = (name.to_string(), self.competes, Vec::new());
            Units { name, weight, competes, stride, padding: 0, pools }
        };
        Ok(vec![layer("below", first, self.stride), layer("above", second, 1)])
    }

    fn responses(&self, _: usize, images: &Tensor) -> Result<Tensor> {
        let pixels = Tensor::new(&self.pixels.map(|pixel| pixel as u32), CPU)?;
        Ok(images.flatten_from(1)?.index_select(&pixels, 1)?)
    }
}

fn model(values: [f32; 2], pixels: [usize; 2]) -> TwoLayers {
    TwoLayers { values, pixels, competes: true, stride: 1 }
}

fn pictures(before: &UnitsBefore, model: &TwoLayers) -> Vec<(String, Picture)> {
    before.pictures(model, &hebbian_data::digits().train, CPU).unwrap()
}

/// The column at which 60 black pixels begin, and whether anything is red.
fn black_and_red(picture: &Picture) -> (usize, bool) {
    let pixel = |x, y| picture.pixel(x, y);
    let black = |&(x, y): &(usize, usize)| (x..x + 60).all(|x| pixel(x, y) == Some([0; 3]));
    let all = || (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
    let red = all().any(|(x, y)| {
        pixel(x, y).is_some_and(|[red, green, _]| i16::from(red) > i16::from(green) + 60)
    });
    (all().find(black).expect("a black filter").0, red)
}

/// The unit that wins more often comes first; one that never wins is marked. Fields of 8×8 pixels are magnified to
/// 64×64.
#[test]
fn units_before_and_after_learning_by_wins() {
    let before = UnitsBefore::fresh(&model([0.0, 0.0], [0, 0])).unwrap();
    let learned = |pixels| pictures(&before, &model([0.0, -2.0], pixels));
    // In the digits, pixel 21 is brighter than pixel 49 in most images, but not in all.
    let digits = hebbian_data::digits().train;
    let indices: Vec<usize> = (0..digits.len()).collect();
    let images = digits.batch(&indices, DType::F32, CPU).unwrap().0;
    let images = images.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    let brighter = images.iter().filter(|image| image[21] > image[49]).count();
    assert!(2 * brighter > images.len() && brighter < images.len(), "{brighter}");

    let names = |drawn: &[(String, Picture)]| -> Vec<String> {
        drawn.iter().map(|(name, _)| name.clone()).collect()
    };
    let (second, first) = (learned([21, 49]), learned([49, 21]));
    assert_eq!(names(&first), ["filters", "receptive_fields_2"]);
    for layer in 0..2 {
        let (left, red) = black_and_red(&first[layer].1);
        let (right, too) = black_and_red(&second[layer].1);
        assert!(left + 120 < right && !red && !too, "layer {layer}: {left} {right}");
    }
    // Equal responses are won by the first.
    assert_eq!(black_and_red(&learned([0, 0])[0].1), (black_and_red(&second[0].1).0, true));
}

/// A layer whose receptive fields are too large for a picture, and those above, are left out.
#[test]
fn fields_that_are_too_large_are_not_drawn() {
    let model = TwoLayers { stride: 1 << 40, ..model([0.0, -2.0], [20, 43]) };
    let drawn = pictures(&UnitsBefore::fresh(&model).unwrap(), &model);
    assert_eq!(drawn.len(), 1);
    assert_eq!(drawn[0].0, "filters");
}

/// The state has the weights before learning if no seed determines them.
#[test]
fn loaded_weights_are_part_of_the_state() {
    let (start, other) = (model([0.5, -0.5], [20, 43]), model([1.0, 1.0], [20, 43]));
    let fresh = UnitsBefore::fresh(&start).unwrap();
    assert!(fresh.tensors().is_empty());
    assert_eq!(fresh.if_fresh().map(|units| units.len()), Some(2));
    let loaded = UnitsBefore::loaded(&start).unwrap();
    let tensors = loaded.tensors();
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["before.below.weight", "before.above.weight"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    save_checkpoint(&path, &tensors, &Default::default()).unwrap();
    let mut restored = UnitsBefore::fresh(&other).unwrap();
    assert!(pictures(&restored, &other) != pictures(&loaded, &other));
    restored.restore(&Checkpoint::load(&path, CPU).unwrap()).unwrap();
    assert!(pictures(&restored, &other) == pictures(&loaded, &other));
    assert_eq!(restored.tensors().len(), 2);
    assert!(loaded.if_fresh().is_none() && restored.if_fresh().is_none());
}
