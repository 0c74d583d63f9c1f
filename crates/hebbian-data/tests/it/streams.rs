//! Images that stay in their files: the same batches as those in memory, in bounded memory.

use std::fs;
use std::path::Path;

use crate::common::tables::COLOUR;
use crate::common::{assert_says, contents, parquet, parquet_as, planes, png, schema, write};
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::transforms::Pipeline;
use hebbian_data::{Batches, Dataset, DatasetName, ImageSet, LoadOptions, Result, load};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

/// Bytes of an image of `COLOUR`.
const SIZE: u64 = 72;

fn of(dir: &Path, edit: impl FnOnce(&mut LoadOptions)) -> Result<Dataset> {
    let mut options = LoadOptions { data_dir: Some(dir.into()), ..LoadOptions::default() };
    edit(&mut options);
    load("mine", &options)
}

/// The same set in memory, and in its files; 40 images are mixed at a time.
fn both(dir: &Path, edit: impl Fn(&mut LoadOptions)) -> [Dataset; 2] {
    [u64::MAX, 0].map(|memory| {
        of(dir, |options| {
            (options.memory, options.buffer) = (memory, 40 * SIZE);
            edit(options);
        })
        .unwrap()
    })
}

/// Two files of 50 pictures in row groups of 8, the last of 2, and one of 300 in a single group.
fn tables(dir: &Path) {
    let rows = |first: usize, count: usize| -> Vec<(Vec<u8>, i64)> {
        (first..first + count).map(|i| (png(i, COLOUR), (i % 3) as i64)).collect()
    };
    let schema = schema(DatasetName::Mnist);
    for part in 0..2 {
        let file = dir.join(format!("train-0000{part}-of-00002.parquet"));
        write(&file, &parquet(&schema, &rows(50 * part, 50), 8));
    }
    write(&dir.join("test.parquet"), &parquet(&schema, &rows(100, 300), 300));
}

/// 300 pictures, each in a file of its own.
fn folders(dir: &Path) {
    for i in 0..300 {
        write(&dir.join(format!("train/{}/{i:03}.png", ["ant", "bee"][i / 150])), &png(i, COLOUR));
    }
    for i in 0..4 {
        write(&dir.join(format!("test/{}/{i}.png", ["ant", "bee"][i / 2])), &png(i, COLOUR));
    }
}

/// The batches of two epochs with their pixels; the first epoch begins after `passed` batches.
fn epochs(set: &ImageSet, passed: usize) -> Vec<(Vec<usize>, Vec<u8>)> {
    let mut rng = Rng::new(5).stream("batches");
    let mut seen = Vec::new();
    for passed in [passed, 0] {
        let mut batches = set.shuffled(7, &mut rng).unwrap();
        batches.pass(passed);
        assert_eq!(batches.len(), set.len().div_ceil(7) - passed);
        for indices in batches {
            let pixels = set.pixels(&indices).unwrap();
            seen.push((indices, pixels));
        }
    }
    seen
}

#[test]
fn files_and_memory_give_the_same_batches() {
    for make in [tables, folders] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let [memory, files] = both(dir.path(), |_| ());
        assert_eq!(memory.class_names, files.class_names);
        for (memory, files) in [(&memory.train, &files.train), (&memory.test, &files.test)] {
            assert!(memory.fits_in_memory() && !files.fits_in_memory());
            assert_eq!(contents(memory), contents(files));
            assert_eq!(epochs(memory, 0), epochs(files, 0));
        }
        let [memory, files] = [&memory.train, &files.train];
        assert_eq!(epochs(memory, 5), epochs(files, 5));
        // The same holds for parts of a set and for other sizes.
        let odd: Vec<usize> = (0..memory.len()).filter(|i| i % 3 == 1).collect();
        type Change = Box<dyn Fn(&ImageSet) -> Result<ImageSet>>;
        let changes: [Change; 4] = [
            Box::new(|set| Ok(set.take(61))),
            Box::new(move |set| set.select(&odd)),
            Box::new(|set| set.resized(3)),
            Box::new(|set| set.take(50).resized(3)),
        ];
        for change in changes {
            let [memory, files] = [memory, files].map(|set| change(set).unwrap());
            assert_eq!(memory.shape(), files.shape());
            assert_eq!(epochs(&memory, 2), epochs(&files, 2));
            let in_order = |set: &ImageSet| -> Vec<u8> {
                let batches = set.in_order(9).unwrap();
                batches.flat_map(|indices| set.pixels(&indices).unwrap()).collect()
            };
            assert_eq!(in_order(&memory), contents(&files).2);
            assert_eq!(in_order(&files), contents(&memory).2);
        }
        // The same holds after transforms and for random augmentations.
        let seen = |set: &ImageSet| -> Vec<f32> {
            let list = |text: &str| Pipeline::new(&text.parse().unwrap()).unwrap();
            let crops = "random-crop:padding=1,flip";
            let set = set.with_transforms(list("grey,resize=7"), list(crops)).unwrap();
            let drawn = set.augmented_batch(&[3, 1], &Rng::new(4), "one", DType::F32, &Device::Cpu);
            drawn.unwrap().0.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(seen(memory), seen(files));
        // The same holds for patches, moments and random shares.
        let mut rngs = [Rng::new(1), Rng::new(1)];
        let patches = |set: &ImageSet, rng: &mut Rng| {
            let patches = set.draw_patches(30, 2, rng).unwrap();
            patches.flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(patches(memory, &mut rngs[0]), patches(files, &mut rngs[1]));
        assert_eq!(memory.channel_moments().unwrap(), files.channel_moments().unwrap());
        let drawn = both(dir.path(), |_| ()).map(|data| data.with_validation(0.2, 3).unwrap());
        assert_eq!(contents(&drawn[0].train), contents(&drawn[1].train));
        assert_eq!(contents(&drawn[0].test), contents(&drawn[1].test));
    }
}

/// 100 rows in 14 groups (of 8, but the seventh and the last of 2), mixed in windows of at most 20: two groups of 8 and
/// perhaps one of 2, or fewer if the next does not fit.
#[test]
fn groups_are_drawn_and_rows_are_mixed_within_windows() {
    let dir = tempfile::tempdir().unwrap();
    tables(dir.path());
    let [memory, _] = both(dir.path(), |_| ());
    let group = |row: usize| (row / 50, row % 50 / 8);
    let order: Vec<usize> =
        memory.train.shuffled(100, &mut Rng::new(2)).unwrap().flatten().collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..100));
    // A window ends where all rows of every group so far have come; each has at most 20 rows.
    let (mut windows, mut open, mut rows) = (Vec::new(), std::collections::HashMap::new(), 0);
    for &row in &order {
        let size = if row % 50 / 8 == 6 { 2 } else { 8 };
        *open.entry(group(row)).or_insert(size) -= 1;
        rows += 1;
        if open.values().all(|&left| left == 0) {
            windows.push(rows);
            rows = 0;
        }
    }
    assert!(windows.iter().all(|&rows| rows <= 20), "{windows:?}");
    assert!(windows.len() >= 5 && windows.iter().any(|&rows| rows >= 16), "{windows:?}");
    let groups: Vec<_> = order.iter().map(|&row| group(row)).collect();
    assert!(groups.windows(2).filter(|pair| pair[0] != pair[1]).count() > 30, "rows are mixed");
    // What fits the buffer comes in the plain order, like a set without groups.
    for (set, dir) in
        [(memory.train.take(40), "take"), (memory.train.select(&[3, 99, 4]).unwrap(), "select")]
    {
        let plain: Vec<Vec<usize>> =
            Batches::shuffled(set.len(), 6, &mut Rng::new(8)).unwrap().collect();
        let found: Vec<Vec<usize>> = set.shuffled(6, &mut Rng::new(8)).unwrap().collect();
        assert_eq!(found, plain, "{dir}");
    }
    let whole = of(dir.path(), |_| ()).unwrap().test;
    let plain: Vec<Vec<usize>> = Batches::shuffled(300, 6, &mut Rng::new(8)).unwrap().collect();
    assert_eq!(whole.shuffled(6, &mut Rng::new(8)).unwrap().collect::<Vec<_>>(), plain);
}

/// A set that stays in its file, which has 1,200 rows in a single group: rows are decoded in blocks of 256. They are in
/// pages of `rows` rows. When the function returns, the pages before row `spoilt` can no longer be read.
fn in_pages(dir: &Path, rows: usize, spoilt: usize) -> ImageSet {
    let pictures: Vec<(Vec<u8>, i64)> = (0..1200).map(|i| (png(i, COLOUR), 0)).collect();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_write_batch_size(rows)
        .set_data_page_row_count_limit(rows)
        .build();
    let mut bytes = parquet_as(properties, &schema(DatasetName::Mnist), &pictures, 1200);
    let path = dir.join("train.parquet");
    write(&path, &bytes);
    write(&dir.join("test.parquet"), &parquet(&schema(DatasetName::Mnist), &pictures[..4], 4));
    let set = of(dir, |options| options.memory = 0).unwrap().train;
    let starts = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"\x89PNG"));
    let starts: Vec<usize> = starts.collect();
    assert_eq!((set.len(), starts.len()), (1200, 1200));
    bytes[4..starts[spoilt - 1] + pictures[spoilt - 1].0.len()].fill(0xff);
    write(&path, &bytes);
    set
}

/// Rows 512 to 767 are in the pages that begin with rows 500, 600 and 700: no earlier page is looked at, not even its
/// header.
#[test]
fn a_block_is_read_without_the_pages_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let set = in_pages(dir.path(), 100, 500);
    let block: Vec<usize> = (512..768).collect();
    let expected: Vec<u8> = block.iter().flat_map(|&i| planes(i, COLOUR)).collect();
    assert_eq!(set.pixels(&[1199]).unwrap(), planes(1199, COLOUR));
    assert_eq!(set.pixels(&block).unwrap(), expected);
    assert_says(&set.pixels(&[300]).unwrap_err().to_string(), &["train.parquet", "broken"]);
}

/// All rows are in a page. It is read with the first block, when the set is loaded, and not again for the others.
#[test]
fn blocks_in_order_read_their_page_once() {
    let dir = tempfile::tempdir().unwrap();
    let set = in_pages(dir.path(), 1200, 1200);
    let all: Vec<usize> = (0..1200).collect();
    let expected: Vec<u8> = all.iter().flat_map(|&i| planes(i, COLOUR)).collect();
    assert_eq!(set.pixels(&all).unwrap(), expected);
    assert!(set.pixels(&[0]).is_err(), "the page can no longer be read");
}

/// Reading does not need the threads of the pool that waits for it.
#[test]
fn whoever_waits_in_a_pool_of_one_thread_gets_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    tables(dir.path());
    let [memory, files] = both(dir.path(), |_| ()).map(|data| data.train);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(|| epochs(&files, 1)), epochs(&memory, 1));
}

#[test]
fn a_broken_picture_is_told_of_at_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows: Vec<(Vec<u8>, i64)> = (0..60).map(|i| (png(i, COLOUR), 0)).collect();
    rows[33].0.truncate(60);
    let schema = schema(DatasetName::Mnist);
    write(&dir.path().join("train.parquet"), &parquet(&schema, &rows, 10));
    write(&dir.path().join("test.parquet"), &parquet(&schema, &rows[..4], 10));
    let stay = |options: &mut LoadOptions| options.memory = 0;
    let set = of(dir.path(), stay).unwrap().train;
    for indices in set.in_order(5).unwrap() {
        let found = set.pixels(&indices);
        match indices.contains(&33) {
            true => assert_says(
                &found.unwrap_err().to_string(),
                &["train.parquet", "in row 33", "PNG", "--skip-bad"],
            ),
            false => assert_eq!(
                found.unwrap(),
                indices.iter().flat_map(|&i| planes(i, COLOUR)).collect::<Vec<_>>()
            ),
        }
    }
    // If it is left out, it is as if it had never been there, in memory or not.
    let [memory, files] = both(dir.path(), |options| options.skip_bad = true);
    assert_eq!(files.train.len(), 59);
    assert_eq!(contents(&memory.train), contents(&files.train));
    assert_eq!(epochs(&memory.train, 0), epochs(&files.train, 0));

    // A larger picture is reported in the same way, with both sizes.
    rows[33].0 = png(33, (3, 5, 6));
    write(&dir.path().join("train.parquet"), &parquet(&schema, &rows, 10));
    let set = of(dir.path(), stay).unwrap().train;
    assert!(set.pixels(&[32, 34]).is_ok());
    assert_says(
        &set.pixels(&[32, 33]).unwrap_err().to_string(),
        &["train.parquet", "5x6 pixels in row 33", "4x6", "--image-size"],
    );
    let set = of(dir.path(), |options| (options.memory, options.image_size) = (0, Some(4)));
    assert_eq!(set.unwrap().train.pixels(&[33]).unwrap().len(), 48);
}

/// All pictures are grey if the first ones are, and a later one in colour is an error; one colour picture among the
/// first ones makes all of them colour.
#[test]
fn colour_is_told_by_the_first_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let grey = (1, 4, 6);
    let mut rows: Vec<(Vec<u8>, i64)> = (0..20).map(|i| (png(i, grey), 0)).collect();
    rows[9].0 = png(9, COLOUR);
    write(&dir.path().join("train.parquet"), &parquet(&schema(DatasetName::Mnist), &rows, 4));
    let [memory, files] = both(dir.path(), |_| ());
    assert_eq!(files.train.shape(), COLOUR);
    assert_eq!(contents(&memory.train), contents(&files.train));

    // The 256 first pictures are grey. In memory all are looked at; in files the one in colour is met when it is read.
    let mut rows: Vec<(Vec<u8>, i64)> = (0..300).map(|i| (png(i, grey), 0)).collect();
    rows[299].0 = png(299, COLOUR);
    write(&dir.path().join("train.parquet"), &parquet(&schema(DatasetName::Mnist), &rows, 4));
    let [memory, files] = both(dir.path(), |_| ());
    assert_eq!((memory.train.shape(), files.train.shape()), (COLOUR, grey));
    let sets = [&files.train, &files.test].into_iter();
    let errors = sets.flat_map(|set| (0..set.len()).filter_map(|at| set.pixels(&[at]).err()));
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_says(&errors[0], &["found colour", "grey, as the other images are", "convert it"]);
}

#[test]
fn a_file_that_goes_while_others_are_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    folders(dir.path());
    let set = of(dir.path(), |options| options.memory = 0).unwrap().train;
    let mut batches = set.in_order(4).unwrap();
    set.pixels(&batches.next().unwrap()).unwrap();
    // Nothing is read this far ahead.
    fs::remove_file(dir.path().join("train/bee/299.png")).unwrap();
    for indices in batches {
        let found = set.pixels(&indices);
        match indices.contains(&299) {
            true => assert_says(&found.unwrap_err().to_string(), &["bee/299.png", "exists"]),
            false => assert!(found.is_ok(), "{indices:?}"),
        }
    }
}
