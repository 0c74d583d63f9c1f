//! A small HTTP server that answers as the hub does when a file is downloaded.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

/// How the mirror misbehaves with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// The hub's headers, then another body of the same length.
    WrongBody,
    /// The hub's headers, then an error page.
    NotFoundBody,
    /// The connection ends after so many bytes of a whole file. Ranges are refused, with a message
    /// that would clear a terminal and is long.
    CutThenRefused(usize),
    /// The connection ends after so many bytes of a whole file; ranges work.
    CutWhole(usize),
    /// The connection ends after so many bytes of anything asked for.
    CutAll(usize),
    /// As `CutWhole` the first time, and ranges are ignored.
    CutOnceNoRanges(usize),
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
        let etag = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { body, etag, manner }
    }
}

#[derive(Default)]
struct State {
    files: HashMap<String, Served>,
    log: Vec<String>,
}

/// Serves on a port of its own until the process ends.
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
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { endpoint, state }
    }

    pub fn serve(&self, repo: &str, file: &str, served: Served) {
        self.serve_at(format!("/datasets/{repo}/resolve/refs%2Fconvert%2Fparquet/{file}"), served);
    }

    /// A file of a model.
    pub fn serve_model(&self, repo: &str, revision: &str, file: &str, served: Served) {
        self.serve_at(format!("/{repo}/resolve/{revision}/{file}"), served);
    }

    fn serve_at(&self, path: String, served: Served) {
        self.state.lock().unwrap().files.insert(path, served);
    }

    /// The requests since the last call, as `METHOD file-name range`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("range").then(|| value.to_string())
    });
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let served = {
        let mut state = state.lock().unwrap();
        let short = path.split("parquet/").nth(1).unwrap_or(path);
        state.log.push(format!("{method} {short} {}", range.as_deref().unwrap_or("-")));
        let served = state.files.get(path).cloned();
        if method == "GET"
            && let Some(file) = state.files.get_mut(path)
            && matches!(file.manner, Manner::CutOnceNoRanges(_))
        {
            file.manner = Manner::CutOnceNoRanges(usize::MAX);
        }
        served
    };
    let Some(served) = served else {
        return send(&mut stream, "404 Not Found", &[], b"Entry not found", None, method);
    };
    let headers = [("ETag", format!("\"{}\"", served.etag)), ("X-Repo-Commit", "a".repeat(40))];
    let whole = served.body.len();
    if method == "HEAD" {
        return send(&mut stream, "200 OK", &headers, &served.body, None, method);
    }
    let mut body = served.body;
    let (mut status, mut cut) = ("200 OK", None);
    match served.manner {
        Manner::NotFoundBody => {
            return send(&mut stream, "404 Not Found", &[], b"<html>gone</html>", None, method);
        }
        Manner::WrongBody => body.iter_mut().for_each(|byte| *byte ^= 1),
        Manner::CutThenRefused(_) if range.is_some() => {
            let evil = "evil ".repeat(1000);
            let message = format!(r#"{{"error": "\u001b[2J\nerror: {evil}"}}"#);
            return send(&mut stream, "403 Forbidden", &[], message.as_bytes(), None, method);
        }
        Manner::CutWhole(at) | Manner::CutThenRefused(at) if range.is_none() => cut = Some(at),
        Manner::CutAll(at) | Manner::CutOnceNoRanges(at) if at < whole => cut = Some(at),
        _ => (),
    }
    if let Some(range) = range.filter(|_| !matches!(served.manner, Manner::CutOnceNoRanges(_))) {
        let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        if start >= whole {
            return send(&mut stream, "416 Range Not Satisfiable", &[], b"", None, method);
        }
        status = "206 Partial Content";
        body = body[start..whole.min(end + 1)].to_vec();
    }
    send(&mut stream, status, &headers, &body, cut, method);
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
    // The client may hang up first; that is its right.
    let _ = stream.write_all(head.as_bytes());
    if method == "GET" {
        let _ = stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]);
    }
}
