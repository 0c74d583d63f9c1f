//! Names of tensors without the parts that PyTorch's wrappers add.

use std::collections::BTreeSet;

/// The prefixes that `DataParallel` (`module`) and `torch.compile` (`_orig_mod`) add to the names in the module
/// that they wrap, which may be the whole model or a part of it.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];
/// Usual names of the attribute in which a program's object holds the model, which then precede all names.
const HOLDERS: [&str; 3] = ["model.", "net.", "network."];

/// Shortens all names of a file, such as `model.module.layers.0.weight` to `layers.0.weight`; returns the names
/// as they are if two would become equal or one empty.
pub(super) fn unwrapped(names: &[String]) -> Vec<String> {
    let bare = |name: &String| {
        let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
        parts.join(".")
    };
    let mut ours: Vec<String> = names.iter().map(bare).collect();
    for holder in HOLDERS {
        if !ours.is_empty() && ours.iter().all(|name| name.starts_with(holder)) {
            ours.iter_mut().for_each(|name| drop(name.drain(..holder.len())));
        }
    }
    let different: BTreeSet<&String> = ours.iter().filter(|name| !name.is_empty()).collect();
    if different.len() == names.len() { ours } else { names.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn wrappers_are_left_out_wherever_they_stand() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&["layers.0.weight", "head.bias"], &["layers.0.weight", "head.bias"]),
            (&["module.a.weight", "module.b"], &["a.weight", "b"]),
            (&["_orig_mod.module.a", "_orig_mod.module.b"], &["a", "b"]),
            (&["blocks._orig_mod.0.weight", "head.module.bias"], &["blocks.0.weight", "head.bias"]),
            (&["model._orig_mod.a", "model._orig_mod.b"], &["a", "b"]),
            // A prefix that not all names have is a part of the model.
            (&["model.a", "scale"], &["model.a", "scale"]),
            // Equal or empty names are avoided.
            (&["module.a", "a", "module"], &["module.a", "a", "module"]),
        ];
        for (names, expected) in cases {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            assert_eq!(unwrapped(&names), expected, "{names:?}");
        }
        assert!(unwrapped(&[]).is_empty());
    }
}
