//! Servers whose standard streams are not read.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::{Server, Site, command_under, free_port, within};

/// The reader and the writer of a full pipe: any write to it waits.
///
/// # Panics
///
/// If there are no pipes.
pub fn full_pipe() -> (File, File) {
    let (reader, writer) = io::pipe().expect("make a pipe");
    let mut writer = File::from(OwnedFd::from(writer));
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("change a pipe");
    while writer.write(&[b'\n'; 4_096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).expect("change a pipe");
    (OwnedFd::from(reader).into(), writer)
}

impl Server {
    /// A server that this process runs, perhaps in a terminal, once it answers.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn answering(process: Child, address: String) -> Self {
        let server = Self { process, address, authority: None, log: None };
        within(Duration::from_secs(30), || server.try_get("sys/seal-status").is_ok());
        server
    }
}

impl Site {
    /// Starts a server with these streams, and waits until it answers. The configuration must listen on
    /// `127.0.0.1:0`. A free port replaces it, as the port that the server prints is not read.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub fn start_unread(&self, wrapper: &[&str], log_level: &str, out: Stdio, err: Stdio) -> Server {
        let (mut command, address) = self.unread_command(wrapper, log_level);
        let process = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("start keyway");
        // The pipe's own ends in this process would keep it open.
        drop(command);
        Server::answering(process, address)
    }

    /// A command whose standard error is the log, and whose standard output is dropped.
    ///
    /// # Panics
    ///
    /// If there is no log.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.log()).expect("open the log");
        let mut command = command_under(&[], arguments);
        command.current_dir(self.directory.path()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// The command that starts a server, and the address that it will have.
    ///
    /// # Panics
    ///
    /// If there is no port.
    pub fn unread_command(&self, wrapper: &[&str], log_level: &str) -> (Command, String) {
        let free = format!("127.0.0.1:{}", free_port().expect("a free port"));
        let text = fs::read_to_string(self.config()).expect("read the configuration");
        self.configure(&text.replace("127.0.0.1:0", &free));
        let config = self.config();
        let config = config.to_str().expect("a Unicode path");
        let mut command = command_under(wrapper, &["server", "--config", config]);
        command.current_dir(self.directory.path()).env("RUST_LOG", log_level);
        (command, format!("http://{free}"))
    }
}
