//! Files that are written either whole or not at all.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result, json};

/// The prefix of the name of a file that is still being written. The file's own name, a hyphen and some
/// letters follow.
const UNFINISHED: &str = ".unfinished-";
/// The most bytes of a file's own name that are used. Of a longer name only the start is used, to leave
/// room for the prefix and the letters.
const LONGEST_NAME: usize = 200;
/// The most symbolic links that are followed in a row; Linux gives up after as many.
const MOST_LINKS: usize = 40;

/// Removes from `folder` the unfinished files that a killed program left, if `own` accepts the names
/// that they were to get. Files that are still being written, and are therefore locked, stay.
pub(crate) fn remove_unfinished(folder: &Path, own: impl Fn(&str) -> bool) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name();
        let unfinished = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
        let path = entry.path();
        if unfinished.and_then(|name| name.rsplit_once('-')).is_some_and(|(name, _)| own(name))
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            // The lock is held until the file is removed: see `unfinished`. NFS locks only files that
            // are opened for writing, but a write-protected file can only be opened for reading.
            && let Ok(file) = OpenOptions::new().write(true).open(&path).or_else(|_| File::open(&path))
            && file.try_lock().is_ok()
        {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Has `fill` write a file beside `path` and renames it to `path` once it is on the disk.
///
/// A reader sees the old file or the new one, never a part of either. On failure nothing is left
/// behind, and unfinished files of the same name that a killed program left are removed. An existing
/// file keeps its mode. A link stays a link, and its target is written. Anything other than a regular
/// file (a pipe, a device) is not replaced: what `fill` has written is copied into it.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("write", path)(error);
    // `metadata` follows links, and some links in /proc lead to files that have no name.
    let existing = path.metadata().ok();
    if existing.as_ref().is_some_and(|found| !found.is_file() && !found.is_dir()) {
        let mut node = OpenOptions::new().write(true).open(path).map_err(failed)?;
        let mut whole = tempfile::tempfile().map_err(failed)?;
        filled(path, &whole, fill)?;
        let copied = whole.rewind().and_then(|()| std::io::copy(&mut whole, &mut node));
        return copied.and_then(|_| node.flush()).map_err(failed);
    }
    let target = behind_links(path).map_err(failed)?;
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let name = &name[..name.floor_char_boundary(LONGEST_NAME)];
    // A failure is not worth an error: it may only mean that the folder cannot be listed.
    let _ = remove_unfinished(folder, |unfinished| unfinished == name);

    let file = unfinished(folder, name, existing.as_ref()).map_err(failed)?;
    filled(path, file.as_file(), fill)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&target).map_err(|failure| failed(failure.error))?;
    // The new name has to survive a power cut as well. Only Unix can open a folder to sync it.
    #[cfg(unix)]
    if_possible(File::open(folder).and_then(|folder| folder.sync_all())).map_err(failed)?;
    Ok(())
}

/// Passes over the error of a folder that may be written to but not read, and that of a file system that syncs no
/// folders, as those that a virtual machine shares with its host: the file is in its place.
#[cfg(unix)]
fn if_possible(synced: std::io::Result<()>) -> std::io::Result<()> {
    use std::io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match synced {
        Err(error) if [InvalidInput, PermissionDenied, Unsupported].contains(&error.kind()) => {
            Ok(())
        }
        synced => synced,
    }
}

fn filled(
    path: &Path,
    file: &File,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    fill(&mut writer)?;
    writer.flush().map_err(Error::io("write", path))
}

/// The path that a link leads to, whether or not a file exists there; any other path is returned as it
/// is.
fn behind_links(path: &Path) -> std::io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        if !target.is_symlink() {
            return Ok(target);
        }
        // Relative to the folder that the link is in.
        let next = target.read_link()?;
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(std::io::Error::other(format!("more than {MOST_LINKS} links lead from one to another")))
}

/// Creates the file that is to become `name` in `folder`. It is locked while it is written, and has the
/// mode of the existing file that it is to replace.
fn unfinished(
    folder: &Path,
    name: &str,
    existing: Option<&Metadata>,
) -> std::io::Result<NamedTempFile> {
    let prefix = format!("{UNFINISHED}{name}-");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // Temporary files are private by default. A new file should have ordinary permissions in the end
    // (the umask still applies); one that replaces another should have the permissions of that file.
    #[cfg(unix)]
    if existing.is_none() {
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(folder)?;
        // If files cannot be locked here, no other program can lock and remove this one either.
        let _ = file.as_file().lock();
        // Before it was locked, another program may have removed it as a leftover of a killed program.
        if !file.path().exists() {
            continue;
        }
        #[cfg(unix)]
        if let Some(existing) = existing.map(Metadata::permissions)
            && existing != file.as_file().metadata()?.permissions()
        {
            file.as_file().set_permissions(existing)?;
        }
        return Ok(file);
    }
}

/// Writes bytes, atomically.
///
/// # Errors
/// When the file cannot be written; an older file of that name then stays.
pub fn save_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    write(path, |writer| writer.write_all(bytes).map_err(Error::io("write", path)))
}

/// Writes a text, atomically.
///
/// # Errors
/// When the file cannot be written; an older file of that name then stays.
pub fn save_text(path: impl AsRef<Path>, text: &str) -> Result<()> {
    save_bytes(path, text.as_bytes())
}

/// Writes a value as indented JSON, atomically. A list inside a list, such as a row of a confusion matrix, takes one
/// line.
///
/// # Errors
/// When the value has no JSON form, or the file cannot be written; an older file of that name then
/// stays.
pub fn save_json(path: impl AsRef<Path>, value: &impl serde::Serialize) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = json::indented(value)
        .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
    bytes.push(b'\n');
    save_bytes(path, &bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_stays_a_link_and_its_target_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        for folder in [&here, &there] {
            std::fs::create_dir(folder).unwrap();
        }
        let (link, target) = (here.join("link"), there.join("target"));
        // A chain of links, one of which is relative; at first the target does not exist.
        symlink("../there/middle", &link).unwrap();
        symlink(&target, there.join("middle")).unwrap();
        for content in ["first", "second"] {
            save_text(&link, content).unwrap();
            assert!(link.is_symlink() && there.join("middle").is_symlink());
            assert!(!target.is_symlink());
            assert_eq!((text(&target), text(&link)), (content.into(), content.into()));
        }
        assert_eq!(names(&here), ["link"]);
        assert_eq!(names(&there), ["middle", "target"]);
        // The unfinished file is beside the target: the link's own folder need not be writable.
        write(&link, |_| {
            let there = names(&there);
            assert!(there[0].starts_with(".unfinished-target-"), "{there:?}");
            assert_eq!(names(&here), ["link"]);
            Ok(())
        })
        .unwrap();

        symlink(here.join("b"), here.join("a")).unwrap();
        symlink("a", here.join("b")).unwrap();
        let error = save_text(here.join("a"), "").unwrap_err().to_string();
        assert!(error.contains("links lead from one to another"), "{error}");
        assert_eq!(names(&here), ["a", "b", "link"]);
    }

    #[test]
    fn a_value_that_json_has_not_is_an_error_and_leaves_nothing() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        let error = save_json(folder.path().join("a.json"), &name).unwrap_err().to_string();
        assert!(error.contains("a.json as JSON") && error.contains("UTF-8"), "{error}");
        // The name of a file, however, need not be UTF-8.
        let path = folder.path().join(&name);
        save_text(&path, "whole").unwrap();
        assert_eq!(text(&path), "whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for kept in [0o600, 0o640, 0o444, 0o755, 0o666] {
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(kept)).unwrap();
            // The unfinished file is never more permissive than that either.
            write(&path, |writer| {
                assert_eq!(writer.get_ref().metadata().unwrap().permissions().mode() & 0o777, kept);
                writer.write_all(b"new").unwrap();
                Ok(())
            })
            .unwrap();
            assert_eq!((mode(&path), text(&path)), (kept, "new".to_string()), "{kept:o}");
            std::fs::remove_file(&path).unwrap();
        }
        // A new file has the mode that any other program would give it.
        std::fs::write(folder.path().join("plain"), "").unwrap();
        save_text(&path, "").unwrap();
        assert_eq!(mode(&path), mode(&folder.path().join("plain")));
    }

    /// For a folder that cannot be listed, this is only a test if the user is not root.
    #[test]
    fn a_folder_that_cannot_be_synced_takes_files() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |mode| {
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(0o300);
        let saved = save_text(folder.path().join("file"), "whole");
        mode(0o700);
        saved.unwrap();
        assert_eq!(text(&folder.path().join("file")), "whole");
        // EINVAL is what fsync(2) says of what it cannot sync; EIO and ENOSPC are losses.
        for (number, passes) in [(22, true), (5, false), (28, false)] {
            let found = if_possible(Err(std::io::Error::from_raw_os_error(number)));
            assert_eq!(found.is_ok(), passes, "{found:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_written_into_and_stays() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let link = folder.path().join("link");
        symlink("pipe", &link).unwrap();
        for path in [&pipe, &link] {
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || text(&pipe)
            });
            // Written out of order, which a pipe by itself does not allow.
            write(path, |writer| {
                writer.write_all(b"a____").unwrap();
                writer.seek(std::io::SeekFrom::Start(1)).unwrap();
                writer.write_all(b"bcde").unwrap();
                Ok(())
            })
            .unwrap();
            assert_eq!(reader.join().unwrap(), "abcde");
            assert!(pipe.metadata().unwrap().file_type().is_fifo());
        }
        assert_eq!(names(folder.path()), ["link", "pipe"]);

        let null = Path::new("/dev/null");
        save_text(null, "nothing").unwrap();
        assert!(null.symlink_metadata().unwrap().file_type().is_char_device());
    }

    #[test]
    fn what_a_killed_program_left_goes_with_the_next_write_of_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let others = [".unfinished-model-a-AbCdEf", ".unfinished-other-AbCdEf", "model-AbCdEf"];
        for name in others.iter().chain(&[".unfinished-model-AbCdEf", ".unfinished-model-123456"]) {
            std::fs::write(folder.path().join(name), "half").unwrap();
        }
        let protected = folder.path().join(".unfinished-model-123456");
        std::fs::set_permissions(protected, PermissionsExt::from_mode(0o444)).unwrap();
        save_text(folder.path().join("model"), "whole").unwrap();
        let mut left = vec!["model"];
        left.extend(others);
        left.sort_unstable();
        assert_eq!(names(folder.path()), left);

        // The same for a name so long that only its start fits.
        let long = folder.path().join("n".repeat(250));
        let half = format!(".unfinished-{}-AbCdEf", "n".repeat(200));
        std::fs::write(folder.path().join(&half), "half").unwrap();
        save_text(&long, "whole").unwrap();
        assert!(!names(folder.path()).contains(&half));
        std::fs::remove_file(long).unwrap();

        // A file that is still being written is not a leftover.
        let path = folder.path().join("model");
        write(&path, |outer| {
            outer.write_all(b"outer").unwrap();
            save_bytes(&path, b"inner")?;
            remove_unfinished(folder.path(), |_| true)?;
            assert_eq!(text(&path), "inner");
            Ok(())
        })
        .unwrap();
        assert_eq!(names(folder.path()), ["model", "model-AbCdEf"]);
        assert_eq!(text(&path), "outer");
    }
}
