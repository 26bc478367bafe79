//! Several hosts on one database: what one has done binds the next request on every other.

use keyway_e2e::{Server, Site};
use keyway_private_postgres::{Options, needed};
use serde_json::json;

use super::{private, site};

/// Hosts on one database, unsealed, and the root token.
struct Hosts {
    sites: Vec<Site>,
    servers: Vec<Server>,
    root: String,
    share: String,
    // Behind the servers, which it outlives.
    _database: private::Server,
}

impl Hosts {
    fn begin(count: usize) -> Option<Self> {
        let database = needed(&Options { settings: &["max_connections=200"], ..Options::default() })?;
        let sites: Vec<Site> = (0..count).map(|_| site(&database)).collect();
        let first = sites[0].start();
        let keys = first.init_and_unseal();
        let share = keys.shares[0].clone();
        let mut servers = vec![first];
        for site in &sites[1..] {
            let server = site.start();
            // An empty data directory joins the store, which is initialised already.
            assert_eq!(server.get("sys/init", "").json()["initialized"], json!(true));
            assert!(!server.unseal(&share));
            servers.push(server);
        }
        Some(Self { sites, servers, root: keys.root_token, share, _database: database })
    }

    fn token(&self, policies: &[&str]) -> String {
        let made = self.servers[0].post("auth/token/create", &self.root, &json!({ "policies": policies }));
        made.json()["auth"]["client_token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn what_one_host_writes_every_other_reads() {
    let Some(hosts) = Hosts::begin(3) else { return };
    for round in 0..20_u64 {
        let (writer, reader) = (&hosts.servers[round as usize % 3], &hosts.servers[(round as usize + 1) % 3]);
        let body = json!({ "options": { "cas": round }, "data": { "round": round } });
        let written = writer.post("secret/data/shared", &hosts.root, &body);
        assert_eq!(written.status, 200, "{}", written.text);
        let read = reader.get("secret/data/shared", &hosts.root).json();
        assert_eq!(
            (&read["data"]["data"]["round"], &read["data"]["metadata"]["version"]),
            (&json!(round), &json!(round + 1))
        );
    }
    // Of all hosts at a time, one wins.
    let wins: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = hosts
            .servers
            .iter()
            .map(|server| {
                let body = json!({ "options": { "cas": 20 }, "data": { "round": 20 } });
                let root = &hosts.root;
                scope.spawn(move || usize::from(server.post("secret/data/shared", root, &body).status == 200))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn token_that_one_host_revokes_is_refused_by_the_next_request_on_every_other() {
    let Some(hosts) = Hosts::begin(3) else { return };
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    assert_eq!(hosts.servers[1].post("sys/policies/acl/reader", &hosts.root, &policy).status, 204);
    let body = json!({ "data": { "k": "v" } });
    assert_eq!(hosts.servers[0].post("secret/data/app", &hosts.root, &body).status, 200);
    for round in 0..30_usize {
        let token = hosts.token(&["reader"]);
        for server in &hosts.servers {
            assert_eq!(server.get("secret/data/app", &token).status, 200);
        }
        let revoked =
            hosts.servers[round % 3].post("auth/token/revoke", &hosts.root, &json!({ "token": token }));
        assert_eq!(revoked.status, 204, "{}", revoked.text);
        for server in &hosts.servers {
            assert_eq!(server.get("secret/data/app", &token).status, 403);
        }
    }
}

#[test]
fn policy_and_mount_that_one_host_changes_bind_the_next_request_on_every_other() {
    let Some(hosts) = Hosts::begin(3) else { return };
    let body = json!({ "data": { "k": "v" } });
    assert_eq!(hosts.servers[0].post("secret/data/app", &hosts.root, &body).status, 200);
    let token = hosts.token(&["changing"]);
    for round in 0..20_usize {
        let (changer, is_allowed) = (&hosts.servers[round % 3], round % 2 == 0);
        let capability = if is_allowed { "read" } else { "deny" };
        let policy =
            json!({ "policy": format!("path \"secret/*\" {{ capabilities = [\"{capability}\"] }}") });
        assert_eq!(changer.post("sys/policies/acl/changing", &hosts.root, &policy).status, 204);
        for server in &hosts.servers {
            let expected = if is_allowed { 200 } else { 403 };
            assert_eq!(server.get("secret/data/app", &token).status, expected, "round {round}");
        }
        let path = format!("mount{round}");
        let made = changer.post(
            &format!("sys/mounts/{path}"),
            &hosts.root,
            &json!({ "type": "kv", "options": { "version": "2" } }),
        );
        assert_eq!(made.status, 204, "{}", made.text);
        for server in &hosts.servers {
            assert_eq!(server.post(&format!("{path}/data/x"), &hosts.root, &body).status, 200);
        }
        assert_eq!(changer.request("DELETE", &format!("sys/mounts/{path}"), &hosts.root, None).status, 204);
        for server in &hosts.servers {
            assert_eq!(server.get(&format!("{path}/data/x"), &hosts.root).status, 404);
        }
    }
}

#[test]
fn key_that_one_host_rotates_is_used_and_read_by_every_other() {
    let Some(hosts) = Hosts::begin(3) else { return };
    for round in 0..9_usize {
        let path = format!("secret/data/of{round}");
        let rotated = hosts.servers[round % 3].post("sys/rotate", &hosts.root, &json!({}));
        assert!(rotated.status == 204 || rotated.status == 200, "{}", rotated.text);
        let writer = &hosts.servers[(round + 1) % 3];
        let written = writer.post(&path, &hosts.root, &json!({ "data": { "round": round } }));
        assert_eq!(written.status, 200, "{}", written.text);
        for server in &hosts.servers {
            let read = server.get(&path, &hosts.root);
            assert_eq!(read.json()["data"]["data"]["round"], json!(round), "{}", read.text);
        }
    }
    for server in &hosts.servers {
        let status = server.get("sys/key-status", &hosts.root).json();
        assert_eq!(status["data"]["term"], json!(10), "{status}");
    }
}

#[test]
fn host_that_is_killed_or_sealed_leaves_the_others_serving() {
    let Some(mut hosts) = Hosts::begin(3) else { return };
    let body = json!({ "data": { "k": "v" } });
    hosts.servers.remove(0).kill();
    assert_eq!(hosts.servers[0].request("PUT", "sys/seal", &hosts.root, None).status, 204);
    assert_eq!(hosts.servers[1].post("secret/data/app", &hosts.root, &body).status, 200);
    let leader = hosts.servers[1].get("sys/leader", "").json();
    assert_eq!((&leader["ha_enabled"], &leader["is_self"]), (&json!(true), &json!(true)), "{leader}");
    assert_eq!(hosts.servers[0].get("sys/leader", "").json()["is_self"], json!(false));
    // Sealing is a host's own affair: another one is sealed by itself.
    assert_eq!(hosts.servers[1].get("sys/seal-status", "").json()["sealed"], json!(false));
    let back = hosts.sites[0].start();
    assert!(!back.unseal(&hosts.share));
    assert_eq!(back.get("secret/data/app", &hosts.root).status, 200);
}
