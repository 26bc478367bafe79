//! A whole server over backends that hang, fail, are slow or flap. It answers 503 with a reason within the
//! deadline, stays unsealed, never answers an empty list by mistake, and recovers by itself. Other backends
//! are not affected.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use keyway_loader::Backends;
use keyway_server::{
    Server,
    config::{Config, Limits},
};
use keyway_storage::CallLimits;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::chaos::{Disk, Script};

const DEADLINE: Duration = Duration::from_millis(400);
/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

struct Running {
    main: Disk,
    other: Disk,
    address: String,
    token: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _directory: TempDir,
}

struct Answer {
    status: u16,
    retry_after: Option<String>,
    body: Value,
}

impl Running {
    async fn start() -> Self {
        let (main, other) = (Disk::durable(), Disk::durable());
        let mut backends = Backends::default();
        backends.register(main.generation("main").await);
        backends.register(other.generation("other").await);
        let directory = TempDir::new().unwrap();
        let text = "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\nsystem_backend = \"main\"\n[trust]\npolicy = \"lock\"\n\
                    [backends.main]\nplugin = \"chaotic\"\n[backends.other]\nplugin = \"chaotic\"\n\
                    [mounts.a]\nbackend = \"main\"\n[mounts.b]\nbackend = \"other\"\n";
        let file = directory.path().join("keyway.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let calls = CallLimits { deadline: DEADLINE, running: NonZeroUsize::new(8).unwrap(), waiting: 8 };
        let mut config = Config::read(&file).unwrap();
        config.limits = Limits { calls, drain: Duration::from_secs(1), ..config.limits };
        let server = Server::over(&backends, &config, None).await.unwrap();
        let address = format!("http://{}", server.address().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.run(async {
            let _dropped = stopped.await;
        }));
        let mut running =
            Self { main, other, address, token: String::new(), stop, served, _directory: directory };
        let made =
            running.send("POST", "sys/init", Some(json!({"secret_shares": 1, "secret_threshold": 1}))).await;
        running.token = made.body["root_token"].as_str().unwrap().to_owned();
        let unsealed = running.send("POST", "sys/unseal", Some(json!({ "key": made.body["keys"][0] }))).await;
        assert_eq!(unsealed.body["sealed"], false);
        for mount in ["a", "b"] {
            assert_eq!(running.write(mount).await.status, 200);
        }
        running
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address))
            .header("X-Vault-Token", &self.token)
            .body(body.map(|body| body.to_string()).unwrap_or_default())
            .unwrap();
        let sent = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .allow_non_standard_methods(true)
                .build()
                .new_agent();
            let mut response = agent.run(request).unwrap();
            Answer {
                status: response.status().as_u16(),
                retry_after: response
                    .headers()
                    .get("retry-after")
                    .map(|value| value.to_str().unwrap().to_owned()),
                body: serde_json::from_str(&response.body_mut().read_to_string().unwrap())
                    .unwrap_or(Value::Null),
            }
        });
        sent.await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    async fn write(&self, mount: &str) -> Answer {
        self.send("POST", &format!("{mount}/data/x"), Some(json!({ "data": { "in": mount } }))).await
    }

    /// What a mount answers while its backend does not serve.
    async fn must_be_unavailable(&self, mount: &str, backend: &str) {
        for path in
            [format!("{mount}/data/x"), format!("{mount}/metadata/x"), format!("{mount}/metadata/?list=true")]
        {
            let begun = Instant::now();
            let answer = self.get(&path).await;
            let said = answer.body["errors"][0].as_str().unwrap_or_default().to_owned();
            assert!(
                answer.status == 503 && said.contains(backend),
                "{path}: {} {}",
                answer.status,
                answer.body
            );
            assert!(begun.elapsed() < SOON, "{path}: {:?}", begun.elapsed());
        }
        assert_eq!(self.write(mount).await.status, 503);
        let health = self.get("sys/health").await;
        assert_eq!((health.status, &health.body["sealed"]), (503, &json!(false)), "{}", health.body);
        let state = health.body["storage"][backend].as_str().unwrap();
        assert!(state.starts_with("not"), "{state}");
    }

    /// The server recovers by itself.
    async fn must_be_back(&self) {
        let begun = Instant::now();
        while self.get("sys/health").await.status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(90), "not back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// As [`must_be_back`](Self::must_be_back), and everything is there and can be changed.
    async fn must_recover(&self) {
        self.must_be_back().await;
        for mount in ["a", "b"] {
            let read = self.get(&format!("{mount}/data/x")).await;
            assert_eq!((read.status, &read.body["data"]["data"]["in"]), (200, &json!(mount)));
            assert_eq!(self.write(mount).await.status, 200);
            assert_eq!(
                self.get(&format!("{mount}/metadata/?list=true")).await.body["data"]["keys"],
                json!(["x"])
            );
        }
    }

    async fn stop(self) {
        drop(self.stop);
        self.served.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backend_that_hangs_or_fails_takes_its_mounts_along_and_nothing_else() {
    for script in [Script::Hangs, Script::Fails] {
        let running = Running::start().await;
        running.other.play(script);
        for _ in 0..3 {
            running.must_be_unavailable("b", "other").await;
            // A mount on another backend does not even become slow.
            assert_eq!(running.write("a").await.status, 200, "{script:?}");
            assert_eq!(running.get("a/data/x").await.status, 200, "{script:?}");
        }
        let metrics = running.get("sys/backends/other").await;
        let circuit = metrics.body["data"]["circuit"].as_str().unwrap();
        assert!(["open", "half-open"].contains(&circuit), "{script:?}: {circuit}");
        running.other.play(Script::Well);
        running.must_recover().await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn system_backend_that_hangs_or_fails_never_seals_the_server() {
    for script in [Script::Hangs, Script::Fails] {
        let running = Running::start().await;
        running.main.play(script);
        running.must_be_unavailable("a", "main").await;
        // The token cannot be checked: that is not a refusal.
        assert_eq!(running.get("b/data/x").await.status, 503);
        assert_eq!(running.send("POST", "sys/seal", None).await.status, 503);
        running.main.play(Script::Well);
        running.must_recover().await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_circuit_answers_at_once_and_says_when_to_come_again() {
    let running = Running::start().await;
    running.other.play(Script::Fails);
    for _ in 0..6 {
        assert_eq!(running.write("b").await.status, 503);
    }
    let before = running.other.calls();
    let refused = running.get("b/data/x").await;
    assert_eq!(refused.status, 503);
    assert!(refused.retry_after.unwrap().parse::<u64>().unwrap() >= 1);
    assert!(running.other.calls() <= before + 1, "the backend is left alone");
    running.other.play(Script::Well);
    running.must_recover().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_backend_serves_and_what_is_too_much_is_shed() {
    let running = Arc::new(Running::start().await);
    running.other.play(Script::Slow(DEADLINE / 4));
    assert_eq!(running.get("b/data/x").await.status, 200);
    let many: Vec<_> = (0..64)
        .map(|_| {
            let running = Arc::clone(&running);
            tokio::spawn(async move { running.get("b/data/x").await })
        })
        .collect();
    let (mut served, mut shed) = (0, 0);
    for one in many {
        let answer = one.await.unwrap();
        match answer.status {
            200 => served += 1,
            503 => {
                assert!(answer.retry_after.is_some(), "{}", answer.body);
                shed += 1;
            }
            other => unreachable!("{other}: {}", answer.body),
        }
    }
    assert!(served >= 8 && shed >= 1, "{served} served, {shed} shed");
    running.other.play(Script::Well);
    running.must_recover().await;
    Arc::into_inner(running).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flapping_backend_loses_nothing_that_was_acknowledged() {
    let running = Running::start().await;
    let (mut acknowledged, mut refused) = (1, 0);
    for round in 0..6 {
        let fails = round % 2 == 0;
        running.other.play(if fails { Script::Fails } else { Script::Well });
        if !fails {
            running.must_be_back().await;
        }
        for _ in 0..8 {
            let written = running.write("b").await;
            match written.status {
                200 => acknowledged = written.body["data"]["version"].as_u64().unwrap(),
                503 => refused += 1,
                other => unreachable!("{other}: {}", written.body),
            }
        }
    }
    assert!(acknowledged >= 25 && refused >= 24, "{acknowledged} acknowledged, {refused} refused");
    running.other.play(Script::Well);
    running.must_recover().await;
    let metadata = running.get("b/metadata/x").await;
    // One more by must_recover. What failed did not happen: this backend says so for sure.
    assert_eq!(metadata.body["data"]["current_version"], acknowledged + 1);
    running.stop().await;
}
