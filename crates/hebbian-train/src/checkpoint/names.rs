//! Names of tensors without what PyTorch's wrappers put into them.

use std::collections::BTreeSet;

/// What `DataParallel` (`module`) and `torch.compile` (`_orig_mod`) put before the names of what they wrap,
/// which may be the whole model or a part of it.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];
/// What programs call the model in an object of theirs, which then stands before all names.
const HOLDERS: [&str; 3] = ["model.", "net.", "network."];

/// `layers.0.weight` of `model.module.layers.0.weight`, for all names of a file; the names as they are, if
/// two would become one.
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
            // A name that not all have is a part of the model.
            (&["model.a", "scale"], &["model.a", "scale"]),
            // Two of one name, or one of none, would not be told apart.
            (&["module.a", "a", "module"], &["module.a", "a", "module"]),
        ];
        for (names, expected) in cases {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            assert_eq!(unwrapped(&names), expected, "{names:?}");
        }
        assert!(unwrapped(&[]).is_empty());
    }
}
