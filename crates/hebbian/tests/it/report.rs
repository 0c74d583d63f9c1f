//! Reports: of one run, of several side by side, and as a browser shows them.

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Small enough for tests, with two layers.
const TINY: [&str; 10] = [
    "--preset",
    "softhebb-cnn-digits",
    "--limit-train",
    "200",
    "--limit-test",
    "100",
    "--epochs",
    "1",
    "--head-epochs",
    "2",
];

fn hebbian(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hebbian"));
    command.args(args).current_dir(folder).output().expect("the program starts")
}

fn printed(folder: &Path, args: &[&str]) -> String {
    let output = hebbian(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A run of SoftHebb on some digits in the folder `out`; returns what it printed.
fn run(folder: &Path, out: &str, more: &[&str]) -> String {
    printed(folder, &[&["train", "softhebb", "--quiet", "--out", out], &TINY[..], more].concat())
}

/// The data in a page.
fn data(page: &str) -> Value {
    let (_, after) =
        page.split_once(r#"<script id="data" type="application/json">"#).expect("data");
    let (data, _) = after.split_once("</script>").expect("an end");
    serde_json::from_str(data).expect("JSON")
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The document of a page in Chromium, after its scripts have run; `None`, with a message, if there is no Chromium.
fn in_browser(page: &Path) -> Option<String> {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let is_there = |name: &&str| {
        let found = Command::new(name).arg("--version").stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let Some(browser) = browsers.into_iter().find(is_there) else {
        eprintln!("skipped: there is no Chromium to look at {} with", page.display());
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"])
        .args(["--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .arg(format!("file://{}", page.canonicalize().unwrap().display()))
        .output()
        .expect("Chromium starts");
    let log = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// A run ends with a report, which is the last file that it names; the run's folder lists it as its own.
#[test]
fn a_run_leaves_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = run(at, "out", &[]);
    assert_eq!(said.lines().last(), Some("open out/report.html"), "{said}");
    let (next, open) = (said.find("\nnext: ").unwrap(), said.find("\nopen ").unwrap());
    assert!(next < open);
    let own: Value = serde_json::from_str(&read(at.join("out/run.json"))).unwrap();
    assert!(own["files"].as_array().unwrap().contains(&json!("report.html")), "{own}");

    let page = read(at.join("out/report.html"));
    assert!(page.starts_with("<!doctype html>") && page.len() < 2_000_000, "{}", page.len());
    // The page loads nothing from elsewhere.
    for outside in ["src=\"http", "href=\"http", "url(http", "@import", "//cdn"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let results: Value = serde_json::from_str(&read(at.join("out/results.json"))).unwrap();
    let found = data(&page);
    let one = &found["runs"][0];
    assert_eq!(one["accuracy"], results["test_accuracy"]);
    assert_eq!(one["confusion"], results["confusion"]);
    assert_eq!(one["readouts"].as_array().unwrap().len(), 5);
    assert_eq!(
        one["command"],
        format!("hebbian train softhebb --quiet --out out {}", TINY.join(" "))
    );
    let layers = one["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for (layer, units) in layers.iter().zip([48, 96]) {
        let shares: Vec<f64> =
            (0..units).map(|unit| layer["units"][unit]["share"].as_f64().unwrap()).collect();
        assert!(shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let without_win = shares.iter().filter(|&&share| share < 1e-12).count();
        assert_eq!(layer["without_win"], without_win);
        let numbers: std::collections::BTreeSet<u64> =
            (0..units).map(|unit| layer["units"][unit]["unit"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), units);
    }
    assert!(layers[0]["exciting"].is_null() && layers[1]["exciting"].is_object());
    // The units before learning, at the same places as after it.
    for layer in layers {
        let (before, after) = (&layer["start"], &layer["filters"]);
        for size in ["count", "columns", "rows", "height", "width"] {
            assert!(before[size].is_u64() && before[size] == after[size], "{size}: {before}");
        }
        assert_ne!(before["png"], after["png"]);
    }
    assert_eq!(one["by_layer"].as_array().unwrap().len(), 3);
    assert_eq!(one["notes"], json!([]));
    let mistakes = &one["mistakes"];
    let right = mistakes["images"].as_f64().unwrap() - mistakes["wrong"].as_f64().unwrap();
    assert_eq!(Some(right / 100.0), results["test_accuracy"].as_f64());

    // The folder alone gives the same report again.
    assert_eq!(printed(at, &["report", "out"]), "open out/report.html\n");
    let again = data(&read(at.join("out/report.html")));
    assert_eq!(again["runs"], found["runs"]);
    // A new run removes it with the other files and writes its own.
    run(at, "out", &["--seed", "1"]);
    assert_eq!(data(&read(at.join("out/report.html")))["runs"][0]["seed"], 1);
    // A file that is not from a run stays.
    std::fs::write(at.join("out/report.html"), "mine").unwrap();
    let args = [&["train", "softhebb", "--quiet", "--out", "out"], &TINY[..]].concat();
    let refused = hebbian(at, &args);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("report.html"));
    assert_eq!(read(at.join("out/report.html")), "mine");
}

/// Images that were held out are not called test images, also before the run is complete.
#[test]
fn the_part_is_that_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "out", &["--validation", "0.2"]);
    let part = || data(&read(at.join("out/report.html")))["runs"][0]["part"].clone();
    assert_eq!(part(), "validation");
    std::fs::remove_file(at.join("out/results.json")).unwrap();
    printed(at, &["report", "out"]);
    assert_eq!(part(), "validation");
}

/// A run that did not learn, or began with weights from elsewhere, has no units before learning.
#[test]
fn units_before_learning_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "out", &[]);
    let page = at.join("out/report.html");
    // All units of both layers are shown, also those behind a button, with the second layer switched to "before".
    let click = "<script>for (const [at, name] of [[0, 'Show 46 more'], [1, 'before']]) \
                 [...document.querySelectorAll('button')].filter((it) => it.textContent === name)[at].click();</script>";
    let clicked = at.join("clicked.html");
    std::fs::write(&clicked, read(page.clone()).replace("</body>", &format!("{click}</body>")))
        .unwrap();
    if let Some(document) = in_browser(&clicked) {
        let (_, drawn) = document.split_once("<section id=\"units\"").unwrap();
        let layers = &data(&read(page))["runs"][0]["layers"];
        let (drawn, _) = drawn.split_once("</main>").unwrap();
        let shown = |layer: usize, when: &str| {
            drawn.matches(layers[layer][when]["png"].as_str().unwrap()).count()
        };
        // 48 and 96 units, twelve of them once more beside what excites them.
        assert_eq!((shown(0, "start"), shown(0, "filters")), (0, 48 + 12));
        assert_eq!((shown(1, "start"), shown(1, "filters")), (96 + 12, 0));
    }
    for (out, more) in [
        ("control", ["--mode", "random-calibrated"]),
        ("loaded", ["--load", "out/model.safetensors"]),
    ] {
        run(at, out, &more);
        let found = data(&read(at.join(out).join("report.html")));
        let (one, layers) = (&found["runs"][0], &found["runs"][0]["layers"]);
        assert!(layers[0]["filters"].is_object() && layers[0]["start"].is_null(), "{out}");
        assert_eq!(one["notes"], json!([]), "{out}");
    }
}

/// Values that are logged only once have no chart, and a run without steps reports none.
#[test]
fn without_learning_there_are_no_curves() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let output = hebbian(at, &["train", "k-means", "--out", "out"]);
    assert!(output.status.success(), "{output:?}");
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(progress.contains("k-means: ") && !progress.contains("0/0"), "{progress}");
    let found = data(&read(at.join("out/report.html")));
    assert_eq!(found["charts"], json!([]));
    let one = &found["runs"][0];
    let more = one["more"].as_array().unwrap();
    assert!(more.iter().any(|row| row[0] == "Empty centroids"), "{more:?}");
    let facts = one["facts"].as_array().unwrap().iter().map(|fact| fact[1].as_str().unwrap());
    assert_eq!(facts.collect::<Vec<_>>(), ["training images", "in all"]);
}

/// A browser shows every section and the numbers, and takes no text of a file for HTML.
#[test]
fn a_browser_shows_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "out", &[]);
    let config = at.join("out/config.json");
    let mut changed: Value = serde_json::from_str(&read(config.clone())).unwrap();
    let name = "a<script>console.error('run')</script>&amp;<img src=x onerror=alert(1)>";
    changed["options"]["preset"]["name"] = name.into();
    changed["options"]["preset"]["description"] = "</script><b id=bold>bold</b>".into();
    std::fs::write(&config, changed.to_string()).unwrap();
    printed(at, &["report", "out"]);
    let page = at.join("out/report.html");
    assert_eq!(data(&read(page.clone()))["runs"][0]["preset"], name);
    let Some(document) = in_browser(&page) else { return };
    let escaped = "a&lt;script&gt;console.error('run')&lt;/script&gt;&amp;amp;&lt;img src=x onerror=alert(1)&gt;";
    assert!(document.contains(&format!("<h1>{escaped}</h1>")));
    assert!(!document.contains("<b id=\"bold\">") && !document.contains("<img"));
    for section in [
        "Curves",
        "Rule diagnostics",
        "Units",
        "Mistakes",
        "Read-outs",
        "Configuration",
        "Environment",
    ] {
        assert!(document.contains(&format!("<h2>{section}</h2>")), "{section}");
    }
    for title in [
        "Entropy of winners",
        "Radius",
        "Silent units",
        "Accuracy of the read-out",
        "Layer 1",
        "Layer 2",
        "Confusion matrix",
        "Most confused",
        "Layer by layer",
        "To repeat it",
    ] {
        assert!(document.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    let results: Value = serde_json::from_str(&read(at.join("out/results.json"))).unwrap();
    let accuracy =
        format!("{:.2}<small>%</small>", 100.0 * results["test_accuracy"].as_f64().unwrap());
    assert!(document.contains(&accuracy), "{accuracy}");
    let charts = document.matches("<canvas").count();
    assert!(charts == 7, "{charts} charts");
    // All units of the first layer, and the first fifty of the second.
    let figures = document.matches("<figure class=\"unit").count();
    assert_eq!(figures, 48 + 50);
}

/// Ticks that lie close to each other differ, keys hide and show a curve, a mean tells how many runs it is of, and no
/// table is too large for a browser.
#[test]
fn a_browser_tells_close_numbers_apart_and_takes_keys() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "out", &["--seed", "0"]);
    run(at, "again", &["--seed", "1"]);
    std::fs::remove_file(at.join("again/results.json")).unwrap();
    let near = |(nth, line): (usize, &str)| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["images"].is_number() {
            line["loss"] = json!(12_341 + nth % 9);
        }
        format!("{line}\n")
    };
    for out in ["out", "again"] {
        let log = at.join(out).join("metrics.jsonl");
        let changed: String = read(log.clone()).lines().enumerate().map(near).collect();
        std::fs::write(log, changed).unwrap();
    }
    let results = at.join("out/results.json");
    let mut changed: Value = serde_json::from_str(&read(results.clone())).unwrap();
    changed["confusion"] = json!({ "counts": vec![vec![0; 201]; 201] });
    std::fs::write(results, changed.to_string()).unwrap();
    printed(at, &["report", "out", "again"]);
    let page = at.join("report.html");
    let watch = "<script>
        const drawn = new Set(), fill = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
            drawn.add(text);
            return fill.call(this, text, ...place);
        };
        addEventListener('load', () => setTimeout(() => {
            const first = () => document.querySelector('#curves .u-series [aria-pressed]');
            const state = (name) => [name.parentElement.classList.contains('u-off'), name.ariaPressed].join(' ');
            const states = ['Enter', ' ', 'a', 'Enter'].map((key) => {
                first().dispatchEvent(new KeyboardEvent('keydown', { key, cancelable: true }));
                return state(first());
            });
            const before = first();
            dispatchEvent(new Event('mode'));
            states.push(before !== first() && state(first()));
            const ticks = [...drawn].filter((text) => /^12[.]3[0-9]* k$/.test(text));
            document.body.dataset.found = [ticks.length, ...states].join(';');
        }, 500));
        </script></head>";
    let watched = read(page.clone()).replacen("</head>", watch, 1);
    std::fs::write(&page, watched).unwrap();
    let Some(document) = in_browser(&page) else { return };
    let found = document.split("data-found=\"").nth(1).and_then(|rest| rest.split('"').next());
    let found: Vec<&str> = found.expect("what was watched").split(';').collect();
    assert!(found[0].parse::<usize>().unwrap() > 2, "{found:?}");
    // Drawn again, it is still hidden.
    let states = ["true false", "false true", "false true", "true false", "true false"];
    assert_eq!(found[1..], states);
    for says in ["%, 1 complete<", "The matrix of 201 classes is too large to be shown."] {
        assert!(document.contains(says), "{says}");
    }
    // The page's script has the sentence once, for any error.
    let failed = document.replace("could not be drawn: ${error}", "");
    assert!(!failed.contains("could not be drawn"));
}

/// On the screen of a phone, nothing is wider than its card, unless it scrolls there, and no page scrolls sideways.
#[test]
fn a_report_fits_a_narrow_screen() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "out", &["--seed", "0"]);
    run(at, "again", &["--seed", "1"]);
    printed(at, &["report", "out", "again"]);
    let study = ["study", "amit", "--experiment", "protocols", "--dataset", "digits", "--quiet"];
    let tiny = ["--seeds", "1", "--epochs", "1", "--limit-train", "100", "--limit-test", "50"];
    printed(at, &[&study[..], &tiny, &["--out", "study-of-ways-to-send-the-error"]].concat());
    let study = "study-of-ways-to-send-the-error/report.html";
    for report in ["out/report.html", "report.html", study] {
        let page = read(at.join(report)).replace('&', "&amp;").replace('"', "&quot;");
        let measure = "const inside = document.querySelector('iframe').contentDocument;
            const width = (element) => element.getBoundingClientRect().right;
            const wide = [...inside.querySelectorAll('.card *')].filter((element) =>
                !element.parentElement.closest('.scroll') && width(element) > width(element.closest('.card')) + 1);
            const page = inside.documentElement;
            document.body.dataset.found = [inside.querySelectorAll('.card').length, page.clientWidth, page.scrollWidth,
                ...wide.map((element) => element.outerHTML.slice(0, 80))].join(';');";
        let frame = at.join("narrow.html");
        std::fs::write(
            &frame,
            format!(
                "<!doctype html><body><iframe width=390 height=9000 style='border:0' srcdoc=\"{page}\"></iframe>
                <script>addEventListener('load', () => setTimeout(() => {{ {measure} }}, 500));</script>"
            ),
        )
        .unwrap();
        let Some(document) = in_browser(&frame) else { return };
        let found = document.split("data-found=\"").nth(1).and_then(|rest| rest.split('"').next());
        let found: Vec<&str> = found.expect("what was measured").split(';').collect();
        assert!(found[0].parse::<usize>().unwrap() > 10, "{found:?}");
        let [_, width, content] = found[..] else { panic!("{report}, out of its card: {found:?}") };
        assert!(width == content && width.parse::<usize>().unwrap() <= 390, "{report}: {found:?}");
    }
}

/// Runs that differ by the seed are one group: their mean, and a band around it; what differs between groups comes
/// first.
#[test]
fn several_runs_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (out, more) in [
        ("a", &["--seed", "0"][..]),
        ("b", &["--seed", "1"]),
        ("c", &["--seed", "0", "--batch-size", "20"]),
    ] {
        run(at, out, more);
    }
    assert_eq!(printed(at, &["report", "a", "b", "c"]), "open report.html\n");
    let page = at.join("report.html");
    let found = data(&read(page.clone()));
    let accuracy = |out: &str| -> f64 {
        let results: Value =
            serde_json::from_str(&read(at.join(out).join("results.json"))).unwrap();
        results["test_accuracy"].as_f64().unwrap()
    };
    let groups: Vec<&Value> =
        found["groups"].as_array().unwrap().iter().map(|group| &group["runs"]).collect();
    assert_eq!(groups, [&json!([0, 1]), &json!([2])]);
    let places: Vec<&Value> =
        found["differences"].as_array().unwrap().iter().map(|one| &one["place"]).collect();
    assert_eq!(places, ["preset.training.batch_size"]);
    assert_eq!(found["differences"][0]["values"], json!(["10", "20"]));
    assert_eq!(found["groups"][1]["name"], "batch_size 20");
    let (a, b) = (accuracy("a"), accuracy("b"));
    let mean = found["accuracies"][0]["mean"].as_f64().unwrap();
    let sd = found["accuracies"][0]["sd"].as_f64().unwrap();
    assert!((mean - (a + b) / 2.0).abs() < 1e-12, "{mean}");
    // Of a sample of two: |a − b|/√2.
    assert!((sd - (a - b).abs() / 2f64.sqrt()).abs() < 1e-12, "{sd}");
    let radius = found["charts"].as_array().unwrap().iter().find(|one| one["title"] == "Radius");
    let series = radius.unwrap()["series"].as_array().unwrap();
    for one in series {
        let band = one["low"].as_array();
        assert_eq!(band.is_some(), one["group"] == 0, "two seeds have a band, one has none: {one}");
    }
    // The next page takes its place, but no other file's.
    assert_eq!(printed(at, &["report", "a", "b"]), "open report.html\n");
    std::fs::write(&page, "mine").unwrap();
    let refused = hebbian(at, &["report", "a", "b", "c"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("report.html is there already") && said.contains("--to"), "{said}");
    assert_eq!(read(page), "mine");
    let page = at.join("named.html");
    printed(at, &["report", "a", "b", "c", "--to", "named.html"]);
    let Some(document) = in_browser(&page) else { return };
    let (differs, curves) =
        (document.find("<h2>What differs</h2>"), document.find("<h2>Curves</h2>"));
    assert!(differs.unwrap() < curves.unwrap());
    for says in ["preset.training.batch_size", "2 groups", &format!("{:.2} ±", 100.0 * mean)] {
        assert!(document.contains(says), "{says}");
    }
}

/// The folder of a study stands for the runs in it.
#[test]
fn a_study_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let args =
        ["study", "amit", "--experiment", "fig4", "--dataset", "digits", "--quiet", "--seeds", "1"];
    let tiny = ["--epochs", "1", "--limit-train", "100", "--limit-test", "50", "--out", "study"];
    let said = printed(at, &[&args[..], &tiny].concat());
    assert_eq!(said.lines().last(), Some("open study/report.html"), "{said}");
    let written = read(at.join("study/report.html"));
    assert!(written.len() < 2_000_000, "{}", written.len());
    std::fs::remove_file(at.join("study/report.html")).unwrap();
    assert_eq!(printed(at, &["report", "study"]), "open study/report.html\n");
    let found = data(&read(at.join("study/report.html")));
    for part in ["groups", "differences", "study", "accuracies", "charts"] {
        assert_eq!(found[part], data(&written)[part], "{part}");
    }
    // The study's figure and table, and its names for the networks.
    assert!(said.starts_with(found["study"]["text"].as_str().unwrap()), "{said}");
    assert!(found["study"]["figure"].as_str().unwrap().starts_with("data:image/png;base64,"));
    let runs = found["runs"].as_array().unwrap();
    let folders: Vec<&str> = runs.iter().map(|run| run["folder"].as_str().unwrap()).collect();
    assert_eq!(found["title"], format!("fig4: {} runs", folders.len()));
    for file in ["study/results.json", "./study/experiment.json"] {
        let before = read(at.join(file));
        let refused = hebbian(at, &["report", "study", "--to", file]);
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{errors}");
        assert!(errors.contains("is a file of the experiment in study"), "{errors}");
        assert_eq!(read(at.join(file)), before);
    }
    let own: Value = serde_json::from_str(&read(at.join("study/experiment.json"))).unwrap();
    assert!(own["files"].as_array().unwrap().contains(&json!("report.html")), "{own}");
    let arms: Vec<String> = std::fs::read_dir(at.join("study"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("study/{}/seed-0", entry.file_name().to_str().unwrap()))
        .collect();
    assert!(arms.len() > 1 && folders.len() == arms.len(), "{folders:?}, {arms:?}");
    assert!(arms.iter().all(|arm| folders.contains(&arm.as_str())), "{folders:?}, {arms:?}");
    let groups = found["groups"].as_array().unwrap();
    assert_eq!(groups.len(), arms.len());
    for group in groups {
        let name = group["name"].as_str().unwrap();
        assert!(arms.contains(&format!("study/{name}/seed-0")), "{name}, {arms:?}");
    }
    // In the order of the figure, so that its colours are those of the charts.
    let table = read(at.join("study/table.csv"));
    let cells = |row: &str| row.split(',').take(2).collect::<Vec<_>>().join("-").to_lowercase();
    let mut rows: Vec<String> = table.lines().skip(1).map(cells).collect();
    rows.dedup();
    let runs = rows.iter().map(|arm| format!("study/{arm}/seed-0"));
    assert_eq!(folders, runs.collect::<Vec<_>>());
    assert!(!folders.is_sorted());
    // Another study in the same folder replaces it, and its report.
    printed(at, &[&args[..], &tiny, &["--seed", "5"]].concat());
    let found = data(&read(at.join("study/report.html")));
    assert!(found["runs"].as_array().unwrap().iter().any(|run| run["seed"] == 5), "{found}");
    let Some(document) = in_browser(&at.join("study/report.html")) else { return };
    for says in ["<h2>Study</h2>", "<img src=\"data:image/png", "test accuracy"] {
        assert!(document.contains(says), "{says}");
    }
}

/// The program's own help explains the numbers in the terminal.
#[test]
fn numbers_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let help = printed(folder.path(), &["train", "softhebb", "--help"]);
    let (_, legend) = help.split_once("Numbers in the terminal:").expect(&help);
    for word in ["radius", "entropy", "silent", "images/s", "layer N"] {
        assert!(legend.contains(&format!("\n  {word} ")), "{word}: {legend}");
    }
    assert!(!legend.contains("W-R correlation"), "Amit's: {legend}");
    let short = printed(folder.path(), &["train", "softhebb", "-h"]);
    assert!(!short.contains("Numbers in the terminal"));
}

#[test]
fn what_a_report_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("empty")).unwrap();
    for (args, words) in [
        (&["report"][..], &["RUN"][..]),
        (&["report", "empty"], &["empty", "no config.json", "hebbian train"]),
        (&["report", "empty", "empty", "--watch"], &["--watch", "one run"]),
        (&["report", "empty", "--port", "1"], &["--watch"]),
    ] {
        let output = hebbian(at, args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert!(words.iter().all(|word| errors.contains(word)), "{args:?}: {words:?} in {errors}");
    }
}

/// A program that is ended at the end of the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status and body of the answer to a request at a port of this machine.
fn ask(port: u16, path: &str, host: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let question = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    (status, body.to_string())
}

/// A run is shown while it is under way: the data change with its files.
#[test]
fn a_run_is_watched() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let at: &TempDir = &folder;
    run(at.path(), "out", &[]);
    let mut server = Command::new(env!("CARGO_BIN_EXE_hebbian"));
    let server = server.args(["report", "out", "--watch", "--port", "0"]).current_dir(at.path());
    let mut server = Ended(server.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.strip_prefix("open http://127.0.0.1:").expect(&line);
    let port: u16 = port.split('/').next().unwrap().parse().unwrap();
    let own = format!("127.0.0.1:{port}");

    let out = at.path().join("out");
    let files = || -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let untouched = files();
    let (status, page) = ask(port, "/", &own);
    assert!(status == 200 && page.starts_with("<!doctype html>"));
    let found = data(&page);
    assert_eq!((&found["live"], &found["runs"][0]["complete"]), (&json!(true), &json!(true)));
    assert_eq!(found["runs"][0]["layers"].as_array().unwrap().len(), 2);
    let json_of = |(status, body): (u16, String)| -> Value {
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let points = |data: &Value| {
        let charts = data["charts"].as_array().unwrap();
        let one = charts.iter().find(|chart| chart["title"] == "Silent units").unwrap();
        one["clocks"][0]["values"].as_array().unwrap().len()
    };
    let before = json_of(ask(port, "/data.json", &own));
    assert!(files() == untouched, "it wrote into the folder");
    let log = out.join("metrics.jsonl");
    let more =
        r#"{"step":1000,"images":10000,"epoch":50.0,"seconds":9.0,"layers.0.silent_units":3.0}"#;
    std::fs::write(&log, read(log.clone()) + more + "\n").unwrap();
    let after = json_of(ask(port, "/data.json", &own));
    assert_eq!(points(&after), points(&before) + 1);
    // New weights are drawn, after a few seconds at most.
    run(at.path(), "other", &["--seed", "1"]);
    for weights in ["model.safetensors", "state.safetensors"] {
        std::fs::copy(at.path().join("other").join(weights), out.join(weights)).unwrap();
    }
    let drawn = |data: &Value| data["runs"][0]["layers"].clone();
    let asked = Instant::now();
    while drawn(&json_of(ask(port, "/data.json", &own))) == drawn(&before) {
        assert!(asked.elapsed() < Duration::from_secs(60), "the units are those of before");
        std::thread::sleep(Duration::from_millis(200));
    }

    assert_eq!(ask(port, "/../out/config.json", &own).0, 404);
    assert_eq!(ask(port, "/data.json", "example.org").0, 403);
    // The server keeps running.
    assert_eq!(server.0.try_wait().unwrap(), None, "it goes on");
}

/// In a real terminal, the curves of a run are on the other screen until a key is pressed, and the terminal is
/// restored. Without one, the latest numbers are printed.
#[test]
fn a_run_is_shown_in_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run(at, "run", &[]);
    let plain = printed(at, &["report", "run", "--terminal"]);
    assert!(plain.starts_with("softhebb-cnn-digits on digits, seed 0: complete, test"), "{plain}");
    assert!(plain.contains("\n  Accuracy of the read-out: "), "{plain}");

    let Ok(output) = in_a_terminal(at, "report run --terminal", b"q") else {
        println!("skipped: there is no `script` of util-linux for a terminal");
        return;
    };
    assert!(output.status.success());
    let shown = String::from_utf8_lossy(&output.stdout);
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text:?} in {shown:?}"));
    let (entered, left) = (at("\u{1b}[?1049h"), at("\u{1b}[?1049l"));
    assert!(entered < at("softhebb-cnn-digits") && at("softhebb-cnn-digits") < left);
    assert!(entered < at("ends") && at("ends") < left);
    assert!(shown.contains("\u{1b}[?25h"), "the cursor is shown again");
}

/// What the program shows on a terminal of 120 × 40 in which these keys are typed.
fn in_a_terminal(folder: &Path, args: &str, keys: &[u8]) -> std::io::Result<Output> {
    let program = format!("stty cols 120 rows 40; '{}' {args}", env!("CARGO_BIN_EXE_hebbian"));
    let mut child = Command::new("script")
        .args(["-qec", &program, "/dev/null"])
        .current_dir(folder)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // The keys are typed repeatedly, because they have to come when the program shows something.
    let mut stdin = child.stdin.take().expect("piped");
    let keys = keys.to_vec();
    std::thread::spawn(move || {
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(200));
            if stdin.write_all(&keys).and_then(|()| stdin.flush()).is_err() {
                break;
            }
        }
    });
    child.wait_with_output()
}
