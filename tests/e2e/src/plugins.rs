//! Sites with a directory of plugins of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use crate::{Site, built, config};

/// A site with the SQLite plugin, locked, and room for whatever a test adds.
pub fn site() -> Site {
    let site = Site::new("sqlite");
    fs::create_dir(site.path("plugins")).expect("make a directory");
    put(&site, "sqlite", &read("sqlite"));
    site.configure(&configuration(&site));
    lock(&site);
    site
}

/// An ordinary configuration over the site's own plugins.
pub fn configuration(site: &Site) -> String {
    let text = |path: &Path| path.to_str().expect("a Unicode path").to_owned();
    config("sqlite").replace(&text(&built()), &text(&site.path("plugins")))
}

/// The bytes of a plugin's library.
pub fn read(plugin: &str) -> Vec<u8> {
    fs::read(library(&built(), plugin)).expect("read a library")
}

/// Puts bytes where a plugin's library is looked for.
pub fn put(site: &Site, plugin: &str, bytes: &[u8]) {
    fs::write(library(&site.path("plugins"), plugin), bytes).expect("write a library");
}

fn library(directory: &Path, plugin: &str) -> PathBuf {
    directory.join(format!("libkeyway_{plugin}.so"))
}

/// Lets all plugins of the site run that can be used.
pub fn lock(site: &Site) {
    let locked = site.run(&["plugin", "lock", "--config", "keyway.toml"]);
    assert!(locked.status.success(), "{}", said(&locked));
}

/// All that a command has printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
