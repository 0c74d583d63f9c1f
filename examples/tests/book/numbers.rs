//! The numbers of the guide's pages and of the README are those of the record.

use super::{Page, check_made, root};
use hebbian_models::{Model, ZOO};
use hebbian_train::{Method, Spread, records};
use std::fs;

/// A command of the record, with its result.
struct Known {
    /// The name of its record.
    record: String,
    /// Whether one of its numbers is a headline.
    is_headline: bool,
    dataset: String,
    command: String,
    expected: String,
}

/// The jobs of the record whose numbers are known.
fn known<M: Method>() -> Vec<Known> {
    let records = records::<M::Preset>().unwrap();
    let jobs = records.iter().flat_map(|record| record.jobs.iter().map(move |job| (record, job)));
    let known = jobs.filter_map(|(record, job)| {
        let command = job.command(M::NAME);
        let dataset = job.dataset.clone().unwrap_or_else(|| "synthetic".to_string());
        let is_headline = job.claims.iter().any(|claim| claim.headline);
        let (record, expected) = (record.name.clone(), job.expected()?);
        Some(Known { record, is_headline, dataset, command, expected })
    });
    known.collect()
}

fn table<M: Method>() -> String {
    let rows = known::<M>().into_iter().map(|Known { dataset, command, expected, .. }| {
        let expected = expected.replace("; ", "<br>");
        format!("| {dataset} | `{command}` | {expected} |\n")
    });
    format!("| data | command | expected |\n|---|---|---|\n{}", rows.collect::<String>())
}

macro_rules! pages {
    ($($module:ident::$method:ident)*) => {
        #[test]
        fn the_pages_of_the_papers_have_the_expected_numbers() {
            $({
                type One = hebbian_models::$module::$method;
                let page = root().join(format!("docs/src/{}.md", One::NAME));
                check_made(&page, &format!("expected {}", One::NAME), &table::<One>());
            })*
        }

        /// The README's table is of all methods.
        #[test]
        fn the_readme_shows_every_method() {
            let mut all = vec![$(hebbian_models::$module::$method::NAME),*];
            let mut shown = SHOWS.map(|(name, ..)| name);
            all.sort_unstable();
            shown.sort_unstable();
            assert_eq!(all, shown);
        }

        /// The jobs of a method's record that have the headlines.
        fn headlines(name: &str, record: &str) -> Vec<Known> {
            $({
                type One = hebbian_models::$module::$method;
                if One::NAME == name {
                    let known = known::<One>().into_iter();
                    return known.filter(|one| one.record == record && one.is_headline).collect();
                }
            })*
            panic!("there is no method {name}")
        }
    };
}

hebbian_models::for_each_method!(pages);

/// What each method shows, in which of its records.
const SHOWS: [(&str, &str, &str, &str); 8] = [
    (
        "softhebb",
        "digits",
        "SoftHebb (Journé et al. 2023)",
        "units that compete learn prototypes without labels, feedback or errors",
    ),
    (
        "amit",
        "mixture",
        "Updated random feedback (Amit 2019)",
        "learned random feedback weights replace back-propagation's",
    ),
    (
        "miconi",
        "digits",
        "Hebbian losses (Miconi 2021)",
        "what makes deeper Hebbian layers better, and what makes them worse",
    ),
    (
        "ghl",
        "digits",
        "Global direction (Hua et al. 2026)",
        "how far a local rule comes with one bit of the gradient for each synapse",
    ),
    (
        "golkar",
        "digits",
        "Local supervision (Golkar et al. 2020)",
        "a cortical microcircuit is taught by its apical dendrites",
    ),
    (
        "krotov-hopfield",
        "digits",
        "Competing hidden units (Krotov & Hopfield 2019)",
        "one layer of prototypes, learned by rank",
    ),
    (
        "k-means",
        "digits",
        "K-means on patches (Coates et al. 2011)",
        "prototypes without plasticity: another control",
    ),
    (
        "patches",
        "digits",
        "Whitened random patches (Thiry et al. 2021)",
        "a control that learns nothing",
    ),
];

#[test]
fn the_readme_has_the_expected_numbers() {
    let rows = SHOWS.map(|(name, record, title, shows)| {
        let all = headlines(name, record);
        let parts = all.iter().map(|one| one.expected.rsplit_once("; ").expect("a time"));
        let (numbers, times): (Vec<_>, Vec<_>) = parts.unzip();
        let (numbers, time) = (numbers.join("; ").replace("; ", "<br>"), times[0]);
        let (time, command) = (time.trim_end_matches(" on two cores"), &all[0].command);
        format!("| [{title}](docs/src/{name}.md) | {shows} | {numbers} | {time} | `{command}` |\n")
    });
    let table = format!(
        "| method | what it shows | on the digits | time | command |\n|---|---|---|---|---|\n{}",
        rows.concat()
    );
    check_made(&root().join("README.md"), "methods", &table);
}

/// The results on CIFAR-10 that the text of the README names are those of the record.
#[test]
fn the_readme_names_the_results_on_cifar10() {
    let text = Page::read(root().join("README.md")).text;
    let records = records::<hebbian_models::softhebb::Preset>().unwrap();
    for (record, job) in [("cifar10", "softhebb-3"), ("cifar10-wide", "softhebb")] {
        let record = records.iter().find(|one| one.name == record).unwrap();
        let job = record.jobs.iter().find(|one| one.name == job).unwrap();
        let claim = &job.claims[0];
        let ours = claim.ours.unwrap();
        let shown = claim.shown(ours.mean, ours.sd) + claim.sign();
        assert!(text.contains(&shown), "README.md does not have {shown}");
    }
}

/// The report of the first run is that of the run with seed 0 whose results are kept.
#[test]
fn the_first_run_prints_the_kept_numbers() {
    let file = root().join("models/softhebb/record/results/digits/all-labels/seed-0.json");
    let kept = fs::read_to_string(file).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let readouts = kept["results"]["readouts"].as_array().unwrap();
    let readout = |name: &str| -> Vec<f64> {
        let those = readouts.iter().filter(|one| one["name"] == name);
        those.map(|one| one["test_accuracy"].as_f64().unwrap()).collect()
    };
    let few_labels = |name: &str| -> Vec<f64> {
        let draws = kept["results"]["few_labels"][name].as_array().unwrap();
        draws.iter().map(|one| one.as_f64().unwrap()).collect()
    };
    let line = |name: &str, values: Vec<f64>| {
        format!("  {name:<30}{} %\n", Spread::of(&values).unwrap().percent())
    };
    let printed = [
        "test accuracy\n".to_string(),
        line("head", readout("head")),
        line("nearest class mean", readout("nearest class mean")),
        line("ridge", readout("ridge")),
        line("label assignment", readout("label assignment")),
        line("head on raw pixels", readout("head on raw pixels")),
        line("head on 5 random networks", readout("head on random features")),
        "with 50 labels, 5 draws\n".to_string(),
        line("head", few_labels("learned")),
        line("head on raw pixels", few_labels("raw_pixels")),
        line("head on 5 random networks", few_labels("random_features")),
    ];
    let printed = printed.concat();
    for page in ["README.md", "docs/src/first-run.md"] {
        let text = Page::read(root().join(page)).text;
        assert!(text.contains(&printed), "{page} does not have\n{printed}");
    }
}

#[test]
fn the_page_on_models_has_those_of_the_zoo() {
    let rows = ZOO.iter().map(|name| {
        let model = Model::from_zoo(name).unwrap();
        let results =
            fs::read_to_string(root().join(format!("models/zoo/{name}/results.json"))).unwrap();
        let results: serde_json::Value = serde_json::from_str(&results).unwrap();
        let accuracy = 100.0 * results["test_accuracy"].as_f64().unwrap();
        let (method, preset, dataset) = (model.method(), model.preset(), model.dataset());
        format!("| `{name}` | {method} | `{preset}` | {dataset} | {accuracy:.2} |\n")
    });
    let table = format!(
        "| name | method | preset | trained on | test accuracy, % |\n|---|---|---|---|---|\n{}",
        rows.collect::<String>()
    );
    check_made(&root().join("docs/src/models.md"), "zoo", &table);
}
