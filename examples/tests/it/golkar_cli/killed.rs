//! A run that is killed at each change of a file in turn.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::PROGRAM;
use crate::common::every_program::interrupted::same_events;
use crate::common::kills::Kills;
use crate::common::program::Place;

/// Files of another program, as there may be in any folder.
const THEIRS: [&str; 2] = ["out/theirs.txt", "out/pictures/theirs.png"];

const TINY: [&str; 8] =
    ["--preset", "preset.json", "--limit-train", "60", "--limit-test", "30", "--epochs", "2"];

fn flags(more: &[&'static str]) -> Vec<&'static str> {
    [&TINY[..], more].concat()
}

/// The files of a folder with their bytes, by their names; an event file is named after the second in which it was
/// made.
fn files(place: &Place, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = place.path(folder);
    let own = |(path, bytes): (PathBuf, Option<Vec<u8>>)| {
        Some((path.strip_prefix(&root).ok()?.to_path_buf(), bytes?))
    };
    place.contents().into_iter().filter_map(own).collect()
}

fn names(place: &Place, folder: &str) -> BTreeSet<String> {
    let name = |path: PathBuf| {
        let name = path.to_str().unwrap();
        match name.strip_prefix("events.out.tfevents.") {
            Some(name) if name.ends_with(".readouts") => "events of read-outs".to_string(),
            Some(_) => "events".to_string(),
            None => name.to_string(),
        }
    };
    files(place, folder).into_keys().map(name).collect()
}

/// The state that is needed to continue, without the time that it took.
fn state(place: &Place, folder: &str) -> (Vec<(String, String)>, BTreeMap<String, String>) {
    let (tensors, mut metadata) = place.checkpoint(&format!("{folder}/state.safetensors"));
    for time in ["training_seconds", "total_seconds"] {
        metadata.remove(time).unwrap();
    }
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_string()));
    (tensors.collect(), metadata)
}

/// Kills a run at each change of a file and resumes it, after which it must end like one that nobody killed. Its folder
/// holds an `earlier` run, or none.
fn killed_anywhere(earlier: bool) {
    let Some(kills) = Kills::built() else { return };
    let place = PROGRAM.place();
    place.preset(|_| ());
    place.run(&flags(&["--out", "whole", "--quiet"])).ok();
    if earlier {
        place.run(&flags(&["--out", "earlier", "--quiet", "--seed", "1"])).ok();
    }
    let earlier_files = earlier.then(|| files(&place, "earlier"));
    let prepare = || {
        let _ = std::fs::remove_dir_all(place.path("out"));
        THEIRS.iter().for_each(|name| place.write(name, "of another"));
        for (name, bytes) in earlier_files.iter().flatten() {
            place.write(&format!("out/{}", name.display()), bytes);
        }
    };
    let run = flags(&["--out", "out"]);
    let resume = flags(&["--out", "out", "--resume", "--quiet"]);
    let resume = &resume[..];
    let mut expected = names(&place, "whole");
    expected.extend(THEIRS.iter().map(|name| name.trim_start_matches("out/").to_string()));

    prepare();
    let changes = kills.changes(&place, &run);
    let (mut killed, mut anew) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        prepare();
        let ended = kills.run(&place, &run, at + 1);
        killed += usize::from(ended.status.is_none());
        // If there is time for more or fewer checkpoints, there are more or fewer changes.
        assert!(matches!(ended.status, None | Some(0)), "{change}: {}", ended.stderr);
        let mut resumed = place.run(resume);
        if resumed.status != Some(0) {
            anew += 1;
            let said = &resumed.stderr;
            match said.contains("belongs to another run") {
                true => {
                    let mut found = files(&place, "out");
                    // Half-written files are removed by the next run, but not by one that is refused.
                    found.retain(|name, _| {
                        let name = name.to_str().unwrap();
                        let is_theirs = THEIRS.iter().any(|theirs| theirs.ends_with(name));
                        !is_theirs && !name.starts_with(".unfinished-")
                    });
                    assert!(
                        Some(found) == earlier_files,
                        "{change}: the earlier run is not as it was"
                    );
                }
                false => assert!(said.contains("there is no run to resume"), "{change}: {said}"),
            }
            resumed = place.run(&[&run[..], &["--quiet"]].concat());
        }
        assert_eq!(resumed.status, Some(0), "{change}: {}", resumed.stderr);
        assert_eq!(names(&place, "out"), expected, "{change}");
        assert_eq!(state(&place, "out"), state(&place, "whole"), "{change}");
        place.same_runs("out", "whole");
        same_events(&place, "out", "whole");
        for name in THEIRS {
            assert_eq!(place.bytes(name), b"of another", "{change}");
        }
    }
    println!("{} changes, killed {killed} times, started again {anew} times", changes.len());
    assert!(killed > changes.len() / 2, "{killed} of {}", changes.len());
    assert!(anew > 0, "it could always be resumed, even before there was anything");
}

#[test]
fn killed_at_any_change_a_run_goes_on() {
    killed_anywhere(false);
}

#[test]
fn killed_at_any_change_a_run_leaves_the_earlier_one_or_goes_on() {
    killed_anywhere(true);
}
