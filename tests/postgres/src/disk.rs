//! A small file system in memory, which can be filled up.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::geteuid;

/// Room for a new cluster and some tables.
const SIZE: &str = "size=192m";

/// Mounted; unmounted when it is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: &Path) -> Result<Self> {
        if !geteuid().is_root() {
            bail!("a separate file system needs root");
        }
        fs::create_dir(path)?;
        let mut mount = Command::new("mount");
        let status = mount
            .args(["-t", "tmpfs", "-o", SIZE, "keyway-test"])
            .arg(path)
            .status()
            .context("start mount")?;
        ensure!(status.success(), "mount failed with {status}");
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    ///
    /// If it cannot be filled.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = fs::File::create(self.ballast())?;
        let block = vec![1_u8; 4_096];
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(source.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may take a moment to let its files go.
        for _ in 0..100 {
            let mut unmount = Command::new("umount");
            if unmount
                .arg(&self.0)
                .stderr(std::process::Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
