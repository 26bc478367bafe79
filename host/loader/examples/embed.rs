//! Another program's server, which keeps its data in a backend of Keyway.
//!
//! `embed PLUGINS LOCK_FILE DATA PLUGIN CONFIG` loads the plugin from the directory PLUGINS if LOCK_FILE allows it, opens
//! a store below DATA, and serves `get KEY`, `put KEY VALUE` and `keys`, a line each, on a free port of loopback.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

use std::{
    error::Error,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
};

use keyway_loader::{
    BackendConfig, CallContext, Chain, Generation, History, Key, Loader, Origin, Prober, Put, Requirement,
    Scan, SearchPath, Trust, Wanted, WriteId, probe,
};
use tokio::runtime::Runtime;

const KEYSPACE: &str = "example";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("embed: {}", Chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // This program is also the one that tries a library in a sandboxed child process before it loads it.
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "probe-plugin"
    {
        return Ok(probe::child::main(&rest.iter().map(Into::into).collect::<Vec<_>>()));
    }
    let [plugins, lock_file, data, plugin, config] = arguments.as_slice() else {
        return Err("usage: embed PLUGINS LOCK_FILE DATA PLUGIN CONFIG".into());
    };
    let runtime = Arc::new(Runtime::new()?);
    // Made by the loader, for this user alone: copies of libraries, and what happened to them.
    let staging_dir = Path::new(data).join("plugins");
    let loader = Loader {
        search: vec![SearchPath { directory: plugins.into(), origin: Origin::Configuration }],
        trust: Trust::lock(lock_file.into()),
        libraries: Vec::new(),
        prober: Some(Prober::this_program(vec!["probe-plugin".into()])?),
        history: History::new(staging_dir.clone()),
        staging_dir,
        host: env!("CARGO_PKG_VERSION").to_owned(),
        most_images: 64,
    };
    let backend = BackendConfig {
        name: "main".to_owned(),
        config: serde_json::from_str(config)?,
        data_dir: data.into(),
    };
    let wanted = Wanted { plugin: Requirement::parse(plugin)?, fallback: false };
    let (plugin, fallback) = loader.choose(&wanted, &backend)?;
    let store = Arc::new(runtime.block_on(loader.open_store(&plugin, fallback, &backend))?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{} serves at {}", plugin.descriptor().label(), listener.local_addr()?);
    for connection in listener.incoming() {
        let (store, runtime) = (Arc::clone(&store), Arc::clone(&runtime));
        // A client that goes away ends its thread and nothing else.
        thread::spawn(move || serve(&connection?, &store, &runtime));
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(connection: &TcpStream, store: &Generation, runtime: &Runtime) -> io::Result<()> {
    for line in BufReader::new(connection).lines() {
        let answer =
            runtime.block_on(answer(&line?, store)).unwrap_or_else(|error| format!("error: {error}"));
        writeln!(&mut &*connection, "{answer}")?;
    }
    Ok(())
}

async fn answer(line: &str, store: &Generation) -> Result<String, keyway_loader::Error> {
    let call = CallContext::background();
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["get", key] => {
            let record = store.start(|store| store.get(&call, Key::new(KEYSPACE, key.as_bytes()))).await?;
            Ok(record
                .map_or("none".to_owned(), |record| String::from_utf8_lossy(record.value()).into_owned()))
        }
        ["put", key, value] => {
            // No two writes have the same id.
            let write_id = WriteId::new(uuid::Uuid::new_v4().into_bytes());
            let put = Put::new(Key::new(KEYSPACE, key.as_bytes()), value.as_bytes()).with_write_id(write_id);
            store.start(|store| store.put(&call, put)).await?;
            Ok("done".to_owned())
        }
        ["keys"] => {
            let (mut keys, mut cursor) = (Vec::new(), Vec::new());
            loop {
                let scan = Scan::prefix(KEYSPACE, b"").keys_only().resuming_at(&cursor);
                let page = store.start(|store| store.scan(&call, scan)).await?;
                keys.extend(
                    page.entries().iter().map(|entry| String::from_utf8_lossy(entry.key()).into_owned()),
                );
                match page.cursor() {
                    Some(next) => cursor = next.to_vec(),
                    None => return Ok(keys.join(" ")),
                }
            }
        }
        _ => Ok("get KEY, put KEY VALUE or keys".to_owned()),
    }
}
