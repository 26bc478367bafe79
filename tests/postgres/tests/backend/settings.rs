//! Settings: where the server is, how it is verified, who may make the schema.

use super::*;

#[test]
fn tls_is_verified_and_passwords_are_checked() {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &authority).unwrap();
    let tls = Some((certificate.pem(), key.serialize_pem()));
    let tls = tls.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
    let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n\
               hostnossl all plain 127.0.0.1/32 scram-sha-256\n";
    let Some(server) = needed(&Options { tls, hba: Some(hba), ..Options::default() }) else { return };
    server
        .sql("CREATE ROLE app LOGIN PASSWORD 'open sesame'; GRANT CREATE ON DATABASE postgres TO app")
        .unwrap();
    server.sql("CREATE ROLE plain LOGIN PASSWORD 'open sesame'").unwrap();
    // Without TLS there is no channel to bind to.
    let plain =
        format!("postgres://plain:open%20sesame@localhost:{}/postgres?sslmode=disable", server.port());
    let directory = server.socket();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    let other = CertifiedIssuer::self_signed(
        CertificateParams::new(Vec::new()).unwrap(),
        KeyPair::generate().unwrap(),
    );
    fs::write(directory.join("other.pem"), other.unwrap().pem()).unwrap();
    let url = |host: &str, password: &str, options: &str| json!({ "url": format!("postgres://app:{password}@{host}:{}/postgres?{options}", server.port()) });
    let store =
        try_open(url("localhost", "open%20sesame", "sslmode=verify-full&sslrootcert=ca.pem"), directory)
            .unwrap();
    put(&store, b"k", b"v").unwrap();
    let bound = url("localhost", "open%20sesame", "sslrootcert=ca.pem&channel_binding=require");
    assert_eq!(value(&try_open(bound, directory).unwrap(), b"k").unwrap(), Some(b"v".to_vec()));
    // The checks of TLS that apply without any setting.
    let refused = |config: Value| try_open(config, directory).map(|_| ()).unwrap_err();
    for (config, says) in [
        (url("localhost", "open%20sesame", "sslrootcert=other.pem"), "certificate"),
        (url("127.0.0.1", "open%20sesame", "sslrootcert=ca.pem"), "not valid for name"),
        (url("localhost", "open%20sesame", "sslmode=require"), "verify-full or disable"),
        (url("localhost", "open%20sesame", "sslmode=disable"), "no encryption"),
        (json!({ "url": format!("{plain}&channel_binding=require") }), "channel binding"),
        (url("localhost", "wrong%20sesame", "sslrootcert=ca.pem"), "password authentication failed"),
        (url("localhost", "open%20sesame", "sslrootcert=none.pem"), "none.pem"),
    ] {
        let text = refused(config);
        assert!(text.contains(says) && !text.contains("sesame"), "{says}: {text}");
    }
    // TLS 1.3 or 1.2.
    let used = server.sql(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'app'",
    );
    assert_ne!(used.unwrap(), "0");
}

#[test]
fn url_file_readable_by_others_is_refused() {
    let Some(server) = needed(&Options::default()) else { return };
    let file = server.socket().join("url");
    fs::write(&file, format!("{}\n", server.url())).unwrap();
    let config = json!({ "url_file": "url" });
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let text = try_open(config.clone(), server.socket()).map(|_| ()).unwrap_err();
    assert!(text.contains("chmod 600"), "{text}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    put(&try_open(config, server.socket()).unwrap(), b"k", b"v").unwrap();
    for config in
        [json!({}), json!({ "url": server.url(), "url_file": "url" }), json!({ "url_env": "KEYWAY_UNSET" })]
    {
        assert!(try_open(config, server.socket()).is_err());
    }
}

#[test]
fn schema_is_made_once_by_many_and_anothers_is_left_alone() {
    let Some(server) = needed(&Options::default()) else { return };
    thread::scope(|scope| {
        let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| drop(open(&server)))).collect();
        openers.into_iter().for_each(|opener| opener.join().unwrap());
    });
    assert_eq!(server.sql("SELECT value FROM keyway.meta WHERE name = 'data_format'").unwrap(), "1");
    server.sql("CREATE SCHEMA theirs; CREATE TABLE theirs.records (id int)").unwrap();
    let text = try_open(json!({ "url": server.url(), "schema": "theirs" }), server.socket())
        .map(|_| ())
        .unwrap_err();
    assert!(text.contains("not Keyway's"), "{text}");
    server.sql("UPDATE keyway.meta SET value = 2 WHERE name = 'data_format'").unwrap();
    let text = try_open(json!({ "url": server.url() }), server.socket()).map(|_| ()).unwrap_err();
    assert!(text.contains("data format 2") && text.contains("use a newer one"), "{text}");
}

/// The README's way for an administrator: another role owns the schema, and this role only uses it.
#[test]
fn role_that_may_not_create_uses_what_an_administrator_has_made() {
    let Some(server) = needed(&Options::default()) else { return };
    server.sql("CREATE ROLE app LOGIN").unwrap();
    let config = json!({ "url": server.url_as("app") });
    let text = try_open(config.clone(), server.socket()).map(|_| ()).unwrap_err();
    assert!(text.contains("permission denied") && text.contains("README"), "{text}");
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/postgres/");
    server.sql(&fs::read_to_string(format!("{plugin}src/sql/schema.sql")).unwrap()).unwrap();
    let readme = fs::read_to_string(format!("{plugin}README.md")).unwrap();
    let grants: Vec<&str> = readme.lines().filter(|line| line.starts_with("GRANT ")).collect();
    assert_eq!(grants.len(), 4, "{grants:?}");
    for grant in grants {
        server.sql(&grant.replace("keyway_app", "app")).unwrap();
    }
    let store = try_open(config, server.socket()).unwrap();
    put(&store, b"k", b"v").unwrap();
    let health = block_on(store.health(&call())).unwrap();
    assert!(health.is_ready(), "{}", health.detail());
    assert!(server.sql("SET ROLE app; CREATE TABLE keyway.mine (id int)").is_err());
    let restore = block_on(store.restore(&call(), keyway_loader::RestoreMode::REPLACE)).unwrap();
    block_on(restore.write(&call(), &[keyway_loader::RestoreRecord::new(Key::new("test", b"r"), b"v", 0)]))
        .unwrap();
    assert_eq!(block_on(restore.finish(&call(), WriteId::new([7; 16]))).unwrap(), 1);
    assert_eq!((value(&store, b"k").unwrap(), value(&store, b"r").unwrap()), (None, Some(b"v".to_vec())));
}
