//! Filter pictures, read back from the PNG.

use candle::{DType, Device, Tensor};
use hebbian_train::{Picture, filter_grid, filter_picture, filter_rows, image_rows};

const WHITE: [u8; 3] = [255; 3];
const MIDDLE: [u8; 3] = [128; 3];

/// The magnification, and the filters' pixels without it.
fn grid(weight: &Tensor) -> (usize, Vec<Vec<[u8; 3]>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("filters.png");
    filter_grid(weight).unwrap().save_png(&path).unwrap();
    let image = image::open(path).unwrap().to_rgb8();
    let (_, channels, height, _) = weight.dims4().unwrap();
    assert!([1, 2, 3].contains(&channels));
    // The gap's first row and column are white; below them the first filter begins.
    let factor = (0..).find(|&at| image.get_pixel(at, at).0 != WHITE).unwrap();
    assert_eq!(image.width() % factor, 0);
    let rows = (0..image.height() / factor).map(|y| {
        let row = (0..image.width() / factor).map(|x| image.get_pixel(x * factor, y * factor).0);
        row.collect()
    });
    let rows: Vec<Vec<_>> = rows.collect();
    assert!(rows.len() > height);
    assert!(image.width().max(image.height()) >= 400);
    (factor as usize, rows)
}

#[test]
fn grey_filters_have_their_own_scale() {
    // Three 1×2 filters: two columns, two rows. -1 → 0, 0 → 127.5 → 128, ½ → 191.25, 1 → 255.
    let weight = Tensor::new(&[[[[0f32, -2.]]], [[[4., 2.]]], [[[0., 0.]]]], &Device::Cpu).unwrap();
    let (factor, rows) = grid(&weight);
    assert_eq!(
        rows,
        [
            vec![WHITE; 7],
            vec![WHITE, MIDDLE, [0; 3], WHITE, [255; 3], [191; 3], WHITE],
            vec![WHITE; 7],
            vec![WHITE, MIDDLE, MIDDLE, WHITE, WHITE, WHITE, WHITE],
            vec![WHITE; 7],
        ]
    );
    assert_eq!(factor, 58); // ⌈400 / 7⌉
}

#[test]
fn three_channels_are_colours_and_two_their_mean() {
    let weight = Tensor::new(&[[[[-1f32, 0.]], [[0., 1.]], [[1., -1.]]]], &Device::Cpu).unwrap();
    let (_, rows) = grid(&weight);
    assert_eq!(rows[1], [WHITE, [0, 128, 255], [128, 255, 0], WHITE]);
    // Means -1 and 3, so -1 is a third of the way from mid-grey to black: 127.5 - 42.5 = 85.
    let weight = Tensor::new(&[[[[-2f64, 2.]], [[0., 4.]]]], &Device::Cpu).unwrap();
    let (_, rows) = grid(&weight);
    assert_eq!(rows[1], [WHITE, [85; 3], [255; 3], WHITE]);
}

#[test]
fn filters_stand_in_rows_of_the_length_asked_for() {
    let weight = Tensor::ones((6, 1, 3, 2), DType::F32, &Device::Cpu).unwrap();
    for (columns, width, height) in [(1, 4, 25), (2, 7, 13), (6, 19, 5)] {
        let picture = filter_rows(&weight, columns).unwrap();
        let factor = picture.width() / width;
        assert_eq!((picture.width(), picture.height()), (width * factor, height * factor));
    }
    let error = filter_rows(&weight, 0).unwrap_err().to_string();
    assert!(error.contains("0 columns"), "{error}");
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let empty = Tensor::zeros((0, 3, 5, 5), DType::F32, &Device::Cpu).unwrap();
    assert!(filter_grid(&empty).unwrap_err().to_string().contains("[0, 3, 5, 5]"));
    let dense = Tensor::zeros((10, 784), DType::F32, &Device::Cpu).unwrap();
    assert!(filter_grid(&dense).is_err());
    let folder = tempfile::tempdir().unwrap();
    assert!(Picture::new(2, 2, WHITE).save_png(folder.path().join("no/such.png")).is_err());
}

#[test]
fn pixels_outside_do_not_exist() {
    let mut picture = Picture::new(2, 3, WHITE);
    picture.set(2, 0, [0; 3]);
    picture.set(0, 3, [0; 3]);
    assert_eq!(picture, Picture::new(2, 3, WHITE));
    assert_eq!((picture.pixel(2, 0), picture.pixel(1, 2)), (None, Some(WHITE)));
}

#[test]
fn a_title_stands_above_the_picture() {
    let red = [200, 0, 0];
    let picture = Picture::new(30, 20, red);
    let titled = picture.titled("one\na longer line").unwrap();
    // The picture is unchanged below the text, at the left; beside it there is nothing.
    let top = titled.height() - 20;
    assert!(titled.width() > 30 && top > 30);
    for y in 0..titled.height() {
        for x in 0..titled.width() {
            let pixel = titled.pixel(x, y).unwrap();
            assert_eq!(pixel == red, y >= top && x < 30, "{x} {y}");
            assert!(y < top || x < 30 || pixel == WHITE);
        }
    }
    let dark = |rows: std::ops::Range<usize>| {
        let all = rows.flat_map(|y| (0..titled.width()).map(move |x| (x, y)));
        all.filter(|&(x, y)| titled.pixel(x, y).unwrap()[1] < 100).count()
    };
    // There are two lines, the second of them longer.
    assert!(dark(0..top / 2) > 10 && dark(top / 2..top) > 2 * dark(0..top / 2));

    let error = picture.titled(&"long ".repeat(100_000)).unwrap_err().to_string();
    assert!(error.contains("it would be a picture of"), "{}", &error[error.len() - 200..]);

    let weight = Tensor::new(&[[[[-1f32, 1.]]]], &Device::Cpu).unwrap();
    let (grid, named) = (filter_grid(&weight).unwrap(), filter_picture(&weight, "w").unwrap());
    assert!(named.height() > grid.height());
    let last = |picture: &Picture| picture.pixel(grid.width() / 2 - 20, picture.height() - 100);
    assert_eq!(last(&named), last(&grid));
}

/// Images are magnified to 48 pixels: values from 0 to 1 as they are, others on one scale for all, with 0 in the
/// middle.
#[test]
fn rows_of_images_have_one_scale() {
    let count = |picture: &Picture, colour: [u8; 3]| {
        let all = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
        all.filter(|&(x, y)| picture.pixel(x, y) == Some(colour)).count()
    };
    let row = |values: &[f32], shape: (usize, usize, usize, usize)| {
        vec![("name".to_string(), Tensor::from_slice(values, shape, &Device::Cpu).unwrap())]
    };
    let as_is = image_rows(&row(&[1.0, 0.0, 0.2], (1, 3, 1, 1)), "title").unwrap();
    assert_eq!(count(&as_is, [255, 0, 51]), 48 * 48);
    let scaled =
        image_rows(&row(&[-2.0, 0.0, 1.0, -1.0, 2.0, 2.0], (2, 1, 1, 3)), "title").unwrap();
    // -2 is black; 1 and -1 are a quarter from white and from black, 191.25 and 63.75.
    for (colour, pixels) in [([0; 3], 16 * 16), ([191; 3], 16 * 16), ([64; 3], 16 * 16)] {
        assert!(count(&scaled, colour) >= pixels, "{colour:?}");
    }
    assert!(scaled.height() > 48 + 2 * 15 && scaled.width() >= 2 * 48);
    let none = image_rows(&[], "title").unwrap_err().to_string();
    assert!(none.contains("title") && none.contains("no images"), "{none}");
    let flat = [row(&[1.0], (1, 1, 1, 1)), row(&[], (1, 1, 0, 3))].concat();
    let flat = image_rows(&flat, "title").unwrap_err().to_string();
    assert!(flat.contains("[1, 1, 0, 3] have no pixels"), "{flat}");
}
