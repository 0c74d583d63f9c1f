//! What a synapse reads, found by changing one thing at a time and checking whether its step changes.

use super::{check_made, root};
use candle::{D, DType, Device, Tensor};
use candle_hebbian::{
    Bcm, Competition, GlobalDirection, HardWta, Hebb, HingeHebb, Instar, KWta, KrotovHopfield,
    ModulatedHebb, NoCompetition, Oja, RankedWta, Rng, Rule, SoftHebb, SoftWta, SoftWtaAntiHebbian,
    State, Synapses,
};
use hebbian_data::{Dataset, ImageSet, digits};
use hebbian_models::{
    amit::Amit,
    ghl::{self, Ghl},
    golkar::Golkar,
    k_means::{self, KMeans},
    krotov_hopfield,
    miconi::Miconi,
    patches::Patches,
    softhebb::Softhebb,
};
use hebbian_train::{Checkpoint, Learner, Method, Model, Start, find_preset, save_checkpoint};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

fn mark(reads: bool) -> &'static str {
    if reads { "yes" } else { "–" }
}

/// A row of a table.
fn row(name: &str, cells: impl IntoIterator<Item = bool>) -> String {
    let cells: Vec<&str> = cells.into_iter().map(mark).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

/// `tensor` with `change` added to the entries that `at` chooses by their places in the last two dimensions.
fn changed(tensor: &Tensor, change: f64, at: impl Fn(usize, usize) -> bool) -> Tensor {
    let (_, rows, columns) = tensor.dims3().unwrap();
    let mask =
        (0..rows * columns).map(|i| f64::from(u8::from(at(i / columns, i % columns))) * change);
    let mask =
        Tensor::from_vec(mask.collect::<Vec<_>>(), (1, rows, columns), tensor.device()).unwrap();
    (tensor + mask).unwrap()
}

/// What a synapse from input 0 to unit 0 could read, for rules: rows `x (1, P, F)`, response `u`, activity `y` and
/// third factor `m (1, P, K)`, weights `w (1, K, F)`.
#[derive(Clone)]
struct Seen {
    x: Tensor,
    u: Tensor,
    y: Tensor,
    m: Tensor,
    w: Tensor,
}

impl Seen {
    fn new() -> Self {
        let (mut rng, cpu) = (Rng::new(1), Device::Cpu);
        let mut draw = |shape| rng.uniform(-0.9, 0.9, shape, DType::F64, &cpu).unwrap();
        let (x, u, y, w) = (draw((1, 4, 3)), draw((1, 4, 3)), draw((1, 4, 3)), draw((1, 3, 3)));
        // Targets, as the class layer takes them.
        let m = draw((1, 4, 3)).sign().unwrap();
        Self { x, u, y, m, w }
    }

    /// The update of all synapses, and whether the rule keeps a state.
    fn update(&self, rule: &dyn Rule) -> (Tensor, bool) {
        let mut state = State::default();
        let synapses =
            Synapses::new(&self.w, &self.x, &self.u, &self.y).unwrap().with_third(&self.m).unwrap();
        let update = synapses.update_with(rule, &mut state).unwrap();
        (update, state.iter().next().is_some())
    }

    /// Half of the rows.
    fn rows(&self, from: usize) -> Self {
        let half = |tensor: &Tensor| tensor.narrow(1, from, 2).unwrap();
        Self {
            x: half(&self.x),
            u: half(&self.u),
            y: half(&self.y),
            m: half(&self.m),
            w: self.w.clone(),
        }
    }
}

fn entry(update: &Tensor) -> f64 {
    update.flatten_all().unwrap().get(0).unwrap().to_scalar().unwrap()
}

/// The change of a weight: so large that its part of the update is the largest of all.
const FAR: f64 = 400.0;

/// Whether the update of the synapse from input 0 to unit 0 depends on each part of [`Seen`].
fn reads_of_rule(rule: &dyn Rule) -> Vec<bool> {
    let seen = Seen::new();
    let (update, keeps_state) = seen.update(rule);
    let reads = |other: Seen| (entry(&other.update(rule).0) - entry(&update)).abs() > 1e-9;
    let Seen { x, u, y, m, w } = seen.clone();
    let own = |_: usize, column: usize| column == 0;
    let others = |_: usize, column: usize| column != 0;
    // A target changes its sign; everything else is changed by more than the margin of the class layer.
    let turned = |at: &dyn Fn(usize, usize) -> bool| {
        let (turned, kept) = (changed(&m.zeros_like().unwrap(), -2.0, at), m.ones_like().unwrap());
        ((turned + kept).unwrap() * &m).unwrap()
    };
    let sum = (entry(&seen.rows(0).update(rule).0) + entry(&seen.rows(2).update(rule).0)
        - entry(&update))
    .abs();
    vec![
        reads(Seen { x: changed(&x, 4.0, own), ..seen.clone() }),
        reads(Seen { x: changed(&x, 4.0, others), ..seen.clone() }),
        reads(Seen { u: changed(&u, 4.0, own), ..seen.clone() }),
        reads(Seen { y: changed(&y, 4.0, own), ..seen.clone() }),
        reads(Seen { u: changed(&u, 4.0, others), ..seen.clone() })
            || reads(Seen { y: changed(&y, 4.0, others), ..seen.clone() }),
        reads(Seen { w: changed(&w, FAR, |unit, input| (unit, input) == (0, 0)), ..seen.clone() }),
        reads(Seen { w: changed(&w, FAR, |unit, input| unit == 0 && input != 0), ..seen.clone() }),
        reads(Seen { w: changed(&w, FAR, |unit, _| unit != 0), ..seen.clone() }),
        reads(Seen { m: turned(&own), ..seen.clone() })
            || reads(Seen { m: turned(&others), ..seen.clone() }),
        keeps_state,
        sum > 1e-9,
    ]
}

#[test]
fn what_rules_read() {
    let hinge = HingeHebb::new(1.0).unwrap();
    let leak = ModulatedHebb { leak: 0.5 };
    let rules: [(&str, &dyn Rule); 8] = [
        ("`Hebb`", &Hebb),
        ("`Instar`", &Instar),
        ("`Oja`", &Oja),
        ("`SoftHebb`", &SoftHebb),
        ("`KrotovHopfield`", &KrotovHopfield { norm: 3.0 }),
        ("`ModulatedHebb`, with a leak", &leak),
        ("`HingeHebb`", &hinge),
        ("`Bcm`", &Bcm { rate: 0.3, threshold: 1.0 }),
    ];
    let mut table = String::from(
        "| rule | own `x` | other `x` | own `u` | own `y` | others' `u`, `y` | own `w` | unit's other `w` | others' `w` | \
         third factor | state | batch |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, rule) in rules {
        let reads = reads_of_rule(rule);
        // A local rule reads nothing of another synapse.
        assert!(!reads[1] && !reads[4] && !reads[6] && !reads[7], "{name}: {reads:?}");
        table += &row(name, reads);
    }
    // Its size is relative to the largest entry of the layer, which any synapse may set; its sign is that of a sum.
    let reads = reads_of_rule(&GlobalDirection);
    let keeps_state = 9;
    for (at, &reads) in reads.iter().enumerate() {
        assert_eq!(reads, at != keeps_state, "{at}");
    }
    table += &row("`GlobalDirection`", reads);
    check_made(&root().join("docs/src/what-a-synapse-reads.md"), "rules", &table);
}

/// A rule that is not local is detected: Sanger's, which reads other units' responses and weights.
#[test]
fn a_rule_that_is_not_local_is_found() {
    let sanger = |synapses: &Synapses, _: &mut State| {
        let post = synapses.post();
        let lower = Tensor::triu2(post.dim(2)?, post.dtype(), post.device())?;
        let taken = post.transpose(1, 2)?.matmul(post)?.broadcast_mul(&lower)?;
        Ok(candle_hebbian::Update::hebbian(post.clone()).mixing(taken))
    };
    let reads = reads_of_rule(&sanger);
    assert!(reads[4] && reads[7], "{reads:?}");
}

#[test]
fn what_competitions_read() {
    let competitions: [(&str, &dyn Competition); 7] = [
        ("`NoCompetition`", &NoCompetition),
        ("`HardWta`", &HardWta),
        ("`KWta::binary(2)`", &KWta::binary(2)),
        ("`KWta::graded(2)`", &KWta::graded(2)),
        ("`SoftWta`", &SoftWta { inverse_temperature: 1.0 }),
        ("`SoftWtaAntiHebbian`", &SoftWtaAntiHebbian { inverse_temperature: 1.0 }),
        ("`RankedWta`", &RankedWta { k: 2, delta: 0.4 }),
    ];
    let mut table = String::from(
        "| competition | the unit's own `u` | other units' `u` in the row | other rows |\n|---|---|---|---|\n",
    );
    for (name, competition) in competitions {
        // Unit 0 is the first of row 0, with others near it.
        let u =
            Tensor::new(&[[[0.9f64, 0.5, 0.3, -0.2], [0.1, 0.6, 0.2, 0.4]]], &Device::Cpu).unwrap();
        let of = |u: &Tensor| entry(&competition.compete(u).unwrap());
        let reads = |at: &dyn Fn(usize, usize) -> bool| {
            [-2.0, -0.5, 2.0].iter().any(|&by| (of(&changed(&u, by, at)) - of(&u)).abs() > 1e-9)
        };
        let reads = [
            reads(&|row, unit| (row, unit) == (0, 0)),
            reads(&|row, unit| row == 0 && unit != 0),
            reads(&|row, _| row == 1),
        ];
        assert!(!reads[2], "{name}");
        table += &row(name, reads);
    }
    check_made(&root().join("docs/src/what-a-synapse-reads.md"), "competitions", &table);
}

/// The number of images that a step learns from.
const BATCH: usize = 10;

/// One kind of synapses of a method: a tensor with the units along `units`, and the tensors through which a signal
/// comes back to them from above.
struct Kind {
    title: &'static str,
    tensor: &'static str,
    units: usize,
    above: &'static [&'static str],
}

/// One step of the method `M` from given weights, on ten digits. Half of them, or the other half, may be replaced, and
/// the labels changed.
struct Steps<M: Method> {
    options: M::Options,
    start: Vec<(String, Tensor)>,
    file: tempfile::TempDir,
}

#[derive(Clone, Copy, Default)]
struct Change {
    first: bool,
    second: bool,
    labels: bool,
}

impl<M: Method> Steps<M> {
    /// The options of the model of that name in the zoo, with a batch of [`BATCH`] images and without what happens
    /// before the first step.
    fn new(model: &str) -> Self {
        let text =
            fs::read_to_string(root().join(format!("models/zoo/{model}/config.json"))).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        Self::of(config["options"].take())
    }

    /// The same from options as JSON.
    fn of(mut options: Value) -> Self {
        let preset = options["preset"].as_object_mut().unwrap();
        preset.remove("input");
        if M::NAME == "golkar" {
            preset["scaling"] = json!({ "mean": 0.3, "deviation": 0.4 });
        }
        for at in ["/preset/batch_size", "/preset/training/batch_size"] {
            if let Some(size) = options.pointer_mut(at) {
                *size = json!(BATCH);
            }
        }
        if let Some(batches) = options.pointer_mut("/preset/training/burn_in_batches") {
            *batches = json!(0);
        }
        let options = serde_json::from_value(options).unwrap();
        let mut steps = Self { options, start: Vec::new(), file: tempfile::tempdir().unwrap() };
        steps.start = steps.learner(Change::default()).model().tensors();
        steps
    }

    /// The same from the trained weights of that model.
    fn trained(model: &str) -> Self {
        let mut steps = Self::new(model);
        let folder = root().join("models/zoo").join(model);
        let checkpoint = Checkpoint::load(folder, &Device::Cpu).unwrap();
        for (name, tensor) in &mut steps.start {
            *tensor = checkpoint.take(name, tensor.shape(), tensor.dtype()).unwrap();
        }
        steps
    }

    fn data(change: Change) -> Dataset {
        let Dataset { train, test, .. } = digits();
        // One more, which Amit's method holds out.
        let chosen: Vec<usize> = (0..=BATCH).collect();
        let (mut pixels, mut labels) =
            (train.pixels(&chosen).unwrap(), train.labels()[..=BATCH].to_vec());
        let half = BATCH / 2;
        for (start, replaced) in [(0, change.first), (half, change.second)] {
            for at in (start..start + half).filter(|_| replaced) {
                let other = train.image(100 + at).unwrap();
                pixels[at * 64..(at + 1) * 64].copy_from_slice(&other);
            }
        }
        if change.labels {
            labels.iter_mut().for_each(|label| *label = (*label + 3) % 10);
        }
        let mut train = ImageSet::new(pixels, labels, 1, 8, 8).unwrap();
        if M::NAME != "amit" {
            train = train.take(BATCH);
        }
        Dataset { train, test: test.take(20), ..digits() }
    }

    fn learner(&self, change: Change) -> M::Learner {
        let start = Start { rng: Rng::new(1), device: Device::Cpu, quiet: true };
        M::learner(&self.options, &Self::data(change), &start).unwrap()
    }

    /// By how much the weights of `kind` change in a step from `tensors`, units first: `(K, F)`.
    fn step(&self, kind: &Kind, tensors: &[(String, Tensor)], change: Change) -> Tensor {
        let file = self.file.path().join("start.safetensors");
        save_checkpoint(&file, tensors, &BTreeMap::new()).unwrap();
        let mut learner = self.learner(change);
        learner.start_from(&mut Checkpoint::load(&file, &Device::Cpu).unwrap()).unwrap();
        let weights = |learner: &M::Learner| {
            let tensors = learner.model().tensors();
            let (_, tensor) = tensors.into_iter().find(|(name, _)| name == kind.tensor).unwrap();
            tensor.to_dtype(DType::F64).unwrap().copy().unwrap()
        };
        let before = weights(&learner);
        learner.step().unwrap();
        let step = (weights(&learner) - before).unwrap().transpose(0, kind.units).unwrap();
        step.flatten_from(1).unwrap().contiguous().unwrap()
    }

    /// Whether a synapse of the unit that learns most reads the activity of the layer's other units, what comes from
    /// above, labels, and more of a batch than each of its images by itself. The first and the third are tested with
    /// all that comes from above silenced.
    fn reads(&self, kind: &Kind) -> [bool; 4] {
        let start = &self.start;
        let with = |at: &dyn Fn(&str) -> bool, make: &dyn Fn(&Tensor) -> Tensor| {
            let changed = |(name, tensor): &(String, Tensor)| {
                (name.clone(), if at(name) { make(tensor) } else { tensor.clone() })
            };
            start.iter().map(changed).collect::<Vec<_>>()
        };
        let is_above = |name: &str| kind.above.iter().any(|above| name.starts_with(above));
        let silent = with(&is_above, &|tensor| tensor.zeros_like().unwrap());
        let none = Change::default();

        let base = self.step(kind, start, none);
        let most =
            base.sqr().unwrap().sum(1).unwrap().argmax(0).unwrap().to_scalar::<u32>().unwrap()
                as usize;
        let of_unit = |step: &Tensor| step.get(most).unwrap();
        let largest = |tensor: &Tensor| -> f64 {
            tensor.abs().unwrap().max(D::Minus1).unwrap().to_scalar().unwrap()
        };
        let scale = largest(&of_unit(&base));
        assert!(scale > 0.0, "{}: nothing is learned", kind.title);
        // The bounds are far from both rounding and a small effect, so that no case is left open.
        let differ = |a: &Tensor, b: &Tensor| {
            let by = largest(&(a - b).unwrap().flatten_all().unwrap()) / scale;
            assert!(!(1e-4..1e-3).contains(&by), "{}: a difference of {by}", kind.title);
            by >= 1e-3
        };
        let differs = |a: &Tensor, b: &Tensor| differ(&of_unit(a), &of_unit(b));

        let silent_base = self.step(kind, &silent, none);
        let stronger = |tensor: &Tensor| {
            let units = tensor.dim(kind.units).unwrap();
            let factors =
                (0..units).map(|unit| if unit == most { 1f32 } else { 3.0 }).collect::<Vec<_>>();
            let mut shape = vec![1; tensor.rank()];
            shape[kind.units] = units;
            let factors = Tensor::from_vec(factors, shape, &Device::Cpu).unwrap();
            tensor.broadcast_mul(&factors).unwrap()
        };
        let competitors: Vec<(String, Tensor)> = silent
            .iter()
            .map(|(name, tensor)| {
                let tensor = if name == kind.tensor { stronger(tensor) } else { tensor.clone() };
                (name.clone(), tensor)
            })
            .collect();
        let louder = with(&is_above, &|tensor| (tensor * -2.0).unwrap());

        let competition = differs(&self.step(kind, &competitors, none), &silent_base);
        let feedback = !kind.above.is_empty() && differs(&self.step(kind, &louder, none), &base);
        let labels = Change { labels: true, ..none };
        let label = differs(&self.step(kind, &silent, labels), &silent_base);
        // A sum over images has no term that depends on both halves.
        let of = |first, second| self.step(kind, start, Change { first, second, ..none });
        let one = (of(true, false) + of(false, true)).unwrap();
        let statistics = differ(&one, &(&base + of(true, true)).unwrap()); // in any unit
        [competition, feedback, label, statistics]
    }
}

#[test]
fn what_the_synapses_of_methods_read() {
    let mut table = String::from(
        "| method | synapses | other units of the layer | feedback vector | label | batch statistics |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut add = |method: &str, kind: &Kind, reads: [bool; 4]| {
        table += &row(&format!("{method} | {}", kind.title), reads);
        reads
    };
    let first = |title, above| Kind { title, tensor: "layers.0.weight", units: 0, above };

    let kind = first("every Hebbian layer", &["layers.1."]);
    let reads = add("SoftHebb", &kind, Steps::<Softhebb>::new("softhebb-digits").reads(&kind));
    assert_eq!(reads, [true, false, false, true]);
    let kind = first("every layer", &["layers.1.", "layers.2."]);
    let reads = add("Miconi", &kind, Steps::<Miconi>::new("miconi-digits").reads(&kind));
    assert_eq!(reads[..3], [true, false, false]);

    let amit = Steps::<Amit>::new("amit-digits");
    let kind = first(
        "a hidden layer, URFB",
        &["layers.1.feedback", "layers.2.feedback", "layers.3.feedback", "layers.4.feedback"],
    );
    assert_eq!(add("Amit", &kind, amit.reads(&kind)), [false, true, false, false]);
    let kind = Kind { title: "the class layer", tensor: "layers.4.weight", units: 0, above: &[] };
    assert_eq!(add("", &kind, amit.reads(&kind)), [false, false, true, false]);

    // Each of its interneurons starts with one neuron, so that neurons influence each other only after learning.
    let golkar = Steps::<Golkar>::trained("golkar-digits");
    let kind = Kind { title: "basal, `W₁`", tensor: "w1", units: 0, above: &["w2"] };
    assert_eq!(add("Golkar", &kind, golkar.reads(&kind))[..3], [true, true, false]);
    let kind = Kind { title: "apical, `W₂ᵀ`", tensor: "w2", units: 1, above: &[] };
    assert_eq!(add("", &kind, golkar.reads(&kind))[..3], [false, false, true]);
    let kind = Kind { title: "of interneurons, `Q`", tensor: "q", units: 0, above: &["w2"] };
    assert_eq!(add("", &kind, golkar.reads(&kind))[..3], [true, false, false]);

    // Without an error from above the layer does not learn, so its competition is tested with the error, which brings
    // the label too.
    let kind = first("a convolution", &["layers.1.", "head."]);
    let steps =
        Steps::<Ghl>::of(json!({ "preset": find_preset::<ghl::Preset>("ghl-digits").unwrap() }));
    let [others, ..] = steps.reads(&first("a convolution", &[]));
    let [_, feedback, label, statistics] = steps.reads(&kind);
    let reads = add("GHL", &kind, [others, feedback, label, statistics]);
    assert_eq!(reads, [true, true, false, true]);

    let kind = Kind { title: "the layer", tensor: "weight", units: 0, above: &[] };
    let network = Steps::<krotov_hopfield::KrotovHopfield>::new("krotov-hopfield-digits");
    assert_eq!(add("Krotov & Hopfield", &kind, network.reads(&kind)), [true, false, false, true]);

    let nothing = Steps::<Patches>::new("patches-digits").learner(Change::default());
    assert_eq!(nothing.total().steps, 0);
    let preset = find_preset::<k_means::Preset>("k-means-digits").unwrap();
    let nothing = Steps::<KMeans>::of(json!({ "preset": preset })).learner(Change::default());
    assert_eq!(nothing.total().steps, 0);
    table += "| k-means | none: the means of clusters are computed before the first step | – | – | – | – |\n";
    table += "| patches | none learns | – | – | – | – |\n";
    check_made(&root().join("docs/src/what-a-synapse-reads.md"), "methods", &table);
}
