//! Any set of images with labels on the hub: `OWNER/NAME[/CONFIG][@REVISION]`.

use std::path::PathBuf;

use hf_hub::HFError;

use super::client::{set_repository, snapshots};
use super::download::with_causes;
use super::online::Pulse;
use super::snapshots::{Snapshots, is_commit, stays_inside};
use crate::parquet_files::{self, Layout};
use crate::split::is_unlabelled;
use crate::{Dataset, DatasetName, Error, Hub, LoadOptions, OnProgress, RepoKind, Result, table};

/// The branch that the hub itself maintains, with each set as parquet files.
const CONVERTED: &str = "refs/convert/parquet";
/// The branch that the owner of a set maintains.
pub(crate) const MAIN: &str = "main";

/// Loads the set of this name; `None` if the name is not that of a set on the hub.
pub(crate) fn load(
    name: &str,
    hub: &Hub,
    options: &LoadOptions,
    on_progress: &OnProgress,
) -> Result<Option<Dataset>> {
    HubSet::parse(name).map(|set| set.load(hub, options, on_progress)).transpose()
}

/// Loads a set of [`DatasetName`] from its files; the digits need none.
pub(crate) fn load_known(
    name: DatasetName,
    hub: &Hub,
    on_progress: &OnProgress,
) -> Result<Dataset> {
    // The first name is the current one. The others are old names, which caches filled by other programs still
    // use; the hub redirects those of CIFAR.
    let (repos, old): (&[&str], &[&str]) = match name {
        DatasetName::Digits => return Ok(crate::digits()),
        DatasetName::Mnist => (&["ylecun/mnist"], &["mnist"]),
        DatasetName::FashionMnist => (&["zalando-datasets/fashion_mnist"], &["fashion_mnist"]),
        DatasetName::Cifar10 => (&["uoft-cs/cifar10", "cifar10"], &[]),
        DatasetName::Cifar100 => (&["uoft-cs/cifar100", "cifar100"], &[]),
        DatasetName::Stl10 => (&["tanganke/stl10"], &[]),
    };
    let read = |paths: &[PathBuf]| table::read(paths, name, on_progress);
    let set = |train, test| Dataset::known(name, train, test, Vec::new());
    for repo in repos.iter().chain(old) {
        let cached = HubSet::known(repo, name.folder()).in_cache(hub, on_progress)?;
        if let Some([(_, train), (_, test)]) = cached.as_deref() {
            return Ok(set(read(train)?, read(test)?));
        }
    }
    let split = |split: &str| {
        let file = format!("{}/{split}/0000.parquet", name.folder());
        let path = hub.fetch_any(RepoKind::Dataset, repos, CONVERTED, &file, on_progress)?;
        read(&[path])
    };
    Ok(set(split("train")?, split("test")?))
}

/// A set on the hub.
#[derive(Debug, PartialEq)]
pub(crate) struct HubSet<'a> {
    /// The name as it was given.
    name: &'a str,
    /// `OWNER/NAME`.
    repo: String,
    config: Option<&'a str>,
    revision: Option<&'a str>,
}

/// The files of each split: the training split and, if there is one, the test split, then the unlabelled ones.
type Splits<P> = Vec<(String, Vec<P>)>;

impl<'a> HubSet<'a> {
    /// Parses `OWNER/NAME` or `OWNER/NAME/CONFIG`, optionally with `@REVISION`; `None` if it is not such a name.
    /// The names of owners, sets and configurations contain neither `/` nor `@`; those of revisions may.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (path, revision) = match name.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (name, None),
        };
        let mut parts = path.split('/');
        let (owner, set, config, more) = (parts.next()?, parts.next()?, parts.next(), parts.next());
        let is_name = |part: &str| stays_inside(part) && !part.contains(char::is_whitespace);
        let all = [Some(owner), Some(set), config].into_iter().flatten();
        let good = all.clone().all(is_name) && revision.is_none_or(is_name) && more.is_none();
        good.then(|| Self { name, repo: format!("{owner}/{set}"), config, revision })
    }

    /// A set whose repository and configuration are known.
    pub fn known(repo: &'a str, config: &'a str) -> Self {
        Self { name: repo, repo: repo.to_string(), config: Some(config), revision: None }
    }

    /// The files of each split in the cache, from whichever branch they are; `None` if some are missing.
    pub fn in_cache(&self, hub: &Hub, on_progress: &OnProgress) -> Result<Option<Splits<PathBuf>>> {
        // All files of splits that are named have to be there.
        let [train_split, test_split] = ["train", "test"].map(|split| Some(split.to_string()));
        let options = LoadOptions { train_split, test_split, ..LoadOptions::default() };
        let (found, _) = self.cached(&snapshots(hub, &self.repo), &options, &[]);
        let Some(found) = found.filter(|found| found.is_whole) else { return Ok(None) };
        let fetch = |file: String| self.fetch(hub, &found.commit, &file, on_progress);
        let fetch_all = |(split, files): (String, Vec<String>)| -> Result<(String, Vec<PathBuf>)> {
            Ok((split, files.into_iter().map(fetch).collect::<Result<_>>()?))
        };
        found.splits.into_iter().map(fetch_all).collect::<Result<_>>().map(Some)
    }

    /// Loads the set: from the cache if all of it is there, else from the hub, else what the cache has.
    pub fn load(
        &self,
        hub: &Hub,
        options: &LoadOptions,
        on_progress: &OnProgress,
    ) -> Result<Dataset> {
        let choose = |negative: &[String]| -> Result<Splits<(String, String)>> {
            let Found { commit, splits, .. } = self.find(hub, options, negative)?;
            let of_commit = |files: Vec<String>| {
                files.into_iter().map(|file| (commit.clone(), file)).collect::<Vec<_>>()
            };
            Ok(splits.into_iter().map(|(split, files)| (split, of_commit(files))).collect())
        };
        let fetch = |(commit, file): &(String, String)| self.fetch(hub, commit, file, on_progress);
        parquet_files::load(self.name, choose, fetch, options, on_progress)
    }

    /// Finds the files of the set: in the cache if all of them are there, else on the hub, else what the cache has.
    fn find(&self, hub: &Hub, options: &LoadOptions, negative: &[String]) -> Result<Found> {
        let snapshots = snapshots(hub, &self.repo);
        let (cached, refusal) = self.cached(&snapshots, options, negative);
        let whole = cached.as_ref().filter(|cached| cached.is_whole);
        let offline = hub.why_offline(RepoKind::Dataset);
        let asked = match (whole, offline) {
            (Some(_), _) => Err(String::new()),
            (None, Some(why)) => Err(why.to_string()),
            (None, None) => self.ask(hub, &snapshots, options, negative)?,
        };
        match (asked, cached, refusal) {
            (Ok(found), _, _) | (Err(_), Some(found), _) => Ok(found),
            (Err(_), None, Some(refusal)) if offline.is_some() => Err(refusal),
            (Err(reason), None, _) => Err(Error::Unavailable {
                file: "a whole set of parquet files".to_string(),
                repo: self.name.to_string(),
                cache: hub.cache_dir().to_path_buf(),
                reason,
                advice: "name a folder that holds the data set with --data-dir",
            }),
        }
    }

    /// Checks a file, and downloads it if it is not in the cache.
    fn fetch(
        &self,
        hub: &Hub,
        commit: &str,
        file: &str,
        on_progress: &OnProgress,
    ) -> Result<PathBuf> {
        hub.fetch(RepoKind::Dataset, &self.repo, commit, file, on_progress)
    }

    /// The revisions to look for, in the order of preference.
    fn revisions(&self) -> Vec<&str> {
        self.revision.map_or_else(|| vec![CONVERTED, MAIN], |revision| vec![revision])
    }

    /// The part of the set that is in the cache, or the reason why it cannot be used. If there is no list of the
    /// files of a commit, as in caches that Python has filled, the set is assumed to be whole if it has a split
    /// for training and one for testing. Of a split [on trial](parquet_files::on_trial), the first file is enough: if
    /// that has labels, the others are fetched. What the revision had at an earlier commit is only a part, which is
    /// used if the hub cannot be asked: the revision may have moved on for another configuration.
    fn cached(
        &self,
        snapshots: &Snapshots,
        options: &LoadOptions,
        negative: &[String],
    ) -> (Option<Found>, Option<Error>) {
        let known = self.revisions().into_iter().filter_map(|revision| snapshots.commit(revision));
        let mut commits: Vec<String> = known.collect();
        if self.revision.is_none() {
            // Python may have fetched a commit without recording to which revision it belongs.
            commits.extend(snapshots.strays());
        }
        let current = commits.len();
        let earlier = self.revisions().into_iter().flat_map(|revision| snapshots.earlier(revision));
        commits.extend(earlier.filter(|commit| snapshots.listed(commit).is_some()));
        let (mut part, mut refusal) = (None, None);
        for (at, commit) in commits.into_iter().enumerate() {
            let listed = snapshots.listed(&commit);
            let is_listed = listed.is_some();
            let files = listed.unwrap_or_else(|| snapshots.files(&commit));
            match self.choose(&files, options, negative) {
                Ok(Some(splits)) => {
                    let trial = parquet_files::on_trial(&splits, options);
                    let is_there = |(split, files): &(String, Vec<String>)| {
                        let needed = match trial {
                            Some((tried, _)) if tried == split => &files[..1],
                            _ => &files[..],
                        };
                        needed.iter().all(|file| snapshots.file(&commit, file).is_some())
                    };
                    if !splits.iter().all(is_there) {
                        continue;
                    }
                    let has_both =
                        || splits.iter().filter(|(name, _)| !is_unlabelled(name)).count() == 2;
                    let is_whole = at < current && (is_listed || has_both());
                    let found = Found { commit, splits, is_whole };
                    if is_whole {
                        return (Some(found), None);
                    }
                    part = part.or(Some(found));
                }
                Ok(None) => {}
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        (part, refusal)
    }

    /// Chooses the files to read among all files of a revision; `None` if it has no suitable parquet files.
    fn choose(
        &self,
        files: &[String],
        options: &LoadOptions,
        negative: &[String],
    ) -> Result<Option<Splits<String>>> {
        let layout = Layout::of(files.iter().map(String::as_str), self.name);
        if layout.is_empty() {
            return Ok(None);
        }
        let splits = layout.splits(self.config, options, negative)?;
        // The hub converts only the first gigabytes of a large set. Those are used only if they are asked for.
        let in_part = |file: &String| file.split('/').any(|part| part.starts_with("partial-"));
        let in_part = splits.iter().flat_map(|(_, files)| files).any(in_part);
        Ok((self.revision.is_some() || !in_part).then_some(splits))
    }

    /// Asks the hub which files of the set to read, and for their commit. The inner error says why the hub
    /// cannot be asked.
    fn ask(
        &self,
        hub: &Hub,
        snapshots: &Snapshots,
        options: &LoadOptions,
        negative: &[String],
    ) -> Result<Result<Found, String>> {
        let online = match hub.online() {
            Ok(online) => online,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let repository = set_repository(online, &self.repo);
        let (mut missing, mut other_files, mut in_part) = (None, None, false);
        for revision in self.revisions() {
            let pulse = Pulse::new(hub.patience());
            let info = repository.info().revision(revision).send();
            let info = match online.run(pulse.watch(info)) {
                Ok(info) => info,
                Err(error @ HFError::RevisionNotFound { .. }) => {
                    missing = Some(error);
                    continue;
                }
                Err(error @ (HFError::AuthRequired { .. } | HFError::Forbidden { .. })) => {
                    return Err(self.refused(
                        with_causes(&error, hub.endpoint()),
                        "check the name; for a private or gated set, accept the terms on its page, and set HF_TOKEN to a token \
                         that may see it",
                    ));
                }
                Err(error) => {
                    let reason = with_causes(&error, hub.endpoint());
                    return Ok(Err(format!("the hub could not be queried ({reason})")));
                }
            };
            let all = info.siblings.unwrap_or_default();
            let files: Vec<String> = all.into_iter().map(|file| file.rfilename).collect();
            let tables = files.iter().filter(|file| file.ends_with(".parquet"));
            let tables: Vec<String> = tables.cloned().collect();
            if let Some(odd) = tables.iter().find(|file| !stays_inside(file)) {
                let reason = format!("a file is called '{}'", odd.escape_debug());
                return Err(
                    self.refused(reason, "do not use it: such a name leads out of the cache")
                );
            }
            let commit = info.sha.filter(|sha| is_commit(sha));
            match (self.choose(&tables, options, negative)?, commit) {
                (Some(splits), Some(commit)) => {
                    snapshots.list(revision, &commit, &tables)?;
                    return Ok(Ok(Found { commit, splits, is_whole: true }));
                }
                (Some(_), None) => {
                    return Ok(Err("the hub did not say at which commit it is".to_string()));
                }
                (None, _) if tables.is_empty() => other_files = Some((revision, files.len())),
                (None, _) => in_part = true,
            }
        }
        Err(self.nothing(in_part, other_files, missing))
    }

    /// The error for a set without files to read: the hub has only a part of it, or only other files, or no such
    /// set or revision.
    fn nothing(
        &self,
        in_part: bool,
        other_files: Option<(&str, usize)>,
        missing: Option<HFError>,
    ) -> Error {
        match (other_files, missing) {
            _ if in_part => self.refused(
                format!("the hub has parquet files of its first gigabytes only ({CONVERTED})"),
                "ask for that part with @refs/convert/parquet after the name",
            ),
            (Some((revision, files)), _) => self.refused(
                format!("found no parquet files among its {files} files ({revision})"),
                "download it, put the images into folders CLASS/*.png, and name that folder with --data-dir",
            ),
            (None, Some(HFError::RevisionNotFound { revision, context, .. }))
                if context.as_ref().and_then(|context| context.error_code.as_deref())
                    == Some("RevisionNotFound") =>
            {
                self.refused(
                    format!("it has no revision '{}'", revision.escape_debug()),
                    "give a branch, a tag or a commit of it after the @",
                )
            }
            _ => self.refused(
                "the hub has no data set of this name".to_string(),
                "check the name, OWNER/NAME; for a private set, set HF_TOKEN to a token that may see it",
            ),
        }
    }

    fn refused(&self, reason: String, advice: &'static str) -> Error {
        Error::HubSet { name: self.name.to_string(), reason, advice }
    }
}

/// The files to read, and their commit.
struct Found {
    commit: String,
    splits: Splits<String>,
    /// Whether these are known to be all files of the set, at the commit that the revision is at.
    is_whole: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `main` moved on from the commit at which a configuration was fetched, when another one was: the files of the
    /// first are still a part of the set.
    #[test]
    fn what_was_fetched_at_an_earlier_commit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(folder.path(), "set");
        let file = |config: &str, split: &str| format!("{config}/{split}/0000.parquet");
        let listed = ["small", "large"].map(|config| [file(config, "train"), file(config, "test")]);
        let listed = listed.concat();
        let [first, second, third] = ["1", "2", "3"].map(|digit| digit.repeat(40));
        let fetch = |commit: &str, config: &str| {
            snapshots.list(MAIN, commit, &listed).unwrap();
            for split in ["train", "test"] {
                let path = folder.path().join("set/snapshots").join(commit);
                let path = path.join(file(config, split));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "PAR1").unwrap();
            }
        };
        let found = |name: &str| {
            let set = HubSet::parse(name).unwrap();
            let (found, _) = set.cached(&snapshots, &LoadOptions::default(), &[]);
            found.map(|found| (found.commit, found.is_whole))
        };
        fetch(&first, "small");
        assert_eq!(found("a/set/small"), Some((first.clone(), true)));
        fetch(&second, "large");
        assert_eq!(found("a/set/large"), Some((second, true)));
        assert_eq!(found("a/set/small"), Some((first.clone(), false)));
        assert_eq!(found("a/set/small@main"), Some((first.clone(), false)));
        assert_eq!(found("a/set/small@v1"), None);
        fetch(&third, "small");
        assert_eq!(found("a/set/small"), Some((third, true)));
        // The commits are kept once each, and the current one is none of the earlier ones.
        fetch(&first, "large");
        let digits: String = snapshots.earlier(MAIN).iter().map(|commit| &commit[..1]).collect();
        assert_eq!(digits, "32");
    }

    #[test]
    fn names_are_unambiguous() {
        for (name, repo, config, revision) in [
            ("a/b", "a/b", None, None),
            ("a/b-2.c/160px", "a/b-2.c", Some("160px"), None),
            ("a/b@v1", "a/b", None, Some("v1")),
            ("a/b/c@refs/pr/1", "a/b", Some("c"), Some("refs/pr/1")),
            ("a/b@of@two", "a/b", None, Some("of@two")),
        ] {
            let expected = HubSet { name, repo: repo.to_string(), config, revision };
            assert_eq!(HubSet::parse(name), Some(expected));
        }
        for name in [
            "",
            "mnist",
            "mnist@v1",
            "a/",
            "/b",
            "a/b/",
            "a/b/c/d",
            "a/b@",
            "a/b@x/../y",
            "../b",
            "a/..",
            "a b/c",
            "a/b\n",
            "a/b@/x",
            "a\\b/c",
            "https://hub/a",
        ] {
            assert_eq!(HubSet::parse(name), None, "{name}");
        }
    }
}
