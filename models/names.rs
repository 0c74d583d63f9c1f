//! Names of presets and experiments, and of choices on the command line.

use hebbian_train::{Error, Result};

/// The one of `all` that is called `name`; `what` it is, for the message.
pub(crate) fn choose<T: Copy>(what: &str, name: &str, all: &[(&str, T)]) -> Result<T> {
    match all.iter().find(|(known, _)| *known == name) {
        Some(&(_, choice)) => Ok(choice),
        None => {
            let known = all.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
            let name = name.escape_debug();
            Err(Error::Argument(format!("there is no {what} '{name}'; expected one of: {known}")))
        }
    }
}

/// Networks and experiments, a line each: name and description.
pub(crate) fn list<'a>(
    networks: impl Iterator<Item = (&'a str, &'a str)>,
    experiments: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut list = String::from("networks, for --preset\n");
    let line = |(name, description)| format!("  {name:28} {description}\n");
    list.extend(networks.map(line));
    list += "\nexperiments, for --experiment\n";
    list.extend(experiments.map(line));
    list
}
