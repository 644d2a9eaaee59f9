//! A hub of one repository on a local port, which answers as huggingface.co does: redirects of small files to a
//! relative path, of large ones to another host, SHA-256 in `X-Linked-Etag`, `lfs.oid` in the listing, error codes in
//! headers. It can cut transfers, change bytes, and tells what it was asked.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of the branch `main` and of the tag `v1.0`.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Entries on a page of a listing, as on the hub.
const PAGE: usize = 1000;

/// What the hub holds and how it behaves.
#[derive(Clone)]
pub struct Site {
    /// `organisation/name` of a model, `datasets/organisation/name` of a dataset.
    pub name: &'static str,
    pub files: Vec<Stored>,
    /// Asked of everybody.
    pub token: Option<&'static str>,
    /// Everybody may list the files, nobody may have them.
    pub gated: bool,
    /// Whether parts of files are served.
    pub ranges: bool,
    pub faults: Vec<Fault>,
}

#[derive(Clone)]
pub struct Stored {
    pub path: String,
    pub bytes: Vec<u8>,
    /// In large storage.
    pub large: bool,
}

/// What goes wrong with the body of a file.
#[derive(Clone)]
pub enum Fault {
    /// The connection ends after so many bytes of an answer; so many times.
    Cut { path: &'static str, after: usize, times: usize },
    /// The same, and the answer did not say how long it would be.
    CutUnseen { path: &'static str, after: usize, times: usize },
    /// The last bit is another.
    Changed { path: &'static str },
    /// It is listed, and not there.
    Missing { path: &'static str },
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With the query.
    pub path: String,
    pub host: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
}

pub struct HubServer {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    port: u16,
    site: Mutex<Site>,
    asked: Mutex<Vec<Asked>>,
    stopped: AtomicBool,
}

pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection ends, and whether its length is told before.
    pub cut: Option<(usize, bool)>,
}

impl HubServer {
    pub fn start(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            port: address.port(),
            site: Mutex::new(site),
            asked: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepted = Arc::clone(&state);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if accepted.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&accepted);
                // A client that goes away is its own affair.
                thread::spawn(move || stream.and_then(|stream| state.serve(stream)));
            }
        });
        Self { address, state, accepting: Some(accepting) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }

    /// Changes what the hub holds or how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut Site)) {
        change(&mut self.state.site.lock().unwrap());
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Site {
    pub fn new(name: &'static str, files: Vec<Stored>) -> Self {
        Self { name, files, token: None, gated: false, ranges: true, faults: Vec::new() }
    }
}

impl Stored {
    pub fn small(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), bytes: bytes.into(), large: false }
    }

    pub fn large(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), bytes: bytes.into(), large: true }
    }

    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// What lies in git: the content, or a pointer to it.
    fn oid(&self) -> String {
        let blob = if self.large { self.pointer().into_bytes() } else { self.bytes.clone() };
        hex(&Sha1::new().chain_update(format!("blob {}\0", blob.len())).chain_update(blob).finalize())
    }

    fn pointer(&self) -> String {
        let (oid, size) = (self.sha256(), self.bytes.len());
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
    }

    fn entry(&self) -> Value {
        let mut entry =
            json!({"type": "file", "oid": self.oid(), "size": self.bytes.len(), "path": self.path});
        if self.large {
            entry["lfs"] =
                json!({"oid": self.sha256(), "size": self.bytes.len(), "pointerSize": self.pointer().len()});
        }
        entry
    }
}

impl Asked {
    pub fn read(reader: &mut impl BufRead) -> std::io::Result<(Self, Vec<u8>)> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut asked = Self {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            host: String::new(),
            authorization: None,
            range: None,
            if_match: None,
            if_none_match: None,
        };
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "host" => value.clone_into(&mut asked.host),
                "authorization" => asked.authorization = Some(value.to_owned()),
                "range" => asked.range = Some(value.to_owned()),
                "if-match" => asked.if_match = Some(value.to_owned()),
                "if-none-match" => asked.if_none_match = Some(value.to_owned()),
                "content-length" => body = vec![0; value.parse().unwrap()],
                _ => {}
            }
        }
        reader.read_exact(&mut body)?;
        Ok((asked, body))
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (asked, body) = Asked::read(&mut reader)?;
        if asked.method.is_empty() {
            return Ok(());
        }
        self.asked.lock().unwrap().push(asked.clone());
        let answer = self.answer(&asked, &body);
        answer.write(stream, asked.method == "HEAD")
    }

    fn answer(&self, asked: &Asked, body: &[u8]) -> Answer {
        let mut site = self.site.lock().unwrap();
        let path = asked.path.split('?').next().unwrap_or_default();
        if let Some(hash) = path.strip_prefix("/cdn/") {
            let at = site.files.iter().position(|file| file.large && file.sha256() == hash);
            return at.map_or_else(|| Answer::error("404 Not Found", ""), |at| site.content(at, asked));
        }
        if site.token.is_some_and(|token| asked.authorization != Some(format!("Bearer {token}"))) {
            return Answer::error("401 Unauthorized", "")
                .with("X-Error-Message", "Invalid username or password.");
        }
        let (kind, name) = match site.name.strip_prefix("datasets/") {
            Some(name) => ("datasets", name),
            None => ("models", site.name),
        };
        let api = format!("/api/{kind}/{name}/");
        let cached = format!("/api/resolve-cache/{kind}/{name}/{COMMIT}/");
        let resolve = format!("/{}/resolve/", site.name);
        if let Some(rest) = path.strip_prefix(&api) {
            let (what, revision) = rest.split_once('/').unwrap_or((rest, ""));
            if ![COMMIT, "main", "v1.0", "refs%2Fpr%2F1"].contains(&revision) {
                return Answer::error("404 Not Found", "RevisionNotFound");
            }
            return match what {
                "revision" => site.info(),
                "tree" => site.tree(self.port),
                "paths-info" => site.paths_info(body),
                _ => Answer::error("404 Not Found", ""),
            };
        }
        if let Some(file) = path.strip_prefix(&cached) {
            return match site.find(file) {
                Some(at) => {
                    let oid = site.files[at].oid();
                    site.content(at, asked).with("ETag", format!("\"{oid}\"")).with("X-Repo-Commit", COMMIT)
                }
                None => Answer::error("404 Not Found", "EntryNotFound"),
            };
        }
        if let Some((revision, file)) = path.strip_prefix(&resolve).and_then(|rest| rest.split_once('/')) {
            if site.gated {
                let text = "Access to this model is restricted.";
                return Answer::error("403 Forbidden", "GatedRepo").with("X-Error-Message", text);
            }
            let gone =
                site.faults.iter().any(|fault| matches!(fault, Fault::Missing { path } if *path == file));
            return match site.find(file).filter(|_| revision == COMMIT && !gone) {
                Some(at) => site.redirect(at, self.port, &cached),
                None => Answer::error("404 Not Found", "EntryNotFound"),
            };
        }
        Answer::error("404 Not Found", "RepoNotFound")
    }
}

impl Site {
    fn find(&self, path: &str) -> Option<usize> {
        self.files.iter().position(|file| file.path == path)
    }

    fn info(&self) -> Answer {
        let siblings: Vec<_> = self.files.iter().map(|file| json!({"rfilename": file.path})).collect();
        let id = self.name.strip_prefix("datasets/").unwrap_or(self.name);
        Answer::json(&json!({"_id": "1", "id": id, "sha": COMMIT, "siblings": siblings}))
    }

    fn tree(&self, port: u16) -> Answer {
        let folders: BTreeSet<_> = self
            .files
            .iter()
            .filter_map(|file| file.path.rsplit_once('/'))
            .map(|(folder, _)| folder)
            .collect();
        let folders =
            folders.iter().map(|path| json!({"type": "directory", "oid": "0", "size": 0, "path": path}));
        let mut entries: Vec<Value> = folders.chain(self.files.iter().map(Stored::entry)).collect();
        let more = PAGE < entries.len();
        entries.truncate(PAGE);
        let answer = Answer::json(&Value::Array(entries));
        if more {
            answer.with("Link", format!("<http://localhost:{port}/next>; rel=\"next\""))
        } else {
            answer
        }
    }

    fn paths_info(&self, body: &[u8]) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let paths: Vec<_> = asked["paths"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let found = self.files.iter().filter(|file| paths.contains(&file.path.as_str()));
        Answer::json(&found.map(Stored::entry).collect())
    }

    fn redirect(&self, at: usize, port: u16, cached: &str) -> Answer {
        let file = &self.files[at];
        if !file.large {
            return Answer::empty("307 Temporary Redirect")
                .with("Location", format!("{cached}{}", file.path))
                .with("X-Repo-Commit", COMMIT);
        }
        // Another name of this host is another host.
        Answer::empty("302 Found")
            .with("Location", format!("http://localhost:{port}/cdn/{}?signature=s", file.sha256()))
            .with("X-Repo-Commit", COMMIT)
            .with("X-Linked-Size", file.bytes.len().to_string())
            .with("X-Linked-Etag", format!("\"{}\"", file.sha256()))
            .with("ETag", "W/\"of the redirect\"")
    }

    fn content(&mut self, at: usize, asked: &Asked) -> Answer {
        let file = &self.files[at];
        let mut answer = Answer { body: file.bytes.clone(), ..Answer::empty("200 OK") };
        for fault in &mut self.faults {
            let told = matches!(fault, Fault::Cut { .. });
            match fault {
                Fault::Changed { path } if *path == file.path => {
                    *answer.body.last_mut().unwrap() ^= 1;
                }
                Fault::Cut { path, after, times } | Fault::CutUnseen { path, after, times }
                    if *path == file.path && 0 < *times && asked.method == "GET" =>
                {
                    *times -= 1;
                    answer.cut = Some((*after, told));
                    break;
                }
                _ => {}
            }
        }
        let range = asked.range.as_ref().filter(|_| self.ranges).and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?))
        });
        if let Some((start, end)) = range {
            let all = answer.body.len();
            answer.status = "206 Partial Content";
            answer.body = answer.body[start..=end].to_vec();
            answer = answer.with("Content-Range", format!("bytes {start}-{end}/{all}"));
        }
        answer
    }
}

impl Answer {
    pub fn empty(status: &'static str) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None }
    }

    fn json(value: &Value) -> Self {
        Self { body: value.to_string().into_bytes(), ..Self::empty("200 OK") }
            .with("Content-Type", "application/json")
    }

    fn error(status: &'static str, code: &str) -> Self {
        if code.is_empty() { Self::empty(status) } else { Self::empty(status).with("X-Error-Code", code) }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn write(self, mut stream: TcpStream, head_only: bool) -> std::io::Result<()> {
        let mut text = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let (sent, told) = self.cut.unwrap_or((self.body.len(), true));
        if told {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        stream.write_all(text.as_bytes())?;
        stream.write_all(b"\r\n")?;
        if !head_only {
            stream.write_all(&self.body[..sent.min(self.body.len())])?;
        }
        stream.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
