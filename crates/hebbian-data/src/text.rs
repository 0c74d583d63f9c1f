//! Text from other sources, made safe for a terminal.

use sha2::{Digest as _, Sha256};

/// Formats the hash in lower-case hexadecimal digits.
pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Escapes every character of a text that would control a terminal or hide what it shows: all
/// control characters except line feed and tab, and those that change the direction of writing.
///
/// ```
/// use hebbian_data::printable;
///
/// assert_eq!(printable("two\tlines\nof text"), "two\tlines\nof text");
/// assert_eq!(printable("\u{1b}[31mred\u{7f}\u{202e}"), "\\u{1b}[31mred\\u{7f}\\u{202e}");
/// ```
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if turns || character.is_control() && !matches!(character, '\n' | '\t') {
            printable.extend(character.escape_unicode());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Replaces names and passwords in addresses (`https://NAME:PASSWORD@HOST`) by `***`. Those of
/// `endpoint` are found anywhere in the text, even if it is not a well-formed address.
pub(crate) fn without_passwords(text: &str, endpoint: &str) -> String {
    let mut text = text.to_string();
    if let Some(user) = user(endpoint) {
        text = text.replace(&format!("{user}@"), &format!("{MASK}@"));
    }
    let (mut masked, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'`<>()".contains(c));
        let (authority, more) = after.split_at(end.unwrap_or(after.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        masked += before;
        masked += "://";
        if host.len() < authority.len() {
            masked += MASK;
            masked.push('@');
        }
        masked += host;
        rest = more;
    }
    masked + rest
}

/// Replaces tokens of the hub, which a server may repeat, by `hf_***`.
pub(crate) fn without_tokens(text: &str) -> String {
    const START: &str = "hf_";
    /// The fewest letters and digits that follow in a token; words such as `hf_hub` have fewer.
    const SHORTEST: usize = 16;
    let mut parts = text.split(START);
    let mut masked = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        masked += START;
        masked += if end < SHORTEST { &part[..end] } else { MASK };
        masked += &part[end..];
    }
    masked
}

/// Replaces the queries of addresses by `***`: the address of a private file in a store has a signature there, with
/// which anyone may read the file for a while.
pub(crate) fn without_queries(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"'`<>".contains(c);
    let (mut masked, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c == '?' || ends(c)).unwrap_or(after.len());
        let (address, more) = after.split_at(end);
        masked += before;
        masked += "://";
        masked += address;
        rest = match more.strip_prefix('?') {
            Some(query) => {
                let end = query.find(ends).unwrap_or(query.len());
                // What belongs to the sentence around the address.
                let end = query[..end].trim_end_matches([')', ',', ':', ';', '.']).len();
                masked.push('?');
                masked += MASK;
                &query[end..]
            }
            None => more,
        };
    }
    masked + rest
}

const MASK: &str = "***";

/// The part of an address between its scheme and its last `@`.
fn user(address: &str) -> Option<&str> {
    let (user, _) = address.rsplit_once('@')?;
    let user = user.split_once("://").map_or(user, |(_, user)| user);
    (!user.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::{without_passwords, without_queries, without_tokens};

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (text, endpoint, expected) in [
            ("no address at all, me@home", "", "no address at all, me@home"),
            ("(https://hub.example/a@b)", "", "(https://hub.example/a@b)"),
            ("at https://me:se@cret@hub:1/a: no", "", "at https://***@hub:1/a: no"),
            ("http://a:b@c http://token@d/", "", "http://***@c http://***@d/"),
            // Malformed addresses, which a message may quote in part.
            ("'me:se cret@hub' is bad", "me:se cret@hub", "'***@hub' is bad"),
            ("https://me:se/cret@hub/x", "https://me:se/cret@hub", "https://***@hub/x"),
        ] {
            assert_eq!(without_passwords(text, endpoint), expected);
        }
    }

    #[test]
    fn queries_are_masked() {
        for (text, expected) in [
            ("why? http://hub/a, or what?", "why? http://hub/a, or what?"),
            ("at https://cdn/a?Policy=b&Signature=c: no", "at https://cdn/a?***: no"),
            ("(url=http://hub/a?b=c, http://d/?e)", "(url=http://hub/a?***, http://d/?***)"),
            ("url (https://cdn/a(1)?b=(2)&Signature=c)", "url (https://cdn/a(1)?***)"),
            ("https://cdn/?next=https://d/?Signature=c", "https://cdn/?***"),
            ("'http://é/?ü' http://hub/?", "'http://é/?***' http://hub/?***"),
        ] {
            assert_eq!(without_queries(text), expected);
        }
    }

    #[test]
    fn tokens_are_masked() {
        for (text, expected) in [
            ("hf_hub, hf_", "hf_hub, hf_"),
            ("no hf_AbCdEfGhIjKlMnOp12!", "no hf_***!"),
            ("hf_0123456789abcdef", "hf_***"),
            ("hf_0123456789abcde", "hf_0123456789abcde"),
        ] {
            assert_eq!(without_tokens(text), expected);
        }
    }
}
