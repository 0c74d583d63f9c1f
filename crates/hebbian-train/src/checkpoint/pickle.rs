//! The part of Python's pickle format that a `state_dict` needs. No code is run: a call is only recorded, as its
//! callee and arguments.
//!
//! Values refer to each other by index, so that a value that is memoised and used a million times is stored once,
//! and nothing is deeply nested.

use std::collections::HashMap;

/// The longest pickle that is read, enough for about 70,000 tensors. It is limited because a byte can make a value
/// of some 70 bytes.
pub(super) const LONGEST: usize = 1 << 24;

/// The index of a value.
pub(super) type Id = usize;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// A class or function: its module and name.
    Global(&'a str, &'a str),
    /// A fixed sequence.
    Tuple(Vec<Id>),
    /// A dictionary, ordered or not.
    Dict(Vec<(Id, Id)>),
    /// A call of a class or function with a tuple of arguments.
    Call(Id, Id),
    /// A reference to something stored elsewhere in the file.
    Persistent(Id),
    /// Anything else: a `None`, a number with a fraction, a list, bytes.
    Other,
}

/// The values of a pickle, and the index of the one that holds the others.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle, or says where it is wrong.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() > LONGEST {
            return Err(format!(
                "it has {} bytes, more than the {LONGEST} of a state_dict",
                bytes.len()
            ));
        }
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        loop {
            let at = bytes.len() - machine.rest.len();
            match machine.step() {
                Some(Step::On) => {}
                Some(Step::Stop(root)) => return Ok(Self { values: machine.values, root }),
                Some(Step::Unknown(code)) => {
                    return Err(format!(
                        "byte {at} is {code:#04x}, no instruction of a state_dict"
                    ));
                }
                None => return Err(format!("its instruction at byte {at} lacks what it works on")),
            }
        }
    }

    /// The value that holds the others.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value with this index.
    pub fn get(&self, id: Id) -> &Value<'a> {
        self.values.get(id).unwrap_or(&Value::Other)
    }

    /// The entries of a dictionary, without those whose key is not text.
    pub fn entries(&self, id: Id) -> impl Iterator<Item = (&'a str, Id)> {
        let entries = match self.get(id) {
            Value::Dict(entries) => &entries[..],
            _ => &[],
        };
        entries.iter().filter_map(|&(key, value)| match self.get(key) {
            Value::Text(key) => Some((*key, value)),
            _ => None,
        })
    }
}

enum Step {
    On,
    Stop(Id),
    Unknown(u8),
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// Executes one instruction; `None` if it lacks an operand.
    fn step(&mut self) -> Option<Step> {
        let code = self.number::<1>()? as u8;
        match code {
            // PROTO, FRAME
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'.' => return Some(Step::Stop(self.stack.pop()?)),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.stack.pop()?),
            b'1' => drop(self.marked()?),
            // None, True, False; a float; empty list and set
            b'N' | 0x88 | 0x89 | b']' | 0x8f => self.push(Value::Other),
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            b'K' => self.int::<1>()?,
            b'M' => self.int::<2>()?,
            b'J' => {
                let number = i64::from(self.number::<4>()? as u32 as i32);
                self.push(Value::Int(number));
            }
            0x8a => {
                let length = self.number::<1>()? as usize;
                let bytes = self.take(length)?;
                self.push(long(bytes));
            }
            0x8b => {
                let length = self.number::<4>()?;
                let bytes = self.take(usize::try_from(length).ok()?)?;
                self.push(long(bytes));
            }
            b'X' => self.text::<4>()?,
            0x8c => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            // Bytes, and text of Python 2.
            b'B' | b'T' => self.skip::<4>()?,
            b'C' | b'U' => self.skip::<1>()?,
            0x8e | 0x96 => self.skip::<8>()?,
            // APPEND, APPENDS, ADDITEMS, whose lists and sets are not kept.
            b'a' => drop(self.stack.pop()?),
            b'e' | 0x90 => drop(self.marked()?),
            // LIST, FROZENSET
            b'l' | 0x91 => {
                self.marked()?;
                self.push(Value::Other);
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let at = self.stack.len().checked_sub(usize::from(code - 0x84))?;
                let items = self.stack.split_off(at);
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.marked()?;
                self.push(Value::Tuple(items));
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.marked()?;
                self.push(Value::Dict(pairs(&items)));
            }
            b's' => {
                let value = self.stack.pop()?;
                let key = self.stack.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.set(&items)?;
            }
            b'h' => self.recall::<1>()?,
            b'j' => self.recall::<4>()?,
            b'q' => {
                let place = self.number::<1>()?;
                self.memo.insert(place, *self.stack.last()?);
            }
            b'r' => {
                let place = self.number::<4>()?;
                self.memo.insert(place, *self.stack.last()?);
            }
            0x94 => {
                let place = self.memo.len() as u64;
                self.memo.insert(place, *self.stack.last()?);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (&Value::Text(module), &Value::Text(name)) => {
                        self.push(Value::Global(module, name));
                    }
                    _ => return None,
                }
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let (args, callee) = (self.stack.pop()?, self.stack.pop()?);
                self.push(match self.values[callee] {
                    Value::Global("collections", "OrderedDict" | "defaultdict" | "Counter") => {
                        Value::Dict(Vec::new())
                    }
                    _ => Value::Call(callee, args),
                });
            }
            // NEWOBJ_EX, whose keyword arguments are left out.
            0x92 => {
                self.stack.pop()?;
                let (args, callee) = (self.stack.pop()?, self.stack.pop()?);
                self.push(Value::Call(callee, args));
            }
            // BUILD: sets attributes of an object, such as `_metadata` of a state_dict, which are left out.
            b'b' => drop(self.stack.pop()?),
            b'Q' => {
                let id = self.stack.pop()?;
                self.push(Value::Persistent(id));
            }
            _ => return Some(Step::Unknown(code)),
        }
        Some(Step::On)
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Removes the last mark and returns what is above it.
    fn marked(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    /// Adds keys, each followed by its value, to the value on top of the stack if that is a dictionary.
    fn set(&mut self, items: &[Id]) -> Option<()> {
        if let Value::Dict(entries) = &mut self.values[*self.stack.last()?] {
            entries.extend(pairs(items));
        }
        Some(())
    }

    fn recall<const N: usize>(&mut self) -> Option<()> {
        let place = self.number::<N>()?;
        self.stack.push(*self.memo.get(&place)?);
        Some(())
    }

    fn int<const N: usize>(&mut self) -> Option<()> {
        let number = self.number::<N>()? as i64;
        self.push(Value::Int(number));
        Some(())
    }

    fn text<const N: usize>(&mut self) -> Option<()> {
        let length = usize::try_from(self.number::<N>()?).ok()?;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.push(Value::Text(text));
        Some(())
    }

    fn skip<const N: usize>(&mut self) -> Option<()> {
        let length = usize::try_from(self.number::<N>()?).ok()?;
        self.take(length)?;
        self.push(Value::Other);
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn line(&mut self) -> Option<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n')?;
        let line = std::str::from_utf8(self.take(end)?).ok()?;
        self.take(1)?;
        Some(line.trim_end_matches('\r'))
    }

    fn number<const N: usize>(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take(N)?);
        Some(u64::from_le_bytes(bytes))
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

/// A signed little-endian number; one that does not fit into an `i64` cannot be a size, so it is not kept.
fn long(bytes: &[u8]) -> Value<'static> {
    let is_negative = bytes.last().is_some_and(|&highest| highest > 0x7f);
    let mut all = [if is_negative { 0xff } else { 0 }; 8];
    match all.get_mut(..bytes.len()) {
        Some(lowest) => {
            lowest.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(all))
        }
        None => Value::Other,
    }
}
