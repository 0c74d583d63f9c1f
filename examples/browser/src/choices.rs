//! Rules and competitions to choose from.

use candle::{Result, Var};
use candle_hebbian::{
    Bcm, Competition, HardWta, Hebb, Instar, KWta, KrotovHopfield, Learner, NoCompetition, Oja,
    RankedWta, SoftHebb, SoftWta, SoftWtaAntiHebbian, Steps, UnitNorm,
};

/// A rule that the page offers.
pub struct RuleChoice {
    pub name: &'static str,
    pub equation: &'static str,
    /// Returns a learner of the variable with that learning rate.
    pub learner: fn(Var, f64) -> Result<Learner<Steps>>,
}

pub static RULES: [RuleChoice; 6] = [
    RuleChoice {
        name: "SoftHebb",
        equation: "Δw = y (x − u w)",
        learner: |w, rate| Ok(Learner::new(SoftHebb, free(w, rate)?)),
    },
    RuleChoice {
        name: "Oja",
        equation: "Δw = y (x − y w)",
        learner: |w, rate| Ok(Learner::new(Oja, free(w, rate)?)),
    },
    RuleChoice {
        name: "Instar",
        equation: "Δw = y (x − w)",
        learner: |w, rate| Ok(Learner::new(Instar, free(w, rate)?)),
    },
    RuleChoice {
        name: "Krotov–Hopfield, p = 3",
        equation: "Δw = y (x − Q w), Q = Σ w|w| x",
        learner: |w, rate| Ok(Learner::new(KrotovHopfield { norm: 3.0 }, free(w, rate)?)),
    },
    RuleChoice {
        name: "Hebb, norm kept at 1",
        equation: "Δw = y x, then w / ‖w‖",
        learner: |w, rate| Ok(Learner::new(Hebb, of_norm_1(w, rate)?)),
    },
    RuleChoice {
        name: "BCM, norm kept at 1",
        equation: "Δw = y (y − θ) x, then w / ‖w‖",
        learner: |w, rate| {
            let rule = Bcm { rate: 0.002, threshold: 0.0 };
            Ok(Learner::new(rule, of_norm_1(w, rate)?))
        },
    },
];

fn free(weight: Var, rate: f64) -> Result<Steps> {
    Steps::builder(rate).build([weight])
}

fn of_norm_1(weight: Var, rate: f64) -> Result<Steps> {
    Steps::builder(rate).then(UnitNorm).build([weight])
}

/// The settings of a competition.
#[derive(Clone, Copy)]
pub struct Settings {
    pub temperature: f64,
    /// The number of winners, or the rank of the unit that unlearns.
    pub k: usize,
}

/// A competition that the page offers.
pub struct CompetitionChoice {
    pub name: &'static str,
    pub equation: &'static str,
    /// Which of the settings it uses: `temperature`, `k` or none (empty).
    pub setting: &'static str,
    pub competition: fn(Settings) -> Box<dyn Competition>,
}

pub static COMPETITIONS: [CompetitionChoice; 7] = [
    CompetitionChoice {
        name: "soft winner-take-all",
        equation: "y = softmax(u / T)",
        setting: "temperature",
        competition: |Settings { temperature, .. }| {
            Box::new(SoftWta { inverse_temperature: 1.0 / temperature })
        },
    },
    CompetitionChoice {
        name: "soft, losers unlearn",
        equation: "y = ± softmax(u / T), + for the largest u only",
        setting: "temperature",
        competition: |Settings { temperature, .. }| {
            Box::new(SoftWtaAntiHebbian { inverse_temperature: 1.0 / temperature })
        },
    },
    CompetitionChoice {
        name: "hard winner-take-all",
        equation: "y = 1 for the largest u, else 0",
        setting: "",
        competition: |_| Box::new(HardWta),
    },
    CompetitionChoice {
        name: "k winners, binary",
        equation: "y = 1 for the k largest u above 0, else 0",
        setting: "k",
        competition: |Settings { k, .. }| Box::new(KWta::binary(k)),
    },
    CompetitionChoice {
        name: "k winners, graded",
        equation: "y = u for the k largest u above 0, else 0",
        setting: "k",
        competition: |Settings { k, .. }| Box::new(KWta::graded(k)),
    },
    CompetitionChoice {
        name: "ranked",
        equation: "y = 1 for the largest u, −0.4 for the k-th largest, else 0",
        setting: "k",
        competition: |Settings { k, .. }| Box::new(RankedWta { k: k.max(2), delta: 0.4 }),
    },
    CompetitionChoice {
        name: "none",
        equation: "y = u",
        setting: "",
        competition: |_| Box::new(NoCompetition),
    },
];

/// Returns name, equation and setting of every rule, one line each, then an empty line, then the
/// same of every competition; fields are separated by tabs.
pub fn listed() -> String {
    let rules = RULES.iter().map(|rule| format!("{}\t{}\t\n", rule.name, rule.equation));
    let competitions = COMPETITIONS
        .iter()
        .map(|choice| format!("{}\t{}\t{}\n", choice.name, choice.equation, choice.setting));
    rules.chain(["\n".to_string()]).chain(competitions).collect()
}
