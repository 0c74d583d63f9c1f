//! Stacks: the output of a block is compared with the ops put together here, learning with the pieces of the library,
//! and all that must not change with its earlier state.

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::feedback::{Learning, Pairing, Source};
use candle_hebbian::ops::{
    BatchNorm, Dropout, Edge, Pool, Ties, ramp, repu, standardise, triangle,
};
use candle_hebbian::{
    Activation, AdaptiveThreshold, Bcm, BlockConfig, Competition, Conv2dConfig, Excitation,
    FeedbackConfig, FeedbackLayer, Geometry, Hebb, InitConfig, KWta, Layer, LayerConfig, Learner,
    Norm, Oja, PaddingMode, Response, Rng, RowMap, Rule, SoftHebb, SoftWta, Stack, State, Steps,
    Synapses, Update, seeded,
};
use candle_nn::{AdamW, Optimizer, SGD, VarMap};
use std::sync::Arc;

const CPU: &Device = &Device::Cpu;

const URFB: FeedbackConfig =
    FeedbackConfig { source: Source::Own, learning: Learning::LikeWeights { rate: 1.0 } };

type Config = BlockConfig<KWta>;

fn conv(units: usize, kernel: usize) -> Config {
    let window = Conv2dConfig { padding: kernel / 2, ..Default::default() };
    let layer = Some(LayerConfig::Conv2d { units, kernel, window });
    Config { layer, competition: Some(KWta::binary(2)), ..Default::default() }
}

fn dense(units: usize) -> Config {
    let layer = Some(LayerConfig::Dense { units });
    Config { layer, competition: Some(KWta::binary(2)), ..Default::default() }
}

fn max(kernel: usize) -> Option<Pool> {
    Some(Pool::Max { kernel, stride: 2, padding: 0 })
}

fn build<C: Competition>(
    blocks: Vec<BlockConfig<C>>,
    input: &[usize],
) -> Result<(Stack<C>, VarMap)> {
    let varmap = VarMap::new();
    let stack = Stack::new(blocks, input, seeded(&varmap, &Rng::new(1), DType::F64, CPU))?;
    Ok((stack, varmap))
}

fn images(seed: u64, shape: &[usize]) -> Result<Tensor> {
    Rng::new(seed).normal(0.0, 1.0, shape, DType::F64, CPU)
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

#[track_caller]
fn near(name: &str, got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!(got.dims(), want.dims(), "{name}");
    let (got, want) = (numbers(got).unwrap(), numbers(want).unwrap());
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= tolerance, "{name}: {got}, expected {want}");
    }
}

fn layer_of<C: Competition>(stack: &Stack<C>, block: usize) -> &Layer {
    stack.blocks()[block].layer().unwrap()
}

type Snapshot = Vec<(String, Vec<f64>)>;

fn snapshot<C: Competition>(stack: &Stack<C>) -> Result<Snapshot> {
    stack.tensors().into_iter().map(|(name, tensor)| Ok((name, numbers(&tensor)?))).collect()
}

fn changed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0.clone()).collect()
}

/// Learners for each layer, with Oja's rule and plain steps.
fn learners<C: Competition>(stack: &Stack<C>) -> Result<Vec<Option<Learner<Steps>>>> {
    stack.learners(|layer| {
        let steps = Steps::builder(0.01).build([(layer.var()?, layer.dims())])?;
        Ok(Some(Learner::new(Oja, steps)))
    })
}

mod evaluation {
    use super::*;

    /// Activations of images and of vectors, compared with the ops; with and without a graph.
    #[test]
    fn a_block_is_its_ops() -> Result<()> {
        let x = images(2, &[3, 2, 6, 6])?;
        type Want = fn(&Tensor) -> Result<Tensor>;
        let activations: [(Activation, Want); 6] = [
            (Activation::Linear {}, |u| Ok(u.clone())),
            (Activation::Triangle { power: 0.7 }, |u| triangle(u, 0.7, true)),
            (Activation::Repu { power: 1.5 }, |u| repu(u, 1.5)),
            (Activation::Relu {}, |u| u.relu()),
            (Activation::Softmax { scale: 2.0 }, |u| candle_nn::ops::softmax(&(u * 2.0)?, 1)),
            (Activation::Ramp { slope: 0.5 }, |u| ramp(u, 0.5)),
        ];
        for (activation, want) in activations {
            for block in [conv(4, 3), dense(4)] {
                let is_conv = matches!(block.layer, Some(LayerConfig::Conv2d { .. }));
                for pooled in [false, is_conv] {
                    let pool = if pooled { max(2) } else { None };
                    let (stack, _) =
                        build(vec![Config { activation, pool, ..block.clone() }], &[2, 6, 6])?;
                    let input = if is_conv { x.clone() } else { x.flatten_from(1)? };
                    let mut want = want(&layer_of(&stack, 0).forward(&input)?)?;
                    if let Some(pool) = pool {
                        want = pool.forward(&want)?;
                    }
                    let name = format!("{activation:?}, pooled {pooled}");
                    near(&name, &stack.forward(&x)?, &want, 1e-12);
                    near(&name, &stack.features(&x, 1)?, &want, 1e-12);
                    assert_eq!(stack.output(), &want.dims()[1..], "{name}");
                }
            }
        }
        Ok(())
    }

    /// Norm, excitation and residual act in the documented order.
    #[test]
    fn norm_excitation_and_residual() -> Result<()> {
        let x = images(3, &[4, 3, 5, 5])?;
        let block = Config {
            norm: Some(Norm::Standardise { epsilon: 0.1 }),
            excitation: Excitation::Triangle {},
            activation: Activation::Repu { power: 2.0 },
            residual: true,
            pool: Some(Pool::Avg { kernel: 5, stride: 1, padding: 0 }),
            ..conv(3, 3)
        };
        let (stack, _) = build(vec![block], &[3, 5, 5])?;
        let u = layer_of(&stack, 0).forward(&standardise(&x, 0.1)?)?;
        let want = (&x + triangle(&u, 1.0, true)?.sqr()?)?.mean_keepdim((2, 3))?;
        near("forward", &stack.forward(&x)?, &want, 1e-12);
        near("features", &stack.features(&x, 1)?, &want, 1e-12);

        let block = Config { norm: Some(Norm::BatchNorm {}), ..dense(4) };
        let (stack, _) = build(vec![block], &[3, 5, 5])?;
        let norm = stack.blocks()[0].batch_norm().expect("a batch norm");
        let (mean, var) =
            (Tensor::new(&[1f64, 2.0, 3.0], CPU)?, Tensor::new(&[4f64, 1.0, 9.0], CPU)?);
        norm.set_running(&mean, &var)?;
        let by_hand = BatchNorm::new(3, DType::F64, CPU)?;
        by_hand.set_running(&mean, &var)?;
        let want = layer_of(&stack, 0).forward(&by_hand.forward(&x)?.flatten_from(1)?)?;
        near("batch norm", &stack.forward(&x)?, &want, 1e-12);
        near("batch norm", &stack.features(&x, 1)?, &want, 1e-12);
        Ok(())
    }

    /// `u − θ` competes and is passed on; winners are those of the competition, with groups and at each position.
    #[test]
    fn thresholds_and_winners() -> Result<()> {
        let window = Conv2dConfig { groups: 2, ..Default::default() };
        let grouped = LayerConfig::Conv2d { units: 6, kernel: 2, window };
        let window = Conv2dConfig::default();
        let untied = LayerConfig::LocallyConnected2d { units: 4, kernel: 2, window };
        let shared = LayerConfig::Conv2d { units: 4, kernel: 3, window };
        let x = images(4, &[3, 4, 5, 4])?;
        for layer in [grouped, untied, shared, LayerConfig::Dense { units: 5 }] {
            for activation in [Activation::Winners {}, Activation::Linear {}] {
                let block = Config {
                    layer: Some(layer),
                    excitation: Excitation::Threshold { rate: 1.0, target: 0.3 },
                    competition: Some(KWta::graded(2)),
                    activation,
                    ..Default::default()
                };
                let (stack, _) = build(vec![block], &[4, 5, 4])?;
                let weights = layer_of(&stack, 0);
                let dims = weights.dims();
                let threshold = stack.blocks()[0].threshold().expect("thresholds");
                let theta = images(5, &[dims.sites, dims.units])?;
                threshold.set(&theta)?;
                let input = match layer {
                    LayerConfig::Dense { .. } => x.flatten_from(1)?,
                    _ => x.clone(),
                };
                let response = weights.response(&input)?;
                let excess = response.u().broadcast_sub(&theta.unsqueeze(1)?)?;
                let want = match activation {
                    Activation::Winners {} => KWta::graded(2).compete(&excess)?,
                    _ => excess,
                };
                let want = response.fold(&want)?;
                let name = format!("{layer:?} {activation:?}");
                near(&name, &stack.forward(&x)?, &want, 1e-12);
                near(&name, &stack.features(&x, 1)?, &want, 1e-12);
            }
        }
        Ok(())
    }

    /// Without the response, the activity is the same, while learning and in evaluation.
    #[test]
    fn an_activity_without_its_response() -> Result<()> {
        let units = 4;
        let window = Conv2dConfig { groups: 2, ..Default::default() };
        let layers = [
            LayerConfig::Conv2d { units, kernel: 2, window },
            LayerConfig::LocallyConnected2d { units, kernel: 2, window: Conv2dConfig::default() },
            LayerConfig::Conv2d { units, kernel: 3, window: Conv2dConfig::default() },
            LayerConfig::Dense { units },
        ];
        let threshold = Excitation::Threshold { rate: 1.0, target: 0.3 };
        let (x, thetas) = (images(4, &[3, 2, 6, 6])?, images(5, &[25, units])?);
        for (layer, norm) in layers.into_iter().zip([true, false, true, true]) {
            for excitation in [threshold, Excitation::Triangle {}, Excitation::Linear {}] {
                for mapped in [false, true] {
                    let block = Config {
                        norm: norm.then_some(Norm::BatchNorm {}),
                        layer: Some(layer),
                        excitation,
                        competition: Some(KWta::graded(1)),
                        activation: Activation::Repu { power: 2.0 },
                        learning_activation: Some(Activation::Winners {}),
                        pool: max(2).filter(|_| !matches!(layer, LayerConfig::Dense { .. })),
                        ..Default::default()
                    };
                    let (mut stack, _) = build(vec![block], &[2, 6, 6])?;
                    if mapped {
                        stack.blocks_mut()[0].set_rows(Arc::new(Doubled));
                    }
                    let (block, dims) = (&stack.blocks()[0], layer_of(&stack, 0).dims());
                    if let Some(threshold) = block.threshold() {
                        let theta = thetas.narrow(0, 0, dims.sites)?.narrow(1, 0, dims.units)?;
                        threshold.set(&theta)?;
                    }
                    for training in [false, true] {
                        let name = format!("{layer:?} {excitation:?} {mapped} {training}");
                        let (_, want) = block.respond(&x, training)?;
                        let found = block.activity(&x, training)?;
                        near(&name, &found.u, &want.u, 1e-12);
                        near(&name, &found.post, &want.post, 1e-12);
                        near(&name, &found.unpooled, &want.unpooled, 1e-12);
                        near(&name, &found.output, &want.output, 1e-12);
                    }
                }
            }
        }
        let without = Config { pool: max(2), ..Default::default() };
        let (stack, _) = build(vec![without], &[2, 6, 6])?;
        let error = stack.blocks()[0].activity(&x, false).unwrap_err().to_string();
        assert!(error.contains("without a layer"), "{error}");
        Ok(())
    }

    #[derive(Debug)]
    struct Doubled;

    impl RowMap for Doubled {
        fn map(&self, rows: &Tensor) -> Result<Tensor> {
            rows * 2.0
        }
    }

    #[test]
    fn rows_are_mapped() -> Result<()> {
        let x = images(6, &[2, 1, 4, 4])?;
        let (mut stack, _) = build(vec![conv(3, 3)], &[1, 4, 4])?;
        let want = (stack.forward(&x)? * 2.0)?;
        let rows = stack.blocks()[0].unfold(&x)?;
        stack.blocks_mut()[0].set_rows(Arc::new(Doubled));
        near("forward", &stack.forward(&x)?, &want, 1e-12);
        near("features", &stack.features(&x, 1)?, &want, 1e-12);
        let (response, _) = stack.blocks()[0].respond(&x, false)?;
        near("rows", response.pre()?, &(rows * 2.0)?, 0.0);
        Ok(())
    }

    /// Cuts the second half of the inputs off.
    #[derive(Debug)]
    struct Halved;

    impl RowMap for Halved {
        fn map(&self, rows: &Tensor) -> Result<Tensor> {
            rows.narrow(2, 0, rows.dim(2)? / 2)
        }
    }

    /// The kernel (3, 2, 3, 3) of three units with 18 inputs would also be one of six units with nine.
    #[test]
    fn mapped_rows_keep_their_inputs() -> Result<()> {
        let x = images(6, &[2, 2, 4, 4])?;
        let (mut stack, _) = build(vec![conv(3, 3)], &[2, 4, 4])?;
        stack.blocks_mut()[0].set_rows(Arc::new(Halved));
        for refused in [
            stack.forward(&x).map(drop),
            stack.forward_train(&x, &mut Rng::new(0)).map(drop),
            stack.features(&x, 1).map(drop),
            stack.excitation(0, &x).map(drop),
            stack.adapt(&x).map(drop),
        ] {
            let error = refused.expect_err("another number of inputs").to_string();
            assert!(error.contains("rows (1, P, 18)") && error.contains("[1, 32, 9]"), "{error}");
        }
        Ok(())
    }

    /// The channels of a sample are its first dimension, however many dimensions it has, in a pass with a graph and
    /// without: only images are turned on the way.
    #[test]
    fn channels_are_the_first_dimension() -> Result<()> {
        let activation = Activation::Triangle { power: 1.0 };
        for shape in [&[5][..], &[3, 4], &[3, 4, 2], &[3, 4, 2, 2]] {
            let block = Config { activation, ..Default::default() };
            let (stack, _) = build(vec![block], shape)?;
            let x = images(6, &[&[2][..], shape].concat())?;
            let want = x.broadcast_sub(&x.mean_keepdim(1)?)?.relu()?;
            near("forward", &stack.forward(&x)?, &want, 1e-12);
            near("training", &stack.forward_train(&x, &mut Rng::new(0))?, &want, 1e-12);
            near("features", &stack.features(&x, 1)?, &want, 1e-12);
        }
        Ok(())
    }

    /// Blocks without a layer pool and activate; `features` returns the output of any number of blocks.
    #[test]
    fn blocks_without_a_layer() -> Result<()> {
        let pool = Config { pool: max(2), ..Default::default() };
        let relu = Config { activation: Activation::Relu {}, ..Default::default() };
        let (stack, varmap) = build(vec![pool, conv(3, 3), relu, dense(2)], &[1, 6, 6])?;
        let x = images(7, &[2, 1, 6, 6])?;
        let pooled = max(2).expect("a pool").forward(&x)?;
        let response = layer_of(&stack, 1).forward(&pooled)?;
        let steps = [x.clone(), pooled, response.clone(), response.relu()?];
        for (count, want) in steps.iter().enumerate() {
            near(&format!("{count}"), &stack.features(&x, count)?, want, 1e-12);
        }
        let want = layer_of(&stack, 3).forward(&response.relu()?.flatten_from(1)?)?;
        near("all", &stack.forward(&x)?, &want, 1e-12);
        let names: Vec<String> = stack.tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["layers.0.weight", "layers.1.weight"], "blocks with tensors count");
        assert_eq!(varmap.all_vars().len(), 2);
        let error = stack.features(&x, 5).unwrap_err().to_string();
        assert!(error.contains("5 blocks") && error.contains("has 4"), "{error}");
        Ok(())
    }
}

mod back_propagation {
    use super::*;

    /// With channels last, a network is the same function as its layers one after the other, with the same gradients:
    /// with ramps after maxima, a residual sum, and dropout with the same masks.
    #[test]
    fn channels_last_is_the_same_function() -> Result<()> {
        let activation = Activation::Ramp { slope: 0.5 };
        let same = Pool::MaxSame { kernel: 3, stride: 2, edge: Edge::Zeros, ties: Ties::All };
        let average = Pool::Avg { kernel: 2, stride: 1, padding: 0 };
        let blocks = vec![
            Config { activation, pool: Some(same), dropout: 0.3, ..conv(4, 3) },
            Config { activation, residual: true, pool: Some(average), ..conv(4, 3) },
            Config { activation, dropout: 0.2, ..dense(6) },
            dense(3),
        ];
        let (stack, varmap) = build(blocks, &[2, 6, 6])?;
        let x = Var::from_tensor(&images(8, &[5, 2, 6, 6])?)?;
        let by_hand = |rng: Option<&mut Rng>| -> Result<Tensor> {
            let mut rng = rng;
            let mut drop = |x: Tensor, p: f64| match &mut rng {
                Some(rng) => Dropout::new(p)?.apply(&x, rng),
                None => Ok(x),
            };
            let layer = |at| layer_of(&stack, at);
            let h = same.forward(&ramp(&layer(0).forward(&x)?, 0.5)?)?;
            // A mask is drawn sample by sample in the order of memory.
            let h = drop(h.permute((0, 2, 3, 1))?.contiguous()?, 0.3)?.permute((0, 3, 1, 2))?;
            let h = average.forward(&(&h + ramp(&layer(1).forward(&h)?, 0.5)?)?)?;
            let h = ramp(&layer(2).forward(&h.flatten_from(1)?)?, 0.5)?;
            layer(3).forward(&drop(h, 0.2)?)
        };
        let mut vars = varmap.all_vars();
        vars.push(x.clone());
        for training in [false, true] {
            let (mut rng, mut same_rng) = (Rng::new(3), Rng::new(3));
            let (got, want) = match training {
                true => (stack.forward_train(&x, &mut rng)?, by_hand(Some(&mut same_rng))?),
                false => (stack.forward(&x)?, by_hand(None)?),
            };
            near("output", &got, &want, 1e-12);
            let upstream = images(9, got.dims())?;
            let grads = |out: &Tensor| (out * &upstream)?.sum_all()?.backward();
            let (got, want) = (grads(&got)?, grads(&want)?);
            for var in &vars {
                let (got, want) = (got.get(var).expect("ours"), want.get(var).expect("by hand"));
                near("gradient", got, want, 1e-12);
            }
        }
        Ok(())
    }

    /// A network that ends in images returns them as `(B, K, H, W)`.
    #[test]
    fn images_come_out_channels_first() -> Result<()> {
        let (stack, _) = build(vec![conv(4, 3)], &[2, 6, 5])?;
        let x = images(8, &[1, 2, 6, 5])?;
        assert_eq!(stack.forward(&x)?.dims(), [1, 4, 6, 5]);
        near("u", &stack.forward(&x)?, &layer_of(&stack, 0).forward(&x)?, 1e-12);
        Ok(())
    }

    /// Batch norm uses the statistics of the batch and updates its own; AdamW over the `VarMap` trains.
    #[test]
    fn training_moves_statistics_and_weights() -> Result<()> {
        let norm = Some(Norm::BatchNorm {});
        let activation = Activation::Triangle { power: 1.0 };
        let blocks = vec![Config { norm, activation, ..conv(3, 3) }, Config { norm, ..dense(2) }];
        let (stack, varmap) = build(blocks, &[1, 4, 4])?;
        let x = images(10, &[6, 1, 4, 4])?;
        let (one, two) = (BatchNorm::new(1, DType::F64, CPU)?, BatchNorm::new(3, DType::F64, CPU)?);
        let h = triangle(&layer_of(&stack, 0).forward(&one.forward_train(&x)?)?, 1.0, true)?;
        let want = layer_of(&stack, 1).forward(&two.forward_train(&h)?.flatten_from(1)?)?;
        let before = snapshot(&stack)?;
        let out = stack.forward_train(&x, &mut Rng::new(0))?;
        near("output", &out, &want, 1e-12);
        let after = snapshot(&stack)?;
        let statistics = ["0.running_mean", "0.running_var", "1.running_mean", "1.running_var"];
        assert_eq!(changed(&before, &after), statistics.map(|name| format!("layers.{name}")));
        for (block, want) in stack.blocks().iter().zip([&one, &two]) {
            let found = block.batch_norm().expect("a norm");
            near("mean", found.running_mean(), want.running_mean(), 1e-12);
            near("variance", found.running_var(), want.running_var(), 1e-12);
        }
        let loss = out.sqr()?.mean_all()?;
        AdamW::new_lr(varmap.all_vars(), 0.01)?.backward_step(&loss)?;
        let moved = changed(&after, &snapshot(&stack)?);
        assert_eq!(moved, ["layers.0.weight", "layers.1.weight"]);
        Ok(())
    }
}

mod feedback {
    use super::*;
    use candle_nn::VarBuilder;

    #[track_caller]
    fn says(result: Result<()>, words: &[&str]) {
        let error = result.expect_err("accepted").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
    }

    fn layer(stack: &Stack<KWta>, block: usize) -> &FeedbackLayer {
        stack.blocks()[block].feedback_layer().unwrap()
    }

    fn draw(seed: u64, shape: &[usize]) -> Result<Tensor> {
        images(seed, shape)
    }

    /// With channels last (ramps) and first (relu), in evaluation and in training: the gradients are
    /// those of the same layers one after the other.
    #[test]
    fn errors_go_back_through_feedback_weights() -> Result<()> {
        for activation in [Activation::Ramp { slope: 0.5 }, Activation::Relu {}] {
            let blocks = vec![
                Config { activation, feedback: URFB, pool: max(2), ..conv(4, 3) },
                Config { activation, feedback: URFB, residual: true, ..conv(4, 3) },
                Config { feedback: URFB, ..dense(3) },
            ];
            let (stack, varmap) = build(blocks, &[2, 6, 6])?;
            let x = Var::from_tensor(&images(20, &[4, 2, 6, 6])?)?;
            let active = |u: Tensor| match activation {
                Activation::Ramp { slope } => ramp(&u, slope),
                _ => repu(&u, 1.0),
            };
            let h = max(2).expect("a pool").forward(&active(layer(&stack, 0).forward(&x)?)?)?;
            let h = (&h + active(layer(&stack, 1).forward(&h)?)?)?;
            let want = layer(&stack, 2).forward(&h.flatten_from(1)?)?;
            let upstream = images(21, want.dims())?;
            let grads = |out: &Tensor| (out * &upstream)?.sum_all()?.backward();
            let by_hand = grads(&want)?;
            let names: Vec<String> = stack.tensors().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), 6);
            assert!(names.contains(&"layers.2.feedback".to_string()));
            assert_eq!(varmap.all_vars().len(), 6);
            for out in [stack.forward(&x)?, stack.forward_train(&x, &mut Rng::new(0))?] {
                near("output", &out, &want, 1e-12);
                let ours = grads(&out)?;
                near("x", ours.get(&x).expect("ours"), by_hand.get(&x).expect("theirs"), 1e-12);
                for at in 0..3 {
                    let (layer, name) = (layer(&stack, at), format!("layer {at}"));
                    let weight = (ours.get(layer.weight()), by_hand.get(layer.weight()));
                    near(&name, weight.0.expect("ours"), weight.1.expect("theirs"), 1e-12);
                    let of_r = |grads| layer.feedback_gradient(grads);
                    let (ours, theirs) = (of_r(&ours)?, of_r(&by_hand)?);
                    near(&name, &ours.expect("ours"), &theirs.expect("theirs"), 1e-12);
                }
            }
        }
        Ok(())
    }

    /// `δ₂ = e`, `δ₁ = (e·K) ⊙ σ'` with `K` the feedback weights or, for back-propagation, the weights; the gradient of
    /// a layer is `δᵀ` times its input.
    #[test]
    fn the_errors_and_gradients_of_layers() -> Result<()> {
        let activation = Activation::Ramp { slope: 0.5 };
        let blocks = vec![Config { activation, ..dense(5) }, Config { feedback: URFB, ..dense(3) }];
        let (stack, _) = build(blocks, &[4])?;
        let (x, e) = (images(22, &[6, 4])?, images(23, &[6, 3])?);
        let u = x.matmul(&layer(&stack, 0).weight().detach().t()?)?;
        let slope = (u.abs()?.lt(2.0)?.to_dtype(DType::F64)? * 0.5)?;
        let (w, r) = (layer(&stack, 1).weight(), layer(&stack, 1).feedback().expect("R"));
        for (backprop, k) in [(false, r), (true, w)] {
            let errors = stack.errors(&x, backprop, |out| (out * &e)?.sum_all())?;
            let delta = (e.matmul(&k.detach())? * &slope)?;
            near("δ₂", &errors[1], &e, 1e-12);
            near("δ₁", &errors[0], &delta, 1e-12);
            let gradients = stack.gradients(&x, backprop, |out| (out * &e)?.sum_all())?;
            let hidden = stack.maps(&x)?[0].clone();
            near("G₂", &gradients[1], &e.t()?.matmul(&hidden)?, 1e-12);
            near("G₁", &gradients[0], &delta.t()?.matmul(&x)?, 1e-12);
        }
        // The errors of images have the shape of the response too.
        let blocks = vec![Config { activation, pool: max(2), ..conv(4, 3) }, dense(3)];
        let (stack, _) = build(blocks, &[2, 6, 4])?;
        let errors =
            stack.errors(&images(24, &[6, 2, 6, 4])?, false, |out| (out * &e)?.sum_all())?;
        assert_eq!((errors[0].dims(), errors[1].dims()), (&[6, 4, 6, 4][..], &[6, 3][..]));
        // Weights that are no variables have no gradient.
        let frozen = stack.tensors().into_iter().collect();
        let vb = candle_nn::VarBuilder::from_tensors(frozen, DType::F64, CPU);
        let blocks = vec![Config { activation, pool: max(2), ..conv(4, 3) }, dense(3)];
        let stack = Stack::new(blocks, &[2, 6, 4], vb)?;
        let gradients = stack.gradients(&images(24, &[6, 2, 6, 4])?, false, |out| out.sum_all())?;
        assert_eq!(gradients.len(), 2);
        for (gradient, shape) in gradients.iter().zip([&[4, 2, 3, 3][..], &[3, 24][..]]) {
            near("0", gradient, &Tensor::zeros(shape, DType::F64, CPU)?, 0.0);
        }
        Ok(())
    }

    /// The activity gets the error of the output through `B` and none from above, unless back-propagation is asked for.
    #[test]
    fn direct_feedback_passes_the_layers_above() -> Result<()> {
        let activation = Activation::Ramp { slope: 0.5 };
        let (mut stack, _) =
            build(vec![Config { activation, ..dense(5) }, dense(4), dense(3)], &[4])?;
        let b = draw(25, &[3, 5])?;
        stack.blocks_mut()[0].set_direct(b.clone())?;
        let (x, e) = (images(26, &[6, 4])?, images(27, &[6, 3])?);
        let u = x.matmul(&layer(&stack, 0).weight().detach().t()?)?;
        let slope = (u.abs()?.lt(2.0)?.to_dtype(DType::F64)? * 0.5)?;
        let loss = |out: &Tensor| (out * &e)?.sum_all();
        let delta = (e.matmul(&b)? * &slope)?;
        let grads = loss(&stack.forward(&x)?)?.backward()?;
        let weight = |at| layer(&stack, at).weight();
        near("w", grads.get(weight(0)).expect("w"), &delta.t()?.matmul(&x)?, 1e-12);
        near("δ", &stack.errors(&x, false, loss)?[0], &delta, 1e-12);
        let above = e.matmul(&weight(2).detach())?.matmul(&weight(1).detach())?;
        near("δ by back-propagation", &stack.errors(&x, true, loss)?[0], &(above * slope)?, 1e-12);
        assert_eq!(stack.tensors()[1].0, "layers.0.feedback");
        near("B", &stack.tensors()[1].1, &b, 0.0);
        Ok(())
    }

    /// Where no variable needs an error, none is sent: frozen weights can be evaluated. So can an empty batch.
    #[test]
    fn direct_feedback_in_evaluation() -> Result<()> {
        let blocks = vec![dense(5), dense(3)];
        let (mut stack, _) = build(blocks.clone(), &[4])?;
        let tensors = stack.tensors().into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F64, CPU);
        let mut frozen = Stack::new(blocks, &[4], vb)?;
        let x = images(35, &[6, 4])?;
        let expected = stack.forward(&x)?;
        for stack in [&mut stack, &mut frozen] {
            stack.blocks_mut()[0].set_direct(draw(25, &[3, 5])?)?;
            near("output", &stack.forward(&x)?, &expected, 0.0);
            assert_eq!(stack.forward(&x.narrow(0, 0, 0)?)?.dims(), [0, 3]);
        }
        // Nor in training. What is above frozen weights learns: the gradient of the last layer is `eᵀ·h`.
        near("trained", &frozen.forward_train(&x, &mut Rng::new(0))?, &expected, 0.0);
        let below = Layer::new(layer(&stack, 0).weight().detach(), Geometry::Dense)?;
        let below = FeedbackLayer::new(below, None, FeedbackConfig::default())?;
        stack.blocks_mut()[0].set_layer(below)?;
        let (e, hidden) = (images(27, &[6, 3])?, stack.features(&x, 1)?);
        let out = stack.forward_train(&x, &mut Rng::new(0))?;
        let grads = (out * &e)?.sum_all()?.backward()?;
        let gradient = grads.get(layer(&stack, 1).weight()).expect("a gradient");
        near("G", gradient, &e.t()?.matmul(&hidden)?, 1e-12);
        Ok(())
    }

    /// Weights of another type are refused at once; without that, the backward pass would be the first to fail. Weights
    /// for another number of outputs are refused in the forward pass.
    #[test]
    fn direct_feedback_that_does_not_fit() -> Result<()> {
        let (mut stack, _) = build(vec![dense(5), dense(3)], &[4])?;
        let single = draw(25, &[3, 5])?.to_dtype(DType::F32)?;
        says(stack.blocks_mut()[0].set_direct(single), &["F32", "F64", "expected the same"]);
        stack.blocks_mut()[0].set_direct(draw(25, &[4, 5])?)?;
        says(stack.forward(&images(26, &[6, 4])?).map(drop), &["[4, 5]", "(3, 5)"]);
        Ok(())
    }

    /// A checkpoint has one place for feedback weights.
    #[test]
    fn a_block_has_one_kind_of_feedback_weights() -> Result<()> {
        let own = FeedbackLayer::from_tensors(
            &draw(36, &[5, 4])?,
            Some(&draw(37, &[5, 4])?),
            Geometry::Dense,
            URFB,
        )?;
        let (mut stack, _) = build(vec![dense(5), Config { feedback: URFB, ..dense(3) }], &[4])?;
        let blocks = stack.blocks_mut();
        says(blocks[1].set_direct(draw(38, &[3, 3])?), &["one block", "different blocks"]);
        blocks[0].set_direct(draw(38, &[3, 5])?)?;
        says(blocks[0].set_layer(own), &["one block", "different blocks"]);
        // What is restored has to fit, like what is set. If one tensor does not, none is changed.
        let before = snapshot(&stack)?;
        let restored = stack.restore(|name, shape| match name {
            "layers.1.feedback" => draw(39, &[5, 3]),
            _ => draw(39, shape),
        });
        says(restored, &["layers.1.feedback", "[5, 3]", "[3, 5]"]);
        assert_eq!(snapshot(&stack)?, before);
        Ok(())
    }

    /// Direct feedback reaches the activity before the pool, so the ramp comes before the pool: the error at a unit
    /// that is not saturated is half of what `B` sends, whether the unit is the largest of its window or not.
    #[test]
    fn direct_feedback_before_a_pool() -> Result<()> {
        let activation = Activation::Ramp { slope: 0.5 };
        let block = Config { activation, pool: max(2), ..conv(4, 3) };
        let (mut stack, _) = build(vec![block, dense(3)], &[2, 6, 4])?;
        let b = draw(35, &[3, 6 * 4 * 4])?;
        stack.blocks_mut()[0].set_direct(b.clone())?;
        let (x, e) = (images(36, &[5, 2, 6, 4])?, images(37, &[5, 3])?);
        let u = layer(&stack, 0).forward(&x)?.detach();
        let slope = (u.abs()?.lt(2.0)?.to_dtype(DType::F64)? * 0.5)?;
        let sent = e.matmul(&b)?.reshape((5, 6, 4, 4))?.permute((0, 3, 1, 2))?;
        let errors = stack.errors(&x, false, |out| (out * &e)?.sum_all())?;
        near("δ", &errors[0], &(sent * slope)?, 1e-12);
        Ok(())
    }

    /// A weight that momentum moved, but that has no connection, is not used: by any way in which a block responds, nor
    /// by the error that goes back.
    #[test]
    fn missing_connections_are_missing_everywhere() -> Result<()> {
        let window = Conv2dConfig::default();
        let conv = Config {
            layer: Some(LayerConfig::Conv2d { units: 1, kernel: 1, window }),
            competition: None,
            ..Config::default()
        };
        for (block, shape) in
            [(Config { competition: None, ..dense(1) }, &[2][..]), (conv, &[2, 1, 1])]
        {
            let (mut stack, _) = build(vec![block], shape)?;
            let weight_shape = layer(&stack, 0).weight().shape().clone();
            let mask = Tensor::new(&[1f64, 0.0], CPU)?.reshape(&weight_shape)?;
            let mut made = layer(&stack, 0).clone();
            made.set_masks(Some(mask), None)?;
            made.var()?.set(&Tensor::new(&[2f64, 5.0], CPU)?.reshape(&weight_shape)?)?;
            stack.blocks_mut()[0].set_layer(made)?;
            let x = Var::ones([&[1], shape].concat(), DType::F64, CPU)?;
            for (name, output) in [
                ("forward", stack.forward(&x)?),
                ("training", stack.forward_train(&x, &mut Rng::new(0))?),
                ("features", stack.features(&x, 1)?),
                ("excitation", stack.excitation(0, &x)?),
                ("respond", stack.blocks()[0].respond(&x, false)?.1.output),
                ("activity", stack.blocks()[0].activity(&x, false)?.output),
                ("adapt", stack.adapt(&x)?.0),
            ] {
                assert_eq!(numbers(&output)?, [2.0], "{name} {shape:?}");
                assert!(output.track_op() || !["forward", "training", "features"].contains(&name));
                if output.track_op() {
                    let grads = output.sum_all()?.backward()?;
                    assert_eq!(numbers(grads.get(&x).expect("x"))?, [2.0, 0.0], "{name}");
                }
            }
            for backprop in [false, true] {
                let gradients = stack.gradients(&x, backprop, |out| out.sum_all())?;
                assert_eq!(numbers(&gradients[0])?, [1.0, 0.0]);
            }
        }
        Ok(())
    }

    /// Whether images pass through with channels last (ramp) or first (standardised), `B` counts the features of a map
    /// in the order (H, W, K).
    #[test]
    fn direct_feedback_of_a_map() -> Result<()> {
        let standard = Some(Norm::Standardise { epsilon: 1e-10 });
        for (norm, activation) in
            [(None, Activation::Ramp { slope: 0.5 }), (standard, Activation::Relu {})]
        {
            let (mut stack, _) =
                build(vec![Config { norm, activation, ..conv(4, 3) }, dense(3)], &[2, 5, 3])?;
            let b = draw(32, &[3, 5 * 3 * 4])?;
            stack.blocks_mut()[0].set_direct(b.clone())?;
            let (x, e) = (images(33, &[6, 2, 5, 3])?, images(34, &[6, 3])?);
            let input = if norm.is_some() { standardise(&x, 1e-10)? } else { x.clone() };
            let u = layer(&stack, 0).forward(&input)?.detach();
            let slope = match activation {
                Activation::Ramp { slope } => (u.abs()?.lt(2.0)?.to_dtype(DType::F64)? * slope)?,
                _ => u.gt(0.0)?.to_dtype(DType::F64)?,
            };
            let sent = e.matmul(&b)?.reshape((6, 5, 3, 4))?.permute((0, 3, 1, 2))?;
            let errors = stack.errors(&x, false, |out| (out * &e)?.sum_all())?;
            near("δ", &errors[0], &(sent * slope)?, 1e-12);
        }
        Ok(())
    }

    /// Training through a graph, whose images have channels last and whose blocks are single nodes, equals the ops put
    /// together here: outputs, gradients of the weights and of the input, and running statistics.
    #[test]
    fn training_is_its_ops() -> Result<()> {
        let norm = Some(Norm::BatchNorm {});
        let average = Some(Pool::Avg { kernel: 2, stride: 2, padding: 0 });
        let blocks = vec![
            Config { norm, activation: Activation::Relu {}, pool: max(2), ..conv(8, 3) },
            Config {
                norm,
                activation: Activation::Repu { power: 1.5 },
                residual: true,
                ..conv(8, 3)
            },
            Config {
                activation: Activation::Triangle { power: 0.7 },
                pool: average,
                ..conv(16, 3)
            },
            Config { activation: Activation::Ramp { slope: 0.5 }, residual: true, ..conv(16, 3) },
            Config { norm, ..Default::default() },
            Config { activation: Activation::Relu {}, ..dense(5) },
        ];
        let (stack, varmap) = build(blocks.clone(), &[2, 12, 8])?;
        let x = Var::from_tensor(&images(41, &[6, 2, 12, 8])?)?;
        let delta = images(42, &[6, 5])?;
        let norms = [2, 8, 16].map(|channels| BatchNorm::new(channels, DType::F64, CPU).unwrap());
        let mut statistics = norms.iter();
        let mut want = x.as_tensor().clone();
        for (at, config) in blocks.iter().enumerate() {
            let below = want.clone();
            if config.norm.is_some() {
                want = statistics.next().expect("a norm").forward_train(&want)?;
            }
            if config.layer.is_some() {
                let input = if at == 5 { want.flatten_from(1)? } else { want };
                want = layer(&stack, at).forward(&input)?;
            }
            want = match config.activation {
                Activation::Relu {} => want.relu()?,
                Activation::Repu { power } => repu(&want, power)?,
                Activation::Triangle { power } => triangle(&want, power, true)?,
                Activation::Ramp { slope } => ramp(&want, slope)?,
                _ => want,
            };
            want = if config.residual { (want + below)? } else { want };
            want = config.pool.map_or(Ok(want.clone()), |pool| pool.forward(&want))?;
        }
        let found = stack.forward_train(&x, &mut Rng::new(0))?;
        near("output", &found, &want, 1e-12);
        let backward = |out: &Tensor| (out * &delta)?.sum_all()?.backward();
        let (found, want) = (backward(&found)?, backward(&want)?);
        for (name, var) in varmap.data().lock().unwrap().iter().chain([(&"x".to_string(), &x)]) {
            match (found.get(var), want.get(var)) {
                (Some(found), Some(want)) => near(name, found, want, 1e-11),
                (None, None) => assert!(name.contains("running"), "{name}"),
                _ => panic!("{name}: one gradient"),
            }
        }
        let own = stack.blocks().iter().filter_map(|block| block.batch_norm());
        for (own, want) in own.zip(&norms) {
            near("running mean", own.running_mean(), want.running_mean(), 1e-13);
            near("running variance", own.running_var(), want.running_var(), 1e-13);
        }
        Ok(())
    }

    /// Layers made elsewhere, with missing connections: the tensors hold all of their state, and `restore` puts it
    /// back.
    #[test]
    fn layers_made_elsewhere() -> Result<()> {
        let thinned = |seed: u64| -> Result<Stack<KWta>> {
            let mut rng = Rng::new(seed);
            let mut draw = |shape: (usize, usize)| rng.normal(0.0, 1.0, shape, DType::F64, CPU);
            let (w, r) = (draw((5, 8))?, draw((5, 8))?);
            let layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, URFB)?;
            let layer = layer.thinned(0.5, Pairing::Independent, &mut rng)?;
            let vb = VarBuilder::zeros(DType::F64, CPU);
            let mut stack = Stack::new(Vec::new(), &[2, 2, 2], vb.clone())?;
            let norm = Some(Norm::BatchNorm {});
            stack.push_layer(Config { norm, ..Default::default() }, layer, &vb)?;
            Ok(stack)
        };
        let (one, mut other) = (thinned(1)?, thinned(2)?);
        let names: Vec<String> = one.tensors().into_iter().map(|(name, _)| name).collect();
        let parts =
            ["weight", "feedback", "weight_mask", "feedback_mask", "running_mean", "running_var"];
        assert_eq!(names, parts.map(|part| format!("layers.0.{part}")));
        assert_ne!(snapshot(&one)?, snapshot(&other)?);
        let saved: std::collections::HashMap<_, _> = one.tensors().into_iter().collect();
        other.restore(|name, _| saved[name].copy())?;
        assert_eq!(snapshot(&one)?, snapshot(&other)?);
        // The masks are the restored ones: missing connections have no gradient.
        let loss = other.forward(&images(28, &[3, 2, 2, 2])?)?.sum_all()?;
        let grads = loss.backward()?;
        let grads = grads.get(layer(&other, 0).weight()).expect("a gradient");
        let missing = saved["layers.0.weight_mask"].affine(-1.0, 1.0)?;
        assert_eq!(crate::largest::largest(&(grads * missing)?)?, 0.0);
        Ok(())
    }

    /// What the second layer refuses, a mask of other values than 0 and 1 or any weights if its own are frozen, is not
    /// restored in the first one either.
    #[test]
    fn a_stack_is_restored_as_a_whole() -> Result<()> {
        let (mut stack, _) = build(vec![dense(3), dense(2)], &[4])?;
        let thinned = layer(&stack, 1).clone().thinned(0.5, Pairing::Mutual, &mut Rng::new(3))?;
        stack.blocks_mut()[1].set_layer(thinned)?;
        let before = snapshot(&stack)?;
        let restored = stack.restore(|name, shape| {
            let value = if name == "layers.1.weight_mask" { 0.5 } else { 7f64 };
            Tensor::full(value, shape, CPU)
        });
        says(restored, &["a mask with 6 entries", "neither 0"]);
        assert_eq!(snapshot(&stack)?, before);

        let frozen = Layer::new(draw(35, &[2, 3])?, Geometry::Dense)?;
        let frozen = FeedbackLayer::new(frozen, None, FeedbackConfig::default())?;
        stack.blocks_mut()[1].set_layer(frozen)?;
        let before = snapshot(&stack)?;
        says(stack.restore(|_, shape| Tensor::full(7f64, shape, CPU)), &["no variable"]);
        assert_eq!(snapshot(&stack)?, before);
        Ok(())
    }

    /// Thresholds stay when a layer is replaced. Those of four units are neither for the sites of an untied layer nor
    /// for two groups of two units, although the outputs have the same shape.
    #[test]
    fn layers_that_do_not_fit_the_thresholds() -> Result<()> {
        let excitation = Excitation::Threshold { rate: 1.0, target: 0.5 };
        let (mut stack, _) = build(vec![Config { excitation, ..conv(4, 1) }], &[2, 3, 3])?;
        let tied = layer(&stack, 0).clone();
        let block = &mut stack.blocks_mut()[0];
        says(block.set_layer(tied.untied((3, 3))?), &["9 sites with 4 units", "[1, 4]"]);
        let groups = Geometry::Conv2d(Conv2dConfig { groups: 2, ..Default::default() });
        let weight = draw(29, &[4, 1, 1, 1])?;
        let grouped =
            FeedbackLayer::from_tensors(&weight, None, groups, FeedbackConfig::default())?;
        says(block.set_layer(grouped), &["2 sites with 2 units", "[1, 4]"]);
        block.set_layer(tied)?;
        stack.adapt(&images(31, &[1, 2, 3, 3])?)?;
        Ok(())
    }

    #[test]
    fn layers_that_do_not_fit() -> Result<()> {
        let vb = VarBuilder::zeros(DType::F64, CPU);
        let plain = |shape: &[usize], geometry| {
            FeedbackLayer::from_tensors(
                &draw(29, shape)?,
                None,
                geometry,
                FeedbackConfig::default(),
            )
        };
        let of_eight = plain(&[5, 8], Geometry::Dense)?;
        let mut stack = Stack::<KWta>::new(Vec::new(), &[2, 3, 3], vb.clone())?;
        says(stack.push_layer(Config::default(), of_eight.clone(), &vb), &["[5, 8]", "fit"]);
        says(stack.push_layer(dense(3), of_eight.clone(), &vb), &["layer of its own"]);
        let untied = Geometry::LocallyConnected2d(Conv2dConfig::default());
        let wrong = plain(&[3, 2, 4, 2, 2, 2], untied)?; // 3 by 2 windows, where there are 2 by 2
        says(stack.push_layer(Config::default(), wrong, &vb), &["[3, 2, 4, 2, 2, 2]", "fit"]);
        stack.push_layer(Config::default(), plain(&[2, 2, 4, 2, 2, 2], untied)?, &vb)?;
        assert_eq!(stack.output(), [4, 2, 2]);
        let block = &mut stack.blocks_mut()[0];
        says(block.set_layer(of_eight), &["[5, 8]", "fit"]);
        says(block.set_layer(plain(&[2, 2, 3, 2, 2, 2], untied)?), &["[3, 2, 2]", "[4, 2, 2]"]);
        says(block.set_direct(draw(30, &[3, 15])?), &["[3, 15]", "16 features"]);
        // A convolution can replace its untied form.
        block.set_layer(plain(&[4, 2, 2, 2], Geometry::Conv2d(Conv2dConfig::default()))?)?;
        assert_eq!(stack.forward(&images(31, &[1, 2, 3, 3])?)?.dims(), [1, 4, 2, 2]);
        Ok(())
    }
}

mod local_learning {
    use super::*;

    fn blocks() -> Vec<Config> {
        let norm = Some(Norm::BatchNorm {});
        let excitation = Excitation::Threshold { rate: 0.5, target: 0.25 };
        vec![
            Config { norm, activation: Activation::Relu {}, pool: max(2), ..conv(8, 3) },
            Config { excitation, activation: Activation::Triangle { power: 1.0 }, ..conv(8, 3) },
            dense(5),
        ]
    }

    /// Each layer sees the output of the block below with its old weights, and takes one step of the rule on it.
    #[test]
    fn all_layers_learn_from_old_weights() -> Result<()> {
        let (stack, _) = build(blocks(), &[2, 8, 8])?;
        let x = images(11, &[4, 2, 8, 8])?;
        let copy = |at| {
            Layer::from_tensor(
                &layer_of(&stack, at).weight().copy()?,
                layer_of(&stack, at).geometry(),
            )
        };
        let layers: Vec<Layer> = (0..3).map(copy).collect::<Result<_>>()?;
        let step = |layer: &Layer, response: &Response, u: &Tensor| -> Result<Tensor> {
            let post = KWta::binary(2).compete(u)?;
            let update = response.with_u(u)?.synapses(&post)?.update(&Oja)?;
            layer.var()?.set(&(layer.weight().detach() + (update * 0.01)?)?)?;
            Ok(post)
        };
        let norm = BatchNorm::new(2, DType::F64, CPU)?;
        let first = layers[0].response(&norm.forward_train(&x)?)?;
        let h = max(2).expect("a pool").forward(&repu(&first.output()?, 1.0)?)?;
        let posts = [step(&layers[0], &first, first.u())?, {
            let second = layers[1].response(&h)?;
            step(&layers[1], &second, second.u())? // the thresholds are 0
        }];
        let threshold = AdaptiveThreshold::new((1, 8), 0.5, 0.25, DType::F64, CPU)?;
        threshold.adapt(&posts[1])?;
        let h =
            triangle(&layer_of(&stack, 1).response(&h)?.output()?, 1.0, true)?.flatten_from(1)?;
        let third = layers[2].response(&h)?;
        step(&layers[2], &third, third.u())?;

        let (out, activities) = stack.learn(&x, &mut learners(&stack)?)?;
        near("output", &out, &third.u().squeeze(0)?, 1e-12);
        near("post", &activities[1].post, &posts[1], 0.0);
        near("handed on", &activities[1].output.flatten_from(1)?, &h, 1e-12);
        for (at, layer) in layers.iter().enumerate() {
            near(&format!("weight {at}"), layer_of(&stack, at).weight(), layer.weight(), 1e-12);
        }
        near("θ", stack.blocks()[1].threshold().expect("θ").values(), threshold.values(), 1e-12);
        near(
            "mean",
            stack.blocks()[0].batch_norm().expect("a norm").running_mean(),
            norm.running_mean(),
            1e-12,
        );
        Ok(())
    }

    /// `excitation` is what competes: the response of a block to the features below it, regardless of feedback. Its
    /// gradient in the image equals central differences, and so goes through the weights, not through feedback, and
    /// includes the mean of a triangle.
    #[test]
    fn excitation_is_what_competes() -> Result<()> {
        let x = images(15, &[3, 2, 8, 8])?;
        let (mut all, direction) = (blocks(), images(16, &[3, 2, 8, 8])?);
        all[0].feedback = URFB;
        let (stack, _) = build(all, &[2, 8, 8])?;
        for index in 0..3 {
            let (response, activity) =
                stack.blocks()[index].respond(&stack.features(&x, index)?, false)?;
            let u = stack.excitation(index, &x)?;
            near("u", &u, &response.fold(&activity.u)?, 1e-12);
            let var = Var::from_tensor(&x)?;
            let sum = |x: &Tensor| stack.excitation(index, x)?.sqr()?.sum_all();
            let gradient = sum(&var)?.backward()?;
            let along = (gradient.get(&var).expect("a gradient") * &direction)?.sum_all()?;
            let at = |h: f64| sum(&(&x + (&direction * h)?)?)?.to_scalar::<f64>();
            let slope = (at(1e-6)? - at(-1e-6)?) / 2e-6;
            let along = along.to_scalar::<f64>()?;
            assert!(
                (along - slope).abs() < 1e-5 * slope.abs().max(1.0),
                "{index}: {along} {slope}"
            );
        }
        let error = stack.excitation(3, &x).unwrap_err().to_string();
        assert!(error.contains("block 3: the stack has 3"), "{error}");
        Ok(())
    }

    /// If images are part of a graph, features have the same values, and their gradient is that of the function itself,
    /// by central differences: it goes through the weights, not through feedback weights, and includes the mean of a
    /// triangle and a standardisation. Images without a graph get none.
    #[test]
    fn features_are_differentiable_in_images_of_a_graph() -> Result<()> {
        let x = images(17, &[3, 2, 8, 8])?;
        let mut all = blocks();
        (all[0].feedback, all[2].feedback) = (URFB, URFB);
        all[1].norm = Some(Norm::Standardise { epsilon: 0.1 });
        let (stack, _) = build(all, &[2, 8, 8])?;
        let square = |x: &Tensor, count: usize| stack.features(x, count)?.sqr()?.sum_all();
        for count in 1..=3 {
            let var = Var::from_tensor(&x)?;
            let (graph, plain) = (stack.features(&var, count)?, stack.features(&x, count)?);
            assert!(graph.track_op() && !plain.track_op());
            assert_eq!(numbers(&graph)?, numbers(&plain)?, "{count}");
            let grads = square(&var, count)?.backward()?;
            let gradient = grads.get(&var).expect("a gradient");
            for seed in 18..21 {
                let direction = images(seed, &[3, 2, 8, 8])?;
                let along = (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?;
                let at = |h: f64| square(&(&x + (&direction * h)?)?, count)?.to_scalar::<f64>();
                let slope = (at(1e-6)? - at(-1e-6)?) / 2e-6;
                assert!(
                    (along - slope).abs() < 1e-5 * slope.abs().max(1.0),
                    "{count}: {along} {slope}"
                );
            }
        }
        Ok(())
    }

    /// A local rule would make the connections that a thinned layer lacks.
    #[test]
    fn thinned_layers_do_not_learn_locally() -> Result<()> {
        let (mut stack, _) = build(vec![dense(4)], &[6])?;
        let layer = stack.blocks()[0].feedback_layer()?.clone();
        let thinned = layer.thinned(0.5, Pairing::Mutual, &mut Rng::new(3))?;
        stack.blocks_mut()[0].set_layer(thinned)?;
        let x = images(4, &[5, 6])?;
        let mut all = learners(&stack)?;
        let message = stack.learn(&x, &mut all).unwrap_err().to_string();
        assert!(message.contains("block 0") && message.contains("thinned"), "{message}");
        let alone = all[0].as_mut().expect("a learner");
        let message = stack.learn_block(0, &x, alone).unwrap_err().to_string();
        assert!(message.contains("block 0") && message.contains("thinned"), "{message}");
        Ok(())
    }

    /// A block that learns alone sees the blocks below in evaluation, and nothing else changes; a layer without a
    /// learner keeps its weights; nothing learns in evaluation.
    #[test]
    fn only_what_is_to_learn_does() -> Result<()> {
        let x = images(12, &[4, 2, 8, 8])?;
        for index in 0..3 {
            let (stack, _) = build(blocks(), &[2, 8, 8])?;
            stack.learn(&images(13, &[4, 2, 8, 8])?, &mut learners(&stack)?)?;
            let before = snapshot(&stack)?;
            let input = stack.features(&x, index)?;
            assert_eq!(numbers(&input)?, numbers(&stack.features(&x, index)?)?);
            stack.forward(&x)?;
            stack.blocks()[index].respond(&input, false)?;
            assert_eq!(changed(&before, &snapshot(&stack)?), [""; 0]);

            let mut learner = learners(&stack)?.swap_remove(index).expect("a learner");
            stack.learn_block(index, &x, &mut learner)?;
            let part = ["running", "threshold", "none"][index];
            let moved = changed(&before, &snapshot(&stack)?);
            let own = |name: &String| {
                name.starts_with(&format!("layers.{index}."))
                    && (name.ends_with("weight") || name.contains(part))
            };
            let all = before.iter().map(|(name, _)| name.clone()).filter(own).collect::<Vec<_>>();
            assert_eq!(moved, all);
        }
        let (stack, _) = build(blocks(), &[2, 8, 8])?;
        let mut some = learners(&stack)?;
        some[0] = None;
        let before = snapshot(&stack)?;
        stack.learn(&x, &mut some)?;
        let moved = changed(&before, &snapshot(&stack)?);
        assert!(
            !moved.contains(&"layers.0.weight".into()) && moved.contains(&"layers.1.weight".into())
        );

        let before = snapshot(&stack)?;
        stack.adapt(&x)?;
        let moved = changed(&before, &snapshot(&stack)?);
        assert_eq!(moved, ["layers.0.running_mean", "layers.0.running_var", "layers.1.threshold"]);
        let before = snapshot(&stack)?;
        stack.calibrate(&x)?;
        let moved = changed(&before, &snapshot(&stack)?);
        assert_eq!(moved, ["layers.0.running_mean", "layers.0.running_var"]);
        Ok(())
    }

    /// While learning, the block passes winners on; in evaluation, ramps.
    #[test]
    fn what_is_handed_on_while_learning() -> Result<()> {
        let activation = Activation::Ramp { slope: 1.0 };
        let learning_activation = Some(Activation::Winners {});
        let block = Config { activation, learning_activation, pool: max(2), ..conv(5, 3) };
        let (stack, _) = build(vec![block], &[1, 6, 6])?;
        let x = images(14, &[2, 1, 6, 6])?;
        let response = layer_of(&stack, 0).response(&x)?;
        let post = KWta::binary(2).compete(response.u())?;
        let (out, activities) = stack.adapt(&x)?;
        near("unpooled", &activities[0].unpooled, &response.fold(&post)?, 0.0);
        near("output", &out, &max(2).expect("a pool").forward(&response.fold(&post)?)?, 0.0);
        let want = max(2).expect("a pool").forward(&ramp(&response.output()?, 1.0)?)?;
        near("evaluation", &stack.features(&x, 1)?, &want, 1e-12);
        Ok(())
    }

    /// Calibration moves the statistics of a block towards those of its input, as the blocks below make it with the
    /// statistics that have moved already.
    #[test]
    fn calibration_goes_from_block_to_block() -> Result<()> {
        let norm = Some(Norm::BatchNorm {});
        let blocks = vec![Config { norm, ..dense(5) }, Config { norm, ..dense(3) }];
        let (stack, _) = build(blocks, &[4])?;
        let x = (images(38, &[6, 4])? * 3.0)?;
        stack.calibrate(&x)?;
        let norms = [0, 1].map(|at| stack.blocks()[at].batch_norm().expect("a norm"));
        // A tenth of the way from mean 0 and variance 1.
        let tenth = |x: &Tensor| -> Result<[Tensor; 2]> {
            let mean = x.mean(0)?;
            let squares = x.broadcast_sub(&mean)?.sqr()?.sum(0)?;
            Ok([(mean * 0.1)?, ((squares / 5.0)? * 0.1)?.affine(1.0, 0.9)?])
        };
        let [mean, var] = tenth(&x)?;
        near("mean", norms[0].running_mean(), &mean, 1e-12);
        near("variance", norms[0].running_var(), &var, 1e-12);
        let seen = norms[0].forward(&x)?;
        let [mean, var] = tenth(&seen.matmul(&layer_of(&stack, 0).weight().detach().t()?)?)?;
        near("mean", norms[1].running_mean(), &mean, 1e-12);
        near("variance", norms[1].running_var(), &var, 1e-12);
        Ok(())
    }

    /// If a rule reads another response, that response competes; the block still passes on its own.
    #[test]
    fn a_rule_may_read_another_response() -> Result<()> {
        struct Negative;
        impl Rule for Negative {
            fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
                Ok(Update::hebbian(synapses.post().clone()))
            }
            fn response(&self, linear: Response) -> Result<Response> {
                linear.with_u(&linear.u().neg()?)
            }
        }
        let (stack, _) = build(vec![dense(5)], &[3])?;
        let x = images(15, &[4, 3])?;
        let u = layer_of(&stack, 0).response(&x)?.u().clone();
        let before = layer_of(&stack, 0).weight().copy()?;
        let mut learners = stack.learners(|layer| {
            Ok(Some(Learner::new(Negative, Steps::builder(1.0).build([layer.var()?])?)))
        })?;
        let (out, activities) = stack.learn(&x, &mut learners)?;
        let post = KWta::binary(2).compete(&u.neg()?)?;
        near("u", &activities[0].u, &u.neg()?, 0.0);
        near("post", &activities[0].post, &post, 0.0);
        near("output", &out, &u.squeeze(0)?, 0.0);
        let want = (before + post.squeeze(0)?.t()?.matmul(&x)?)?;
        near("weight", layer_of(&stack, 0).weight(), &want, 1e-12);
        // The same when it learns alone.
        let u = layer_of(&stack, 0).response(&x)?.u().neg()?;
        let learner = learners[0].as_mut().expect("a learner");
        let (found, post) = stack.learn_block(0, &x, learner)?;
        near("u alone", &found, &u, 0.0);
        near("post alone", &post, &KWta::binary(2).compete(&u)?, 0.0);
        let want = (want + post.squeeze(0)?.t()?.matmul(&x)?)?;
        near("weight alone", layer_of(&stack, 0).weight(), &want, 1e-12);
        Ok(())
    }

    /// BCM's thresholds stay with the learner from batch to batch.
    #[test]
    fn rules_keep_their_state() -> Result<()> {
        let (stack, _) = build(vec![Config { competition: None, ..dense(3) }], &[4])?;
        let mut learners = stack.learners(|layer| {
            let steps = Steps::builder(0.01).build([layer.var()?])?;
            Ok(Some(Learner::new(Bcm::default(), steps)))
        })?;
        // θ ← 0.7 θ + 0.3 · the mean of y² over the rows of a batch, from 1 on.
        let mut want = [1.0; 3];
        for seed in 0..3 {
            let (_, activities) = stack.learn(&images(seed, &[5, 4])?, &mut learners)?;
            near("no competition", &activities[0].post, &activities[0].u, 0.0);
            let y = numbers(&activities[0].post)?;
            for (unit, threshold) in want.iter_mut().enumerate() {
                let squares = y.iter().skip(unit).step_by(3).map(|y| y * y);
                *threshold = 0.7 * *threshold + 0.3 * squares.sum::<f64>() / 5.0;
            }
            let state = learners[0].as_ref().expect("a learner").state();
            let found = state.get("threshold").expect("thresholds");
            near("thresholds", found, &Tensor::new(&want[..], CPU)?.unsqueeze(0)?, 1e-12);
        }
        Ok(())
    }

    /// A step that the optimiser refuses leaves the rule's state as it was: θ after the same batch again is
    /// 0.7·1 + 0.3·4 = 1.9, not 0.7·1.9 + 0.3·4.
    #[test]
    fn a_refused_step_leaves_the_state() -> Result<()> {
        let layer = Layer::from_tensor(&Tensor::new(&[[2f64]], CPU)?, Geometry::Dense)?;
        let mut learner = Learner::new(Bcm::default(), Steps::builder(0.1).build([layer.var()?])?);
        let response = layer.response(&Tensor::new(&[[1f64]], CPU)?)?; // u = 2
        learner.optimiser_mut().set_learning_rate(f64::NAN);
        assert!(learner.step(&response, response.u()).is_err());
        assert!(learner.state().get("threshold").is_none());
        learner.optimiser_mut().set_learning_rate(0.1);
        learner.step(&response, response.u())?;
        let threshold = learner.state().get("threshold").expect("thresholds");
        near("θ", threshold, &Tensor::new(&[[1.9f64]], CPU)?, 1e-12);
        Ok(())
    }

    /// Any of candle's optimisers can take the steps, which reach the `VarMap`.
    #[test]
    fn any_optimiser_steps() -> Result<()> {
        fn stepped<O: Optimizer>(optimiser: fn(Vec<Var>) -> Result<O>) -> Result<()> {
            let (stack, varmap) = build(vec![conv(4, 3), dense(3)], &[1, 5, 5])?;
            let mut learners = stack
                .learners(|layer| Ok(Some(Learner::new(Hebb, optimiser(vec![layer.var()?])?))))?;
            let held = |name: &str| numbers(&varmap.data().lock().unwrap()[name]);
            let before = held("layers.1.weight")?;
            stack.learn(&images(16, &[2, 1, 5, 5])?, &mut learners)?;
            assert_ne!(before, held("layers.1.weight")?);
            assert_eq!(held("layers.1.weight")?, numbers(layer_of(&stack, 1).weight())?);
            Ok(())
        }
        stepped(|vars| AdamW::new_lr(vars, 0.1))?;
        stepped(|vars| SGD::new(vars, 0.1))
    }
}

mod files {
    use super::*;

    fn blocks() -> Vec<Config> {
        let norm = Some(Norm::BatchNorm {});
        let excitation = Excitation::Threshold { rate: 1.0, target: 0.2 };
        let init = InitConfig::RadiusNormal { radius: 2.0 };
        vec![Config { norm, excitation, init, pool: max(2), ..conv(4, 3) }, dense(3)]
    }

    /// All tensors are variables of the `VarMap` under their names; a saved map and restored tensors are the same
    /// function.
    #[test]
    fn tensors_are_the_map() -> Result<()> {
        let (stack, varmap) = build(blocks(), &[2, 6, 6])?;
        let x = images(17, &[3, 2, 6, 6])?;
        stack.learn(&x, &mut learners(&stack)?)?;
        let names: Vec<String> = stack.tensors().into_iter().map(|(name, _)| name).collect();
        let parts = ["weight", "running_mean", "running_var", "threshold"];
        let mut want: Vec<String> = parts.map(|part| format!("layers.0.{part}")).into();
        want.push("layers.1.weight".into());
        assert_eq!(names, want);
        assert_eq!(stack.tensors()[3].1.dims(), [4]);
        want.sort();
        let mut held: Vec<String> = varmap.data().lock().unwrap().keys().cloned().collect();
        held.sort();
        assert_eq!(held, want);

        let path = std::env::temp_dir().join(format!("stack-{}.safetensors", std::process::id()));
        varmap.save(&path)?;
        let (by_map, mut other) = build(blocks(), &[2, 6, 6])?;
        other.load(&path)?;
        std::fs::remove_file(&path)?;
        let (mut by_tensors, _) = build(blocks(), &[2, 6, 6])?;
        let saved: std::collections::HashMap<_, _> = stack.tensors().into_iter().collect();
        // If the last tensor is missing, nothing is restored.
        let before = snapshot(&by_tensors)?;
        let cut = by_tensors.restore(|name, _| match name {
            "layers.1.weight" => candle::bail!("there is no {name}"),
            _ => saved[name].copy(),
        });
        assert!(cut.unwrap_err().to_string().contains("there is no layers.1.weight"));
        assert_eq!(snapshot(&by_tensors)?, before);
        by_tensors.restore(|name, shape| {
            let tensor = saved[name].copy()?;
            assert_eq!(tensor.dims(), shape, "{name}");
            Ok::<_, candle::Error>(tensor)
        })?;
        for restored in [by_map, by_tensors] {
            assert_eq!(snapshot(&restored)?, snapshot(&stack)?);
            assert_eq!(numbers(&restored.forward(&x)?)?, numbers(&stack.forward(&x)?)?);
        }
        Ok(())
    }

    #[test]
    fn what_a_config_may_say() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let json = r#"{
            "norm": { "kind": "standardise" },
            "layer": { "kind": "locally_connected2d", "units": 3, "kernel": 2,
                       "window": { "padding": 1, "padding_mode": "reflect" } },
            "init": { "kind": "glorot_uniform" },
            "feedback": { "source": { "kind": "own" }, "learning": { "kind": "like_weights", "rate": 1.0 } },
            "excitation": { "kind": "threshold", "rate": 1.0, "target": 0.1 },
            "competition": null,
            "activation": { "kind": "ramp", "slope": 0.5 },
            "learning_activation": { "kind": "winners" },
            "residual": true,
            "pool": { "kind": "max_same", "kernel": 3, "stride": 2, "edge": "zeros", "ties": "all" },
            "dropout": 0.5
        }"#;
        let block: BlockConfig<()> = serde_json::from_str(json)?;
        let window =
            Conv2dConfig { padding: 1, padding_mode: PaddingMode::Reflect, ..Default::default() };
        let want = BlockConfig {
            norm: Some(Norm::Standardise { epsilon: 1e-10 }),
            layer: Some(LayerConfig::LocallyConnected2d { units: 3, kernel: 2, window }),
            init: InitConfig::GlorotUniform {},
            feedback: URFB,
            excitation: Excitation::Threshold { rate: 1.0, target: 0.1 },
            competition: None,
            activation: Activation::Ramp { slope: 0.5 },
            learning_activation: Some(Activation::Winners {}),
            residual: true,
            pool: Some(Pool::MaxSame { kernel: 3, stride: 2, edge: Edge::Zeros, ties: Ties::All }),
            dropout: 0.5,
        };
        assert_eq!(block, want);
        assert_eq!(
            serde_json::from_str::<BlockConfig<()>>(&serde_json::to_string(&block)?)?,
            block
        );
        assert_eq!(serde_json::from_str::<BlockConfig<()>>("{}")?, BlockConfig::default());
        let more = [
            r#"{ "surprise": 1 }"#,
            r#"{ "norm": { "kind": "batch_norm", "surprise": 1 } }"#,
            r#"{ "layer": { "kind": "dense", "units": 1, "surprise": 1 } }"#,
            r#"{ "layer": { "kind": "conv2d", "units": 1, "kernel": 1, "window": { "surprise": 1 } } }"#,
            r#"{ "init": { "kind": "standard_normal", "surprise": 1 } }"#,
            r#"{ "feedback": { "surprise": 1 } }"#,
            r#"{ "excitation": { "kind": "linear", "surprise": 1 } }"#,
            r#"{ "activation": { "kind": "relu", "surprise": 1 } }"#,
            r#"{ "pool": { "kind": "max_same", "kernel": 1, "stride": 1, "surprise": 1 } }"#,
        ];
        for json in more {
            let error = serde_json::from_str::<BlockConfig<()>>(json).unwrap_err().to_string();
            assert!(error.contains("surprise"), "{json}: {error}");
        }
        Ok(())
    }
}

/// Blocks may differ in their competitions, which are trait objects and may be a user's own.
#[test]
fn competitions_may_differ_by_block() -> Result<()> {
    let block = |units, competition: Box<dyn Competition>| BlockConfig {
        layer: Some(LayerConfig::Dense { units }),
        competition: Some(competition),
        ..Default::default()
    };
    /// A competition of another crate: all units are active by a tenth of their response.
    #[derive(Debug)]
    struct Own;

    impl Competition for Own {
        fn compete(&self, u: &Tensor) -> Result<Tensor> {
            u.detach() * 0.1
        }
    }

    let soft = SoftWta { inverse_temperature: 1.0 };
    let blocks = vec![
        block(4, Box::new(soft)),
        block(3, Box::new(KWta::binary(1))),
        block(2, Box::new(Own)),
    ];
    let (stack, _) = build(blocks, &[5])?;
    let mut learners = stack.learners(|layer| {
        Ok(Some(Learner::new(SoftHebb, Steps::builder(0.1).build([layer.var()?])?)))
    })?;
    let (_, activities) = stack.learn(&images(1, &[6, 5])?, &mut learners)?;
    near("soft", &activities[0].post, &soft.compete(&activities[0].u)?, 0.0);
    near("winner", &activities[1].post, &KWta::binary(1).compete(&activities[1].u)?, 0.0);
    near("own", &activities[2].post, &(&activities[2].u * 0.1)?, 0.0);
    Ok(())
}

#[test]
fn what_cannot_be_names_the_block() -> Result<()> {
    let refused = |blocks: Vec<Config>, input: &[usize], words: &[&str]| {
        let error = build(blocks, input).err().unwrap_or_else(|| panic!("{words:?}")).to_string();
        for word in words {
            assert!(error.contains(word), "no '{word}' in: {error}");
        }
    };
    let residual = Config { residual: true, ..conv(4, 3) };
    refused(vec![conv(4, 3), dense(2), conv(4, 3)], &[1, 6, 6], &["block 2", "[2]", "images"]);
    refused(vec![residual], &[3, 6, 6], &["block 0", "[3, 6, 6]", "residual", "[4, 6, 6]"]);
    refused(vec![Config { pool: max(2), ..dense(3) }], &[1, 6, 6], &["block 0", "pooled", "[3]"]);
    refused(vec![Config { pool: max(9), ..conv(3, 3) }], &[1, 6, 6], &["block 0", "9"]);
    refused(vec![conv(0, 3)], &[1, 6, 6], &["block 0", "at least 1"]);
    refused(vec![Config { dropout: 1.0, ..dense(3) }], &[3], &["block 0", "dropout is 1"]);
    refused(vec![dense(3)], &[0], &["block 0", "[0]"]);
    refused(vec![dense(3)], &[], &["block 0", "[]"]);
    let excitation = Excitation::Threshold { rate: -1.0, target: 0.1 };
    refused(vec![Config { excitation, ..dense(3) }], &[3], &["block 0", "rate", "-1"]);
    let alone = Config { competition: Some(KWta::binary(1)), ..Default::default() };
    refused(vec![alone], &[3], &["block 0", "without a layer"]);
    let winners = Config { activation: Activation::Winners {}, ..Default::default() };
    refused(vec![winners], &[3], &["block 0", "without a layer"]);

    let (stack, varmap) = build(vec![conv(4, 3), dense(2)], &[1, 6, 6])?;
    let error = stack.forward(&images(0, &[2, 3, 6, 6])?).unwrap_err().to_string();
    assert!(error.contains("block 0") && error.contains("[2, 6, 6, 3]"), "{error}");
    let error = stack.features(&images(0, &[2, 1, 5, 5])?, 2).unwrap_err().to_string();
    assert!(error.contains("block 1") && error.contains("[2, 4, 5, 5]"), "{error}");
    let mut one = learners(&stack)?;
    one.truncate(1);
    let error = stack.learn(&images(0, &[2, 1, 6, 6])?, &mut one).unwrap_err().to_string();
    assert!(error.contains("1 learners for 2 layers"), "{error}");
    let mut learner = learners(&stack)?.remove(0).expect("a learner");
    let error = stack.learn_block(2, &images(0, &[2, 1, 6, 6])?, &mut learner).unwrap_err();
    assert!(error.to_string().contains("block 2: the stack has 2"), "{error}");
    let pool = Config { pool: max(2), ..Default::default() };
    let (flat, _) = build(vec![pool], &[1, 6, 6])?;
    let error = flat.learn_block(0, &images(0, &[2, 1, 6, 6])?, &mut learner).unwrap_err();
    assert!(error.to_string().contains("without a layer"), "{error}");
    let error = flat.excitation(0, &images(0, &[2, 1, 6, 6])?).unwrap_err().to_string();
    assert!(error.contains("block 0") && error.contains("without a layer"), "{error}");
    let normed = Config { norm: Some(Norm::BatchNorm {}), ..conv(4, 3) };
    let (normed, _) = build(vec![normed], &[1, 6, 6])?;
    let error = normed.excitation(0, &images(0, &[2, 3, 6, 6])?).unwrap_err().to_string();
    assert!(error.contains("block 0") && error.contains("batch norm"), "{error}");

    // Variables of another architecture.
    let vb = seeded(&varmap, &Rng::new(1), DType::F64, CPU);
    let error = Stack::new(vec![conv(5, 3)], &[1, 6, 6], vb).unwrap_err().to_string();
    assert!(error.contains("block 0") && error.contains("layers.0.weight"), "{error}");
    Ok(())
}
