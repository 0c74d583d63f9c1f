//! The models that come with the crate are whole, small, and as good as their results say.

use candle::Device;
use hebbian_data::{digits, load};
use hebbian_models::{Model, ZOO};
use hebbian_train::{Progress, Results, evaluate};

/// The most bytes that all of them may have.
const MOST: u64 = 8 << 20;

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

fn results(model: &Model) -> std::result::Result<Results, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    model.save(folder.path())?;
    Ok(serde_json::from_str(&std::fs::read_to_string(folder.path().join("results.json"))?)?)
}

#[test]
fn every_model_classifies_as_its_results_say() -> Result {
    let mut seen = 0;
    for name in ZOO {
        let model = Model::from_zoo(name)?;
        if model.dataset() != "digits" {
            continue;
        }
        let (test, mut progress) = (digits().test, Progress::new(0, "", true));
        let found = evaluate(model.inner(), &test, 10, &Device::Cpu, &mut progress)?;
        let told = results(&model)?;
        // 1 less the share of errors may differ from the share of hits in its last bit.
        assert!((told.test_accuracy - found.accuracy).abs() < 1e-12, "{name}");
        assert_eq!(told.confusion, Some(found.confusion), "{name}");
        seen += 1;
    }
    assert!(seen > 0);
    Ok(())
}

/// The circuit is tested with a part of the first 10,000 training images: see its card.
#[test]
fn mnist_is_classified_where_it_is_there() -> Result {
    let Ok(data) =
        load("mnist", &hebbian_data::LoadOptions { offline: true, ..Default::default() })
    else {
        eprintln!("skipped: MNIST is not in the cache");
        return Ok(());
    };
    let (train, mut progress) = (data.train.take(2000), Progress::new(0, "", true));
    let mut seen = 0;
    for name in ZOO {
        let model = Model::from_zoo(name)?;
        if model.dataset() == "mnist" {
            let found = evaluate(model.inner(), &train, 10, &Device::Cpu, &mut progress)?;
            // 2,000 of the images of its results: three standard errors.
            let told = results(&model)?.test_accuracy;
            let error = (told * (1.0 - told) / 2000.0).sqrt();
            assert!(
                (found.accuracy - told).abs() < 3.0 * error,
                "{name}: {} {told}",
                found.accuracy
            );
            seen += 1;
        }
    }
    assert!(seen > 0);
    Ok(())
}

#[test]
fn the_zoo_is_small_and_names_are_told() -> Result {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/zoo");
    let (mut bytes, mut names) = (0, Vec::new());
    for model in std::fs::read_dir(folder)? {
        let model = model?;
        names.push(model.file_name().into_string().map_err(|name| format!("{name:?}"))?);
        for file in std::fs::read_dir(model.path())? {
            bytes += file?.metadata()?.len();
        }
    }
    names.sort();
    assert_eq!(names, ZOO);
    assert!(bytes <= MOST, "{bytes}");
    let error = Model::from_zoo("softheb-digits").unwrap_err().to_string();
    assert!(error.contains("softheb-digits") && error.contains("softhebb-digits"), "{error}");
    Ok(())
}
