//! Charts, tested by where their colours are.

use hebbian_train::{
    BarChart, BarSeries, Histogram, LineChart, Picture, Series, Spread, draw_panels,
};

const BLUE: [u8; 3] = [0, 114, 178];
const VERMILION: [u8; 3] = [213, 94, 0];

/// The smallest box that holds all pixels of a colour.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Extent {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

fn extent(picture: &Picture, colour: [u8; 3]) -> Option<Extent> {
    let mut found: Option<Extent> = None;
    for y in 0..picture.height() {
        for x in 0..picture.width() {
            if picture.pixel(x, y) == Some(colour) {
                let (left, top) = (x as f64, y as f64);
                let (right, bottom) = (left + 1.0, top + 1.0);
                let so_far = found.unwrap_or(Extent { left, right, top, bottom });
                found = Some(Extent {
                    left: so_far.left.min(left),
                    right: so_far.right.max(right),
                    top: so_far.top.min(top),
                    bottom: so_far.bottom.max(bottom),
                });
            }
        }
    }
    found
}

fn count(picture: &Picture, colour: [u8; 3]) -> usize {
    let all = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
    all.filter(|&(x, y)| picture.pixel(x, y) == Some(colour)).count()
}

/// A series without a legend entry.
fn series(colour: usize, points: &[(f64, f64)]) -> Series {
    Series { points: points.to_vec(), colour, ..Default::default() }
}

fn lines(log_y: bool, series: Vec<Series>) -> LineChart {
    LineChart { title: "T".to_string(), log_y, series, ..Default::default() }
}

/// Whether two places in pixels are the same except for rounding.
fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1.5
}

#[test]
fn points_lie_where_their_values_say() {
    // The blue diagonal spans the axes; the vermilion dot lies where its values' shares of the axes say.
    for (log_y, dot, ends, share) in [
        (false, (3.0, 25.0), [(-1.0, 5.0), (9.0, 45.0)], (0.4, 0.5)),
        (true, (7.0, 0.1), [(-1.0, 0.001), (9.0, 1000.0)], (0.8, 1.0 / 3.0)),
    ] {
        let chart = lines(log_y, vec![series(0, &ends), series(1, &[dot])]);
        let picture = chart.draw().unwrap();
        let (line, dot) = (extent(&picture, BLUE).unwrap(), extent(&picture, VERMILION).unwrap());
        // Ends are round and as wide as the line, so they reach 2 pixels beyond the points.
        let x = line.left + 2.0 + share.0 * (line.right - line.left - 4.0);
        let y = line.bottom - 2.0 - share.1 * (line.bottom - line.top - 4.0);
        assert!(close((dot.left + dot.right) / 2.0, x), "{dot:?} at {x}");
        assert!(close((dot.top + dot.bottom) / 2.0, y), "{dot:?} at {y}");
        assert!(line.right - line.left > 600.0 && line.bottom - line.top > 400.0);
    }
}

#[test]
fn series_add_only_their_own_pixels() {
    let frame = [(0.0, 0.0), (10.0, 0.0), (10.0, 8.0)];
    let without = lines(false, vec![series(0, &frame)]).draw().unwrap();
    let with = lines(false, vec![series(0, &frame), series(1, &[(2.0, 4.0), (6.0, 4.0)])]);
    let with = with.draw().unwrap();
    let frame = extent(&without, BLUE).unwrap();
    assert_eq!(extent(&with, BLUE).unwrap(), frame);
    // A level line from 0.2 to 0.6 of the way at half the height, and nothing else changes.
    let x = |share: f64| frame.left + 2.0 + share * (frame.right - frame.left - 4.0);
    let middle = (frame.top + frame.bottom) / 2.0;
    for row in 0..with.height() {
        for column in 0..with.width() {
            let (x_here, y_here) = (column as f64 + 0.5, row as f64 + 0.5);
            let inside = (x(0.2)..x(0.6)).contains(&x_here) && (y_here - middle).abs() < 1.0;
            let near =
                (x(0.2) - 4.0..x(0.6) + 4.0).contains(&x_here) && (y_here - middle).abs() < 4.0;
            let pixel = with.pixel(column, row);
            assert!(!inside || pixel == Some(VERMILION), "{column} {row}");
            assert!(near || pixel == without.pixel(column, row), "{column} {row}");
        }
    }
}

#[test]
fn what_is_not_finite_is_a_gap() {
    let long: Vec<_> = (0..=100).map(|x| (f64::from(x), 1.0)).collect();
    let row = |chart: &LineChart| {
        let picture = chart.draw().unwrap();
        let Extent { left, right, top, bottom } = extent(&picture, BLUE).unwrap();
        let y = ((top + bottom) / 2.0) as usize;
        let at = |share: f64| (left + 2.0 + share * (right - left - 4.0)) as usize;
        [0.2, 0.38, 0.5, 0.62, 0.8].map(|share| picture.pixel(at(share), y) == Some(BLUE))
    };
    assert_eq!(row(&lines(false, vec![series(0, &long)])), [true; 5]);
    for missing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut points = long.clone();
        points[41..60].iter_mut().for_each(|point| point.1 = missing);
        let gap = row(&lines(false, vec![series(0, &points)]));
        assert_eq!(gap, [true, true, false, true, true], "{missing}");
    }
    // Values without a logarithm and a missing x are gaps too; a point by itself is a dot.
    let mut points = long;
    points[41..60].iter_mut().for_each(|point| point.1 = 0.0);
    points[50].1 = 1.0;
    points[70..90].iter_mut().for_each(|point| point.0 = f64::NAN);
    assert_eq!(row(&lines(true, vec![series(0, &points)])), [true, true, true, true, false]);
}

/// Means of 4 and deviations of 2 at 0 to 10, in blue, and vermilion dots at (0, 0) and (10, 8).
fn spread(dots: bool) -> LineChart {
    let means = (0..=10).map(|x| (f64::from(x), Spread { mean: 4.0, sd: Some(2.0) }));
    let means = Series { dots, ..Series::of_means("", means) };
    let ends = Series { dots: true, ..series(1, &[(0.0, 0.0), (10.0, 8.0)]) };
    lines(false, vec![ends, means])
}

#[test]
fn bands_reach_one_deviation_to_both_sides() {
    let with = spread(false);
    let mut without = with.clone();
    without.series[1].band.clear();
    let (with, without) = (with.draw().unwrap(), without.draw().unwrap());
    let ends = extent(&with, VERMILION).unwrap();
    // From the centre of the dot at (0, 0) to that at (10, 8).
    let radius = 4.0;
    let (zero, unit) = (ends.bottom - radius, (ends.bottom - ends.top - 2.0 * radius) / 8.0);
    let x = |share: f64| ends.left + radius + share * (ends.right - ends.left - 2.0 * radius);
    // A quarter of blue on white.
    let shade = BLUE.map(|part| (f64::from(part) / 4.0 + 255.0 * 0.75) as u8);
    for share in [0.13, 0.37, 0.52, 0.88] {
        let column = x(share) as usize;
        let rows: Vec<usize> = (0..with.height())
            .filter(|&row| with.pixel(column, row) != without.pixel(column, row))
            .collect();
        let (top, bottom) = (rows[0] as f64, rows[rows.len() - 1] as f64 + 1.0);
        assert!(close(top, zero - 6.0 * unit) && close(bottom, zero - 2.0 * unit), "{share}");
        let between = with.pixel(column, (zero - 3.3 * unit) as usize).unwrap();
        assert!(between.iter().zip(shade).all(|(&found, part)| found.abs_diff(part) <= 2));
    }
    // The band does not reach beyond the first and the last point.
    let differs = |at: f64| {
        let column = at as usize;
        (0..with.height()).any(|row| with.pixel(column, row) != without.pixel(column, row))
    };
    assert!(differs(x(0.0) + 2.0) && differs(x(1.0) - 2.0));
    assert!(!differs(x(0.0) - 2.0) && !differs(x(1.0) + 2.0));
    // One seed has no band.
    let one = Series::of_means("", [(0.0, Spread { mean: 1.0, sd: None })]);
    assert!(one.band.is_empty());
    let sds = [None, Some(0.5)];
    let two = Series::of_means("", sds.map(|sd| (3.0, Spread { mean: 2.0, sd })));
    assert_eq!((two.points, two.band), (vec![(3.0, 2.0); 2], vec![(3.0, 1.5, 2.5)]));
    // On a logarithmic axis, a band that reaches zero goes down to the end of the axis.
    let mut log = LineChart { log_y: true, ..spread(false) };
    log.series[0].points.clear();
    log.series[1].band.iter_mut().for_each(|ends| ends.1 = 0.0);
    log.series.push(series(2, &[(0.0, 0.01)]));
    let (picture, green) = (log.draw().unwrap(), [0, 158, 115]);
    let bottom = extent(&picture, green).unwrap().bottom as usize;
    let column = picture.width() / 2 + 30;
    assert!(
        picture.pixel(column, bottom).unwrap().iter().zip(shade).all(|(&f, p)| f.abs_diff(p) <= 2)
    );
}

#[test]
fn dots_have_error_bars() {
    let picture = spread(true).draw().unwrap();
    let (bars, ends) = (extent(&picture, BLUE).unwrap(), extent(&picture, VERMILION).unwrap());
    let (zero, unit) = (ends.bottom - 4.0, (ends.bottom - ends.top - 8.0) / 8.0);
    assert!(close(bars.top, zero - 6.0 * unit - 0.5), "{bars:?} {ends:?}");
    assert!(close(bars.bottom, zero - 2.0 * unit + 0.5), "{bars:?} {ends:?}");
    // There is nothing between two error bars.
    let step = (ends.right - ends.left - 8.0) / 10.0;
    let between = (ends.left + 4.0 + 2.5 * step) as usize;
    assert!((0..picture.height()).all(|row| picture.pixel(between, row) != Some(BLUE)));
}

#[test]
fn dashes_leave_some_out() {
    let level = [(0.0, 1.0), (1.0, 1.0)];
    // Pixels along the middle of the line.
    let count = |picture: &Picture| {
        let Extent { top, bottom, .. } = extent(picture, BLUE).unwrap();
        let row = ((top + bottom) / 2.0) as usize;
        (0..picture.width()).filter(|&x| picture.pixel(x, row) == Some(BLUE)).count()
    };
    let solid = lines(false, vec![series(0, &level)]).draw().unwrap();
    let dashed = lines(false, vec![Series { dashed: true, ..series(0, &level) }]).draw().unwrap();
    let share = count(&dashed) as f64 / count(&solid) as f64;
    assert!((0.4..0.8).contains(&share), "{share}");
    // The dashes of a line do not depend on the number of its points.
    let points: Vec<_> = (0..=1000).map(|x| (f64::from(x) / 1000.0, 1.0)).collect();
    let many = lines(false, vec![Series { dashed: true, ..series(0, &points) }]).draw().unwrap();
    let ratio = count(&many) as f64 / count(&dashed) as f64;
    assert!((0.95..1.05).contains(&ratio), "{ratio}");
}

/// The eighth line has the first colour again, in dots; the seven before it are solid.
#[test]
fn colours_that_repeat_are_dotted() {
    let draw = |colour: usize, dashed: bool| {
        let line = Series { dashed, ..series(colour, &[(0.0, 1.0), (1.0, 1.0)]) };
        lines(false, vec![line]).draw().unwrap()
    };
    let (solid, dotted, dashed) = (draw(0, false), draw(7, false), draw(7, true));
    let share = |picture: &Picture| count(picture, BLUE) as f64 / count(&solid, BLUE) as f64;
    assert!((0.2..0.6).contains(&share(&dotted)), "{}", share(&dotted));
    assert!((share(&dashed) - share(&draw(0, true))).abs() < 1e-12, "dashes stay as they are");
}

#[test]
fn dots_are_not_joined() {
    let dots = |points: &[(f64, f64)]| Series { dots: true, ..series(0, points) };
    let picture =
        lines(false, vec![dots(&[(0.0, 1.0), (50.0, 1.0), (100.0, 1.0)])]).draw().unwrap();
    let Extent { left, right, top, bottom } = extent(&picture, BLUE).unwrap();
    // The dots are round, and centred on the first and the last point.
    let (radius, y) = ((bottom - top) / 2.0, ((top + bottom) / 2.0) as usize);
    let at = |share: f64| (left + radius + share * (right - left - 2.0 * radius)) as usize;
    let found = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| picture.pixel(at(share), y) == Some(BLUE));
    assert_eq!(found, [true, false, true, false, true]);
    // More dots are smaller, but can be seen.
    let height = |count: usize| {
        let picture = lines(false, vec![dots(&vec![(1.0, 1.0); count])]).draw().unwrap();
        let Extent { top, bottom, .. } = extent(&picture, BLUE).unwrap();
        bottom - top
    };
    let heights = [1, 20, 300, 3000, 300_000].map(height);
    assert!(close(heights[0], heights[1]) && heights[1] > heights[2] + 2.0, "{heights:?}");
    assert!(heights[2] > heights[3] && heights[4] >= 2.0, "{heights:?}");
    // The legend has a sample dot of radius 4, which holds more than 30 whole pixels.
    let named = Series { name: "dots".to_string(), ..dots(&[(1.0, 1.0); 3000]) };
    let named = lines(false, vec![named]).draw().unwrap();
    let plain = lines(false, vec![dots(&[(1.0, 1.0); 3000])]).draw().unwrap();
    assert!(count(&named, BLUE) > 30 + count(&plain, BLUE));
}

#[test]
fn histograms_by_hand() {
    let values = [0.0, 4.0, 0.5, 1.0, f64::NAN, 1.0, 2.0, 3.9, f64::INFINITY];
    let histogram = Histogram::new(&values, 4).unwrap();
    assert_eq!((histogram.low, histogram.high), (0.0, 4.0));
    assert_eq!(histogram.counts, [2, 2, 1, 2]);
    assert_eq!(Histogram::new(&[-3.0; 5], 3).unwrap().counts, [0, 5, 0]);

    // The outline goes up, level, and down to the floor; after a gap, up, level and down again.
    let outline = Histogram { low: 0.0, high: 3.0, counts: vec![2, 0, 1] }.series(0.5).points;
    let (one, other) = (&outline[..4], &outline[5..]);
    assert_eq!(one, [(0.0, 0.5), (0.0, 2.0), (1.0, 2.0), (1.0, 0.5)]);
    assert!(outline[4].1.is_nan());
    assert_eq!(other, [(2.0, 0.5), (2.0, 1.0), (3.0, 1.0), (3.0, 0.5)]);
    let steps = Histogram { low: 0.0, high: 2.0, counts: vec![3, 1] }.series(0.0).points;
    assert_eq!(steps, [(0.0, 0.0), (0.0, 3.0), (1.0, 3.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0)]);

    for (values, bins, says) in [
        (&[1.0, 2.0][..], 0, "0 intervals from 1 to 2"),
        (&[f64::NAN], 3, "needs a finite value; none of the 1 is"),
        (&[], 3, "needs a finite value; none of the 0 is"),
    ] {
        let error = Histogram::new(values, bins).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let both = Histogram::of_each(&[&[0.0, 0.5], &[2.0, f64::NAN]], 2).unwrap();
    assert!(both.iter().all(|one| (one.low, one.high) == (0.0, 2.0)));
    assert_eq!([&both[0].counts[..], &both[1].counts], [[2, 0], [0, 1]]);
    for bins in [(1 << 20) + 1, usize::MAX] {
        let error = Histogram::new(&[1.0, 2.0], bins).unwrap_err().to_string();
        assert!(error.contains(&format!("{bins} intervals")), "{error}");
        assert!(error.contains("expected 1 to 1048576"), "{error}");
    }
    let error = Histogram::new(&[-1e308, 1e308], 3).unwrap_err().to_string();
    assert!(error.contains("3 intervals from -1"), "{error}");
}

#[test]
fn outlines_have_no_dots() {
    // Equal intervals look like a single one, which is all line and reaches at most 2 pixels beyond the points.
    let draw = |bins: usize| {
        let histogram = Histogram { low: 0.0, high: 1.0, counts: vec![5; bins] };
        lines(true, vec![series(0, &histogram.series(0.5).points)]).draw().unwrap()
    };
    let (one, ten) = (draw(1), draw(10));
    assert_eq!(extent(&one, BLUE), extent(&ten, BLUE));
    assert_eq!(count(&one, BLUE), count(&ten, BLUE));
}

#[test]
fn legends_stand_beside_the_plot() {
    let chart = |name: &str| {
        let full = Series { name: name.to_string(), ..series(1, &[(0.0, 0.0), (1.0, 1.0)]) };
        let chart = lines(false, vec![full]);
        (chart.clone(), chart.draw().unwrap())
    };
    let ((_, without), (chart, with)) = (chart(""), chart("validation"));
    assert!(with.width() > without.width() + 100);
    let (plot, both) = (extent(&without, VERMILION).unwrap(), extent(&with, VERMILION).unwrap());
    assert_eq!((plot.left, plot.bottom), (both.left, both.bottom));
    assert!(both.right > plot.right + 10.0);
    // Panels with one legend share it; panels with different ones each have theirs.
    let pair = draw_panels(&[chart.clone(), chart.clone()], 1).unwrap();
    assert_eq!((pair.width(), pair.height()), (with.width(), 2 * with.height()));
    assert_eq!(count(&pair, VERMILION), count(&with, VERMILION) + count(&without, VERMILION));
    let mut other = chart.clone();
    other.series[0].name = "validatiom".to_string();
    let pair = draw_panels(&[chart, other], 1).unwrap();
    assert_eq!(count(&pair, VERMILION), 2 * count(&with, VERMILION));
}

#[test]
fn panels_are_aligned() {
    let narrow = lines(false, vec![series(0, &[(0.0, 0.0), (1.0, 1.0)])]);
    let wide = LineChart {
        y_label: "correlation".to_string(),
        ..lines(false, vec![series(1, &[(0.0, -0.00012), (1.0, 0.00034)])])
    };
    let picture = draw_panels(&[narrow.clone(), wide.clone()], 1).unwrap();
    let (above, below) = (extent(&picture, BLUE).unwrap(), extent(&picture, VERMILION).unwrap());
    assert_eq!((above.left, above.right), (below.left, below.right));
    assert!(above.bottom < below.top);
    let picture = draw_panels(&[narrow, wide], 2).unwrap();
    let (left, right) = (extent(&picture, BLUE).unwrap(), extent(&picture, VERMILION).unwrap());
    assert!(left.right < right.left);
    assert!(close(left.right - left.left, right.right - right.left));
}

fn bars(values: &[Option<f64>], errors: &[Option<f64>]) -> BarChart {
    let errors = errors.iter().copied().chain(std::iter::repeat(None));
    let values: Vec<_> =
        values.iter().zip(errors).map(|(mean, sd)| mean.map(|mean| Spread { mean, sd })).collect();
    BarChart {
        title: "B".to_string(),
        groups: values.iter().map(|_| "g".to_string()).collect(),
        series: vec![BarSeries { values, ..Default::default() }],
        ..Default::default()
    }
}

#[test]
fn bars_are_as_high_as_their_values() {
    // A blue bar of 8 and a vermilion one of -4 in the same group.
    let mut chart = bars(&[Some(8.0)], &[]);
    chart.series.extend(bars(&[Some(-4.0)], &[]).series);
    let picture = chart.draw().unwrap();
    let (up, down) = (extent(&picture, BLUE).unwrap(), extent(&picture, VERMILION).unwrap());
    // The zero line between them hides a row or two of each.
    let heights = (up.bottom - up.top, down.bottom - down.top);
    assert!(heights.1 > 100.0 && (heights.0 - 2.0 * heights.1).abs() <= 4.0, "{heights:?}");
    assert!((1.0..5.0).contains(&(down.top - up.bottom)) && up.right < down.left);
    assert!(close(up.right - up.left, down.right - down.left));
}

#[test]
fn errors_and_values_are_drawn_on_bars() {
    // The range of values is the same: the end of the first bar's error is the highest point in both.
    let wide = [Some(10.0), Some(6.0)];
    let with = bars(&wide, &[Some(2.0), Some(3.0)]).draw().unwrap();
    let without = bars(&wide, &[Some(2.0), None]).draw().unwrap();
    assert_eq!((with.width(), with.height()), (without.width(), without.height()));
    let (mut top, mut bottom) = (f64::MAX, 0f64);
    let bar = extent(&with, BLUE).unwrap();
    let middle = (bar.left + bar.right) / 2.0;
    for y in 0..with.height() {
        for x in 0..with.width() {
            if with.pixel(x, y) != without.pixel(x, y) {
                assert!(x as f64 > middle, "only the second bar changes");
                // The number above the bar moves up with the whisker; the whisker itself is dark
                // where there was a bar.
                if without.pixel(x, y) == Some(BLUE) {
                    bottom = bottom.max(y as f64 + 1.0);
                }
                top = top.min(y as f64);
            }
        }
    }
    // 10 is as high as the first bar, whose last row the zero line hides, so a unit is a tenth of
    // it. The whisker's end, 3 below 6, is half of its line of 2 pixels lower.
    let (zero, unit) = (bar.bottom + 1.0, (bar.bottom + 1.0 - bar.top) / 10.0);
    assert!(close(bottom, zero - 3.0 * unit + 1.0), "{bottom} {bar:?}");
    // The number is above the upper end of the whisker.
    let end = zero - 9.0 * unit;
    assert!((10.0..40.0).contains(&(end - top)), "{end} {top}");
}

#[test]
fn missing_bars_are_left_out() {
    let width = |values: &[Option<f64>]| {
        let picture = bars(values, &[]).draw().unwrap();
        let bar = extent(&picture, BLUE).unwrap();
        bar.right - bar.left
    };
    let both = width(&[Some(1.0), Some(1.0)]);
    let one = bars(&[Some(1.0)], &[]).draw().unwrap();
    for missing in [None, Some(f64::NAN), Some(f64::INFINITY)] {
        assert!(width(&[Some(1.0), missing]) < both / 2.0);
        assert!(bars(&[Some(1.0)], &[missing]).draw().unwrap() == one);
    }
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let message = |result: hebbian_train::Result<Picture>| result.unwrap_err().to_string();
    let nothing = message(lines(false, vec![]).draw());
    assert!(nothing.contains(r#"chart "T""#) && nothing.contains("none is finite"), "{nothing}");
    let points = [(0.0, -1.0), (1.0, 0.0), (f64::NAN, 1.0)];
    let log = message(lines(true, vec![series(0, &points)]).draw());
    assert!(log.contains("3 points") && log.contains("y > 0"), "{log}");
    assert!(message(draw_panels(&[], 1)).contains("at least one"));
    let x = LineChart { log_x: true, ..lines(false, vec![series(0, &[(0.0, 1.0)])]) };
    assert!(message(x.draw()).contains("x > 0"));

    let mut chart = bars(&[Some(1.0), Some(2.0)], &[]);
    chart.series[0].values.push(None);
    assert!(message(chart.draw()).contains("3 values for 2 groups"));
    assert!(message(bars(&[None], &[]).draw()).contains(r#"chart "B""#));
    assert!(message(bars(&[Some(1.0); 100_000], &[]).draw()).contains("a picture of"));
    assert!(message(bars(&[], &[]).draw()).contains("0 groups"));
}

#[test]
fn any_range_has_ticks() {
    // Ticks for ranges that are hard to divide come to an end, and the chart draws what it should.
    for ends in [
        (0.0, 0.0),
        (1.0, 1.0),
        (-1e300, 1e300),
        (5e-324, 5e-324),
        (0.0, 5e-324),
        (1e16, 1e16 + 2.0),
        (-7.0, -7.0),
        (1e-300, 1e300),
        (9.99, 10.01),
    ] {
        for log_y in [false, true] {
            let points = [(ends.0, ends.1), (ends.1, ends.0)];
            match lines(log_y, vec![series(0, &points)]).draw() {
                Ok(picture) => assert!(extent(&picture, BLUE).is_some(), "{ends:?}"),
                Err(_) => assert!(log_y && ends.0.max(ends.1) <= 0.0, "{ends:?}"),
            }
        }
    }
}
