//! The page of a run in progress, served to this machine alone.

use super::content::Content;
use super::page;
use super::run::{Details, Folder};
use crate::print;
use anyhow::{Context, Result};
use candle::Device;
use hebbian_data::Dataset;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The longest time that a browser may take to send a request, and to take the answer, and the most bytes that it may
/// send.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: u64 = 16 << 10;
/// The details, which take time, are computed no more often than this.
const BETWEEN: Duration = Duration::from_secs(10);

/// Serves the page of the run in a folder, and its current data whenever the page asks, until the program ends.
///
/// # Errors
/// A folder without a run; a port that is taken.
pub(super) fn serve(run: &Path, data_dir: Option<&Path>, port: u16) -> Result<String> {
    let mut watched = Watched::new(run, data_dir)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!(
            "cannot serve at port {port}: choose another with --port, or 0 for any that is free"
        )
    })?;
    let port = listener.local_addr()?.port();
    print(&format!("open http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"))?;
    std::io::stdout().flush()?;
    for asked in listener.incoming() {
        // A browser that closes its connection is no reason to stop.
        let _ =
            asked.map_err(anyhow::Error::from).and_then(|asked| answer(&asked, port, &mut watched));
    }
    Ok(String::new())
}

/// A run in progress.
struct Watched<'a> {
    run: &'a Path,
    data: Result<Dataset, String>,
    /// When the details were last computed, and when the weights that they are of were written.
    looked: Option<(Instant, Option<SystemTime>)>,
    details: Details,
}

impl<'a> Watched<'a> {
    fn new(run: &'a Path, data_dir: Option<&Path>) -> Result<Self> {
        let data = Folder::read(run)?.images(data_dir).map_err(|error| format!("{error:#}"));
        Ok(Self { run, data, looked: None, details: Details::default() })
    }

    /// Returns the page's data as they are now.
    fn content(&mut self) -> Result<Content> {
        let folder = Folder::read(self.run)?;
        let weights = newest(self.run);
        let is_due = self.looked.is_none_or(|(at, of)| at.elapsed() > BETWEEN && of != weights);
        if is_due {
            let data = self.data.as_ref().map_err(Clone::clone);
            self.details = Details::of(&folder, data, &Device::Cpu, 1);
            self.looked = Some((Instant::now(), weights));
        }
        Ok(Content::live(folder, self.details.clone()))
    }
}

/// Returns when the weights in a folder were last written.
fn newest(run: &Path) -> Option<SystemTime> {
    let times = ["model.safetensors", "state.safetensors"].map(|name| {
        let path: PathBuf = run.join(name);
        path.metadata().and_then(|metadata| metadata.modified()).ok()
    });
    times.into_iter().flatten().max()
}

/// A connection that is used until a moment, however few bytes come or go at a time.
struct Until<'a> {
    stream: &'a TcpStream,
    end: Instant,
}

impl<'a> Until<'a> {
    fn after(patience: Duration, stream: &'a TcpStream) -> Self {
        Self { stream, end: Instant::now() + patience }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.end.checked_duration_since(Instant::now());
        left.ok_or_else(|| ErrorKind::TimedOut.into())
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What a browser asks for: the first line of its request, and the host that it is addressed to.
struct Request {
    first: String,
    host: Option<String>,
}

impl Request {
    /// Reads a request, for all of which a browser has this time.
    fn read(asked: &TcpStream, patience: Duration) -> Result<Self> {
        let mut lines = BufReader::new(Until::after(patience, asked).take(LONGEST)).lines();
        let first = lines.next().context("nothing was asked")??;
        let mut host = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("host")
            {
                host = Some(value.trim().to_string());
            }
        }
        Ok(Self { first, host })
    }
}

/// Answers one request for the page or its data, if it is addressed to this machine.
fn answer(asked: &TcpStream, port: u16, watched: &mut Watched<'_>) -> Result<()> {
    let Request { first, host } = Request::read(asked, PATIENCE)?;
    // A page from elsewhere whose own host name resolves to this machine gets no data.
    let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let is_own = host.is_some_and(|host| own.contains(&host));
    let words: Vec<&str> = first.split(' ').collect();
    let (status, kind, body) = match (words[..].first(), words.get(1), is_own) {
        (_, _, false) => ("403 Forbidden", TEXT, "only for 127.0.0.1\n".to_string()),
        (Some(&"GET"), Some(&"/"), _) => match watched.content().and_then(|all| page::html(&all)) {
            Ok(page) => ("200 OK", "text/html; charset=utf-8", page),
            Err(error) => ("500 Internal Server Error", TEXT, format!("{error:#}\n")),
        },
        (Some(&"GET"), Some(&"/data.json"), _) => {
            match watched.content().and_then(|all| page::json(&all)) {
                Ok(data) => ("200 OK", "application/json", data),
                Err(error) => ("500 Internal Server Error", TEXT, format!("{error:#}\n")),
            }
        }
        (Some(&"GET"), ..) => ("404 Not Found", TEXT, "there are / and /data.json\n".to_string()),
        _ => ("405 Method Not Allowed", TEXT, "only GET\n".to_string()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut to = Until::after(PATIENCE, asked);
    to.write_all(head.as_bytes())?;
    to.write_all(body.as_bytes())?;
    Ok(())
}

const TEXT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    /// The client sends a byte every 50 ms for a minute, unless the connection is closed before.
    #[test]
    fn a_client_that_sends_little_at_a_time_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let sends = std::thread::spawn(move || {
            for _ in 0..1200 {
                if client.write_all(b"G").is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let begun = Instant::now();
        assert!(Request::read(&server, Duration::from_millis(300)).is_err());
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        drop(server);
        sends.join().unwrap();
    }
}
