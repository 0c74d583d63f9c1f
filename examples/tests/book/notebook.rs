//! The notebook runs on the folder of a run, if Jupyter is available.

use super::root;
use crate::binary::{binary, outcome};
use clap::Parser;
use hebbian::{Program, program};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A Python that can run notebooks and has this one's imports: that of `HEBBIAN_PYTHON`, else `python3`.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(env::var_os("HEBBIAN_PYTHON").unwrap_or_else(|| "python3".into()));
    let imports = "import nbclient, nbformat, ipykernel, numpy, matplotlib, safetensors";
    let found = Command::new(&python).args(["-c", imports]).output();
    found.is_ok_and(|run| run.status.success()).then_some(python)
}

#[test]
fn the_notebook_runs_on_the_folder_of_a_run() {
    let notebook = root().join("docs/notebooks/run.ipynb");
    let text = std::fs::read_to_string(&notebook).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cells = json["cells"].as_array().unwrap();
    let code = cells.iter().filter(|cell| cell["cell_type"] == "code");
    assert!(code.clone().count() > 5);
    assert!(
        code.clone().all(|cell| cell["outputs"] == serde_json::json!([])),
        "the notebook is kept without outputs"
    );
    let Some(python) = python() else {
        eprintln!(
            "skipped: there is no Python with nbclient, ipykernel, numpy, matplotlib and safetensors (python3, or \
             that of HEBBIAN_PYTHON)"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // A network that learns, and the same one with random weights.
    for (args, run, features) in [
        (&[][..], "run", "features.safetensors"),
        (&["--mode", "random-calibrated"], "random", "random.safetensors"),
    ] {
        let (run, features) = (path(run), path(features));
        let mut train = Command::new(binary("softhebb"));
        train.args(args).args(["--head-epochs", "5", "--quiet", "--out"]).arg(&run);
        outcome(train).ok();
        let (run, features) = (run.to_str().unwrap(), features.to_str().unwrap());
        let args = ["hebbian", "features", run, "--quiet", "--cpu", "--to", features];
        program(Program::try_parse_from(args).unwrap()).unwrap();
    }
    let execute = "import nbformat, nbclient, sys\n\
                   nb = nbformat.read(sys.argv[1], as_version=4)\n\
                   nbclient.NotebookClient(nb, timeout=300, kernel_name='python3').execute()\n\
                   print(''.join(o.get('text', '') for c in nb.cells for o in c.get('outputs', [])))\n";
    let mut command = Command::new(&python);
    command.args(["-c", execute]).arg(&notebook).current_dir(folder.path());
    command.env("HEBBIAN_RUN", path("run")).env("HEBBIAN_FEATURES", path("features.safetensors"));
    command.env("HEBBIAN_CONTROL", path("random.safetensors"));
    let printed = outcome(command).ok().stdout;
    let [learned, random] = ["learned", "random"].map(|name| -> f64 {
        let key = format!("nearest class mean on {name} features: ");
        let line = printed.lines().find_map(|line| line.strip_prefix(&key)).expect(&printed);
        line.trim_end_matches(" %").parse().unwrap()
    });
    assert!(learned > 85.0 && learned > random + 20.0, "{printed}");
}
