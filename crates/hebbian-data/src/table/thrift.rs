//! Walks structs in Thrift's compact protocol from the first byte to the last, without allocating memory, whatever
//! the structs claim.

/// How deeply structs and lists may be nested.
pub(crate) const DEEPEST: usize = 16;

/// The types of fields that are inspected.
pub(crate) const I32: u8 = 5;
pub(crate) const LIST: u8 = 9;
pub(crate) const STRUCT: u8 = 12;

/// The bytes that are left to walk. The methods return `None` if anything is wrong or the bytes end too soon.
pub(crate) struct Walk<'a> {
    pub rest: &'a [u8],
    depth: usize,
}

impl<'a> Walk<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// Walks a struct. `see` is given the number and type of each field, and returns whether it has walked the
    /// field; fields that it has not walked are skipped.
    pub fn structure(
        &mut self,
        see: &mut dyn FnMut(&mut Self, i64, u8) -> Option<bool>,
    ) -> Option<()> {
        self.deeper(|walk| {
            let mut field = 0i64;
            loop {
                let head = walk.byte()?;
                if head == 0 {
                    return Some(());
                }
                field = match head >> 4 {
                    0 => walk.number()?,
                    more => field.checked_add(i64::from(more))?,
                };
                let kind = head & 15;
                // The value of a boolean is in the head of its field.
                if kind > 2 && !see(walk, field, kind)? {
                    walk.value(kind)?;
                }
            }
        })
    }

    /// Walks a list of structs, each of them with `see`.
    pub fn structures(&mut self, mut see: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let (kind, count) = self.list()?;
        if kind != STRUCT {
            return None;
        }
        (0..count).try_for_each(|_| see(self))
    }

    /// Reads a zigzag number.
    pub fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads the type of a list's values, and how many values the list claims to have.
    fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Some((head & 15, count))
    }

    fn value(&mut self, kind: u8) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            LIST | 10 => {
                let (kind, count) = self.list()?;
                self.deeper(|walk| (0..count).try_for_each(|_| walk.value(kind)))
            }
            11 => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                self.deeper(|walk| {
                    (0..count).try_for_each(|_| {
                        walk.value(kinds >> 4)?;
                        walk.value(kinds & 15)
                    })
                })
            }
            STRUCT => self.structure(&mut |_, _, _| Some(false)),
            _ => None,
        }
    }

    fn deeper(&mut self, walk: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth > DEEPEST {
            return None;
        }
        self.depth += 1;
        let walked = walk(self);
        self.depth -= 1;
        walked
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_fields_that_cannot_be_counted_end_the_walk() {
        // Field 2⁶³ − 1 as a varint after the head, then one more field.
        let largest = [&[0xfe][..], &[0xff; 8], &[1]].concat();
        let bytes = [&[0x05][..], &largest, &[0, 0x15, 0, 0]].concat();
        assert_eq!(Walk::new(&bytes).structure(&mut |_, _, _| Some(false)), None);
        let alone = [&[0x05][..], &largest, &[2, 0]].concat();
        let mut seen = Vec::new();
        let walked = Walk::new(&alone).structure(&mut |walk, field, kind| {
            seen.push((field, kind, walk.number()?));
            Some(true)
        });
        assert_eq!((walked, seen), (Some(()), vec![(i64::MAX, I32, 1)]));
    }

    #[test]
    fn what_is_deep_or_long_ends_the_walk() {
        // Structs nested in field 1; a list that claims 2⁶⁴ − 1 bytes; a list of two bytes.
        for (bytes, whole) in [
            ([vec![0x1c; 10], vec![0; 11]].concat(), Some(())),
            ([vec![0x1c; 20], vec![0; 21]].concat(), None),
            ([&[0x19, 0xf3][..], &[0xff; 9], &[1, 0]].concat(), None),
            (vec![0x19, 0x23, 7, 7, 0], Some(())),
        ] {
            assert_eq!(Walk::new(&bytes).structure(&mut |_, _, _| Some(false)), whole, "{bytes:?}");
        }
    }
}
