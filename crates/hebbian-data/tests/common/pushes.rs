//! The mirror's answers when a model is pushed: repositories and branches are made, files are announced, and everything
//! new comes with a commit, large files by their checksums.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Manner, Reply, Request, Served, State, sha256};

/// The token that may write.
pub const TOKEN: &str = "hf_theTokenThatMayWriteHere";
/// A token that may not write.
pub const READ_ONLY: &str = "hf_theTokenThatMayOnlyRead";

#[derive(Clone)]
pub struct Repo {
    pub private: bool,
    pub branches: Vec<String>,
    pub commits: Vec<Commit>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    pub branch: String,
    pub message: String,
    /// The names of the files, and whether each came as a checksum only.
    pub files: Vec<(String, bool)>,
}

impl Repo {
    pub fn new(private: bool) -> Self {
        Self { private, branches: vec!["main".to_string()], commits: Vec::new() }
    }
}

/// Answers a request that belongs to a push; `None` for any other.
pub(super) fn answer(state: &mut State, endpoint: &str, request: &Request) -> Option<Reply> {
    let error = |status, why: &str| Some(Reply::new(status, json!({ "error": why }).to_string()));
    let good = |value: Value| Some(Reply::new("200 OK", value.to_string()));
    let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let api = matches!(path[..], ["api", ..] | [_, _, "info", "lfs", ..]);
    if !api {
        return None;
    }
    let writes = request.method == "POST" || path.contains(&"xet-write-token");
    match request.token.as_deref() {
        Some(TOKEN) => {}
        _ if !writes => {}
        Some(READ_ONLY) => return error("403 Forbidden", "you must use a write token"),
        _ => return error("401 Unauthorized", "Invalid username or password."),
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let id = match path[..] {
        ["api", "repos", "create"] => {
            assert_eq!(body["type"], "model");
            let text = |key: &str| body[key].as_str().unwrap().to_string();
            format!("{}/{}", text("organization"), text("name"))
        }
        ["api", "models", owner, name, ..] => format!("{owner}/{name}"),
        [owner, name, ..] => format!("{owner}/{}", name.trim_end_matches(".git")),
        _ => return error("404 Not Found", "there is nothing here"),
    };
    if path[1] == "repos" {
        if state.repos.contains_key(&id) {
            return error("409 Conflict", "You already created this model repo");
        }
        state.repos.insert(id.clone(), Repo::new(body["private"].as_bool().unwrap()));
        return good(json!({ "url": format!("{endpoint}/{id}") }));
    }
    let has_store = state.store.is_some();
    let Some(repo) = state.repos.get_mut(&id) else {
        return error("404 Not Found", "Repository not found");
    };
    match (request.method.as_str(), &path[4..]) {
        ("GET", []) => good(json!({ "id": id, "private": repo.private })),
        ("GET", ["xet-write-token" | "xet-read-token", _]) => good(json!({
            "accessToken": "of the store",
            "exp": u32::MAX,
            "casUrl": format!("{endpoint}/store"),
        })),
        ("POST", ["branch", branch]) => {
            if repo.branches.iter().any(|known| known == branch) {
                return error("409 Conflict", "Reference already exists");
            }
            repo.branches.push(branch.to_string());
            good(json!({}))
        }
        ("POST", ["preupload" | "commit", branch])
            if !repo.branches.iter().any(|known| known == branch) =>
        {
            error("404 Not Found", "Invalid rev id")
        }
        ("POST", ["preupload", _]) => {
            let mode = |file: &Value| {
                let path = file["path"].as_str().unwrap();
                let large = has_store && path.ends_with(".safetensors");
                json!({ "path": path, "uploadMode": if large { "lfs" } else { "regular" } })
            };
            let files = body["files"].as_array().unwrap();
            good(json!({ "files": files.iter().map(mode).collect::<Vec<_>>() }))
        }
        ("POST", ["objects", "batch"]) => {
            good(json!({ "transfer": if has_store { "xet" } else { "basic" } }))
        }
        ("POST", ["commit", branch]) => {
            let (mut message, mut files, mut new) = (String::new(), Vec::new(), Vec::new());
            for line in request.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_slice(line).unwrap();
                let value = &line["value"];
                let text = |key: &str| value[key].as_str().unwrap().to_string();
                let (large, body) = match line["key"].as_str().unwrap() {
                    "header" => {
                        message = text("summary");
                        continue;
                    }
                    "file" => (false, BASE64_STANDARD.decode(text("content")).unwrap()),
                    "lfsFile" => match state.large.get(&text("oid")) {
                        Some((_, body)) if body.len() as u64 == value["size"] => {
                            (true, body.clone())
                        }
                        _ => return error("400 Bad Request", "a file that was not uploaded"),
                    },
                    other => panic!("{other}"),
                };
                // The hub names small files by a checksum of 40 digits.
                let etag = sha256(&body)[..if large { 64 } else { 40 }].to_string();
                files.push((text("path"), large));
                new.push((text("path"), Served { body, etag, manner: Manner::Good }));
            }
            repo.commits.push(Commit { branch: branch.to_string(), message, files });
            for (path, served) in new {
                state.files.insert(format!("/{id}/resolve/{branch}/{path}"), served);
            }
            let commit = "a".repeat(40);
            let url = format!("{endpoint}/{id}/commit/{commit}");
            good(json!({ "success": true, "commitOid": commit, "commitUrl": url }))
        }
        _ => error("404 Not Found", "there is nothing here"),
    }
}
