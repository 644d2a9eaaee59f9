//! An object store on a local port, which answers as S3 does where prep asks: objects whole and in part, listings of a
//! folder, uploads in one request and in parts, conditions. It takes no key in vain: without a signature it refuses. It can
//! cut transfers, and tells what it was asked.

use std::collections::BTreeMap;
use std::io::{BufReader, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::hub_server::{Answer, Asked};

/// What the store holds and how it behaves.
#[derive(Default)]
pub struct Store {
    /// By `/bucket/key`: the bytes, and the number of their version.
    pub objects: BTreeMap<String, (Vec<u8>, u64)>,
    /// Whether everybody may read, as from a web server.
    pub is_public: bool,
    /// Whether objects come with neither a tag nor a date, as from a plain server.
    pub is_plain: bool,
    /// Whether no part of an object is given.
    pub is_whole_only: bool,
    /// After so many bytes of an object the connection ends; so many times.
    pub cut: Option<(usize, usize)>,
    /// Parts of an upload that is not complete.
    parts: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    versions: u64,
    asked: Vec<Asked>,
}

pub struct StoreServer {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl StoreServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (store, stopped) = (Arc::<Mutex<Store>>::default(), Arc::<AtomicBool>::default());
        let (of_thread, is_stopped) = (Arc::clone(&store), Arc::clone(&stopped));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let store = Arc::clone(&of_thread);
                // A client that goes away is its own affair.
                thread::spawn(move || stream.and_then(|stream| serve(&store, stream)));
            }
        });
        Self { address, store, stopped, accepting: Some(accepting) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn change(&self, change: impl FnOnce(&mut Store)) {
        change(&mut self.store.lock().unwrap());
    }

    /// What was asked since the last call, as `METHOD /path`.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.store.lock().unwrap().asked)
    }

    /// Keys below a prefix, with their bytes.
    pub fn below(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let store = self.store.lock().unwrap();
        let below =
            store.objects.iter().filter_map(|(path, (bytes, _))| Some((path.strip_prefix(prefix)?, bytes)));
        below.map(|(key, bytes)| (key.to_owned(), bytes.clone())).collect()
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(store: &Mutex<Store>, stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (asked, body) = Asked::read(&mut reader)?;
    if asked.method.is_empty() {
        return Ok(());
    }
    let answer = {
        let mut store = store.lock().unwrap();
        store.asked.push(asked.clone());
        store.answer(&asked, body)
    };
    answer.write(stream, asked.method == "HEAD")
}

impl Store {
    pub fn put(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.versions += 1;
        self.objects.insert(path.to_owned(), (bytes.into(), self.versions));
    }

    fn answer(&mut self, asked: &Asked, body: Vec<u8>) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let path = path.replace("%20", " ");
        let query: BTreeMap<&str, &str> =
            query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        let is_signed = asked.authorization.as_ref().is_some_and(|key| key.starts_with("AWS4-HMAC-SHA256 "));
        let reads = ["GET", "HEAD"].contains(&asked.method.as_str());
        if !(is_signed || self.is_public && reads) {
            return Answer::empty("403 Forbidden");
        }
        match asked.method.as_str() {
            "GET" if query.contains_key("list-type") => self.list(&path, &query),
            "GET" | "HEAD" => self.get(&path, asked),
            "PUT" if query.contains_key("uploadId") => {
                let number = query["partNumber"].parse().unwrap();
                self.parts.get_mut(query["uploadId"]).unwrap().insert(number, body);
                Answer::empty("200 OK").with("ETag", format!("\"part {number}\""))
            }
            "PUT" if asked.if_none_match.is_some() && self.objects.contains_key(&path) => {
                Answer::empty("412 Precondition Failed")
            }
            "PUT" => {
                self.put(&path, body);
                Answer::empty("200 OK").with("ETag", format!("\"{}\"", self.versions))
            }
            "POST" if query.contains_key("uploads") => {
                self.versions += 1;
                let id = self.versions.to_string();
                self.parts.insert(id.clone(), BTreeMap::new());
                xml(format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            "POST" => {
                let parts = self.parts.remove(query["uploadId"]).unwrap();
                // S3 takes no part below 5 MiB but the last.
                assert!(
                    parts.values().rev().skip(1).all(|part| 5 << 20 <= part.len()),
                    "parts that are too small"
                );
                self.put(&path, parts.into_values().collect::<Vec<_>>().concat());
                xml(format!(
                    "<CompleteMultipartUploadResult><ETag>\"{}\"</ETag></CompleteMultipartUploadResult>",
                    self.versions
                ))
            }
            "DELETE" => {
                self.objects.remove(&path);
                Answer::empty("204 No Content")
            }
            _ => Answer::empty("405 Method Not Allowed"),
        }
    }

    fn get(&mut self, path: &str, asked: &Asked) -> Answer {
        let Some((bytes, version)) = self.objects.get(path) else { return Answer::empty("404 Not Found") };
        let tag = format!("\"{version}\"");
        if asked.if_match.as_ref().is_some_and(|wanted| *wanted != tag) {
            return Answer::empty("412 Precondition Failed");
        }
        let all = bytes.len();
        let mut answer = Answer { body: bytes.clone(), ..Answer::empty("200 OK") };
        if !self.is_plain {
            answer = answer.with("ETag", tag).with("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT");
        }
        if let Some(range) = asked.range.as_ref().and_then(|range| range.strip_prefix("bytes="))
            && !self.is_whole_only
        {
            let start: usize = range.split('-').next().unwrap().parse().unwrap();
            answer.status = "206 Partial Content";
            answer.body.drain(..start);
            answer = answer.with("Content-Range", format!("bytes {start}-{}/{all}", all - 1));
        }
        if let (Some((after, times)), "GET") = (&mut self.cut, asked.method.as_str())
            && 0 < *times
        {
            *times -= 1;
            answer.cut = Some((*after, true));
        }
        answer
    }

    /// The objects of a folder; without what is below it where a delimiter is named.
    fn list(&self, bucket: &str, query: &BTreeMap<&str, &str>) -> Answer {
        let prefix = query.get("prefix").map_or(String::new(), |prefix| prefix.replace("%2F", "/"));
        let root = format!("{}/", bucket.trim_end_matches('/'));
        let mut contents = String::new();
        for (path, (bytes, version)) in &self.objects {
            let Some(key) = path.strip_prefix(&root) else { continue };
            let is_wanted = |rest: &str| !query.contains_key("delimiter") || !rest.contains('/');
            if key.strip_prefix(&prefix).is_some_and(is_wanted) {
                contents.push_str(&format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified>\
                     <ETag>\"{version}\"</ETag><Size>{}</Size></Contents>",
                    bytes.len()
                ));
            }
        }
        xml(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"))
    }
}

fn xml(body: String) -> Answer {
    Answer { body: body.into_bytes(), ..Answer::empty("200 OK") }.with("Content-Type", "application/xml")
}
