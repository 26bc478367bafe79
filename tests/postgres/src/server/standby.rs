//! A server that follows another.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{SUPERUSER, Server};
use crate::{
    ports::free_port,
    user::{give_away, unprivileged},
};

impl Server {
    /// Another server that follows this one, and answers what it has heard of it: a standby.
    ///
    /// # Errors
    ///
    /// If this one cannot be copied, or the other not be started.
    pub fn standby(&self) -> Result<Self> {
        let directory = TempDir::with_prefix("keyway-pg-").context("make a directory")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        give_away(directory.path())?;
        let (path, data) = (directory.path().to_owned(), directory.path().join("data"));
        let mut copy = unprivileged(&self.binaries.program("pg_basebackup"), &path);
        copy.arg("-D").arg(&data).arg("-h").arg(&self.path).args([
            "-p",
            &self.port.to_string(),
            "-U",
            SUPERUSER,
        ]);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        let copied = copy.stdin(Stdio::null()).output().context("start pg_basebackup")?;
        ensure!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        let mut server = Self {
            binaries: self.binaries.clone(),
            directory: Some(directory),
            path,
            data,
            port: free_port()?,
            settings: Vec::new(),
            power: None,
            disk: None,
            process: None,
        };
        server.resume_life()?;
        Ok(server)
    }

    /// The URL of both: a client that uses it finds the one that takes writes.
    pub fn url_with(&self, other: &Self) -> String {
        let socket = |server: &Self| server.socket().display().to_string().replace('/', "%2F");
        let (own, others) = (socket(self), socket(other));
        format!("postgres://{SUPERUSER}@{own}:{},{others}:{}/postgres", self.port, other.port)
    }
}
