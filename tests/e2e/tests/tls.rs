//! TLS: protected listeners, changed certificates, clients' certificates, versions, HTTP/2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use keyway_e2e::{
    Site, config,
    tls::{Authority, write_self_signed},
    within,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa};
use serde_json::json;

/// A site with a certificate of the authority.
fn protected(authority: &Authority) -> Site {
    let site = Site::new("sqlite");
    authority.write_server(&site.path(""));
    site.trust(&authority.write(&site.path("")));
    site.configure(&format!(
        "{}\n[tls]\ncert_file = \"server.pem\"\nkey_file = \"server.key\"\n",
        config("sqlite")
    ));
    site
}

#[test]
fn server_with_tls_serves_api_and_command_line_and_refuses_plaintext() {
    let authority = Authority::new();
    let site = protected(&authority);
    let server = site.start();
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let keys = server.init_and_unseal();
    let put = server.cli(&site, &keys.root_token, &["kv", "put", "secret/a", "b=c"]);
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    assert_eq!(server.get("secret/data/a", &keys.root_token).json()["data"]["data"], json!({ "b": "c" }));

    let stranger = site.run(&["status", "--address", &server.address]);
    let text = String::from_utf8_lossy(&stranger.stderr);
    assert!(stranger.status.code() == Some(6) && text.contains("--ca-cert"), "{text}");
    let clear = site.run(&["status", "--address", &server.address.replace("https", "http")]);
    assert_eq!(clear.status.code(), Some(6));
    // Nothing of that has hurt it.
    assert_eq!(server.get("sys/health", "").status, 200);
}

#[test]
fn changed_certificate_is_taken_and_a_broken_one_is_not() {
    let first = Authority::new();
    let site = protected(&first);
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 501);

    fs::write(site.path("server.pem"), "-----BEGIN CERTIFICATE-----\nrubbish\n").unwrap();
    within(Duration::from_secs(30), || site.log_text().contains("the former one stays"));
    assert_eq!(server.get("sys/health", "").status, 501, "the former certificate");

    let second = Authority::new();
    second.write_server(&site.path(""));
    site.trust(&second.write(&site.path("")));
    within(Duration::from_secs(30), || site.log_text().contains("the certificate was read again"));
    within(Duration::from_secs(30), || server.try_get("sys/health").is_ok_and(|answer| answer.status == 501));
}

#[test]
fn certificate_that_cannot_be_used_keeps_the_server_from_starting_and_says_why() {
    let authority = Authority::new();
    let site = protected(&authority);
    let config = site.config();
    let start = || {
        let output = site.run(&["server", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    fs::rename(site.path("server.key"), site.path("other.key")).unwrap();
    assert!(start().contains("server.key"));
    authority.write_server(&site.path("data"));
    fs::copy(site.path("data/server.key"), site.path("server.key")).unwrap();
    let text = start();
    assert!(text.contains("server.pem with the key"), "{text}");
    fs::write(site.path("server.pem"), "").unwrap();
    assert!(start().contains("there is no certificate in it"));
}

#[test]
fn old_versions_are_refused_and_http_2_is_spoken() {
    let authority = Authority::new();
    let site = protected(&authority);
    let server = site.start();
    let url = format!("{}/v1/sys/seal-status", server.address);
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"]);
        command.arg(site.path("ca.pem")).args(arguments).arg(&url).stdin(Stdio::null());
        command.output()
    };
    let Some(http2) = keyway_e2e::needed("curl", curl(&["--http2"])) else { return };
    assert_eq!(String::from_utf8_lossy(&http2.stdout), "2 200", "{}", String::from_utf8_lossy(&http2.stderr));
    let http1 = curl(&["--http1.1"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&http1.stdout), "1.1 200");
    let tls12 = curl(&["--tls-max", "1.2"]).unwrap();
    assert!(tls12.status.success(), "{}", String::from_utf8_lossy(&tls12.stderr));
    // Security level 0 lets the client offer obsolete versions.
    let tls11 = curl(&["--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT@SECLEVEL=0"]).unwrap();
    let said = String::from_utf8_lossy(&tls11.stderr);
    assert!(!tls11.status.success() && said.contains("alert"), "{said}");
}

/// A site that asks its clients for certificates of another authority.
fn asking(word: &str) -> (Site, Authority) {
    let (authority, clients) = (Authority::new(), Authority::new());
    let site = protected(&authority);
    fs::create_dir_all(site.path("client")).unwrap();
    fs::copy(clients.write(&site.path("client")), site.path("clients.pem")).unwrap();
    clients.write_client(&site.path("client"), "spiffe://example.org/app");
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&format!("{text}client_ca_file = \"clients.pem\"\n{word}"));
    (site, clients)
}

fn status(site: &Site, address: &str, more: &[&str]) -> (Option<i32>, String) {
    let ca = site.path("ca.pem");
    let mut arguments = vec!["status", "--address", address, "--ca-cert", ca.to_str().unwrap()];
    arguments.extend(more);
    let output = site.run(&arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn clients_show_certificates_of_their_authority_where_they_are_asked_to() {
    let (site, clients) = asking("");
    let server = site.start();
    assert!(server.try_get("sys/health").is_err(), "no certificate, no answer");
    let (certificate, key) = (site.path("client/client.pem"), site.path("client/client.key"));
    let shown = ["--client-cert", certificate.to_str().unwrap(), "--client-key", key.to_str().unwrap()];
    let (code, said) = status(&site, &server.address, &shown);
    assert_eq!(code, Some(3), "it is answered that there is no cluster: {said}");
    let (code, said) = status(&site, &server.address, &[]);
    assert_eq!(code, Some(6), "{said}");
    assert_eq!(status(&site, &server.address, &shown[..2]).0, Some(2));
    // Another authority's certificate of the same name.
    Authority::new().write_client(&site.path("client"), "spiffe://example.org/app");
    let (code, said) = status(&site, &server.address, &shown);
    assert_eq!(code, Some(6), "{said}");
    clients.write_client(&site.path("client"), "spiffe://example.org/other");
    assert_eq!(status(&site, &server.address, &shown).0, Some(3));
    // The authority is replaced while the server runs: its certificates are no longer taken.
    fs::copy(Authority::new().write(&site.path("client")), site.path("clients.pem")).unwrap();
    within(Duration::from_secs(30), || site.log_text().contains("the certificate was read again"));
    assert_eq!(status(&site, &server.address, &shown).0, Some(6));
}

#[test]
fn certificate_is_optional_where_the_configuration_says_so_and_a_strangers_is_refused() {
    let (site, _clients) = asking("client_auth = \"optional\"\n");
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 501);
    let (certificate, key) = (site.path("client/client.pem"), site.path("client/client.key"));
    let shown = ["--client-cert", certificate.to_str().unwrap(), "--client-key", key.to_str().unwrap()];
    assert_eq!(status(&site, &server.address, &shown).0, Some(3));
    Authority::new().write_client(&site.path("client"), "spiffe://example.org/app");
    assert_eq!(status(&site, &server.address, &shown).0, Some(6));
}

/// A server whose certificate is its own authority, as `openssl req -x509` makes it: an authority's, or a
/// plain one.
#[test]
fn self_signed_certificate_is_taken_as_its_own_authority_and_only_for_what_it_says() {
    let site = protected(&Authority::new());
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = site.path("server.pem");
    let trusting = ["--ca-cert", certificate.to_str().unwrap()];
    let (here, local) = (["localhost", "127.0.0.1"], ["localhost"]);
    let expired = |params: &mut CertificateParams| {
        authority(params);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let ask = |more: &[&str]| {
        let server = site.start();
        let output = site.run(&[&["status", "--address", &server.address], more].concat());
        assert!(server.terminate());
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    write_self_signed(&site.path(""), &here, authority);
    let (code, said) = ask(&trusting);
    assert_eq!(code, 3, "it is answered that there is no cluster: {said}");
    // Without being named it is a stranger's.
    let (code, said) = ask(&[]);
    assert!(code == 6 && said.contains("--ca-cert") && !said.contains("running?"), "{said}");
    write_self_signed(&site.path(""), &here, |_| {});
    assert_eq!(ask(&trusting).0, 3);
    // Another's of the same name.
    let other = site.path("other.pem");
    fs::copy(&certificate, &other).unwrap();
    write_self_signed(&site.path(""), &here, authority);
    let (code, said) = ask(&["--ca-cert", other.to_str().unwrap()]);
    assert!(code == 6 && said.contains("other.pem") && !said.contains("running?"), "{said}");
    write_self_signed(&site.path(""), &here, expired);
    let (code, said) = ask(&trusting);
    assert!(code == 6 && said.contains("expired"), "{said}");
    for kind in [authority as fn(&mut CertificateParams), |_| {}] {
        write_self_signed(&site.path(""), &local, kind);
        let (code, said) = ask(&trusting);
        assert!(
            code == 6 && said.contains("but for localhost; ") && said.contains("--tls-server-name"),
            "{said}"
        );
        assert_eq!(ask(&[&trusting[..], &["--tls-server-name", "localhost"]].concat()).0, 3);
        write_self_signed(&site.path(""), &[], kind);
        let (code, said) = ask(&trusting);
        assert!(code == 6 && said.contains("subjectAltName=IP:127.0.0.1"), "{said}");
    }
    // A certificate that an authority signed may be named itself, too, as curl takes it.
    let authority = Authority::new();
    authority.write_server(&site.path(""));
    assert_eq!(ask(&trusting).0, 3);
    let bytes =
        format!("KEYWAY_CACERT_BYTES={}", fs::read_to_string(authority.write(&site.path(""))).unwrap());
    let server = site.start();
    let status = ["status", "--address", &server.address];
    assert_eq!(site.run_under(&["env", &bytes], &status).status.code(), Some(3));
    let directory = format!("VAULT_CAPATH={}", site.path("").display());
    assert_eq!(site.run_under(&["env", &directory], &status).status.code(), Some(3));
}

#[test]
fn wrong_scheme_is_named_in_both_directions() {
    let site = protected(&Authority::new());
    let server = site.start();
    let clear = site.run(&["status", "--address", &server.address.replace("https", "http")]);
    let said = String::from_utf8_lossy(&clear.stderr);
    assert!(
        clear.status.code() == Some(6) && said.contains("https://") && !said.contains("running?"),
        "{said}"
    );
    site.configure(&config("sqlite"));
    let server = site.start();
    let protected = site.run(&["status", "--address", &server.address.replace("http", "https")]);
    let said = String::from_utf8_lossy(&protected.stderr);
    assert!(
        protected.status.code() == Some(6) && said.contains("http://") && !said.contains("running?"),
        "{said}"
    );
}
