//! Damaged libraries: cut off anywhere, with any bit flipped. None takes the host down, and none that was
//! changed runs where a lock or a signature says what may.
#![cfg(target_os = "linux")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use keyway_compat::{
    Workbench,
    forge::{Forged, Seeded, mark, patched, stripped},
    plugin,
};
use keyway_loader::{
    Digest, Policy,
    describe::describe,
    discover::Candidate,
    loader::{Depth, StageName},
    stage::stage,
};
use object::{Object, ObjectSection};
use serde_json::json;

/// Flips of bits in CI; the campaign of [`flips`] has as many as `KEYWAY_FLIPS` says.
const FLIPS: usize = 2_000;

fn flips() -> usize {
    std::env::var("KEYWAY_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(FLIPS)
}

fn candidate(bench: &Workbench, name: &str) -> Candidate {
    Candidate { path: bench.file(name), name: name.to_owned(), place: bench.loader.search[0].clone() }
}

#[test]
fn library_cut_off_at_any_boundary_of_a_section_is_refused_before_it_runs() {
    let mut bench = Workbench::new();
    let whole = stripped(&plugin("memory"), bench.path());
    let parsed = object::File::parse(&whole[..]).unwrap();
    let mut ends = BTreeSet::from([0, 1, 3, 4, 16, 63, 64, whole.len() - 1]);
    for section in parsed.sections() {
        if let Some((offset, length)) = section.file_range() {
            for end in [offset, offset + length] {
                let end = usize::try_from(end).unwrap();
                ends.extend([end.saturating_sub(1), end, end + 1]);
            }
        }
    }
    assert!(ends.len() > 60, "{} boundaries", ends.len());
    // Nothing but the reading stands between it and the host.
    bench.loader.trust.policy = Some(Policy::Unchecked);
    for end in ends.into_iter().filter(|end| *end < whole.len()) {
        bench.put("memory", &whole[..end]);
        let diagnosis = bench.loader.diagnose(candidate(&bench, "memory"), Depth::Probe);
        let failure = diagnosis.failure.unwrap_or_else(|| panic!("cut off at {end} it is good"));
        assert!(failure.stage() <= StageName::Describe, "cut off at {end}: {failure}");
    }
    bench.put("memory", &whole);
    bench.open("memory", json!({})).unwrap();
}

#[test]
fn locked_or_signed_library_with_any_bit_flipped_never_runs() {
    let mut bench = Workbench::new();
    let whole = Forged::new("mark").compile(bench.path());
    bench.put("forged", &whole);
    bench.lock("forged");
    let key = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let trusted =
        keyway_loader::TrustedKey::new("us", &key.pk.to_base64(), vec!["forged".to_owned()]).unwrap();
    bench.loader.trust.keys.push(trusted);
    let described = describe(stage(&bench.file("forged"), &bench.loader.staging_dir).unwrap()).unwrap();
    let comment = keyway_loader::trust::signed::trusted_comment(&described.descriptor);
    let signature = minisign::sign(Some(&key.pk), &key.sk, &whole[..], Some(&comment), None).unwrap();
    let path = keyway_loader::trust::signed::signature_path(&bench.file("forged"));
    std::fs::write(path, signature.into_string()).unwrap();
    let mut seeded = Seeded(0x6b65_7977_6179);
    for policy in [Policy::Lock, Policy::Signed] {
        bench.loader.trust.policy = Some(policy);
        let untouched = bench.loader.diagnose(candidate(&bench, "forged"), Depth::Trust);
        assert!(untouched.failure.is_none(), "{policy:?}: {:?}", untouched.failure);
        for _ in 0..flips() {
            let mut flipped = whole.clone();
            let (at, bit) = (seeded.below(whole.len()), seeded.below(8));
            flipped[at] ^= 1 << bit;
            bench.put("forged", &flipped);
            let refused = bench.load("forged").map(|_| ()).unwrap_err();
            let stage = refused.passed_over[0].reason.stage();
            assert!(stage <= StageName::Trust, "{policy:?}, byte {at}, bit {bit}: {refused}");
        }
        assert!(!mark(bench.path()).exists(), "a changed library ran");
        bench.put("forged", &whole);
    }
    // The library as it was signed does run, or nothing was shown.
    bench.load("forged").map(|_| ()).unwrap_err();
    assert!(mark(bench.path()).exists());
}

#[test]
fn unchecked_library_with_any_bit_flipped_harms_at_most_its_probe() {
    let mut bench = Workbench::new();
    let whole = stripped(&plugin("memory"), bench.path());
    bench.loader.trust.policy = Some(Policy::Unchecked);
    let parsed = object::File::parse(&whole[..]).unwrap();
    // The parts that the loader and the dynamic linker read. Only a digest detects flips in code and data.
    let read: Vec<(usize, usize)> =
        [".keyway", ".dynamic", ".dynstr", ".dynsym", ".gnu.hash", ".rela.dyn", ".init_array"]
            .iter()
            .filter_map(|name| parsed.section_by_name(name)?.file_range())
            .map(|(offset, length)| (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap()))
            .chain([(0, 1_024), (whole.len() - 2_048, 2_048)])
            .collect();
    let mut seeded = Seeded(0x6c6f_6164_6572);
    let (mut refused, mut good) = (0, 0);
    for _ in 0..flips() / 8 {
        let mut flipped = whole.clone();
        let (offset, length) = read[seeded.below(read.len())];
        let at = offset + seeded.below(length);
        flipped[at] ^= 1 << seeded.below(8);
        bench.put("memory", &flipped);
        match bench.loader.diagnose(candidate(&bench, "memory"), Depth::Probe).failure {
            Some(_) => refused += 1,
            None => good += 1,
        }
        // The history and the copies are not under test, and take space.
        std::fs::remove_dir_all(&bench.loader.staging_dir).unwrap();
    }
    assert!(refused > 10 && good > 10, "{refused} refused, {good} good");
    bench.put("memory", &whole);
    bench.open("memory", json!({})).unwrap();
}

#[test]
fn changed_descriptor_is_what_decides_and_what_differs_when_loaded_is_a_lie() {
    let mut bench = Workbench::new();
    let whole = stripped(&plugin("memory"), bench.path());
    bench.loader.trust.policy = Some(Policy::Unchecked);
    let says = |bytes: &[u8]| {
        bench.put("memory", bytes);
        let loaded = bench.load("memory");
        loaded.map(|_| "loads".to_owned()).unwrap_or_else(|error| {
            use keyway_loader::Fix;
            let reason = &error.passed_over[0].reason;
            bench.neutral(&format!("{}: {reason}; {}", reason.stage().name(), reason.fix()))
        })
    };
    let forged = |field: &str, text: &str| {
        let mut forged = Forged::new("nothing");
        forged.descriptor[field] = json!(text);
        forged.compile(bench.path())
    };
    let interface =
        |other: &str| patched(&whole, "\"interface\":\"1.0.0\"", &format!("\"interface\":\"{other}\""));
    let said = [
        ("wrong major", says(&interface("2.0.0"))),
        ("major 0", says(&interface("0.9.0"))),
        ("newer minor", says(&interface("1.9.0"))),
        ("newer patch", says(&interface("1.0.9"))),
        ("no version", says(&interface("1.0.x"))),
        ("another name", says(&patched(&whole, "\"name\":\"memory\"", "\"name\":\"Memory\""))),
        ("another format", says(&patched(&whole, "{\"format\":1,", "{\"format\":7,"))),
        ("another system", says(&patched(&whole, "\"target_os\":\"linux\"", "\"target_os\":\"plan9\""))),
        ("another C library", says(&patched(&whole, "\"target_env\":\"gnu\"", "\"target_env\":\"gna\""))),
        ("aborting", says(&patched(&whole, "\"panic\":\"unwind\"", "\"panic\":\"aborts\""))),
        ("no JSON", says(&patched(&whole, "{\"format\":1,", "[\"format\":1,"))),
        ("a path as its name", says(&forged("name", "../../evil"))),
        ("colours for a terminal", says(&forged("description", "\u{1b}[31mred"))),
        ("a lie", says(&with_another_section(&whole, bench.path()))),
    ];
    let said: Vec<String> = said.iter().map(|(what, said)| format!("{what}:\n    {said}")).collect();
    insta::assert_snapshot!(said.join("\n"));
}

/// The library with a second descriptor in the section that is read without running it.
fn with_another_section(whole: &[u8], directory: &std::path::Path) -> Vec<u8> {
    let parsed = object::File::parse(whole).unwrap();
    let descriptor = parsed.section_by_name(".keyway").unwrap().data().unwrap().to_vec();
    let lie = patched(&descriptor, "\"durability\":\"volatile\"", "\"durability\":\"eternal!\"");
    let (library, section, lying) =
        (directory.join("honest.so"), directory.join("lie.json"), directory.join("lying.so"));
    std::fs::write(&library, whole).unwrap();
    std::fs::write(&section, lie).unwrap();
    let done = std::process::Command::new("objcopy")
        .args(["--rename-section", ".keyway=.other", "--add-section"])
        .arg(format!(".keyway={}", section.display()))
        .arg(&library)
        .arg(&lying)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::read(lying).unwrap()
}

#[test]
fn digest_of_equal_bytes_is_equal_and_parses_from_its_text() {
    let digest = Digest::of(b"x");
    assert_eq!(Digest::parse(&digest.to_string().to_uppercase()), Some(digest));
    assert_eq!(Digest::parse("12"), None);
}
