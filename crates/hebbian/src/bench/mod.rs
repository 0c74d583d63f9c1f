//! How fast the library is, compared with the matrix products that it needs, and with PyTorch.

mod blas;
mod peers;
mod product;
mod products;
mod timing;
mod work;

use crate::paths::writable;
use crate::{DeviceArgs, print, tell};
use anyhow::{Context, Result, bail};
use hebbian_train::{Cell, Table, peak_memory_bytes, save_json};
use peers::Peers;
use product::Product;
use products::Bare;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use timing::{median, time};
use work::Work;

pub use work::{Benchmark, benchmarks};

/// Environment variables with which the threads of a BLAS library sleep until the next product: if they waited in a
/// loop, they would take the processor from the work in between.
const SLEEPING: [(&str, &str); 3] =
    [("KMP_BLOCKTIME", "0"), ("OMP_WAIT_POLICY", "PASSIVE"), ("OPENBLAS_THREAD_TIMEOUT", "4")];

/// Time training steps, features and single ops beside the bare matrix products of the same sizes
///
/// Each time is the median over rounds in which the work and its products alternate, with every library that is
/// installed: gemm, MKL and OpenBLAS (found by their usual names, or the files in HEBBIAN_BLAS). In a round, each is
/// repeated for a tenth of a second before it is timed. "of best" is the time of the fastest library's products divided
/// by that of the work, the median over rounds: at 100 % a step takes as long as its products alone, and fewer
/// multiplications can make it faster than that. Run nothing else on the machine meanwhile.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct BenchArgs {
    /// Only work whose name contains one of these
    names: Vec<String>,
    /// Print the names and stop
    #[arg(long)]
    list: bool,
    /// Numbers of threads, measured one after the other [default: all cores]
    #[arg(long, value_delimiter = ',', value_name = "N")]
    threads: Vec<usize>,
    /// Seconds for each piece of work
    #[arg(long, default_value_t = 3.0, value_name = "S")]
    seconds: f64,
    /// Alternate with PyTorch's version, run by the Python that has PyTorch (see benches/peers/README.md)
    #[arg(long, value_name = "PYTHON", num_args = 0..=1, default_missing_value = "python3")]
    against_torch: Option<PathBuf>,
    /// Write the results as JSON: to this file, or to stdout with the table on stderr
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Show no progress, only the result
    #[arg(long)]
    quiet: bool,
    /// Measure one, in this process, and print a line of JSON
    #[arg(long, hide = true)]
    alone: bool,
}

/// The measurements of one piece of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    name: String,
    device: String,
    threads: usize,
    rounds: usize,
    /// The time of the work.
    milliseconds: f64,
    images_per_second: f64,
    /// Billions of operations of its products per second of the whole work; `None` for an op without products.
    gflops_per_second: Option<f64>,
    /// The time of the products alone, by library.
    products_milliseconds: BTreeMap<String, f64>,
    /// The median of the rounds' ratios: the products by the fastest library over the work.
    share_of_best: Option<f64>,
    /// The peak memory of the process, with the operands of the products that it compares with.
    peak_memory_bytes: Option<u64>,
    /// PyTorch's time, by setting.
    torch_milliseconds: BTreeMap<String, f64>,
}

impl BenchArgs {
    /// Measures the work, and returns the table.
    ///
    /// # Errors
    /// A name that does not exist; a device or a PyTorch that is not available.
    pub fn run(self) -> Result<String> {
        let wanted = |name: &str| {
            self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
        };
        let all = benchmarks();
        let is_there = |part: &str| all.iter().any(|one| one.name().contains(part));
        if let Some(part) = self.names.iter().find(|part| !is_there(part)) {
            bail!("no benchmark name contains {part}: see --list");
        }
        let names: Vec<&str> =
            all.iter().map(Benchmark::name).filter(|name| wanted(name)).collect();
        if self.list {
            return Ok(names.iter().map(|name| format!("{name}\n")).collect());
        }
        if !(self.seconds > 0.0 && self.seconds.is_finite()) {
            bail!("--seconds is {}, expected a number above 0", self.seconds);
        }
        if let Some(Some(file)) = &self.json {
            writable("--json", file)?;
        }
        if let (true, [name]) = (self.alone, &self.names[..]) {
            let row = self.alone(name)?;
            return Ok(serde_json::to_string(&row)? + "\n");
        }
        if cfg!(debug_assertions) {
            tell("built without optimisation: times mean little; use cargo run --release");
        }
        let threads = match &self.threads[..] {
            [] => vec![candle::utils::get_num_threads()],
            given => given.to_vec(),
        };
        if threads.contains(&0) {
            bail!("--threads is 0, expected 1 or more");
        }
        let mut rows = Vec::new();
        for name in names {
            for &threads in &threads {
                let row = self.apart(name, threads)?;
                if !self.quiet {
                    tell(&format!("{name}, threads {threads}: {:.2} ms", row.milliseconds));
                }
                rows.push(row);
            }
        }
        let table = table(&rows)?;
        match self.json {
            None => Ok(table),
            Some(Some(file)) => {
                save_json(&file, &rows)?;
                Ok(format!("{table}wrote {}\n", file.display()))
            }
            Some(None) => {
                tell(table.trim_end());
                print(&(serde_json::to_string_pretty(&rows)? + "\n"))?;
                Ok(String::new())
            }
        }
    }

    /// Measures one piece of work in a separate process, so that it has its own number of threads and its own memory.
    fn apart(&self, name: &str, threads: usize) -> Result<Row> {
        let program = std::env::current_exe().context("this program's own file")?;
        let mut command = Command::new(program);
        command.args(["bench", "--alone", name, "--seconds"]).arg(self.seconds.to_string());
        command.args(self.device.again());
        if let Some(python) = &self.against_torch {
            command.arg("--against-torch").arg(python);
        }
        for variable in
            ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
        {
            command.env(variable, threads.to_string());
        }
        command.envs(SLEEPING);
        let output = command.output().context("this program once more")?;
        if !output.status.success() {
            bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{name}: {}", String::from_utf8_lossy(&output.stdout).trim()))
    }

    /// Measures the work of that name.
    fn alone(&self, name: &str) -> Result<Row> {
        let chosen = self.device.choose()?;
        let found = benchmarks().into_iter().find(|benchmark| benchmark.name() == name);
        let Some(benchmark) = found else { bail!("there is no benchmark {name}") };
        if self.against_torch.is_some() && !chosen.device.is_cpu() {
            bail!("--against-torch is for the CPU, on which its scripts compute: add --device cpu");
        }
        let Work { images, products, mut run } = benchmark.work(&chosen.device)?;
        let mut bare = Bare::new(&products, &chosen.device)?;
        let threads = candle::utils::get_num_threads();
        let mut peers = match &self.against_torch {
            Some(python) => Peers::of(python, name, threads)?,
            None => None,
        };
        let (started, mut rounds) = (Instant::now(), Rounds::default());
        while rounds.count() < 5 || started.elapsed().as_secs_f64() < self.seconds {
            rounds.work.push(time(&chosen.device, &mut run)?);
            if !products.is_empty() {
                rounds.products.push(bare.time()?);
            }
            if let Some(peers) = &mut peers {
                rounds.peers.push(peers.time()?);
            }
        }
        let libraries = bare.names();
        let of_products: Vec<f64> = (0..libraries.len())
            .filter_map(|at| median(rounds.products.iter().map(|round| round[at])))
            .collect();
        let best =
            (0..of_products.len()).min_by(|&a, &b| of_products[a].total_cmp(&of_products[b]));
        let ratios = best.map(|best| {
            rounds
                .work
                .iter()
                .zip(&rounds.products)
                .map(move |(work, products)| products[best] / work)
        });
        let milliseconds = median(rounds.work.iter().copied()).unwrap_or(f64::NAN);
        let operations: f64 = products.iter().map(Product::operations).sum();
        let mut torch: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (setting, time) in rounds.peers.iter().flatten() {
            torch.entry(setting.clone()).or_default().push(*time);
        }
        Ok(Row {
            name: name.to_string(),
            device: chosen.name.to_string(),
            threads,
            rounds: rounds.count(),
            milliseconds,
            images_per_second: 1e3 * images as f64 / milliseconds,
            gflops_per_second: (operations > 0.0).then(|| operations / milliseconds / 1e6),
            products_milliseconds: libraries
                .iter()
                .zip(of_products)
                .map(|(name, time)| (name.to_string(), time))
                .collect(),
            share_of_best: ratios.and_then(median),
            peak_memory_bytes: peak_memory_bytes(),
            torch_milliseconds: torch
                .into_iter()
                .filter_map(|(setting, times)| Some((setting, median(times.into_iter())?)))
                .collect(),
        })
    }
}

/// Times in milliseconds, round by round.
#[derive(Debug, Default)]
struct Rounds {
    work: Vec<f64>,
    /// By library.
    products: Vec<Vec<f64>>,
    /// By setting.
    peers: Vec<BTreeMap<String, f64>>,
}

impl Rounds {
    fn count(&self) -> usize {
        self.work.len()
    }
}

/// Returns the rows as a table for people.
fn table(rows: &[Row]) -> Result<String> {
    let fastest = |times: &BTreeMap<String, f64>| {
        let fastest = times.iter().min_by(|a, b| a.1.total_cmp(b.1));
        fastest.map(|(name, time)| (name.clone(), *time))
    };
    let beside_torch = rows.iter().any(|row| !row.torch_milliseconds.is_empty());
    let columns =
        ["work", "threads", "ms", "images/s", "GFLOP/s", "best products", "ms", "of best", "MB"];
    let torch = ["PyTorch", "ms", "ours"].into_iter().filter(|_| beside_torch);
    let mut table = Table::new(columns.into_iter().chain(torch));
    for row in rows {
        let best = fastest(&row.products_milliseconds);
        let mut cells: Vec<Cell> = vec![
            row.name.as_str().into(),
            row.threads.into(),
            row.milliseconds.into(),
            row.images_per_second.into(),
            row.gflops_per_second.into(),
            best.as_ref().map(|(name, _)| name.as_str()).into(),
            best.map(|(_, time)| time).into(),
            row.share_of_best.map(|share| format!("{:.0} %", 100.0 * share)).into(),
            row.peak_memory_bytes.map(|bytes| bytes >> 20).into(),
        ];
        if beside_torch {
            let torch = fastest(&row.torch_milliseconds);
            let ratio = torch.as_ref().map(|(_, time)| format!("{:.2} x", time / row.milliseconds));
            let (name, time) = torch.unzip();
            cells.extend([name.into(), time.into(), ratio.into()]);
        }
        table.row(cells)?;
    }
    Ok(format!("{table:.2}"))
}
