//! The servers under test, each a separate process.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server process; ended when it is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    pub(crate) token: String,
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
    /// Keyway, unsealed, with the plugins of `plugins`, and with this plugin and its settings. `more` is
    /// appended to the configuration.
    pub(crate) fn keyway(plugins: &Path, plugin: &str, settings: &str, more: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("keyway.toml");
        fs::write(
            &config,
            format!(
                "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\nplugin_dirs = [{plugins:?}]\nsystem_backend = \"main\"\n\
                 [trust]\npolicy = \"lock\"\n[backends.main]\nplugin = \"{plugin}\"\nconfig = {{ {settings} }}\n\
                 [mounts.secret]\nbackend = \"main\"\n{more}"
            ),
        )?;
        let program = programs()?.join("keyway");
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
        Ok(server)
    }

    pub(crate) fn start(mut command: Command, directory: Option<TempDir>) -> Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = process.stdout.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().rsplit_once("http://").context("the address of a server")?.1.to_owned();
        Ok(Self { process, address, token: String::new(), _directory: directory })
    }

    pub(crate) fn head(&self, method: &str, path: &str, body: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
    }

    /// One request; it must succeed.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut connection = BufReader::new(TcpStream::connect(&self.address)?);
        connection.get_mut().write_all(self.head(method, path, body).as_bytes())?;
        let (status, body) = answer(&mut connection)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status}");
        Ok(String::from_utf8(body)?)
    }
}

/// The directory of what was built: this program, the server and the plugins.
pub(crate) fn programs() -> Result<PathBuf> {
    Ok(env::current_exe()?.parent().context("a directory of programs")?.to_owned())
}

fn log(directory: &Path) -> Result<Stdio> {
    Ok(fs::File::create(directory.join("log"))?.into())
}

/// The status and the body of an answer.
pub(crate) fn answer(connection: &mut BufReader<TcpStream>) -> Result<(u16, Vec<u8>)> {
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
