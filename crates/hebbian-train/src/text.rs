//! Text files as people and other programs write them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// The most bytes of a text that is read as a whole.
const MOST_BYTES: u64 = 1 << 26;
/// The same for a text that this program wrote. Results have a confusion matrix for each read-out, which has 15 MB if
/// there are 1,000 classes and an earlier version wrote it.
const MOST_OWN_BYTES: u64 = 1 << 30;

/// Reads a text that a person wrote or another program exported, such as a preset in JSON. It may start
/// with a byte-order mark, as is usual on Windows; the mark is left out.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("preset.json");
/// std::fs::write(&path, "\u{feff}{}")?;
/// assert_eq!(hebbian_train::read_text(&path)?, "{}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the file cannot be read, is not UTF-8 (but UTF-16, for example), or has more than 64 MiB.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    read_within(path.as_ref(), MOST_BYTES)
}

/// Reads a text that this program wrote, as [`read_text`] reads others.
///
/// # Errors
/// When the file cannot be read, is not UTF-8, or has more than 1 GiB.
pub(crate) fn read_own_text(path: &Path) -> Result<String> {
    read_within(path, MOST_OWN_BYTES)
}

fn read_within(path: &Path, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > most {
        return Err(Error::TooLong { path: path.to_path_buf(), most });
    }
    decode(bytes).map_err(|found| Error::NotText { path: path.to_path_buf(), found })
}

/// The text, or what these bytes are instead.
fn decode(mut bytes: Vec<u8>) -> std::result::Result<String, String> {
    // Other encodings show in their mark or, without one, in the first character, which is ASCII in any JSON.
    match bytes[..] {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err("in UTF-32".to_string()),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err("in UTF-16".to_string()),
        [1..=127, 0, 0, 0, ..] | [0, 0, 0, 1..=127, ..] => return Err("in UTF-32".to_string()),
        [1..=127, 0, ..] | [0, 1..=127, ..] => return Err("in UTF-16".to_string()),
        [0xef, 0xbb, 0xbf, ..] => drop(bytes.drain(..3)),
        _ => {}
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (before, rest) = error.as_bytes().split_at(at);
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        format!("no UTF-8 (byte {at}, in line {line}, is 0x{:02x})", rest[0])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text in UTF-16 or UTF-32, in either byte order, with or without a byte-order mark.
    fn wide(text: &str, width: usize, big: bool, marked: bool) -> Vec<u8> {
        let mark = if marked { "\u{feff}" } else { "" };
        let characters = mark.chars().chain(text.chars());
        let bytes = characters.flat_map(|character| {
            let mut bytes = (character as u32).to_le_bytes()[..width].to_vec();
            if big {
                bytes.reverse();
            }
            bytes
        });
        bytes.collect()
    }

    #[test]
    fn a_mark_is_left_out_and_the_rest_stays() {
        for text in ["{}", "", "x", "ü\r\n", "a\u{feff}b"] {
            assert_eq!(decode(text.into()).as_deref(), Ok(text));
            assert_eq!(decode(format!("\u{feff}{text}").into()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn other_encodings_are_named() {
        for (width, name) in [(2, "in UTF-16"), (4, "in UTF-32")] {
            for (big, marked) in [(false, false), (false, true), (true, false), (true, true)] {
                let bytes = wide("{\"name\": \"a\"}", width, big, marked);
                assert_eq!(decode(bytes), Err(name.to_string()), "{big} {marked}");
            }
        }
        // Latin-1: é is byte 0xe9, which in UTF-8 would need two more behind it.
        let found = decode(b"{\n\"caf\xe9\": 1}".to_vec());
        assert_eq!(found, Err("no UTF-8 (byte 6, in line 2, is 0xe9)".to_string()));
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let problem = || read_text(&path).unwrap_err().to_string();
        assert!(
            problem().starts_with("cannot read") && problem().contains("text"),
            "{}",
            problem()
        );
        std::fs::write(&path, wide("{}", 2, false, true)).unwrap();
        assert!(
            problem().ends_with("text is in UTF-16, expected a text in UTF-8: save it as UTF-8")
        );
        // A sparse file of 1 TiB.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(problem().contains("text is longer than 67108864 bytes"), "{}", problem());
        assert!(!problem().contains("UTF-8"), "{}", problem());
    }
}
