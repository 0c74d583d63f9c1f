//! The page: an HTML template with everything that it needs embedded.

use super::content::Content;
use anyhow::{Context, Result};
use hebbian_train::RunFolder;

const TEMPLATE: &str = include_str!("../../assets/report/report.html");
const STYLE: &str = include_str!("../../assets/report/report.css");
const SCRIPT: &str = include_str!("../../assets/report/report.js");
const CHARTS: &str = include_str!("../../assets/uplot/uPlot.iife.min.js");
const CHARTS_STYLE: &str = include_str!("../../assets/uplot/uPlot.min.css");

/// Returns the page that shows `content`.
///
/// # Errors
/// Those of [`json`]; an embedded template that is broken.
pub(super) fn html(content: &Content) -> Result<String> {
    let data = json(content)?;
    let title = escaped(&content.title);
    let mut page = RunFolder::REPORT_START.to_string();
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").context("a template with an open {{")?;
        page += before;
        page += match name {
            "title" => &title,
            "style" => STYLE,
            "charts-style" => CHARTS_STYLE,
            "charts" => CHARTS,
            "script" => SCRIPT,
            "data" => &data,
            other => anyhow::bail!("a template with {other:?}"),
        };
        rest = after;
    }
    Ok(page + rest)
}

/// Returns the data of the page as JSON that can stand inside a `<script>`: nothing in it ends the
/// element. A number that is not finite becomes `null`.
///
/// # Errors
/// Content that cannot be written as JSON.
pub(super) fn json(content: &Content) -> Result<String> {
    Ok(serde_json::to_string(content)?.replace('<', "\\u003c"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The relative luminance of a colour as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let share = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            match share <= 0.04045 {
                true => share / 12.92,
                false => ((share + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The colours of a mode, by name: what stands between `/* MODE */` and `/* end */`.
    fn colours(mode: &str) -> BTreeMap<&str, &str> {
        let (_, after) = STYLE.split_once(&format!("/* {mode} */")).unwrap();
        let (inside, _) = after.split_once("/* end */").unwrap();
        let lines = inside.lines().filter_map(|line| line.trim().strip_prefix("--"));
        lines
            .filter_map(|line| line.trim_end_matches(';').split_once(": "))
            .filter(|(_, value)| value.starts_with('#'))
            .collect()
    }

    /// By hand from the definitions: black on white is 21:1, a grey of #777777 on white 4.48:1.
    #[test]
    fn contrast_of_known_colours() {
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
        assert!((contrast("#777777", "#ffffff") - 4.48).abs() < 0.005);
    }

    /// All text can be read: at least 4.5:1, in both modes.
    #[test]
    fn text_stands_out() {
        for mode in ["light", "dark"] {
            let colours = colours(mode);
            let mut pairs: Vec<(String, String)> = Vec::new();
            for text in ["ink", "muted", "accent", "bad", "good"] {
                for ground in ["page", "card", "well"] {
                    pairs.push((text.into(), ground.into()));
                }
            }
            for level in 0..6 {
                pairs.push((format!("heat-ink-{level}"), format!("heat-{level}")));
                pairs.push((format!("miss-ink-{level}"), format!("miss-{level}")));
            }
            pairs.push(("on-accent".into(), "accent".into()));
            pairs.push(("on-tag".into(), "tag".into()));
            for (text, ground) in pairs {
                let found = contrast(colours[&*text], colours[&*ground]);
                assert!(found >= 4.5, "{mode}: {text} on {ground} is {found:.2}:1");
            }
            // Curves are not text: 3:1 is enough.
            for line in 0..7 {
                let found = contrast(colours[&*format!("line-{line}")], colours["card"]);
                assert!(found >= 3.0, "{mode}: line {line} is {found:.2}:1");
            }
        }
    }

    /// No text is faint: the chart library fades the names of hidden curves, and the style undoes this.
    #[test]
    fn only_pictures_fade() {
        let fades = |line: &&str| line.contains("opacity:") && !line.contains("opacity: 1;");
        for line in STYLE.lines().filter(fades) {
            assert!(line.contains(".pic {") || line.starts_with(".u-select {"), "{line}");
        }
        assert!(STYLE.contains(".u-legend .u-off > * { opacity: 1; }"));
    }

    /// Text has only colours that are checked above.
    #[test]
    fn colours_are_named() {
        let (_, rules) = STYLE.rsplit_once("/* end */").unwrap();
        for line in rules.lines().filter(|line| line.contains("color:")) {
            let named =
                line.contains("var(--") || line.contains("transparent") || line.contains("inherit");
            assert!(named, "{line}");
        }
    }
}
