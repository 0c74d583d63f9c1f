//! Every rule with every competition in every geometry: the update follows the rule's equation and is minus the
//! gradient of its loss.

use super::cases::{near, normal, on_grid, synapses};
use super::entries::{COMPETITIONS, GEOMETRIES, GeometryEntry, RULES};
use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::ops::composed;
use candle_hebbian::testing::{UpdateOptions, check_update, draw_synapses};
use candle_hebbian::{Competition, Rng, SoftHebb, SoftWta, State, Synapses};

#[test]
fn updates_are_their_equations() -> Result<()> {
    let mut checked = 0;
    for GeometryEntry { name, geometry, input, weight } in GEOMETRIES {
        let inputs = [on_grid(name, input, 0.125)?, on_grid(name, weight, 0.25)?];
        for entry in RULES {
            for competition in COMPETITIONS {
                let name = format!("{} of {} in {name}", entry.name, competition.name);
                let synapses = synapses(entry, competition.competition, *geometry, &inputs)?;
                let rule = (entry.rule)()?;
                let options =
                    UpdateOptions { is_sum: entry.is_sum, directions: 1, ..Default::default() };
                check_update(&name, &*rule, entry.equation, &synapses, &options)?;
                checked += 1;
            }
        }
    }
    assert_eq!(checked, GEOMETRIES.len() * RULES.len() * COMPETITIONS.len());
    Ok(())
}

/// The gradient belongs to the weights, in their own shape, and nothing else has one.
#[test]
fn losses_reach_the_weights() -> Result<()> {
    let check = || -> Result<()> {
        for GeometryEntry { name, geometry, input, weight } in GEOMETRIES {
            let w = Var::from_tensor(&on_grid(name, weight, 0.25)?)?;
            let x = Var::from_tensor(&on_grid(name, input, 0.125)?)?;
            let inputs = [x.as_tensor().clone(), w.as_tensor().clone()];
            for entry in RULES {
                for competition in COMPETITIONS {
                    let name = format!("{} of {} in {name}", entry.name, competition.name);
                    let synapses = synapses(entry, competition.competition, *geometry, &inputs)?;
                    let rule = (entry.rule)()?;
                    let grads = synapses.loss_with(&*rule, &mut State::default())?.backward()?;
                    assert_eq!(grads.get_ids().count(), 1, "{name}");
                    let gradient = grads.get(&w).expect("a gradient of the weights");
                    let update = synapses.update_with(&*rule, &mut State::default())?;
                    assert_eq!(update.dims(), *weight, "{name}");
                    near(&name, &gradient.neg()?, &update, 1e-12)?;
                }
            }
        }
        Ok(())
    };
    check()?;
    composed(check)
}

/// f16 and bf16 give what f32 gives for the same numbers, rounded once.
#[test]
fn half_precision() -> Result<()> {
    let (x, u) = (normal("x", &[1, 9, 6])?, normal("u", &[1, 9, 4])?);
    let w = normal("w", &[4, 6])?;
    let check = || -> Result<()> {
        for (dtype, unit) in [(DType::F16, 2f64.powi(-11)), (DType::BF16, 2f64.powi(-8))] {
            for entry in RULES {
                for competition in COMPETITIONS {
                    let name = format!("{} of {} {dtype:?}", entry.name, competition.name);
                    let rule = (entry.rule)()?;
                    let weight = Var::from_tensor(&w.to_dtype(dtype)?)?;
                    let (x, u) = (x.to_dtype(dtype)?, u.to_dtype(dtype)?);
                    let y = competition.competition.compete(&u)?;
                    let third = (entry.third)(&u)?;
                    let seen = |in_type: fn(&Tensor) -> Result<Tensor>| -> Result<Synapses> {
                        let (w, y) = (in_type(&weight)?, in_type(&y)?);
                        let synapses = Synapses::new(&w, &in_type(&x)?, &in_type(&u)?, &y)?;
                        match &third {
                            Some(third) => synapses.with_third(&in_type(third)?),
                            None => Ok(synapses),
                        }
                    };
                    let (got, want) = (seen(|t| Ok(t.clone()))?, seen(|t| t.to_dtype(DType::F32))?);
                    let update = got.update_with(&*rule, &mut State::default())?;
                    assert_eq!(update.dtype(), dtype, "{name}");
                    let want = want.update_with(&*rule, &mut State::default())?;
                    near(&name, &update, &want, unit)?;
                    let grads = got.loss_with(&*rule, &mut State::default())?.backward()?;
                    let gradient = grads.get(&weight).expect("a gradient");
                    assert_eq!(gradient.dtype(), dtype, "{name}");
                    near(&name, &gradient.neg()?, &update, 0.0)?;
                }
            }
        }
        Ok(())
    };
    check()?;
    composed(check)
}

/// A layer as large as the widest one in the papers.
#[test]
fn real_sizes() -> Result<()> {
    let competition = SoftWta { inverse_temperature: 0.7 };
    let synapses = draw_synapses(&SoftHebb, &competition, [1, 4, 1536, 3456], &mut Rng::new(0))?;
    let options = UpdateOptions { directions: 1, ..Default::default() };
    check_update("SoftHebb", &SoftHebb, |s| s.y * (s.x - s.u * s.w), &synapses, &options)
}

/// Several sites, each with its own competition, also for rules whose update is not a product.
#[test]
fn drawn_synapses_have_sites() -> Result<()> {
    for entry in RULES {
        let rule = (entry.rule)()?;
        let competition = &SoftWta { inverse_temperature: 2.0 };
        let synapses = draw_synapses(&*rule, competition, [3, 5, 4, 2], &mut Rng::new(1))?;
        assert_eq!(synapses.pre()?.dims(), [3, 5, 2]);
        assert_eq!(synapses.weights()?.dims(), [3, 4, 2]);
        let ones = Tensor::ones((3, 5), DType::F64, &Device::Cpu)?;
        near("sums", &synapses.post().sum(2)?, &ones, 1e-14)?;
        near("y", synapses.post(), &competition.compete(synapses.response())?, 0.0)?;
        let linear = synapses.pre()?.matmul(&synapses.weights()?.transpose(1, 2)?)?;
        if entry.name != "KrotovHopfield" {
            near("u", synapses.response(), &linear, 1e-14)?;
        }
    }
    Ok(())
}
