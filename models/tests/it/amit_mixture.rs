//! The synthetic mixture task: its statistics against those of its definition.

use crate::common::refused;
use candle::Tensor;
use candle_hebbian::Rng;
use hebbian_models::amit::{Experiment, Mixture, MixtureConfig, Samples};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

type Statistic = fn(f64) -> f64;

/// The number of standard errors that a statistic may be off.
const ALLOWED: f64 = 5.0;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn standard_error(values: &[f64]) -> f64 {
    let (n, centre) = (values.len() as f64, mean(values));
    (values.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt()
}

/// `E[f(clip(centre + σ·z))]` for a standard normal `z`, by the midpoint rule.
fn expected(centre: f64, sigma: f64, f: impl Fn(f64) -> f64) -> f64 {
    let h = 2e-3;
    let density = |z: f64| (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let points = (0..8_000).map(|i| -8.0 + h * (i as f64 + 0.5));
    points.map(|z| h * density(z) * f((centre + sigma * z).clamp(0.0, 1.0))).sum()
}

fn flat(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// The examples of a class, as rows.
fn of_class(samples: &Samples, class: u32) -> Result<Vec<Vec<f32>>> {
    let rows = samples.inputs.to_vec2::<f32>()?.into_iter().zip(&samples.labels);
    Ok(rows.filter(|(_, label)| **label == class).map(|(row, _)| row).collect())
}

#[test]
fn shapes_and_range() -> Result<()> {
    let task = Mixture::draw(&MixtureConfig::default(), &Rng::new(1))?;
    assert_eq!(task.centres.dims(), [10, 3, 32]);
    for (samples, count) in [(&task.train, 5000), (&task.test, 2000)] {
        assert_eq!(samples.inputs.dims(), [count, 32]);
        assert_eq!(samples.labels.len(), count);
        assert!(flat(&samples.inputs)?.iter().all(|x| (0.0..=1.0).contains(x)));
        // Binomial: each class has a tenth, with its standard error.
        let error = (0.1 * 0.9 / count as f64).sqrt();
        for class in 0..10 {
            let share = of_class(samples, class)?.len() as f64 / count as f64;
            assert!((share - 0.1).abs() < ALLOWED * error, "class {class}: {share}");
        }
    }
    assert!(task.train.labels.iter().all(|&label| label < 10));
    Ok(())
}

/// Mean 1/2 and variance 1/12; the variance of a squared deviation is 1/80 − 1/144 = 1/180.
#[test]
fn centres_are_uniform() -> Result<()> {
    let config = MixtureConfig { centres: 100, train: 0, test: 0, ..Default::default() };
    let values = flat(&Mixture::draw(&config, &Rng::new(2))?.centres)?;
    let n = values.len() as f64;
    assert_eq!(n, 32_000.0);
    assert!((mean(&values) - 0.5).abs() < ALLOWED * (1.0 / 12.0 / n).sqrt());
    let squares: Vec<f64> = values.iter().map(|x| (x - 0.5).powi(2)).collect();
    assert!((mean(&squares) - 1.0 / 12.0).abs() < ALLOWED * (1.0 / 180.0 / n).sqrt());
    assert!(values.iter().all(|x| (0.0..1.0).contains(x)));
    Ok(())
}

/// Without noise every example is a centre of its class, each centre as often as the others.
#[test]
fn examples_belong_to_centres_of_their_class() -> Result<()> {
    let config = MixtureConfig { noise: 0.0, ..Default::default() };
    let task = Mixture::draw(&config, &Rng::new(3))?;
    let centres = task.centres.to_vec3::<f32>()?;
    let error = (1.0 / 30.0 * 29.0 / 30.0 / 5000.0f64).sqrt();
    for class in 0..10 {
        let rows = of_class(&task.train, class)?;
        let counts: Vec<usize> = centres[class as usize]
            .iter()
            .map(|centre| rows.iter().filter(|row| *row == centre).count())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), rows.len());
        for count in counts {
            assert!((count as f64 / 5000.0 - 1.0 / 30.0).abs() < ALLOWED * error, "{count}");
        }
    }
    Ok(())
}

/// The mean of each feature in each class, and the shares of entries at exactly 0 and at exactly 1,
/// against the clipped normal distributions around the centres.
#[test]
fn noise_and_clipping() -> Result<()> {
    let task = Mixture::draw(&MixtureConfig::default(), &Rng::new(4))?;
    let centres = task.centres.to_vec3::<f32>()?;
    let statistics: [(&str, Statistic); 3] = [
        ("mean", |x| x),
        ("share of zeros", |x| f64::from(u8::from(x == 0.0))),
        ("share of ones", |x| f64::from(u8::from(x == 1.0))),
    ];
    for class in 0..10 {
        let rows = of_class(&task.train, class)?;
        for feature in 0..32 {
            let values: Vec<f64> = rows.iter().map(|row| f64::from(row[feature])).collect();
            for (name, f) in statistics {
                let around = centres[class as usize].iter();
                let wanted: Vec<f64> =
                    around.map(|c| expected(f64::from(c[feature]), 0.28, f)).collect();
                let wanted = mean(&wanted);
                let found: Vec<f64> = values.iter().map(|&x| f(x)).collect();
                let off = (mean(&found) - wanted).abs();
                let allowed = match name {
                    "mean" => ALLOWED * standard_error(&found),
                    _ => ALLOWED * (wanted * (1.0 - wanted) / found.len() as f64).sqrt(),
                };
                assert!(off < allowed, "class {class}, feature {feature}, {name}: off by {off}");
            }
        }
    }
    Ok(())
}

/// The same seed gives the same task; the size of a split changes nothing else.
#[test]
fn seeded() -> Result<()> {
    let full = Mixture::draw(&MixtureConfig::default(), &Rng::new(5))?;
    let short = MixtureConfig { train: 100, ..Default::default() };
    let short = Mixture::draw(&short, &Rng::new(5))?;
    let other = Mixture::draw(&MixtureConfig::default(), &Rng::new(6))?;
    assert_eq!(flat(&full.centres)?, flat(&short.centres)?);
    assert_eq!(flat(&full.test.inputs)?, flat(&short.test.inputs)?);
    assert_eq!(full.test.labels, short.test.labels);
    assert_ne!(flat(&full.test.inputs)?, flat(&other.test.inputs)?);
    assert_ne!(full.test.labels, full.train.labels[..2000]);
    Ok(())
}

/// Every network is checked before the experiment replaces another one.
#[test]
fn a_refused_experiment_leaves_the_earlier_one() -> Result<()> {
    for (experiment, network) in [(Experiment::Depth, "1 BP-H"), (Experiment::Feedback, "4 BP-H")] {
        let error = refused(|study| experiment.run(study, None))?;
        let named = format!("the network '{network}' cannot be trained: ");
        assert!(error.starts_with(&named) && error.contains("too many to count"), "{error}");
    }
    Ok(())
}

/// Three experiments make their own data, and one of them has no epochs; all others learn from images.
#[test]
fn what_an_experiment_does_not_use_is_refused() -> Result<()> {
    let digits = hebbian_data::digits();
    for experiment in Experiment::ALL {
        let own = matches!(experiment.name(), "fig12" | "depth" | "feedback");
        assert_eq!(experiment.needs_images(), !own, "{experiment:?}");
        let (data, says) = match experiment {
            Experiment::Fig12 => (None, "a simulation has no epochs"),
            _ if own => (Some(&digits), "makes its own data: leave out digits"),
            _ => (None, "learns images: give a data set"),
        };
        let error = refused(|study| experiment.run(study, data))?;
        assert!(error.starts_with(experiment.name()) && error.contains(says), "{error}");
    }
    Ok(())
}

#[test]
fn refusals() -> Result<()> {
    for (classes, centres) in [(0, 3), (10, 0)] {
        let config = MixtureConfig { classes, centres, ..Default::default() };
        let message = Mixture::draw(&config, &Rng::new(0)).err().ok_or("accepted")?.to_string();
        assert!(message.contains("give at least one each"), "{message}");
    }
    let default: MixtureConfig = serde_json::from_str("{}")?;
    assert_eq!(default, MixtureConfig::default());
    assert!(serde_json::from_str::<MixtureConfig>(r#"{"clases": 3}"#).is_err());
    Ok(())
}
