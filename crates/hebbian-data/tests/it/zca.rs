//! ZCA whitening: its definition, errors, and the cache on disk.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::common::{assert_says, files};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{CacheOutcome, Divisor, Error, ImageSet, Zca, ZcaConfig, ZcaProgress, digits};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
type Matrix = Vec<Vec<f64>>;

fn tensor(rows: &[Vec<f64>]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu).unwrap()
}

fn of(rows: &[Vec<f64>], divisor: Divisor, epsilon: f64) -> Matrix {
    matrix(&Zca::from_rows(&tensor(rows), divisor, epsilon).unwrap())
}

fn matrix(zca: &Zca) -> Matrix {
    zca.matrix().to_vec2().unwrap()
}

fn bits(zca: &Zca) -> Vec<u64> {
    matrix(zca).concat().into_iter().map(f64::to_bits).collect()
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let dot = |row: &[f64], j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
    a.iter().map(|row| (0..b[0].len()).map(|j| dot(row, j)).collect()).collect()
}

/// `XᵀX / divisor + ε I`.
fn covariance(rows: &Matrix, divisor: usize, epsilon: f64) -> Matrix {
    let features = rows[0].len();
    let entry = |i: usize, j: usize| {
        let sum: f64 = rows.iter().map(|row| row[i] * row[j]).sum();
        sum / divisor as f64 + if i == j { epsilon } else { 0. }
    };
    (0..features).map(|i| (0..features).map(|j| entry(i, j)).collect()).collect()
}

fn identity(features: usize) -> Matrix {
    (0..features).map(|i| (0..features).map(|j| f64::from(u8::from(i == j))).collect()).collect()
}

fn distance(a: &Matrix, b: &Matrix) -> f64 {
    assert_eq!((a.len(), a[0].len()), (b.len(), b[0].len()));
    let apart = a.concat().iter().zip(b.concat()).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>();
    assert!(apart.iter().all(|apart| !apart.is_nan()));
    apart.into_iter().fold(0., f64::max)
}

fn largest(a: &Matrix) -> f64 {
    a.concat().into_iter().map(f64::abs).fold(0., f64::max)
}

/// Rows of correlated values.
fn random_rows(rows: usize, features: usize) -> Matrix {
    let mut rng = Rng::new(11);
    let mut normal = |shape: (usize, usize)| -> Matrix {
        rng.normal(0., 1., shape, DType::F64, &Device::Cpu).unwrap().to_vec2().unwrap()
    };
    let (x, mix) = (normal((rows, features)), normal((features, features)));
    product(&x, &mix)
}

/// Images of random pixels.
fn random_images(images: usize, (channels, height, width): (usize, usize, usize)) -> ImageSet {
    let mut rng = Rng::new(12);
    let pixels = (0..images * channels * height * width).map(|_| rng.below(256) as u8).collect();
    ImageSet::new(pixels, vec![0; images], channels, height, width).unwrap()
}

/// The images as rows, each less its mean and divided by its unbiased standard deviation.
fn standardised(images: &ImageSet) -> Matrix {
    let row = |i| {
        let values: Vec<f64> =
            images.image(i).unwrap().iter().map(|&p| f64::from(p) / 255.).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (values.len() - 1) as f64).sqrt();
        values.iter().map(|value| (value - mean) / (1e-10 + deviation)).collect()
    };
    (0..images.len()).map(row).collect()
}

fn fit(images: &ImageSet, config: &ZcaConfig, seed: u64) -> Zca {
    Zca::fit(images, config, &mut Rng::new(seed), |_| ()).unwrap()
}

#[test]
fn two_values_by_hand() {
    // XᵀX = [[10, 6], [6, 10]]. Divided by n = 4, its eigenvalues are 4 along (1, 1) and 1 along
    // (1, -1), where Z has the eigenvalues 1/2 and 1.
    let rows = [[2., 2.], [1., -1.], [2., 2.], [1., -1.]].map(|row| row.to_vec());
    let expected = vec![vec![0.75, -0.25], vec![-0.25, 0.75]];
    assert!(distance(&of(&rows, Divisor::Images, 0.), &expected) < 1e-14);
    // Divided by F = 2 they are twice as large.
    let halved = expected.iter().map(|row| row.iter().map(|z| z / 2_f64.sqrt()).collect());
    assert!(distance(&of(&rows, Divisor::Dimension, 0.), &halved.collect()) < 1e-14);
    // With ε = 6.5625 the eigenvalues are 3.25² and 2.75², and those of Z 4/13 and 4/11.
    let (same, other) = (48. / 143., -4. / 143.);
    let expected = vec![vec![same, other], vec![other, same]];
    assert!(distance(&of(&rows, Divisor::Images, 6.5625), &expected) < 1e-14);
}

#[test]
fn the_matrix_is_the_symmetric_inverse_root() {
    let rows = random_rows(300, 20);
    for (divisor, number) in [(Divisor::Images, 300), (Divisor::Dimension, 20)] {
        for epsilon in [0., 1e-3, 2.] {
            let z = of(&rows, divisor, epsilon);
            for (i, row) in z.iter().enumerate() {
                assert!((0..20).all(|j| row[j] == z[j][i]), "row {i}");
            }
            let squared = product(&product(&z, &covariance(&rows, number, epsilon)), &z);
            assert!(distance(&squared, &identity(20)) < 1e-9);
        }
    }
}

#[test]
fn whitened_rows_have_no_covariance() {
    let rows = random_rows(300, 20);
    let whitened = product(&rows, &of(&rows, Divisor::Images, 0.));
    assert!(distance(&covariance(&whitened, 300, 0.), &identity(20)) < 1e-9);
    // The second column, whose variance is ε, ends at a variance of 1/2: ε damps directions whose
    // variance is not above it.
    let independent = vec![vec![10., 0.], vec![10., 0.], vec![0., 0.1], vec![0., 0.1]];
    let whitened = product(&independent, &of(&independent, Divisor::Images, 0.005));
    let expected = vec![vec![50. / 50.005, 0.], vec![0., 0.005 / 0.01]];
    assert!(distance(&covariance(&whitened, 4, 0.), &expected) < 1e-12);
}

#[test]
fn images_are_standardised_one_by_one() -> Result {
    let images = digits().train;
    let config = ZcaConfig::default();
    let mut seen = Vec::new();
    let zca = Zca::fit(&images, &config, &mut Rng::new(0), |progress| seen.push(progress))?;
    let expected = of(&standardised(&images), Divisor::Images, 3.4e-4);
    assert!(distance(&matrix(&zca), &expected) < 1e-9 * largest(&expected));
    let total = images.len() as u64;
    let covariance = |done| ZcaProgress::Covariance { done, total };
    assert_eq!(seen, [covariance(1000), covariance(1442), ZcaProgress::Eigenvectors]);

    // Equal pixels have no variance, so only ε is left there: the gain is ε^(-1/2).
    for row in matrix(&zca) {
        let gain: f64 = row.iter().sum();
        assert!((gain * 3.4e-4_f64.sqrt() - 1.).abs() < 1e-9, "{gain}");
    }
    Ok(())
}

#[test]
fn images_are_drawn_without_replacement() {
    let images = random_images(3, (1, 2, 3));
    let pair = ZcaConfig { images: Some(2), ..Default::default() };
    let pairs = [[0, 1], [0, 2], [1, 2]]
        .map(|pair| matrix(&fit(&images.select(&pair).unwrap(), &ZcaConfig::default(), 0)));
    let mut drawn = HashSet::new();
    for seed in 0..40 {
        let found = matrix(&fit(&images, &pair, seed));
        let which = pairs.iter().position(|pair| distance(&found, pair) < 1e-6);
        drawn.insert(which.expect("a pair of different images"));
    }
    assert_eq!(drawn.len(), 3);
}

#[test]
fn images_are_flipped_one_by_one() {
    let images = random_images(2, (2, 2, 3));
    let mirrored = |i: usize| {
        images
            .image(i)
            .unwrap()
            .chunks(3)
            .flat_map(|row| row.iter().rev())
            .copied()
            .collect::<Vec<u8>>()
    };
    let set = |flips: usize| {
        let pixels = (0..2).flat_map(|i| match (flips >> i) & 1 {
            0 => images.image(i).unwrap().to_vec(),
            _ => mirrored(i),
        });
        ImageSet::new(pixels.collect(), vec![0; 2], 2, 2, 3).unwrap()
    };
    let ways = [0, 1, 2, 3].map(|flips| matrix(&fit(&set(flips), &ZcaConfig::default(), 0)));
    let flip = ZcaConfig { flip: true, ..Default::default() };
    let mut seen = HashSet::new();
    for seed in 0..60 {
        let found = matrix(&fit(&images, &flip, seed));
        let which = ways.iter().position(|way| distance(&found, way) < 1e-6);
        seen.insert(which.expect("each image as it was or mirrored"));
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn the_authors_settings_scale_the_usual_ones() -> Result {
    let author = ZcaConfig::author();
    assert_eq!((author.images, author.flip), (Some(9000), true));
    assert!((author.epsilon * 3072. / 9000. / ZcaConfig::default().epsilon - 1.).abs() < 5e-3);
    // C of the dimension is n/F times C of the images, so with ε n/F the roots differ by √(F/n).
    let rows = random_rows(50, 20);
    let expected: Matrix = of(&rows, Divisor::Images, 1e-3 * 20. / 50.)
        .into_iter()
        .map(|row| row.into_iter().map(|z| z * (20_f64 / 50.).sqrt()).collect())
        .collect();
    let found = of(&rows, author.divisor, author.epsilon);
    assert!(distance(&found, &expected) < 1e-9 * largest(&expected));
    Ok(())
}

#[test]
fn settings_are_read_and_written() -> Result {
    let json = serde_json::to_value(ZcaConfig::author())?;
    let expected = serde_json::json!({
        "epsilon": 1e-3, "divisor": "dimension", "images": 9000, "flip": true
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<ZcaConfig>(json)?, ZcaConfig::author());
    let partial: ZcaConfig = serde_json::from_str(r#"{"epsilon": 0.5}"#)?;
    assert_eq!(partial, ZcaConfig { epsilon: 0.5, ..ZcaConfig::default() });
    assert!(serde_json::from_str::<ZcaConfig>(r#"{"epsylon": 0.5}"#).is_err());
    Ok(())
}

#[test]
fn each_image_is_multiplied_by_the_matrix() -> Result {
    let images = random_images(30, (2, 3, 4));
    let zca = fit(&images, &ZcaConfig::default(), 0);
    let z = matrix(&zca);
    let rows = standardised(&images);
    let expected = product(&rows, &z);
    let batch = tensor(&rows).reshape((30, 2, 3, 4))?;
    let found = zca.apply(&batch)?;
    assert_eq!((found.dims(), found.dtype()), (&[30, 2, 3, 4][..], DType::F64));
    assert!(distance(&found.flatten_from(1)?.to_vec2()?, &expected) < 1e-10);

    // Not contiguous, and of other types than the matrix.
    let turned = batch.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
    assert!(distance(&zca.apply(&turned)?.flatten_from(1)?.to_vec2()?, &expected) < 1e-10);
    let single = zca.to(DType::F32, &Device::Cpu)?;
    assert_eq!(single.matrix().dtype(), DType::F32);
    // Z is large along equal pixels, so that the rounding of the images counts; the expected values
    // include it.
    for (zca, dtype, tolerance) in
        [(&zca, DType::F32, 1e-6), (&single, DType::F32, 1e-5), (&single, DType::BF16, 4e-3)]
    {
        let batch = batch.to_dtype(dtype)?;
        let rows = batch.to_dtype(DType::F64)?.flatten_from(1)?.to_vec2()?;
        let expected = product(&rows, &z);
        let found = zca.apply(&batch)?;
        assert_eq!((found.dims(), found.dtype()), (&[30, 2, 3, 4][..], dtype));
        let found: Matrix = found.to_dtype(DType::F64)?.flatten_from(1)?.to_vec2()?;
        assert!(distance(&found, &expected) < tolerance * largest(&expected), "{dtype:?}");
    }

    let error = zca.apply(&Tensor::zeros((2, 1, 3, 4), DType::F64, &Device::Cpu)?).unwrap_err();
    assert_says(&error.to_string(), &["found 12, expected 24"]);
    Ok(())
}

#[test]
fn a_singular_covariance_is_refused() {
    // Three rows span three of five directions.
    let rows = random_rows(3, 5);
    let error = Zca::from_rows(&tensor(&rows), Divisor::Images, 0.).unwrap_err();
    assert!(
        matches!(error, Error::RankDeficient { singular: 2, features: 5, rows: 3, .. }),
        "{error}"
    );
    assert_says(&error.to_string(), &["2 of the 5", "3 rows", "larger epsilon", "3.4e-4"]);
    assert!(Zca::from_rows(&tensor(&rows), Divisor::Images, 1e-6).is_ok());
    // An ε that is lost in rounding.
    let error = Zca::from_rows(&tensor(&rows), Divisor::Images, 1e-18).unwrap_err();
    assert!(matches!(error, Error::RankDeficient { singular: 2, .. }), "{error}");
    let zeros = Tensor::zeros((9, 4), DType::F32, &Device::Cpu).unwrap();
    let error = Zca::from_rows(&zeros, Divisor::Images, 0.).unwrap_err();
    assert!(matches!(error, Error::RankDeficient { singular: 4, .. }), "{error}");
    // Standardised images, however many, lack the direction of equal pixels.
    let images = random_images(100, (1, 3, 3));
    let config = ZcaConfig { epsilon: 0., ..Default::default() };
    let error = Zca::fit(&images, &config, &mut Rng::new(0), |_| ()).unwrap_err();
    assert!(
        matches!(error, Error::RankDeficient { singular: 1, features: 9, rows: 100, .. }),
        "{error}"
    );
}

#[test]
fn bad_input_is_refused() {
    let images = random_images(5, (1, 2, 3));
    let refuse = |images: &ImageSet, config: ZcaConfig| {
        let called = |_| panic!("refused before any work");
        Zca::fit(images, &config, &mut Rng::new(0), called).unwrap_err()
    };
    for epsilon in [-1e-3, f64::NAN, f64::INFINITY] {
        let error = refuse(&images, ZcaConfig { epsilon, ..Default::default() });
        assert!(matches!(error, Error::Epsilon(_)), "{error}");
        assert_says(&error.to_string(), &[&epsilon.to_string(), "0 or more"]);
        let error = Zca::from_rows(&tensor(&random_rows(9, 2)), Divisor::Images, epsilon);
        assert!(matches!(error, Err(Error::Epsilon(_))));
    }
    for number in [f64::NAN, f64::NEG_INFINITY, 1e200] {
        let mut rows = random_rows(9, 4);
        rows[5][2] = number;
        let error = Zca::from_rows(&tensor(&rows), Divisor::Images, 1e-3).unwrap_err();
        assert!(matches!(error, Error::NotFinite { column: 2, .. }), "{error}");
        assert_says(&error.to_string(), &["column 2", "finite"]);
    }
    // Finite, but its square is not.
    let error = Zca::from_rows(&tensor(&random_rows(9, 4)), Divisor::Images, 1e308).unwrap_err();
    assert!(matches!(error, Error::Eigen(4)), "{error}");
    assert_says(&error.to_string(), &["4x4", "variances near 1"]);
    // 2⁴⁸ products of 8 bytes, four times.
    let large = ImageSet::new(vec![0; 1 << 24], vec![0], 1, 1 << 12, 1 << 12).unwrap();
    let error = refuse(&large, ZcaConfig::default()).to_string();
    assert_says(&error, &["zca", "16777216 values", "8589934592 MiB", "smaller"]);
    let empty = random_images(0, (1, 2, 3));
    let error = refuse(&empty, ZcaConfig::default());
    assert!(matches!(error, Error::TooFewImages { found: 0, expected: 1 }), "{error}");
    let error = refuse(&images, ZcaConfig { images: Some(6), ..Default::default() });
    assert!(matches!(error, Error::TooFewImages { found: 5, expected: 6 }), "{error}");
    assert_says(&error.to_string(), &["found 5", "at least 6", "drawn"]);
    let error = refuse(&images, ZcaConfig { images: Some(0), ..Default::default() });
    assert!(matches!(error, Error::TooFewImages { found: 0, expected: 1 }), "{error}");
    for shape in [(0, 4), (4, 0)] {
        let rows = Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap();
        let error = Zca::from_rows(&rows, Divisor::Images, 1e-3).unwrap_err();
        assert!(matches!(error, Error::Size { found: 0, expected: 1, .. }), "{error}");
    }
    let rows = Tensor::zeros((2, 3, 4), DType::F64, &Device::Cpu).unwrap();
    assert!(Zca::from_rows(&rows, Divisor::Images, 1e-3).is_err());
}

/// A saved matrix whitens as it did, and is square.
#[test]
fn a_whitening_comes_back_from_its_matrix() -> Result {
    let zca = Zca::from_rows(&tensor(&random_rows(9, 4)), Divisor::Images, 1e-3)?;
    let again = Zca::of_matrix(zca.matrix())?;
    let image = tensor(&random_rows(1, 4)).reshape((1, 1, 2, 2))?;
    assert_eq!(
        again.apply(&image)?.flatten_all()?.to_vec1::<f64>()?,
        zca.apply(&image)?.flatten_all()?.to_vec1::<f64>()?
    );
    for (rows, columns) in [(3, 2), (2, 3), (0, 0)] {
        let matrix = Tensor::zeros((rows, columns), DType::F64, &Device::Cpu)?;
        let error = Zca::of_matrix(&matrix).unwrap_err().to_string();
        let found = format!("found {columns}");
        assert_says(&error, &["columns of a whitening matrix", &found]);
    }
    Ok(())
}

/// The matrix obtained through the cache, the cache's outcome, and the number of progress reports.
fn cached(
    images: &ImageSet,
    config: &ZcaConfig,
    seed: u64,
    cache: &Path,
) -> (Zca, CacheOutcome, usize) {
    let mut reports = 0;
    let mut rng = Rng::new(seed);
    let (zca, outcome) =
        Zca::fit_cached(images, config, &mut rng, cache, |_| reports += 1).unwrap();
    (zca, outcome, reports)
}

#[test]
fn the_second_time_the_matrix_is_read() -> Result {
    let dir = tempfile::tempdir()?;
    let cache = dir.path().join("made/when needed");
    let images = random_images(40, (2, 3, 4));
    let config = ZcaConfig { images: Some(30), flip: true, ..Default::default() };
    let computed = fit(&images, &config, 1);

    let (first, outcome, reports) = cached(&images, &config, 1, &cache);
    let CacheOutcome::Written(path) = outcome else { panic!("{outcome:?}") };
    assert!(reports > 0);
    assert_eq!(bits(&first), bits(&computed));
    let [name] = &files(&cache)[..] else { panic!("{:?}", files(&cache)) };
    assert_eq!(path, cache.join(name));
    assert!(name.starts_with("zca-") && name.ends_with(".safetensors"), "{name}");
    let written = fs::metadata(&path)?.modified()?;

    let (second, outcome, reports) = cached(&images, &config, 1, &cache);
    assert!(matches!(&outcome, CacheOutcome::Read(read) if *read == path), "{outcome:?}");
    assert_eq!(reports, 0, "nothing was computed");
    assert_eq!(bits(&second), bits(&computed));
    assert_eq!(fs::metadata(&path)?.modified()?, written);
    assert_eq!(files(&cache).len(), 1);

    // The generator continues from the same place, whether the matrix was read or not.
    let mut rngs = [Rng::new(1), Rng::new(1)];
    Zca::fit(&images, &config, &mut rngs[0], |_| ())?;
    Zca::fit_cached(&images, &config, &mut rngs[1], &cache, |_| ())?;
    let [plain, cached] = rngs.map(|mut rng| rng.below(1 << 30));
    assert_eq!(plain, cached);
    Ok(())
}

#[test]
fn other_images_or_settings_have_another_file() -> Result {
    let dir = tempfile::tempdir()?;
    let images = random_images(40, (2, 3, 4));
    let written = |images: &ImageSet, config: &ZcaConfig, seed| {
        matches!(cached(images, config, seed, dir.path()).1, CacheOutcome::Written(_))
    };
    let pixels: Vec<u8> = (0..40).flat_map(|i| images.image(i).unwrap()).collect();
    let of = |pixels: &[u8], label, (c, h, w)| {
        ImageSet::new(pixels.to_vec(), vec![label; 40], c, h, w).unwrap()
    };
    let mut one_more = pixels.clone();
    *one_more.last_mut().unwrap() ^= 1;
    let plain = ZcaConfig::default();
    let drawn = ZcaConfig { images: Some(39), ..plain };
    assert!(written(&images, &plain, 0));
    assert!(written(&of(&one_more, 0, (2, 3, 4)), &plain, 0), "a pixel");
    assert!(written(&of(&pixels, 0, (2, 4, 3)), &plain, 0), "the shape");
    assert!(written(&images, &ZcaConfig { epsilon: 3.5e-4, ..plain }, 0));
    assert!(written(&images, &ZcaConfig { divisor: Divisor::Dimension, ..plain }, 0));
    assert!(written(&images, &ZcaConfig { flip: true, ..plain }, 0));
    assert!(written(&images, &drawn, 0));
    assert!(written(&images, &drawn, 1), "the seed, as images are drawn");
    assert_eq!(files(dir.path()).len(), 8);

    assert!(!written(&of(&pixels, 7, (2, 3, 4)), &plain, 0), "labels do not matter");
    assert!(!written(&images, &plain, 1), "nor does a seed of which nothing is drawn");
    assert!(!written(&images, &drawn, 1));
    Ok(())
}

#[test]
fn what_is_not_the_matrix_is_replaced() -> Result {
    let dir = tempfile::tempdir()?;
    let images = random_images(40, (2, 3, 4));
    let config = ZcaConfig::default();
    let (zca, CacheOutcome::Written(path), _) = cached(&images, &config, 0, dir.path()) else {
        panic!("not written");
    };
    let good = fs::read(&path)?;
    let other = ZcaConfig { epsilon: 1., ..config };
    let (_, CacheOutcome::Written(others), _) = cached(&images, &other, 0, dir.path()) else {
        panic!("not written");
    };
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        bytes
    };
    let foreign = |tensor: &Tensor| -> Result<Vec<u8>> {
        let path = dir.path().join("foreign");
        candle::safetensors::save(&[("matrix", tensor.clone())].into(), &path)?;
        let bytes = fs::read(&path)?;
        fs::remove_file(path)?;
        Ok(bytes)
    };
    let last = good.len() - 1;
    let damaged = [
        ("nothing", vec![]),
        ("text", b"no such page".to_vec()),
        ("a file that is cut short", good[..last].to_vec()),
        ("a file that goes on", edited(&|bytes| bytes.push(0))),
        ("a file that goes on for long", edited(&|bytes| bytes.resize(1 << 20, 0))),
        ("the last bit of a diagonal value", edited(&|bytes| bytes[last - 7] ^= 1)),
        (
            "the type",
            edited(&|bytes| {
                let at = bytes.windows(3).position(|word| word == b"F64").unwrap();
                bytes[at] = b'I';
            }),
        ),
        ("the matrix of other settings", fs::read(others)?),
        ("no checksum", foreign(zca.matrix())?),
        ("another shape", foreign(&Tensor::ones((24, 23), DType::F64, &Device::Cpu)?)?),
        ("not a number", foreign(&(zca.matrix() * f64::NAN)?)?),
    ];
    for (what, bytes) in damaged {
        fs::write(&path, bytes)?;
        let (again, outcome, reports) = cached(&images, &config, 0, dir.path());
        let replaced = matches!(&outcome, CacheOutcome::Replaced(file) if *file == path);
        assert!(replaced, "{what}: {outcome:?}");
        assert!(reports > 0, "{what}");
        assert_eq!(bits(&again), bits(&zca), "{what}");
        let (_, outcome, _) = cached(&images, &config, 0, dir.path());
        assert!(matches!(outcome, CacheOutcome::Read(_)), "{what}: {outcome:?}");
    }
    assert_eq!(files(dir.path()).len(), 2, "nothing else is left behind");
    Ok(())
}

/// A changed byte at any place of header and data, and a file that ends at any place.
#[test]
fn a_damaged_file_is_never_used() -> Result {
    let dir = tempfile::tempdir()?;
    let images = random_images(20, (1, 2, 2));
    let config = ZcaConfig::default();
    let (zca, CacheOutcome::Written(path), _) = cached(&images, &config, 0, dir.path()) else {
        panic!("not written");
    };
    let good = fs::read(&path)?;
    let flipped = (0..good.len()).flat_map(|at| [0x01, 0x20, 0xff].map(|bits| (at, bits)));
    let damaged = flipped.map(|(at, bits)| {
        let mut bytes = good.clone();
        bytes[at] ^= bits;
        (format!("byte {at} ^ {bits}"), bytes)
    });
    let short = (0..good.len()).map(|length| (format!("{length} bytes"), good[..length].to_vec()));
    for (what, bytes) in damaged.chain(short) {
        fs::write(&path, bytes)?;
        let (again, outcome, reports) = cached(&images, &config, 0, dir.path());
        assert!(matches!(outcome, CacheOutcome::Replaced(_)), "{what}: {outcome:?}");
        assert!(reports > 0 && bits(&again) == bits(&zca), "{what}");
        assert!(fs::read(&path)? == good, "{what}");
    }
    assert_eq!(files(dir.path()).len(), 1);
    Ok(())
}

#[test]
fn what_a_killed_program_left_goes_with_the_next_write() -> Result {
    let dir = tempfile::tempdir()?;
    let images = random_images(20, (1, 2, 2));
    let write = || match cached(&images, &ZcaConfig::default(), 0, dir.path()).1 {
        CacheOutcome::Written(path) => path,
        outcome => panic!("{outcome:?}"),
    };
    let path = write();
    fs::remove_file(&path)?;
    let name = path.file_stem().unwrap().to_str().unwrap();
    let half = |letters: &str| dir.path().join(format!(".unfinished-{name}-{letters}"));
    fs::write(half("AbCdEf"), "half")?;
    fs::write(half("123456"), "another is writing this")?;
    let other = fs::File::options().write(true).open(half("123456"))?;
    other.lock()?;
    assert_eq!(write(), path);
    assert!(path.exists() && !half("AbCdEf").exists() && half("123456").exists());
    assert_eq!(files(dir.path()).len(), 2);
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_is_told() -> Result {
    let dir = tempfile::tempdir()?;
    let images = random_images(40, (2, 3, 4));
    let config = ZcaConfig::default();
    // A folder cannot be made below a file, nor can a file replace a folder; not even for root.
    let file = dir.path().join("file");
    fs::write(&file, "")?;
    let (zca, outcome, reports) = cached(&images, &config, 0, &file.join("cache"));
    let CacheOutcome::NotWritten(error @ Error::Io { .. }) = outcome else { panic!("{outcome:?}") };
    assert_says(&error.to_string(), &["file", "cache"]);
    assert!(reports > 0);
    assert_eq!(bits(&zca), bits(&fit(&images, &config, 0)));

    let cache = dir.path().join("cache");
    let (_, CacheOutcome::Written(path), _) = cached(&images, &config, 0, &cache) else {
        panic!("not written");
    };
    fs::remove_file(&path)?;
    fs::create_dir_all(path.join("in the way"))?;
    let (again, outcome, _) = cached(&images, &config, 0, &cache);
    assert!(matches!(outcome, CacheOutcome::NotWritten(Error::Io { .. })), "{outcome:?}");
    assert_eq!(bits(&again), bits(&zca));
    assert_eq!(files(&cache), [] as [&str; 0], "no temporary file is left");
    Ok(())
}
