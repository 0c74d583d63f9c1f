//! Folders that know which of their files are their own.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lock::Lock;
use crate::{Error, Result, atomic, read_text, tensorboard};

/// The name of the program in marks and configurations.
pub(crate) const PROGRAM: &str = "candle-hebbian";
/// The subfolder that holds the files of an earlier run while those of a new one are made.
const REPLACING: &str = ".candle-hebbian-replacing";
/// The name of that subfolder once the new files exist.
const REPLACED: &str = ".candle-hebbian-replaced";
/// Moved away first and put back last: if this file exists, the folder is complete.
const RESULTS: &str = "results.json";
/// Moved away last and put back first: if this file exists, the folder can be resumed.
const CONFIG: &str = "config.json";

/// A kind of folder, such as the folders of runs.
#[derive(Debug)]
pub struct FolderKind {
    /// The name of the file that lists the others.
    pub mark: &'static str,
    /// The files that every folder of this kind has in the end.
    pub files: &'static [&'static str],
    /// Whether a file of this name may belong to such a folder.
    pub writes: fn(&str) -> bool,
    /// Whether a file with such a name also has the content that its name says.
    pub is_own: fn(&Path) -> bool,
}

/// A folder that lists, in a file called its *mark*, the files that were written there, so that a later
/// run there replaces these and no others.
///
/// [`replace`](Self::replace) exchanges an earlier folder's files for new ones all or nothing, whenever
/// the program is killed and whatever fails:
///
/// 1. a copy of the earlier mark and then the earlier files are put into a subfolder;
/// 2. the new files are made;
/// 3. the subfolder is renamed, and removed.
///
/// After an interruption, the next use of the folder undoes 1 and 2, or finishes 3
/// ([`recover`](Self::recover)).
///
/// While an `OwnFolder` lives, no other run can use the folder.
#[derive(Debug)]
pub struct OwnFolder {
    folder: PathBuf,
    kind: &'static FolderKind,
    mark: Mark,
    _lock: Lock,
}

/// The content of a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mark {
    program: String,
    version: String,
    files: BTreeSet<String>,
    #[serde(flatten)]
    about: Map<String, Value>,
}

impl OwnFolder {
    /// The names of the files that belong to the folder `path`, whether they are there or not; none if nothing marks
    /// it.
    pub(crate) fn names(path: &Path, kind: &FolderKind) -> Result<BTreeSet<String>> {
        Ok(Mark::read(path, kind)?.map(|mark| mark.files).unwrap_or_default())
    }

    /// Makes the folder, with all folders above it, and has `fill` make its files. The files that an
    /// earlier mark lists are replaced; other files stay. `about` is stored in the mark.
    ///
    /// # Errors
    /// When the folder cannot be made or written to; when a file to be replaced is write-protected, a
    /// link, not a regular file, or not what its name says; when a file has a name of this kind but no
    /// mark lists it; when `fill` fails. The folder is then as it was.
    pub fn replace<T>(
        path: impl AsRef<Path>,
        kind: &'static FolderKind,
        about: Map<String, Value>,
        fill: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(Self, T)> {
        Self::prepare(path, kind)?.replace(about, fill)
    }

    /// Locks the folder, which is made if it is missing, and refuses what [`replace`](Self::replace) would refuse
    /// before it changes anything.
    pub(crate) fn prepare(path: impl AsRef<Path>, kind: &'static FolderKind) -> Result<Prepared> {
        let folder = path.as_ref();
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<_> =
            folder.ancestors().take_while(is_missing).map(Path::to_path_buf).collect();
        std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        let lock = Lock::take(folder)?;
        let empty = Empty(missing);
        recover(folder, kind)?;
        let earlier = Mark::read(folder, kind)?;
        let listed = earlier.as_ref().map(|mark| mark.files.clone()).unwrap_or_default();
        check(folder, kind, &listed)?;
        for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let name = entry.map_err(Error::io("read", folder))?.file_name();
            if let Some(name) = name.to_str()
                && (kind.writes)(name)
                && !listed.contains(name)
                && !name.starts_with(tensorboard::PREFIX)
            {
                return Err(Error::in_the_way(
                    &folder.join(name),
                    "does not belong to an earlier run",
                ));
            }
        }
        Ok(Prepared { folder: folder.to_path_buf(), kind, earlier, lock, empty })
    }

    /// Opens an existing folder to continue with what is in it.
    ///
    /// # Errors
    /// When it has no mark of this kind, or a file that the mark lists is write-protected, a link, not
    /// a regular file, or not what its name says.
    pub fn open(path: impl AsRef<Path>, kind: &'static FolderKind) -> Result<Self> {
        let folder = path.as_ref();
        if !folder.is_dir() {
            return Err(Error::NoMark { path: folder.join(kind.mark) });
        }
        let lock = Lock::take(folder)?;
        recover(folder, kind)?;
        let Some(mark) = Mark::read(folder, kind)? else {
            return Err(Error::NoMark { path: folder.join(kind.mark) });
        };
        check(folder, kind, &mark.files)?;
        let own = Self { folder: folder.to_path_buf(), kind, mark, _lock: lock };
        atomic::remove_unfinished(folder, |name| own.owns(name))?;
        Ok(own)
    }

    /// Returns what the mark of the folder holds besides the names of its files; `None` if there is no
    /// mark.
    ///
    /// # Errors
    /// When there is a file of that name that is not a mark.
    pub fn about(
        path: impl AsRef<Path>,
        kind: &'static FolderKind,
    ) -> Result<Option<Map<String, Value>>> {
        Ok(Mark::read(path.as_ref(), kind)?.map(|mark| mark.about))
    }

    /// Puts back the files that a killed program was [replacing](Self::replace), or removes those that
    /// it had replaced; writes nothing otherwise.
    ///
    /// # Errors
    /// When that fails, files of another program are in the place of such files, or a run is using the
    /// folder.
    pub fn recover(path: impl AsRef<Path>, kind: &'static FolderKind) -> Result<()> {
        let folder = path.as_ref();
        if !folder.is_dir() {
            return Ok(());
        }
        let _lock = Lock::take(folder)?;
        recover(folder, kind)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Adds the file `name` to the mark and returns its path.
    ///
    /// # Errors
    /// When `name` is not a name for such a folder, another program wrote a file of that name, or the
    /// mark cannot be written.
    pub fn claim(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if !is_plain(name) || !(self.kind.writes)(name) {
            let wrong = format!("{name:?} is not the name of a file of such a folder");
            return Err(Error::Argument(wrong));
        }
        if !self.mark.files.contains(name) {
            if path.symlink_metadata().is_ok() {
                return Err(Error::in_the_way(&path, "does not belong to this run"));
            }
            self.mark.files.insert(name.to_string());
            self.save_mark()?;
        }
        Ok(path)
    }

    /// Removes the files of these names, and the names from the mark.
    pub(crate) fn remove<'a>(&mut self, names: impl Iterator<Item = &'a String>) -> Result<()> {
        for name in names {
            remove(&self.folder.join(name))?;
            self.mark.files.remove(name);
        }
        self.save_mark()
    }

    /// Removes those of the folder's files that `which` chooses. They remain the folder's, and may be written again.
    pub(crate) fn clear(&self, which: impl Fn(&str) -> bool) -> Result<()> {
        let chosen = self.mark.files.iter().filter(|name| which(name));
        chosen.into_iter().try_for_each(|name| remove(&self.folder.join(name)))
    }

    /// Removes all of the folder's files, its mark last, and the folder itself unless it holds files of others.
    pub(crate) fn discard(self) -> Result<()> {
        self.mark.in_order().into_iter().try_for_each(|name| remove(&self.folder.join(name)))?;
        remove(&self.folder.join(self.kind.mark))?;
        let Self { folder, _lock: lock, .. } = self;
        lock.remove(&folder);
        let _ = std::fs::remove_dir(&folder);
        Ok(())
    }

    /// The names of the folder's files, whether or not they exist.
    pub(crate) fn files(&self) -> &BTreeSet<String> {
        &self.mark.files
    }

    fn owns(&self, name: &str) -> bool {
        name == self.kind.mark || self.mark.files.contains(name)
    }

    fn save_mark(&self) -> Result<()> {
        self.mark.save(&self.folder, self.kind)
    }
}

/// A folder that is locked and may be [replaced](OwnFolder::replace). If it was made for that and stays empty, it is
/// removed again.
#[derive(Debug)]
pub(crate) struct Prepared {
    folder: PathBuf,
    kind: &'static FolderKind,
    earlier: Option<Mark>,
    lock: Lock,
    empty: Empty,
}

impl Prepared {
    /// Whether the folder has files of its kind, which will be replaced.
    pub fn has_earlier(&self) -> bool {
        self.earlier.is_some()
    }

    /// As [`OwnFolder::replace`].
    pub fn replace<T>(
        self,
        about: Map<String, Value>,
        fill: impl FnOnce(&mut OwnFolder) -> Result<T>,
    ) -> Result<(OwnFolder, T)> {
        let Self { folder, kind, earlier, lock, mut empty } = self;
        let listed = earlier.as_ref().map(|mark| mark.files.clone()).unwrap_or_default();
        let mark = Mark {
            program: PROGRAM.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            files: kind.files.iter().map(ToString::to_string).collect(),
            about,
        };
        let mut new = OwnFolder { folder: folder.clone(), kind, mark, _lock: lock };
        let folder = folder.as_path();
        let made = (|| {
            if let Some(earlier) = &earlier {
                set_aside(folder, kind, earlier)?;
            }
            new.save_mark()?;
            let made = fill(&mut new)?;
            if earlier.is_some() {
                rename(&folder.join(REPLACING), &folder.join(REPLACED))?;
            }
            Ok(made)
        })();
        match made {
            Ok(made) => {
                empty.0.clear();
                // If this fails, what is left is no longer part of the folder, and the next use of the
                // folder removes it.
                let _ = recover(folder, kind);
                atomic::remove_unfinished(folder, |name| listed.contains(name) || new.owns(name))?;
                Ok((new, made))
            }
            Err(error) => {
                if earlier.is_none() {
                    let own = new.mark.files.iter().map(String::as_str).chain([kind.mark]);
                    own.into_iter().try_for_each(|name| remove(&folder.join(name)))?;
                }
                recover(folder, kind)?;
                Err(error)
            }
        }
    }
}

/// Folders that were made, the innermost first, and are removed if nothing comes into them.
#[derive(Debug)]
struct Empty(Vec<PathBuf>);

impl Drop for Empty {
    fn drop(&mut self) {
        let _ = self.0.iter().try_for_each(std::fs::remove_dir);
    }
}

impl Mark {
    /// The mark in `folder`, if there is one.
    fn read(folder: &Path, kind: &FolderKind) -> Result<Option<Self>> {
        let path = folder.join(kind.mark);
        let Some(metadata) = metadata(&path)? else { return Ok(None) };
        if !metadata.is_file() {
            return Err(Error::in_the_way(&path, "is a link, or not a file"));
        }
        let text = match read_text(&path) {
            Err(Error::NotText { .. } | Error::TooLong { .. }) => String::new(),
            read => read?,
        };
        let own = |mark: &Self| {
            let mut names = mark.files.iter();
            mark.program == PROGRAM && names.all(|name| is_plain(name) && (kind.writes)(name))
        };
        match serde_json::from_str(&text).ok().filter(own) {
            Some(mark) => Ok(Some(mark)),
            None => Err(Error::in_the_way(&path, "belongs to another program")),
        }
    }

    fn save(&self, folder: &Path, kind: &FolderKind) -> Result<()> {
        let path = folder.join(kind.mark);
        fault::point().map_err(Error::io("write", &path))?;
        atomic::save_json(path, self)
    }

    /// The files in the order in which they are moved away.
    fn in_order(&self) -> Vec<&String> {
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|name| match name.as_str() {
            RESULTS => 0,
            CONFIG => 2,
            _ => 1,
        });
        files
    }
}

/// [`OwnFolder::recover`] for a caller that holds the lock.
fn recover(folder: &Path, kind: &'static FolderKind) -> Result<()> {
    let (aside, gone) = (folder.join(REPLACING), folder.join(REPLACED));
    if is_folder(&gone)? {
        if let Some(earlier) = Mark::read(&gone, kind)? {
            earlier.files.iter().try_for_each(|name| remove(&gone.join(name)))?;
            remove(&gone.join(kind.mark))?;
        }
        remove_folder(&gone, kind)?;
    }
    if is_folder(&aside)? {
        if let Some(earlier) = Mark::read(&aside, kind)? {
            let now = Mark::read(folder, kind)?;
            if let Some(new) = now.filter(|now| *now != earlier) {
                // All of the earlier files were moved before the new mark was written.
                new.files.iter().try_for_each(|name| remove(&folder.join(name)))?;
                earlier.save(folder, kind)?;
            }
            for name in earlier.in_order().iter().rev() {
                move_if_there(&aside.join(name), &folder.join(name))?;
            }
            remove(&aside.join(kind.mark))?;
        }
        remove_folder(&aside, kind)?;
    }
    Ok(())
}

/// Refuses files that must not be replaced, as far as that can be found out before anything is changed.
fn check(folder: &Path, kind: &FolderKind, listed: &BTreeSet<String>) -> Result<()> {
    for name in listed.iter().map(String::as_str).chain([kind.mark]) {
        let path = folder.join(name);
        let Some(metadata) = metadata(&path)? else { continue };
        let wrong = if metadata.is_symlink() {
            "is a link"
        } else if !metadata.is_file() {
            "is no file"
        } else if metadata.permissions().readonly() {
            "is write-protected"
        } else if name != kind.mark && !(kind.is_own)(&path) {
            "is not what a run writes there"
        } else {
            continue;
        };
        return Err(Error::in_the_way(&path, wrong));
    }
    Ok(())
}

/// Moves the earlier files into the subfolder, after a copy of their mark.
fn set_aside(folder: &Path, kind: &FolderKind, earlier: &Mark) -> Result<()> {
    let aside = folder.join(REPLACING);
    fault::point()
        .and_then(|()| std::fs::create_dir(&aside))
        .map_err(Error::io("make the folder", &aside))?;
    earlier.save(&aside, kind)?;
    let mut names = earlier.in_order().into_iter();
    names.try_for_each(|name| move_if_there(&folder.join(name), &aside.join(name)))
}

/// Whether `name` is the name of a file, without a folder.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let first = components.next();
    first == Some(Component::Normal(name.as_ref()))
        && components.next().is_none()
        && !name.contains(['/', '\\', ':'])
}

/// Returns the metadata of the file itself, not of what it links to; `None` if there is no file.
fn metadata(path: &Path) -> Result<Option<std::fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn is_folder(path: &Path) -> Result<bool> {
    match metadata(path)? {
        Some(metadata) if !metadata.is_dir() => Err(Error::in_the_way(path, "is no folder")),
        found => Ok(found.is_some()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fault::point().and_then(|()| std::fs::rename(from, to)).map_err(Error::io("move", from))
}

fn move_if_there(from: &Path, to: &Path) -> Result<()> {
    if metadata(from)?.is_some() { rename(from, to) } else { Ok(()) }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fault::point().and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a folder that is empty except for a mark that a killed program was writing.
fn remove_folder(path: &Path, kind: &FolderKind) -> Result<()> {
    atomic::remove_unfinished(path, |name| name == kind.mark)?;
    fault::point().and_then(|()| std::fs::remove_dir(path)).map_err(Error::io("remove", path))
}

/// Makes operations fail, in tests.
mod fault {
    #[cfg(not(test))]
    pub(super) fn point() -> std::io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    thread_local! {
        /// How many operations succeed before one fails, and whether all later ones fail too.
        static AFTER: std::cell::Cell<Option<(usize, bool)>> =
            const { std::cell::Cell::new(None) };
        /// Whether an operation has failed.
        static FAILED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    #[cfg(test)]
    pub(super) fn point() -> std::io::Result<()> {
        match AFTER.get() {
            Some((0, forever)) => {
                FAILED.set(true);
                AFTER.set(forever.then_some((0, true)));
                Err(std::io::Error::other("a fault for a test"))
            }
            Some((left, forever)) => {
                AFTER.set(Some((left - 1, forever)));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Returns the result of `run` with these faults, and whether there was a fault.
    #[cfg(test)]
    pub(super) fn within<T>(after: usize, forever: bool, run: impl FnOnce() -> T) -> (T, bool) {
        AFTER.set(Some((after, forever)));
        let result = run();
        AFTER.set(None);
        (result, FAILED.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    static RUN: FolderKind = FolderKind {
        mark: "run.json",
        files: &["config.json", "metrics.jsonl", "model.safetensors", "results.json"],
        writes: |name| !["hints.txt", "run.json"].contains(&name),
        is_own: |_| true,
    };

    /// Every file below `folder`, with its content.
    fn contents(folder: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            if path.is_dir() {
                let below = contents(&path).into_iter();
                found.extend(below.map(|(file, text)| (format!("{name}/{file}"), text)));
                found.insert(name, String::new());
            } else {
                found.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
        found
    }

    /// Makes a new run in `folder`, with a log and an event file.
    fn made(folder: &Path, events: &str) -> Result<OwnFolder> {
        let fill = |new: &mut OwnFolder| {
            for name in ["metrics.jsonl", events] {
                let path = new.claim(name)?;
                fault::point()
                    .and_then(|()| std::fs::File::create_new(&path))
                    .map_err(Error::io("write", &path))?;
            }
            Ok(())
        };
        Ok(OwnFolder::replace(folder, &RUN, Map::new(), fill)?.0)
    }

    /// Makes such a run and releases the folder.
    fn start(folder: &Path, events: &str) -> Result<()> {
        made(folder, events).map(drop)
    }

    /// Makes a complete run beside files of other programs, and returns all contents.
    fn old_run(folder: &Path) -> BTreeMap<String, String> {
        let mut old = made(folder, "events.out.tfevents.1.0").unwrap();
        for name in RUN.files.iter().chain(&["filters.png"]) {
            std::fs::write(old.claim(name).unwrap(), format!("old {name}")).unwrap();
        }
        std::fs::write(folder.join("events.out.tfevents.0.other"), "not ours").unwrap();
        std::fs::write(folder.join("hints.txt"), "not ours").unwrap();
        contents(folder)
    }

    /// Whether `now` is the old run; otherwise it must be the new run with nothing of the old one. The
    /// files of other programs must be there in both cases.
    fn is_old(now: &BTreeMap<String, String>, old: &BTreeMap<String, String>) -> bool {
        for name in ["events.out.tfevents.0.other", "hints.txt"] {
            assert_eq!(now[name], "not ours");
        }
        if now == old {
            return true;
        }
        let names: Vec<&str> = now.keys().map(String::as_str).collect();
        let new = [
            "events.out.tfevents.0.other",
            "events.out.tfevents.2.0",
            "hints.txt",
            "metrics.jsonl",
            "run.json",
        ];
        assert_eq!(names, new);
        assert_eq!(now["metrics.jsonl"], "");
        false
    }

    #[test]
    fn an_operation_that_fails_leaves_the_old_run_whole() {
        let mut failures = 0;
        for operation in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let old = old_run(folder.path());
            let (started, reached) =
                fault::within(operation, false, || start(folder.path(), "events.out.tfevents.2.0"));
            if let Err(error) = &started {
                assert!(error.to_string().contains("a fault for a test"), "{error}");
                assert!(is_old(&contents(folder.path()), &old), "operation {operation}");
                failures += 1;
            }
            // What was left of the old run beside the new one is removed by the next run.
            start(folder.path(), "events.out.tfevents.2.0").unwrap();
            assert!(!is_old(&contents(folder.path()), &old));
            if !reached {
                // At least these can fail: the folder, its mark, six files, the mark, three new files,
                // the commit.
                assert!(failures >= 12, "{failures}");
                return;
            }
        }
    }

    #[test]
    fn a_kill_at_any_operation_leaves_the_old_run_or_the_new_one() {
        let mut olds = 0;
        for operation in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let old = old_run(folder.path());
            let (started, reached) =
                fault::within(operation, true, || start(folder.path(), "events.out.tfevents.2.0"));
            if !reached {
                assert!(started.is_ok() && olds >= 12, "{olds}");
                return;
            }
            // What is left must not look complete, unless nothing has happened yet.
            let left = contents(folder.path());
            if left.contains_key("results.json") {
                assert!(old.iter().all(|(name, text)| left[name] == *text), "{left:?}");
            }
            // The recovery is killed too, at each of its operations.
            for again in 0.. {
                let (recovered, reached) =
                    fault::within(again, true, || OwnFolder::recover(folder.path(), &RUN));
                if !reached {
                    recovered.unwrap();
                    break;
                }
                assert!(recovered.is_err());
            }
            olds += usize::from(is_old(&contents(folder.path()), &old));
        }
    }

    #[test]
    fn a_kill_while_the_earlier_mark_is_copied_leaves_the_old_run() {
        let folder = tempfile::tempdir().unwrap();
        let old = old_run(folder.path());
        let aside = folder.path().join(REPLACING);
        std::fs::create_dir(&aside).unwrap();
        std::fs::write(aside.join(".unfinished-run.json-Ab3dEf"), "{").unwrap();
        OwnFolder::recover(folder.path(), &RUN).unwrap();
        assert_eq!(contents(folder.path()), old);
        // A file of another program there must not be lost.
        std::fs::create_dir(&aside).unwrap();
        std::fs::write(aside.join("hints.txt"), "not ours").unwrap();
        OwnFolder::recover(folder.path(), &RUN).unwrap_err();
        assert!(aside.join("hints.txt").exists());
    }

    #[test]
    fn a_first_run_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hints.txt"), "not ours").unwrap();
        for operation in 0..4 {
            let (started, reached) =
                fault::within(operation, false, || start(folder.path(), "events.out.tfevents.2.0"));
            assert!(reached && started.is_err(), "{operation}");
            assert_eq!(contents(folder.path()).into_keys().collect::<Vec<_>>(), ["hints.txt"]);
        }
    }

    #[test]
    fn a_mark_that_lists_what_such_a_folder_has_not_is_no_mark() {
        for name in ["../results.json", "/etc/results", "a/results", "a\\b", "b/", "..", "", "C:b"]
        {
            let folder = tempfile::tempdir().unwrap();
            let mark = serde_json::json!({ "program": PROGRAM, "version": "0", "files": [name] });
            std::fs::write(folder.path().join("run.json"), mark.to_string()).unwrap();
            let error = start(folder.path(), "events.out.tfevents.2.0").unwrap_err().to_string();
            assert!(error.contains("run.json belongs to another program"), "{name}: {error}");
        }
    }
}
