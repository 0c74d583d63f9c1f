use std::fmt::Write;

use hebbian_data::transforms::InputConfig;
use serde_json::Value;

use super::About;
use crate::{Results, Spread};

/// The start of every card, by which a file is recognised as a card of this program.
pub(crate) const START: &str = "---\nlibrary_name: candle-hebbian\n";

/// The model card of a run: front matter as the Hugging Face hub reads it, with the `model-index`; then
/// what the model is, its figures and how to load it.
pub(super) fn card(about: &About, results: &Results) -> String {
    let About { method, preset, dataset, image: (channels, height, width), class_names, .. } =
        about;
    let accuracy = results.test_accuracy;
    // A text in JSON is one in YAML, too.
    let [name, set] = [preset, dataset].map(|text| Value::from(text.as_str()));
    let mut text = format!(
        "{START}pipeline_tag: image-classification
tags: [hebbian, local-learning, {method}]
model-index:
  - name: {name}
    results:
      - task: {{ type: image-classification }}
        dataset: {{ name: {set}, type: {set}, split: {tested} }}
        metrics:
          - {{ type: accuracy, value: {accuracy} }}
---

# {preset}

A network of the method `{method}`, trained on {train} images of {dataset}{unlabelled} ({channels} x {height} x {width}, {classes} classes) with
seed {seed}, and tested on {test} {part} images{roles}.
`config.json` has the settings of its network, and is a preset.

| | {part} accuracy, % |
|---|---|
",
        part = crate::part(results.validation),
        tested = match results.validation {
            Some(_) => crate::part(results.validation),
            None => about.parts[1],
        },
        test = about.counts.test,
        roles = match about.parts {
            ["train", "test"] => String::new(),
            [learned, tested] => format!(
                " (the images to learn from are those of the split `{learned}`, the test images are of `{tested}`)"
            ),
        },
        train = about.counts.train,
        unlabelled = match about.counts.unlabelled {
            0 => String::new(),
            count => format!(" with labels and {count} without"),
        },
        classes = class_names.len(),
        seed = results.seed,
    );
    if results.readouts.is_empty() {
        let _ = writeln!(text, "| the network | {:.2} |", 100.0 * accuracy);
    }
    for (name, accuracies) in results.readout_accuracies() {
        let times = match accuracies.len() {
            1 => String::new(),
            count => format!(", {count} times"),
        };
        let accuracy = Spread::of(&accuracies).map_or_else(String::new, Spread::percent);
        let _ = writeln!(text, "| {name}{times} | {accuracy} |");
    }
    let InputConfig { transforms, augmentation } = &about.input;
    if !transforms.is_empty() {
        let _ = write!(text, "\nIt sees images after the transforms `{transforms}`.");
    }
    if !augmentation.is_empty() {
        let _ = write!(text, "\nWhile it learned, images were augmented by `{augmentation}`.");
    }
    if !about.input.is_empty() {
        text.push('\n');
    }
    let labels = if results.trained_with_labels { "with" } else { "without" };
    let _ = write!(
        text,
        "
The network learned {labels} labels: {} steps, {:.4} epochs, {:.1} s.

```rust
let model = hebbian_models::Model::load(\"this/folder\")?;
let features = model.features(&images)?; // images (B, {channels}, {height}, {width}) from 0 to 1
let classes = model.predict(&images)?;
```

`model.safetensors` has the weights, with the scaling of the input and the read-out.
",
        results.training_steps, results.training_epochs, results.training_seconds,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counts, ReadoutResult};
    use hebbian_data::transforms::Pipeline;

    #[test]
    fn the_front_matter_is_closed_and_has_the_accuracy() {
        let about = About {
            method: "amit",
            preset: "amit-digits".to_string(),
            options: serde_json::Value::Null,
            dataset: "digits".to_string(),
            image: (1, 8, 8),
            input: InputConfig {
                transforms: "standardise-image".parse().unwrap(),
                augmentation: "random-crop:padding=1,flip".parse().unwrap(),
            },
            transforms: Pipeline::default(),
            class_names: vec!["0".to_string(), "1".to_string()],
            counts: Counts { train: 10, unlabelled: 5, validation: 0, test: 4 },
            parts: ["train", "test"],
            fingerprint: None,
            may_grow: &[],
        };
        // On random weights a mean of 0.5, and a deviation of √(2·0.1²) = 0.1414.
        let readouts = [("head", 0.75), ("head on random features", 0.4)]
            .into_iter()
            .chain([("ridge", 0.7), ("head on random features", 0.6)])
            .map(|(name, test_accuracy)| ReadoutResult {
                name: name.to_string(),
                test_accuracy,
                ..Default::default()
            });
        let results =
            Results { test_accuracy: 0.75, readouts: readouts.collect(), ..Results::default() };
        let text = card(&about, &results);
        let (front, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
        assert!(front.contains("- { type: accuracy, value: 0.75 }"), "{front}");
        assert!(front.contains("- name: \"amit-digits\""), "{front}");
        for says in [
            "| head | 75.00 |\n| head on random features, 2 times | 50.00 ± 14.14 |\n| ridge | 70.00 |",
            "10 images of digits with labels and 5 without (1 x 8 x 8",
            "It sees images after the transforms `standardise-image`.",
            "While it learned, images were augmented by `random-crop:padding=1,flip`.",
        ] {
            assert!(body.contains(says), "{says}: {body}");
        }
        assert!(front.contains("split: test }"), "{front}");
        assert!(body.contains("and tested on 4 test images.\n"), "{body}");
        let turned = card(&About { parts: ["test", "train"], ..about.clone() }, &results);
        assert!(turned.contains("split: train }"), "{turned}");
        let roles = "4 test images (the images to learn from are those of the split `test`, the test images are of \
                     `train`)";
        assert!(turned.contains(roles), "{turned}");
        // YAML has other names for such characters than Rust.
        let odd = About { dataset: "a\u{a0}\"b\"\u{1}".to_string(), ..about.clone() };
        let odd = card(&odd, &results);
        let named = "{ name: \"a\u{a0}\\\"b\\\"\\u0001\", type: ";
        assert!(odd.contains(named), "{odd}");
        let held_out = card(&about, &Results { validation: Some(0.1), ..results });
        assert!(
            held_out.contains("split: validation }") && held_out.contains("4 validation images")
        );
    }
}
