//! Transforms of images: their definitions, the results of Pillow and torchvision for the same input, random draws, and
//! how transforms are read and written.

use std::collections::HashSet;

use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use candle_hebbian::ops::standardise;
use hebbian_data::transforms::{
    CentreCrop, ColourJitter, DifferenceOfGaussians, Flip, Grey, Image, InputConfig, Pipeline,
    RandomCrop, RandomResizedCrop, Resize, Shape, Size, Standardise, StandardiseImage, Transform,
    TransformConfig, TransformList,
};
use hebbian_data::{ImageSet, Zca, ZcaConfig, digits};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const CPU: &Device = &Device::Cpu;

fn list(text: &str) -> TransformList {
    text.parse().unwrap()
}

fn pipeline(text: &str) -> Pipeline {
    Pipeline::new(&list(text)).unwrap()
}

fn apply(text: &str, image: Image, seed: u64) -> Image {
    pipeline(text).apply(image, &mut Rng::new(seed)).unwrap()
}

fn image(values: &[f32], shape: Shape) -> Image {
    Image::new(values.to_vec(), shape).unwrap()
}

/// Pixels that count up from 1, another 100 in each further channel.
fn counting(shape: Shape) -> Image {
    let (channels, height, width) = shape;
    let pixel = |i: usize| (i / (height * width) * 100 + i % (height * width) + 1) as f32;
    Image::new((0..channels * height * width).map(pixel).collect(), shape).unwrap()
}

/// Images of random pixels.
fn random_set(images: usize, (channels, height, width): Shape) -> ImageSet {
    let mut rng = Rng::new(12);
    let pixels = (0..images * channels * height * width).map(|_| rng.below(256) as u8).collect();
    ImageSet::new(pixels, vec![0; images], channels, height, width).unwrap()
}

fn says(error: impl std::fmt::Display, words: &[&str]) {
    let error = error.to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
}

/// Checks that a count in `n` draws of a probability is within 4 standard deviations of its mean.
fn assert_count(found: usize, n: usize, probability: f64, what: &str) {
    let (mean, variance) = (n as f64 * probability, n as f64 * probability * (1.0 - probability));
    assert!((found as f64 - mean).abs() < 4.0 * variance.sqrt(), "{what}: {found} for {mean}");
}

/// The expected values are from Pillow 13, in its mode `F`:
///
/// ```python
/// a = np.array([[(7 * x + 13 * y + x * y) % 11 / 10 for x in range(7)] for y in range(5)], np.float32)
/// np.asarray(Image.fromarray(a, mode="F").resize((w, h), Image.BILINEAR))
/// ```
#[test]
fn resize_is_pillows() {
    let pixels: Vec<f32> = (0..35)
        .map(|i| (i % 7, i / 7))
        .map(|(x, y)| ((7 * x + 13 * y + x * y) % 11) as f32 / 10.0)
        .collect();
    for (size, wanted) in [
        (
            "3x4",
            &[
                0.422449,
                0.6188571,
                0.5085714,
                0.6367347,
                0.4116402,
                0.3995556,
                0.5204445,
                0.3931217,
                0.6918367,
                0.6251429,
                0.5462857,
                0.4795918f32,
            ][..],
        ),
        ("2x7", &[0.2, 0.7, 0.4, 0.7, 0.4, 0.55, 0.6, 0.6, 0.55, 0.45, 0.6, 0.5, 0.45, 0.35]),
        (
            "5x3",
            &[
                0.3642857, 0.6764706, 0.5357143, 0.65, 0.4647059, 0.6214285, 0.2285714, 0.5764706,
                0.4714286, 0.5142857, 0.3, 0.0857143, 0.8, 0.8, 0.8,
            ],
        ),
    ] {
        let found = apply(&format!("resize={size}"), image(&pixels, (1, 5, 7)), 0);
        for (found, wanted) in found.values().iter().zip(wanted) {
            assert!((found - wanted).abs() < 2e-7, "{size}: {found} for {wanted}");
        }
        assert_eq!(found.values().len(), wanted.len());
    }
    // A larger size: the first two rows of 11x9.
    let wanted = [
        0.0,
        0.4666667,
        0.5222222,
        0.4555556,
        1.0,
        0.6888889,
        0.3777778,
        0.4333333,
        0.9,
        0.0363636,
        0.5151515,
        0.5848485,
        0.4878788,
        0.8909091,
        0.5939394,
        0.4080808,
        0.5,
        0.8454545f32,
    ];
    let found = apply("resize=11x9", image(&pixels, (1, 5, 7)), 0);
    assert_eq!(found.shape(), (1, 11, 9));
    for (found, wanted) in found.values().iter().zip(wanted) {
        assert!((found - wanted).abs() < 2e-7, "{found} for {wanted}");
    }
}

/// The shorter side gets the given size, the longer one `⌊size · long / short⌋`; an image of that size is unchanged.
#[test]
fn a_side_is_that_of_the_shorter() -> Result {
    for (size, before, after) in [
        (8, (3, 20, 30), (3, 8, 12)),
        (8, (3, 30, 20), (3, 12, 8)),
        (10, (1, 7, 12), (1, 10, 17)),
        (7, (1, 7, 12), (1, 7, 12)),
    ] {
        assert_eq!(Resize { size: Size::Side(size) }.shape(before)?, after);
    }
    let before = counting((2, 3, 4));
    assert_eq!(apply("resize=3", before.clone(), 0), before);
    Ok(())
}

/// torchvision's `center_crop`: if an image is larger, it starts at row `int(round((h - size) / 2.0))`, half to even;
/// if it is smaller, it gets `(size - h) // 2` rows of zeros before it.
#[test]
fn the_middle_is_rounded_as_in_torchvision() {
    for ((height, width), (new_height, new_width), (top, left)) in [
        ((5, 7), (2, 4), (2isize, 2isize)),
        ((6, 9), (3, 2), (2, 4)),
        ((3, 4), (6, 5), (-1, 0)),
        ((7, 5), (4, 4), (2, 0)),
        ((2, 2), (2, 2), (0, 0)),
    ] {
        let before = counting((2, height, width));
        let after = apply(&format!("centre-crop={new_height}x{new_width}"), before.clone(), 0);
        assert_eq!(after.shape(), (2, new_height, new_width));
        for (i, &found) in after.values().iter().enumerate() {
            let (channel, y, x) =
                (i / (new_height * new_width), i / new_width % new_height, i % new_width);
            let (y, x) = (y as isize + top, x as isize + left);
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            let wanted = match inside {
                true => before.values()[(channel * height + y as usize) * width + x as usize],
                false => 0.0,
            };
            assert_eq!(found, wanted, "{height}x{width} at {y}, {x}");
        }
    }
}

/// `[[1, 2, 3], [4, 5, 6], [7, 8, 9]]` reflected by 1, written by hand; below, with zeros around it.
const REFLECTED: [[f32; 5]; 5] = [
    [5., 4., 5., 6., 5.],
    [2., 1., 2., 3., 2.],
    [5., 4., 5., 6., 5.],
    [8., 7., 8., 9., 8.],
    [5., 4., 5., 6., 5.],
];
const WITH_ZEROS: [[f32; 5]; 5] = [
    [0., 0., 0., 0., 0.],
    [0., 1., 2., 3., 0.],
    [0., 4., 5., 6., 0.],
    [0., 7., 8., 9., 0.],
    [0., 0., 0., 0., 0.],
];

#[test]
fn a_random_crop_is_any_window_of_the_padded_image() {
    for (mode, padded, add) in [("reflect", REFLECTED, 100.0), ("zeros", WITH_ZEROS, 0.0)] {
        let channels = if add > 0.0 { 2 } else { 1 };
        let before = counting((channels, 3, 3));
        for (size, places) in [(3, 9), (4, 4)] {
            let side = (places as f64).sqrt() as usize;
            let windows: Vec<Vec<f32>> = (0..places)
                .map(|at| {
                    let rows = (0..channels).flat_map(|channel| {
                        let rows = &padded[at / side..at / side + size];
                        rows.iter().map(move |row| (channel, row))
                    });
                    let rows = rows.flat_map(|(channel, row)| {
                        let row = &row[at % side..at % side + size];
                        row.iter().map(move |pixel| pixel + add * channel as f32)
                    });
                    rows.collect()
                })
                .collect();
            let (mut rng, draws) = (Rng::new(3), 400 * places);
            let crop = pipeline(&format!("random-crop={size}:padding=1:{mode}"));
            let mut counts = vec![0; places];
            for _ in 0..draws {
                let found = crop.apply(before.clone(), &mut rng).unwrap();
                let places = windows.iter().zip(&mut counts);
                let mut same = places.filter(|(window, _)| *window == found.values()).peekable();
                assert!(same.peek().is_some(), "{:?}", found.values());
                same.for_each(|(_, count)| *count += 1);
            }
            // The reflected image is symmetric, so that several places may show one window.
            for (count, window) in counts.into_iter().zip(&windows) {
                let alike = windows.iter().filter(|other| *other == window).count();
                assert_count(count, draws, alike as f64 / places as f64, mode);
            }
        }
    }
    // Without a size, the crop has the image's own.
    assert_eq!(apply("random-crop:padding=1", counting((1, 2, 5)), 0).shape(), (1, 2, 5));
}

#[test]
fn a_flip_turns_one_in_two() {
    let (before, after) =
        (counting((2, 2, 3)), [3., 2., 1., 6., 5., 4., 103., 102., 101., 106., 105., 104.]);
    for (text, probability) in [("flip", 0.5), ("flip=0.2", 0.2)] {
        let (flip, mut rng) = (pipeline(text), Rng::new(4));
        let flips = (0..2000).filter(|_| {
            let found = flip.apply(before.clone(), &mut rng).unwrap();
            assert!(found == before || found.values() == after, "{found:?}");
            found != before
        });
        assert_count(flips.count(), 2000, probability, text);
    }
    assert_eq!(apply("flip=1", before.clone(), 0).values(), after);
    assert_eq!(apply("flip=0", before.clone(), 0), before);
    let images = Tensor::zeros((1, 1, 2, 3), DType::F32, CPU).unwrap();
    says(pipeline("flip").apply_to(&images).unwrap_err(), &["'flip': it draws at random"]);
}

/// Messages name transforms as flags do, and one's own by their types, whatever they print of themselves.
#[test]
fn transforms_are_named_as_in_flags() {
    struct OwnNoise;
    impl std::fmt::Debug for OwnNoise {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("?")
        }
    }
    impl Transform for OwnNoise {
        fn shape(&self, image: Shape) -> hebbian_data::Result<Shape> {
            Ok(image)
        }

        fn apply(&self, image: Image, _: &mut Rng) -> hebbian_data::Result<Image> {
            Ok(image)
        }

        fn is_random(&self) -> bool {
            true
        }
    }
    let images = Tensor::zeros((1, 1, 8, 8), DType::F32, CPU).unwrap();
    for (random, name) in [
        (pipeline("random-crop=4:padding=2"), "random-crop=4:padding=2"),
        (Pipeline::default().then(OwnNoise), "own-noise"),
    ] {
        let error = random.apply_to(&images).unwrap_err();
        says(error, &[&format!("the transform '{name}': it draws at random")]);
    }
    // Placeholders have the names of what they stand for.
    for name in ["standardise", "zca"] {
        let unfitted = Pipeline::unfitted(&list(name)).unwrap();
        let error = unfitted.shape((1, 1 << 14, 1 << 14)).unwrap_err();
        says(error, &[&format!("the transform '{name}': it makes images of 1x16384x16384")]);
    }
}

/// A part that is the whole image is that image resized; parts of a ramp stay within its values, in order, and differ.
#[test]
fn a_random_resized_crop_is_a_part_resized() {
    let before = counting((1, 6, 6));
    let whole = "random-resized-crop=3:scale=1/1:ratio=1/1";
    assert_eq!(apply(whole, before.clone(), 1), apply("resize=3x3", before.clone(), 0));
    let (mut rng, crop) = (Rng::new(8), pipeline("random-resized-crop:scale=0.2/0.9"));
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let found = crop.apply(before.clone(), &mut rng).unwrap();
        assert_eq!(found.shape(), (1, 6, 6));
        let (least, most) = (found.values()[0], found.values()[35]);
        assert!((1.0..=36.0).contains(&least) && (least..=36.0).contains(&most));
        seen.insert(least.to_bits());
    }
    assert!(seen.len() > 10, "{}", seen.len());
}

/// With one hue, the saturation of (0.2, 0.4, 0.6), which is 2/3, is multiplied by 2^U(−2, 2) and is at most 1: it is 1
/// if 2^u is 3/2 or more. With one saturation, the hue, 7/12 of the circle, is turned by U(−0.1, 0.1).
#[test]
fn jitter_is_uniform_in_the_exponent_and_in_the_hue() {
    let (before, draws) = (image(&[0.2, 0.4, 0.6], (3, 1, 1)), 2000);
    let (mut rng, strength) = (Rng::new(6), pipeline("colour-jitter:saturation=2:hue=0"));
    let (mut capped, mut paler) = (0, 0);
    for _ in 0..draws {
        let found = strength.apply(before.clone(), &mut rng).unwrap();
        let &[red, green, blue] = found.values() else { panic!("three channels") };
        let saturation = (blue - red) / blue;
        assert!((blue - 0.6).abs() < 1e-6 && ((green - red) * 2.0 - (blue - red)).abs() < 1e-5);
        assert!((1.0 / 6.0 - 1e-5..=1.0).contains(&saturation), "{saturation}");
        capped += usize::from(saturation > 1.0 - 1e-6);
        paler += usize::from(saturation < 2.0 / 3.0);
    }
    assert_count(capped, draws, (2.0 - 1.5f64.log2()) / 4.0, "capped");
    assert_count(paler, draws, 0.5, "paler");
    // Turned from 7/12 by at most 0.1, the hue stays near the range from cyan (1/2) to blue (2/3), and the largest and
    // smallest values do not change. Green is above its value of 0.4 if the turn is negative.
    let (mut rng, hue) = (Rng::new(7), pipeline("colour-jitter:saturation=0:hue=0.1"));
    let mut greener = 0;
    for _ in 0..draws {
        let found = hue.apply(before.clone(), &mut rng).unwrap();
        let most = found.values().iter().copied().fold(0.0, f32::max);
        let least = found.values().iter().copied().fold(1.0, f32::min);
        assert!((most - 0.6).abs() < 1e-6 && (least - 0.2).abs() < 1e-6, "{found:?}");
        greener += usize::from(found.values()[1] > 0.4);
    }
    assert_count(greener, draws, 0.5, "greener");
    let grey = image(&[0.3; 3], (3, 1, 1));
    for seed in 0..20 {
        for text in ["colour-jitter", "colour-jitter:saturation=1000"] {
            assert_eq!(apply(text, grey.clone(), seed), grey, "what has no colour gets none");
        }
    }
}

/// `Image.new("RGB", …).convert("L")` of Pillow 13: 76, 150, 29, 255, 0, 18, 106, 164 and 100. For the first six
/// 0.299 R + 0.587 G + 0.114 B is 76.2, 149.7, 29.1, 255, 0 and 18.15.
#[test]
fn grey_is_pillows_luma() {
    let colours = [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 255],
        [0, 0, 0],
        [10, 20, 30],
        [201, 77, 5],
        [0, 255, 128],
        [99, 100, 101],
    ];
    let planes = (0..3).flat_map(|channel| colours.map(|colour| colour[channel]));
    let set = ImageSet::new(planes.collect(), vec![0], 3, 3, 3).unwrap();
    let grey = set.with_transforms(pipeline("grey"), Pipeline::default()).unwrap();
    assert_eq!((set.shape(), grey.shape(), grey.stored_shape()), ((3, 3, 3), (1, 3, 3), (3, 3, 3)));
    let (images, _) = grey.batch(&[0], DType::F32, CPU).unwrap();
    let levels = [76, 150, 29, 255, 0, 18, 106, 164, 100].map(|level| level as f32 / 255.0);
    assert_eq!(images.flatten_all().unwrap().to_vec1::<f32>().unwrap(), levels);
    let already = image(&levels, (1, 3, 3));
    assert_eq!(apply("grey", already.clone(), 0), already);
    says(Grey {}.shape((2, 3, 3)).unwrap_err(), &["grey", "2 channels", "expected 3"]);
}

/// A batch without images has the shape that images would get.
#[test]
fn no_images_have_a_shape_too() -> Result {
    let none = Tensor::zeros((0, 3, 8, 8), DType::F32, CPU)?;
    assert_eq!(pipeline("grey,resize=4").apply_to(&none)?.dims(), [0, 1, 4, 4]);
    let two = Tensor::zeros((0, 2, 8, 8), DType::F32, CPU)?;
    says(pipeline("grey").apply_to(&two).unwrap_err(), &["2 channels", "expected 3"]);
    Ok(())
}

/// `(x − x̄) / (1e-10 + s)` with the unbiased deviation `s`.
#[test]
fn each_image_by_itself() {
    let set = random_set(5, (3, 4, 5));
    let seen = set.with_transforms(pipeline("standardise-image"), Pipeline::default()).unwrap();
    let (images, _) = seen.batch(&[0, 1, 2, 3, 4], DType::F32, CPU).unwrap();
    for (i, found) in images.flatten_from(1).unwrap().to_vec2::<f32>().unwrap().iter().enumerate() {
        let pixels: Vec<f64> =
            set.image(i).unwrap().iter().map(|&p| f64::from(p) / 255.0).collect();
        let mean = pixels.iter().sum::<f64>() / 60.0;
        let variance = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / 59.0;
        for (found, pixel) in found.iter().zip(pixels) {
            let wanted = (pixel - mean) / (1e-10 + variance.sqrt());
            assert!((f64::from(*found) - wanted).abs() < 1e-5, "{found} for {wanted}");
        }
    }
    // The result equals that of the op to the last bit, image by image or many at once.
    let (raw, _) = set.batch(&[0, 1, 2, 3, 4], DType::F32, CPU).unwrap();
    let op = standardise(&raw, 1e-10).unwrap();
    assert_eq!(bits(&images), bits(&op));
    let alone = apply("standardise-image", Image::all_of(&raw).unwrap().remove(3), 0);
    assert_eq!(bits(&op.narrow(0, 3, 1).unwrap()), bits(&Image::tensor(&[alone]).unwrap()));
}

fn bits(images: &Tensor) -> Vec<u32> {
    let values = images.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// Fitted to a set, `standardise` gives each channel mean 0 and deviation 1; with given values, it is
/// `(x − mean) / deviation`.
#[test]
fn each_channel_by_the_set() -> Result {
    let set = random_set(40, (3, 4, 5));
    let fitted = Pipeline::fit(&list("standardise"), &set, &Rng::new(0), None, |_| ())?;
    let seen = set.with_transforms(fitted.clone(), Pipeline::default())?;
    let all: Vec<usize> = (0..40).collect();
    let (images, _) = seen.batch(&all, DType::F64, CPU)?;
    let planes = images.transpose(0, 1)?.contiguous()?.flatten_from(1)?.to_vec2::<f64>()?;
    for plane in planes {
        let mean = plane.iter().sum::<f64>() / plane.len() as f64;
        let squares = plane.iter().map(|value| value * value).sum::<f64>() / plane.len() as f64;
        assert!(mean.abs() < 1e-6 && (squares - 1.0).abs() < 1e-5, "{mean} {squares}");
    }
    // The fitted values by name; restored, they do the same to other images.
    let tensors = fitted.tensors();
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["transforms.0.mean", "transforms.0.deviation"]);
    let take = |name: &str, shape: &[usize]| -> hebbian_data::Result<Tensor> {
        let (_, tensor) = tensors.iter().find(|(known, _)| known == name).unwrap();
        assert_eq!(tensor.dims(), shape);
        Ok(tensor.clone())
    };
    let restored = Pipeline::restore(&list("standardise"), (3, 9, 9), take)?;
    let other = counting((3, 2, 2));
    let mut rng = Rng::new(0);
    assert_eq!(restored.apply(other.clone(), &mut rng)?, fitted.apply(other.clone(), &mut rng)?);

    let given = apply("standardise:mean=1/2/3:deviation=2/4/5", counting((3, 1, 2)), 0);
    assert_eq!(given.values(), [0., 0.5, 24.75, 25., 39.6, 39.8]);
    // A transform is fitted to the output of those before it: a grey image has one channel.
    let grey = Pipeline::fit(&list("grey,standardise"), &set, &Rng::new(0), None, |_| ())?;
    assert_eq!(grey.tensors()[0].1.dims(), [1]);
    Ok(())
}

/// The result of [`Zca`] for the same images, standardised; after other transforms, it is fitted to their output.
#[test]
fn whitening_is_that_of_zca() -> Result {
    let (set, config) =
        (digits().train.take(300), ZcaConfig { epsilon: 0.1, ..ZcaConfig::default() });
    let indices = [0, 7, 299];
    let (raw, _) = set.batch(&indices, DType::F32, CPU)?;
    let zca = Zca::fit(&set, &config, &mut Rng::new(0), |_| ())?.to(DType::F32, CPU)?;
    let wanted = zca.apply(&standardise(&raw, 1e-10)?)?;
    let fitted = Pipeline::fit(&list("zca=0.1"), &set, &Rng::new(0), None, |_| ())?;
    let seen = set.with_transforms(fitted.clone(), Pipeline::default())?;
    assert_eq!(bits(&seen.batch(&indices, DType::F32, CPU)?.0), bits(&wanted));
    assert_eq!(bits(&fitted.apply_to(&raw)?), bits(&wanted));

    let folder = tempfile::tempdir()?;
    let rest = list("centre-crop=4,zca=0.1");
    let fit = |set| Pipeline::fit(&rest, set, &Rng::new(0), Some(folder.path()), |_| ());
    let cropped = fit(&set)?;
    assert_eq!(cropped.tensors()[0].0, "transforms.1.zca");
    assert_eq!(cropped.tensors()[0].1.dims(), [16, 16]);
    // The cache tells different transforms of the same pixels apart, and has one file for equal ones.
    let whole = Pipeline::fit(&list("zca=0.1"), &set, &Rng::new(0), Some(folder.path()), |_| ())?;
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 2);
    assert_eq!(bits(&whole.tensors()[0].1), bits(&fitted.tensors()[0].1));
    assert_eq!(bits(&fit(&set)?.tensors()[0].1), bits(&cropped.tensors()[0].1));
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 2);
    says(fitted.shape((1, 8, 9)).unwrap_err(), &["zca", "72 values", "expected 64"]);
    Ok(())
}

/// What an image in a graph becomes has the bits of what any image becomes, and its gradient is the derivative, by
/// central differences; a pipeline with a step that is not differentiable passes none.
#[test]
fn a_gradient_passes_what_is_differentiable() -> Result {
    let set = random_set(40, (3, 4, 5));
    let (images, _) = set.batch(&[3, 1, 4, 15], DType::F32, CPU)?;
    let through = |pipeline: &Pipeline, images: &Tensor| -> Result<Tensor> {
        Ok(pipeline.apply_to(images)?.sqr()?.sqr()?.mean_all()?)
    };
    for text in ["standardise", "zca=0.1", "standardise-image", "standardise,zca=0.1"] {
        let pipeline = Pipeline::fit(&list(text), &set, &Rng::new(0), None, |_| ())?;
        let var = Var::from_tensor(&images)?;
        let changed = pipeline.apply_to(&var)?;
        assert_eq!(bits(&changed), bits(&pipeline.apply_to(&images)?), "{text}");
        let grads = through(&pipeline, &var)?.backward()?;
        let gradient = grads.get(&var).expect("a gradient");
        let direction = Rng::new(5).normal(0.0, 1.0, images.shape(), DType::F32, CPU)?;
        let along = f64::from((gradient * &direction)?.sum_all()?.to_scalar::<f32>()?);
        let at = |h: f64| -> Result<f64> {
            let moved = (&images + (&direction * h)?)?;
            Ok(f64::from(through(&pipeline, &moved)?.to_scalar::<f32>()?))
        };
        let slope = (at(1e-3)? - at(-1e-3)?) / 2e-3;
        assert!((along - slope).abs() < 0.02 * slope.abs(), "{text}: {along}, {slope}");
    }
    let pipeline = Pipeline::fit(&list("standardise,grey"), &set, &Rng::new(0), None, |_| ())?;
    let var = Var::from_tensor(&images)?;
    assert!(!pipeline.apply_to(&var)?.track_op());
    Ok(())
}

/// The response to a point of light is the filter, of known values; the last row and column lie beyond the image.
#[test]
fn a_point_shows_the_difference_of_gaussians() -> Result {
    // Image 0 has a point in channel 0, image 1 one of -2 in channel 1, at its last pixel.
    let mut pixels = vec![0_f32; 2 * 2 * 9 * 11];
    pixels[4 * 11 + 5] = 1.;
    pixels[4 * 99 - 1] = -2.;
    let images = Tensor::from_vec(pixels, (2, 2, 9, 11), CPU)?;
    let filtered = pipeline("difference-of-gaussians").apply_to(&images)?;
    assert_eq!(filtered.dims(), [2, 2, 10, 12]);
    let plane = |image: usize, channel: usize| -> Result<Vec<Vec<f64>>> {
        let plane = filtered.get(image)?.get(channel)?.to_dtype(DType::F64)?;
        Ok(plane.to_vec2::<f64>()?)
    };
    let point = plane(0, 0)?;
    let along = [0.459538, -0.012802, -0.021332, -0.001768, -0.000053];
    for (y, x) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
        for (distance, expected) in along.iter().enumerate() {
            let d = distance as isize;
            let found = point[(4 + y * d) as usize][(5 + x * d) as usize];
            assert!((found - expected).abs() < 6e-7, "{found} at {distance}");
        }
    }
    for (y, x) in [(3, 4), (3, 6), (5, 4), (5, 6)] {
        assert!((point[y][x] + 0.0472).abs() < 6e-5, "{}", point[y][x]);
    }
    assert_eq!((point[4][0], point[4][10], point[9][5]), (0., 0., 0.));
    let sum: f64 = point.iter().flatten().sum();
    assert!(sum.abs() < 1e-6, "{sum}");
    let corner = plane(1, 1)?;
    for (y, x, expected) in [(8, 10, 0.459538), (9, 10, -0.012802), (8, 11, -0.012802)] {
        assert!((corner[y][x] + 2. * expected).abs() < 2e-6, "{}", corner[y][x]);
    }
    for (image, channel) in [(0, 1), (1, 0)] {
        assert!(
            plane(image, channel)?.iter().flatten().all(|&dark| dark == 0.),
            "channels do not mix"
        );
    }
    assert_eq!(DifferenceOfGaussians {}.shape((3, 9, 11))?, (3, 10, 12));
    Ok(())
}

/// Random draws follow from seed, moment and index, not from the batch, its order or the number of threads.
#[test]
fn draws_follow_from_seed_moment_and_index() -> Result {
    let augmentation = pipeline("random-crop:padding=4:reflect,flip,colour-jitter");
    let set = random_set(9, (3, 8, 8)).with_transforms(pipeline("grey"), augmentation)?;
    let batch = |indices: &[usize], seed: u64, moment: &str| {
        set.augmented_batch(indices, &Rng::new(seed), moment, DType::F32, CPU).unwrap().0
    };
    let all = batch(&[0, 1, 2, 3, 4, 5, 6, 7, 8], 1, "epoch.1");
    assert_eq!(all.dims(), [9, 1, 8, 8]);
    let some = batch(&[7, 2], 1, "epoch.1");
    assert_eq!(bits(&some.get(0)?), bits(&all.get(7)?));
    assert_eq!(bits(&some.get(1)?), bits(&all.get(2)?));
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let again = pool.install(|| batch(&[0, 1, 2, 3, 4, 5, 6, 7, 8], 1, "epoch.1"));
        assert_eq!(bits(&again), bits(&all));
    }
    for other in [batch(&[7, 2], 2, "epoch.1"), batch(&[7, 2], 1, "epoch.2")] {
        assert_ne!(bits(&other), bits(&some));
    }
    // For testing, nothing is drawn; a selection keeps its transforms.
    let (plain, _) = set.select(&[7])?.batch(&[0], DType::F32, CPU)?;
    assert_eq!(bits(&plain), bits(&set.take(8).batch(&[7], DType::F32, CPU)?.0));
    assert_eq!(set.take(2).augmentation(), set.augmentation());
    Ok(())
}

#[test]
fn text_and_json_say_the_same() -> Result {
    let size = |side| Some(Size::Side(side));
    for (text, config) in [
        ("resize=32", TransformConfig::Resize(Resize { size: Size::Side(32) })),
        ("resize=32x48", TransformConfig::Resize(Resize { size: Size::Exactly([32, 48]) })),
        ("centre-crop=28", TransformConfig::CentreCrop(CentreCrop { size: Size::Side(28) })),
        (
            "random-crop=32:padding=4:reflect",
            TransformConfig::RandomCrop(RandomCrop {
                size: size(32),
                padding: 4,
                padding_mode: candle_hebbian::PaddingMode::Reflect,
            }),
        ),
        (
            "random-resized-crop=160:scale=0.25/1",
            TransformConfig::RandomResizedCrop(RandomResizedCrop {
                size: size(160),
                scale: [0.25, 1.0],
                ..RandomResizedCrop::default()
            }),
        ),
        ("flip", TransformConfig::Flip(Flip { probability: 0.5 })),
        (
            "colour-jitter:hue=0.25",
            TransformConfig::ColourJitter(ColourJitter { saturation: 2.0, hue: 0.25 }),
        ),
        ("grey", TransformConfig::Grey(Grey {})),
        ("standardise-image", TransformConfig::StandardiseImage(StandardiseImage {})),
        ("standardise", TransformConfig::Standardise(Standardise::default())),
        (
            "standardise:mean=0.5:deviation=0.25",
            TransformConfig::Standardise(Standardise {
                mean: Some(vec![0.5]),
                deviation: Some(vec![0.25]),
            }),
        ),
        (
            "zca=0.1:images=100:flip",
            TransformConfig::Zca(ZcaConfig {
                epsilon: 0.1,
                images: Some(100),
                flip: true,
                ..ZcaConfig::default()
            }),
        ),
        (
            "difference-of-gaussians",
            TransformConfig::DifferenceOfGaussians(DifferenceOfGaussians {}),
        ),
    ] {
        assert_eq!(text.parse::<TransformConfig>()?, config, "{text}");
        assert_eq!(config.to_string().parse::<TransformConfig>()?, config, "{config}");
        let json = serde_json::to_string(&config)?;
        assert_eq!(serde_json::from_str::<TransformConfig>(&json)?, config, "{json}");
    }
    let both = list("grey,centre-crop=28");
    assert_eq!((both.0.len(), both.to_string().as_str()), (2, "grey,centre-crop=28"));
    assert_eq!(
        (list("none"), list("none").to_string().as_str()),
        (TransformList::default(), "none")
    );
    let input: InputConfig = serde_json::from_str(r#"{"augmentation": [{"kind": "flip"}]}"#)?;
    assert_eq!(
        serde_json::to_string(&input)?,
        r#"{"augmentation":[{"kind":"flip","probability":0.5}]}"#
    );
    assert_eq!(serde_json::to_string(&InputConfig::default())?, "{}");
    for (json, words) in [
        (r#"{"kind": "flipp"}"#, ["flipp", "random_crop"]),
        (r#"{"kind": "resize", "sise": 3}"#, ["sise", "size"]),
        (r#"{"kind": "resize", "size": "large"}"#, ["size", "[height, width]"]),
    ] {
        says(serde_json::from_str::<TransformConfig>(json).unwrap_err(), &words);
    }
    Ok(())
}

/// Numbers that are given need no images; the others are learned from the training images.
#[test]
fn what_is_fitted_has_no_numbers_yet() {
    for (text, fitted) in [
        ("zca", true),
        ("zca=0.01", true),
        ("standardise", true),
        ("standardise:mean=0.5:deviation=0.25", false),
        ("standardise-image", false),
        ("resize=8x8", false),
        ("flip", false),
    ] {
        assert_eq!(list(text).0[0].is_fitted(), fitted, "{text}");
    }
}

#[test]
fn what_is_wrong_names_the_transform() -> Result {
    for (text, words) in [
        ("gray", &["gray", "expected one of resize, centre-crop"][..]),
        ("", &["expected one of"]),
        ("flip,", &["expected one of"]),
        ("grey=3", &["grey=3", "grey without"]),
        ("resize", &["resize", "size"]),
        ("resize=0", &["resize", "found a size of 0"]),
        ("centre-crop=0x3", &["centre-crop", "found a size of 0"]),
        ("resize=big", &["resize=big", "[height, width]"]),
        ("random-crop=32:paddng=4", &["random-crop=32:paddng=4", "paddng", "padding"]),
        ("random-crop=32:padding=4:padding=5", &["padding twice"]),
        ("random-crop=-1", &["random-crop=-1"]),
        ("flip=2", &["flip", "found a probability of 2", "0 to 1"]),
        ("random-resized-crop=8:scale=1/0.5", &["random-resized-crop", "scale", "[1.0, 0.5]"]),
        ("random-resized-crop=8:scale=0.5/2", &["random-resized-crop", "[0.5, 2.0]", "up to 1"]),
        ("random-resized-crop=8:ratio=0/1", &["random-resized-crop", "ratio"]),
        ("colour-jitter:hue=0.6", &["colour-jitter", "hue of 0.6"]),
        ("standardise:mean=1", &["standardise", "expected both"]),
        ("standardise:mean=1:deviation=0", &["standardise", "above 0"]),
        ("standardise:mean=1:deviation=1e-50", &["standardise", "1e-50", "above 0", "f32"]),
        ("zca=-1", &["epsilon", "-1"]),
    ] {
        says(text.parse::<TransformList>().unwrap_err(), words);
    }
    let set = random_set(2, (1, 8, 8));
    let with = |transforms: &str, augmentation: &str| {
        set.with_transforms(pipeline(transforms), pipeline(augmentation))
    };
    says(with("flip", "none").unwrap_err(), &["'flip'", "at random", "augmentation"]);
    says(with("none", "random-crop=4").unwrap_err(), &["1x4x4", "1x8x8", "one shape"]);
    assert_eq!(with("centre-crop=4", "random-crop=4")?.shape(), (1, 4, 4));
    says(
        with("none", "random-crop:padding=8:reflect").unwrap_err(),
        &["random-crop", "at least 9", "8x8"],
    );
    says(with("none", "random-crop=9").unwrap_err(), &["random-crop", "8x8", "9x9"]);
    says(
        with("none", "colour-jitter").unwrap_err(),
        &["colour-jitter", "1 channels", "expected 3"],
    );
    for huge in ["resize=100000x100000", "resize=18446744073709551615", "centre-crop=9999999"] {
        says(with(huge, "none").unwrap_err(), &["expected 1 to 67108864 values"]);
    }
    let padding = "random-crop:padding=18446744073709551615".parse::<TransformList>();
    says(padding.unwrap_err(), &["at most 65536"]);
    says(Pipeline::new(&list("zca")).unwrap_err(), &["zca", "fitted"]);
    says(Image::new(vec![0.0; 5], (1, 2, 3)).unwrap_err(), &["found 5, expected 6"]);
    let one = Image::new(vec![0.0], (1, 1, 1))?;
    says(pipeline("standardise-image").shape(one.shape()).unwrap_err(), &["1x1x1", "two values"]);
    Ok(())
}
