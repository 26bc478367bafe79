//! Sites, each with a separate directory of plugins.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use crate::{Site, built, config};

/// A site with the locked SQLite plugin and a directory for more plugins.
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

/// The library of a plugin as if it were of another version, which is as long: `1.1.0`.
pub fn version(plugin: &str, version: &str) -> Vec<u8> {
    let named = |version: &str| format!("\"name\":\"{plugin}\",\"version\":\"{version}\"");
    patched(&read(plugin), &named("1.0.0"), &named(version))
}

/// A library with some of its text replaced by text that is as long.
pub fn patched(library: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a patch must not move anything");
    let mut bytes = library.to_vec();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{from:?} is not in the library");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// Puts a library into the site's plugins under a separate name, atomically, as an operator ships it.
pub fn ship(site: &Site, file: &str, bytes: &[u8]) {
    let (to, new) = (site.path("plugins").join(file), site.path("plugins").join(".new"));
    fs::write(&new, bytes).expect("write a library");
    fs::rename(new, to).expect("put a library in its place");
}

/// The library of version 1.1.0 of the SQLite plugin with a flaw.
pub fn flawed(flaw: &str) -> Vec<u8> {
    let library = fs::read(built().join("libkeyway_flawed.so")).expect("read a library");
    let place = |flaw: &str| format!("{:<38}", format!("keyway-flaw: {flaw}"));
    patched(&library, &place("none"), &place(flaw))
}
