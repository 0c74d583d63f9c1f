//! Error messages without the backtrace.

use std::fmt::Display;

/// Returns the message of an error without the backtrace that candle writes into its messages when `RUST_BACKTRACE` is
/// set, which does not help someone who gave a wrong input. The backtrace may stand in the middle of the message, if
/// one error quotes another.
///
/// ```
/// let error = candle::Error::Msg("two rows, expected three".to_string()).bt();
/// assert_eq!(candle_hebbian::without_backtrace(error), "two rows, expected three");
/// ```
pub fn without_backtrace(message: impl Display) -> String {
    let message = message.to_string();
    let lines: Vec<&str> = message.split('\n').filter(|line| !is_of_backtrace(line)).collect();
    lines.join("\n").trim_end().to_string()
}

/// Whether a line is a frame of a backtrace, `   7: candle_core::…`, or its location, `             at ./src/…`, as
/// [`std::backtrace::Backtrace`] prints them.
fn is_of_backtrace(line: &str) -> bool {
    let indented = line.trim_start_matches(' ');
    let indent = line.len() - indented.len();
    let number = indented.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_frame = number.len() < indented.len() && number.starts_with(": ");
    (is_frame && (1..=3).contains(&indent)) || (indent > 8 && indented.starts_with("at "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Error;
    use std::backtrace::Backtrace;

    /// An error as candle makes it when the environment asks for backtraces.
    fn traced(message: &str) -> Error {
        let backtrace = Box::new(Backtrace::force_capture());
        Error::WithBacktrace { inner: Box::new(Error::Msg(message.to_string())), backtrace }
    }

    #[test]
    fn the_stack_is_left_out_wherever_it_stands() {
        let error = traced("a shape that\ndoes not fit");
        assert!(error.to_string().contains("   0: "));
        assert_eq!(without_backtrace(&error), "a shape that\ndoes not fit");
        let quoted = format!("block 0: {error}; and more: {}", traced("the rest"));
        let shown = without_backtrace(quoted);
        assert!(shown.starts_with("block 0: a shape that\ndoes not fit\n"), "{shown}");
        assert!(shown.ends_with("; and more: the rest"), "{shown}");
        assert_eq!(without_backtrace(traced("inner").context("outer")), "outer\ninner");
    }

    /// Without debug information a backtrace has no locations, so these are written out.
    #[test]
    fn locations_are_left_out() {
        let message =
            "two rows\n   0: candle_core::error\n             at ./src/error.rs:5:9\nthe rest";
        assert_eq!(without_backtrace(message), "two rows\nthe rest");
    }

    #[test]
    fn other_lines_stay() {
        let message = "presets:\n  1 a\n  12 b\n1: one\n  at noon\n    5: five";
        assert_eq!(without_backtrace(message), message);
    }
}
