//! Files that are rotated, deleted, changed, and written again by the next start.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use keyway_e2e::needed;
use serde_json::Value;

use crate::{file, lines, log, put, start, verify};

#[test]
fn chain_goes_on_over_restarts_kills_rotation_and_deletion() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let now = log(&site, "a");
    let old = site.path("trail").join("a.log.1");
    for n in 0..3 {
        assert_eq!(put(&server, &keys, &format!("one{n}")), 200);
    }
    server.kill();
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "two"), 200);
    // Rotated: the next line goes into a new file.
    fs::rename(&now, &old).unwrap();
    assert_eq!(put(&server, &keys, "three"), 200);
    assert!(server.terminate());
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "four"), 200);
    let (holds, said) = verify(&site, &[&old, &now]);
    assert!(holds && !said.contains("begins again"), "{said}");
    let (in_old, in_new) = (lines(&old).len(), lines(&now).len());
    assert!(said.contains(&format!("{} lines", in_old + in_new)), "{said}");
    let (holds, said) = verify(&site, &[&now, &old]);
    assert!(!holds, "the order is another: {said}");
    let (holds, said) = verify(&site, &[&now]);
    assert!(holds && said.contains(&format!("after line {in_old}")), "{said}");
    // Deleted: the next line makes another file, and nothing is refused.
    fs::remove_file(&now).unwrap();
    assert_eq!(put(&server, &keys, "five"), 200);
    assert_eq!(lines(&now).len(), 2);
    let (holds, said) = verify(&site, &[&old, &now]);
    assert!(!holds && said.contains(&format!("{in_new} lines are missing")), "{said}");
    // Changed.
    let text = fs::read_to_string(&old).unwrap();
    fs::write(&old, text.replacen("secret/data/one1", "secret/data/uno1", 1)).unwrap();
    let (holds, said) = verify(&site, &[&old]);
    assert!(!holds && said.contains("was changed"), "{said}");
    let (holds, said) = verify(&site, &[&site.path("keyway.toml")]);
    assert!(!holds, "{said}");
}

/// A server that does not find what it wrote before begins a new chain, which an operator has to know of.
#[test]
fn break_of_the_chain_is_accepted_only_by_its_number() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let now = log(&site, "a");
    let old = site.path("trail").join("a.log.1");
    assert_eq!(put(&server, &keys, "one"), 200);
    assert!(server.terminate());
    fs::rename(&now, &old).unwrap();
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "two"), 200);
    assert!(server.terminate());
    let (holds, said) = verify(&site, &[&old, &now]);
    assert!(
        !holds && said.contains("a chain begins again") && said.contains("--breaks 1 accepts it"),
        "{said}"
    );
    let files = [&old, &now].map(|file| file.to_str().unwrap());
    for option in ["--breaks", "--anew"] {
        let run = site.run(&["audit", "verify", files[0], files[1], option, "1"]);
        assert!(run.status.success(), "{option}: {run:?}");
    }
}

/// With the real logrotate, under load: nothing is refused, and each line is in one of the files.
#[test]
fn logrotate_costs_no_line() {
    let (site, server, keys) = start("memory", |site| file(site, "a"));
    let (now, directory) = (log(&site, "a"), site.path("trail"));
    let rules = site.path("rotate.conf");
    fs::write(
        &rules,
        format!(
            "{} {{\n rotate 100\n missingok\n create 0600\n nocompress\n su root root\n}}\n",
            now.display()
        ),
    )
    .unwrap();
    let rules_mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&rules, rules_mode).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    if !rustix::process::geteuid().is_root() {
        let text = fs::read_to_string(&rules).unwrap();
        fs::write(&rules, text.replace(" su root root\n", "")).unwrap();
    }
    let end = AtomicBool::new(false);
    let rotations = 12;
    let mut written = 0;
    let skipped = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !end.load(Ordering::Relaxed) {
                assert_eq!(put(&server, &keys, "w"), 200);
                written += 1;
            }
            written
        });
        let mut skipped = false;
        for _ in 0..rotations {
            let mut rotate = Command::new("logrotate");
            rotate.arg("--force").arg("--state").arg(site.path("rotate.state")).arg(&rules);
            let Some(output) = needed("logrotate", rotate.output()) else {
                skipped = true;
                break;
            };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            thread::sleep(Duration::from_millis(50));
        }
        end.store(true, Ordering::Relaxed);
        written = writer.join().unwrap();
        skipped
    });
    if skipped {
        return;
    }
    let rotated = (1..=rotations).rev().map(|n| directory.join(format!("a.log.{n}")));
    let files: Vec<PathBuf> = rotated.chain([now]).filter(|file| file.exists()).collect();
    assert!(files.len() > 3, "{files:?}");
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let (holds, said) = verify(&site, &files);
    assert!(holds, "{said}");
    let all: Vec<Value> = files.iter().flat_map(|file| lines(file)).collect();
    let writes = all.iter().filter(|line| line["request"]["path"] == "secret/data/w").count();
    assert_eq!(writes, 2 * written, "{said}");
}
