//! File systems that can be filled.

use std::{fs, path::Path, process::Command};

use crate::needed;

/// A file system of a few MiB; unmounted when it is dropped.
pub struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// Mounts a file system of `kib` KiB. If that is not allowed, it prints a line and returns none.
    ///
    /// # Panics
    ///
    /// With `CI=true`, if it cannot be mounted.
    pub fn mount(path: &'a Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(path).expect("make a directory");
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "none"]).arg(path).output();
        let mounted = needed("mount", mounted)?;
        if !mounted.status.success() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{}",
                String::from_utf8_lossy(&mounted.stderr)
            );
            eprintln!("SKIPPED: a small file system cannot be mounted here");
            return None;
        }
        Some(Self(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmount {}", self.0.display());
    }
}
