//! Files that are either whole or not there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

/// What the names of files start with until they are whole. Their own name follows, a hyphen, and some
/// letters.
const UNFINISHED: &str = ".unfinished-";

/// Removes what a killed program was writing in `folder`, of the files whose names are `own`.
pub(crate) fn remove_unfinished(folder: &Path, own: impl Fn(&str) -> bool) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name();
        let unfinished = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
        if unfinished.and_then(|name| name.rsplit_once('-')).is_some_and(|(name, _)| own(name))
            && entry.file_type().is_ok_and(|kind| kind.is_file())
        {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Has `fill` write a file beside `path` and, once it is on the disk, gives it the name `path`.
///
/// A reader sees the old file or the new one, never a part; on failure nothing is left behind.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Of a name so long that no letters fit beside it, the start.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{UNFINISHED}{}-", &name[..name.floor_char_boundary(200)]);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // Temporary files are private by default; these end as ordinary ones (the umask still applies).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(Error::io("write", path))?;

    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file());
    fill(&mut writer)?;
    writer.flush().map_err(Error::io("write", path))?;
    drop(writer);
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.persist(path).map_err(|failure| Error::io("write", path)(failure.error))?;
    // The new name, too, has to outlive a power cut. Only Unix can open a folder for that.
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", path))?;
    Ok(())
}

/// [`write`] of bytes at hand.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, |writer| writer.write_all(bytes).map_err(Error::io("write", path)))
}

/// Writes a text, atomically.
///
/// # Errors
/// When the file cannot be written; an older file of that name then stays.
pub fn save_text(path: impl AsRef<Path>, text: &str) -> Result<()> {
    write_bytes(path.as_ref(), text.as_bytes())
}

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// When it has no JSON form, or the file cannot be written; an older file of that name then stays.
pub fn save_json(path: impl AsRef<Path>, value: &impl serde::Serialize) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { what: path.display().to_string(), source })?;
    bytes.push(b'\n');
    write_bytes(path, &bytes)
}
