//! The record of each method: every file of it is embedded under its name, of presets and experiments that exist.

use hebbian_models::{amit, for_each_method, ghl, golkar, miconi, softhebb};
use hebbian_train::{Method, Preset, all_presets, records};
use std::path::Path;

fn check<M: Method>(folder: &str, experiments: &[&str]) {
    let records = records::<M::Preset>().unwrap();
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("record");
    let files = std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path());
    let names = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut names: Vec<String> =
        names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect();
    names.sort();
    let embedded: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(embedded, names, "{folder}");

    let presets = all_presets::<M::Preset>().unwrap();
    for job in records.iter().flat_map(|record| &record.jobs) {
        match (&job.preset, &job.experiment) {
            (Some(name), None) => {
                assert!(presets.iter().any(|preset| preset.heading().name == name), "{name}");
            }
            (None, Some(name)) => assert!(experiments.contains(&name.as_str()), "{name}"),
            other => panic!("one of preset and experiment: {other:?}"),
        }
        assert!((1..=9).contains(&job.telling) && !job.seeds.is_empty(), "{}", job.name);
        assert!(job.minutes.values().all(|&minutes| minutes > 0.0), "{}", job.name);
        assert!(!job.claims.is_empty(), "{}", job.name);
        for claim in &job.claims {
            let label = format!("{}: {}", job.name, claim.label());
            assert_eq!(claim.ours.is_some(), claim.interval.is_some(), "{label}");
            if let (Some(ours), Some([low, high])) = (claim.ours, claim.interval) {
                assert!(low < ours.mean && ours.mean < high, "{label}");
            }
        }
    }
}

#[test]
fn the_record_is_of_what_there_is() {
    let experiments = |method| match method {
        "amit" => amit::Experiment::ALL.map(|one| one.name()).to_vec(),
        "ghl" => ghl::Experiment::ALL.map(|one| one.name()).to_vec(),
        "golkar" => golkar::Experiment::ALL.map(|one| one.name()).to_vec(),
        "miconi" => miconi::Experiment::ALL.map(|one| one.name()).to_vec(),
        "softhebb" => softhebb::Experiment::ALL.map(|one| one.name()).to_vec(),
        _ => Vec::new(),
    };
    macro_rules! each {
        ($($module:ident::$method:ident)*) => {$({
            let module = stringify!($module);
            check::<hebbian_models::$module::$method>(module, &experiments(module));
        })*};
    }
    for_each_method!(each);
}
