//! A server's troubles for another process: one line each way, by a Unix socket.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::Server;

/// Applies the commands of its clients to a server, until it is dropped with its process.
pub struct Control {
    socket: PathBuf,
    server: Arc<Mutex<Server>>,
}

impl Control {
    /// Listens in the directory of the server's own socket.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made.
    pub fn serve(server: Server) -> Result<Self> {
        let socket = server.socket().join("control");
        let listener = UnixListener::bind(&socket).context("make a socket")?;
        let server = Arc::new(Mutex::new(server));
        let serving = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // An error means that the client went away before it had its answer.
                let _gone = answer(&serving, &stream);
            }
        });
        Ok(Self { socket, server })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops the server and removes its files: the thread that listens keeps a part of it.
    ///
    /// # Errors
    ///
    /// If the server does not end.
    pub fn end(&self) -> Result<()> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).remove()
    }
}

fn answer(server: &Mutex<Server>, mut stream: &UnixStream) -> Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let done = act(&mut server.lock().unwrap_or_else(PoisonError::into_inner), line.trim());
    let text = match done {
        Ok(text) => format!("ok {text}\n"),
        Err(error) => format!("no {}\n", format!("{error:#}").replace('\n', " | ")),
    };
    Ok(stream.write_all(text.as_bytes())?)
}

fn act(server: &mut Server, line: &str) -> Result<String> {
    let (word, number) = line.split_once(' ').unwrap_or((line, ""));
    let power = || server.power().context("this server keeps its power");
    match word {
        "gone" => server.crash()?,
        "full" => server.disk().context("its disk cannot be filled: that takes root")?.fill()?,
        "read-only" => set_read_only(server, "on")?,
        "well" => {
            if let Some(disk) = server.disk() {
                disk.free()?;
            }
            server.resume_life()?;
            if server
                .sql("SELECT setting FROM pg_file_settings WHERE name = 'default_transaction_read_only'")?
                == "on"
            {
                set_read_only(server, "off")?;
            }
        }
        "power" => power()?.lose_at(number.parse()?)?,
        "dark" => return Ok(power()?.is_dark().to_string()),
        "settle" => server.settle(number.parse()?)?,
        _ => bail!("{word} is nothing that can be done to a server"),
    }
    Ok(String::new())
}

fn set_read_only(server: &Server, value: &str) -> Result<()> {
    server.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"))?;
    server.sql("SELECT pg_reload_conf()").map(drop)
}

/// Asks for it from another process.
pub struct Remote(PathBuf);

impl Remote {
    /// By the socket of a [`Control`].
    pub fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// Has something done, and answers what came of it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn ask(&self, line: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.0).context("connect to the server's control")?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        match answer.trim_end().split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            _ if answer.trim_end() == "ok" => Ok(String::new()),
            _ => bail!("{}", answer.trim_end().trim_start_matches("no ")),
        }
    }
}
