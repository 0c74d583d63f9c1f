//! A `state_dict` that PyTorch saved (`.pth`, `.pt`, `.pth.tar`): a zip archive with a pickle, `data.pkl`, that
//! states for each tensor which part of the archive holds its numbers and how they are laid out there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use safetensors::tensor::Dtype;

use super::pickle::{Id, Pickle, Value};
use super::zip::{self, Part};
use super::{Numbers, Place, Stored};

const PICKLE: &str = "data.pkl";
/// The keys under which programs store a `state_dict` beside other things, the most usual first.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// How many parameters that wrap each other are unwrapped to find the tensor.
const DEEPEST: usize = 4;
/// The most axes of a tensor, so that a shape that a million tensors share in the pickle does not take a million
/// times its memory.
const MOST_AXES: usize = 16;

/// The numbers of a tensor, or why they cannot be read.
type Found = Result<Numbers, String>;

/// How the numbers of a tensor lie in a part of the archive.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The name of the part.
    name: String,
    part: Part,
    /// The size of a number in bytes.
    width: usize,
    /// The place of the first number, and the step to the next along each axis, counted in numbers. All of them
    /// are within the part.
    offset: usize,
    strides: Vec<usize>,
}

/// The tensors of a file, or what is wrong with it.
pub(super) fn open(file: &[u8]) -> Result<Vec<Stored>, String> {
    let parts = zip::parts(file)?;
    let mut pickles = parts.iter().filter_map(|(name, part)| {
        let folder = name.strip_suffix(PICKLE)?;
        (folder.is_empty() || folder.ends_with('/')).then_some((folder, part))
    });
    let (folder, part) = match (pickles.next(), pickles.next()) {
        (Some(one), None) => one,
        (found, _) => {
            let count = if found.is_none() { "no" } else { "more than one" };
            let held: Vec<&str> = parts.keys().take(8).map(String::as_str).collect();
            return Err(format!(
                "it is a zip archive with {count} {PICKLE}, where torch.save writes one; it holds {}",
                held.join(", ")
            ));
        }
    };
    if let Some(order) = parts.get(&format!("{folder}byteorder"))
        && content(file, "byteorder", order)? != b"little"
    {
        return Err(
            "it was saved on a machine whose numbers have their highest byte first".to_string()
        );
    }
    let pickle = Pickle::read(content(file, PICKLE, part)?)
        .map_err(|problem| format!("{PICKLE}: {problem}"))?;
    let archive = Archive { parts: &parts, folder, pickle: &pickle };
    let entries = pickle.entries(archive.state_dict()?);
    let tensors: BTreeMap<_, _> =
        entries.filter_map(|(name, id)| Some((name, archive.tensor(id)?))).collect();
    let stored = |(name, numbers): (&str, _)| Stored { name: name.to_string(), numbers };
    Ok(tensors.into_iter().map(stored).collect())
}

/// The content of a part, verified against the checksum that the archive states.
fn content<'a>(file: &'a [u8], name: &str, part: &Part) -> Result<&'a [u8], String> {
    let bytes = file.get(part.bytes.clone()).unwrap_or_default();
    if part.is_packed {
        return Err(format!("its part {name} is compressed, which torch.save does not do"));
    }
    if crc32fast::hash(bytes) != part.crc {
        return Err(format!(
            "its part {name} has another CRC-32 than the archive states: it is damaged, or was saved \
             without sums"
        ));
    }
    Ok(bytes)
}

struct Archive<'a> {
    parts: &'a BTreeMap<String, Part>,
    folder: &'a str,
    pickle: &'a Pickle<'a>,
}

impl Archive<'_> {
    /// The dictionary of tensors: the root of the pickle, or a dictionary in it.
    fn state_dict(&self) -> Result<Id, String> {
        let root = self.pickle.root();
        let has_tensors =
            |id| self.pickle.entries(id).any(|(_, value)| self.tensor(value).is_some());
        if has_tensors(root) {
            return Ok(root);
        }
        let mut seen = BTreeSet::new();
        let held: Vec<_> = self
            .pickle
            .entries(root)
            .filter(|&(_, value)| seen.insert(value) && has_tensors(value))
            .collect();
        let known = KEYS.iter().find_map(|key| held.iter().find(|(name, _)| name == key));
        match (known, &held[..]) {
            (Some(&(_, id)), _) | (None, &[(_, id)]) => Ok(id),
            (None, []) => Err(match *self.pickle.get(root) {
                Value::Dict(_) => {
                    let keys: Vec<&str> =
                        self.pickle.entries(root).map(|(key, _)| key).take(8).collect();
                    format!("it is a dictionary without tensors, of the keys [{}]", keys.join(", "))
                }
                Value::Call(callee, _) => match self.pickle.get(callee) {
                    Value::Global(module, name) => {
                        format!("it is an object, {module}.{name}, not a dictionary of tensors")
                    }
                    _ => "it is an object, not a dictionary of tensors".to_string(),
                },
                _ => "it is not a dictionary of tensors".to_string(),
            }),
            (None, several) => {
                let keys: Vec<&str> = several.iter().map(|&(key, _)| key).take(8).collect();
                let [keys, known] = [&keys[..], &KEYS].map(|keys| keys.join(", "));
                Err(format!(
                    "it has several dictionaries of tensors, {keys}, and none of them is called {known}"
                ))
            }
        }
    }

    /// The type, shape and place of a tensor, or why it cannot be read; `None` if the value is not a tensor.
    fn tensor(&self, mut id: Id) -> Option<Found> {
        let mut wrapped = 0;
        let args = loop {
            let (mut callee, mut args) = self.call(id)?;
            if let (("torch._tensor", "_rebuild_from_type_v2"), &[function, _, its, ..]) =
                (callee, args)
            {
                (callee, args) = (self.global(function)?, self.tuple(its)?);
            }
            match callee {
                ("torch._utils", "_rebuild_tensor_v2") => break args,
                ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
                    if wrapped < DEEPEST =>
                {
                    (id, wrapped) = (*args.first()?, wrapped + 1);
                }
                ("torch._utils", form) if form.starts_with("_rebuild") => {
                    let problem = format!("it is in the form {form}, which only PyTorch reads");
                    return Some(Err(problem));
                }
                _ => return None,
            }
        };
        Some(self.dense(args))
    }

    /// The tensor that `(storage, offset, shape, strides, …)` describes.
    fn dense(&self, args: &[Id]) -> Found {
        let malformed = || "what describes it is not what torch.save writes".to_string();
        let &[storage, offset, shape, strides, ..] = args else { return Err(malformed()) };
        let (offset, shape, strides) = self
            .size(offset)
            .zip(self.sizes(shape))
            .zip(self.sizes(strides))
            .map(|((offset, shape), strides)| (offset, shape, strides))
            .ok_or_else(malformed)?;
        let Value::Persistent(storage) = *self.pickle.get(storage) else { return Err(malformed()) };
        let Some(&[_, kind, key, ..]) = self.tuple(storage) else { return Err(malformed()) };
        let (Some((_, kind)), Value::Text(key)) = (self.global(kind), self.pickle.get(key)) else {
            return Err(malformed());
        };
        let dtype = stored_type(kind)
            .ok_or_else(|| format!("it is stored as {kind}, a type that is not read"))?;
        let name = format!("data/{key}");
        let part = self.parts.get(&format!("{}{name}", self.folder));
        let part = part.ok_or_else(|| format!("its numbers, the part {name}, are not there"))?;
        let width = dtype.bitsize() / 8;
        let there = part.bytes.len() / width;
        let view = View { name, part: part.clone(), width, offset, strides };
        match view.count(&shape) {
            Some((end, count)) if end <= there && count <= there => {
                Ok(Numbers { dtype, shape, place: Place::View(view) })
            }
            _ => Err(format!(
                "its shape {shape:?}, with steps of {:?} from number {offset} on, does not fit the {there} \
                 numbers of its part {}",
                view.strides, view.name
            )),
        }
    }

    fn call(&self, id: Id) -> Option<((&str, &str), &[Id])> {
        match *self.pickle.get(id) {
            Value::Call(callee, args) => Some((self.global(callee)?, self.tuple(args)?)),
            _ => None,
        }
    }

    fn global(&self, id: Id) -> Option<(&str, &str)> {
        match *self.pickle.get(id) {
            Value::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.pickle.get(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn size(&self, id: Id) -> Option<usize> {
        match *self.pickle.get(id) {
            Value::Int(number) => usize::try_from(number).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        let sizes = self.tuple(id).filter(|sizes| sizes.len() <= MOST_AXES)?;
        sizes.iter().map(|&id| self.size(id)).collect()
    }
}

/// The type of the numbers in a storage of this class.
fn stored_type(class: &str) -> Option<Dtype> {
    Some(match class {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "ByteStorage" => Dtype::U8,
        "CharStorage" => Dtype::I8,
        "ShortStorage" => Dtype::I16,
        "IntStorage" => Dtype::I32,
        "LongStorage" => Dtype::I64,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

impl View {
    /// One more than the place of the last number that a tensor of this shape reads, and how many numbers it has.
    fn count(&self, shape: &[usize]) -> Option<(usize, usize)> {
        if shape.len() != self.strides.len() {
            return None;
        }
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
        if count == 0 {
            return Some((0, 0));
        }
        let last =
            shape.iter().zip(&self.strides).try_fold(self.offset, |last, (size, stride)| {
                last.checked_add((size - 1).checked_mul(*stride)?)
            })?;
        Some((last.checked_add(1)?, count))
    }

    /// The bytes of a tensor of `shape`, in row-major order.
    pub fn bytes<'a>(&self, file: &'a [u8], shape: &[usize]) -> Result<Cow<'a, [u8]>, String> {
        let part = content(file, &self.name, &self.part)?;
        let (_, count) = self.count(shape).unwrap_or_default();
        let at = |place: usize| -> Range<usize> { place * self.width..(place + 1) * self.width };
        if self.is_in_rows(shape) {
            let start = if count == 0 { 0 } else { self.offset * self.width };
            return Ok(Cow::Borrowed(&part[start..start + count * self.width]));
        }
        let mut bytes = Vec::with_capacity(count * self.width);
        for index in 0..count {
            let mut rest = index;
            let mut place = self.offset;
            for (size, stride) in shape.iter().zip(&self.strides).rev() {
                place += rest % size * stride;
                rest /= size;
            }
            bytes.extend(&part[at(place)]);
        }
        Ok(Cow::Owned(bytes))
    }

    /// Whether the numbers are contiguous and in row-major order.
    fn is_in_rows(&self, shape: &[usize]) -> bool {
        let mut expected = 1;
        shape.contains(&0)
            || shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
                let fits = size == 1 || stride == expected;
                expected *= size;
                fits
            })
    }
}
