//! Files that may be gzipped, whatever their names.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::{Error, Result};

/// The first bytes of a gzip stream.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file that is unpacked while it is read if its first bytes are those of gzip.
pub(crate) struct Plain<'a> {
    path: &'a Path,
    bytes: Bytes,
}

enum Bytes {
    AsTheyAre(BufReader<File>),
    Packed(Box<Gunzip<BufReader<File>>>),
}

impl<'a> Plain<'a> {
    pub fn open(path: &'a Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
        let is_packed = file.fill_buf().map_err(Error::io(path))?.starts_with(&MAGIC);
        let bytes = match is_packed {
            true => Bytes::Packed(Box::new(Gunzip(Some(GzDecoder::new(file))))),
            false => Bytes::AsTheyAre(file),
        };
        Ok(Self { path, bytes })
    }

    /// Reads the next `most` bytes, or as many as are left.
    pub fn take(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match &mut self.bytes {
            Bytes::AsTheyAre(file) => {
                file.take(most as u64).read_to_end(&mut bytes).map_err(Error::io(self.path))?;
            }
            Bytes::Packed(file) => {
                file.take(most as u64).read_to_end(&mut bytes).map_err(|error| {
                    let found = format!("broken gzip data ({error})");
                    Error::bad_file(self.path, found, "a whole gzip file")
                })?;
            }
        }
        Ok(bytes)
    }
}

/// Gzip streams, one after the other. Zeros after a stream, as tapes and some servers leave them, and
/// anything else that is not a gzip stream, are ignored, as `gzip` does.
struct Gunzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(stream) = &mut self.0 {
            let count = stream.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(stream) = self.0.take() else { break };
            let mut rest = stream.into_inner();
            loop {
                let bytes = rest.fill_buf()?;
                let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
                if bytes.is_empty() || zeros < bytes.len() {
                    rest.consume(zeros);
                    break;
                }
                rest.consume(zeros);
            }
            if rest.fill_buf()?.first() == Some(&MAGIC[0]) {
                self.0 = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        file.write_all(bytes).unwrap();
        file.finish().unwrap()
    }

    #[test]
    fn what_is_read_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("any name");
        for (file, expected) in [
            (b"plain".to_vec(), Some(&b"plain"[..])),
            (Vec::new(), Some(b"")),
            (packed(b"one"), Some(b"one")),
            ([packed(b"one"), packed(b" two")].concat(), Some(b"one two")),
            ([packed(b"one"), vec![0; 100_000]].concat(), Some(b"one")),
            (
                [packed(b"one"), vec![0; 512], packed(b" two"), vec![0; 3]].concat(),
                Some(b"one two"),
            ),
            ([packed(b"one"), b"more".to_vec()].concat(), Some(b"one")),
            (packed(b"cut short").split_last_chunk::<9>().unwrap().0.to_vec(), None),
            (MAGIC.to_vec(), None),
        ] {
            std::fs::write(&path, file).unwrap();
            let found = Plain::open(&path).unwrap().take(1000);
            match expected {
                Some(expected) => assert_eq!(found.unwrap(), expected),
                None => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains("any name: found broken gzip data"), "{error}");
                }
            }
        }
        std::fs::write(&path, packed(b"in parts")).unwrap();
        let mut file = Plain::open(&path).unwrap();
        assert_eq!(
            (file.take(3).unwrap(), file.take(9).unwrap()),
            (b"in ".to_vec(), b"parts".to_vec())
        );
    }
}
