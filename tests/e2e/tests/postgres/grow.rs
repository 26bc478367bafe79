//! "From one machine to several" of the operations manual, typed as it stands: from SQLite to three hosts on
//! PostgreSQL.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use keyway_e2e::{Keys, Server, Site, built, plugins};
use keyway_private_postgres::{Options, needed};
use serde_json::json;

const SEVERAL_HOSTS: &str = include_str!("../../../../docs/operations/several-hosts.md");

/// The section's blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let (_, section) = SEVERAL_HOSTS.split_once("\n## From one machine to several\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

/// A machine: where its files are, and what stands for the manual's places.
struct Machine<'a> {
    site: Site,
    server: Option<Server>,
    database: &'a keyway_private_postgres::Server,
}

impl<'a> Machine<'a> {
    fn new(database: &'a keyway_private_postgres::Server) -> Self {
        // As installed: SQLite's plugin alone, and a data directory of the server's user.
        let site = plugins::site();
        fs::create_dir(site.path("data")).unwrap();
        let _wrapper = site.as_unprivileged();
        Self { site, server: None, database }
    }

    /// What makes a command the server's user's.
    fn as_keyway() -> &'static [&'static str] {
        if rustix::process::geteuid().is_root() {
            &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        } else {
            &[]
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn starts(&mut self) {
        self.server = Some(self.site.start_under(Self::as_keyway(), &[]));
    }

    fn here(&self, text: &str) -> String {
        let socket = self.database.socket().display().to_string().replace('/', "%2F");
        // A private server listens on a socket; the manual's server has a name and a certificate.
        let place = format!("@{socket}:{}/keyway", self.database.port());
        let owner = if Self::as_keyway().is_empty() { "" } else { "-o 65534 -g 65534" };
        text.replace("/etc/keyway/keyway.toml", self.site.config().to_str().unwrap())
            .replace("runuser -u keyway --", &Self::as_keyway().join(" "))
            .replace("-o keyway -g keyway", owner)
            .replace("/usr/lib/keyway/plugins", self.site.path("plugins").to_str().unwrap())
            .replace("target/release", built().to_str().unwrap())
            .replace("@db.example.org:5432/keyway?sslrootcert=/etc/keyway/db-ca.pem", &place)
            .replace("/var/lib/keyway", self.site.path("data").to_str().unwrap())
    }

    /// Types the lines of a block; each must succeed.
    fn types(&mut self, block: &str, keys: &Keys) -> String {
        let mut said = String::new();
        let mut shares = keys.shares.clone();
        for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            match line {
                "systemctl stop keyway" => {
                    assert!(self.server.take().unwrap().terminate());
                    continue;
                }
                "systemctl start keyway" => {
                    self.starts();
                    continue;
                }
                _ => {}
            }
            let path = format!("{}:{}", keyway_e2e::built().display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("bash");
            shell.args(["-ec", &self.here(line)]).current_dir(self.site.path("")).env("PATH", path);
            if let Some(server) = &self.server {
                shell.env("KEYWAY_ADDR", &server.address).env("KEYWAY_TOKEN", &keys.root_token);
            }
            let mut shell =
                shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let input = if line == "keyway unseal" { shares.pop().unwrap() } else { String::new() };
            // A command that reads no input may have ended.
            let _unread = writeln!(shell.stdin.take().unwrap(), "{input}");
            let output = shell.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            // A server that is sealed says so by its status, too.
            let is_fine = output.status.success() || line == "keyway status";
            assert!(is_fine, "{line}\n{told}{}", String::from_utf8_lossy(&output.stderr));
            said.push_str(&told);
            said.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        assert!(
            !said.contains("correct%20horse") && !said.contains("correct horse"),
            "the password was said: {said}"
        );
        said
    }

    /// Makes the file with the database's place, and writes it with an editor.
    fn writes_where_it_is(&mut self, make: &str, keys: &Keys) {
        self.types(make, keys);
        let file = self.site.path("data/postgres.url");
        fs::write(&file, self.here(&blocks("text")[0])).unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
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
    let mut first = Machine::new(&database);
    first.starts();
    let server = first.server();
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

    for statement in blocks("sql")[0].lines() {
        database.sql(statement).unwrap();
    }
    let consoles = blocks("console");
    let [url, archive, lock, restore, back, join] = consoles.as_slice() else { panic!("{consoles:#?}") };
    first.writes_where_it_is(url, &keys);
    let said = first.types(archive, &keys);
    assert!(said.contains("main.archive"), "{said}");
    first.names_the_other_backend();
    first.types(lock, &keys);
    first.types(restore, &keys);
    let said = first.types(back, &keys);
    assert!(said.contains("correct-horse"), "{said}");

    let mut machines = vec![first];
    for _ in 0..2 {
        let mut next = Machine::new(&database);
        next.names_the_other_backend();
        next.writes_where_it_is(url, &keys);
        let install = lock.lines().find(|line| line.starts_with("$ install")).unwrap();
        next.types(install, &keys);
        let said = next.types(join, &keys);
        assert!(said.contains("correct-horse"), "{said}");
        machines.push(next);
    }
    // What was there before is there on each of them, tokens too; and what one does, the others know.
    for server in machines.iter().map(Machine::server) {
        let read = server.get("secret/data/app/db", &reader);
        assert_eq!(read.json()["data"]["data"]["password"], json!("correct-horse"), "{}", read.text);
    }
    let revoked =
        machines[2].server().post("auth/token/revoke", &keys.root_token, &json!({ "token": reader }));
    assert_eq!(revoked.status, 204);
    for server in machines.iter().map(Machine::server) {
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
