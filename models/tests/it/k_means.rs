//! K-means on whitened patches: worked examples in f64, properties on digits, and what must fail.

use crate::common::{Result, near, stopping_after};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Covariance, Dataset, ImageSet, digits};
use hebbian_models::k_means::{
    KMeans, Options, Preset, Start as Centroids, contrast, distances, lloyd, triangle,
};
use hebbian_train::{
    Checkpoint, Error, Learner, Method, Model, Preset as _, ReadoutResult, RunOptions, Start, Stop,
    all_presets, find_preset, train,
};

const CPU: &Device = &Device::Cpu;

/// Numbers from NumPy to nine decimals.
mod worked {
    use super::*;

    const NINE: f64 = 1e-9;

    #[test]
    fn contrast_of_a_patch() -> Result {
        let rows = Tensor::new(&[[10f64, 20., 30., 60.]], CPU)?;
        near(
            "contrast",
            &contrast(&rows, 10.0)?,
            &[-0.916057225, -0.458028612, 0.0, 1.374085837],
            NINE,
        )
    }

    /// The covariance of a sample divides by n − 1: it is 4/3 of that of the rows.
    #[test]
    fn whitening_of_four_samples() -> Result {
        let rows = Tensor::new(&[[1f64, 2.], [3., 1.], [0., -1.], [-2., 0.]], CPU)?;
        let mut covariance = Covariance::new(2);
        covariance.add(&rows)?;
        let whitening = (covariance.inverse_root(0.1 * 0.75)? * 0.75f64.sqrt())?;
        let want = [0.515163724, -0.162489992, -0.162489992, 0.840143708];
        near("whitening", &whitening, &want, NINE)?;
        let first = rows.broadcast_sub(&rows.mean(0)?)?.matmul(&whitening)?.narrow(0, 0, 1)?;
        near("first", &first, &[0.013846873, 1.178970567], NINE)
    }

    #[test]
    fn triangle_of_a_point() -> Result {
        let centroids = Tensor::new(&[[1f64, 0.], [0., 1.], [-1., -1.], [2., 2.]], CPU)?;
        let z = distances(&Tensor::new(&[[0.5f64, 0.5]], CPU)?, &centroids)?;
        // √½, √½, √4.5, √4.5, whose mean is 2√½.
        let (near_one, far) = (0.5f64.sqrt(), 4.5f64.sqrt());
        near("z", &z, &[near_one, near_one, far, far], 1e-12)?;
        near("f", &triangle(&z)?, &[near_one, near_one, 0.0, 0.0], NINE)
    }

    /// A centroid that is no number is at no distance, and there is no average of the distances. Nor is there one of a
    /// patch that is no number. The distance of a point from itself is 0.
    #[test]
    fn nan_stays() -> Result {
        let centroids = Tensor::new(&[[1f64, 0.], [f64::NAN, 1.]], CPU)?;
        let rows = Tensor::new(&[[1f64, 0.], [0., f64::NAN]], CPU)?;
        let distances = distances(&rows, &centroids)?;
        let z = distances.to_vec2::<f64>()?;
        assert!(z[0][0] == 0.0 && z[0][1].is_nan() && z[1].iter().all(|z| z.is_nan()), "{z:?}");
        let f = triangle(&distances)?.to_vec2::<f64>()?;
        assert!(f.iter().flatten().all(|f| f.is_nan()), "{f:?}");
        Ok(())
    }

    /// Contrast and triangle in f32, in which models compute.
    #[test]
    fn single_precision() -> Result {
        let rows = Tensor::new(&[[10f32, 20., 30., 60.]], CPU)?;
        let want = [-0.916057225, -0.458028612, 0.0, 1.374085837];
        near("contrast", &contrast(&rows, 10.0)?, &want, 1e-6)?;
        let centroids = Tensor::new(&[[1f32, 0.], [0., 1.], [-1., -1.], [2., 2.]], CPU)?;
        let z = distances(&Tensor::new(&[[0.5f32, 0.5]], CPU)?, &centroids)?;
        let near_one = 0.5f64.sqrt();
        near("f", &triangle(&z)?, &[near_one, near_one, 0.0, 0.0], 1e-6)
    }

    /// On a line: 0 and 1 are nearest to 2, 10 and 12 to 9, and nothing to 100.
    #[test]
    fn an_iteration_of_k_means() -> Result {
        let rows = Tensor::new(&[[0f64], [10.], [1.], [12.]], CPU)?;
        let centroids = Tensor::new(&[[2f64], [9.], [100.]], CPU)?;
        for together in [1, 3, 100] {
            let (means, won) = lloyd(&rows, &centroids, together)?;
            near("means", &means, &[0.5, 11.0, 0.0], 1e-12)?;
            assert_eq!(won, [2, 2, 0]);
        }
        Ok(())
    }
}

fn preset() -> Result<Preset> {
    Ok(Preset { patches: 1000, units: 40, iterations: 5, ..find_preset("k-means-digits")? })
}

/// Mean, whitening and centroids that a seed gives on some images.
fn fitted(preset: &Preset, images: &ImageSet, seed: u64) -> Result<Vec<Tensor>> {
    let start = Start { rng: Rng::new(seed), device: CPU.clone(), quiet: true };
    let data = hebbian_data::Dataset { train: images.clone(), ..digits() };
    let mut learner = KMeans::learner(&Options { preset: preset.clone() }, &data, &start)?;
    learner.begin()?;
    Ok(learner.model().tensors().into_iter().map(|(_, tensor)| tensor).collect())
}

/// Iterations lower the mean squared distance of patches from their centroids, and never raise it.
#[test]
fn clusters_become_tighter() -> Result {
    let train = digits().train.take(300);
    let rng = Rng::new(0).stream("patches");
    let mut before = f64::INFINITY;
    for iterations in [0, 1, 2, 5] {
        let preset = Preset { iterations, ..preset()? };
        let [mean, whitening, centroids] = &fitted(&preset, &train, 0)?[..] else {
            return Err("three tensors".into());
        };
        // The patches that the learner has drawn.
        let patches = train.draw_patches(preset.patches, preset.kernel, &mut rng.clone())?;
        let rows = contrast(&(patches.flatten_from(1)? * 255.0)?, preset.contrast)?;
        let rows = rows.to_dtype(DType::F32)?.broadcast_sub(mean)?.matmul(whitening)?;
        let nearest = distances(&rows, &centroids.flatten_from(1)?)?.min(1)?.sqr()?;
        let error = nearest.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        assert!(error < 0.999 * before, "{iterations} iterations: {error} after {before}");
        before = error;
    }
    Ok(())
}

#[test]
fn a_seed_makes_the_centroids() -> Result {
    let train = digits().train.take(200);
    for start in [Centroids::Gaussian, Centroids::Patches] {
        let preset = Preset { start, ..preset()? };
        let numbers = |seed| -> Result<Vec<Vec<f32>>> {
            let tensors = fitted(&preset, &train, seed)?;
            let values = tensors.iter().map(|one| one.flatten_all()?.to_vec1());
            Ok(values.collect::<candle::Result<_>>()?)
        };
        let (first, again, other) = (numbers(3)?, numbers(3)?, numbers(4)?);
        assert_eq!(first, again);
        assert_ne!(first[2], other[2]);
        assert!(first.iter().flatten().all(|value| value.is_finite()));
    }
    Ok(())
}

/// A run that was stopped during its read-outs and is resumed ends in the same bytes. What the first one gave is kept
/// while the second is fitted: it still has the time that it took.
#[test]
fn goes_on_after_a_stop() -> Result {
    let folder = tempfile::tempdir()?;
    let options = Options { preset: preset()? };
    let run = |name: &str, resume: bool, stop: &Stop, data: &Dataset| {
        let how = RunOptions { resume, stop: stop.clone(), quiet: true, ..RunOptions::default() };
        train::<KMeans>(&options, data, CPU, &how, &folder.path().join(name))
    };
    let whole = run("whole", false, &Stop::default(), &digits())?.results;
    let asked = Stop::default();
    asked.ask(2);
    let Err(Error::Stopped { signal: 2, .. }) = run("stopped", false, &asked, &digits()) else {
        return Err("it was to stop".into());
    };
    let (kept, later) = (folder.path().join("stopped/readouts.safetensors"), Stop::default());
    let data = stopping_after("readout: ridge", &kept, &later, digits())?;
    let Err(Error::Stopped { signal: 15, .. }) = run("stopped", true, &later, &data) else {
        return Err("it was to stop again".into());
    };
    let metadata = Checkpoint::load(&kept, CPU)?.metadata;
    let (_, first): (f64, ReadoutResult) = serde_json::from_str(&metadata["readout: ridge"])?;
    let resumed = run("stopped", true, &Stop::default(), &digits())?.results;
    assert_eq!(resumed.readouts[0], first);
    assert_eq!((resumed.confusion, resumed.extras), (whole.confusion, whole.extras));
    assert_eq!(resumed.readouts[1].confusion, whole.readouts[1].confusion);
    assert!(!kept.exists());
    let model = |name: &str| std::fs::read(folder.path().join(name).join("model.safetensors"));
    assert_eq!(model("whole")?, model("stopped")?);
    Ok(())
}

#[test]
fn features_are_better_than_pixels() -> Result {
    let folder = tempfile::tempdir()?;
    let options = Options { preset: find_preset("k-means-digits")? };
    let how = RunOptions { quiet: true, ..RunOptions::default() };
    let results = train::<KMeans>(&options, &digits(), CPU, &how, folder.path())?.results;
    let [triangles, pixels] = &results.readouts[..] else { return Err("two read-outs".into()) };
    assert!(triangles.test_accuracy > pixels.test_accuracy + 0.01, "{}", triangles.test_accuracy);
    assert_eq!((results.training_steps, results.trained_with_labels), (0, false));
    assert_eq!((triangles.features, pixels.features), (128 * 4, 64));
    assert!(folder.path().join("centroids.png").exists());
    Ok(())
}

#[test]
fn presets_that_are_wrong_are_refused() -> Result {
    assert_eq!(all_presets::<Preset>()?.len(), 3);
    let right = preset()?;
    right.validate()?;
    for (wrong, says) in [
        (Preset { kernel: 0, ..right.clone() }, "kernel is 0, expected 1 or more"),
        (Preset { units: 0, ..right.clone() }, "units is 0, expected 1 to 65,536"),
        (Preset { units: (1 << 16) + 1, ..right.clone() }, "units is 65537, expected 1 to 65,536"),
        (
            Preset { units: 1001, ..right.clone() },
            "units is 1001, expected at most the 1000 patches",
        ),
        (Preset { patches: 1, ..right.clone() }, "patches is 1, expected 2 to"),
        (Preset { contrast: 0.0, ..right.clone() }, "contrast is 0, expected a number above 0"),
        (
            Preset { epsilon: f64::NAN, ..right.clone() },
            "epsilon is NaN, expected a number above 0",
        ),
        (
            Preset { iterations: (1 << 24) + 1, ..right.clone() },
            "iterations is 16777217, expected at most 16,777,216",
        ),
        (Preset { alphas: vec![], ..right.clone() }, "alphas are [], expected one or more"),
        (Preset { alphas: vec![-1.0], ..right.clone() }, "alphas are [-1.0], expected one or more"),
    ] {
        let error = wrong.validate().unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    // Centroids that are drawn may be more than the patches.
    Preset { units: 1001, start: Centroids::Gaussian, ..right.clone() }.validate()?;
    let start = Start { rng: Rng::new(0), device: CPU.clone(), quiet: true };
    let large = Options { preset: Preset { kernel: 9, ..right.clone() } };
    let error = KMeans::learner(&large, &digits(), &start).err().ok_or("accepted")?.to_string();
    assert!(error.contains("image too small: 8 pixels"), "{error}");
    // There are fewer different patches than asked for.
    let few = Dataset { train: digits().train.take(2), ..digits() };
    let mut learner = KMeans::learner(&Options { preset: right }, &few, &start)?;
    let error = learner.begin().unwrap_err().to_string();
    assert!(error.contains("different patches") && error.contains("expected 1000"), "{error}");
    Ok(())
}
