//! The folder of a run in which one file has the fuzzer's content: it is read, continued and replaced.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use hebbian_fuzz::{choice, empty_folder, put};
use hebbian_train::{Error, Moment, Picture, Results, RunFolder, Study, StudyOptions};
use libfuzzer_sys::fuzz_target;

/// The files of a complete run, by their names.
static COMPLETE: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let path = empty_folder().join("run");
    let mut run = RunFolder::create(&path).expect("a folder");
    let moment = Moment::Learning { step: 1, images: 10, epoch: 0.5 };
    run.write_config(&serde_json::json!({ "seed": 0 })).expect("a configuration");
    run.log(moment, &[("loss", 0.5), ("layers.0.mean_radius", 1.0)]).expect("a line");
    let moment = Moment::Readout { readout: "ridge".to_string(), epoch: 2 };
    run.log(moment, &[("loss", 0.25)]).expect("a line");
    run.picture("filters", 1, &Picture::new(2, 2, [0; 3])).expect("a picture");
    run.finish(&Results { test_accuracy: 0.5, ..Results::default() }).expect("results");
    let files = fs::read_dir(path).expect("the folder").flatten();
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("a name of ours");
        let name = if name.starts_with("events") { "events.out.tfevents.1".into() } else { name };
        (name, fs::read(entry.path()).expect("a file of ours"))
    };
    files.map(file).collect()
});

/// The files that can have the fuzzer's content.
const NAMES: [&str; 8] = [
    "run.json",
    "metrics.jsonl",
    "config.json",
    "results.json",
    "events.out.tfevents.1",
    ".candle-hebbian-replacing/run.json",
    ".candle-hebbian-replaced/run.json",
    "experiment.json",
];

fn experiment(resume: bool) -> hebbian_train::Result<String> {
    let options = StudyOptions { resume, replace: true, quiet: true, ..StudyOptions::default() };
    let out = hebbian_fuzz::folder().join("run");
    let study = Study::new(&options, &candle::Device::Cpu, &out);
    study.run("a", None, &[], || {
        study.begin()?;
        Err(Error::Argument("nothing to draw".into()))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = choice(bytes, 2 * NAMES.len()) else { return };
    let (name, is_alone) = (NAMES[which / 2], which % 2 == 1);
    let complete = &*COMPLETE;
    let path = empty_folder().join("run");
    if !is_alone {
        for (name, content) in complete {
            put(&format!("run/{name}"), content);
        }
    }
    let marked = complete.get("run.json").map(|mark| {
        // With the name that the event file has here.
        let text = String::from_utf8_lossy(mark);
        let start = text.find("events.out.tfevents.").unwrap_or_default();
        let end = start + text[start..].find('"').unwrap_or_default();
        format!("{}events.out.tfevents.1{}", &text[..start], &text[end..])
    });
    if let (false, Some(mark)) = (is_alone, marked) {
        put("run/run.json", mark.as_bytes());
    }
    put(&format!("run/{name}"), bytes);
    put("run/theirs.txt", b"of another");
    let _ = RunFolder::history(&path).map(|history| {
        history.by_epoch().count();
        history.by_images().count();
    });
    let _ = (RunFolder::config(&path), RunFolder::results(&path));
    for step in [0, 1] {
        if let Ok(mut run) = RunFolder::resume(&path, step) {
            let moment = Moment::Learning { step: 2, images: 20, epoch: 1.0 };
            run.log(moment, &[("loss", 0.5)]).expect("a run goes on");
        }
    }
    let _ = experiment(true);
    let _ = RunFolder::recover(&path);
    let _ = RunFolder::create(&path);
    let _ = experiment(false);
    assert_eq!(fs::read(path.join("theirs.txt")).expect("it is left alone"), b"of another");
});
