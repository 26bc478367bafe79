//! Clients that read and write for as long as a test lasts, and a ledger of what was acknowledged to them.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The secrets that all clients write, each by check-and-set.
const SHARED: usize = 4;

/// Clients at work.
pub struct Load {
    shared: Arc<State>,
    clients: Vec<JoinHandle<Client>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    requests: AtomicU64,
    failures: Mutex<Vec<String>>,
    times: Mutex<Vec<(Instant, Duration)>>,
}

/// What the clients have come to.
pub struct Outcome {
    /// How many requests they have sent.
    pub requests: u64,
    /// Each answer that was neither a success nor a lost race.
    pub failures: Vec<String>,
    /// Each request's end, and how long it took.
    pub times: Vec<(Instant, Duration)>,
    /// By secret: the version that was acknowledged last, which is also its value, of secrets with one writer.
    pub own: BTreeMap<String, u64>,
    /// By secret: each version that was acknowledged, with its value, of secrets with many writers.
    pub shared: BTreeMap<String, BTreeMap<u64, Vec<String>>>,
}

struct Client {
    number: usize,
    address: String,
    token: String,
    connection: Option<BufReader<TcpStream>>,
    version: u64,
    acknowledged: Vec<(String, u64, String)>,
}

impl Load {
    /// Starts `clients` clients. Each keeps its connection.
    pub fn begin(address: &str, token: &str, clients: usize) -> Self {
        let shared = Arc::<State>::default();
        let address = address.trim_start_matches("http://").to_owned();
        let clients = (0..clients).map(|number| {
            let (shared, address, token) = (Arc::clone(&shared), address.clone(), token.to_owned());
            thread::spawn(move || {
                let mut client =
                    Client { number, address, token, connection: None, version: 0, acknowledged: Vec::new() };
                let mut turn = number;
                while !shared.stop.load(Ordering::Relaxed) {
                    turn += 1;
                    client.work(turn, &shared);
                }
                client
            })
        });
        let clients = clients.collect();
        Self { shared, clients }
    }

    /// How many requests were answered so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Waits until `more` further requests were answered.
    pub fn go_on(&self, more: u64) {
        let (from, begun) = (self.requests(), Instant::now());
        while self.requests() < from + more {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the clients are stuck: {:?}",
                self.failures()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What has failed so far.
    pub fn failures(&self) -> Vec<String> {
        self.shared.failures.lock().expect("no client panics").clone()
    }

    /// Lets each client end what it has begun.
    pub fn end(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        let clients: Vec<Client> =
            self.clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect();
        let mut outcome = Outcome {
            requests: self.shared.requests.load(Ordering::Relaxed),
            failures: self.shared.failures.lock().expect("no client panics").clone(),
            times: self.shared.times.lock().expect("no client panics").clone(),
            own: BTreeMap::new(),
            shared: BTreeMap::new(),
        };
        for client in clients {
            outcome.own.insert(own(client.number), client.version);
            for (path, version, value) in client.acknowledged {
                outcome.shared.entry(path).or_default().entry(version).or_default().push(value);
            }
        }
        outcome
    }
}

impl Outcome {
    /// Fails if a version was given twice, or an acknowledged write is missing. `read` answers the data of a
    /// version of a secret, of which the last `kept` versions must be there.
    pub fn check(&self, kept: u64, read: impl Fn(&str, u64) -> Value) {
        for (path, version) in self.own.iter().filter(|(_, version)| **version > 0) {
            let found = read(path, 0);
            assert_eq!(found["metadata"]["version"], *version, "{path}: {found}");
            assert_eq!(found["data"]["value"], *version, "{path}: {found}");
        }
        for (path, versions) in &self.shared {
            let last = versions.keys().last().copied().unwrap_or_default();
            for (version, values) in versions {
                assert_eq!(values.len(), 1, "{path}: version {version} was given twice: {values:?}");
                if version + kept > last {
                    let found = read(path, *version);
                    assert_eq!(found["data"]["value"], values[0].as_str(), "{path} {version}: {found}");
                }
            }
            assert_eq!(versions.len() as u64, last, "{path}: versions are missing");
        }
    }

    /// The same, after the server was killed: what was under way then may have happened, and need not.
    pub fn check_after_a_crash(&self, kept: u64, read: impl Fn(&str, u64) -> Value) {
        for (path, version) in &self.own {
            let found = read(path, 0);
            let there = found["metadata"]["version"].as_u64().unwrap_or_default();
            assert!(there == *version || there == version + 1, "{path}: {version} was acknowledged: {found}");
            assert!(there == 0 || found["data"]["value"] == there, "{path}: {found}");
        }
        for (path, versions) in &self.shared {
            let last = versions.keys().last().copied().unwrap_or_default();
            for (version, values) in versions {
                assert_eq!(values.len(), 1, "{path}: version {version} was given twice: {values:?}");
                // Each client may have written one more version than was acknowledged.
                if version + kept > last + self.own.len() as u64 {
                    let found = read(path, *version);
                    assert_eq!(found["data"]["value"], values[0].as_str(), "{path} {version}: {found}");
                }
            }
        }
    }
}

fn own(number: usize) -> String {
    format!("own/{number}")
}

impl Client {
    fn work(&mut self, turn: usize, shared: &State) {
        let own = own(self.number);
        match turn % 4 {
            0 => {
                let next = self.version + 1;
                let body = json!({ "options": { "cas": self.version }, "data": { "value": next } });
                let answer = self.send(shared, "POST", &format!("secret/data/{own}"), Some(&body));
                match answer {
                    Some((200, body)) if body["data"]["version"] == next => self.version = next,
                    Some((status, body)) => fail(shared, format!("write {own} {next}: {status} {body}")),
                    None => {}
                }
            }
            1 => {
                let path = format!("shared/{}", turn / 4 % SHARED);
                let Some((status, body)) = self.send(shared, "GET", &format!("secret/data/{path}"), None)
                else {
                    return;
                };
                if status != 200 && status != 404 {
                    return fail(shared, format!("read {path}: {status} {body}"));
                }
                let version = body["data"]["metadata"]["version"].as_u64().unwrap_or_default();
                let value = format!("{}-{turn}", self.number);
                let body = json!({ "options": { "cas": version }, "data": { "value": value } });
                match self.send(shared, "POST", &format!("secret/data/{path}"), Some(&body)) {
                    Some((200, body)) => {
                        let given = body["data"]["version"].as_u64().unwrap_or_default();
                        self.acknowledged.push((path, given, value));
                    }
                    Some((400, body)) if body.to_string().contains("check-and-set") => {}
                    Some((status, body)) => fail(shared, format!("write {path}: {status} {body}")),
                    None => {}
                }
            }
            _ => match self.send(shared, "GET", &format!("secret/data/{own}"), None) {
                Some((404, _)) if self.version == 0 => {}
                Some((200, body)) if body["data"]["data"]["value"] == self.version => {}
                Some((status, body)) => {
                    fail(shared, format!("read {own}, {} was written: {status} {body}", self.version));
                }
                None => {}
            },
        }
    }

    /// None if that has failed, which is noted.
    fn send(
        &mut self,
        shared: &State,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let begun = Instant::now();
        let answer = self.exchange(method, path, body);
        shared.requests.fetch_add(1, Ordering::Relaxed);
        shared.times.lock().expect("no client panics").push((Instant::now(), begun.elapsed()));
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.connection = None;
                fail(shared, format!("{method} {path}: {error}"));
                None
            }
        }
    }

    fn exchange(&mut self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                self.connection.insert(BufReader::new(stream))
            }
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: keyway\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        connection.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {line:?}")))?;
        let mut length = 0;
        loop {
            line.clear();
            connection.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut text = vec![0; length];
        connection.read_exact(&mut text)?;
        Ok((status, serde_json::from_slice(&text).unwrap_or_default()))
    }
}

fn fail(shared: &State, what: String) {
    let mut failures = shared.failures.lock().expect("no client panics");
    if failures.len() < 50 {
        failures.push(what);
    }
}
