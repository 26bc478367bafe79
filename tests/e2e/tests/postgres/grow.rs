//! "From one machine to several" of the operations manual, typed as it stands: from SQLite to three hosts on PostgreSQL.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use keyway_e2e::{Keys, Server, Site};
use keyway_private_postgres::{Options, needed};
use serde_json::json;

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// The section's blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let (_, section) = OPERATIONS.split_once("\n## From one machine to several\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

/// A machine: where its files are, and what stands for the manual's places.
struct Machine<'a> {
    site: Site,
    database: &'a keyway_private_postgres::Server,
}

impl<'a> Machine<'a> {
    fn new(database: &'a keyway_private_postgres::Server) -> Self {
        let site = Site::new("sqlite");
        // What the manual's paths stand for, and the data directory that a start would make.
        fs::create_dir(site.path("data")).unwrap();
        Self { site, database }
    }

    fn here(&self, text: &str) -> String {
        let socket = self.database.socket().display().to_string().replace('/', "%2F");
        // A private server has a socket of its own, where the manual's has a name and a certificate.
        let place = format!("@{socket}:{}/keyway", self.database.port());
        text.replace("/etc/keyway/keyway.toml", self.site.config().to_str().unwrap())
            .replace("@db.example.org:5432/keyway?sslrootcert=/etc/keyway/db-ca.pem", &place)
            .replace("/var/lib/keyway", self.site.path("data").to_str().unwrap())
    }

    /// Types the lines of a block, against a server where there is one; each must succeed.
    fn types(&self, block: &str, server: Option<(&Server, &Keys)>) -> String {
        let mut said = String::new();
        let mut shares = server.map(|(_, keys)| keys.shares.clone()).unwrap_or_default();
        for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let path = format!("{}:{}", keyway_e2e::built().display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("bash");
            shell.args(["-ec", &self.here(line)]).current_dir(self.site.path("")).env("PATH", path);
            if let Some((server, keys)) = server {
                shell.env("KEYWAY_ADDR", &server.address).env("KEYWAY_TOKEN", &keys.root_token);
            }
            let mut shell =
                shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let input = if line == "keyway unseal" { shares.pop().unwrap() } else { String::new() };
            // Whoever asks for nothing may have ended.
            let _unread = writeln!(shell.stdin.take().unwrap(), "{input}");
            let output = shell.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            // A server that is sealed says so by its status, too.
            let is_fine = output.status.success() || line == "keyway status";
            assert!(is_fine, "{line}\n{told}{}", String::from_utf8_lossy(&output.stderr));
            said.push_str(&told);
        }
        said
    }

    /// The configuration with the manual's backend in place of SQLite's.
    fn names_the_other_backend(&self) {
        let config = fs::read_to_string(self.site.config()).unwrap();
        let sqlite = "[backends.main]\nplugin = \"sqlite\"\nconfig = { path = \"keyway.db\" }\n";
        assert!(config.contains(sqlite), "{config}");
        fs::write(self.site.config(), config.replace(sqlite, &blocks("toml")[0])).unwrap();
    }
}

#[test]
fn server_on_sqlite_becomes_three_hosts_on_postgresql() {
    let hba = "local all admin trust\nlocal all all scram-sha-256\n";
    let Some(database) = needed(&Options { hba: Some(hba), ..Options::default() }) else { return };
    let first = Machine::new(&database);
    let server = first.site.start();
    let keys = server.init(5, 3);
    for share in &keys.shares[..3] {
        server.unseal(share);
    }
    let secret = json!({ "data": { "password": "correct-horse" } });
    assert_eq!(server.post("secret/data/app/db", &keys.root_token, &secret).status, 200);
    let policy = json!({ "policy": "path \"secret/*\" { capabilities = [\"read\"] }" });
    assert_eq!(server.post("sys/policies/acl/reader", &keys.root_token, &policy).status, 204);
    let made = server.post("auth/token/create", &keys.root_token, &json!({ "policies": ["reader"] })).json();
    let reader = made["auth"]["client_token"].as_str().unwrap().to_owned();

    let sql = blocks("sql");
    for statement in sql[0].lines() {
        database.sql(statement).unwrap();
    }
    let consoles = blocks("console");
    let [url, archive, lock, restore, back, join] = consoles.as_slice() else { panic!("{consoles:#?}") };
    first.types(url, None);
    let mode = fs::metadata(first.site.path("data/postgres.url")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(server.terminate());
    let said = first.types(archive, None);
    assert!(said.contains("main.archive"), "{said}");
    first.names_the_other_backend();
    first.types(lock, None);
    first.types(restore, None);
    let server = first.site.start();
    let said = first.types(back, Some((&server, &keys)));
    assert!(said.contains("correct-horse"), "{said}");

    let mut servers = vec![server];
    let mut machines = vec![first];
    for _ in 0..2 {
        let next = Machine::new(&database);
        next.names_the_other_backend();
        next.types(url, None);
        next.types(lock, None);
        let server = next.site.start();
        let said = next.types(join, Some((&server, &keys)));
        assert!(said.contains("correct-horse"), "{said}");
        servers.push(server);
        machines.push(next);
    }
    // What was there before is there on each of them, tokens too; and what one does, the others know.
    for server in &servers {
        let read = server.get("secret/data/app/db", &reader);
        assert_eq!(read.json()["data"]["data"]["password"], json!("correct-horse"), "{}", read.text);
    }
    let revoked = servers[2].post("auth/token/revoke", &keys.root_token, &json!({ "token": reader }));
    assert_eq!(revoked.status, 204);
    for server in &servers {
        assert_eq!(server.get("secret/data/app/db", &reader).status, 403);
    }
    for machine in &machines {
        // The password is in no log.
        assert!(
            !machine.site.log_text().contains("correct%20horse")
                && !machine.site.log_text().contains("correct horse")
        );
    }
}
