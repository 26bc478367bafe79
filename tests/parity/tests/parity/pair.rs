//! A Keyway and an OpenBao side by side, both initialized with one share and unsealed.

use std::path::Path;

use keyway_e2e::{Server, Site, config};
use serde_json::{Value, json};

use crate::{
    bao::Bao,
    request::{Client, Reply, Request},
};

/// What a test needs beyond the ordinary configuration: no limit on attempts, and what OpenBao's
/// configuration allows.
const SECTIONS: &str = "\n[limits]\nclient_attempts_per_minute = 0\n\n[audit]\napi = true\n";

/// Both servers: OpenBao first.
pub(crate) struct Pair {
    pub(crate) clients: [Client; 2],
    pub(crate) roots: [String; 2],
    /// The unseal shares.
    pub(crate) shares: [String; 2],
    /// A directory of each, for its audit log.
    pub(crate) directories: [String; 2],
    _keyway: Server,
    _site: Site,
    _bao: Bao,
}

impl Pair {
    pub(crate) fn start(program: &Path) -> Self {
        let bao = Bao::start(program);
        let site = Site::new("memory");
        // Without the mount that the ordinary configuration makes: OpenBao has none either.
        let ordinary = config("memory");
        let (ordinary, _mount) = ordinary.split_once("[mounts.secret]").expect("the mount comes last");
        site.configure(&format!("{ordinary}{SECTIONS}"));
        let keyway = site.start();
        let clients = [Client::new(&bao.address), Client::new(&keyway.address)];
        let [(bao_root, bao_share), (keyway_root, keyway_share)] =
            [0, 1].map(|which| unseal(&clients[which]));
        let (roots, shares) = ([bao_root, keyway_root], [bao_share, keyway_share]);
        let own = site.path("log");
        let directories = [bao.directory(), own.parent().expect("a file has a directory")];
        let directories = directories.map(|path| path.display().to_string());
        Self { clients, roots, shares, directories, _keyway: keyway, _site: site, _bao: bao }
    }

    /// Sends a request of root to both, which must both accept it.
    pub(crate) fn prepare(&self, method: &str, path: &str, body: &Value) -> [Value; 2] {
        [0, 1].map(|which| {
            let reply = self.send_as_root(which, method, path, body);
            assert!(reply.status < 400, "{method} {path} {body}: {} {}", reply.status, reply.body);
            reply.body
        })
    }

    pub(crate) fn send_as_root(&self, which: usize, method: &str, path: &str, body: &Value) -> Reply {
        let body = (!body.is_null()).then(|| body.to_string());
        let token = self.roots[which].clone();
        self.clients[which].send(&Request {
            method: method.to_owned(),
            path: path.to_owned(),
            token,
            body,
            ..Request::default()
        })
    }
}

fn unseal(client: &Client) -> (String, String) {
    let send = |path: &str, body: Value| {
        let request = Request {
            method: "PUT".to_owned(),
            path: path.to_owned(),
            body: Some(body.to_string()),
            ..Request::default()
        };
        let reply = client.send(&request);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.body
    };
    let made = send("sys/init", json!({"secret_shares": 1, "secret_threshold": 1}));
    let text = |place: &Value| place.as_str().expect("a string").to_owned();
    let (root, share) = (text(&made["root_token"]), text(&made["keys"][0]));
    assert_eq!(send("sys/unseal", json!({"key": share}))["sealed"], false);
    (root, share)
}
