//! What holds for every program, because one engine runs them all. What differs between programs is in their
//! [`Program`](super::program::Program). Each function gets a place with the small preset.

#[path = "../../../../crates/hebbian-train/tests/common/pth.rs"]
mod pth;

use candle::Tensor;
use hebbian_train::save_checkpoint;

use super::binary::outcome;
use super::program::{Place, with};

/// Makes these functions the tests of one program. A function that is not listed is never called, and the compiler
/// warns of it.
macro_rules! every_program {
    ($program:ident) => {
        every_program! {
            $program:
            folders_of_others_and_names_that_are_no_names_are_refused,
            no_two_runs_have_one_folder_unless_it_is_given,
            flags_that_would_do_nothing_are_refused,
            negative_numbers_are_numbers,
            without_a_run_there_is_nothing_to_resume,
            another_run_is_not_resumed,
            a_finished_run_goes_on_for_longer_or_is_read_back,
            weights_to_start_from_are_used,
            weights_from_pytorch_are_used,
            weights_that_are_not_numbers_are_neither_evaluated_nor_trained,
            a_cause_is_said_once_and_without_a_stack,
            the_configuration_of_a_run_is_a_preset,
            a_preset_may_start_with_a_byte_order_mark,
            choices_are_made_on_a_validation_share,
            labels_are_kept_of_some_images,
            #[cfg(unix)]
            a_state_that_cannot_be_is_not_resumed,
            #[cfg(unix)]
            what_is_saved_goes_where_a_link_leads,
            #[cfg(unix)]
            paths_that_are_no_text_are_paths,
            #[cfg(unix)]
            stopped_by_signals_a_run_goes_on_as_if_nothing_had_happened,
            #[cfg(unix)]
            killed_a_run_goes_on_as_if_nothing_had_happened,
            #[cfg(unix)]
            a_second_signal_leaves_at_once,
            #[cfg(unix)]
            two_at_once_do_not_share_a_folder,
        }
    };
    ($program:ident: $($(#[$on:meta])* $test:ident,)*) => {
        mod every_program {
            $(
                $(#[$on])*
                #[test]
                fn $test() {
                    let place = super::$program.place();
                    place.preset(|_| ());
                    crate::common::every_program::$test(&place);
                }
            )*
        }
    };
}

pub(crate) use every_program;
#[cfg(unix)]
pub use interrupted::*;

pub fn folders_of_others_and_names_that_are_no_names_are_refused(place: &Place) {
    place.folders_of_others_are_refused();
    place.names_that_are_no_names_are_refused();
}

pub fn no_two_runs_have_one_folder_unless_it_is_given(place: &Place) {
    let (name, digits) = (place.program.name, place.program.digits);
    place.run(&place.short(&["--quiet"])).ok();
    place.run(&place.short(&["--quiet", "--seed", "1"])).ok();
    for seed in ["0", "1"] {
        let config = place.json(&format!("runs/{name}/tiny/digits-seed-{seed}/config.json"));
        assert_eq!(config["seed"].to_string(), seed);
    }
    // A data set alone asks for a network, not for an experiment.
    place.run(&[place.program.tiny, &["--quiet", "--dataset", "digits"]].concat()).ok();
    let config = place.json(&format!("runs/{name}/{digits}/digits-seed-0/config.json"));
    assert_eq!((&config["method"], &config["dataset"]), (&name.into(), &"digits".into()));
    assert_eq!(config["options"]["preset"]["name"], digits);
}

pub fn flags_that_would_do_nothing_are_refused(place: &Place) {
    place.run(&place.short(&["--quiet", "--out", "out"])).ok();
    for flag in [&["--save", "copy.safetensors"][..], &["--out", "new"], &["--resume"]] {
        let evaluate = place.short(&["--eval-only", "--load", "out"]);
        place.refused(&[&evaluate[..], flag].concat(), &["--eval-only", flag[0]]);
    }
    place.refused(&place.short(&["--eval-only"]), &["--load"]);
    place.refused(&place.short(&["--resume", "--load", "out"]), &["--resume", "--load"]);
    let digits = ["--data-dir my: the digits are part of the program", "--dataset"];
    place.refused(&["--data-dir", "my", "--dataset", "digits"], &digits);
    // A folder alone is not ignored.
    place.refused(&place.short(&["--data-dir", "my"]), &["--data-dir my", "No such file"]);
}

pub fn negative_numbers_are_numbers(place: &Place) {
    place.refused(&["--preset", "preset.json", "--epochs", "-1"], &["'-1'", "--epochs"]);
    for (flag, problem) in place.program.negative {
        place.refused(&["--preset", "preset.json", flag, "-0.1"], &[problem]);
    }
}

pub fn without_a_run_there_is_nothing_to_resume(place: &Place) {
    let nothing = ["no run to resume in nothing", "config.json", "without --resume"];
    place.refused(&place.short(&["--resume", "--out", "nothing"]), &nothing);
    for study in place.program.studies {
        let args =
            [place.program.tiny, &["--experiment", study, "--resume", "--out", "nothing"]].concat();
        place.refused(&args, &["nothing to resume", "nothing/experiment.json", "start again"]);
    }
}

pub fn another_run_is_not_resumed(place: &Place) {
    place.run(&place.short(&["--quiet", "--out", "out"])).ok();
    let resume = place.short(&["--resume", "--out", "out"]);
    let refused = |args: &[&str], problem: &str| {
        place.refused(args, &["out/config.json", problem, "without --resume"]);
    };
    refused(&[&resume[..], &["--seed", "3"]].concat(), "seed is 0 there, 3 here");
    refused(&with(resume.clone(), "--limit-test", "30"), " there, 30 here");
    refused(&with(resume.clone(), place.program.grows, "1"), " there, 1 here");
    for (flags, problem) in place.program.others {
        refused(&[&resume[..], flags].concat(), problem);
    }
}

#[cfg(unix)] // as are the tests that kill
pub fn a_state_that_cannot_be_is_not_resumed(place: &Place) {
    place.run(&place.short(&["--quiet", "--out", "out"])).ok();
    let steps = place.json("out/results.json")["training_steps"].as_u64().unwrap();
    assert!(steps > 0);
    place.counts_out_of_range_are_refused(
        &place.short(&["--resume", "--out", "out"]),
        steps as usize,
    );
}

pub fn a_finished_run_goes_on_for_longer_or_is_read_back(place: &Place) {
    let report = place.run(&place.short(&["--out", "out", "--quiet"])).ok().stdout;
    let resume = place.short(&["--resume", "--out", "out", "--quiet"]);
    let before = place.contents();
    assert_eq!(place.run(&resume).ok().stdout, report);
    assert!(before == place.contents(), "reading back wrote something");
    // Nothing is written except on request.
    place.run(&[&resume[..], &["--save", "copy.safetensors"]].concat()).ok();
    assert!(place.bytes("copy.safetensors") == place.bytes("out/model.safetensors"));

    place.run(&with(place.short(&["--out", "whole", "--quiet"]), place.program.grows, "5")).ok();
    place.run(&with(resume, place.program.grows, "5")).ok();
    place.same_runs("out", "whole");
}

pub fn weights_to_start_from_are_used(place: &Place) {
    for args in [place.short(&["--eval-only"]), place.short(&["--out", "new"])] {
        let missing = [&args[..], &["--load", "missing.safetensors"]].concat();
        place.refused(&missing, &["missing.safetensors", "os error 2"]);
    }
    place.run(&place.short(&["--out", "fresh", "--quiet"])).ok();
    place.run(&place.short(&["--out", "out", "--load", "fresh", "--quiet"])).ok();
    let model = |out: &str| place.bytes(&format!("{out}/model.safetensors"));
    assert!(model("out") != model("fresh"), "--load changed nothing");
    let load = |out: &str| place.json(&format!("{out}/config.json"))["load"].clone();
    assert_eq!((load("fresh"), load("out")), (serde_json::Value::Null, "fresh".into()));
    // The origin of a run is known after it was resumed, too.
    std::fs::remove_file(place.path("out/results.json")).unwrap();
    place.run(&place.short(&["--out", "out", "--resume", "--quiet"])).ok();
    assert_eq!(load("out"), "fresh");
    // Without its state, a run cannot be resumed: the weights that it started from may have changed.
    for file in ["results.json", "state.safetensors"] {
        std::fs::remove_file(place.path("out").join(file)).unwrap();
    }
    place.refused(
        &place.short(&["--out", "out", "--resume"]),
        &["nothing to resume", "--load fresh"],
    );
}

/// Weights as `torch.save` writes them, and as any `state_dict` of a wrapped model.
pub fn weights_from_pytorch_are_used(place: &Place) {
    place.run(&place.short(&["--out", "out", "--quiet"])).ok();
    let (mut tensors, _) = place.checkpoint("out/model.safetensors");
    tensors.iter_mut().for_each(|(name, _)| *name = format!("module.{name}"));
    place.write("model.pth", pth::pth(&tensors));
    let state_dict = place.path("state_dict.safetensors");
    safetensors::serialize_to_file(tensors, None, &state_dict).unwrap();

    let evaluated = |load| place.run(&place.short(&["--eval-only", "--load", load])).ok().stdout;
    place.run(&place.short(&["--out", "ours", "--load", "out", "--quiet"])).ok();
    for (load, out) in [("model.pth", "one"), ("state_dict.safetensors", "other")] {
        assert_eq!(evaluated(load), evaluated("out"), "{load}");
        place.run(&place.short(&["--out", out, "--load", load, "--quiet"])).ok();
        place.same_runs(out, "ours");
    }
    let whole = place.bytes("model.pth");
    place.write("cut.pth", &whole[..whole.len() - 1]);
    place.write("empty.pth", pth::pth(&[]));
    for (load, problem) in [("cut.pth", "cut short"), ("empty.pth", "without tensors")] {
        for args in [place.short(&["--eval-only"]), place.short(&["--out", "new"])] {
            place.refused(&[&args[..], &["--load", load]].concat(), &[load, "state_dict", problem]);
        }
    }
}

pub fn weights_that_are_not_numbers_are_neither_evaluated_nor_trained(place: &Place) {
    place.run(&place.short(&["--out", "out", "--quiet"])).ok();
    let (tensors, metadata) = place.checkpoint("out/model.safetensors");
    for at in 0..tensors.len() {
        let mut tensors = tensors.clone();
        let (name, tensor) = &mut tensors[at];
        let mut values = tensor.flatten_all().unwrap().to_dtype(candle::DType::F64).unwrap();
        let mut numbers = values.to_vec1::<f64>().unwrap();
        *numbers.last_mut().unwrap() = f64::NAN;
        values = Tensor::from_vec(numbers, tensor.dims(), &candle::Device::Cpu).unwrap();
        *tensor = values.to_dtype(tensor.dtype()).unwrap();
        let problem = format!("{name} is not finite");
        // A head and a scaling are made anew for the images to learn from.
        let learns = !["head.", "input."].iter().any(|new| name.starts_with(new));
        save_checkpoint(place.path("nan.safetensors"), &tensors, &metadata).unwrap();
        let evaluate = place.short(&["--eval-only", "--load", "nan.safetensors"]);
        place.refused(&evaluate, &[&problem, "1 NaN"]);
        if learns {
            let train = place.short(&["--out", "new", "--load", "nan.safetensors"]);
            place.refused(&train, &[&problem, "1 NaN"]);
        }
    }
}

pub fn a_cause_is_said_once_and_without_a_stack(place: &Place) {
    let mut command =
        place.command(&place.short(&["--eval-only", "--load", "missing.safetensors"]));
    command.env("RUST_BACKTRACE", "1");
    let run = outcome(command);
    assert_eq!(run.status, Some(1));
    let (_, message) = run.stderr.split_once("error: ").unwrap();
    for part in ["missing.safetensors", "os error 2"] {
        assert_eq!(message.matches(part).count(), 1, "{message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
}

/// Numbers come back as they were, to the last bit.
pub fn the_configuration_of_a_run_is_a_preset(place: &Place) {
    // A seed may be larger than any size in a preset.
    let seed = ["--seed", "9000000000", "--quiet"];
    place.run(&place.short(&[&seed[..], &["--out", "out"]].concat())).ok();
    let options = |out: &str| place.json(&format!("{out}/config.json"))["options"].clone();
    for preset in ["out/config.json", "out"] {
        let again = ["--preset", preset, "--out", "again"];
        place.run(&[place.program.tiny, &seed, &again].concat()).ok();
        assert_eq!(options("again"), options("out"));
        place.same_runs("again", "out");
    }
}

/// A preset as some editors save it.
pub fn a_preset_may_start_with_a_byte_order_mark(place: &Place) {
    let text = [b"\xef\xbb\xbf", &place.bytes("preset.json")[..]].concat();
    place.write("preset.json", text);
    place.run(&place.short(&["--out", "out", "--quiet"])).ok();
}

/// A link stays a link, and a private file private.
#[cfg(unix)]
pub fn what_is_saved_goes_where_a_link_leads(place: &Place) {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    place.write("kept/private.safetensors", "earlier");
    let (link, file) = (place.path("link.safetensors"), place.path("kept/private.safetensors"));
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    symlink("kept/private.safetensors", &link).unwrap();
    place.run(&place.short(&["--out", "out", "--save", "link.safetensors", "--quiet"])).ok();
    assert!(link.is_symlink());
    assert!(place.bytes("kept/private.safetensors") == place.bytes("out/model.safetensors"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[cfg(unix)]
pub fn paths_that_are_no_text_are_paths(place: &Place) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let name = OsStr::from_bytes(b"w\xff.safetensors");
    let told = |flag: &str, args: &[&str]| {
        let mut command = place.command(args);
        command.arg(flag).arg(name);
        let run = outcome(command);
        assert!(!run.stderr.contains("panicked"), "{flag}: {}", run.stderr);
        run
    };
    for args in [place.short(&["--eval-only"]), place.short(&["--out", "new"])] {
        let missing = told("--load", &args);
        assert_eq!(missing.status, Some(1), "{}", missing.stderr);
        assert!(missing.stderr.contains("w\u{fffd}.safetensors"), "{}", missing.stderr);
    }
    assert!(!place.path("new").exists());
    told("--save", &place.short(&["--out", "out"])).ok();
    let saved = std::fs::read(place.path("").join(name)).unwrap();
    assert!(saved == place.bytes("out/model.safetensors"));
    told("--load", &place.short(&["--eval-only"])).ok();
    told("--load", &place.short(&["--out", "out"])).ok();
    std::fs::remove_file(place.path("").join(name)).unwrap();
    told("--out", &place.short(&[])).ok();
    assert!(place.path("").join(name).join("results.json").exists());
}

#[cfg(unix)] // as are signals
pub mod interrupted {
    use super::Place;
    use crate::common::events::events;

    /// Checks that no event is there twice, and that none is missing.
    pub fn same_events(place: &Place, one: &str, other: &str) {
        for readouts in [false, true] {
            let [found, expected] = [one, other].map(|out| events(&place.path(out), readouts));
            assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
            assert_eq!(found, expected);
        }
    }

    /// Whether this test ignores SIGHUP, and with it the programs that it starts.
    fn hup_is_ignored() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 == 1)
    }

    pub fn stopped_by_signals_a_run_goes_on_as_if_nothing_had_happened(place: &Place) {
        place.run(&place.long(&["--out", "whole", "--quiet"])).ok();
        let mut resume = place.long(&["--out", "out"]);
        for (name, status) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
            if name == "-HUP" && hup_is_ignored() {
                println!("skipped: these tests were started to ignore SIGHUP");
                continue;
            }
            let before = place.logged("out").len();
            let child = place.start_until(&resume, || place.logged("out").len() > before + 2);
            child.signal(name);
            let stopped = child.end();
            assert_eq!(stopped.status, Some(status), "{}{}", stopped.stdout, stopped.stderr);
            assert_eq!(stopped.stdout, "");
            for part in ["stopping after this step", "stopped at step ", "out", "--resume"] {
                assert!(stopped.stderr.contains(part), "no '{part}' in: {}", stopped.stderr);
            }
            for file in ["results.json", "model.safetensors"] {
                assert!(!place.path("out").join(file).exists(), "{file}");
            }
            resume = place.long(&["--out", "out", "--resume"]);
        }
        place.run(&resume).ok();
        place.same_runs("out", "whole");
        same_events(place, "out", "whole");
        // As if the run had been killed just before its results.
        std::fs::remove_file(place.path("out/results.json")).unwrap();
        place.run(&resume).ok();
        place.same_runs("out", "whole");
        same_events(place, "out", "whole");
    }

    pub fn killed_a_run_goes_on_as_if_nothing_had_happened(place: &Place) {
        place.run(&place.long(&["--out", "whole", "--quiet"])).ok();
        let started = || place.path("out/state.safetensors").exists();
        let under_way = || place.logged("out").len() > 4;
        for there in [&started as &dyn Fn() -> bool, &under_way] {
            place.start_until(&place.long(&["--out", "out"]), there).kill();
            assert!(!place.path("out/results.json").exists(), "it was over already");
            place.run(&place.long(&["--out", "out", "--resume"])).ok();
            place.same_runs("out", "whole");
            same_events(place, "out", "whole");
            std::fs::remove_dir_all(place.path("out")).unwrap();
        }
    }

    /// Both signals arrive while the program is stopped, and so before it can end its step. The step may still end
    /// before the thread that waits for signals acts, but not each time.
    pub fn a_second_signal_leaves_at_once(place: &Place) {
        let left = (0..5).any(|_| {
            let _ = std::fs::remove_dir_all(place.path("out"));
            let there = || place.logged("out").len() > 2;
            let child = place.start_until(&place.long(&["--out", "out"]), there);
            ["-STOP", "-INT", "-TERM", "-CONT"].iter().for_each(|name| child.signal(name));
            let ended = child.end();
            assert!(
                matches!(ended.status, Some(130 | 143)),
                "{:?}: {}",
                ended.status,
                ended.stderr
            );
            assert!(!place.path("out/results.json").exists());
            !ended.stderr.contains("stopped at step")
        });
        assert!(left, "it always ended its step");
        place.run(&place.long(&["--out", "whole", "--quiet"])).ok();
        place.run(&place.long(&["--out", "out", "--resume", "--quiet"])).ok();
        place.same_runs("out", "whole");
    }

    pub fn two_at_once_do_not_share_a_folder(place: &Place) {
        place.run(&place.long(&["--out", "whole", "--quiet"])).ok();
        let there = || place.logged("out").len() > 2;
        let first = place.start_until(&place.long(&["--out", "out"]), there);
        first.signal("-STOP");
        for args in [
            place.long(&["--out", "out", "--seed", "1"]),
            place.long(&["--out", "out", "--resume"]),
        ] {
            place.refused(&args, &["out is in use by another run", "choose another folder"]);
        }
        first.signal("-CONT");
        first.end().ok();
        place.same_runs("out", "whole");
        // Now the folder is free.
        place.run(&place.short(&["--out", "out"])).ok();
    }
}

/// Some training images keep their labels, and all outputs say so.
pub fn labels_are_kept_of_some_images(place: &Place) {
    let whole = with(with(place.short(&[]), "--limit-train", "1000000"), "--limit-test", "20");
    let some = [&whole[..], &["--labelled", "200", "--out", "out"]].concat();
    let ran = place.run(&some).ok();
    let announced = ran.stderr.lines().find(|line| line.contains("training images")).unwrap();
    let counts = "200 training images, 1242 without labels, 20 test images";
    assert!(announced.ends_with(counts), "{announced}");
    assert!(ran.stdout.starts_with("--labelled 200: "), "{}", ran.stdout);
    for file in ["results", "config"] {
        assert_eq!(place.json(&format!("out/{file}.json"))["labelled"], 200, "{file}");
    }
    let results = place.json("out/results.json");
    // Methods that learn with labels do not see the other images. Amit's networks keep a tenth for validation.
    let seen = if results["trained_with_labels"] == true { 0 } else { 1242 };
    let learned = if place.program.name == "amit" { 180 } else { 200 };
    assert_eq!(
        (&results["train_images"], &results["unlabelled_images"]),
        (&learned.into(), &seen.into())
    );
    let other = with([&some[..], &["--resume"]].concat(), "--labelled", "201");
    place.refused(&other, &["belongs to another run", "200 there, 201 here"]);
    for (wrong, found) in [("0", "0 images"), ("9", "9 images"), ("1443", "1443 images")] {
        place.refused(
            &with(some.clone(), "--labelled", wrong),
            &[found, "10 (one of each class) to 1442"],
        );
    }
}

/// A share of the training images stands in for the test images, and all outputs say so.
pub fn choices_are_made_on_a_validation_share(place: &Place) {
    let limits = ["--limit-train", "1000000", "--limit-test", "1000000"];
    let whole = with(with(place.short(&[]), "--limit-train", limits[1]), "--limit-test", limits[3]);
    let share = [&whole[..], &["--validation", "0.1", "--out", "out"]].concat();
    let ran = place.run(&share).ok();
    // A tenth of each of ten classes of 1,442 images, rounded.
    let announced = ran.stderr.lines().find(|line| line.contains("training images")).unwrap();
    assert!(announced.ends_with("1297 training images, 145 validation images"), "{announced}");
    assert!(
        ran.stdout.starts_with("what is called test here is --validation 0.1"),
        "{}",
        ran.stdout
    );
    assert_eq!(place.json("out/results.json")["validation"], 0.1);
    assert_eq!(place.json("out/config.json")["validation"], 0.1);
    let card = std::fs::read_to_string(place.path("out/README.md")).unwrap();
    assert!(
        card.contains("split: validation") && card.contains("| validation accuracy, % |"),
        "{card}"
    );
    // A run with another share is another run, even if that is the same number of images.
    let other = with([&share[..], &["--resume"]].concat(), "--validation", "0.1001");
    place.refused(&other, &["validation is 0.1 there, 0.1001 here"]);
    for (wrong, text) in
        [("0", "--validation is 0"), ("1.5", "--validation is 1.5"), ("NaN", "--validation is NaN")]
    {
        place.refused(&with(share.clone(), "--validation", wrong), &[text, "between 0 and 1"]);
    }
}
