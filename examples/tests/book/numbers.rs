//! The numbers of the guide's pages and of the README are those that the methods expect of themselves.

use super::{check_made, root};
use hebbian_models::{Model, ZOO};
use hebbian_train::{Expected, Method, Preset, all_presets};
use std::fs;

/// The command that makes the number.
fn command<P: Preset>(method: &str, one: &Expected) -> String {
    let own = |name: &str| {
        let presets = all_presets::<P>().unwrap();
        let preset = presets.into_iter().find(|preset| preset.heading().name == name).unwrap();
        preset.heading().dataset.to_string()
    };
    let (mut command, own) = match (&one.preset, &one.experiment) {
        (Some(preset), None) => (format!("hebbian train {method} --preset {preset}"), own(preset)),
        (None, Some(name)) => {
            (format!("hebbian study {method} --experiment {name}"), "digits".to_string())
        }
        _ => panic!("{one:?} is neither a preset's nor an experiment's"),
    };
    if one.dataset != own {
        command += &format!(" --dataset {}", one.dataset);
    }
    if let Some(seeds) = one.seeds.filter(|&seeds| seeds != 3) {
        command += &format!(" --seeds {seeds}");
    }
    command
}

fn expected<M: Method>() -> Vec<Expected> {
    Expected::all::<M::Preset>().unwrap()
}

fn table<M: Method>() -> String {
    let rows = expected::<M>().into_iter().map(|one| {
        format!("| {} | `{}` | {one} |\n", one.dataset, command::<M::Preset>(M::NAME, &one))
    });
    format!("| data | command | expected |\n|---|---|---|\n{}", rows.collect::<String>())
}

macro_rules! pages {
    ($($module:ident::$method:ident)*) => {
        #[test]
        fn the_pages_of_the_papers_have_the_expected_numbers() {
            $({
                type One = hebbian_models::$module::$method;
                let page = root().join(format!("docs/src/{}.md", page_of(One::NAME)));
                check_made(&page, &format!("expected {}", One::NAME), &table::<One>());
            })*
        }

        /// The first number that a method expects of itself on the digits, and how to get it.
        fn of_method(name: &str) -> (Expected, String) {
            $({
                type One = hebbian_models::$module::$method;
                if One::NAME == name {
                    let mut on_digits = expected::<One>().into_iter().filter(|one| one.dataset == "digits");
                    let one = on_digits.next().unwrap();
                    let command = command::<<One as Method>::Preset>(name, &one);
                    return (one, command);
                }
            })*
            panic!("there is no method {name}")
        }
    };
}

hebbian_models::for_each_method!(pages);

/// What each method shows.
const SHOWS: [(&str, &str, &str); 6] = [
    (
        "softhebb",
        "SoftHebb (Journé et al. 2023)",
        "a deep network learns without labels, feedback or errors",
    ),
    (
        "amit",
        "Updated random feedback (Amit 2019)",
        "learned random feedback weights replace back-propagation's",
    ),
    (
        "miconi",
        "Hebbian losses (Miconi 2021)",
        "what makes deeper Hebbian layers better, and what makes them worse",
    ),
    (
        "golkar",
        "Local supervision (Golkar et al. 2020)",
        "a cortical microcircuit is taught by its apical dendrites",
    ),
    (
        "krotov-hopfield",
        "Competing hidden units (Krotov & Hopfield 2019)",
        "one layer of prototypes, learned by rank",
    ),
    ("patches", "Whitened random patches (Thiry et al. 2021)", "a control that learns nothing"),
];

#[test]
fn the_readme_has_the_expected_numbers() {
    let rows = SHOWS.map(|(name, title, shows)| {
        let (one, command) = of_method(name);
        format!("| [{title}](docs/src/{}.md) | {shows} | {one} | `{command}` |\n", page_of(name))
    });
    let table = format!(
        "| method | what it shows | expected on the digits | command |\n|---|---|---|---|\n{}",
        rows.concat()
    );
    check_made(&root().join("README.md"), "methods", &table);
}

fn page_of(method: &str) -> &str {
    match method {
        "krotov-hopfield" | "patches" => "krotov-hopfield-and-patches",
        name => name,
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
