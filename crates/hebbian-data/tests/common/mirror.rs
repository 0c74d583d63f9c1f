//! A small HTTP server that answers as the hub does when a file is downloaded, or a model pushed.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

#[path = "listing.rs"]
mod listing;
#[path = "pushes.rs"]
mod pushes;

#[allow(unused_imports, reason = "each test binary uses a part")]
pub use listing::commit;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use pushes::{Commit, READ_ONLY, Repo, TOKEN};

/// How long a silent connection stays open: longer than any test waits.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// How the mirror misbehaves with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// The hub's headers, then another body of the same length.
    WrongBody,
    /// The hub's headers, then an error page.
    NotFoundBody,
    /// The connection ends after this many bytes of a whole file. Ranges are refused, with a long message that would
    /// clear a terminal.
    CutThenRefused(usize),
    /// The connection ends after this many bytes of a whole file; ranges work.
    CutWhole(usize),
    /// The connection ends after this many bytes of any answer.
    CutAll(usize),
    /// Like `CutWhole` the first time; ranges are ignored.
    CutOnceNoRanges(usize),
    /// After this many bytes of a whole file nothing more comes, and the connection stays open; ranges work.
    StallWhole(usize),
    /// The same for any answer.
    StallAll(usize),
}

#[derive(Clone)]
pub struct Served {
    pub body: Vec<u8>,
    pub etag: String,
    pub manner: Manner,
}

impl Served {
    /// A large file, as the hub serves it: the ETag is the SHA-256.
    pub fn lfs(body: Vec<u8>, manner: Manner) -> Self {
        Self { etag: sha256(&body), body, manner }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the mirror misbehaves with a request.
#[derive(Clone)]
pub enum Twist {
    /// Answers with this status and body.
    Refuse(&'static str, String),
    /// The connection ends after half of the request's body, this many times.
    Cut(usize),
    /// Redirects to the same path with this in place of the part by which the request was found.
    Redirect(&'static str),
    /// The connection stays open, and nothing comes.
    Silence,
}

pub struct Request {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    /// The token after `Bearer`.
    pub token: Option<String>,
    pub body: Vec<u8>,
}

pub struct Reply {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }
}

/// A server of large files, which answers the requests that are meant for it.
pub type Store = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

#[derive(Default)]
struct State {
    files: HashMap<String, Served>,
    log: Vec<String>,
    repos: BTreeMap<String, Repo>,
    twists: Vec<(&'static str, Twist)>,
    store: Option<Store>,
    /// The files of the store by their SHA-256, each with the store's own name for it.
    large: HashMap<String, (String, Vec<u8>)>,
}

/// A server on a port of its own, which runs until the process ends.
#[derive(Clone)]
pub struct Mirror {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Mirror {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let own = endpoint.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, own) = (shared.clone(), own.clone());
                std::thread::spawn(move || answer(stream, &shared, &own));
            }
        });
        Self { endpoint, state }
    }

    /// Serves a file of a data set on the branch of parquet files.
    pub fn serve(&self, repo: &str, file: &str, served: Served) {
        self.serve_set(repo, "refs/convert/parquet", file, served);
    }

    /// Serves a file of a data set.
    pub fn serve_set(&self, repo: &str, revision: &str, file: &str, served: Served) {
        let revision = revision.replace('/', "%2F");
        self.serve_at(format!("/datasets/{repo}/resolve/{revision}/{file}"), served);
    }

    /// Serves a file of a model.
    pub fn serve_model(&self, repo: &str, revision: &str, file: &str, served: Served) {
        self.serve_at(format!("/{repo}/resolve/{revision}/{file}"), served);
    }

    fn serve_at(&self, path: String, served: Served) {
        self.state.lock().unwrap().files.insert(path, served);
    }

    /// Misbehaves with requests whose path contains `part`.
    pub fn twist(&self, part: &'static str, twist: Twist) {
        self.state.lock().unwrap().twists.push((part, twist));
    }

    /// Adds a repository that exists before the push.
    pub fn make_repo(&self, id: &str, private: bool) {
        let repo = Repo::new(private);
        self.state.lock().unwrap().repos.insert(id.to_string(), repo);
    }

    /// The current state of a repository.
    pub fn repo(&self, id: &str) -> Option<Repo> {
        self.state.lock().unwrap().repos.get(id).cloned()
    }

    /// Sends large files to a server of their own.
    pub fn store_large_files(&self, store: Store) {
        self.state.lock().unwrap().store = Some(store);
    }

    /// Records that the store has a large file, under a name of its own.
    pub fn stored(&self, name: String, bytes: Vec<u8>) {
        self.state.lock().unwrap().large.insert(sha256(&bytes), (name, bytes));
    }

    /// The requests since the last call, as `METHOD file-name range`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, endpoint: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let Some(line) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |wanted: &str| {
        headers.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(wanted).then(|| value.to_string())
        })
    };
    let mut words = line.split(' ').map(str::to_string);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let twist = {
        let mut state = state.lock().unwrap();
        let short = path.split("parquet/").nth(1).unwrap_or(&path);
        state.log.push(format!("{method} {short} {}", header("range").as_deref().unwrap_or("-")));
        state.twists.iter_mut().find(|(part, _)| path.contains(part)).and_then(|(part, twist)| {
            let now = twist.clone();
            if let Twist::Cut(times) = twist {
                if *times == 0 {
                    return None;
                }
                *times -= 1;
            }
            Some((*part, now))
        })
    };
    let mut length = header("content-length").map_or(0, |length| length.parse().unwrap());
    if let Some((_, Twist::Cut(_))) = twist {
        length /= 2;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let token =
        header("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_string));
    let request = Request { method, path, range: header("range"), token, body };
    let reply = match twist {
        Some((_, Twist::Cut(_))) => return,
        Some((_, Twist::Silence)) => return std::thread::sleep(SILENCE),
        Some((_, Twist::Refuse(status, body))) => Some(Reply::new(status, body)),
        Some((part, Twist::Redirect(to))) => Some(Reply {
            headers: vec![("Location", request.path.replace(part, to))],
            ..Reply::new("307 Temporary Redirect", "")
        }),
        None => {
            let store = state.lock().unwrap().store.clone();
            store.and_then(|store| store(&request))
        }
    };
    let reply = reply.or_else(|| listing::answer(&state.lock().unwrap(), &request));
    let reply = reply.or_else(|| pushes::answer(&mut state.lock().unwrap(), endpoint, &request));
    match reply {
        Some(reply) => {
            send(&mut stream, reply.status, &reply.headers, &reply.body, None, &request.method);
        }
        None => send_file(&mut stream, state, &request),
    }
}

fn send_file(stream: &mut TcpStream, state: &Mutex<State>, request: &Request) {
    let Request { method, path, range, .. } = request;
    let (served, name) = {
        let mut state = state.lock().unwrap();
        let path = &listing::with_revision(&state, path);
        let served = state.files.get(path).cloned();
        if method == "GET"
            && let Some(file) = state.files.get_mut(path)
            && matches!(file.manner, Manner::CutOnceNoRanges(_))
        {
            file.manner = Manner::CutOnceNoRanges(usize::MAX);
        }
        let etag = served.as_ref().map(|served| served.etag.as_str()).unwrap_or_default();
        let name = state.large.get(etag).map(|(name, _)| name.clone());
        (served, name)
    };
    let Some(served) = served else {
        let headers = [
            ("X-Error-Code", "EntryNotFound".to_string()),
            ("X-Repo-Commit", listing::commit_of(path)),
        ];
        return send(stream, "404 Not Found", &headers, b"Entry not found", None, method);
    };
    let mut headers =
        vec![("ETag", format!("\"{}\"", served.etag)), ("X-Repo-Commit", listing::commit_of(path))];
    headers.extend(name.map(|name| ("X-Xet-Hash", name)));
    let whole = served.body.len();
    if method == "HEAD" {
        return send(stream, "200 OK", &headers, &served.body, None, method);
    }
    let mut body = served.body;
    let (mut status, mut cut) = ("200 OK", None);
    match served.manner {
        Manner::NotFoundBody => {
            return send(stream, "404 Not Found", &[], b"<html>gone</html>", None, method);
        }
        Manner::WrongBody => body.iter_mut().for_each(|byte| *byte ^= 1),
        Manner::CutThenRefused(_) if range.is_some() => {
            let evil = "evil ".repeat(1000);
            let message = format!(r#"{{"error": "\u001b[2J\nerror: {evil}"}}"#);
            return send(stream, "403 Forbidden", &[], message.as_bytes(), None, method);
        }
        Manner::CutWhole(at) | Manner::CutThenRefused(at) if range.is_none() => cut = Some(at),
        Manner::StallWhole(at) if range.is_none() => cut = Some(at),
        Manner::CutAll(at) | Manner::CutOnceNoRanges(at) | Manner::StallAll(at) if at < whole => {
            cut = Some(at);
        }
        _ => (),
    }
    if let Some(range) =
        range.as_ref().filter(|_| !matches!(served.manner, Manner::CutOnceNoRanges(_)))
    {
        let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        if start >= whole {
            return send(stream, "416 Range Not Satisfiable", &[], b"", None, method);
        }
        status = "206 Partial Content";
        body = body[start..whole.min(end + 1)].to_vec();
    }
    send(stream, status, &headers, &body, cut, method);
    if cut.is_some() && matches!(served.manner, Manner::StallWhole(_) | Manner::StallAll(_)) {
        std::thread::sleep(SILENCE);
    }
}

fn send(
    stream: &mut TcpStream,
    status: &str,
    headers: &[(&str, String)],
    body: &[u8],
    cut: Option<usize>,
    method: &str,
) {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "Connection: close\r\n\r\n";
    // The client may hang up first, which is not an error.
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]);
    }
}
