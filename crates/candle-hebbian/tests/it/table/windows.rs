//! The inputs of a unit in each geometry, from the definition: a plain loop with its own padding and indices.

use super::cases::{all_near, near, normal, numbers};
use super::entries::{GEOMETRIES, GeometryEntry};
use candle::{Module, Result};
use candle_hebbian::ops::composed;
use candle_hebbian::{Geometry, Layer, PaddingMode};

/// The rows of each site, with one value per synapse.
fn samples(entry: &GeometryEntry, x: &[f64]) -> Vec<Vec<Vec<f64>>> {
    let (config, [c_in, kh, kw], positions) = match (entry.geometry, entry.weight) {
        (Geometry::Dense, &[_, f]) => return vec![x.chunks(f).map(<[f64]>::to_vec).collect()],
        (Geometry::Conv2d(config), &[_, c, kh, kw]) => (config, [c, kh, kw], None),
        (Geometry::LocallyConnected2d(config), &[oh, ow, _, c, kh, kw]) => {
            (config, [c, kh, kw], Some((oh, ow)))
        }
        _ => unreachable!("the table's entries"),
    };
    let &[batch, channels, height, width] = entry.input else { unreachable!() };
    let size = |size: usize, kernel: usize| {
        let padded = size + 2 * config.padding + config.trailing_padding;
        (padded - config.dilation * (kernel - 1) - 1) / config.stride + 1
    };
    let (oh, ow) = (size(height, kh), size(width, kw));
    if let Some(positions) = positions {
        assert_eq!(positions, (oh, ow), "{}: the entry's own weights", entry.name);
    }
    // The pixel that a padded coordinate reads: mirrored at pixel 0 and at the last, or none.
    let source = |at: usize, size: usize| -> Option<usize> {
        let (at, size) = (at as i64 - config.padding as i64, size as i64);
        match config.padding_mode {
            _ if (0..size).contains(&at) => Some(at as usize),
            PaddingMode::Zeros => None,
            PaddingMode::Reflect if at < 0 => Some(-at as usize),
            PaddingMode::Reflect => Some((2 * (size - 1) - at) as usize),
        }
    };
    let patch = |b: usize, group: usize, i: usize, j: usize| {
        let mut patch = Vec::new();
        for c in group * c_in..(group + 1) * c_in {
            for a in 0..kh {
                for e in 0..kw {
                    let h = source(i * config.stride + a * config.dilation, height);
                    let w = source(j * config.stride + e * config.dilation, width);
                    patch.push(match (h, w) {
                        (Some(h), Some(w)) => x[((b * channels + c) * height + h) * width + w],
                        _ => 0.0,
                    });
                }
            }
        }
        patch
    };
    let windows = || (0..oh).flat_map(move |i| (0..ow).map(move |j| (i, j)));
    match entry.geometry {
        Geometry::LocallyConnected2d(_) => {
            windows().map(|(i, j)| (0..batch).map(|b| patch(b, 0, i, j)).collect()).collect()
        }
        _ => (0..config.groups)
            .map(|g| {
                (0..batch)
                    .flat_map(|b| windows().map(move |(i, j)| (b, i, j)))
                    .map(|(b, i, j)| patch(b, g, i, j))
                    .collect()
            })
            .collect(),
    }
}

/// Rows, response and output: each unit of a site responds to each of its rows.
#[test]
fn rows_and_responses_are_their_definition() -> Result<()> {
    let check = || -> Result<()> {
        for entry in GEOMETRIES {
            let (name, x) = (entry.name, normal(entry.name, entry.input)?);
            let w = normal(&format!("{name} w"), entry.weight)?;
            let layer = Layer::new(w.clone(), entry.geometry)?;
            let (flat_x, flat_w) = (numbers(&x)?, numbers(&w)?);
            let sites = samples(entry, &flat_x);
            let (rows, fan_in) = (sites[0].len(), sites[0][0].len());
            let units = flat_w.len() / (sites.len() * fan_in);
            let response = layer.response(&x)?;
            assert_eq!(response.pre()?.dims(), [sites.len(), rows, fan_in], "{name}");
            assert_eq!(response.u().dims(), [sites.len(), rows, units], "{name}");
            all_near(name, &numbers(response.pre()?)?, &sites.concat().concat(), 0.0);
            let mut want = Vec::new();
            for (site, rows) in sites.iter().enumerate() {
                for x in rows {
                    for unit in 0..units {
                        let w = &flat_w[(site * units + unit) * fan_in..][..fan_in];
                        want.push(x.iter().zip(w).map(|(x, w)| x * w).sum());
                    }
                }
            }
            all_near(name, &numbers(response.u())?, &want, 1e-14);

            // The output has the same numbers in another order: channels are units of all groups.
            let output = numbers(&response.output()?)?;
            let place = |site: usize, row: usize, unit: usize| match entry.geometry {
                Geometry::Dense => row * units + unit,
                Geometry::Conv2d(_) => {
                    let positions = rows / entry.input[0];
                    let (image, position) = (row / positions, row % positions);
                    (image * sites.len() * units + site * units + unit) * positions + position
                }
                Geometry::LocallyConnected2d(_) => (row * units + unit) * sites.len() + site,
            };
            let mut want_output = vec![f64::NAN; want.len()];
            for (at, want) in want.iter().enumerate() {
                let (row, unit) = (at / units, at % units);
                want_output[place(row / rows, row % rows, unit)] = *want;
            }
            all_near(name, &output, &want_output, 1e-14);
            near(name, &layer.forward(&x)?, &response.output()?, 1e-13)?;
            near(name, &response.rows(&response.output()?)?, response.u(), 0.0)?;
            near(name, &response.fold(response.u())?, &response.output()?, 0.0)?;
        }
        Ok(())
    };
    check()?;
    composed(check)
}
