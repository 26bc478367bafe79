//! Several hosts on one database: what one has done binds the next request on every other.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use keyway_e2e::{Server, Site, within};
use keyway_private_postgres::{Options, needed};
use serde_json::json;

use super::{private, site};

/// Hosts on one database, unsealed, and the root token.
struct Hosts {
    sites: Vec<Site>,
    servers: Vec<Server>,
    root: String,
    share: String,
    // Declared after the servers, so that it is dropped after them.
    _database: private::Server,
}

impl Hosts {
    fn begin(count: usize) -> Option<Self> {
        Self::begin_with(count, "")
    }

    /// As `begin`, with more in the hosts' configurations.
    fn begin_with(count: usize, more: &str) -> Option<Self> {
        let database = needed(&Options { settings: &["max_connections=200"], ..Options::default() })?;
        let sites: Vec<Site> = (0..count).map(|_| site(&database)).collect();
        for site in &sites {
            site.configure(&format!("{}\n{more}", std::fs::read_to_string(site.config()).unwrap()));
        }
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

/// How many calls of a kind have reached the system's backend.
fn calls(server: &Server, root: &str, operation: &str) -> u64 {
    let text = server.get("sys/metrics", root).text;
    let name =
        format!("keyway_backend_calls_total{{backend=\"main\",operation=\"{operation}\",result=\"ok\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn secret_its_token_and_the_epoch_are_read_in_one_round_trip() {
    let Some(hosts) = Hosts::begin(2) else { return };
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    assert_eq!(hosts.servers[0].post("sys/policies/acl/reader", &hosts.root, &policy).status, 204);
    let body = json!({ "data": { "k": "v" } });
    assert_eq!(hosts.servers[0].post("secret/data/app", &hosts.root, &body).status, 200);
    // A child of the root token: its parent is read with it.
    let (token, reader) = (hosts.token(&["reader"]), &hosts.servers[1]);
    let operations = ["get", "get_many", "scan", "apply", "put"];
    for _ in 0..2 {
        assert_eq!(reader.get("secret/data/app", &token).status, 200);
        calls(reader, &hosts.root, "get");
    }
    let count = || operations.map(|operation| calls(reader, &hosts.root, operation));
    // What asking costs is no part of it.
    let (first, second) = (count(), count());
    for _ in 0..100 {
        assert_eq!(reader.get("secret/data/app", &token).status, 200);
    }
    let third = count();
    for (index, operation) in operations.iter().enumerate() {
        let asking = second[index] - first[index];
        let expected = if *operation == "get_many" { 100 } else { 0 };
        assert_eq!(
            third[index] - second[index] - asking,
            expected,
            "{operation}: {first:?} {second:?} {third:?}"
        );
    }
}

#[test]
fn host_whose_keys_another_has_replaced_seals_itself_and_opens_with_the_new_shares() {
    let Some(hosts) = Hosts::begin(3) else { return };
    let body = json!({ "data": { "k": "v" } });
    assert_eq!(hosts.servers[1].post("secret/data/app", &hosts.root, &body).status, 200);
    let rekey = json!({ "secret_shares": 1, "secret_threshold": 1, "require_verification": false });
    let begun = hosts.servers[0].post("sys/rekey/init", &hosts.root, &rekey).json();
    let update = json!({ "key": hosts.share, "nonce": begun["nonce"] });
    let made = hosts.servers[0].post("sys/rekey/update", &hosts.root, &update);
    assert_eq!(made.status, 200, "{}", made.text);
    let share = made.json()["keys"][0].as_str().unwrap().to_owned();
    // The host that did it goes on; of the others one is asked for a secret, the other how it is.
    assert_eq!(hosts.servers[0].get("secret/data/app", &hosts.root).status, 200);
    let refused = hosts.servers[1].get("secret/data/app", &hosts.root);
    assert!(refused.status == 503 && refused.error().contains("sealed"), "{}", refused.text);
    assert_eq!(hosts.servers[2].get("sys/seal-status", "").json()["sealed"], json!(true));
    for host in [1, 2] {
        let server = &hosts.servers[host];
        assert_eq!(server.get("sys/health", "").status, 503);
        assert_eq!(server.get("sys/leader", "").json()["is_self"], json!(false));
        within(Duration::from_secs(30), || {
            hosts.sites[host].log_text().contains("the keys were changed on another host")
        });
        assert_eq!(server.post("sys/unseal", "", &json!({ "key": hosts.share })).status, 400);
        assert!(!server.unseal(&share));
        assert_eq!(server.post("secret/data/app", &hosts.root, &body).status, 200);
    }
    assert_eq!(hosts.servers[0].get("secret/data/app", &hosts.root).json()["data"]["metadata"]["version"], 3);
}

#[test]
fn hosts_of_a_store_are_shown_until_they_are_sealed_or_killed() {
    let Some(mut hosts) = Hosts::begin(3) else { return };
    let shown = |hosts: &Hosts, by: usize| {
        let answer = hosts.servers[by].get("sys/ha-status", &hosts.root).json();
        let nodes = answer["nodes"].as_array().unwrap().clone();
        assert!(nodes.iter().all(|node| node["hostname"].is_string() && node["version"].is_string()));
        nodes
    };
    for by in 0..3 {
        within(Duration::from_secs(30), || shown(&hosts, by).len() == 3);
        assert!(shown(&hosts, by).iter().all(|node| node["last_echo"].is_string()), "by {by}");
    }
    assert_eq!(hosts.servers[1].post("sys/seal", &hosts.root, &json!({})).status, 204);
    within(Duration::from_secs(10), || shown(&hosts, 0).len() == 2);
    // The record of a killed host expires.
    drop(hosts.servers.pop());
    within(Duration::from_secs(60), || shown(&hosts, 0).len() == 1);
}

#[test]
fn audit_device_that_one_host_adds_binds_the_next_request_on_every_other() {
    let Some(hosts) = Hosts::begin_with(2, "[audit]\napi = true\n") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let read = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&read);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || {
                for line in BufReader::new(socket).lines().map_while(Result::ok) {
                    heard.lock().unwrap().push_str(&line);
                }
            });
        }
    });
    let device = json!({ "type": "socket", "options": { "address": address, "socket_type": "tcp" } });
    let added = hosts.servers[0].post("sys/audit/far", &hosts.root, &device);
    assert_eq!(added.status, 204, "{}", added.text);
    assert_eq!(hosts.servers[1].get("secret/data/of-the-other-host", &hosts.root).status, 404);
    within(Duration::from_secs(20), || read.lock().unwrap().contains("of-the-other-host"));
    assert!(hosts.servers[1].get("sys/audit", &hosts.root).json()["data"]["far/"].is_object());
    assert_eq!(hosts.servers[1].request("DELETE", "sys/audit/far", &hosts.root, None).status, 204);
    assert_eq!(hosts.servers[0].get("secret/data/behind-it", &hosts.root).status, 404);
    assert!(hosts.servers[0].get("sys/audit", &hosts.root).json()["data"]["far/"].is_null());
    assert!(!read.lock().unwrap().contains("behind-it"));
}

#[test]
fn auth_method_that_one_host_enables_or_disables_binds_the_next_login_on_every_other() {
    let Some(hosts) = Hosts::begin(2) else { return };
    let (one, other) = (&hosts.servers[0], &hosts.servers[1]);
    for round in 0..5 {
        let path = format!("auth/app{round}");
        assert_eq!(one.post(&format!("sys/{path}"), &hosts.root, &json!({ "type": "approle" })).status, 204);
        let role = json!({ "bind_secret_id": false, "secret_id_bound_cidrs": [], "token_bound_cidrs": ["127.0.0.1/32"] });
        let made = one.post(&format!("{path}/role/r"), &hosts.root, &role);
        assert_eq!(made.status, 204, "{}", made.text);
        let id = one.get(&format!("{path}/role/r/role-id"), &hosts.root).json()["data"]["role_id"].clone();
        let login = || other.post(&format!("{path}/login"), "", &json!({ "role_id": id }));
        let in_it = login();
        assert_eq!(in_it.status, 200, "{}", in_it.text);
        assert_eq!(one.request("DELETE", &format!("sys/{path}"), &hosts.root, None).status, 204);
        let refused = login();
        assert!(matches!(refused.status, 403 | 404), "{}", refused.text);
    }
}

#[test]
fn policies_that_many_write_on_many_hosts_are_all_written() {
    let Some(hosts) = Hosts::begin(3) else { return };
    std::thread::scope(|scope| {
        for writer in 0..24_usize {
            let (servers, root) = (&hosts.servers, &hosts.root);
            scope.spawn(move || {
                for round in 0..10 {
                    let server = &servers[(writer + round) % 3];
                    let text = format!("path \"secret/data/{round}\" {{ capabilities = [\"read\"] }}");
                    let policy = json!({ "policy": text });
                    let put = server.post(&format!("sys/policies/acl/p{writer}"), root, &policy);
                    assert_eq!(put.status, 204, "{}", put.text);
                    let read = servers[writer % 3].get(&format!("sys/policies/acl/p{writer}"), root);
                    assert_eq!(read.json()["data"]["policy"], json!(text));
                }
            });
        }
    });
}

#[test]
fn reencryption_whose_host_is_killed_is_gone_on_with_by_another() {
    let Some(mut hosts) = Hosts::begin(3) else { return };
    for number in 0..600 {
        let path = format!("secret/data/s{number}");
        assert_eq!(
            hosts.servers[number % 3].post(&path, &hosts.root, &json!({ "data": { "n": number } })).status,
            200
        );
    }
    assert!(matches!(hosts.servers[1].post("sys/rotate", &hosts.root, &json!({})).status, 200 | 204));
    assert_eq!(hosts.servers[0].post("sys/reencrypt", &hosts.root, &json!({})).status, 200);
    hosts.servers.remove(0).kill();
    let status = || hosts.servers[0].get("sys/reencrypt", &hosts.root).json()["data"].clone();
    assert_eq!(status()["state"], json!("running"));
    within(Duration::from_secs(120), || status()["state"] == "done");
    let done = status();
    assert_eq!(done["failed"], json!(0), "{done}");
    assert!(done["sealed"].as_u64().unwrap() >= 600, "{done}");
    for number in [0, 299, 599] {
        let read = hosts.servers[1].get(&format!("secret/data/s{number}"), &hosts.root).json();
        assert_eq!(read["data"]["data"]["n"], json!(number));
    }
}
