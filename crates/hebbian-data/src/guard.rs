//! Panics of libraries that read files, returned as text instead of printed.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::text::printable;

thread_local! {
    /// The message of a panic on this thread, while `LISTENS` is set.
    static HEARD: Cell<Option<String>> = const { Cell::new(None) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`. If it panics, its message is returned and the program's panic hook is not called. `read`
/// must do its work on this thread, and must not leave half-changed data that is used afterwards.
pub(crate) fn caught<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if LISTENS.get() {
                let said = info.payload_as_str().unwrap_or("a panic without a message");
                HEARD.set(Some(said.to_string()));
            } else {
                usual(info);
            }
        }));
    });
    let before = LISTENS.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    LISTENS.set(before);
    result.map_err(|_| {
        let said = HEARD.take().unwrap_or_default();
        printable(&said).replace('\n', " ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_says_is_returned() {
        assert_eq!(caught(|| 3), Ok(3));
        let page = caught(|| -> u8 { panic!("page {}\n\u{1b}[2J", 7) });
        assert_eq!(page, Err("page 7 \\u{1b}[2J".to_string()));
        // A panic within a nested call is caught by the inner one; afterwards `LISTENS` is unset again.
        let inner = caught(|| caught(|| -> u8 { panic!("inner") }));
        assert_eq!(inner, Ok(Err("inner".to_string())));
        assert!(!LISTENS.get());
    }
}
