//! The program and a hub on loopback that has a server of its own for large files: `hebbian push`, `hebbian pull`,
//! and sets of images.

mod sets;
mod store;

use crate::common::mirror::{Mirror, Repo, TOKEN, Twist};
use candle::{DType, Device};
use hebbian_models::Model;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const ID: &str = "someone/digits";

/// A hub, and a user's machine with a trained model.
struct World {
    folder: TempDir,
    mirror: Mirror,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), mirror: Mirror::start() };
        store::start(&world.mirror);
        let preset = ["--preset", "krotov-hopfield-digits", "--epochs", "1"];
        let train = ["train", "krotov-hopfield", "--out", "run", "--quiet"];
        world.printed(&[&train[..], &preset[..]].concat());
        // The token as `hf auth login` leaves it.
        std::fs::create_dir(world.path("home")).unwrap();
        std::fs::write(world.path("home/token"), format!("{TOKEN}\n")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hebbian"));
        command.args(args).current_dir(self.folder.path());
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_XET_CACHE"]
        {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.mirror.endpoint).env("HF_HOME", self.path("home"));
        // The delay between two attempts, for which the client would wait seconds.
        command.env("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms");
        command
    }

    fn printed(&self, args: &[&str]) -> String {
        let output = self.program(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, command: &mut Command, words: &[&str]) {
        let output = command.output().unwrap();
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {errors}");
        assert!(words.iter().all(|word| errors.contains(word)), "{words:?} in {errors}");
        assert!(!errors.contains(TOKEN), "{errors}");
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The features of some digits, bit by bit.
fn features(folder: &Path) -> Vec<u32> {
    let model = Model::load(folder).unwrap();
    let (images, _) =
        hebbian_data::digits().test.batch(&[0, 1, 2, 3], DType::F32, &Device::Cpu).unwrap();
    let features = model.features(&images).unwrap().flatten_all().unwrap();
    features.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_model_is_pushed_and_pulled() {
    let world = World::new();
    let address = world.printed(&["push", "run", ID, "--private", "--quiet"]);
    let commit = format!("{}/{ID}/commit/{}\n", world.mirror.endpoint, "a".repeat(40));
    assert_eq!(address, commit);
    let Repo { private, commits, .. } = world.mirror.repo(ID).unwrap();
    assert!(private);
    let [commit] = &commits[..] else { panic!("{commits:?}") };
    // The weights came through the store, small files with the commit.
    for (name, large) in [
        ("model.safetensors", true),
        ("config.json", false),
        ("README.md", false),
        ("results.json", false),
    ] {
        assert!(commit.files.contains(&(name.to_string(), large)), "{name}: {:?}", commit.files);
    }
    let own = ["state.safetensors", "metrics.jsonl", "run.json"];
    assert!(!commit.files.iter().any(|(name, _)| own.contains(&name.as_str())));
    assert!(world.mirror.log().iter().any(|line| line.starts_with("POST /store/v1/xorbs/")));

    let pulled = world.printed(&["pull", ID, "--quiet"]);
    let folder = pulled.lines().last().unwrap();
    assert!(folder.starts_with(world.path("home").to_str().unwrap()), "{pulled}");
    assert_eq!(features(Path::new(folder)), features(&world.path("run")));
    let log = world.mirror.log();
    assert!(log.iter().any(|line| line.starts_with("GET /store/v1/xorbs/")), "{log:?}");

    // Weights that the hub has already are not sent again for another branch.
    let id = format!("{ID}@other");
    world.printed(&["push", "run", &id, "--quiet"]);
    let repo = world.mirror.repo(ID).unwrap();
    assert_eq!((repo.commits.len(), repo.commits[1].branch.as_str()), (2, "other"));
    let log = world.mirror.log();
    assert!(!log.iter().any(|line| line.starts_with("POST /store/v1/xorbs/")), "{log:?}");
    let pulled = world.printed(&["pull", &id, "--quiet"]);
    assert_eq!(features(Path::new(pulled.lines().last().unwrap())), features(&world.path("run")));
}

#[test]
fn weights_whose_upload_is_cut() {
    let world = World::new();
    let push = ["push", "run", ID, "--quiet"];
    let mut cut = world.program(&push);
    // The client tries five times more.
    world.mirror.twist("/store/v1/xorbs/", Twist::Cut(6));
    world.refused(&mut cut, &[ID, "network", "push again"]);
    assert!(world.mirror.repo(ID).unwrap().commits.is_empty());
    // If it is cut once, it continues.
    world.mirror.twist("/store/v2/shards", Twist::Cut(1));
    world.printed(&push);
    assert_eq!(world.mirror.repo(ID).unwrap().commits.len(), 1);
}

#[test]
fn what_push_refuses() {
    let world = World::new();
    std::fs::create_dir(world.path("empty")).unwrap();
    let pushes = |folder: &str, id: &str| world.program(&["push", folder, id, "--quiet"]);
    world.refused(&mut pushes("empty", ID), &["empty", "no config.json"]);
    std::fs::copy(world.path("run/config.json"), world.path("empty/config.json")).unwrap();
    world.refused(&mut pushes("empty", ID), &["empty", "model.safetensors"]);
    world.refused(&mut pushes("run", "digits"), &["digits", "OWNER/NAME"]);
    world.refused(pushes("run", ID).env("HF_HUB_OFFLINE", "1"), &[ID, "HF_HUB_OFFLINE"]);
    assert_eq!(world.mirror.log(), [""; 0]);
    let without =
        |command: &mut Command| world.refused(command, &[ID, "HF_TOKEN", "hf auth login"]);
    without(pushes("run", ID).env("HF_HOME", world.path("elsewhere")));
    without(pushes("run", ID).env("HF_TOKEN", "hf_aTokenThatNobodyKnows"));
    assert!(world.mirror.repo(ID).is_none());
}
