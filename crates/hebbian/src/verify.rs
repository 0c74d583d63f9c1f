//! The check that this library computes what the papers define, on your device.

use crate::paths::writable;
use crate::{DeviceArgs, print, tell};
use anyhow::{Result, bail};
use candle::{DType, Device};
use candle_hebbian::ops;
use clap::{Parser, ValueEnum};
use hebbian_models::verify::{Case, Kind, Outcome, files, shipped};
use hebbian_train::{Progress, Table, save_json};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Computes reference vectors on a device and compares them with the expected values
///
/// The error is the largest difference from an expected value, divided by the largest expected value of that tensor;
/// the table shows the error of the tensor that comes nearest to its limit. The exit status is 1 if a case fails or
/// cannot be read.
#[derive(Debug, Parser)]
#[command(name = "verify")]
pub struct VerifyArgs {
    /// Files of reference vectors, or folders of them [default: those of the repository]
    files: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Precision; the reference vectors are for f32, and Metal has no f64
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
    /// On the CPU, use candle's operations instead of our kernels, as GPUs do
    #[arg(long)]
    composed: bool,
    /// Write the result as JSON: to this file, if its name ends in .json, else to stdout with the
    /// table on stderr
    #[arg(long, value_name = "FILE.json", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,
    /// Show no progress, only the result
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Precision {
    F32,
    F64,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// Where the JSON goes.
enum Json {
    No,
    Stdout,
    File(PathBuf),
}

impl VerifyArgs {
    /// Returns where the JSON goes. What follows `--json` is its file only if the name ends in `.json`; any other path
    /// is a file to check.
    fn json(&mut self) -> Json {
        match self.json.take() {
            None => Json::No,
            Some(None) => Json::Stdout,
            Some(Some(path)) if path.extension().is_some_and(|extension| extension == "json") => {
                Json::File(path)
            }
            Some(Some(path)) => {
                self.files.push(path);
                Json::Stdout
            }
        }
    }
}

/// The result for one file, or for a path that cannot be read as one.
struct Row {
    path: PathBuf,
    name: String,
    kind: Option<Kind>,
    outcome: Result<Outcome, String>,
}

impl Row {
    fn result(&self) -> &'static str {
        match &self.outcome {
            Ok(outcome) if outcome.passed() => "pass",
            Ok(_) => "fail",
            Err(_) => "error",
        }
    }

    /// Checks a file. A panic, for example in a device's driver, ends this case and not the others.
    fn check(path: &Path, dtype: DType, device: &Device) -> Self {
        catch_unwind(AssertUnwindSafe(|| Self::check_file(path, dtype, device))).unwrap_or_else(
            |_| Self::unread(path, format!("{}: ended in a panic, see above", path.display())),
        )
    }

    fn check_file(path: &Path, dtype: DType, device: &Device) -> Self {
        let mut row = Self::unread(path, String::new());
        match Case::read(path) {
            Ok(case) => {
                row.name = case.name();
                row.kind = Some(case.kind());
                row.outcome = case.run(dtype, device).map_err(|error| error.to_string());
            }
            Err(error) => row.outcome = Err(error.to_string()),
        }
        row
    }

    fn unread(path: &Path, problem: String) -> Self {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { path: path.to_path_buf(), name, kind: None, outcome: Err(problem) }
    }

    fn json(&self) -> Value {
        let mut row = json!({
            "case": self.name,
            "file": self.path.display().to_string(),
            "kind": self.kind.map(Kind::name),
            "result": self.result(),
        });
        match &self.outcome {
            Ok(outcome) => {
                let worst = outcome.worst();
                row["largest_relative_error"] = json!(worst.map(|worst| worst.error));
                row["allowed"] = json!(worst.map(|worst| worst.allowed));
                row["tensors"] = outcome
                    .comparisons
                    .iter()
                    .map(|one| {
                        let way = (!one.way.is_empty()).then_some(one.way);
                        json!({
                            "tensor": one.tensor,
                            "way": way,
                            "relative_error": one.error,
                            "allowed": one.allowed,
                            "passed": one.passed(),
                        })
                    })
                    .collect();
            }
            Err(problem) => row["error"] = json!(problem),
        }
        row
    }
}

fn table(rows: &[Row]) -> Result<String> {
    let mut table = Table::new(["case", "largest relative error", "allowed", "result"]);
    let mut remarks = String::new();
    for row in rows {
        let exponent = |number: Option<f64>| match number {
            Some(number) => format!("{number:.1e}").into(),
            None => String::new().into(),
        };
        let worst = row.outcome.as_ref().ok().and_then(Outcome::worst);
        table.row([
            row.name.clone().into(),
            exponent(worst.map(|worst| worst.error)),
            exponent(worst.map(|worst| worst.allowed)),
            row.result().to_string().into(),
        ])?;
        match (&row.outcome, worst) {
            (Ok(outcome), Some(worst)) if !outcome.passed() => {
                let way = if worst.way.is_empty() { "" } else { " by way of " };
                let (tensor, name) = (&worst.tensor, &row.name);
                remarks += &format!("{name}: {tensor}{way}{} is wrong\n", worst.way);
            }
            (Err(problem), _) => remarks += &format!("{problem}\n"),
            _ => {}
        }
    }
    Ok(format!("{table}{}{remarks}", if remarks.is_empty() { "" } else { "\n" }))
}

/// Checks the cases, and returns a summary.
///
/// # Errors
/// Cases that fail or cannot be read; a device or a precision that is not available.
pub fn verify(mut args: VerifyArgs) -> Result<String> {
    let json = args.json();
    if let Json::File(file) = &json {
        writable("--json", file)?;
    }
    let chosen = args.device.choose()?;
    let (device, name) = (&chosen.device, chosen.name);
    let line = format!("{chosen}, {}", args.dtype.name());
    match json {
        Json::Stdout => tell(&line),
        _ => print(&format!("{line}\n"))?,
    }
    let dtype = match args.dtype {
        Precision::F64 if device.is_metal() => bail!("--dtype f64: Metal has no f64; use f32"),
        Precision::F64 => DType::F64,
        Precision::F32 => DType::F32,
    };

    let mut rows = Vec::new();
    let mut paths = Vec::new();
    if args.files.is_empty() {
        paths = shipped()?;
    }
    for path in &args.files {
        match files(std::slice::from_ref(path)) {
            Ok(found) => paths.extend(found),
            Err(error) => rows.push(Row::unread(path, error.to_string())),
        }
    }
    let mut progress = Progress::of(paths.len() as u64, "cases", "verify", args.quiet);
    for path in &paths {
        let check = || Row::check(path, dtype, device);
        rows.push(if args.composed { ops::composed(check) } else { check() });
        progress.advance(1);
    }
    progress.finish();

    let count = |result| rows.iter().filter(|row| row.result() == result).count();
    let (passed, failed, errors) = (count("pass"), count("fail"), count("error"));
    let document = json!({
        "device": name,
        "dtype": args.dtype.name(),
        "composed": args.composed,
        "version": crate::VERSION,
        "passed": passed,
        "failed": failed,
        "errors": errors,
        "cases": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    let table = table(&rows)?;
    match &json {
        Json::Stdout => {
            tell(table.trim_end());
            print(&format!("{}\n", serde_json::to_string_pretty(&document)?))?;
        }
        Json::File(path) => {
            print(&table)?;
            save_json(path, &document)?;
        }
        Json::No => print(&table)?,
    }
    if failed + errors > 0 {
        bail!(
            "{failed} of {} cases failed, {errors} could not be checked, on device {name}",
            rows.len()
        )
    }
    let summary = format!("all {passed} cases passed on device {name}\n");
    Ok(if matches!(json, Json::Stdout) { String::new() } else { summary })
}
