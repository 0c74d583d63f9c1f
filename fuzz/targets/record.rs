//! The record of the results that commands have to reproduce, and the results that are compared with it.
#![no_main]

use hebbian_train::{Record, Results};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    // A record, and results after a byte that does not occur in JSON.
    let mut parts = bytes.splitn(2, |&byte| byte == 0xff);
    let (record, results) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let results: Value = serde_json::from_slice(results).unwrap_or_default();
    if let Ok(Results { confusion: Some(confusion), .. }) = serde_json::from_value(results.clone())
    {
        let _ = (confusion.accuracy(), confusion.error(), confusion.recall());
    }
    let Ok(record) = serde_json::from_slice::<Record>(record) else { return };
    for job in &record.jobs {
        let _ = (job.arguments("golkar"), job.flag("--epochs"), job.runs(), job.expected());
        for claim in &job.claims {
            let values = claim.values(&results);
            let _ = (claim.label(), values.len());
            for ours in claim.ours.into_iter().chain(hebbian_train::Ours::of(&values)) {
                let _ = (claim.interval_of(&ours), claim.shown(ours.mean, ours.sd));
            }
        }
    }
    let text = serde_json::to_string(&record).expect("a record has a form in JSON");
    serde_json::from_str::<Record>(&text).expect("what was written can be read");
});
