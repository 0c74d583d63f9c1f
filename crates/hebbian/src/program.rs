//! The commands of `hebbian`.

use crate::analyse::AnalyseArgs;
use crate::bench::BenchArgs;
use crate::data::ShowArgs;
use crate::data_args::loading;
use crate::door::{Door, DoorArgs, list_of};
use crate::folded::folded;
use crate::report::{ReportArgs, legend};
use crate::reproduce::ReproduceArgs;
use crate::search::SearchArgs;
use crate::trained::{EvalArgs, FeaturesArgs, PredictArgs};
use crate::verify::{VerifyArgs, verify};
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hebbian_data::Hub;
use hebbian_models::{Model, ZOO};
use std::fmt::Write;
use std::path::PathBuf;

/// A command to begin with, for `--help`.
const BEGIN: &str = "To begin: hebbian train softhebb";

/// Networks of Hebbian and biologically plausible learning: train, evaluate, compare
#[derive(Debug, Parser)]
#[command(
    name = "hebbian",
    version = crate::VERSION,
    arg_required_else_help = true,
    after_help = BEGIN
)]
pub struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List presets and experiments
    List {
        /// Only of this method
        #[arg(value_enum)]
        method: Option<Name>,
    },
    /// Train a network
    #[command(after_help = BEGIN)]
    Train {
        #[command(subcommand)]
        method: MethodArgs,
    },
    /// Run an experiment of a paper (several networks, several seeds, a table and a picture), or search for a preset's
    /// numbers
    Study {
        #[command(subcommand)]
        study: StudyArgs,
    },
    Report(ReportArgs),
    Analyse(AnalyseArgs),
    Reproduce(ReproduceArgs),
    /// Describe a data set, and draw what a network sees of it
    Data(ShowArgs),
    Eval(EvalArgs),
    Predict(PredictArgs),
    Features(FeaturesArgs),
    /// Download a model from the Hugging Face hub, and print its folder
    Pull {
        /// OWNER/NAME, or OWNER/NAME@REVISION
        id: String,
        /// Never use the network
        #[arg(long)]
        offline: bool,
        /// Show no progress
        #[arg(long)]
        quiet: bool,
    },
    /// Upload a model to the Hugging Face hub (weights, configuration, card, results, pictures), and print its
    /// address; the token is HF_TOKEN, or that of `hf auth login`
    Push {
        /// The model's folder
        model: PathBuf,
        /// OWNER/NAME, or OWNER/NAME@BRANCH
        id: String,
        /// Make the repository private
        #[arg(long)]
        private: bool,
        /// Show no progress
        #[arg(long)]
        quiet: bool,
    },
    /// Check the reference vectors on this device
    Verify(VerifyArgs),
    Bench(BenchArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum StudyArgs {
    #[command(flatten)]
    Experiment(MethodArgs),
    /// Search for the numbers of a preset, at random or by successive halving, on images held out of the training set
    Search {
        #[command(subcommand)]
        method: SearchArgsOf,
    },
}

/// Defines what each method has: its name, its arguments for training and studies, and those for a search.
macro_rules! of_each_method {
    ($($module:ident::$method:ident)*) => {
        #[derive(Debug, Clone, Copy, ValueEnum)]
        enum Name {
            $($method,)*
        }

        impl Name {
            fn list(self) -> Result<String> {
                match self {
                    $(Self::$method => list_of::<hebbian_models::$module::$method>(),)*
                }
            }
        }

        #[derive(Debug, Subcommand)]
        enum MethodArgs {
            $(
                #[command(
                    about = <hebbian_models::$module::$method as Door>::ABOUT,
                    after_long_help = legend(<hebbian_models::$module::$method as Door>::NUMBERS)
                )]
                $method(DoorArgs<<hebbian_models::$module::$method as Door>::Flags>),
            )*
        }

        impl MethodArgs {
            fn run(self, study: bool) -> Result<String> {
                match self {
                    $(Self::$method(args) => args.run_as::<hebbian_models::$module::$method>(study),)*
                }
            }
        }

        #[derive(Debug, Subcommand)]
        enum SearchArgsOf {
            $(
                #[command(
                    about = <hebbian_models::$module::$method as Door>::ABOUT,
                    after_long_help = legend(<hebbian_models::$module::$method as Door>::NUMBERS)
                )]
                $method(SearchArgs<<hebbian_models::$module::$method as Door>::Flags>),
            )*
        }

        impl SearchArgsOf {
            fn run(self) -> Result<String> {
                match self {
                    $(Self::$method(args) => args.run::<hebbian_models::$module::$method>(),)*
                }
            }
        }
    };
}

hebbian_models::for_each_method!(of_each_method);

/// Runs `hebbian`, and returns its report.
///
/// # Errors
/// Flags that do not fit together, and whatever fails on the way.
pub fn program(Program { command }: Program) -> Result<String> {
    match command {
        Command::List { method } => list(method),
        Command::Train { method } => method.run(false),
        Command::Study { study: StudyArgs::Experiment(method) } => method.run(true),
        Command::Study { study: StudyArgs::Search { method } } => method.run(),
        Command::Report(args) => args.run(),
        Command::Analyse(args) => args.run(),
        Command::Reproduce(args) => args.run(),
        Command::Data(args) => args.run(),
        Command::Eval(args) => args.run(),
        Command::Predict(args) => args.run(),
        Command::Features(args) => args.run(),
        Command::Pull { id, offline, quiet } => {
            let (id, revision) = id.split_once('@').unwrap_or((&id, "main"));
            let hub = Hub::from_env();
            let hub = if offline { hub.offline() } else { hub };
            let folder = hebbian_models::fetch(&hub, id, revision, &loading(quiet))?;
            let model = Model::load(&folder)?;
            let (method, preset, dataset) = (model.method(), model.preset(), model.dataset());
            Ok(format!("{method}, {preset}, trained on {dataset}\n{}\n", folder.display()))
        }
        Command::Push { model, id, private, quiet } => {
            let (id, branch) = id.split_once('@').unwrap_or((&id, "main"));
            let hub = Hub::from_env();
            let address =
                Model::load(&model)?.push_to(&hub, id, branch, private, &loading(quiet))?;
            Ok(format!("{address}\n"))
        }
        Command::Verify(args) => verify(args),
        Command::Bench(args) => args.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Program::command(), "hebbian", &mut script);
            Ok(String::from_utf8(script)?)
        }
    }
}

fn list(method: Option<Name>) -> Result<String> {
    if let Some(method) = method {
        return method.list();
    }
    let mut all = String::new();
    for name in Name::value_variants() {
        let title = name.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
        writeln!(all, "{title}\n\n{}", name.list()?)?;
    }
    let trained = format!("trained models, for eval, predict and features: {}\n", ZOO.join(", "));
    Ok(all + &folded(trained))
}
