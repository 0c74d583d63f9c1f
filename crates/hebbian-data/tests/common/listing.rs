//! The mirror's answers about the revisions of a data set, and about the files in them.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Reply, Request, State, sha256};

/// The commit of a revision, which is written as in an address.
pub fn commit(revision: &str) -> String {
    match revision {
        "refs%2Fconvert%2Fparquet" => "a".repeat(40),
        _ if revision.len() == 40 => revision.to_string(),
        _ => sha256(revision.as_bytes())[..40].to_string(),
    }
}

/// Repository, revision and file of an address.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let (repo, rest) = path.strip_prefix("/datasets/")?.split_once("/resolve/")?;
    let (revision, file) = rest.split_once('/')?;
    Some((repo, revision, file))
}

/// The commit to which the file of an address belongs.
pub(super) fn commit_of(path: &str) -> String {
    parts(path).map_or_else(|| "a".repeat(40), |(_, revision, _)| commit(revision))
}

/// The address of a file with the name of its revision, if it is requested by the commit.
pub(super) fn with_revision(state: &State, path: &str) -> String {
    fn by_commit(path: &str) -> Option<(&str, String, &str)> {
        let (repo, revision, file) = parts(path)?;
        Some((repo, commit(revision), file))
    }
    let wanted = by_commit(path);
    let same = |known: &&String| wanted.is_some() && by_commit(known) == wanted;
    match state.files.contains_key(path) {
        true => path.to_string(),
        false => state.files.keys().find(same).cloned().unwrap_or_else(|| path.to_string()),
    }
}

/// Answers `GET /api/datasets/OWNER/NAME/revision/REVISION`, and what Python's libraries ask besides: the set on
/// `main`, and the tree of a revision. Returns `None` for anything else.
pub(super) fn answer(state: &State, request: &Request) -> Option<Reply> {
    let address = request.path.trim_start_matches('/');
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let path: Vec<&str> = path.split('/').collect();
    let ["api", "datasets", owner, name, rest @ ..] = &path[..] else { return None };
    let (revision, folder) = match rest {
        [] => ("main", None),
        ["revision", revision] => (*revision, None),
        ["tree", revision, folder @ ..] => (*revision, Some(folder.join("/"))),
        _ => return None,
    };
    let id = format!("{owner}/{name}");
    let of_repo = state.files.keys().filter_map(|path| parts(path)).filter(|one| one.0 == id);
    let no = |status, code: &str| {
        Some(Reply {
            headers: vec![("X-Error-Code", code.to_string())],
            ..Reply::new(status, json!({ "error": code }).to_string())
        })
    };
    if of_repo.clone().next().is_none() {
        // A client with a token is told that there is no such repository; others might only lack the right to see it.
        return match request.token {
            Some(_) => no("404 Not Found", "RepoNotFound"),
            None => no("401 Unauthorized", "RepoNotFound"),
        };
    }
    let wanted = commit(revision);
    let of_commit = of_repo.filter(|one| commit(one.1) == wanted);
    let mut files: Vec<&str> = of_commit.map(|(_, _, file)| file).collect();
    files.sort_unstable();
    if files.is_empty() {
        return no("404 Not Found", "RevisionNotFound");
    }
    let Some(folder) = folder else {
        let siblings: Vec<_> = files.iter().map(|file| json!({ "rfilename": file })).collect();
        let info = json!({ "id": id, "sha": wanted, "private": false, "siblings": siblings });
        return Some(Reply::new("200 OK", info.to_string()));
    };
    let mut tree = BTreeMap::new();
    for file in files {
        let inner = match folder.is_empty() {
            true => file,
            false => match file.strip_prefix(&format!("{folder}/")) {
                Some(inner) => inner,
                None => continue,
            },
        };
        let start = file.len() - inner.len();
        let parts: Vec<usize> = inner.match_indices('/').map(|(at, _)| start + at).collect();
        for end in &parts {
            tree.insert(
                &file[..*end],
                json!({ "type": "directory", "path": file[..*end], "oid": "0" }),
            );
        }
        if parts.is_empty() || query.contains("recursive=true") {
            tree.insert(file, json!({ "type": "file", "path": file, "size": 1, "oid": "0" }));
        }
    }
    let tree: Vec<_> = tree.into_values().collect();
    Some(Reply::new("200 OK", serde_json::Value::from(tree).to_string()))
}
