//! Choices that the command line names.

use crate::error::{Error, Result};

/// The one of `all` that is called `name`; `what` it is, for the message.
pub(crate) fn choose<T: Copy>(what: &str, name: &str, all: &[(&str, T)]) -> Result<T> {
    match all.iter().find(|(known, _)| *known == name) {
        Some(&(_, choice)) => Ok(choice),
        None => {
            let known = all.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
            Err(Error::Options(format!("there is no {what} '{name}'; expected one of: {known}")))
        }
    }
}
