//! HTTP reads of a secret of 1 KiB over 64 connections, without and with an audit log in a file, against an axum handler that
//! answers the same bytes. Each server is a process of its own; the load comes from this one, so that all three pay for it.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, ensure};
use axum::{Router, http::header, routing::get};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rounds::in_turns;

/// The word that makes this program the baseline.
pub(crate) const BASELINE: &str = "http-baseline";
const CONNECTIONS: u32 = 64;
/// Requests of each round, over all connections.
const REQUESTS: u32 = 64 * 200;
const PATH: &str = "/v1/secret/data/app";

pub(crate) fn run() -> Result<()> {
    let plain = Server::keyway(false)?;
    let audited = Server::keyway(true)?;
    let body = plain.ask("GET", PATH, "")?;
    let baseline = Server::baseline(&body)?;
    println!("http: reads of {} bytes over {CONNECTIONS} connections, time of each in us", body.len());
    let mut contenders: Vec<Box<dyn FnMut(u32)>> = [&baseline, &plain, &audited]
        .into_iter()
        .map(|server| -> Box<dyn FnMut(u32)> { Box::new(|requests| server.load(requests)) })
        .collect();
    let mut turns: Vec<&mut dyn FnMut(u32)> =
        contenders.iter_mut().map(|contender| &mut **contender as &mut dyn FnMut(u32)).collect();
    let spreads = in_turns(REQUESTS, &mut turns);
    let first = spreads.first().map_or(f64::NAN, |spread| spread.median);
    for (name, spread) in ["axum alone", "keyway", "keyway, audited"].iter().zip(&spreads) {
        let us = |time: f64| time / 1_000.0;
        println!(
            "  {name:<16} {:>7.1} ({:.1} to {:.1})  rate {:.2}",
            us(spread.median),
            us(spread.low),
            us(spread.high),
            first / spread.median
        );
    }
    Ok(())
}

/// A server process; ended when it is dropped.
struct Server {
    process: Child,
    address: String,
    token: String,
    _directory: Option<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Server {
    /// The baseline, which answers this body.
    fn baseline(body: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("body");
        fs::write(&file, body)?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(BASELINE).arg(&file);
        Self::start(command, Some(directory))
    }

    /// Keyway over memory, with one secret.
    fn keyway(is_audited: bool) -> Result<Self> {
        let programs = env::current_exe()?.parent().context("a directory of programs")?.to_owned();
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("keyway.toml");
        let audit = directory.path().join("audit.log");
        let audit = if is_audited {
            format!("[audit]\ndevices = [{{ type = \"file\", path = {audit:?} }}]\n")
        } else {
            String::new()
        };
        fs::write(
            &config,
            format!(
                "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\nplugin_dirs = [{programs:?}]\nsystem_backend = \"main\"\n\
                 [trust]\npolicy = \"lock\"\n[backends.main]\nplugin = \"memory\"\n[mounts.secret]\nbackend = \"main\"\n\
                 {audit}"
            ),
        )?;
        let program = programs.join("keyway");
        let locked = Command::new(&program).args(["plugin", "lock", "--config"]).arg(&config).output()?;
        ensure!(locked.status.success(), "keyway plugin lock: {}", String::from_utf8_lossy(&locked.stderr));
        let mut command = Command::new(&program);
        command.args(["server", "--config"]).arg(&config).stderr(log(directory.path())?);
        let mut server = Self::start(command, Some(directory))?;
        let made: Value = serde_json::from_str(&server.ask(
            "POST",
            "/v1/sys/init",
            r#"{"secret_shares":1,"secret_threshold":1}"#,
        )?)?;
        let text =
            |pointer: &str| made.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        server.ask("POST", "/v1/sys/unseal", &json!({ "key": text("/keys/0") }).to_string())?;
        server.token = text("/root_token");
        server.ask("POST", PATH, &json!({ "data": { "value": "x".repeat(1_024) } }).to_string())?;
        Ok(server)
    }

    fn start(mut command: Command, directory: Option<TempDir>) -> Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = process.stdout.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().rsplit_once("http://").context("the address of a server")?.1.to_owned();
        Ok(Self { process, address, token: String::new(), _directory: directory })
    }

    fn head(&self, method: &str, path: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
    }

    /// One request; it must succeed.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut connection = BufReader::new(TcpStream::connect(&self.address)?);
        connection.get_mut().write_all(self.head(method, path, body).as_bytes())?;
        let (status, body) = answer(&mut connection)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status}");
        Ok(String::from_utf8(body)?)
    }

    /// So many reads, over all connections at a time.
    fn load(&self, requests: u32) {
        let head = Arc::new(self.head("GET", PATH, ""));
        let each = requests / CONNECTIONS;
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (head, address) = (Arc::clone(&head), self.address.clone());
                thread::spawn(move || {
                    let stream = TcpStream::connect(&address).expect("connect");
                    stream.set_nodelay(true).expect("a socket");
                    let mut connection = BufReader::new(stream);
                    for _ in 0..each {
                        connection.get_mut().write_all(head.as_bytes()).expect("ask");
                        let (status, _) = answer(&mut connection).expect("an answer");
                        assert_eq!(status, 200);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a thread of the load");
        }
    }
}

fn log(directory: &Path) -> Result<Stdio> {
    Ok(fs::File::create(directory.join("log"))?.into())
}

/// The status and the body of an answer.
fn answer(connection: &mut BufReader<TcpStream>) -> Result<(u16, Vec<u8>)> {
    let (mut status, mut length, mut line) = (0, 0, String::new());
    loop {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "the connection was closed");
        let text = line.trim();
        if text.is_empty() {
            break;
        }
        if status == 0 {
            status = text.split(' ').nth(1).context("a status")?.parse()?;
        } else if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((status, body))
}

/// The baseline's process: an axum handler, and nothing else.
pub(crate) fn baseline(arguments: &[String]) -> Result<()> {
    let file = arguments.first().context("the file with the body")?;
    let body = bytes::Bytes::from(fs::read(file)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("The baseline is ready at http://{}", listener.local_addr()?);
        let answer = move || {
            let body = body.clone();
            async move { ([(header::CONTENT_TYPE, "application/json")], body) }
        };
        axum::serve(listener, Router::new().route(PATH, get(answer))).await?;
        Ok(())
    })
}
