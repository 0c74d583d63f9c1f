use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

use super::{Image, Shape, Transform, wrong};
use crate::Result;

/// Random changes of saturation and hue: in hue, saturation and value, `S ← min(1, S·2^U(−s, s))`
/// and `H ← H + U(−h, h) mod 1`, with one draw of each for an image, saturation first.
///
/// Source: the colour augmentation in the code of Amit (2019), with s = 2 and h = 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// How many times the saturation is doubled or halved at most, `s`. Default: 2.
    pub saturation: f64,
    /// How far the hue is shifted at most, as a share of the circle, `h`. Default: 0.1.
    pub hue: f64,
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self { saturation: 2.0, hue: 0.1 }
    }
}

impl Transform for ColourJitter {
    fn shape(&self, image: Shape) -> Result<Shape> {
        let Self { saturation, hue } = self;
        let problem = match image.0 {
            _ if !(*saturation >= 0.0 && saturation.is_finite()) => {
                format!("found a saturation of {saturation}, expected 0 or more")
            }
            _ if !(0.0..=0.5).contains(hue) => format!("found a hue of {hue}, expected 0 to 0.5"),
            3 => return Ok(image),
            channels => format!("found images of {channels} channels, expected 3"),
        };
        Err(wrong("colour-jitter", problem))
    }

    fn apply(&self, mut image: Image, rng: &mut Rng) -> Result<Image> {
        let (_, height, width) = self.shape(image.shape())?;
        // An infinite factor would give colours to what has none.
        let strength = rng.between(-self.saturation, self.saturation).exp2();
        let strength = strength.min(f64::from(f32::MAX)) as f32;
        let turn = rng.between(-self.hue, self.hue) as f32;
        let (red, rest) = image.values_mut().split_at_mut(height * width);
        let (green, blue) = rest.split_at_mut(height * width);
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            [*red, *green, *blue] = changed([*red, *green, *blue], strength, turn);
        }
        Ok(image)
    }

    fn is_random(&self) -> bool {
        true
    }
}

/// Multiplies the saturation of a colour by `strength`, and shifts its hue by `turn`.
fn changed(rgb: [f32; 3], strength: f32, turn: f32) -> [f32; 3] {
    let [hue, saturation, value] = to_hsv(rgb);
    to_rgb([(hue + turn).rem_euclid(1.0), (saturation * strength).min(1.0), value])
}

/// Converts red, green and blue to hue, saturation and value from 0 to 1, as Python's `colorsys`
/// does.
fn to_hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return [0.0, 0.0, most];
    }
    let hue = if red == most {
        (green - blue) / range
    } else if green == most {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    [(hue / 6.0).rem_euclid(1.0), range / most, most]
}

/// Converts hue, saturation and value to red, green and blue.
fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sector = (hue * 6.0).floor();
    let rest = hue * 6.0 - sector;
    let low = value * (1.0 - saturation);
    let falling = value * (1.0 - saturation * rest);
    let rising = value * (1.0 - saturation * (1.0 - rest));
    match sector as usize % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: [f32; 3], wanted: [f32; 3]) -> bool {
        found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6)
    }

    /// Checked against Python's `colorsys.rgb_to_hsv`, in both directions.
    #[test]
    fn colours_are_those_of_colorsys() {
        for (rgb, hsv) in [
            ([0.2, 0.4, 0.6], [0.583_333_3, 0.666_666_7, 0.6]),
            ([0.9, 0.1, 0.3], [0.958_333_3, 0.888_888_9, 0.9]),
            ([0.5, 0.8, 0.1], [0.238_095_24, 0.875, 0.8]),
            ([0.3, 0.3, 0.3], [0.0, 0.0, 0.3]),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            ([1.0, 1.0, 0.0], [0.166_666_67, 1.0, 1.0]),
        ] {
            assert!(near(to_hsv(rgb), hsv), "{rgb:?}: {:?}", to_hsv(rgb));
            assert!(near(to_rgb(hsv), rgb), "{hsv:?}: {:?}", to_rgb(hsv));
        }
    }

    /// ```python
    /// import colorsys
    /// for rgb in [(0.2, 0.4, 0.6), (0.9, 0.1, 0.3)]:
    ///     h, s, v = colorsys.rgb_to_hsv(*rgb)
    ///     for e, t in [(1, 0.05), (-1, -0.1)]:
    ///         print(colorsys.hsv_to_rgb((h + t) % 1, min(1, s * 2 ** e), v))
    /// ```
    #[test]
    fn strength_is_capped_and_hue_goes_round() {
        let (one, other) = ([0.2, 0.4, 0.6], [0.9, 0.1, 0.3]);
        for (rgb, strength, turn, wanted) in [
            (one, 2.0, 0.05, [0.0, 0.12, 0.6]),
            (one, 0.5, -0.1, [0.4, 0.6, 0.58]),
            (other, 2.0, 0.05, [0.9, 0.045, 0.0]),
            (other, 0.5, -0.1, [0.9, 0.5, 0.84]),
        ] {
            let found = changed(rgb, strength, turn);
            assert!(near(found, wanted), "{rgb:?} {strength} {turn}: {found:?}");
        }
    }
}
