//! What the numbers of a run mean, in plain words: for the report and for `--help`.

/// A number that runs log or show.
pub(super) struct Term {
    /// Its name in `metrics.jsonl`, without the layer, or in `results.json`; for what only the terminal shows, any.
    pub name: &'static str,
    /// Its name in the terminal; empty if it is not shown there.
    pub short: &'static str,
    /// Its title in charts.
    pub title: &'static str,
    /// What it means.
    pub about: &'static str,
    /// Whether it describes the rule rather than how well classes are distinguished.
    pub of_rule: bool,
}

const fn rule(
    name: &'static str,
    short: &'static str,
    title: &'static str,
    about: &'static str,
) -> Term {
    Term { name, short, title, about, of_rule: true }
}

const fn score(
    name: &'static str,
    short: &'static str,
    title: &'static str,
    about: &'static str,
) -> Term {
    Term { name, short, title, about, of_rule: false }
}

/// All terms, in the order in which they are shown.
pub(super) const TERMS: &[Term] = &[
    score("accuracy", "", "Accuracy", "Share of images that are classified correctly."),
    score("error", "error", "Error", "Share of images that are classified wrongly."),
    score("loss", "loss", "Loss", "The quantity that training minimises; lower is better."),
    score(
        "linear_optimum",
        "optimum of a linear network",
        "Optimum of a linear network",
        "The smallest loss that a linear network with as many hidden units can have on the training images.",
    ),
    score(
        "head",
        "head",
        "Head",
        "A linear layer with softmax that is trained with labels on the features.",
    ),
    score(
        "head on raw pixels",
        "head on raw pixels",
        "Head on raw pixels",
        "The same head, trained on the pixels of the images, after the transforms that the network sees them through.",
    ),
    score(
        "head on random networks",
        "head on N random networks",
        "Head on random networks",
        "The same head, trained on the features of N networks with random weights.",
    ),
    score(
        "few labels",
        "with N labels",
        "Few labels",
        "The same read-outs if only N training images have labels: mean over several draws of these images.",
    ),
    score(
        "features",
        "features",
        "Features",
        "What the network computes of an image: the input of the read-outs.",
    ),
    score("samples", "samples/s", "Samples per second", "Samples learned in a second."),
    score(
        "ridge",
        "ridge",
        "Ridge regression",
        "Linear regression from the features to the classes, in closed form.",
    ),
    score(
        "ridge on raw pixels",
        "ridge on raw pixels",
        "Ridge regression on raw pixels",
        "The same regression from the pixels of the images, after the transforms that the network sees them through.",
    ),
    score(
        "nearest class mean",
        "nearest class mean",
        "Nearest class mean",
        "The class whose mean feature vector is nearest.",
    ),
    score(
        "label assignment",
        "label assignment",
        "Label assignment",
        "Each unit gets the class of the images that it wins most, and the winner decides.",
    ),
    rule(
        "mean_radius",
        "radius",
        "Radius",
        "Mean length of the weight vectors of a layer. The rules that normalise drive it to 1 for every unit that learns.",
    ),
    rule(
        "left_start",
        "left their random start",
        "Units that have left their start",
        "Share of the units of each layer whose weights have a cosine below 0.5 with those they started from.",
    ),
    rule("min_radius", "", "Smallest radius", "The shortest weight vector of a layer."),
    rule("max_radius", "", "Largest radius", "The longest weight vector of a layer."),
    rule(
        "convergence",
        "",
        "Distance from radius 1",
        "Mean of |radius − 1| over the units of a layer: 0 once all have converged.",
    ),
    rule(
        "converged_units",
        "",
        "Converged units",
        "Units whose radius is within 0.01 of 1 (0.005 in dense layers of SoftHebb).",
    ),
    rule(
        "winner_entropy",
        "entropy",
        "Entropy of winners",
        "How evenly the units of a layer share the wins: 1 when all win as often, 0 when one unit wins always.",
    ),
    rule(
        "winner_share",
        "",
        "Activity of winners",
        "Mean activity of the unit that wins: 1 if only the winner is active, 1/K if all K units are equally active.",
    ),
    rule(
        "silent_units",
        "silent",
        "Silent units",
        "Units that have not won any competition since the last line. In convolutions, one step in ten is counted. If there \
         were few competitions since the last line, some of these units will still win later.",
    ),
    rule("active", "active share", "Active share", "Share of a layer's outputs that are above 0."),
    rule("mean_output", "", "Mean output", "Mean output of a layer before pooling."),
    rule("max_output", "", "Largest output", "Largest output of a layer before pooling."),
    rule(
        "least_win_rate",
        "win rates",
        "Smallest win rate",
        "Win rate of the least active unit divided by the target rate; in the terminal, of the most active unit too. At 1 a \
         unit wins exactly as often as intended.",
    ),
    rule(
        "largest_win_rate",
        "",
        "Largest win rate",
        "Win rate of the most active unit divided by the target rate: at 1 it wins exactly as often as intended.",
    ),
    rule("threshold_sum", "", "Sum of thresholds", "Sum of the adaptive thresholds of a layer."),
    rule(
        "fourth_power",
        "Σ w⁴",
        "Concentration of weights",
        "Mean of Σ w⁴ over filters of length 1: 1 when each has a single connection, small when weights are spread out.",
    ),
    rule(
        "correlation",
        "W-R correlation",
        "Alignment of W and R",
        "Correlation of the forward weights W with the feedback weights R of a layer: 1 if they are proportional, 0 if they \
         are unrelated.",
    ),
    rule(
        "weight_angle",
        "W-R angle",
        "Angle of W and R",
        "Angle, in degrees, of the forward weights W and the feedback weights R of a layer: 0 is the same \
         direction, 90 is unrelated.",
    ),
    rule(
        "weight_norm_ratio",
        "‖R‖/‖W‖",
        "Size of R",
        "Length of the feedback weights R of a layer over that of the forward weights W.",
    ),
    rule(
        "same_sign",
        "same sign",
        "Signs of W and R",
        "Share of the connections whose forward and feedback weights have the same sign: one half if they are unrelated.",
    ),
    rule(
        "angle",
        "error angle",
        "Angle to back-propagation",
        "Mean angle, in degrees, between the error that reaches a layer and the one that back-propagation would send: 0 is the \
         same direction, 90 is orthogonal.",
    ),
    rule(
        "norm_ratio",
        "error norm ratio",
        "Size of the error",
        "Length of the error that reaches a layer over the length of the one that back-propagation would send.",
    ),
    rule(
        "error_norm",
        "‖δ‖",
        "Length of the error",
        "Mean length of the error that an image sends to a layer: where it is tiny, the error's angle says little.",
    ),
    rule(
        "update_angle",
        "update angle",
        "Angle of the update",
        "Angle, in degrees, between the update of a layer's weights for a batch and the one by back-propagation: 0 is the same \
         direction, 90 is orthogonal.",
    ),
    rule(
        "alignment",
        "cosine",
        "Alignment of the teaching signal",
        "Cosine, over all training images, of the signal that teaches the hidden neurons and the one that back-propagation \
         would send: 1 is the same direction, 0 is orthogonal.",
    ),
    rule(
        "interneuron_gap",
        "‖QQᵀ − W₂ᵀW₂‖/‖W₂ᵀW₂‖",
        "Distance of interneurons from their optimum",
        "Relative distance of QQᵀ, with which interneurons inhibit, from W₂ᵀW₂, with which the teaching signal would be that \
         of back-propagation: 0 at the optimum of a linear circuit.",
    ),
    rule(
        "mean_norm",
        "norm",
        "Norm of weights",
        "Mean p-norm of the weight vectors. The rule drives it to 1 for every unit that learns.",
    ),
    rule("norm", "", "Norm of weights", "Mean length of the weight vectors of a layer."),
    rule(
        "step_size",
        "",
        "Size of a step",
        "Mean size of the change of a weight, without the decay, over the learning rate. For GHL, the largest change in a layer is 1.",
    ),
    rule(
        "empty_centroids",
        "",
        "Empty centroids",
        "Centroids that are nearest to no patch and so are 0.",
    ),
    rule(
        "smallest_eigenvalue",
        "",
        "Smallest eigenvalue",
        "Smallest eigenvalue of the covariance of the patches.",
    ),
    rule(
        "largest_eigenvalue",
        "",
        "Largest eigenvalue",
        "Largest eigenvalue of the covariance of the patches.",
    ),
];

/// Returns the term of that name.
pub(super) fn find(name: &str) -> Option<&'static Term> {
    TERMS.iter().find(|term| term.name == name)
}

/// The width of `--help`, in characters.
const WIDTH: usize = 100;

/// Returns, for `--help`, the meaning of the numbers in the terminal: of those that every run shows, and of those
/// called `names`.
pub(crate) fn legend(names: &[&str]) -> String {
    let of_progress = [
        (
            "layer N",
            "Layers are counted from 1, the one that sees the image; metrics.jsonl and tensors count from 0.",
        ),
        ("images/s", "Images shown in a second."),
        ("ETA", "Estimated time remaining."),
        ("expected", "What the record has for this command, and the time that it takes."),
        ("test accuracy", "Share of the test images that are classified correctly."),
        ("±", "Standard deviation over the networks or seeds of which the mean is shown."),
    ];
    let terms = TERMS.iter().filter(|term| names.contains(&term.name));
    let all: Vec<(&str, &str)> =
        of_progress.into_iter().chain(terms.map(|term| (term.short, term.about))).collect();
    let width = all.iter().map(|(short, _)| short.chars().count()).max().unwrap_or_default();
    let mut text = String::from("Numbers in the terminal:");
    for (short, about) in all {
        let mut line = format!("  {short:width$} ");
        for word in about.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                text += "\n";
                text += &line;
                line = " ".repeat(width + 3);
            }
            line += " ";
            line += word;
        }
        text += "\n";
        text += &line;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Door;

    /// Each method explains every number that it shows, by the name that the number has in the terminal, and no number
    /// is explained that no method shows.
    #[test]
    fn the_legends_have_a_line_for_every_number() {
        let mut shown = Vec::new();
        macro_rules! each {
            ($($module:ident::$method:ident)*) => {
                $(shown.push(<hebbian_models::$module::$method as Door>::NUMBERS);)*
            };
        }
        hebbian_models::for_each_method!(each);
        for names in &shown {
            let text = legend(names);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            let of_run =
                ["layer N", "images/s", "ETA", "expected", "test accuracy", "±"].into_iter();
            let shorts = names.iter().map(|name| find(name).expect(name).short).chain(of_run);
            for short in shorts.clone() {
                let is_it = |line: &str| line.starts_with(&format!("  {short} "));
                assert!(!short.is_empty() && text.lines().any(is_it), "{short}: {text}");
            }
            let explained = text.lines().filter(|line| !line.starts_with("   ")).count();
            assert_eq!(explained, 1 + shorts.count(), "{text}");
        }
        for term in TERMS {
            let by_one = shown.iter().any(|names| names.contains(&term.name));
            assert_eq!(by_one, !term.short.is_empty(), "{}", term.name);
        }
    }

    #[test]
    fn a_legend_has_every_word() {
        let text = legend(&["mean_radius"]);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let radius = find("mean_radius").unwrap();
        assert!(words(&text).contains(&format!("radius {}", radius.about)), "{text}");
    }
}
