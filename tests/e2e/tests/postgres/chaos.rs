//! Three hosts on one database, killed and restarted at random with the database, under writers that fail
//! over: what was acknowledged stays, no version is given twice, and each secret's history is that of one
//! register.
//!
//! A short form by itself; `KEYWAY_CAMPAIGN=long` runs for five minutes.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use keyway_e2e::{Server, Site, within};
use keyway_private_postgres::{Options, needed};
use serde_json::{Value, json};

use super::site;

const HOSTS: usize = 3;
const WRITERS: usize = 64;
const SECRETS: usize = 12;
/// Versions of a secret that are kept by default.
const KEPT: u64 = 10;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long after a fault a request may begin that still fails for it: the host, or its address, may be the
/// one before.
const ECHO: Duration = Duration::from_secs(1);

/// What a writer asked, and what came of it.
struct Event {
    secret: usize,
    begun: Instant,
    ended: Instant,
    kind: Kind,
}

enum Kind {
    /// That version, with that value, was read; version 0 if there was none.
    Read(u64, String),
    /// It was written as that version.
    Written(u64, String),
    /// It was to be the version after that one, and was refused.
    Refused(u64),
    /// The outcome is unknown.
    Unknown(String),
}

/// What the clients know of the hosts.
struct Shared {
    addresses: Mutex<Vec<String>>,
    token: String,
    stop: AtomicBool,
    failures: Mutex<Vec<Failure>>,
}

/// A request that was not answered, or with 500 or 503.
struct Failure {
    host: usize,
    begun: Instant,
    ended: Instant,
    said: String,
}

/// When the database was away, or one host was.
struct Outage {
    /// None is the database, and so all hosts.
    host: Option<usize>,
    from: Instant,
    to: Instant,
}

impl Outage {
    /// Whether a request failed for it.
    fn excuses(&self, failure: &Failure) -> bool {
        self.host.is_none_or(|host| host == failure.host)
            && self.from <= failure.ended
            && failure.begun <= self.to
    }
}

fn campaign() -> Duration {
    let is_long = env::var_os("KEYWAY_CAMPAIGN").is_some_and(|form| form == "long");
    Duration::from_secs(if is_long { 300 } else { 40 })
}

#[test]
fn three_hosts_lose_nothing_while_they_and_the_database_are_killed() {
    let Some(mut database) = needed(&Options { settings: &["max_connections=200"], ..Options::default() })
    else {
        return;
    };
    let sites: Vec<Site> = (0..HOSTS).map(|_| site(&database)).collect();
    let first = sites[0].start();
    let keys = first.init_and_unseal();
    let mut servers: Vec<Option<Server>> = vec![Some(first)];
    servers.extend(sites[1..].iter().map(|site| {
        let server = site.start();
        assert!(!server.unseal(&keys.shares[0]));
        Some(server)
    }));
    let addresses = servers.iter().flatten().map(|server| server.address.clone()).collect();
    let shared = Arc::new(Shared {
        addresses: Mutex::new(addresses),
        token: keys.root_token.clone(),
        stop: AtomicBool::new(false),
        failures: Mutex::default(),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || write(number, &shared))
        })
        .collect();

    let (begun, mut random, mut outages) = (Instant::now(), 0x5eed_u64, Vec::new());
    while begun.elapsed() < campaign() {
        thread::sleep(Duration::from_millis(500 + next(&mut random) % 2_500));
        let from = Instant::now();
        if next(&mut random).is_multiple_of(3) {
            if next(&mut random).is_multiple_of(2) { database.crash() } else { database.stop() }.unwrap();
            thread::sleep(Duration::from_millis(next(&mut random) % 1_500));
            database.resume_life().unwrap();
            // Until each host is well, and lets requests through again.
            for server in servers.iter().flatten() {
                within(Duration::from_secs(60), || {
                    server.get("sys/health", "").status == 200
                        && matches!(server.get(&path(0, 0), &keys.root_token).status, 200 | 404)
                });
            }
            outages.push(Outage { host: None, from, to: Instant::now() + ECHO });
        } else {
            let nth = usize::try_from(next(&mut random)).unwrap_or(0) % HOSTS;
            servers[nth].take().unwrap().kill();
            thread::sleep(Duration::from_millis(next(&mut random) % 1_000));
            let server = sites[nth].start();
            assert!(!server.unseal(&keys.shares[0]));
            shared.addresses.lock().unwrap()[nth] = server.address.clone();
            servers[nth] = Some(server);
            outages.push(Outage { host: Some(nth), from, to: Instant::now() + ECHO });
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    let events: Vec<Event> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    let of_the_database = outages.iter().filter(|outage| outage.host.is_none());
    let away: Duration = of_the_database.clone().map(|outage| outage.to - outage.from).sum();
    let faults = (of_the_database.count(), outages.len());
    assert!(faults.0 > 0 && faults.0 < faults.1, "{faults:?}: both kinds of fault were to be made");
    assert!(away < begun.elapsed() / 2, "most of the time the database was away");

    for failure in &*shared.failures.lock().unwrap() {
        let is_excused = outages.iter().any(|outage| outage.excuses(failure));
        let Failure { host, said, .. } = failure;
        assert!(is_excused, "host {host} failed outside of all outages: {said}");
    }
    let written = events.iter().filter(|event| matches!(event.kind, Kind::Written(..))).count();
    assert!(written > 500, "only {written} writes were acknowledged");
    let server = servers[0].as_ref().unwrap();
    for secret in 0..SECRETS {
        let last = server.get(&path(secret, 0), &keys.root_token).json();
        let history: Vec<&Event> = events.iter().filter(|event| event.secret == secret).collect();
        let last = last["data"]["metadata"]["version"].as_u64().unwrap_or(0);
        judge(&history, last);
        // What was acknowledged is there, as far back as versions are kept.
        for event in &history {
            if let Kind::Written(version, value) = &event.kind
                && version + KEPT > last
            {
                let found = server.get(&path(secret, *version), &keys.root_token);
                assert_eq!(
                    found.json()["data"]["data"]["v"],
                    json!(value),
                    "{secret} {version}: {}",
                    found.text
                );
            }
        }
    }
}

fn path(secret: usize, version: u64) -> String {
    if version == 0 {
        format!("secret/data/r{secret}")
    } else {
        format!("secret/data/r{secret}?version={version}")
    }
}

/// Splitmix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A client: it reads a secret and writes it again with the version that it read as check-and-set.
struct Writer<'a> {
    shared: &'a Shared,
    agent: ureq::Agent,
    host: usize,
}

fn write(number: usize, shared: &Shared) -> Vec<Event> {
    let agent =
        ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
    let mut writer = Writer { shared, agent: agent.new_agent(), host: number };
    let (mut events, mut random) = (Vec::new(), number as u64);
    let mut turn = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        turn += 1;
        let secret = usize::try_from(next(&mut random)).unwrap_or(0) % SECRETS;
        let begun = Instant::now();
        let Some((status, body)) = writer.ask(&path(secret, 0), None) else { continue };
        let (version, value) = match status {
            200 => (
                body["data"]["metadata"]["version"].as_u64().unwrap(),
                body["data"]["data"]["v"].as_str().unwrap().to_owned(),
            ),
            404 => (0, String::new()),
            _ => panic!("a read was answered {status}: {body}"),
        };
        events.push(Event { secret, begun, ended: Instant::now(), kind: Kind::Read(version, value) });
        let value = format!("{number}.{turn}");
        let body = json!({ "options": { "cas": version }, "data": { "v": value } });
        let begun = Instant::now();
        // A write that was sent and not answered may have happened: asked of another host it would be another
        // write.
        let kind = match writer.ask_once(&path(secret, 0), Some(&body)) {
            Ok((200, body)) => Kind::Written(body["data"]["version"].as_u64().unwrap(), value),
            Ok((400, _)) => Kind::Refused(version),
            Ok((503 | 500, _)) | Err(()) => {
                writer.host += 1;
                Kind::Unknown(value)
            }
            Ok((status, body)) => panic!("a write was answered {status}: {body}"),
        };
        events.push(Event { secret, begun, ended: Instant::now(), kind });
    }
    events
}

impl Writer<'_> {
    /// Of the host that it is at; what fails is noted.
    fn ask_once(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), ()> {
        let (host, begun) = (self.host % HOSTS, Instant::now());
        let answer = self.answer(path, body);
        let said = match &answer {
            Ok((503 | 500, body)) => body.to_string(),
            Err(error) => error.clone(),
            Ok(_) => return answer.map_err(|_| ()),
        };
        self.shared.failures.lock().unwrap().push(Failure { host, begun, ended: Instant::now(), said });
        answer.map_err(|_| ())
    }

    fn answer(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let address = self.shared.addresses.lock().unwrap()[self.host % HOSTS].clone();
        let url = format!("{address}/v1/{path}");
        let answer = match body {
            None => self.agent.get(&url).header("X-Vault-Token", &self.shared.token).call(),
            Some(body) => {
                self.agent.post(&url).header("X-Vault-Token", &self.shared.token).send(body.to_string())
            }
        };
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Of one host after the other, until one has an answer.
    fn ask(&mut self, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        for _ in 0..HOSTS {
            match self.ask_once(path, body) {
                Ok((503 | 500, _)) | Err(()) => self.host += 1,
                Ok(answer) => return Some(answer),
            }
        }
        thread::sleep(Duration::from_millis(100));
        None
    }
}

/// Checks that the events of one secret are those of a linearizable register. The versions order all writes.
/// So each version must have one value, and an event that begins after another has ended must not have an
/// older version.
fn judge(events: &[&Event], last: u64) {
    let mut values: BTreeMap<u64, &str> = BTreeMap::new();
    let mut acknowledged: BTreeMap<u64, &str> = BTreeMap::new();
    for event in events {
        match &event.kind {
            Kind::Written(version, value) => {
                let twice = acknowledged.insert(*version, value);
                assert!(twice.is_none(), "version {version} was given to {value} and to {twice:?}");
                let read = *values.entry(*version).or_insert(value);
                assert_eq!(read, value, "version {version}");
            }
            Kind::Read(version, value) if *version > 0 => {
                let other = *values.entry(*version).or_insert(value);
                assert_eq!(other, value, "version {version} was read with two values");
            }
            _ => {}
        }
    }
    let invoked = |value: &str| {
        events.iter().find(|event| match &event.kind {
            Kind::Written(_, own) | Kind::Unknown(own) => own == value,
            _ => false,
        })
    };
    for (version, value) in &values {
        assert!(*version <= last, "version {version} was seen, and the last one is {last}");
        let write = invoked(value).unwrap_or_else(|| panic!("{value} was read, and was never written"));
        for event in events {
            let sees = matches!(&event.kind, Kind::Read(read, _) if read == version);
            assert!(!sees || event.ended >= write.begun, "{value} was read before it was written");
        }
    }
    // The greatest version of all that had ended by a time.
    let mut ended: Vec<(Instant, u64)> = events
        .iter()
        .filter_map(|event| match event.kind {
            Kind::Read(version, _) | Kind::Written(version, _) => Some((event.ended, version)),
            _ => None,
        })
        .collect();
    ended.sort();
    let mut greatest = 0;
    for (_, version) in &mut ended {
        greatest = greatest.max(*version);
        *version = greatest;
    }
    let before = |at: Instant| match ended.partition_point(|(ended, _)| *ended < at) {
        0 => 0,
        behind => ended[behind - 1].1,
    };
    for event in events {
        let known = before(event.begun);
        match &event.kind {
            Kind::Read(version, _) => {
                assert!(*version >= known, "version {version} was read after {known} was known")
            }
            Kind::Written(version, value) => {
                assert!(*version > known, "{value} was written as version {version} after {known} was known");
            }
            // Refused because there was another: some write of it had begun by then.
            Kind::Refused(version) => {
                let others = events.iter().any(|other| {
                    other.begun < event.ended
                        && match &other.kind {
                            Kind::Written(written, _) => written > version,
                            Kind::Unknown(_) => true,
                            _ => false,
                        }
                });
                assert!(others, "a write after version {version} was refused, and there was no other");
            }
            Kind::Unknown(_) => {}
        }
    }
}

#[test]
fn judge_knows_what_no_register_does() {
    let base = Instant::now();
    let at = |ms: u64| base + Duration::from_millis(ms);
    let event = |begun, ended, kind| Event { secret: 0, begun: at(begun), ended: at(ended), kind };
    let read =
        |begun, ended, version, value: &str| event(begun, ended, Kind::Read(version, value.to_owned()));
    let written =
        |begun, ended, version, value: &str| event(begun, ended, Kind::Written(version, value.to_owned()));
    let is_sound = |events: &[Event], last| {
        let events: Vec<&Event> = events.iter().collect();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&events, last))).is_ok()
    };
    assert!(is_sound(
        &[written(0, 1, 1, "a"), read(2, 3, 1, "a"), written(2, 5, 2, "b"), read(4, 6, 1, "a")],
        2
    ));
    // A lost write, a version given twice, a stale read, a read from nowhere, two values, a refusal without a
    // reason.
    assert!(!is_sound(&[written(0, 1, 1, "a")], 0));
    assert!(!is_sound(&[written(0, 1, 1, "a"), written(2, 3, 1, "b")], 1));
    assert!(!is_sound(&[written(0, 1, 1, "a"), written(2, 3, 2, "b"), read(4, 5, 1, "a")], 2));
    assert!(!is_sound(&[read(0, 1, 1, "a")], 1));
    assert!(!is_sound(&[written(0, 1, 1, "a"), read(2, 3, 1, "b")], 1));
    assert!(!is_sound(&[written(0, 1, 1, "a"), event(2, 3, Kind::Refused(1))], 1));
}
