//! What is timed: steps and features of whole networks, and single ops.

use super::product::{Form, Product};
use anyhow::Result;
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::device::upload;
use candle_hebbian::ops::{self, Dropout};
use candle_hebbian::{
    Competition, Conv2dConfig, FeedbackConfig, FeedbackLayer, Geometry, Layer, Rng, SoftWta, Stack,
    Steps,
};
use candle_nn::{Module, Optimizer};
use hebbian_models::amit::Protocol;
use hebbian_models::{amit, ghl, golkar, miconi, softhebb};
use hebbian_train::{choose, find_preset};
use std::fmt;
use std::hint::black_box;

/// Something to time.
pub(super) struct Work {
    /// The number of images that are processed.
    pub images: usize,
    /// The products that it needs; empty if there are none.
    pub products: Vec<Product>,
    pub run: Run,
}

/// Does the work once.
type Run = Box<dyn FnMut() -> Result<()>>;

type Make = Box<dyn Fn(&Device) -> Result<Work>>;

/// Wraps a computation whose result is dropped.
fn run<T>(mut compute: impl FnMut() -> candle::Result<T> + 'static) -> Run {
    Box::new(move || {
        black_box(compute()?);
        Ok(())
    })
}

/// What `hebbian bench` times under a name: a step or features of a network, or a single op.
pub struct Benchmark {
    name: String,
    make: Make,
}

impl fmt::Debug for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Benchmark").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Benchmark {
    /// Returns the name, such as `op/max-pool/64`; the last part is the batch size.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes network and batch on a device, and returns a function that does the work once. On a GPU, the work may go
    /// on after it has returned.
    ///
    /// # Errors
    /// Those of the device.
    pub fn prepare(&self, device: &Device) -> Result<impl FnMut() -> Result<()> + use<>> {
        Ok(self.work(device)?.run)
    }

    pub(super) fn work(&self, device: &Device) -> Result<Work> {
        (self.make)(device)
    }
}

/// Returns all benchmarks, in the order of the table.
pub fn benchmarks() -> Vec<Benchmark> {
    let mut all = Vec::new();
    let mut add = |name: String, make: Make| all.push(Benchmark { name, make });
    for preset in ["softhebb-cnn3-cifar", "softhebb-cnn3-cifar-half", "softhebb-cnn3-cifar-quarter"]
    {
        for batch in [10, 64] {
            add(
                format!("{preset}/step/{batch}"),
                Box::new(move |device| softhebb_step(preset, batch, device)),
            );
        }
        add(
            format!("{preset}/features/64"),
            Box::new(move |device| softhebb_features(preset, 64, device)),
        );
    }
    add("miconi-cifar/step/100".to_string(), Box::new(|device| miconi_work(true, 100, device)));
    add(
        "miconi-cifar/features/100".to_string(),
        Box::new(|device| miconi_work(false, 100, device)),
    );
    for preset in ["amit-simpnet", "amit-deepernet"] {
        for protocol in [Protocol::Backprop, Protocol::Urfb] {
            let name = format!("{preset}/{protocol}-step/100");
            add(name, Box::new(move |device| amit_step(preset, protocol, 100, device)));
        }
        add(
            format!("{preset}/predict/100"),
            Box::new(move |device| amit_predict(preset, 100, device)),
        );
    }
    for learning in ["ghl", "bp"] {
        let name = format!("deephebb-cifar-quarter-width/{learning}-step/64");
        add(name, Box::new(move |device| ghl_step(learning, 64, device)));
    }
    for (preset, batch) in [("golkar-mnist", 1), ("golkar-mnist-256", 1), ("golkar-mnist", 100)] {
        let name = format!("{preset}/step/{batch}");
        add(name, Box::new(move |device| golkar_step(preset, batch, device)));
    }
    add("golkar-mnist/predict/100".to_string(), Box::new(|device| golkar_predict(100, device)));
    for (name, untied) in [("op/tied-layer/100", false), ("op/untied-layer/100", true)] {
        add(name.to_string(), Box::new(move |device| layer(untied, 100, device)));
    }
    for op in ["soft-wta", "triangle", "max-pool", "batch-norm", "unfold", "dropout"] {
        add(format!("op/{op}/64"), Box::new(move |device| single(op, 64, device)));
    }
    all
}

/// Images of CIFAR's size.
fn images(batch: usize, device: &Device) -> Result<Tensor> {
    let mut rng = Rng::new(0).stream("bench");
    Ok(rng.uniform(0.0, 1.0, (batch, 3, 32, 32), DType::F32, device)?)
}

/// A class of ten for each image.
fn labels(batch: usize, device: &Device) -> Result<Tensor> {
    let mut rng = Rng::new(0).stream("labels");
    let labels: Vec<u32> = (0..batch).map(|_| rng.below(10) as u32).collect();
    Ok(upload(labels, batch, device)?)
}

/// Returns the products of these forms of each layer of a stack; no error is sent below the first layer.
fn of_stack<C: Competition>(stack: &Stack<C>, x: &Tensor, forms: &[Form]) -> Result<Vec<Product>> {
    let mut products: Vec<Product> = Vec::new();
    let maps = stack.maps(x)?;
    for (block, x) in stack.blocks().iter().zip(std::iter::once(x).chain(&maps)) {
        let Ok(layer) = block.layer() else { continue };
        let x = match layer.geometry() {
            Geometry::Dense => &x.flatten_from(1)?,
            _ => x,
        };
        let (sites, rows, fan_in) = layer.unfold(x)?.dims3()?;
        let (units, first) = (layer.dims().units, products.is_empty());
        let forms = forms.iter().filter(|&&form| !(first && form == Form::Back));
        products.extend(forms.map(|&form| Product { sites, rows, fan_in, units, form }));
    }
    Ok(products)
}

/// A step in which all layers learn from a batch.
fn softhebb_step(preset: &str, batch: usize, device: &Device) -> Result<Work> {
    let mut network = softhebb_network(preset, device)?;
    let x = images(batch, device)?;
    let products = of_stack(network.stack(), &x, &[Form::Response, Form::Update])?;
    Ok(Work { images: batch, products, run: run(move || network.learn(&x, 0.0)) })
}

fn softhebb_features(preset: &str, batch: usize, device: &Device) -> Result<Work> {
    let network = softhebb_network(preset, device)?;
    let x = images(batch, device)?;
    let products = of_stack(network.stack(), &x, &[Form::Response])?;
    Ok(Work { images: batch, products, run: run(move || network.forward(&x)) })
}

fn softhebb_network(preset: &str, device: &Device) -> Result<softhebb::Network> {
    let preset = softhebb::preset(preset)?;
    Ok(softhebb::Network::new(&preset, (3, 32, 32), &Rng::new(0), DType::F32, device)?)
}

/// A step in which all layers learn, or features.
fn miconi_work(learns: bool, batch: usize, device: &Device) -> Result<Work> {
    let preset = miconi::preset("miconi-cifar")?;
    let mut network = miconi::Network::new(&preset, (3, 32, 32), &Rng::new(0), DType::F32, device)?;
    let x = images(batch, device)?;
    let forms: &[Form] = if learns { &[Form::Response, Form::Update] } else { &[Form::Response] };
    let products = of_stack(network.stack(), &x, forms)?;
    let run = run(move || match learns {
        true => network.step(&x, miconi::Phase::Learn),
        false => network.collect(&x),
    });
    Ok(Work { images: batch, products, run })
}

fn amit_network(preset: &str, protocol: Protocol, device: &Device) -> Result<amit::Network> {
    let mut preset = amit::preset(preset)?;
    preset.training.protocol = protocol;
    Ok(amit::Network::new(&preset, (3, 32, 32), 10, &Rng::new(0), DType::F32, device)?)
}

fn amit_step(preset: &str, protocol: Protocol, batch: usize, device: &Device) -> Result<Work> {
    let network = amit_network(preset, protocol, device)?;
    let x = images(batch, device)?;
    let labels = labels(batch, device)?;
    let products = of_stack(network.stack(), &x, &[Form::Response, Form::Update, Form::Back])?;
    let rate = network.preset().training.learning_rate;
    let mut optimizer = network.optimizer(|vars| Steps::builder(rate).build(vars))?;
    let mut masks = Rng::new(0).stream("dropout");
    let run = run(move || {
        let loss = network.loss(&network.forward_train(&x, &mut masks)?, &labels)?;
        optimizer.backward_step(&loss)
    });
    Ok(Work { images: batch, products, run })
}

fn amit_predict(preset: &str, batch: usize, device: &Device) -> Result<Work> {
    let network = amit_network(preset, Protocol::Backprop, device)?;
    let x = images(batch, device)?;
    let products = of_stack(network.stack(), &x, &[Form::Response])?;
    Ok(Work { images: batch, products, run: run(move || network.forward(&x)) })
}

/// A step, with the products of the convolutions; the head's product is a hundredth of theirs.
fn ghl_step(learning: &str, batch: usize, device: &Device) -> Result<Work> {
    let mut preset: ghl::Preset = find_preset("deephebb-cifar-quarter-width")?;
    preset.training.learning = choose("learning", learning, &ghl::Learning::ALL)?;
    let network = ghl::Network::new(&preset, (3, 32, 32), 10, &Rng::new(0), DType::F32, device)?;
    let (x, labels) = (images(batch, device)?, labels(batch, device)?);
    let forms: &[Form] = match learning {
        // Twice an update: `Σ y x`, by which the weights change, and `Σ δ x`, which says in which direction.
        "ghl" => &[Form::Response, Form::Update, Form::Update, Form::Back],
        _ => &[Form::Response, Form::Update, Form::Back],
    };
    let products = of_stack(network.stack(), &x, forms)?;
    let mut descents = ghl::Descents::new(&network)?;
    let mut masks = Rng::new(0).stream("dropout");
    let run = run(move || {
        let loss = network.loss(&network.forward_train(&x, &mut masks)?, &labels)?;
        descents.step(&loss.backward()?)
    });
    Ok(Work { images: batch, products, run })
}

/// Returns a circuit with 784 inputs and 10 classes.
fn golkar_circuit(preset: &str, device: &Device) -> Result<(golkar::Preset, golkar::Circuit)> {
    let preset = golkar::preset(preset)?;
    let (rng, sizes) = (Rng::new(0), (784, preset.units, 10));
    let circuit =
        golkar::Circuit::new(preset.circuit, sizes, preset.initial, &rng, DType::F32, device)?;
    Ok((preset, circuit))
}

/// A step: the response, the teaching signal and the interneurons, with an update for each.
fn golkar_step(preset: &str, batch: usize, device: &Device) -> Result<Work> {
    let (preset, mut circuit) = golkar_circuit(preset, device)?;
    let mut rng = Rng::new(0).stream("bench");
    let mut normal = |columns| rng.normal(0.0, 1.0, (batch, columns), DType::F32, device);
    let (x, y) = (normal(784)?, normal(10)?);
    let mut products = Vec::new();
    for (fan_in, forms) in [
        (784, &[Form::Response, Form::Update][..]),
        (10, &[Form::Response, Form::Update]),
        // The interneurons `ν = Qᵀz`, and what they send back, `Qν`.
        (preset.units, &[Form::Response, Form::Update, Form::Back]),
    ] {
        let product = |&form| Product { sites: 1, rows: batch, fan_in, units: preset.units, form };
        products.extend(forms.iter().map(product));
    }
    let (way, rates) = (preset.training.way, preset.training.rates.scaled(1e-3));
    let run = match batch {
        // As training does: on other devices, a single sample is a batch of one.
        1 if ops::has_kernels(device) => {
            let (x, y) = (x.squeeze(0)?.to_vec1::<f32>()?, y.squeeze(0)?.to_vec1::<f32>()?);
            let mut online = golkar::Online::of(&circuit)?;
            run(move || online.step(&x, &y, rates))
        }
        _ => run(move || circuit.step(&x, &y, rates, way)),
    };
    Ok(Work { images: batch, products, run })
}

fn golkar_predict(batch: usize, device: &Device) -> Result<Work> {
    let (preset, circuit) = golkar_circuit("golkar-mnist", device)?;
    let x = Rng::new(0).normal(0.0, 1.0, (batch, 784), DType::F32, device)?;
    let product =
        |fan_in, units| Product { sites: 1, rows: batch, fan_in, units, form: Form::Response };
    let products = vec![product(784, preset.units), product(preset.units, 10)];
    Ok(Work { images: batch, products, run: run(move || circuit.predict(&x)) })
}

/// The forward and backward pass of 32 units on 16×16 windows of 3×3 positions and 32 channels, with the same
/// weights everywhere or, if `untied`, with separate weights for each window.
fn layer(untied: bool, batch: usize, device: &Device) -> Result<Work> {
    let window = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let mut rng = Rng::new(0).stream("bench");
    let mut normal = |shape: &[usize]| rng.normal(0.0, 1.0, shape, DType::F32, device);
    let (weight, config) = (normal(&[32, 32, 3, 3])?, FeedbackConfig::default());
    let tied = FeedbackLayer::from_tensors(&weight, None, Geometry::Conv2d(window), config)?;
    let layer = if untied { tied.untied((16, 16))? } else { tied };
    let x = Var::from_tensor(&normal(&[batch, 32, 16, 16])?)?;
    let (sites, rows, fan_in) = layer.layer().unfold(&x)?.dims3()?;
    let forms = [Form::Response, Form::Update, Form::Back];
    let products = forms.map(|form| Product { sites, rows, fan_in, units: 32, form }).to_vec();
    let run = run(move || layer.forward(&x)?.backward());
    Ok(Work { images: batch, products, run })
}

/// A single op on tensors of the size of the second layer of the 96-384-1536 network: 96 channels of 16×16, 384 units.
fn single(op: &str, batch: usize, device: &Device) -> Result<Work> {
    let mut rng = Rng::new(0).stream("bench");
    let mut normal = |shape: &[usize]| rng.normal(0.0, 1.0, shape, DType::F32, device);
    let maps = normal(&[batch, 384, 16, 16])?;
    let run = match op {
        "soft-wta" => {
            let (u, competition) =
                (normal(&[1, 256 * batch, 384])?, SoftWta { inverse_temperature: 1.0 });
            run(move || competition.compete(&u))
        }
        "triangle" => run(move || ops::triangle(&maps, 0.7, true)),
        "max-pool" => {
            let pool = ops::Pool::Max { kernel: 4, stride: 2, padding: 1 };
            run(move || pool.forward(&maps))
        }
        "batch-norm" => run(move || ops::normalise(&maps, 1e-5)),
        "unfold" => {
            let (x, window) =
                (normal(&[batch, 96, 16, 16])?, Conv2dConfig { padding: 1, ..Default::default() });
            let layer = Layer::new(normal(&[384, 96, 3, 3])?, Geometry::Conv2d(window))?;
            run(move || layer.unfold(&x))
        }
        _ => {
            let (dropout, mut rng) = (Dropout::new(0.5)?, Rng::new(0));
            run(move || dropout.apply(&maps, &mut rng))
        }
    };
    Ok(Work { images: batch, products: Vec::new(), run })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products(name: &str) -> Result<Vec<Product>> {
        let found = benchmarks().into_iter().find(|benchmark| benchmark.name == name);
        Ok(found.expect("a name of the list").work(&Device::Cpu)?.products)
    }

    /// 5×5×3 taps on 32×32 positions; 3×3×24 on the 16×16 that a pool leaves; 3×3×96 on 8×8.
    #[test]
    fn products_of_a_softhebb_step() -> Result<()> {
        let sizes = [(10_240, 75, 24), (2_560, 216, 96), (640, 864, 384)];
        let want: Vec<Product> = sizes
            .into_iter()
            .flat_map(|(rows, fan_in, units)| {
                let product = move |form| Product { sites: 1, rows, fan_in, units, form };
                [Form::Response, Form::Update].map(product)
            })
            .collect();
        assert_eq!(products("softhebb-cnn3-cifar-quarter/step/10")?, want);
        Ok(())
    }

    /// Errors go back through all layers but the first: 5×5×3 taps for 32 units on 32×32 positions, 8,192 inputs for
    /// 500 units, 500 for 10.
    #[test]
    fn products_of_a_step_by_errors() -> Result<()> {
        let found = products("amit-simpnet/urfb-step/100")?;
        let sizes = |form| -> Vec<(usize, usize, usize)> {
            let of_form = found.iter().filter(|product| product.form == form);
            of_form.map(|product| (product.rows, product.fan_in, product.units)).collect()
        };
        let all = [(102_400, 75, 32), (100, 8_192, 500), (100, 500, 10)];
        assert_eq!(sizes(Form::Response), all);
        assert_eq!(sizes(Form::Update), all);
        assert_eq!(sizes(Form::Back), all[1..]);
        Ok(())
    }

    /// GHL has the size of a change from one product of all rows, and its direction from another; an update by the
    /// gradient is one.
    #[test]
    fn products_of_a_direction() -> Result<()> {
        for (learning, updates) in [("ghl", 2.0), ("bp", 1.0)] {
            let found = products(&format!("deephebb-cifar-quarter-width/{learning}-step/64"))?;
            let operations = |form| -> f64 {
                let of_form = found.iter().filter(|product| product.form == form);
                of_form.map(Product::operations).sum()
            };
            assert_eq!(operations(Form::Update), updates * operations(Form::Response));
            assert!(operations(Form::Back) > 0.0);
        }
        Ok(())
    }

    /// `h = W₁x`, `a = W₂ᵀy`, `ν = Qᵀz` and `Qν`, and an update each of `W₁`, `W₂` and `Q`, for 256 units with 784
    /// inputs and 10 classes.
    #[test]
    fn products_of_a_circuit() -> Result<()> {
        let found = products("golkar-mnist-256/step/1")?;
        let want = 2.0 * 256.0 * (2.0 * 784.0 + 2.0 * 10.0 + 3.0 * 256.0);
        assert_eq!(found.iter().map(Product::operations).sum::<f64>(), want);
        assert_eq!(found.len(), 7);
        Ok(())
    }

    /// An untied layer does as many multiplications, at 256 places with weights of their own.
    #[test]
    fn an_untied_layer_does_as_much() -> Result<()> {
        let operations =
            |name| -> Result<f64> { Ok(products(name)?.iter().map(Product::operations).sum()) };
        // Response, update and error: 100 images of 256 positions, 288 taps, 32 units.
        let want = 3.0 * 2.0 * 100.0 * 256.0 * 288.0 * 32.0;
        assert_eq!(operations("op/tied-layer/100")?, want);
        assert_eq!(operations("op/untied-layer/100")?, want);
        assert_eq!(products("op/untied-layer/100")?[0].sites, 256);
        Ok(())
    }
}
