//! The command that was given, to be given again.

/// Returns the arguments of this program.
pub(crate) fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned())
}

/// Returns an argument as a shell takes it for one word.
pub(crate) fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_string(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

/// Returns the command that trains with these arguments of a program, without `--resume`, and without the flags in
/// `without` and their values. If the arguments start with a command of `hebbian` and the method's name, only those
/// after the name are used.
pub(crate) fn repeat(
    method: &str,
    arguments: impl Iterator<Item = String>,
    without: &[&str],
) -> String {
    let all: Vec<String> = arguments.skip(1).collect();
    let own = match all.iter().take(2).collect::<Vec<_>>()[..] {
        [verb, name] if verb == "train" && name == method => &all[2..],
        [study, search] if study == "study" && search == "search" => &all[3..],
        _ => &all[..],
    };
    let mut words = ["hebbian", "train", method].map(String::from).to_vec();
    let mut own = own.iter().filter(|argument| *argument != "--resume").peekable();
    while let Some(argument) = own.next() {
        let flag = argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag);
        // A short flag may be joined with its value, as in `-k5`.
        let is_short = argument.get(..2).is_some_and(|two| two != "--" && without.contains(&two));
        match without.contains(&flag) {
            true if flag == argument => drop(own.next_if(|value| !value.starts_with('-'))),
            false if !is_short => words.push(quoted(argument)),
            _ => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_repeats() {
        let of = |words: &[&str]| {
            repeat("amit", words.iter().map(ToString::to_string), &["--set", "--halving", "-k"])
        };
        let seed = "hebbian train amit --seed 3";
        assert_eq!(of(&["target/release/hebbian", "train", "amit", "--seed", "3"]), seed);
        assert_eq!(of(&["/bin/amit", "--resume", "--seed", "3"]), seed);
        // A search, of which only the flags that choose images and the seed are left.
        let words =
            ["hebbian", "study", "search", "amit", "--set", "a=1..2", "--halving", "--seed", "3"];
        assert_eq!(of(&words), seed);
        let words =
            ["hebbian", "study", "search", "amit", "--halving=2", "--seed", "3", "--set=a=1,2"];
        assert_eq!(of(&words), seed);
        for k in [&["-k", "3"][..], &["-k3"], &["-k=3"]] {
            assert_eq!(of(&[&["amit"], k, &["--seed", "3"]].concat()), seed, "{k:?}");
        }
        let quoted = "hebbian train amit --out 'my runs/it'\\''s' ''";
        assert_eq!(of(&["amit", "--out", "my runs/it's", ""]), quoted);
    }
}
