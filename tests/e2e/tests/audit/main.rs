//! The audit log: two lines for each request and no value in the clear ([`entries`]), a chain that holds over
//! rotation and restarts ([`files`]), devices that fail in each way, of which one is enough, and without
//! which nothing happens ([`failures`]), and devices that are added while the server runs ([`devices`]).
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod devices;
mod entries;
mod failures;
mod files;

use std::{
    fs,
    path::{Path, PathBuf},
};

use keyway_e2e::{Keys, Server, Site, config};
use serde_json::{Value, json};

/// A server with these devices, unsealed.
pub(crate) fn start(plugin: &str, devices: impl Fn(&Site) -> String) -> (Site, Server, Keys) {
    let site = Site::new(plugin);
    let devices = devices(&site);
    site.configure(&format!("{}\n[audit]\napi = true\ndevices = [{devices}]\n", config(plugin)));
    let server = site.start();
    let keys = server.init_and_unseal();
    (site, server, keys)
}

pub(crate) fn file(site: &Site, name: &str) -> String {
    let directory = site.path("trail");
    fs::create_dir_all(&directory).unwrap();
    format!(
        "{{ name = \"{name}\", type = \"file\", path = \"{}\" }}",
        directory.join(format!("{name}.log")).display()
    )
}

pub(crate) fn log(site: &Site, name: &str) -> PathBuf {
    site.path("trail").join(format!("{name}.log"))
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub(crate) fn put(server: &Server, keys: &Keys, path: &str) -> u16 {
    server.post(&format!("secret/data/{path}"), &keys.root_token, &json!({ "data": { "x": "y" } })).status
}

pub(crate) fn version(server: &Server, keys: &Keys, path: &str) -> u64 {
    let read = server.get(&format!("secret/metadata/{path}"), &keys.root_token);
    read.json()["data"]["current_version"].as_u64().unwrap_or(0)
}

/// What `keyway audit verify` says of these files, and whether it holds.
pub(crate) fn verify(site: &Site, files: &[&Path]) -> (bool, String) {
    let mut arguments = vec!["audit", "verify"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let output = site.run(&arguments);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}
