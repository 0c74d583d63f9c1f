//! Every command of the guide, the READMEs and the cards is one that the programs take.

use super::{Page, guide, readmes, root};
use crate::binary::{binary, outcome};
use clap::Parser;
use hebbian::{Door, DoorArgs, Program, VerifyArgs};
use hebbian_models::ZOO;
use hebbian_train::{Method, find_preset};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// The commands of the page's consoles: lines that begin with `$ `, with the lines that continue them, without
/// comments, and split at `&&`.
fn commands(page: &Page) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = page.lines().into_iter();
    while let Some((language, line)) = lines.next() {
        let consoles = ["console", "sh", "bash"];
        if !language.is_some_and(|language| consoles.contains(&language)) {
            continue;
        }
        let line = line.trim();
        let Some(start) = line.strip_prefix("$ ").or((language != Some("console")).then_some(line))
        else {
            continue;
        };
        let mut command = start.to_string();
        while let Some(first) = command.strip_suffix('\\') {
            let (_, next) = lines.next().unwrap();
            command = format!("{first} {}", next.trim());
        }
        let command =
            command.split_once(" #").map_or(command.as_str(), |(command, _)| command.trim());
        commands.extend(command.split(" && ").map(str::to_string));
    }
    commands
}

/// The words of a command as a shell splits them: quotes hold together, and a pipe or redirection ends it.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote, mut word) = (Vec::new(), None, None::<String>);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '>' | '&' | ';') => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

macro_rules! presets_of {
    ($($module:ident::$method:ident)*) => {
        /// Whether a method has a preset of that name.
        fn is_preset(name: &str) -> bool {
            [$(find_preset::<<hebbian_models::$module::$method as Method>::Preset>(name).is_ok()),*].contains(&true)
        }

        /// Parses the arguments of a method's program.
        fn parse_method(example: &str, args: &[String]) -> Option<Result<(), clap::Error>> {
            $(
                type $method = hebbian_models::$module::$method;
                if <$method as Method>::NAME == example {
                    return Some(DoorArgs::<<$method as Door>::Flags>::try_parse_from(args).map(drop));
                }
            )*
            None
        }
    };
}

hebbian_models::for_each_method!(presets_of);

/// What is wrong with a command; `None` if nothing is, or if it is not of this project.
fn problem(command: &str) -> Option<String> {
    // Settings in front of a command, such as RAYON_NUM_THREADS=2.
    let is_setting =
        |word: &String| word.split_once('=').is_some_and(|(name, _)| !name.contains('-'));
    let words: Vec<String> = words(command).into_iter().skip_while(is_setting).collect();
    let answer = |result: Result<(), clap::Error>| match result {
        Err(error) if error.use_stderr() => Some(error.to_string()),
        _ => None,
    };
    let wrong = match words.first().map(String::as_str) {
        Some("hebbian") => answer(Program::try_parse_from(&words).map(drop)),
        Some("cargo") if words.get(1).is_some_and(|word| word == "run") => cargo_run(&words),
        _ => return None,
    };
    wrong.or_else(|| values(&words))
}

/// What is wrong with values that clap takes as text: presets and models that do not exist.
fn values(words: &[String]) -> Option<String> {
    let after =
        |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    if let Some(preset) =
        after("--preset").filter(|name| !name.ends_with(".json") && !is_preset(name))
    {
        return Some(format!("there is no preset {preset}"));
    }
    let model = words.get(2).filter(|_| {
        ["eval", "features", "analyse"].contains(&words.get(1).map_or("", |word| word))
    });
    let named = |name: &&String| {
        !name.contains('/')
            && !name.contains('.')
            && !name.starts_with('-')
            && !name.chars().any(char::is_uppercase)
    };
    let unknown = model.filter(named).filter(|name| !ZOO.contains(&name.as_str()));
    unknown.map(|model| format!("there is no model {model}"))
}

/// What is wrong with `cargo run … --example NAME -- …` or `--bin hebbian`.
fn cargo_run(words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (cargo, args) = (&words[..at], words.get(at + 1..).unwrap_or_default());
    let value =
        |flag: &str| cargo.iter().position(|word| word == flag).and_then(|at| cargo.get(at + 1));
    let manifest = fs::read_to_string(root().join("examples/Cargo.toml")).unwrap();
    if let Some(features) = value("--features") {
        let missing = |feature: &&str| {
            !manifest.lines().any(|line| line.starts_with(&format!("{feature} = [")))
        };
        if let Some(feature) = features.split(',').find(missing) {
            return Some(format!("there is no feature {feature}"));
        }
    }
    if value("--bin").is_some_and(|name| name == "hebbian") {
        let args = ["hebbian".to_string()].into_iter().chain(args.iter().cloned());
        return Program::try_parse_from(args)
            .err()
            .filter(clap::Error::use_stderr)
            .map(|error| error.to_string());
    }
    let Some(example) = value("--example") else {
        return Some("neither --example nor --bin hebbian".to_string());
    };
    if !root().join("examples").join(example).join("main.rs").is_file() {
        return Some(format!("there is no example {example}"));
    }
    let whole: Vec<String> = [example.clone()].into_iter().chain(args.iter().cloned()).collect();
    if let Some(parsed) = parse_method(example, &whole) {
        return parsed.err().filter(clap::Error::use_stderr).map(|error| error.to_string());
    }
    match example.as_str() {
        "verify" => VerifyArgs::try_parse_from(whole).err().map(|error| error.to_string()),
        // They parse their own flags: with --help after these they do nothing else, and they fail if one is wrong.
        "own_rule" | "residual_network" => {
            let mut help = Command::new(binary(example));
            help.args(args).arg("--help");
            let run = outcome(help);
            (run.status != Some(0)).then_some(run.stderr)
        }
        _ => (!args.is_empty()).then(|| format!("{example} takes no arguments")),
    }
}

#[test]
fn every_command_is_one_that_the_programs_take() {
    let (mut problems, mut count) = (Vec::new(), 0);
    for page in guide().iter().chain(&readmes()) {
        for command in commands(page) {
            count += usize::from(command.contains("hebbian ") || command.starts_with("cargo run"));
            let problem = problem(&command);
            problems
                .extend(problem.map(|problem| format!("{}: {command}\n{problem}", page.name())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 100, "only {count} commands were found");
}

/// The folder of a run that is named by no flag, as far as these flags name it, and the other flags; `None` for a
/// command that trains nothing or names its folder.
fn folder_and_settings(command: &str) -> Option<(Vec<String>, Vec<String>)> {
    let mut words = words(command).into_iter().peekable();
    if (words.next()?.as_str(), words.next()?.as_str()) != ("hebbian", "train") {
        return None;
    }
    let (mut folder, mut settings) = (vec![words.next()?], Vec::new());
    while let Some(word) = words.next() {
        let value = words.next_if(|value| !value.starts_with("--"));
        match word.as_str() {
            "--out" | "--eval-only" | "--resume" | "--list" => return None,
            "--quiet" => {}
            "--preset" | "--dataset" | "--data-dir" | "--seed" => {
                folder.extend([word].into_iter().chain(value));
            }
            _ => settings.extend([word].into_iter().chain(value)),
        }
    }
    folder[1..].sort();
    Some((folder, settings))
}

/// The page without what was made from the record, whose commands are examples, each for a folder of its own.
fn without_the_record(page: Page) -> Page {
    let mut parts = page.text.split("<!-- record: ");
    let first = parts.next().unwrap_or_default().to_string();
    let text = parts.fold(first, |text, part| {
        text + part.split_once("<!-- end of record -->").map_or("", |(_, after)| after)
    });
    Page { text, ..page }
}

/// A run whose folder is named by no flag is not replaced by one with other settings, so the commands of a page that
/// are run one after the other name the folders of all but one of these.
#[test]
fn no_command_of_a_page_needs_the_folder_of_another() {
    for page in guide().into_iter().chain(readmes()).map(without_the_record) {
        let mut first = BTreeMap::new();
        for command in commands(&page) {
            let Some((folder, settings)) = folder_and_settings(&command) else { continue };
            let (page, before) = (page.name(), first.entry(folder).or_insert(settings.clone()));
            assert_eq!(*before, settings, "{page}: {command}: name its folder with --out");
        }
    }
}

#[test]
fn a_wrong_command_is_found() {
    for wrong in [
        "hebbian train softhebb --epoch 3",
        "hebbian train softhebb --preset softhebb-cnn9",
        "hebbian eval no-such-model",
        "hebbian analyse no-such-model",
        "hebbian analyse softhebb-digits --only colours",
        "cargo run --release --example softheb",
        "cargo run --release --features cudas --example verify",
        "cargo run --release --example amit -- --experiment fig99",
        "cargo run --release --example own_rule -- --sede 1",
        "cargo run --release --example own_tensors -- --seed 1",
    ] {
        assert!(problem(wrong).is_some(), "{wrong}");
    }
    for right in
        ["ls --color", "hebbian --help", "RAYON_NUM_THREADS=1 hebbian list amit > list.txt"]
    {
        assert_eq!(problem(right), None, "{right}");
    }
    let text = "```console\n$ hebbian train softhebb \\\n    --epochs 3 && hebbian list  # three\nprinted\n```\n$ hebbian none\n";
    let page = Page { path: root().join("docs/src/page.md"), text: text.to_string() };
    assert_eq!(commands(&page), ["hebbian train softhebb  --epochs 3", "hebbian list"]);
}
