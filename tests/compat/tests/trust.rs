//! The trust policies, and what tries to get past them.
#![cfg(unix)]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use keyway_compat::{
    Workbench,
    forge::{Forged, descriptor, mark},
};
use keyway_loader::{
    Fix, Grant, Origin, Policy, SearchPath, TrustedKey,
    describe::describe,
    discover::{Candidate, file_name},
    loader::{Depth, StageFailure},
    stage::stage,
    trust::signed::{signature_path, trusted_comment},
};
use minisign::KeyPair;

/// The verdict on the plugin `forged` in the first directory: why it may run, or why not and what to do.
fn verdict(bench: &Workbench) -> Result<Grant, String> {
    let candidate = Candidate {
        path: bench.file("forged"),
        name: "forged".to_owned(),
        place: bench.loader.search[0].clone(),
    };
    let diagnosis = bench.loader.diagnose(candidate, Depth::Trust);
    match diagnosis.failure {
        None => Ok(diagnosis.grant.unwrap()),
        Some(failure) => {
            Err(bench.neutral(&format!("{}: {failure}; {}", failure.stage().name(), failure.fix())))
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// With the forged plugin in it, and nothing configured.
fn bench() -> Workbench {
    let mut bench = Workbench::new();
    bench.put("forged", &Forged::new("nothing").compile(bench.path()));
    // Set, as a lax umask would let others write here.
    for path in [bench.path().to_owned(), bench.path().join("plugins"), bench.file("forged")] {
        mode(&path, 0o755);
    }
    bench.loader.trust.policy = None;
    bench
}

#[test]
fn nothing_configured_lets_nothing_run_and_each_directory_has_its_own_policy() {
    let mut bench = bench();
    let refused = verdict(&bench).unwrap_err();
    assert!(refused.contains("no trust policy is configured for [bench]/plugins"), "{refused}");
    let directory = bench.path().join("plugins");
    // By any name of the directory.
    let link = bench.path().join("link");
    symlink(&directory, &link).unwrap();
    for named in [directory, link] {
        bench.loader.trust.directories = vec![(named, Policy::Owner)];
        assert_eq!(verdict(&bench), Ok(Grant::Owned));
    }
    bench.loader.trust.policy = Some(Policy::Unchecked);
    bench.loader.trust.directories.clear();
    assert_eq!(verdict(&bench), Ok(Grant::Unchecked));
    bench.loader.trust.policy = Some(Policy::Lock);
    assert!(verdict(&bench).unwrap_err().contains("is not in [bench]/keyway.lock"));
}

#[test]
fn environment_loosens_nothing() {
    let mut bench = bench();
    for origin in [Origin::Environment, Origin::User] {
        bench.loader.search[0].origin = origin;
        for policy in [Policy::Owner, Policy::Unchecked] {
            bench.loader.trust.policy = Some(policy);
            let refused = verdict(&bench).unwrap_err();
            assert!(refused.contains("because the environment names it"), "{refused}");
            assert!(refused.contains("[trust.directories]"), "{refused}");
        }
        bench.loader.trust.policy = Some(Policy::Lock);
        assert!(verdict(&bench).unwrap_err().contains("is not in"));
        // A directory that the configuration names has its policy, even if the environment names it, too.
        bench.loader.trust.directories = vec![(bench.path().join("plugins"), Policy::Owner)];
        assert_eq!(verdict(&bench), Ok(Grant::Owned));
        bench.loader.trust.directories.clear();
    }
}

#[test]
fn owner_refuses_what_others_could_have_written() {
    let mut bench = bench();
    bench.loader.trust.policy = Some(Policy::Owner);
    assert_eq!(verdict(&bench), Ok(Grant::Owned));
    let (file, directory) = (bench.file("forged"), bench.path().join("plugins"));
    let mut said = Vec::new();
    let mut tried = |what: &str, verdict: Result<Grant, String>| {
        said.push(format!("{what}:\n    {}", verdict.unwrap_err()));
    };
    mode(&file, 0o775);
    tried("group may write the file", verdict(&bench));
    mode(&file, 0o757);
    tried("everybody may write the file", verdict(&bench));
    mode(&file, 0o755);
    mode(&directory, 0o777);
    tried("everybody may write the directory", verdict(&bench));
    mode(&directory, 0o775);
    tried("group may write the directory", verdict(&bench));
    // Others can put files into its directory, which a link may name.
    mode(&directory, 0o1777);
    tried("everybody may add to the directory", verdict(&bench));
    mode(&directory, 0o755);
    mode(bench.path(), 0o777);
    tried("everybody may write the directory above", verdict(&bench));
    // In a sticky directory, only the owner of a file can replace it.
    mode(bench.path(), 0o1777);
    assert_eq!(verdict(&bench), Ok(Grant::Owned));
    // The directories above need not be readable.
    mode(bench.path(), 0o711);
    assert_eq!(verdict(&bench), Ok(Grant::Owned));
    mode(bench.path(), 0o755);

    let elsewhere = bench.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&file, elsewhere.join("real.so")).unwrap();
    symlink("../elsewhere/real.so", &file).unwrap();
    tried("a link out of the directory", verdict(&bench));
    fs::remove_file(&file).unwrap();
    symlink(elsewhere.join("real.so"), &file).unwrap();
    let refused = verdict(&bench).unwrap_err();
    assert!(refused.contains("out of its directory"), "{refused}");
    fs::remove_file(&file).unwrap();
    // To another name in the same directory, as packages do with versions.
    fs::rename(elsewhere.join("real.so"), directory.join("libreal.so.1")).unwrap();
    symlink("libreal.so.1", directory.join("libreal.so")).unwrap();
    symlink("libreal.so", &file).unwrap();
    assert_eq!(verdict(&bench), Ok(Grant::Owned));
    fs::remove_file(&file).unwrap();
    symlink(file_name("forged"), &file).unwrap();
    let refused = verdict(&bench).unwrap_err();
    assert!(refused.starts_with("stage: open "), "a link to itself: {refused}");
    fs::remove_file(&file).unwrap();
    fs::rename(directory.join("libreal.so.1"), &file).unwrap();
    assert_eq!(verdict(&bench), Ok(Grant::Owned));

    if rustix::process::geteuid().is_root() {
        chown(&file, Some(65_534), None).unwrap();
        tried("another user's file", verdict(&bench));
        chown(&file, Some(0), None).unwrap();
        chown(&directory, Some(65_534), None).unwrap();
        tried("another user's directory", verdict(&bench));
        insta::assert_snapshot!(said.join("\n"));
    } else {
        eprintln!("SKIPPED: files of other users, which only root can make");
    }
}

/// A key for `forged`, and the library signed by it with this comment.
fn sign(bench: &Workbench, key: &KeyPair, comment: &str) {
    let library = fs::read(bench.file("forged")).unwrap();
    let signature = minisign::sign(Some(&key.pk), &key.sk, &library[..], Some(comment), None).unwrap();
    fs::write(signature_path(&bench.file("forged")), signature.into_string()).unwrap();
}

fn trust(bench: &mut Workbench, key: &KeyPair, plugins: &str) {
    let key = TrustedKey::new("acme", &key.pk.to_base64(), vec![plugins.to_owned()]).unwrap();
    bench.loader.trust.keys = vec![key];
}

#[test]
fn signature_counts_by_a_key_for_the_plugin_over_these_bytes_name_version_and_platform() {
    let mut bench = bench();
    bench.loader.trust.policy = Some(Policy::Signed);
    let described = describe(stage(&bench.file("forged"), &bench.loader.staging_dir).unwrap()).unwrap();
    let comment = trusted_comment(&described.descriptor);
    let (key, other) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    trust(&mut bench, &key, "forged");
    let mut said = Vec::new();
    let mut tried = |what: &str, verdict: Result<Grant, String>| {
        said.push(format!("{what}:\n    {}", verdict.unwrap_err()));
    };
    tried("no signature", verdict(&bench));
    sign(&bench, &key, &comment);
    assert_eq!(verdict(&bench), Ok(Grant::Signed("acme".to_owned())));
    trust(&mut bench, &key, "for*");
    assert_eq!(verdict(&bench), Ok(Grant::Signed("acme".to_owned())));
    trust(&mut bench, &key, "other-*");
    tried("a key for other plugins", verdict(&bench));
    trust(&mut bench, &other, "forged");
    tried("another key", verdict(&bench));
    trust(&mut bench, &key, "forged");
    for (what, comment) in [
        ("another name", comment.replace("name:forged", "name:sqlite")),
        ("another version", comment.replace("version:1.0.0", "version:0.9.0")),
        ("another platform", comment.replace(&keyway_loader::describe::host_target(), "other-target")),
        ("no version", comment.replace("version:1.0.0", "")),
        ("two versions", format!("{comment} version:2.0.0")),
        ("an empty comment", String::new()),
    ] {
        sign(&bench, &key, &comment);
        tried(what, verdict(&bench));
    }
    sign(&bench, &key, &comment);
    let signature = signature_path(&bench.file("forged"));
    let text = fs::read_to_string(&signature).unwrap();
    let forged_comment = text.replace("version:1.0.0", "version:1.0.1");
    for (what, text) in
        [("a changed comment", forged_comment.as_str()), ("rubbish", "rubbish"), ("nothing", "")]
    {
        fs::write(&signature, text).unwrap();
        tried(what, verdict(&bench));
    }
    insta::assert_snapshot!(said.join("\n"));
    for (key, plugins) in [("x", "forged"), ("", "forged")] {
        TrustedKey::new("acme", key, vec![plugins.to_owned()]).unwrap_err();
    }
    for plugins in [vec![], vec!["".to_owned()], vec!["a*b".to_owned()], vec!["A".to_owned()]] {
        TrustedKey::new("acme", &key.pk.to_base64(), plugins).unwrap_err();
    }
}

#[test]
fn signatures_of_minisign_itself_count() {
    let mut bench = bench();
    bench.loader.trust.policy = Some(Policy::Signed);
    let secret = bench.path().join("key");
    let public = bench.path().join("key.pub");
    let made = Command::new("minisign").arg("-GWfs").arg(&secret).arg("-p").arg(&public).output();
    let Ok(made) = made else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "minisign is missing");
        eprintln!("SKIPPED: minisign is not installed");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let described = describe(stage(&bench.file("forged"), &bench.loader.staging_dir).unwrap()).unwrap();
    let signed = Command::new("minisign")
        .args(["-WS", "-t", &trusted_comment(&described.descriptor)])
        .arg("-s")
        .arg(&secret)
        .arg("-m")
        .arg(bench.file("forged"))
        .output()
        .unwrap();
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let text = fs::read_to_string(public).unwrap();
    let key = TrustedKey::new("us", text.lines().nth(1).unwrap(), vec!["*".to_owned()]).unwrap();
    bench.loader.trust.keys = vec![key];
    assert_eq!(verdict(&bench), Ok(Grant::Signed("us".to_owned())));
    // The old form, over the file itself, is refused.
    let old = Command::new("minisign")
        .args(["-WSl", "-t", &trusted_comment(&described.descriptor)])
        .arg("-s")
        .arg(&secret)
        .arg("-m")
        .arg(bench.file("forged"))
        .output()
        .unwrap();
    if old.status.success() {
        assert!(verdict(&bench).unwrap_err().contains("does not count"));
    }
}

#[test]
fn lock_file_that_everybody_may_write_locks_nothing() {
    let mut bench = bench();
    bench.loader.trust.policy = Some(Policy::Lock);
    bench.lock("forged");
    assert_eq!(verdict(&bench), Ok(Grant::Locked));
    mode(&bench.loader.trust.lock_file, 0o666);
    let refused = verdict(&bench).unwrap_err();
    assert!(refused.contains("every user may write it (mode 666)"), "{refused}");
}

#[test]
fn library_from_elsewhere_is_not_loaded_on_the_side() {
    let mut bench = bench();
    bench.loader.trust.policy = Some(Policy::Unchecked);
    let evil = Forged::new("mark").compile(bench.path());
    fs::write(bench.path().join("plugins/libevil.so"), evil).unwrap();
    let compile = |arguments: &[&str]| {
        let directory = bench.path().join("plugins");
        let mut forged = Forged::new("nothing");
        forged.arguments =
            vec!["-Wl,--no-as-needed".to_owned(), format!("-L{}", directory.display()), "-levil".to_owned()];
        forged.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        bench.put("forged", &forged.compile(bench.path()));
    };
    let refusals: Vec<String> =
        [&["-Wl,-rpath,$ORIGIN"][..], &["-Wl,--disable-new-dtags,-rpath,$ORIGIN"], &[]]
            .iter()
            .map(|arguments| {
                compile(arguments);
                verdict(&bench).unwrap_err()
            })
            .collect();
    insta::assert_snapshot!(refusals.join("\n"));
    assert!(!mark(bench.path()).exists());
    // An operator may allow one, which the system's own rules then find or not.
    bench.loader.libraries = vec!["libevil.so".to_owned()];
    assert_eq!(verdict(&bench), Ok(Grant::Unchecked));
}

#[test]
fn of_two_files_of_one_plugin_the_first_that_may_run_is_used() {
    let mut bench = Workbench::with("memory");
    let second = bench.path().join("second");
    fs::create_dir(&second).unwrap();
    fs::copy(bench.file("memory"), second.join(file_name("memory"))).unwrap();
    bench.loader.search.push(SearchPath { directory: second.clone(), origin: Origin::Configuration });
    let first = bench.load("memory").unwrap();
    assert_eq!(first.source(), Some(bench.file("memory").as_path()));
    let (diagnoses, _) = bench.loader.diagnose_all(Depth::Probe);
    assert_eq!(diagnoses[1].shadowed_by.as_deref(), Some(bench.file("memory").as_path()));
    bench.put("memory", b"no library");
    let other = bench.load("memory").unwrap();
    assert_eq!(other.source(), Some(second.join(file_name("memory")).as_path()));
}

/// Rounds of the race in CI; `KEYWAY_RACES` says otherwise.
const RACES: usize = 10_000;

#[test]
fn file_that_is_swapped_at_any_moment_never_runs_unverified() {
    let bench = Workbench::new();
    let evil = Forged::new("mark").compile(bench.path());
    let good = Forged::new("nothing").compile(bench.path());
    assert_eq!(descriptor("forged"), Forged::new("mark").descriptor, "only the code differs");
    bench.put("forged", &good);
    bench.lock("forged");
    // Straight into this process, where a mark would be left at once; and the good one is refused at last,
    // for it exports nothing.
    let mut loader = bench.loader.clone();
    loader.prober = None;
    let requirement = keyway_loader::Requirement::parse("forged").unwrap();
    let rounds = std::env::var("KEYWAY_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(RACES);
    let done = AtomicBool::new(false);
    let (mut ran, mut refused, mut torn) = (0, 0, 0);
    thread::scope(|scope| {
        scope.spawn(|| swap_for_ever(&bench, &good, &evil, &done));
        for _ in 0..rounds {
            let error = loader.load(&requirement).map(|_| ()).unwrap_err();
            match error.passed_over.first().map(|passed| &passed.reason) {
                Some(StageFailure::Open(_)) => ran += 1,
                Some(StageFailure::Trust(_)) => refused += 1,
                // Seen while it was written over or was away.
                _ => torn += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(!mark(bench.path()).exists(), "unverified bytes ran");
    assert!(ran > rounds / 100 && refused > rounds / 100, "{ran} ran, {refused} refused, {torn} torn");
}

/// In every way that there is: another file under the name, other bytes in the file, a link that turns.
fn swap_for_ever(bench: &Workbench, good: &[u8], evil: &[u8], done: &AtomicBool) {
    let (file, beside) = (bench.file("forged"), bench.path().join("plugins/beside"));
    let (good_file, evil_file) = (bench.path().join("good.so"), bench.path().join("evil.so"));
    fs::write(&good_file, good).unwrap();
    fs::write(&evil_file, evil).unwrap();
    // So that whole files are seen more often than halves.
    let rest = || thread::sleep(Duration::from_micros(100));
    while !done.load(Ordering::Relaxed) {
        for (bytes, target) in [(evil, &evil_file), (good, &good_file)] {
            fs::write(&beside, bytes).unwrap();
            fs::rename(&beside, &file).unwrap();
            rest();
            fs::write(&file, bytes).unwrap();
            rest();
            symlink(target, &beside).unwrap();
            fs::rename(&beside, &file).unwrap();
            rest();
            fs::remove_file(&file).unwrap();
            fs::write(&beside, bytes).unwrap();
            fs::rename(&beside, &file).unwrap();
        }
    }
}

/// By name: `(section, what its bytes become)`.
fn with_section(library: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    use object::{Object, ObjectSection};
    let mut bytes = library.to_vec();
    let (offset, length) =
        object::File::parse(library).unwrap().section_by_name(name).unwrap().file_range().unwrap();
    let (offset, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
    change(&mut bytes[offset..offset + length]);
    bytes
}

/// What the dynamic linker would read otherwise than a naive reader is refused. Entries of the dynamic
/// section are two words, the tag first (System V ABI, "Dynamic Section").
#[test]
fn dynamic_section_that_two_readers_read_differently_is_refused() {
    let mut bench = bench();
    bench.loader.trust.policy = Some(Policy::Unchecked);
    let library = fs::read(bench.file("forged")).unwrap();
    let tag = |entry: &[u8]| u64::from_le_bytes(entry[..8].try_into().unwrap());
    let change_tag = |from: u64, to: u64| {
        with_section(&library, ".dynamic", |section| {
            for entry in section.chunks_exact_mut(16).filter(|entry| tag(entry) == from) {
                entry[..8].copy_from_slice(&to.to_le_bytes());
            }
        })
    };
    let (null, strings, debug_or_flags) = (0, 5, 0x6fff_fff9);
    for (what, bytes, says) in [
        ("two tables of strings", change_tag(debug_or_flags, strings), "does not name its strings once"),
        ("no table of strings", change_tag(strings, 0x6fff_fef5), "does not name its strings once"),
        ("no end", change_tag(null, 0x6fff_fef5), "has no end"),
    ] {
        bench.put("forged", &bytes);
        let refused = verdict(&bench).unwrap_err();
        assert!(refused.starts_with("describe: ") && refused.contains(says), "{what}: {refused}");
    }
    // A program header is 56 bytes; its type comes first, its address at 16 (ELF-64).
    let mut overlapping = library.clone();
    let table = usize::try_from(u64::from_le_bytes(library[32..40].try_into().unwrap())).unwrap();
    let loads: Vec<usize> = (0..usize::from(library[56]))
        .map(|index| table + 56 * index)
        .filter(|at| library[*at] == 1)
        .collect();
    let first: [u8; 8] = library[loads[0] + 16..loads[0] + 24].try_into().unwrap();
    overlapping[loads[1] + 16..loads[1] + 24].copy_from_slice(&first);
    bench.put("forged", &overlapping);
    let refused = verdict(&bench).unwrap_err();
    assert!(refused.contains("two segments share a page"), "{refused}");
}
