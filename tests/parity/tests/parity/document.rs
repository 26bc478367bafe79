//! `docs/compatibility.md`, generated from the list of intended differences.

use std::{collections::BTreeSet, env, fmt::Write, fs, path::Path};

use crate::differences::DIFFERENCES;

const HEAD: &str = "# Compatibility

<!-- Generated from tests/parity/differences.toml; `KEYWAY_UPDATE=1 cargo test -p keyway-parity document` writes it. -->

For application developers and operators who come from Vault or OpenBao: every difference that a client can see.

Keyway speaks the HTTP protocol of Vault and OpenBao. `tests/parity` sends the same requests to Keyway and to a real
OpenBao 2.7.2 and compares the answers. It sends tables of requests, generated sequences and random policies, and runs
the `bao` command line, agent and proxy. Any difference that is not listed here fails these tests, and so does an entry
that no longer differs.

Each entry says what Keyway does, and why. The texts of errors and warnings are Keyway's own and are not listed.
";

#[test]
fn document_of_compatibility_says_what_the_list_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let text = text();
    if env::var("KEYWAY_UPDATE").as_deref() == Ok("1") {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/compatibility.md is not up to date; run `KEYWAY_UPDATE=1 cargo test -p keyway-parity document`"
    );
}

fn text() -> String {
    let mut text = HEAD.to_owned();
    let areas: BTreeSet<&str> =
        DIFFERENCES.difference.iter().map(|intended| intended.area.as_str()).collect();
    for area in areas {
        write!(text, "\n## {area}\n\n").unwrap();
        for intended in DIFFERENCES.difference.iter().filter(|intended| intended.area == area) {
            writeln!(text, "- {} *{}*", intended.what, intended.why).unwrap();
        }
    }
    text
}
