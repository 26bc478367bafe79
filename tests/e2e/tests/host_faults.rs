//! The host over a backend that hangs, fails, is slow, loses answers and tells old news: refused with a
//! reason, never sealed, never an empty list, and well again by itself.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use keyway_e2e::{Answer, Keys, Server, Site, built, config, within};
use serde_json::{Value, json};

/// The time that the host gives each call.
const DEADLINE: Duration = Duration::from_millis(600);
/// How long an answer may take that must come by that deadline: the machine may be busy.
const IN_TIME: Duration = Duration::from_secs(6);
/// How long the host may take to serve again: its circuit rests for a second, then for two, …
const RECOVERY: Duration = Duration::from_secs(20);

/// A server over the chaos layer over a plugin.
struct Chaos {
    site: Site,
    server: Server,
    keys: Keys,
}

impl Chaos {
    fn over(plugin: &str) -> Self {
        let site = Site::new("sqlite");
        let within = if plugin == "sqlite" { "config = { path = \"keyway.db\" }, " } else { "" };
        let library = built().join(format!("libkeyway_{plugin}.so"));
        let settings = format!(
            "config = {{ library = {:?}, {within}faults = {:?} }}",
            library.to_str().unwrap(),
            site.path("faults.json").to_str().unwrap()
        );
        let text =
            config("chaos").replace("plugin = \"chaos\"\n", &format!("plugin = \"chaos\"\n{settings}\n"));
        site.configure(&format!(
            "{text}\n[limits]\nbackend_deadline_ms = {}\nbackend_calls = 4\n\n[metrics]\nunauthenticated = true\n",
            DEADLINE.as_millis()
        ));
        let server = site.start();
        let keys = server.init_and_unseal();
        Self { site, server, keys }
    }

    /// From now on this goes wrong, and nothing else.
    fn strike(&self, rules: &Value) {
        // Renamed, so that the plugin never reads a half-written file.
        fs::write(self.site.path("faults.new"), rules.to_string()).unwrap();
        fs::rename(self.site.path("faults.new"), self.site.path("faults.json")).unwrap();
    }

    fn heal(&self) {
        self.strike(&json!([]));
    }

    fn put(&self, path: &str, value: u64, cas: Option<u64>) -> Answer {
        let options = cas.map_or(json!({}), |cas| json!({ "cas": cas }));
        let body = json!({ "data": { "value": value }, "options": options });
        self.server.post(&format!("secret/data/{path}"), &self.keys.root_token, &body)
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(&format!("secret/data/{path}"), &self.keys.root_token)
    }

    fn list(&self) -> Answer {
        self.server.request("LIST", "secret/metadata", &self.keys.root_token, None)
    }

    /// Whether it is not sealed, even if it is not ready.
    fn is_unsealed(&self) -> bool {
        self.server.get("sys/health", "").json()["sealed"] == false
    }

    fn serves_again(&self) {
        self.heal();
        let begun = Instant::now();
        loop {
            let answer = self.get("there");
            if answer.status == 200 {
                break;
            }
            assert!(
                begun.elapsed() < RECOVERY,
                "{} s after the store is well: {}",
                RECOVERY.as_secs(),
                answer.text
            );
            thread::sleep(Duration::from_millis(100));
        }
        within(RECOVERY, || self.server.get("sys/health", "").status == 200);
        assert_eq!(self.list().status, 200);
    }
}

/// 503 with a reason that names the backend, in time.
fn refused(answer: &Answer, begun: Instant, reason: &str) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(
        answer.error().contains("\"main\" is not available") && answer.error().contains(reason),
        "{}",
        answer.text
    );
    assert!(begun.elapsed() < IN_TIME, "{} ms", begun.elapsed().as_millis());
}

#[test]
fn slow_backend_is_waited_for() {
    let chaos = Chaos::over("memory");
    assert_eq!(chaos.put("there", 1, None).status, 200);
    chaos.strike(&json!([{ "does": { "delay_ms": 100 } }]));
    let begun = Instant::now();
    assert_eq!(chaos.get("there").json()["data"]["data"]["value"], 1);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(chaos.put("there", 2, Some(1)).status, 200);
    assert_eq!(chaos.list().json()["data"]["keys"], json!(["there"]));
}

#[test]
fn backend_that_hangs_is_given_up_in_time_and_serves_again_by_itself() {
    let chaos = Chaos::over("sqlite");
    assert_eq!(chaos.put("there", 1, None).status, 200);
    chaos.strike(&json!([{ "does": "hang" }]));
    let begun = Instant::now();
    refused(&chaos.get("there"), begun, "Timeout");
    let begun = Instant::now();
    refused(&chaos.list(), begun, "");
    let begun = Instant::now();
    let write = chaos.put("there", 2, None);
    refused(&write, begun, "");
    // The host answers requests that need no store, and reports the fault.
    assert!(chaos.is_unsealed());
    let health = chaos.server.get("sys/health", "");
    assert_eq!((health.status, &health.json()["sealed"]), (503, &Value::Bool(false)), "{}", health.text);
    chaos.serves_again();
    assert!(chaos.is_unsealed());
    assert_eq!(chaos.get("there").json()["data"]["data"]["value"], 1, "a write that hung before it was done");
}

#[test]
fn backend_that_fails_opens_the_circuit_is_left_alone_and_serves_again_by_itself() {
    let chaos = Chaos::over("sqlite");
    assert_eq!(chaos.put("there", 1, None).status, 200);
    chaos.strike(&json!([{ "does": { "fail": "unavailable" } }]));
    // Five in a row open it.
    for _ in 0..6 {
        let begun = Instant::now();
        refused(&chaos.list(), begun, "Unavailable");
        refused(&chaos.get("there"), begun, "Unavailable");
    }
    let metrics = || chaos.server.get("sys/metrics", "").text;
    let count = |name: &str| -> f64 {
        let metrics = metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains("\"main\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    // Left alone: calls are refused, and do not reach it.
    let refused_before = count("keyway_backend_calls_refused_total");
    assert!(refused_before > 0.0, "{}", metrics());
    assert!(chaos.is_unsealed());
    assert_eq!(chaos.server.get("sys/health", "").status, 503);
    chaos.serves_again();
}

#[test]
fn what_a_backend_cannot_take_or_has_damaged_is_said_and_is_no_outage() {
    let chaos = Chaos::over("memory");
    assert_eq!(chaos.put("there", 1, None).status, 200);
    for (code, status) in [("resource_exhausted", 503), ("corrupt", 500)] {
        chaos.strike(&json!([{ "calls": ["get", "get_many", "apply", "put"], "does": { "fail": code } }]));
        for _ in 0..8 {
            let answer = chaos.get("there");
            assert_eq!(answer.status, status, "{code}: {}", answer.text);
        }
        chaos.heal();
        // The circuit is closed: the very next call is served.
        assert_eq!(chaos.get("there").status, 200, "{code}");
    }
    // A conflict is tried again by the host.
    chaos.strike(&json!([{ "calls": ["apply", "put"], "does": { "fail": "conflict" }, "times": 2 }]));
    assert_eq!(chaos.put("there", 2, Some(1)).status, 200);
    assert_eq!(chaos.get("there").json()["data"]["metadata"]["version"], 2);
}

#[test]
fn write_whose_answer_is_lost_is_found_out_and_done_once() {
    for plugin in ["memory", "sqlite"] {
        let chaos = Chaos::over(plugin);
        assert_eq!(chaos.put("there", 0, None).status, 200);
        // Done, and the answer lost; lost before it was done; never answered, though done.
        for (round, fault) in
            (1..).zip(["lose_answer", "disconnect", "hang_after", "lose_answer", "disconnect"])
        {
            chaos.strike(&json!([{ "calls": ["apply", "put"], "does": fault, "times": 1 }]));
            let answer = chaos.put("there", round, Some(round));
            assert_eq!(answer.status, 200, "{plugin}, {fault}: {}", answer.text);
            assert_eq!(answer.json()["data"]["version"], round + 1, "{plugin}, {fault}: written twice");
            let read = chaos.get("there").json();
            assert_eq!(read["data"]["data"]["value"], round, "{plugin}, {fault}");
            assert_eq!(read["data"]["metadata"]["version"], round + 1, "{plugin}, {fault}");
        }
        // If the host cannot find out the outcome, it says so.
        chaos.strike(&json!([
            { "calls": ["apply", "put"], "does": "lose_answer" },
            { "calls": ["get", "get_many"], "after": 2, "does": { "fail": "unavailable" } },
        ]));
        let answer = chaos.put("there", 99, None);
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.error().contains("the change may have happened"), "{}", answer.text);
        chaos.serves_again();
    }
}

#[test]
fn stale_reads_lose_no_update() {
    let chaos = Chaos::over("memory");
    assert_eq!(chaos.put("there", 0, None).status, 200);
    chaos.strike(&json!([{ "calls": ["get"], "keyspace": "mount-", "does": "stale", "after": 3 }]));
    let mut done = 0;
    for number in 1..=20 {
        // A write after a stale read is refused or retried: it overwrites no version that it has not seen.
        let answer = chaos.put("there", number, Some(done));
        if answer.status == 200 {
            done = answer.json()["data"]["version"].as_u64().unwrap();
        }
        assert!(matches!(answer.status, 200 | 400 | 503), "{}", answer.text);
    }
    chaos.heal();
    let read = chaos.get("there").json();
    let version = read["data"]["metadata"]["version"].as_u64().unwrap();
    assert!(version >= done, "version {version}, and {done} was acknowledged");
}

#[test]
fn more_calls_than_the_limit_wait_or_are_refused_and_others_are_served() {
    let chaos = Chaos::over("memory");
    assert_eq!(chaos.put("there", 1, None).status, 200);
    chaos.strike(&json!([{ "does": { "delay_ms": 250 } }]));
    // Four calls run at the same time. A call that would wait for more than half of its deadline is refused,
    // so that the outcome of no write is unknown.
    let answers: Vec<Answer> = thread::scope(|scope| {
        let (server, token) = (&chaos.server, &chaos.keys.root_token);
        let readers: Vec<_> =
            (0..40).map(|_| scope.spawn(move || server.get("secret/data/there", token))).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!(served + refused, 40);
    assert!(served >= 4 && refused >= 1, "{served} served, {refused} refused");
    assert!(chaos.is_unsealed());
    chaos.serves_again();
}

#[test]
fn health_tells_what_the_backend_says() {
    let chaos = Chaos::over("memory");
    assert_eq!(chaos.put("there", 1, None).status, 200);
    chaos.strike(&json!([{ "calls": ["health"], "does": "read_only" }]));
    within(RECOVERY, || {
        let health = chaos.server.get("sys/health", "");
        health.text.contains("nothing can be written")
    });
    assert_eq!(chaos.get("there").status, 200, "what can be read is read");
    chaos.strike(&json!([{ "calls": ["health"], "does": "unhealthy" }]));
    within(RECOVERY, || chaos.server.get("sys/health", "").status == 503);
    assert!(chaos.is_unsealed());
    chaos.serves_again();
}
