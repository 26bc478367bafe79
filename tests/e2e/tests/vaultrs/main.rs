//! vaultrs, the Rust client, as one of the judges of the protocol.
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::HashMap, time::Duration};

use keyway_e2e::Site;
use serde_json::{Value, json};
use vaultrs::{
    api::sys::requests::*,
    api::{kv2::requests as kv2_requests, kv2::requests::SetSecretRequestOptions},
    auth::approle,
    client::{Client, VaultClient},
    cubbyhole, kv1, kv2,
    sys::{self, ServerStatus, auth, mount, policy, remount},
    token,
};

use self::calls::{DENIED, client, has, holder, map, read, refused, refuses, with};

/// What calls answer; each must succeed.
macro_rules! ok {
    ($call:expr) => { $call.await.expect(stringify!($call)) };
    ($($call:expr),+ $(,)?) => { $(ok!($call);)+ };
}

/// Calls that must be refused, with the status and, if given, a part of the text.
macro_rules! no {
    ($($status:literal $($text:expr)?; $($call:expr),+);+) => {$(
        let text: &[&str] = &[$($text)?];
        $(refuses(stringify!($call), $call.await, $status, &text.concat());)+
    )+};
}

mod calls;
mod tokens;

#[tokio::test]
async fn vaultrs_makes_every_call_of_secrets_policies_tokens_wrappings_and_approle() {
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        let server = site.start();
        let root_token = found(&server.address).await;
        // Twice on the same server: the first run must leave nothing.
        for _ in 0..2 {
            judge(&server.address, &root_token).await;
        }
    }
}

/// Makes a cluster of a server that has none, seals and unseals it; answers the root token.
async fn found(address: &str) -> String {
    let anonymous = client(address, "");
    assert!(matches!(anonymous.status().await, Ok(ServerStatus::UNINITIALIZED)));
    let made = ok!(sys::start_initialization(&anonymous, 3, 2, None));
    assert_eq!((made.keys.len(), made.keys_base64.len()), (3, 3));
    no!(400 "already initiali"; sys::start_initialization(&anonymous, 3, 2, None));
    let root = client(address, &made.root_token);
    unseal(&anonymous, &made.keys[..2]).await;
    no!(403 DENIED; sys::seal(&anonymous));
    ok!(sys::seal(&root));
    no!(503 "\"sealed\":true"; sys::health(&anonymous); 503 "Vault is sealed"; read(&root, "a"));
    no!(400; sys::unseal(&anonymous, Some("nonsense".to_owned()), None, None));
    unseal(&anonymous, &made.keys_base64[1..]).await;
    made.root_token
}

/// Gives two shares, the first of them twice with a change of mind in between.
async fn unseal(anonymous: &VaultClient, shares: &[String]) {
    assert!(matches!(sys::status(anonymous).await, Ok(ServerStatus::SEALED)));
    let give = |share: usize| sys::unseal(anonymous, shares.get(share).cloned(), None, None);
    has(&ok!(give(0)), json!({ "sealed": true, "t": 2, "n": 3, "progress": 1 }));
    has(&ok!(sys::unseal(anonymous, None, Some(true), None)), json!({ "sealed": true, "progress": 0 }));
    ok!(give(0));
    has(&ok!(give(1)), json!({ "sealed": false, "t": 2, "n": 3, "progress": 0 }));
    assert!(matches!(anonymous.status().await, Ok(ServerStatus::OK)));
}

/// Every call of vaultrs that is about KV, the system, policies, tokens, wrappings and AppRole.
async fn judge(address: &str, root_token: &str) {
    let root = &client(address, root_token);
    has(
        &ok!(sys::health(&with(root, ""))),
        json!({
            "initialized": true, "sealed": false, "standby": false, "performance_standby": false,
            "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
        }),
    );
    policies(root).await;
    mounts(root).await;
    moves(root).await;
    methods(root).await;
    version_1(root).await;
    cubbyholes(root).await;
    version_2(root).await;
    configurations(root).await;
    versions(root).await;
    metadata(root).await;
    tokens::judge(root).await;
}

async fn policies(root: &VaultClient) {
    let rules = "path \"secret/data/one\" { capabilities = [\"read\"] }";
    ok!(policy::set(root, "Reader", rules));
    has(&ok!(policy::read(root, "reader")), json!({ "name": "reader", "rules": rules }));
    let listed = ok!(policy::list(root)).policies;
    assert!(
        ["default", "reader", "root"].iter().all(|&name| listed.contains(&name.to_owned())),
        "{listed:?}"
    );
    no!(404; policy::read(root, "none"); 400; policy::delete(root, "root"), policy::delete(root, "default"),
        policy::set(root, "root", rules), policy::set(root, "broken", "path \""),
        policy::set(root, "broken", "path \"a\" { capabilities = [\"fly\"] }"));
    ok!(kv2::set(root, "secret", "one", &json!({ "n": 1 })));
    let reader = &holder(root, "reader").await;
    assert_eq!(ok!(read(reader, "one")), json!({ "n": 1 }));
    no!(403 DENIED; read(reader, "two"), kv2::set(reader, "secret", "one", &json!({ "n": 2 })),
        kv2::list(reader, "secret", ""), kv2::read_metadata(reader, "secret", "one"),
        kv2::config::read(reader, "secret"), mount::list(reader), mount::enable(reader, "x", "kv", None),
        auth::list(reader), policy::set(reader, "reader", ""), policy::list(reader), sys::seal(reader),
        remount::remount(reader, "secret", "x"), token::new(reader, None), token::revoke_orphan(reader, "x"),
        token::lookup(reader, &root.settings.token), kv1::get::<Value>(reader, "nowhere", "a"),
        read(&with(root, "nothing"), "one"));
    no!(403; read(&with(root, ""), "one"); 404 "no handler for route"; kv1::get::<Value>(root, "nowhere", "a"));
    // A change of a policy applies at once, and a removed policy grants nothing.
    ok!(policy::delete(root, "reader"), policy::delete(root, "reader"));
    no!(404; policy::read(root, "reader"); 403 DENIED; read(reader, "one"));
    ok!(kv2::delete_metadata(root, "secret", "one"));
}

async fn mounts(root: &VaultClient) {
    // The client writes null for each field that is not set here.
    let mut config = EnableEngineDataConfig::default();
    (config.default_lease_ttl, config.max_lease_ttl) = (Some("30m".to_owned()), Some("2h".to_owned()));
    let mut opts = EnableEngineRequest::builder();
    opts.description("a team's").options(map(&[("version", "1")])).config(config);
    ok!(mount::enable(root, "team a/plain", "kv", Some(&mut opts)), mount::enable(root, "bare", "kv", None));
    no!(400 "path is already in use at team a/plain/"; mount::enable(root, "team a/plain", "kv", None);
        400; mount::enable(root, "x", "nothing", None), mount::enable(root, "sys", "kv", None),
        mount::get_configuration_of_a_secret_engine(root, "nowhere"));
    let listed = ok!(mount::list(root));
    let (plain, secret) = (&listed["team a/plain/"], &listed["secret/"]);
    let config = json!({ "default_lease_ttl": 1800, "max_lease_ttl": 7200, "force_no_cache": false });
    let expected = json!({
        "type": "kv", "description": "a team's", "config": config, "options": { "version": "1" },
        "accessor": plain.accessor, "uuid": plain.uuid, "local": false, "seal_wrap": false,
    });
    has(plain, expected.clone());
    has(&ok!(mount::get_configuration_of_a_secret_engine(root, "team a/plain")), expected);
    assert!(!plain.accessor.is_empty() && !plain.uuid.is_empty() && plain.uuid != secret.uuid);
    has(secret, json!({ "type": "kv", "options": { "version": "2" } }));
    has(&listed["cubbyhole/"], json!({ "type": "cubbyhole", "local": true }));
    has(&listed["sys/"], json!({ "type": "system" }));
    ok!(mount::disable(root, "bare"), mount::disable(root, "bare"));
    no!(400; mount::get_configuration_of_a_secret_engine(root, "bare"), mount::disable(root, "sys"));
}

async fn moves(root: &VaultClient) {
    ok!(kv1::set(root, "team a/plain", "a", &HashMap::from([("n", 1)])));
    let migration = ok!(remount::remount(root, "team a/plain", "moved")).migration_id;
    let mut state = ok!(remount::remount_status(root, &migration));
    for _ in 0..100 {
        if state.migration_info.status != "in-progress" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        state = ok!(remount::remount_status(root, &migration));
    }
    assert_eq!((state.migration_id, &*state.migration_info.status), (migration, "success"));
    assert_eq!(state.migration_info.source_mount.trim_matches('/'), "team a/plain");
    assert_eq!(state.migration_info.target_mount.trim_matches('/'), "moved");
    has(&ok!(kv1::get::<Value>(root, "moved", "a")), json!({ "n": 1 }));
    no!(404 "no handler for route"; kv1::get::<Value>(root, "team a/plain", "a");
        404; remount::remount_status(root, "nothing"); 400; remount::remount(root, "nowhere", "x"),
        remount::remount(root, "moved", "secret"), remount::remount(root, "moved", "sys/x"));
    ok!(mount::disable(root, "moved"));
    no!(404; kv1::get::<Value>(root, "moved", "a"));
}

async fn methods(root: &VaultClient) {
    let lifetime = Some("30m".to_owned());
    let config = EnableAuthDataConfig { default_lease_ttl: lifetime, ..EnableAuthDataConfig::default() };
    let mut opts = EnableAuthRequest::builder();
    ok!(auth::enable(root, "team/apps", "approle", Some(opts.description("robots").config(config))));
    no!(400 "path is already in use"; auth::enable(root, "team/apps", "approle", None);
        400; auth::enable(root, "x", "nothing", None));
    let listed = ok!(auth::list(root));
    has(&listed["team/apps/"], json!({ "type": "approle", "description": "robots", "local": false }));
    has(&listed["team/apps/"].config, json!({ "default_lease_ttl": 1800, "token_type": "default-service" }));
    has(&listed["token/"], json!({ "type": "token" }));
    ok!(auth::disable(root, "team/apps"), auth::disable(root, "team/apps"));
    no!(400; auth::disable(root, "token"); 404; approle::role::list(root, "team/apps"));
}

async fn version_1(root: &VaultClient) {
    let one = map(&[("version", "1")]);
    ok!(mount::enable(root, "kv1", "kv", Some(EnableEngineRequest::builder().options(one))));
    let secret = HashMap::from([("n", json!(1)), ("ü", json!("🔑")), ("deep", json!({ "x": [null, true] }))]);
    ok!(kv1::set(root, "kv1", "a/b c?#%", &secret));
    assert_eq!(ok!(kv1::get::<Value>(root, "kv1", "a/b c?#%")), json!(secret));
    ok!(kv1::set(root, "kv1", "a/b c?#%", &HashMap::from([("ttl", "30s")])));
    let raw = ok!(kv1::get_raw(root, "kv1", "a/b c?#%"));
    has(&raw, json!({ "data": { "ttl": "30s" }, "lease_duration": 30, "lease_id": "", "auth": null }));
    ok!(kv1::set(root, "kv1", "z", &HashMap::from([("n", 1)])));
    has(&ok!(kv1::get_raw(root, "kv1", "z")), json!({ "lease_duration": 2_764_800, "renewable": false }));
    assert_eq!(ok!(kv1::list(root, "kv1", "")).data.keys, ["a/", "z"]);
    assert_eq!(ok!(kv1::list(root, "kv1", "a")).data.keys, ["b c?#%"]);
    ok!(kv1::delete(root, "kv1", "z"), kv1::delete(root, "kv1", "z"));
    no!(400 "missing data fields"; kv1::set(root, "kv1", "z", &HashMap::<&str, u8>::new());
        404; kv1::get::<Value>(root, "kv1", "z"), kv1::get_raw(root, "kv1", "z"), kv1::list(root, "kv1", "z"));
    ok!(mount::disable(root, "kv1"));
}

async fn cubbyholes(root: &VaultClient) {
    let (one, other) = (&holder(root, "default").await, &holder(root, "default").await);
    ok!(cubbyhole::set(one, "cubbyhole", "a/b", &HashMap::from([("n", 1)])));
    assert_eq!(ok!(cubbyhole::get::<Value>(one, "cubbyhole", "a/b")), json!({ "n": 1 }));
    let raw = ok!(cubbyhole::get_raw(one, "cubbyhole", "a/b"));
    has(&raw, json!({ "data": { "n": 1 }, "lease_duration": 0, "renewable": false }));
    assert_eq!(ok!(cubbyhole::list(one, "cubbyhole", "a")).data.keys, ["b"]);
    no!(404; cubbyhole::get::<Value>(other, "cubbyhole", "a/b"), cubbyhole::list(other, "cubbyhole", ""));
    ok!(cubbyhole::delete(one, "cubbyhole", "a/b"));
    no!(404; cubbyhole::get::<Value>(one, "cubbyhole", "a/b"));
}

async fn version_2(root: &VaultClient) {
    let secret = json!({ "n": 1, "ü": "🔑", "deep": { "x": [null, true] } });
    let made = ok!(kv2::set(root, "secret", "x/y ü?#%", &secret));
    has(&made, json!({ "version": 1, "destroyed": false, "deletion_time": "", "custom_metadata": null }));
    assert_eq!(ok!(read(root, "x/y ü?#%")), secret);
    assert_eq!(ok!(kv2::list(root, "secret", "x")), ["y ü?#%"]);
    assert!(ok!(kv2::list(root, "secret", "")).contains(&"x/".to_owned()));
    no!(404; read(root, "none"), kv2::read_version::<Value>(root, "secret", "x/y ü?#%", 2),
        kv2::list(root, "secret", "none"); 400; kv2::set(root, "secret", "x/y ü?#%", &json!(1)));
    ok!(kv2::delete_metadata(root, "secret", "x/y ü?#%"));
    // Check and set.
    let set = async |cas| {
        kv2::set_with_options(root, "secret", "cas", &json!({}), SetSecretRequestOptions { cas }).await
    };
    assert_eq!(ok!(set(0)).version, 1);
    no!(400 "check-and-set parameter did not match the current version"; set(0), set(2));
    assert_eq!(ok!(set(1)).version, 2);
    ok!(kv2::delete_metadata(root, "secret", "cas"));
}

/// What the mount says of all of its secrets.
async fn configurations(root: &VaultClient) {
    let opts = kv2_requests::SetConfigurationRequest::builder;
    let set = async |opts: &mut _| kv2::config::set(root, "secret", Some(opts)).await;
    let plain = json!({ "cas_required": false, "max_versions": 0, "delete_version_after": "0s" });
    has(&ok!(kv2::config::read(root, "secret")), plain);
    ok!(set(opts().cas_required(true).max_versions(3_u64).delete_version_after("1h30m")));
    let strict = json!({ "cas_required": true, "max_versions": 3, "delete_version_after": "1h30m0s" });
    has(&ok!(kv2::config::read(root, "secret")), strict);
    no!(400 "check-and-set parameter required"; kv2::set(root, "secret", "c", &json!({})));
    let first = SetSecretRequestOptions { cas: 0 };
    let made = ok!(kv2::set_with_options(root, "secret", "c", &json!({}), first));
    assert!(!made.deletion_time.is_empty(), "{made:?}");
    // Fields that the request does not name stay unchanged.
    ok!(set(opts().cas_required(false)), kv2::config::set(root, "secret", None));
    let loose = json!({ "cas_required": false, "max_versions": 3, "delete_version_after": "1h30m0s" });
    has(&ok!(kv2::config::read(root, "secret")), loose);
    no!(400; set(opts().delete_version_after("soon")));
    ok!(
        set(opts().max_versions(0_u64).delete_version_after("0s")),
        kv2::delete_metadata(root, "secret", "c")
    );
}

async fn versions(root: &VaultClient) {
    for n in 1..=4 {
        assert_eq!(ok!(kv2::set(root, "secret", "v", &json!({ "n": n }))).version, n);
    }
    let version = async |version| kv2::read_version::<Value>(root, "secret", "v", version).await;
    assert_eq!((ok!(version(2)), ok!(version(0))), (json!({ "n": 2 }), json!({ "n": 4 })));
    ok!(kv2::delete_latest(root, "secret", "v"), kv2::delete_versions(root, "secret", "v", vec![1, 2, 99]));
    // A deleted version is told of in the body of the 404.
    let body: Value = serde_json::from_str(&refused("read", read(root, "v").await).1).expect("a JSON body");
    assert!(body["data"]["data"].is_null() && body["data"]["metadata"]["version"] == 4, "{body}");
    assert!(body["data"]["metadata"]["deletion_time"].as_str().is_some_and(|time| time.ends_with('Z')));
    no!(404; read(root, "v"); 404 "\"destroyed\":false"; version(1));
    ok!(kv2::undelete_versions(root, "secret", "v", vec![1, 4]));
    assert_eq!((ok!(version(1)), ok!(read(root, "v"))), (json!({ "n": 1 }), json!({ "n": 4 })));
    ok!(kv2::destroy_versions(root, "secret", "v", vec![2, 3]));
    ok!(kv2::undelete_versions(root, "secret", "v", vec![2, 3]));
    no!(404 "\"destroyed\":true"; version(3); 400; kv2::delete_versions(root, "secret", "v", Vec::new()),
        kv2::undelete_versions(root, "secret", "v", vec![]), kv2::destroy_versions(root, "secret", "v", vec![]));
    let told = ok!(kv2::read_metadata(root, "secret", "v"));
    assert_eq!((told.current_version, told.versions.len(), told.versions["2"].destroyed), (4, 4, true));
    has(&told.versions["4"], json!({ "destroyed": false, "deletion_time": "" }));
    assert_eq!(told.oldest_version, 0);
    ok!(kv2::delete_metadata(root, "secret", "v"), kv2::delete_latest(root, "secret", "v"));
    no!(404; read(root, "v"), kv2::read_metadata(root, "secret", "v"));
    ok!(kv2::delete_metadata(root, "secret", "v"));
}

async fn metadata(root: &VaultClient) {
    let opts = kv2_requests::SetSecretMetadataRequest::builder;
    let set = async |opts: &mut _| kv2::set_metadata(root, "secret", "m", Some(opts)).await;
    let custom = map(&[("ü", "🔑")]);
    ok!(set(opts()
        .max_versions(2_u64)
        .cas_required(true)
        .delete_version_after("30m")
        .custom_metadata(custom)));
    let rules = json!({
        "max_versions": 2, "cas_required": true, "delete_version_after": "30m0s", "custom_metadata": { "ü": "🔑" },
    });
    has(&ok!(kv2::read_metadata(root, "secret", "m")), rules.clone());
    has(&ok!(kv2::read_metadata(root, "secret", "m")), json!({ "current_version": 0, "versions": {} }));
    no!(400 "check-and-set parameter required"; kv2::set(root, "secret", "m", &json!({})));
    for cas in 0..3 {
        let options = SetSecretRequestOptions { cas };
        let made = ok!(kv2::set_with_options(root, "secret", "m", &json!({}), options));
        assert!(
            made.custom_metadata == Some(map(&[("ü", "🔑")])) && !made.deletion_time.is_empty(),
            "{made:?}"
        );
    }
    no!(404; kv2::read_version::<Value>(root, "secret", "m", 1); 400; set(opts().delete_version_after("soon")),
        set(opts().custom_metadata(map(&[(&"k".repeat(129), "v")]))));
    ok!(kv2::set_metadata(root, "secret", "m", None));
    let told = ok!(kv2::read_metadata(root, "secret", "m"));
    has(&told, rules);
    assert_eq!((told.current_version, told.oldest_version, told.versions.len()), (3, 2, 2));
    ok!(kv2::delete_metadata(root, "secret", "m"));
}
