//! HTTP reads of a secret of 1 KiB over 64 connections, without and with an audit log in a file, against an
//! axum handler that answers the same bytes. Each server is a separate process. The load comes from this one,
//! so that it slows all three in the same way.

use std::{
    env, fs,
    io::{BufReader, Write},
    net::TcpStream,
    process::Command,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result};
use axum::{Router, http::header, routing::get};
use serde_json::json;

use crate::{
    rounds::in_turns,
    server::{Server, answer, programs},
};

/// The word that makes this program the baseline.
pub(crate) const BASELINE: &str = "http-baseline";
const CONNECTIONS: u32 = 64;
/// Requests of each round, over all connections.
const REQUESTS: u32 = 64 * 200;
const PATH: &str = "/v1/secret/data/app";

pub(crate) fn run() -> Result<()> {
    let plain = keyway("")?;
    let trail = tempfile::tempdir()?;
    let file = trail.path().join("audit.log");
    let audited = keyway(&format!("[audit]\ndevices = [{{ type = \"file\", path = {file:?} }}]\n"))?;
    let body = plain.ask("GET", PATH, "")?;
    let baseline = baseline_of(&body)?;
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

/// Keyway over memory, with one secret.
fn keyway(more: &str) -> Result<Server> {
    let server = Server::keyway(&programs()?, "memory", "", more)?;
    server.ask("POST", PATH, &json!({ "data": { "value": "x".repeat(1_024) } }).to_string())?;
    Ok(server)
}

/// The baseline, which answers this body.
fn baseline_of(body: &str) -> Result<Server> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("body");
    fs::write(&file, body)?;
    let mut command = Command::new(env::current_exe()?);
    command.arg(BASELINE).arg(&file);
    Server::start(command, Some(directory))
}

impl Server {
    /// Sends `requests` reads, over all connections at the same time.
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
