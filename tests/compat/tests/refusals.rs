//! Unusable files in the plugin directory: the host survives each, and the error says what it is and what to
//! do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use keyway_compat::{Workbench, built, plugin};
use keyway_loader::{CallContext, Key};
use serde_json::json;

fn refusal(bench: &Workbench, requirement: &str) -> String {
    bench.load(requirement).map(|_| ()).unwrap_err().to_string()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn missing_plugin_lists_every_directory() {
    let mut bench = Workbench::new();
    let nowhere = bench.path().join("nowhere");
    bench.loader.search.push(keyway_loader::SearchPath {
        directory: nowhere.clone(),
        origin: keyway_loader::Origin::System,
    });
    let text = refusal(&bench, "sqlite");
    assert_says(&text, &["plugin sqlite was not found", "plugins (from plugin_dirs", "no plugin files"]);
    assert_says(&text, &[nowhere.to_str().unwrap(), "does not exist", "libkeyway_sqlite.so", "--plugin-dir"]);
}

#[test]
fn text_file_is_not_a_library() {
    let bench = Workbench::new();
    bench.put("sqlite", b"#!/bin/sh\necho hello\n");
    assert_says(&refusal(&bench, "sqlite"), &["not a shared library", "#!/bin/sh"]);
    bench.put("sqlite", b"");
    assert_says(&refusal(&bench, "sqlite"), &["not a shared library", "it is empty"]);
}

#[test]
fn library_that_is_no_plugin_says_so() {
    let bench = Workbench::new();
    bench.put("sqlite", &fs::read(built("libnot_a_plugin.so")).unwrap());
    assert_says(&refusal(&bench, "sqlite"), &["is a shared library but no Keyway plugin", ".keyway"]);
}

#[test]
fn truncated_library_is_refused_wherever_it_ends() {
    let bench = Workbench::with("memory");
    let whole = fs::read(plugin("memory")).unwrap();
    let steps = 64;
    for step in 0..steps {
        let (part, _) = whole.split_at(whole.len() * step / steps);
        bench.put("memory", part);
        let text = refusal(&bench, "memory");
        assert!(text.contains("damaged") || text.contains("not a shared library"), "{step}/{steps}: {text}");
    }
    // Only the last byte is missing. The headers may still be valid, but the digest is not in the lock.
    bench.put("memory", whole.split_last().unwrap().1);
    refusal(&bench, "memory");
    bench.put("memory", &whole);
    bench.load("memory").map(|_| ()).unwrap();
}

#[test]
fn library_whose_segments_lie_beyond_its_end_is_refused_before_it_is_mapped() {
    // The dynamic linker would map the segment, and touching it would kill the process.
    let bench = Workbench::with("memory");
    let mut bytes = fs::read(plugin("memory")).unwrap();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    // ELF-64 (System V ABI, "Program Header"): e_phoff at 32, e_phentsize at 54, e_phnum at 56; p_filesz at
    // 32 of each.
    let (table, size) = (usize::try_from(word(&bytes, 32)).unwrap(), usize::from(bytes[54]));
    for index in 0..usize::from(bytes[56]) {
        let header = table + index * size;
        if bytes[header] == 1 {
            let beyond = bytes.len() as u64 + 4096;
            bytes[header + 32..header + 40].copy_from_slice(&beyond.to_le_bytes());
        }
    }
    bench.put("memory", &bytes);
    assert_says(&refusal(&bench, "memory"), &["truncated or damaged", "a segment of", "lies beyond"]);
}

#[test]
fn plugin_that_is_not_locked_is_refused_with_digest_and_command() {
    let bench = Workbench::new();
    bench.put("memory", &fs::read(plugin("memory")).unwrap());
    let text = refusal(&bench, "memory");
    assert_says(&text, &["memory 1.0.0", "is not in", "keyway.lock", "its SHA-256 is", "keyway plugin lock"]);
    fs::remove_file(bench.path().join("keyway.lock")).unwrap();
    assert_says(&refusal(&bench, "memory"), &["there is no lock file", "keyway plugin lock"]);
    fs::write(bench.path().join("keyway.lock"), "[[plugin]]\nnaem = 1\n").unwrap();
    assert_says(&refusal(&bench, "memory"), &["cannot be understood", "naem"]);
}

#[test]
fn changed_byte_is_refused_by_the_lock_with_both_digests() {
    let bench = Workbench::with("memory");
    let mut bytes = fs::read(plugin("memory")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bench.put("memory", &bytes);
    assert_says(&refusal(&bench, "memory"), &["is not in", "its SHA-256 is", "(locked: memory 1.0.0"]);
}

#[test]
fn file_named_as_another_plugin_is_refused() {
    let bench = Workbench::with("memory");
    fs::rename(bench.file("memory"), bench.file("sqlite")).unwrap();
    assert_says(&refusal(&bench, "sqlite"), &["named as plugin \"sqlite\"", "says \"memory\""]);
}

#[test]
fn version_that_is_not_there_names_the_one_that_is() {
    let bench = Workbench::with("memory");
    assert_says(&refusal(&bench, "memory@^2"), &["plugin memory@^2 cannot be used", "its version is 1.0.0"]);
    bench.load("memory@^1.0").map(|_| ()).unwrap();
}

#[test]
fn configuration_that_breaks_the_schema_is_refused_without_its_values() {
    let bench = Workbench::with("sqlite");
    for (config, place) in [
        (json!({}), "path"),
        (json!({ "path": 7 }), "config/path"),
        (json!({ "path": "k.db", "passwrod": "hunter2" }), "passwrod"),
    ] {
        let error = bench.open("sqlite", config).map(|_| ()).unwrap_err().to_string();
        assert_says(&error, &["backend \"main\"", "plugin sqlite", place]);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn other_sqlite_file_is_refused_and_left_as_it_is() {
    let bench = Workbench::with("sqlite");
    let path = bench.path().join("k.db");
    fs::write(&path, b"this is no database, whatever its name says ...................").unwrap();
    let before = fs::read(&path).unwrap();
    let error = bench.open("sqlite", json!({ "path": "k.db" })).map(|_| ()).unwrap_err();
    assert_says(&keyway_loader::Chain(&error).to_string(), &["k.db", "Corrupt"]);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn loading_one_library_twice_maps_it_once() {
    let bench = Workbench::with("memory");
    let first = bench.open("memory", json!({})).unwrap();
    let second = bench.open("memory", json!({})).unwrap();
    assert!(first.number() < second.number());
    let call = CallContext::background();
    let put = keyway_loader::Put::new(Key::new("k", b"a"), b"1");
    futures_executor::block_on(first.put(&call, put)).unwrap();
    let other = futures_executor::block_on(second.get(&call, Key::new("k", b"a"))).unwrap();
    assert!(other.is_none(), "two openings share their data");
    #[cfg(target_os = "linux")]
    {
        let own = bench.path().to_str().unwrap();
        let mapped = fs::read_to_string("/proc/self/maps").unwrap();
        let images: std::collections::BTreeSet<&str> = mapped
            .lines()
            .filter(|line| line.contains(own))
            .filter_map(|line| line.split_ascii_whitespace().nth(4))
            .collect();
        assert_eq!(images.len(), 1, "inodes of the mapped images: {images:?}");
    }
}

/// Every text in full: what, which versions or digests, where it was looked, and what to type next.
#[test]
fn refusals_read_as_they_should() {
    let library = fs::read(plugin("memory")).unwrap();
    let read = |prepare: &dyn Fn(&mut Workbench)| {
        let mut bench = Workbench::new();
        prepare(&mut bench);
        bench.neutral(&refusal(&bench, "memory@^1"))
    };
    let renamed = |bench: &Workbench| {
        bench.put("memory", &fs::read(plugin("sqlite")).unwrap());
    };
    let said = [
        ("nothing is there", read(&|_| ())),
        ("no directory at all", read(&|bench| bench.loader.search.clear())),
        ("a text", read(&|bench| bench.put("memory", b"#!/bin/sh"))),
        ("empty", read(&|bench| bench.put("memory", b""))),
        ("a picture", read(&|bench| bench.put("memory", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR..."))),
        ("a directory", read(&|bench| fs::create_dir(bench.file("memory")).unwrap())),
        (
            "another library",
            read(&|bench| bench.put("memory", &fs::read(built("libnot_a_plugin.so")).unwrap())),
        ),
        ("half of it", read(&|bench| bench.put("memory", &library[..100_000]))),
        ("another plugin", read(&|bench| renamed(bench))),
        ("not locked", read(&|bench| bench.put("memory", &library))),
        ("another build than the locked one", {
            read(&|bench| {
                bench.put("memory", &library);
                bench.lock("memory");
                bench.put("memory", &[&library[..], b"x"].concat());
            })
        }),
        ("no lock file", {
            read(&|bench| {
                bench.put("memory", &library);
                fs::remove_file(&bench.loader.trust.lock_file).unwrap();
            })
        }),
        ("a lock file that is none", {
            read(&|bench| {
                bench.put("memory", &library);
                fs::write(&bench.loader.trust.lock_file, "[[plugin]]\nnaem = 1\n").unwrap();
            })
        }),
    ];
    let said: Vec<String> = said.iter().map(|(what, said)| format!("## {what}\n{said}")).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}
