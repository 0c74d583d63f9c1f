//! Pushes through the real client, to a hub on loopback.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::mirror::{Commit, Mirror, READ_ONLY, Repo, TOKEN, Twist};
use crate::common::{assert_says, quiet, refusing_port};
use hebbian_data::{Error, Hub, Progress, Push, RepoKind};
use tempfile::TempDir;

const REPO: &str = "someone/model";
const FILES: [(&str, &[u8]); 2] = [("README.md", b"a card\n"), ("weights", &[0, 255, 10, 128])];

/// A folder with the files and one more, which is not pushed.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in FILES.iter().chain(&[("own", &b"not to be seen"[..])]) {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn hub(endpoint: &str, cache: &TempDir, token: &str) -> Hub {
    Hub::new(endpoint, cache.path()).with_token(token)
}

fn names() -> Vec<String> {
    FILES.map(|(name, _)| name.to_string()).to_vec()
}

fn to<'a>(folder: &'a TempDir, files: &'a [String], repo: &'a str) -> Push<'a> {
    let folder = folder.path();
    Push { folder, files, repo, branch: "main", private: false, message: "a test" }
}

/// Pushes to the mirror's repository in the ordinary way.
fn push_to(mirror: &Mirror, token: &str) -> Result<String, Error> {
    let (folder, cache) = (folder(), tempfile::tempdir().unwrap());
    hub(&mirror.endpoint, &cache, token).push(&to(&folder, &names(), REPO), &quiet())
}

/// The commit that one push makes.
fn commit(branch: &str) -> Commit {
    let files = FILES.map(|(name, _)| (name.to_string(), false)).to_vec();
    Commit { branch: branch.to_string(), message: "a test".to_string(), files }
}

/// Checks that the hub has the pushed files of the folder, and not the other one.
fn assert_pushed(mirror: &Mirror, repo: &str, branch: &str) {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new(&mirror.endpoint, cache.path());
    for (name, bytes) in FILES {
        let path = hub.fetch(RepoKind::Model, repo, branch, name, &quiet()).unwrap();
        assert_eq!(fs::read(path).unwrap(), bytes, "{name}");
    }
    hub.fetch(RepoKind::Model, repo, branch, "own", &quiet()).unwrap_err();
}

#[test]
fn a_repository_is_made_and_filled_in_one_commit() {
    let (folder, cache, mirror) = (folder(), tempfile::tempdir().unwrap(), Mirror::start());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = seen.clone();
    let on_progress: hebbian_data::OnProgress = Arc::new(move |progress: Progress<'_>| {
        let Progress::Upload { repo, done, total } = progress else { panic!("{progress:?}") };
        assert_eq!(repo, REPO);
        events.lock().unwrap().push((done, total));
    });
    let hub = hub(&mirror.endpoint, &cache, TOKEN);
    let files = names();
    let push = Push { private: true, ..to(&folder, &files, REPO) };
    let address = hub.push(&push, &on_progress).unwrap();
    assert_eq!(address, format!("{}/{REPO}/commit/{}", mirror.endpoint, "a".repeat(40)));
    let Repo { private, branches, commits } = mirror.repo(REPO).unwrap();
    assert_eq!((private, branches), (true, vec!["main".to_string()]));
    assert_eq!(commits, [commit("main")]);
    // 7 bytes of the card and 4 of the weights.
    assert_eq!(*seen.lock().unwrap(), [(0, 11), (11, 11)]);
    assert_pushed(&mirror, REPO, "main");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn a_repository_that_is_there_gets_a_commit_and_a_branch() {
    let (folder, cache, mirror) = (folder(), tempfile::tempdir().unwrap(), Mirror::start());
    mirror.make_repo(REPO, false);
    let hub = hub(&mirror.endpoint, &cache, TOKEN);
    for branch in ["main", "tests", "tests"] {
        hub.push(&Push { branch, ..to(&folder, &names(), REPO) }, &quiet()).unwrap();
    }
    let Repo { private, branches, commits } = mirror.repo(REPO).unwrap();
    assert_eq!((private, branches), (false, vec!["main".to_string(), "tests".to_string()]));
    assert_eq!(commits, [commit("main"), commit("tests"), commit("tests")]);
    assert_pushed(&mirror, REPO, "tests");
}

/// A private push is not shown to all because a public repository of that name exists.
#[test]
fn a_private_push_needs_a_private_repository() {
    let (folder, cache, mirror) = (folder(), tempfile::tempdir().unwrap(), Mirror::start());
    let hub = hub(&mirror.endpoint, &cache, TOKEN);
    let (files, all_see) = (names(), "someone/shown");
    let private = |repo| {
        mirror.make_repo(repo, repo != all_see);
        hub.push(&Push { private: true, ..to(&folder, &files, repo) }, &quiet())
    };
    assert_says(&private(all_see).unwrap_err().to_string(), &[all_see, "all can see it"]);
    assert!(mirror.repo(all_see).unwrap().commits.is_empty());
    private("someone/hidden").unwrap();
    assert_eq!(mirror.repo("someone/hidden").unwrap().commits, [commit("main")]);
}

#[test]
fn a_token_that_is_missing_or_may_not_write_is_said() {
    for (token, words) in [
        ("hf_aTokenThatNobodyKnows", ["Invalid username", "HF_TOKEN", "hf auth login"]),
        (READ_ONLY, ["you must use a write token", "right to write", "your own"]),
    ] {
        let mirror = Mirror::start();
        let error = push_to(&mirror, token).unwrap_err();
        assert!(matches!(error, Error::NotPushed { .. }), "{error:?}");
        assert_says(&error.to_string(), &words);
        assert_says(&error.to_string(), &[REPO]);
        assert!(mirror.repo(REPO).is_none());
    }
}

/// The token of an organisation in which others make the repositories.
#[test]
fn a_token_may_write_where_it_may_not_make_repositories() {
    let forbidden = || Twist::Refuse("403 Forbidden", r#"{"error": "no right"}"#.to_string());
    let mirror = Mirror::start();
    mirror.twist("/api/repos/create", forbidden());
    assert_says(&push_to(&mirror, TOKEN).unwrap_err().to_string(), &["no right", "right to write"]);
    mirror.make_repo(REPO, false);
    push_to(&mirror, TOKEN).unwrap();
    assert_eq!(mirror.repo(REPO).unwrap().commits, [commit("main")]);
}

#[test]
fn what_the_hub_does_not_find_or_take_is_said() {
    for (part, status, words) in [
        ("/preupload/", "404 Not Found", ["not found", "check the name"]),
        ("/commit/", "409 Conflict", ["onflict", "push again"]),
        ("/api/repos/create", "400 Bad Request", ["in its way", "check the name"]),
        ("/commit/", "429 Too Many Requests", ["in its way", "wait"]),
        ("/commit/", "503 Service Unavailable", ["in its way", "push again"]),
    ] {
        let mirror = Mirror::start();
        mirror.twist(part, Twist::Refuse(status, r#"{"error": "in its way"}"#.to_string()));
        let error = push_to(&mirror, TOKEN).unwrap_err().to_string();
        assert_says(&error, &words);
        assert!(mirror.repo(REPO).is_none_or(|repo| repo.commits.is_empty()), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mirror = Mirror::start();
    let said = format!(r#"{{"error": "\u001b[2J{TOKEN} may not"}}"#);
    mirror.twist("/commit/", Twist::Refuse("403 Forbidden", said));
    let (folder, cache) = (folder(), tempfile::tempdir().unwrap());
    let endpoint = mirror.endpoint.replace("http://", "http://me:pa55word@");
    let hub = hub(&endpoint, &cache, TOKEN);
    let error = hub.push(&to(&folder, &names(), REPO), &quiet()).unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{hub:?}")] {
        assert!(!text.contains("pa55word") && !text.contains(TOKEN), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert_says(&error.to_string(), &["may not"]);
}

#[test]
fn a_push_that_is_cut_goes_on_or_leaves_nothing() {
    for part in ["/api/repos/create", "/preupload/", "/commit/"] {
        let mirror = Mirror::start();
        mirror.twist(part, Twist::Cut(1));
        push_to(&mirror, TOKEN).unwrap();
        assert_eq!(mirror.repo(REPO).unwrap().commits, [commit("main")], "{part}");
        assert_pushed(&mirror, REPO, "main");

        let mirror = Mirror::start();
        mirror.twist(part, Twist::Cut(usize::MAX));
        let error = push_to(&mirror, TOKEN).unwrap_err().to_string();
        assert_says(&error, &[REPO, "network", "push again"]);
        assert!(mirror.repo(REPO).is_none_or(|repo| repo.commits.is_empty()), "{part}");
    }
}

/// A repository that was renamed: the hub redirects to its new name.
#[test]
fn a_redirect_is_followed() {
    let mirror = Mirror::start();
    mirror.make_repo(REPO, false);
    mirror.make_repo("someone/renamed", false);
    mirror.twist("/api/models/someone/model", Twist::Redirect("/api/models/someone/renamed"));
    push_to(&mirror, TOKEN).unwrap();
    assert_eq!(mirror.repo("someone/renamed").unwrap().commits, [commit("main")]);
    assert!(mirror.repo(REPO).unwrap().commits.is_empty());
    assert_pushed(&mirror, "someone/renamed", "main");
    // The same holds when a file is fetched by the old name.
    mirror.twist("/someone/model/resolve/", Twist::Redirect("/someone/renamed/resolve/"));
    assert_pushed(&mirror, REPO, "main");
}

#[test]
fn what_cannot_be_pushed_is_refused_before_anything_is_sent() {
    let (folder, cache, mirror) = (folder(), tempfile::tempdir().unwrap(), Mirror::start());
    let hub = hub(&mirror.endpoint, &cache, TOKEN);
    fs::create_dir(folder.path().join("folder")).unwrap();
    let says = |hub: &Hub, push: Push<'_>, words: &[&str]| {
        assert_says(&hub.push(&push, &quiet()).unwrap_err().to_string(), words);
    };
    let files = names();
    for name in ["missing", "folder"] {
        let files = [files.clone(), vec![name.to_string()]].concat();
        let path = folder.path().join(name);
        says(&hub, to(&folder, &files, REPO), &[&path.display().to_string(), "check that"]);
    }
    for repo in ["model", "a/b/c", "someone/", "/model", "some one/model", "../model", "a/b?c"] {
        says(&hub, to(&folder, &files, repo), &[repo, "OWNER/NAME"]);
    }
    says(&hub, Push { branch: "", ..to(&folder, &files, REPO) }, &[REPO, "branch"]);
    says(&hub.clone().offline(), to(&folder, &files, REPO), &[REPO, "offline", "HF_HUB_OFFLINE"]);
    assert_eq!(mirror.log(), [""; 0]);
}

#[test]
fn without_a_network_the_error_says_so() {
    let (port, _connection) = refusing_port();
    let (folder, cache) = (folder(), tempfile::tempdir().unwrap());
    let hub = hub(&format!("http://127.0.0.1:{port}"), &cache, TOKEN);
    let error = hub.push(&to(&folder, &names(), REPO), &quiet()).unwrap_err().to_string();
    assert_says(&error, &[REPO, "refused", "HF_ENDPOINT"]);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (mirror, cache, folder) = (Mirror::start(), tempfile::tempdir().unwrap(), folder());
    mirror.twist("", Twist::Silence);
    let patience = Duration::from_millis(300);
    let hub = hub(&mirror.endpoint, &cache, TOKEN).with_patience(patience, patience);
    let start = Instant::now();
    let error = hub.push(&to(&folder, &names(), REPO), &quiet()).unwrap_err();
    assert_says(&error.to_string(), &[REPO, "did not answer for 0.3 seconds", "push again"]);
    // The mirror would close the connection after a minute.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// A server that says that the repository is there, or that the token may not make it, and then nothing more.
#[test]
fn a_server_that_falls_silent_is_given_up() {
    for (silent, branch, private, may_make, says) in [
        ("/branch/", "tests", false, true, "did not answer for 0.3 seconds"),
        ("/api/models/", "main", true, true, "did not answer for 0.3 seconds"),
        ("/api/models/", "main", false, false, "no right"),
    ] {
        let (mirror, cache, folder) = (Mirror::start(), tempfile::tempdir().unwrap(), folder());
        mirror.make_repo(REPO, true);
        mirror.twist(silent, Twist::Silence);
        if !may_make {
            let said = r#"{"error": "no right"}"#.to_string();
            mirror.twist("/api/repos/create", Twist::Refuse("403 Forbidden", said));
        }
        let patience = Duration::from_millis(300);
        let hub = hub(&mirror.endpoint, &cache, TOKEN).with_patience(patience, patience);
        let (start, files) = (Instant::now(), names());
        let push = Push { branch, private, ..to(&folder, &files, REPO) };
        let error = hub.push(&push, &quiet()).unwrap_err();
        assert_says(&error.to_string(), &[REPO, says]);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
