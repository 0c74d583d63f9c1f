//! What `expected.json` of each method says: it is of presets and experiments that exist, and is said of runs
//! that are as stated, of no others.

use hebbian_models::{amit, for_each_method, golkar, miconi};
use hebbian_train::{Expected, Method, Preset};
use serde_json::{Map, Value, json};

/// The embedded preset of that name, as JSON.
fn embedded<P: Preset>(name: &str) -> Value {
    let texts = P::EMBEDDED.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    texts.into_iter().find(|preset| preset["name"] == name).expect(name)
}

fn check<M: Method>(experiments: &[&str]) {
    for one in Expected::all::<M::Preset>().unwrap() {
        assert!(one.minutes > 0.0 && !one.result.is_empty(), "{one:?}");
        let name = match (&one.preset, &one.experiment) {
            (Some(name), None) => name,
            (None, Some(name)) => {
                assert!(experiments.contains(&name.as_str()), "{name}");
                let of = |seeds| Expected::of_study::<M::Preset>(name, seeds, &one.dataset);
                let seeds = one.seeds.expect("how many seeds");
                assert_eq!(of(seeds).unwrap().as_ref(), Some(&one));
                assert_eq!(of(seeds + 1).unwrap(), None);
                continue;
            }
            other => panic!("one of preset and experiment: {other:?}"),
        };
        let of = |preset: Value, dataset: &str| {
            let mut options = Map::from_iter([("preset".to_string(), preset)]);
            options.extend(one.options.clone());
            let options: M::Options = serde_json::from_value(Value::Object(options)).unwrap();
            Expected::of_run::<M>(&options, dataset).unwrap()
        };
        let preset = embedded::<M::Preset>(name);
        assert_eq!(of(preset.clone(), &one.dataset).as_ref(), Some(&one));
        assert_eq!(of(preset.clone(), "another"), None);
        let mut changed = preset;
        changed["description"] = json!("with another rate");
        assert_eq!(of(changed, &one.dataset), None);
    }
}

#[test]
fn what_is_expected_is_of_what_there_is() {
    let experiments: Vec<&str> = [
        amit::Experiment::ALL.map(|one| one.name()).as_slice(),
        &golkar::Experiment::ALL.map(|one| one.name()),
        &miconi::Experiment::ALL.map(|one| one.name()),
    ]
    .concat();
    macro_rules! each {
        ($($module:ident::$method:ident)*) => {
            $(check::<hebbian_models::$module::$method>(&experiments);)*
        };
    }
    for_each_method!(each);
}
