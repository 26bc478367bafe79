//! Tokens, policies, auth methods, keys and their ceremonies on the command line.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use keyway_e2e::{Server, Site, config, within};
use serde_json::Value;

struct Shell<'a> {
    site: &'a Site,
    server: &'a Server,
}

impl Shell<'_> {
    /// What a command prints, with this token in the environment; it must succeed.
    fn with(&self, token: &str, arguments: &[&str], input: &str) -> String {
        let output = self.server.cli_with_input(self.site, token, arguments, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.with("", arguments, "")
    }

    fn json(&self, arguments: &[&str], input: &str) -> Value {
        let arguments = [&["--format", "json"], arguments].concat();
        serde_json::from_str(&self.with("", &arguments, input)).unwrap()
    }

    /// The exit code and the error of a command.
    fn fails(&self, token: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.server.cli_with_input(self.site, token, arguments, "");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn administrator_gives_an_application_its_own_token_and_takes_it_back() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let shell = Shell { site: &site, server: &server };
    let (code, said) = shell.fails("", &["kv", "get", "secret/app"]);
    assert!(code == 5 && said.contains("keyway login"), "{said}");
    let (code, said) = shell.fails("", &["login"]);
    assert!(code == 2 && said.contains("no token was given"), "{said}");
    let said = shell.with("", &["login"], &format!("{}\n", keys.root_token));
    assert!(said.contains("policies root") && !said.contains(&keys.root_token), "{said}");
    let kept = site.path("home/keyway/tokens.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    shell.run(&["kv", "put", "secret/app", "user=x"]);

    fs::write(site.path("app.hcl"), "path \"secret/data/app\" {\n  capabilities = [\"read\"]\n}\n").unwrap();
    shell.run(&["policy", "write", "app", "app.hcl"]);
    assert!(shell.run(&["policy", "read", "app"]).contains("capabilities = [\"read\"]"));
    assert!(shell.run(&["policy", "list"]).lines().any(|name| name == "app"));
    fs::write(site.path("bad.hcl"), "path \"x\" { capabilities = [\"fly\"] }").unwrap();
    let (code, said) = shell.fails(&keys.root_token, &["policy", "write", "bad", "bad.hcl"]);
    assert!(code == 5 && said.contains("fly"), "{said}");

    let made = shell.json(&["token", "create", "--policy", "app", "--ttl", "1h", "--meta", "who=app"], "");
    let (token, accessor) = (text(made.pointer("/token").unwrap()), text(made.pointer("/accessor").unwrap()));
    let alone = shell.run(&["token", "create", "--policy", "app", "--uses", "1", "--only-token"]);
    assert!(alone.starts_with("kw.") && !alone.contains(char::is_whitespace), "{alone:?}");
    assert!(shell.with(token, &["kv", "get", "secret/app"], "").contains('x'));
    assert_eq!(shell.fails(token, &["kv", "put", "secret/app", "user=y"]).0, 5);
    let may = shell.with(token, &["token", "capabilities", "secret/data/app", "sys/policy"], "");
    assert!(may.contains("read") && may.contains("deny"), "{may}");
    let found = shell.json(&["token", "lookup", "--ask"], &format!("{token}\n"));
    assert_eq!((text(&found["accessor"]), text(&found["meta"]["who"])), (accessor, "app"));
    assert!(shell.with(token, &["token", "lookup"], "").contains(accessor));
    assert!(shell.with(token, &["token", "renew", "--increment", "30m"], "").contains("1800"));
    assert!(shell.run(&["token", "accessors"]).contains(accessor));
    shell.run(&["token", "revoke", "--accessor", accessor]);
    assert_eq!(shell.fails(token, &["token", "lookup"]).0, 5);
    assert_eq!(shell.fails(&keys.root_token, &["token", "revoke"]).0, 2);
    shell.run(&["policy", "delete", "app"]);

    shell.run(&["auth", "enable", "approle", "--path", "machines", "--description", "for machines"]);
    assert!(shell.run(&["auth", "list"]).contains("machines/"));
    shell.run(&["auth", "tune", "machines", "--default-ttl", "10m"]);
    assert_eq!(server.post("auth/machines/role/r", &keys.root_token, &serde_json::json!({})).status, 204);
    let role = server.get("auth/machines/role/r/role-id", &keys.root_token).json();
    let role = text(role.pointer("/data/role_id").unwrap()).to_owned();
    let made = server.post("auth/machines/role/r/secret-id", &keys.root_token, &serde_json::json!({})).json();
    let secret = text(made.pointer("/data/secret_id").unwrap()).to_owned();
    let by_role = ["login", "--method", "approle", "--path", "machines", "--role-id", &role, "--print"];
    let printed = shell.with("", &by_role, &format!("{secret}\n"));
    let lookup = shell.with(printed.trim(), &["token", "lookup"], "");
    assert!(lookup.contains("600") && lookup.contains("default"), "{lookup}");
    assert_eq!(shell.fails(&keys.root_token, &["auth", "disable", "machines", "--confirm", "other"]).0, 2);
    shell.run(&["auth", "disable", "machines", "--confirm", "machines"]);

    // A file that others can read is not believed, and the token goes with logout.
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = shell.fails("", &["token", "lookup"]);
    assert!(code == 5 && said.contains("chmod 600"), "{said}");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
    // For another address it is not shown.
    let elsewhere = server.address.replace("127.0.0.1", "localhost");
    assert_eq!(shell.fails("", &["token", "lookup", "--address", &elsewhere]).0, 5);
    assert!(shell.run(&["logout"]).contains("forgotten"));
    assert_eq!(shell.fails("", &["token", "lookup"]).0, 5);
    assert!(shell.run(&["logout"]).contains("No token was kept"));
}

#[test]
fn holders_of_the_shares_rekey_and_make_a_root_token() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init(3, 2);
    for share in keys.shares.iter().take(2) {
        server.unseal(share);
    }
    let shell = Shell { site: &site, server: &server };
    // Without a token, the configuration must allow it.
    let (code, said) = shell.fails("", &["rekey", "status"]);
    assert!(code == 5 && said.contains("keyway login"), "{said}");
    shell.with("", &["login"], &format!("{}\n", keys.root_token));
    assert!(shell.run(&["rekey", "status"]).contains("No rekey is under way"));
    assert!(
        shell.run(&["rekey", "init", "--shares", "2", "--threshold", "2"]).contains("keyway rekey update")
    );
    let share = |n: usize| format!("{}\n", keys.shares.get(n).unwrap());
    assert!(shell.with("", &["rekey", "update"], &share(0)).contains("1/2"));
    let made = shell.json(&["rekey", "update"], &share(1));
    let new: Vec<String> =
        made.pointer("/keys").unwrap().as_array().unwrap().iter().map(|key| text(key).to_owned()).collect();
    assert_eq!(new.len(), 2);
    assert!(shell.with("", &["rekey", "verify"], &format!("{}\n", new.first().unwrap())).contains("1 of 2"));
    let done = shell.with("", &["rekey", "verify"], &format!("{}\n", new.get(1).unwrap()));
    assert!(done.contains("the former ones are dead"), "{done}");

    let begun = shell.json(&["operator", "generate-root", "init"], "");
    let otp = text(begun.pointer("/otp").unwrap()).to_owned();
    assert!(shell.run(&["operator", "generate-root", "status"]).contains("0/2"));
    shell.with("", &["operator", "generate-root", "update"], &format!("{}\n", new.first().unwrap()));
    let hidden = shell.json(&["operator", "generate-root", "update"], &format!("{}\n", new.get(1).unwrap()));
    let hidden = text(hidden.pointer("/encoded_token").unwrap()).to_owned();
    let root = shell.with("", &["operator", "generate-root", "decode", &hidden], &format!("{otp}\n"));
    assert!(shell.with(root.trim(), &["token", "lookup"], "").contains("root"));
    let (code, said) = shell.fails("", &["operator", "generate-root", "decode", "AAAA", "--otp", "x"]);
    assert!(code == 2 && said.contains("different lengths"), "{said}");
    shell.run(&["operator", "generate-root", "init"]);
    assert!(shell.with(root.trim(), &["operator", "generate-root", "cancel"], "").contains("Given up"));
    shell.run(&["rekey", "init", "--shares", "1", "--threshold", "1"]);
    shell.run(&["rekey", "cancel"]);
}

#[test]
fn keys_are_rotated_old_records_sealed_anew_and_a_password_set() {
    let site = Site::new("sqlite");
    site.configure(&format!("{}\n[seal]\npassword = true\n", config("sqlite")));
    let server = site.start();
    let keys = server.init_and_unseal();
    let shell = Shell { site: &site, server: &server };
    let root = keys.root_token.as_str();
    for n in 0..20 {
        shell.with(root, &["kv", "put", &format!("secret/s{n}"), "a=b"], "");
    }
    assert!(shell.with(root, &["rotate", "status"], "").contains("none"));
    shell.with(root, &["rotate"], "");
    shell.with(root, &["rotate", "reencrypt"], "");
    within(Duration::from_secs(60), || shell.with(root, &["rotate", "status"], "").contains("done"));
    let status = shell.with(root, &["--format", "json", "rotate", "status"], "");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status.pointer("/key/term").unwrap(), 2);
    assert!(status.pointer("/reencryption/sealed").unwrap().as_u64().unwrap() >= 20, "{status}");
    assert_eq!(status.pointer("/reencryption/failed").unwrap(), 0);
    assert!(shell.with(root, &["kv", "get", "secret/s7"], "").contains('b'));
    shell.with(root, &["rotate", "cancel"], "");

    assert!(shell.with(root, &["password", "status"], "").contains("No password"));
    shell.with(root, &["password", "set"], "correct horse battery\n");
    assert!(shell.with(root, &["password", "status"], "").contains("since"));
    shell.with(root, &["seal"], "");
    shell.with("", &["unseal", "--password"], "correct horse battery\n");
    shell.with(root, &["password", "remove"], "");
}

#[test]
fn settings_of_other_clients_are_honoured_or_refused_and_never_ignored() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let root = &keys.root_token;
    let put = server.cli(&site, root, &["kv", "put", "secret/a", "x=y"]);
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    let get = ["kv", "get", "secret/a", "--field", "x"];
    let with = |variables: &[&str], arguments: &[&str]| {
        let output = site.run_under(&[&["env"], variables].concat(), arguments);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let address = format!("KEYWAY_ADDR={}", server.address);
    let token = format!("KEYWAY_TOKEN={root}");
    for name in
        ["NAMESPACE=team", "NAMESPACE=root/team", "SKIP_VERIFY=1", "SKIP_VERIFY=x", "WRAP_TTL=60", "MFA=a:1"]
            .into_iter()
            .chain([
                "HEADERS=a:b",
                "SRV_LOOKUP=true",
                "AGENT_ADDR=http://127.0.0.1:1",
                "HTTP_PROXY=http://127.0.0.1:1",
            ])
            .chain(["PROXY_ADDR=http://127.0.0.1:1", "RATE_LIMIT=1", "MAX_RETRIES=2", "DETAILED=true"])
            .chain(["TOKEN_PATH=/none", "FORMAT=yaml", "CLIENT_TIMEOUT=x", "CAPATH=/none", "CACERT_BYTES=x"])
    {
        for prefix in ["VAULT", "BAO", "KEYWAY"] {
            let variable = format!("{prefix}_{name}");
            let (code, said, error) = with(&[&address, &token, &variable], &get);
            assert!(said.is_empty(), "{variable}: {said}");
            assert_eq!(code, 2, "{variable}: {error}");
            assert!(error.contains(variable.split('=').next().unwrap_or_default()), "{variable}: {error}");
        }
    }
    for harmless in ["VAULT_NAMESPACE=", "BAO_NAMESPACE=root", "VAULT_NAMESPACE=/", "KEYWAY_NAMESPACE=root/"]
        .into_iter()
        .chain([
            "VAULT_SKIP_VERIFY=false",
            "VAULT_WRAP_TTL=0",
            "VAULT_MAX_RETRIES=0",
            "BAO_CLIENT_TIMEOUT=30s",
        ])
        .chain(["VAULT_FORMAT=table", "VAULT_LOG_LEVEL=info", "BAO_DISABLE_REDIRECTS=true"])
    {
        let (code, said, error) = with(&[&address, &token, harmless], &get);
        assert_eq!((code, said.as_str()), (0, "y"), "{harmless}: {error}");
    }
    assert_eq!(with(&[&address, &token, "VAULT_FORMAT=json"], &get).1, "\"y\"\n");
    // The first of Keyway's, OpenBao's and Vault's own that says something counts.
    let first = [
        &address,
        &token,
        "BAO_TOKEN=none",
        "VAULT_TOKEN=none",
        "KEYWAY_NAMESPACE=root",
        "VAULT_NAMESPACE=x",
    ];
    assert_eq!(with(&first, &get).0, 0);
    let bao = [format!("BAO_ADDR={}", server.address), format!("BAO_TOKEN={root}")];
    assert_eq!(with(&[&bao[0], &bao[1], "VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=none"], &get).0, 0);
    let (code, _, error) = with(&[&address, "VAULT_TOKEN=none"], &get);
    assert!(code == 5 && error.contains("the token in VAULT_TOKEN is unknown"), "{error}");
    // A server is started by its own configuration.
    let (_, _, error) = with(&["VAULT_NAMESPACE=x", "VAULT_FORMAT=x"], &["server", "--config", "none.toml"]);
    assert!(error.contains("none.toml"), "{error}");
}

#[test]
fn white_space_around_tokens_and_addresses_is_no_part_of_them() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let root = &keys.root_token;
    let spaced = |variable: &str, value: &str| format!("{variable}= \t{value} \r\n");
    let (address, token) = (spaced("VAULT_ADDR", &server.address), spaced("KEYWAY_TOKEN", root));
    let run = |variables: &[&str]| site.run_under(&[&["env"], variables].concat(), &["token", "lookup"]);
    let found = run(&[&address, &token]);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let shell = Shell { site: &site, server: &server };
    shell.with("", &["login"], &format!("  {root}\t\r\n"));
    let kept = site.path("home/keyway/tokens.json");
    let text = fs::read_to_string(&kept).unwrap();
    assert!(text.contains(&format!("\"{root}\"")), "kept without white space");
    fs::write(&kept, text.replace(root, &format!(" {root}\\n"))).unwrap();
    shell.run(&["token", "lookup"]);
    assert!(shell.with("", &["token", "lookup", "--ask"], &format!("\t{root} \n")).contains("root"));
    // Within it, white space is a mistake that no server has to find.
    let (code, said) = shell.fails("kw.a\nb", &["token", "lookup"]);
    assert!(code == 2 && said.contains("KEYWAY_TOKEN"), "{said}");
    fs::remove_file(&kept).unwrap();
    assert_eq!(shell.fails(" \n", &["token", "lookup"]).0, 5, "nothing but white space is no token");
}
