//! Sets `HEBBIAN_VERSION`: the version, with the commit where this is built in the project's repository. The program
//! shows it, and puts it into the results that the record keeps.

use std::path::Path;
use std::process::Command;

fn main() {
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=HEBBIAN_VERSION={version}");
}

/// Returns the abbreviated name of the commit that is checked out, with `-dirty` if files differ from it, or `None`
/// where that is not known.
fn commit() -> Option<String> {
    println!("cargo::rerun-if-changed=build.rs");
    let root = Path::new("../..");
    // A package may be unpacked in a repository of somebody else.
    if !root.join(".git").exists() || !root.join("crates/hebbian").exists() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        let found = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| found.trim().to_string())
    };
    let watch = |path: &Path| {
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    };
    watch(&root.join(git(&["rev-parse", "--git-path", "logs/HEAD"])?));
    for folder in root.join("crates").read_dir().ok()?.flatten() {
        watch(&folder.path().join("src"));
    }
    for path in ["models", "Cargo.toml", "Cargo.lock"] {
        watch(&root.join(path));
    }
    git(&["describe", "--always", "--exclude=*", "--abbrev=10", "--dirty"])
}
