//! The layout of JSON files.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Returns a value as indented JSON, in which a list inside a list takes one line. Such lists are the rows of confusion
/// matrices: with a line for each count, the matrix of 1,000 classes has 15 MB, and with a line for each row 2 MB.
///
/// # Errors
/// When the value has no JSON form.
pub(crate) fn indented(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let layout = Layout { pretty: PrettyFormatter::new(), lists: Vec::new() };
    value.serialize(&mut Serializer::with_formatter(&mut bytes, layout))?;
    Ok(bytes)
}

struct Layout {
    pretty: PrettyFormatter<'static>,
    /// For each list and object that has begun and not ended, from the outside in: whether it is a list.
    lists: Vec<bool>,
}

impl Layout {
    /// Whether the innermost of them is a list inside a list.
    fn is_in_row(&self) -> bool {
        self.lists.ends_with(&[true, true])
    }
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.lists.push(true);
        match self.is_in_row() {
            true => writer.write_all(b"["),
            false => self.pretty.begin_array(writer),
        }
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let is_row = self.is_in_row();
        self.lists.pop();
        match is_row {
            true => writer.write_all(b"]"),
            false => self.pretty.end_array(writer),
        }
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        match (self.is_in_row(), first) {
            (true, true) => Ok(()),
            (true, false) => writer.write_all(b","),
            (false, _) => self.pretty.begin_array_value(writer, first),
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.lists.push(false);
        self.pretty.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.lists.pop();
        self.pretty.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.pretty.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_list_in_a_list_takes_one_line() {
        let value = json!({ "counts": [[1, 2], [], [[3], 4]], "more": [{ "a": [1.5] }, null, []] });
        let text = String::from_utf8(indented(&value).unwrap()).unwrap();
        let expected = r#"{
  "counts": [
    [1,2],
    [],
    [[3],4]
  ],
  "more": [
    {
      "a": [
        1.5
      ]
    },
    null,
    []
  ]
}"#;
        // The list that ends "more" is inside a list, too.
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        // Objects in a row are indented as elsewhere, which is JSON all the same.
        let value = json!([[{ "a": 1 }, { "b": [[2]] }]]);
        let text = indented(&value).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
        // Without lists in lists, it is the layout of serde_json.
        let value = json!({ "a": [1, { "b": {} }], "c": "d" });
        assert_eq!(indented(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap());
    }
}
