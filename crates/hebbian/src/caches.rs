//! A check of the processor's caches, before the matrix-product libraries read them.

use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

/// The folder in which Linux describes the processor's caches.
pub(crate) const CPUS: &str = "/sys/devices/system/cpu";
/// The number of cache levels that gemm 0.19, and private-gemm-x86 0.1 of faer, have room for: with one more, they
/// panic at the first product.
const LEVELS: usize = 3;

/// Refuses processors with more cache levels than those libraries have room for, according to the folder `cpus`.
pub(crate) fn check(cpus: &Path) -> Result<()> {
    let all = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for cpu in all(cpus).filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"cpu")) {
        for cache in all(&cpu.path().join("cache")) {
            let read = |name: &str| fs::read_to_string(cache.path().join(name)).unwrap_or_default();
            let level: usize = read("level").trim().parse().unwrap_or_default();
            if level > LEVELS && read("type").trim() != "Instruction" {
                bail!(
                    "this processor has a cache of level {level} ({}), and the library of matrix products panics where \
                     there are more than {LEVELS} levels: run the program where {CPUS} is empty, as by `unshare -rm sh \
                     -c 'mount -t tmpfs none {CPUS} && exec \"$@\"' sh PROGRAM FLAGS...`",
                    cache.path().display()
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fourth_level_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |cpu: &str, index: &str, level: &str, kind: &str| {
            let folder = folder.path().join(cpu).join("cache").join(index);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("level"), format!("{level}\n")).unwrap();
            fs::write(folder.join("type"), format!("{kind}\n")).unwrap();
        };
        assert!(check(&folder.path().join("nowhere")).is_ok());
        for (index, level, kind) in [
            ("index0", "1", "Data"),
            ("index1", "1", "Instruction"),
            ("index2", "2", "Unified"),
            ("index3", "3", "Unified"),
            ("uevent", "", ""),
        ] {
            cache("cpu0", index, level, kind);
        }
        cache("cpufreq", "index0", "none", "Data");
        assert!(check(folder.path()).is_ok());
        cache("cpu1", "index4", "4", "Unified");
        let error = check(folder.path()).unwrap_err().to_string();
        for part in ["a cache of level 4", "index4", "more than 3 levels", "unshare"] {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
    }
}
