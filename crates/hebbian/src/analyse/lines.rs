//! Lines of several runs in one chart.
//!
//! Runs whose configurations differ only in the seed share one line: their mean, with a band of one standard
//! deviation to both sides.

use super::opened::{Group, Opened};
use hebbian_train::{Series, Spread};
use std::collections::BTreeMap;

/// A line of one run.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The index of the run; `None` for a reference that is the same for every network and is drawn once, dashed and
    /// black.
    pub run: Option<usize>,
    /// The points. Its name says what the line is of, and may be empty; its colour is ignored.
    pub series: Series,
}

/// The colour of references: black.
const REFERENCE: usize = 6;

/// Returns the lines of `runs` for a chart: one line for each group and each name.
pub(super) fn series(runs: &[Opened], lines: Vec<Line>) -> Vec<Series> {
    let groups: Vec<&Group> = runs.iter().map(|run| &run.group).collect();
    of_groups(&groups, lines)
}

/// Does what [`series`] does, given only the groups of the runs.
fn of_groups(groups: &[&Group], lines: Vec<Line>) -> Vec<Series> {
    let mut references: Vec<Series> = Vec::new();
    let mut all: Vec<(&Group, Vec<Series>)> = Vec::new();
    for Line { run, series } in lines {
        let Some(run) = run else {
            if !references.iter().any(|known| known.points == series.points) {
                references.push(Series { dashed: true, colour: REFERENCE, ..series });
            }
            continue;
        };
        let group = groups[run];
        match all.iter_mut().find(|(known, of)| known.at == group.at && of[0].name == series.name) {
            Some((_, same)) => same.push(series),
            None => all.push((group, vec![series])),
        }
    }
    let one_group = groups.windows(2).all(|pair| pair[0].at == pair[1].at);
    // A colour for each group, unless lines of a group could then not be told apart.
    let alike = |(at, (group, lines)): (usize, &(&Group, Vec<Series>))| {
        all[..at]
            .iter()
            .any(|(other, known)| other.at == group.at && known[0].dashed == lines[0].dashed)
    };
    let by_line = one_group || all.iter().enumerate().any(alike);
    let of_two = by_line && groups.iter().map(|group| group.at).max() == Some(1);
    let kinds: Vec<String> = all.iter().map(|(_, lines)| lines[0].name.clone()).collect();
    let drawn = all.into_iter().enumerate().map(|(at, (group, lines))| {
        let Series { name: of, dashed, .. } = &lines[0];
        let name = match (one_group && group.runs == 1, of.as_str()) {
            (true, of) => of.to_string(),
            (false, "") => group.shown(lines.len()),
            (false, of) => format!("{}, {of}", group.shown(lines.len())),
        };
        let (dashed, colour) = match (by_line, of_two) {
            // With two groups, lines of the same name have the same colour, and those of the second group are dashed.
            (_, true) => (group.at == 1, kinds.iter().position(|kind| kind == of).unwrap_or(at)),
            (true, false) => (*dashed, at),
            (false, false) => (*dashed, group.at),
        };
        Series { name, dashed, colour, ..mean(lines) }
    });
    drawn.chain(references).collect()
}

/// Returns the mean of lines with a band of one standard deviation, or a single line as it is.
fn mean(mut lines: Vec<Series>) -> Series {
    match lines.len() {
        1 => lines.swap_remove(0),
        _ => means(lines.into_iter().flat_map(|line| line.points)),
    }
}

/// Returns the mean of all points (x, y) with the same x, which must be 0 or more, with a band of one standard
/// deviation.
pub(super) fn means(points: impl IntoIterator<Item = (f64, f64)>) -> Series {
    // The bits of numbers that are not negative have the order of the numbers.
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (x, y) in points {
        values.entry(x.to_bits()).or_default().push(y);
    }
    let spread = |(x, values): (u64, Vec<f64>)| Some((f64::from_bits(x), Spread::of(&values)?));
    Series::of_means("", values.into_iter().filter_map(spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(at: usize, name: &str, runs: usize) -> Group {
        Group { at, name: name.to_string(), runs }
    }

    fn named(name: &str, points: &[(f64, f64)]) -> Series {
        Series { name: name.to_string(), points: points.to_vec(), ..Series::default() }
    }

    fn line(run: usize, of: &str, dashed: bool, points: &[(f64, f64)]) -> Line {
        Line { run: Some(run), series: Series { dashed, ..named(of, points) } }
    }

    /// Of 1 and 3 the mean is 2 and the deviation √2; of 5 alone there is none.
    #[test]
    fn seeds_are_one_line_with_a_band() {
        let (two, one) = (group(0, "bp", 2), group(1, "urfb", 1));
        let lines = vec![
            line(0, "", false, &[(0.0, 1.0), (10.0, 5.0)]),
            line(1, "", false, &[(0.0, 7.0)]),
            line(2, "", false, &[(0.0, 3.0)]),
            Line { run: None, series: named("chance", &[(0.0, 0.1)]) },
            Line { run: None, series: named("chance", &[(0.0, 0.1)]) },
        ];
        let found = of_groups(&[&two, &one, &two], lines);
        let [bp, urfb, chance] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*bp.name, bp.colour), ("bp (mean ± sd of 2 seeds)", 0));
        assert_eq!(bp.points, [(0.0, 2.0), (10.0, 5.0)]);
        let [(x, low, high)] = bp.band[..] else { panic!("{:?}", bp.band) };
        let sd = 2f64.sqrt();
        assert!(x == 0.0 && (low - 2.0 + sd).abs() < 1e-12 && (high - 2.0 - sd).abs() < 1e-12);
        assert_eq!((&*urfb.name, urfb.colour, urfb.band.len()), ("urfb", 1, 0));
        assert_eq!((&*chance.name, chance.colour, chance.dashed), ("chance", 6, true));
        // If only one of the two runs could be measured, its line is no mean.
        let lines = vec![line(1, "", false, &[(0.0, 7.0)]), line(2, "", false, &[(0.0, 3.0)])];
        let names: Vec<String> =
            of_groups(&[&two, &one, &two], lines).into_iter().map(|series| series.name).collect();
        assert_eq!(names, ["urfb", "bp"]);
    }

    #[test]
    fn lines_can_be_told_apart() {
        let (one, other) = (group(0, "a", 1), group(1, "b", 1));
        let colours = |groups: &[&Group], lines: Vec<Line>| {
            let of = |series: Series| (series.name, series.colour, series.dashed);
            of_groups(groups, lines).into_iter().map(of).collect::<Vec<_>>()
        };
        let lines = |runs: &[usize], dashed: bool| -> Vec<Line> {
            let both = |&run: &usize| {
                [line(run, "x", false, &[(0.0, 1.0)]), line(run, "y", dashed, &[(0.0, 2.0)])]
            };
            runs.iter().flat_map(both).collect()
        };
        let all = |of: &[(&str, usize, bool)]| -> Vec<(String, usize, bool)> {
            of.iter().map(|&(name, colour, dashed)| (name.to_string(), colour, dashed)).collect()
        };
        // A single run needs no name.
        let single = all(&[("x", 0, false), ("y", 1, true)]);
        assert_eq!(colours(&[&one], lines(&[0], true)), single);
        let by_group =
            all(&[("a, x", 0, false), ("a, y", 0, true), ("b, x", 1, false), ("b, y", 1, true)]);
        assert_eq!(colours(&[&one, &other], lines(&[0, 1], true)), by_group);
        let of_two =
            all(&[("a, x", 0, false), ("a, y", 1, false), ("b, x", 0, true), ("b, y", 1, true)]);
        assert_eq!(colours(&[&one, &other], lines(&[0, 1], false)), of_two);
        let third = group(2, "c", 1);
        let of_three = colours(&[&one, &other, &third], lines(&[0, 1, 2], false));
        let found: Vec<usize> = of_three.iter().map(|(_, colour, _)| *colour).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    }
}
