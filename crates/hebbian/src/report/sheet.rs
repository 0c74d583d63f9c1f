//! Many small pictures of the same size, as one PNG in a page.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candle::{DType, Tensor};
use candle_hebbian::device::to_host;
use hebbian_train::Picture;
use serde::Serialize;

/// A sheet of pictures side by side, which the page shows one at a time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sheet {
    /// A `data:` URL.
    png: String,
    /// The number of pictures, and of the columns and rows in which they are arranged.
    count: usize,
    columns: usize,
    rows: usize,
    /// Pixels of each picture.
    height: usize,
    width: usize,
    /// Whether 0 is drawn near white, between the colours of negative and positive numbers.
    signed: bool,
}

/// How numbers become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shades {
    /// From 0, black, to 1, white.
    Image,
    /// Symmetric around 0, up to the largest absolute value of each picture.
    Signed,
}

/// The colours of −1, 0 and 1: blue, near white and vermilion, which people with colour blindness can tell apart.
const BELOW: [f32; 3] = [0.0, 90.0, 160.0];
const ZERO: [f32; 3] = [248.0, 248.0, 246.0];
const ABOVE: [f32; 3] = [200.0, 70.0, 0.0];

/// Returns a picture as a `data:` URL.
pub(super) fn png_address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

impl Sheet {
    /// Draws pictures `(N, C, H, W)`: three channels as red, green and blue, any other number of channels as their
    /// mean.
    pub(super) fn new(pictures: &Tensor, shades: Shades) -> Result<Self> {
        let (count, channels, height, width) = pictures.dims4()?;
        let pictures = to_host(&pictures.detach())?.to_dtype(DType::F32)?;
        let pictures = if channels == 3 { pictures } else { pictures.mean_keepdim(1)? };
        let depth = if channels == 3 { 3 } else { 1 };
        let values = pictures.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        let columns = (1..=count).find(|n| n * n >= count).unwrap_or(1);
        let rows = count.div_ceil(columns).max(1);
        let mut all = Picture::new(columns * width, rows * height, [255; 3]);
        for (index, one) in values.chunks_exact((height * width * depth).max(1)).enumerate() {
            let (left, top) = (index % columns * width, index / columns * height);
            let most = one.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
            for (at, pixel) in one.chunks_exact(depth).enumerate() {
                let colour = match (shades, pixel) {
                    (Shades::Image, &[r, g, b]) => [r, g, b].map(byte),
                    (Shades::Image, grey) => [byte(grey[0]); 3],
                    (Shades::Signed, &[r, g, b]) => [r, g, b].map(|x| byte(0.5 + 0.5 * x / most)),
                    (Shades::Signed, grey) => signed(grey[0] / most),
                };
                all.set(left + at % width, top + at / width, colour);
            }
        }
        let png = png_address(&all.png()?);
        let signed = shades == Shades::Signed && depth == 1;
        Ok(Self { png, count, columns, rows, height, width, signed })
    }
}

fn byte(share: f32) -> u8 {
    (255.0 * share).round() as u8
}

/// Returns the colour of a number from −1 to 1.
fn signed(value: f32) -> [u8; 3] {
    let (end, share) = if value < 0.0 { (BELOW, -value) } else { (ABOVE, value) };
    std::array::from_fn(|i| (ZERO[i] + share * (end[i] - ZERO[i])).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn pictures_lie_side_by_side() -> Result<()> {
        let values = [[[[1f32, -1.0]]], [[[0.0, 0.5]]], [[[2.0, 1.0]]]];
        let sheet = Sheet::new(&Tensor::new(&values, &Device::Cpu)?, Shades::Signed)?;
        assert_eq!((sheet.columns, sheet.rows, sheet.height, sheet.width), (2, 2, 1, 2));
        assert!(sheet.signed);
        let bytes = STANDARD.decode(sheet.png.split_once(',').unwrap().1)?;
        let picture = image::load_from_memory(&bytes)?.to_rgb8();
        assert_eq!(picture.dimensions(), (4, 2));
        let at = |x, y| picture.get_pixel(x, y).0;
        // The largest absolute values of the pictures are 1, 0.5 and 2.
        assert_eq!([at(0, 0), at(1, 0)], [[200, 70, 0], [0, 90, 160]]);
        assert_eq!([at(2, 0), at(3, 0)], [[248, 248, 246], [200, 70, 0]]);
        assert_eq!([at(0, 1), at(1, 1)], [[200, 70, 0], [224, 159, 123]]);
        assert_eq!(at(3, 1), [255; 3]);
        let image = Tensor::new(&[[[[0f32, 0.5, 1.0, 7.0]]]], &Device::Cpu)?;
        let sheet = Sheet::new(&image, Shades::Image)?;
        let bytes = STANDARD.decode(sheet.png.split_once(',').unwrap().1)?;
        let picture = image::load_from_memory(&bytes)?.to_luma8();
        assert_eq!(picture.into_raw(), [0, 128, 255, 255]);
        Ok(())
    }
}
