//! `bao agent` and `bao proxy` work with Keyway: they log in by AppRole with a wrapped secret id, keep a
//! token, render templates, supervise a process and cache answers, and go on after Keyway was restarted and
//! after it was sealed.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use keyway_e2e::{Server, Site, config, within};
use serde_json::{Value, json};

use crate::{
    bao::{self, free_port, isolated},
    request::{Client, Reply, Request},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Keyway that keeps its address when it is restarted.
struct Keyway {
    site: Site,
    server: Option<Server>,
    client: Client,
    root: String,
    share: String,
}

/// A process of `bao`. Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Keyway {
    fn start() -> Self {
        let site = Site::new("sqlite");
        let address = format!("127.0.0.1:{}", free_port());
        site.configure(&config("sqlite").replace("127.0.0.1:0", &address));
        let server = site.start();
        let keys = server.init_and_unseal();
        let client = Client::new(&server.address);
        let keyway =
            Self { site, server: Some(server), client, root: keys.root_token, share: keys.shares[0].clone() };
        let policy = "path \"secret/data/*\" { capabilities = [\"read\"] }";
        keyway.send("PUT", "sys/policies/acl/agent", &json!({"policy": policy}));
        keyway.send("POST", "sys/auth/approle", &json!({"type": "approle"}));
        let role = json!({"token_policies": "agent", "token_ttl": "1h", "token_max_ttl": "2h"});
        keyway.send("POST", "auth/approle/role/agent", &role);
        let role = keyway.send("GET", "auth/approle/role/agent/role-id", &Value::Null);
        fs::write(keyway.site.path("role-id"), text(&role["data"]["role_id"])).unwrap();
        keyway.secret("first");
        keyway
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.reply(method, path, &[], body);
        assert!(reply.status < 300, "{method} {path}: {} {}", reply.status, reply.body);
        reply.body
    }

    fn reply(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.client.send(&Request {
            method: method.to_owned(),
            path: path.to_owned(),
            token: self.root.clone(),
            headers,
            body: (!body.is_null()).then(|| body.to_string()),
        })
    }

    fn secret(&self, value: &str) {
        self.send("POST", "secret/data/app", &json!({"data": {"password": value}}));
    }

    /// Writes a wrapped secret id where the agent reads it.
    fn wrapped_secret_id(&self, name: &str) {
        let path = "auth/approle/role/agent/secret-id";
        let reply = self.reply("POST", path, &[("X-Vault-Wrap-TTL", "300s")], &json!({}));
        fs::write(self.site.path(name), text(&reply.body["wrap_info"]["token"])).unwrap();
    }

    fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            assert!(server.terminate());
        }
        let server = self.site.start();
        assert!(!server.unseal(&self.share));
        self.server = Some(server);
    }

    fn seal_and_unseal(&self) {
        self.send("POST", "sys/seal", &Value::Null);
        assert_eq!(self.reply("GET", "sys/health", &[], &Value::Null).status, 503);
        self.send("POST", "sys/unseal", &json!({"key": self.share}));
    }

    fn run(&self, program: &Path, command: &str, name: &str, config: &str) -> Running {
        let path = self.site.path(&format!("{name}.hcl"));
        fs::write(&path, config).unwrap();
        let log = || {
            fs::File::options()
                .create(true)
                .append(true)
                .open(self.site.path(&format!("{name}.log")))
                .unwrap()
        };
        let directory = path.parent().unwrap();
        let mut process = isolated(program, directory);
        process.arg(command).arg(format!("-config={}", path.display())).stdout(log()).stderr(log());
        Running(process.stdin(Stdio::null()).spawn().expect("start bao"))
    }

    /// How the agent logs in, and where it puts its token.
    fn auto_auth(&self, secret_id: &str, sink: &str) -> String {
        let path = |name: &str| self.site.path(name).display().to_string();
        format!(
            "vault {{\n  address = \"{}\"\n  retry {{ num_retries = 5 }}\n}}\n\
             auto_auth {{\n  method \"approle\" {{\n    min_backoff = \"100ms\"\n    max_backoff = \"1s\"\n    config = {{\n      role_id_file_path = \"{}\"\n      \
             secret_id_file_path = \"{}\"\n      secret_id_response_wrapping_path = \"auth/approle/role/agent/secret-id\"\n      \
             remove_secret_id_file_after_reading = true\n    }}\n  }}\n  \
             sink \"file\" {{\n    config = {{ path = \"{}\" }}\n  }}\n}}\n",
            self.client.address,
            path("role-id"),
            path(secret_id),
            path(sink)
        )
    }

    /// Waits until a file says this.
    fn until_written(&self, name: &str, wanted: &str) {
        let is = || fs::read_to_string(self.site.path(name)).is_ok_and(|text| text.trim() == wanted);
        let logs = || {
            let log = fs::read_to_string(self.site.path("agent.log")).unwrap_or_default();
            log.lines().rev().take(15).collect::<Vec<_>>().join("\n")
        };
        let begun = std::time::Instant::now();
        while !is() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{name} never says {wanted:?}; the agent's last lines:\n{}",
                logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

const TEMPLATE: &str = "{{ with secret \\\"secret/data/app\\\" }}{{ .Data.data.password }}{{ end }}";

#[test]
fn agent_of_bao_keeps_templates_and_processes_up_to_date() {
    let Some(program) = bao::program() else { return };
    let mut keyway = Keyway::start();
    keyway.wrapped_secret_id("secret-id");
    let port = free_port();
    let rendered = keyway.site.path("rendered").display().to_string();
    let ran = keyway.site.path("ran").display().to_string();
    let agent = keyway.run(
        &program,
        "agent",
        "agent",
        &format!(
            "{}template_config {{ static_secret_render_interval = \"1s\" }}\n\
             template {{\n  contents = \"{TEMPLATE}\"\n  destination = \"{rendered}\"\n  \
             exec {{ command = [\"cp\", \"{rendered}\", \"{ran}\"] }}\n}}\n\
             cache {{}}\napi_proxy {{ use_auto_auth_token = true }}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n",
            keyway.auto_auth("secret-id", "token")
        ),
    );
    keyway.until_written("rendered", "first");
    keyway.until_written("ran", "first");
    assert!(!keyway.site.path("secret-id").exists(), "the agent removes the secret id that it has used");
    let token = fs::read_to_string(keyway.site.path("token")).unwrap();
    let through = Client::new(&format!("http://127.0.0.1:{port}"));
    let read = |client: &Client, token: &str| {
        let request = Request {
            method: "GET".to_owned(),
            path: "secret/data/app".to_owned(),
            token: token.to_owned(),
            ..Request::default()
        };
        client.send(&request)
    };
    assert_eq!(read(&keyway.client, token.trim()).body["data"]["data"]["password"], "first");
    assert_eq!(read(&through, "").body["data"]["data"]["password"], "first");
    keyway.secret("second");
    keyway.until_written("rendered", "second");
    keyway.restart();
    keyway.secret("third");
    keyway.until_written("ran", "third");
    assert_eq!(read(&through, "").body["data"]["data"]["password"], "third");
    keyway.seal_and_unseal();
    keyway.secret("fourth");
    keyway.until_written("ran", "fourth");
    // The same token: it was neither lost nor asked for again.
    assert_eq!(fs::read_to_string(keyway.site.path("token")).unwrap(), token);
    drop(agent);
}

#[test]
fn agent_of_bao_supervises_a_process() {
    let Some(program) = bao::program() else { return };
    let mut keyway = Keyway::start();
    keyway.wrapped_secret_id("secret-id");
    let said = keyway.site.path("said").display().to_string();
    let script = format!("echo $PASSWORD > {said}; exec sleep 1000");
    let mut agent = keyway.run(
        &program,
        "agent",
        "agent",
        &format!(
            "{}template_config {{ static_secret_render_interval = \"1s\" }}\n\
             env_template \"PASSWORD\" {{\n  contents = \"{TEMPLATE}\"\n}}\n\
             exec {{\n  command = [\"sh\", \"-c\", {script:?}]\n  restart_on_secret_changes = \"always\"\n}}\n",
            keyway.auto_auth("secret-id", "token")
        ),
    );
    keyway.until_written("said", "first");
    keyway.secret("second");
    keyway.until_written("said", "second");
    keyway.restart();
    keyway.seal_and_unseal();
    keyway.secret("third");
    keyway.until_written("said", "third");
    // The agent stops its process when it is asked to end itself.
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    agent.0.wait().unwrap();
}

#[test]
fn proxy_of_bao_serves_with_its_own_token() {
    let Some(program) = bao::program() else { return };
    let mut keyway = Keyway::start();
    keyway.wrapped_secret_id("secret-id");
    let port = free_port();
    let proxy = keyway.run(
        &program,
        "proxy",
        "agent",
        &format!(
            "{}cache {{}}\napi_proxy {{ use_auto_auth_token = true }}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n",
            keyway.auto_auth("secret-id", "token")
        ),
    );
    within(PATIENCE, || fs::metadata(keyway.site.path("token")).is_ok_and(|token| token.len() > 0));
    let through = Client::new(&format!("http://127.0.0.1:{port}"));
    let send = |method: &str, path: &str, token: &str| {
        let request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            token: token.to_owned(),
            ..Request::default()
        };
        through.send(&request)
    };
    for value in ["first", "second", "third"] {
        keyway.secret(value);
        let reply = send("GET", "secret/data/app", "");
        assert_eq!(
            (reply.status, &reply.body["data"]["data"]["password"]),
            (200, &json!(value)),
            "{}",
            reply.body
        );
        // Its policy allows no more.
        assert_eq!(send("GET", "sys/mounts", "").status, 403);
        let root = keyway.root.clone();
        assert_eq!(send("GET", "sys/mounts", &root).status, 200);
        match value {
            "first" => keyway.restart(),
            _ => keyway.seal_and_unseal(),
        }
    }
    drop(proxy);
}
