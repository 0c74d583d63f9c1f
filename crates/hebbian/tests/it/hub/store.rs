//! The server of large files, as far as the hub's client uses it: files arrive as chunks, many in one object, with a
//! list of the chunks that make each file; they leave in the same way.

use crate::common::mirror::{Mirror, Reply, Request};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use xet_core_structures::metadata_shard::file_structs::FileDataSequenceEntry;
use xet_core_structures::metadata_shard::streaming_shard::MDBMinimalShard;
use xet_core_structures::xorb_object::{XorbObject, reconstruct_xorb_with_footer};

#[derive(Default)]
struct Store {
    /// Objects by their hash, with the places of their chunks.
    objects: HashMap<String, (XorbObject, Vec<u8>)>,
    /// Files by their hash.
    files: HashMap<String, Vec<FileDataSequenceEntry>>,
}

/// Sends the mirror's large files here.
pub fn start(mirror: &Mirror) {
    let (store, own) = (Mutex::new(Store::default()), mirror.clone());
    mirror.store_large_files(Arc::new(move |request| {
        let path = request.path.strip_prefix("/store/")?;
        let mut store = store.lock().unwrap();
        let path: Vec<&str> = path.split('/').collect();
        Some(match (request.method.as_str(), &path[..]) {
            ("POST", ["v1", "xorbs", "default", hash]) => {
                let mut whole = Vec::new();
                let (object, found) =
                    reconstruct_xorb_with_footer(&mut whole, &request.body).unwrap();
                assert_eq!(found.hex(), *hash);
                store.objects.insert(hash.to_string(), (object, whole));
                good(json!({ "was_inserted": true }))
            }
            ("POST", ["v2", "shards"]) => {
                let shard =
                    MDBMinimalShard::from_reader(&mut &request.body[..], true, true).unwrap();
                for file in (0..shard.num_files()).map(|i| shard.file(i).unwrap()) {
                    let entries: Vec<_> = (0..file.num_entries()).map(|i| file.entry(i)).collect();
                    own.stored(file.file_hash().hex(), store.bytes(&entries));
                    store.files.insert(file.file_hash().hex(), entries);
                }
                Reply::new("200 OK", "{\"type\": \"result\"}\n")
            }
            ("GET", ["v2", "reconstructions", hash]) => match store.files.get(*hash) {
                Some(entries) => store.plan(entries, request, &own.endpoint),
                None => Reply::new("404 Not Found", ""),
            },
            ("GET", ["v1", "xorbs", "default", hash]) => {
                let (_, whole) = &store.objects[*hash];
                let (first, last) = range(request).unwrap();
                Reply::new("206 Partial Content", &whole[first..=last])
            }
            // The rest need not be supported: chunks that others have sent, other ways to send an object.
            _ => Reply::new("404 Not Found", ""),
        })
    }));
}

fn good(value: Value) -> Reply {
    Reply::new("200 OK", value.to_string())
}

/// The first and the last byte of the requested range.
fn range(request: &Request) -> Option<(usize, usize)> {
    let (first, last) = request.range.as_ref()?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

impl Store {
    /// The bytes of the file that the chunks make.
    fn bytes(&self, entries: &[FileDataSequenceEntry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in entries {
            let (object, whole) = &self.objects[&entry.xorb_hash.hex()];
            let (first, end) = (entry.chunk_index_start, entry.chunk_index_end);
            let mut whole = Cursor::new(whole);
            bytes.extend(object.get_bytes_by_chunk_range(&mut whole, first, end).unwrap());
        }
        bytes
    }

    /// The answer that says where the client gets the chunks.
    fn plan(&self, entries: &[FileDataSequenceEntry], request: &Request, endpoint: &str) -> Reply {
        let size: u32 = entries.iter().map(|entry| entry.unpacked_segment_bytes).sum();
        if range(request).is_some_and(|(first, _)| first >= size as usize) {
            return Reply::new("416 Range Not Satisfiable", "");
        }
        let (mut terms, mut objects) = (Vec::new(), HashMap::<String, Vec<Value>>::new());
        for entry in entries {
            let hash = entry.xorb_hash.hex();
            let chunks = json!({ "start": entry.chunk_index_start, "end": entry.chunk_index_end });
            let (object, _) = &self.objects[&hash];
            let (first, end) =
                object.get_byte_offset(entry.chunk_index_start, entry.chunk_index_end).unwrap();
            let length = entry.unpacked_segment_bytes;
            terms.push(json!({ "hash": hash, "unpacked_length": length, "range": chunks }));
            objects.entry(hash.clone()).or_default().push(json!({
                "url": format!("{endpoint}/store/v1/xorbs/default/{hash}"),
                "ranges": [{ "chunks": chunks, "bytes": { "start": first, "end": end - 1 } }],
            }));
        }
        good(json!({ "offset_into_first_range": 0, "terms": terms, "xorbs": objects }))
    }
}
