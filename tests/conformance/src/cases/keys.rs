//! Keys: any bytes, each its own.

use std::collections::BTreeMap;

use keyway_loader::{Key, Put};

use crate::{
    Case,
    harness::{Broken, Harness, call, promise, wait, write_id},
    verdict::Outcomes,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("key_of_any_bytes_is_its_own", "a key is any bytes, the empty key included", awkward),
    Case::new(
        "key_is_not_folded",
        "keys are bytes: case, Unicode forms and trailing blanks make different keys",
        not_folded,
    ),
    Case::new(
        "key_and_keyspace_never_meet_another_pair",
        "keyspaces are isolated: no keyspace and key together are taken for another keyspace and key",
        injective,
    ),
    Case::new(
        "key_of_one_and_of_1024_bytes_is_kept",
        "keys that share all but their last byte are different keys",
        long,
    ),
];

/// Keys that some encoding confuses.
const AWKWARD: &[&[u8]] = &[
    b"",
    b"\0",
    b"\0\0",
    b"\xff",
    b"\xff\xff",
    b"\xff\0",
    b"\xc3\x28",
    b"%",
    b"%%",
    b"%00",
    b"_",
    b"__",
    b"/",
    b"//",
    b"a/",
    b"a",
    b"a\0",
    b"a\0b",
    b"a\xff",
    b"||",
    b"a||b",
    b".",
    b"..",
    b"../a",
    b"a.",
    b"'",
    b"\"",
    b"\\",
    b"\\0",
    b";--",
    b"*",
    b"?",
    b"[a]",
    b"\n",
    b"\r\n",
    b"CON",
    b"NUL",
];

fn put_all<'a>(h: &Harness<'_>, keys: impl Iterator<Item = &'a [u8]> + Clone) -> Outcomes {
    for (index, key) in keys.clone().enumerate() {
        h.put(key, index.to_string().as_bytes())?;
    }
    for (index, key) in keys.clone().enumerate() {
        let value = h.value(key)?;
        let written: Option<usize> = String::from_utf8_lossy(&value).parse().ok();
        let Some(other) = written.and_then(|other| keys.clone().nth(other)) else {
            return Err(Broken(format!(
                "the key \"{}\" holds \"{}\", which was never written",
                key.escape_ascii(),
                value.escape_ascii()
            )));
        };
        promise!(
            value == index.to_string().as_bytes(),
            "the key \"{}\" holds what was written to \"{}\"",
            key.escape_ascii(),
            other.escape_ascii()
        );
    }
    Ok(())
}

fn awkward(h: &Harness<'_>) -> Outcomes {
    let bytes: Vec<[u8; 1]> = (0..=255).map(|byte| [byte]).collect();
    let single = bytes.iter().map(<[u8; 1]>::as_slice);
    let all: std::collections::BTreeSet<&[u8]> = AWKWARD.iter().copied().chain(single).collect();
    put_all(h, all.iter().copied())?;
    for key in &all {
        promise!(h.delete(key)?, "the key \"{}\" was not there to delete", key.escape_ascii());
        promise!(h.get(key)?.is_none(), "the key \"{}\" is there after its delete", key.escape_ascii());
    }
    Ok(())
}

fn not_folded(h: &Harness<'_>) -> Outcomes {
    let keys = [
        "key",
        "KEY",
        "Key",
        "key ",
        "key  ",
        " key",
        "key\t",
        "stra\u{df}e",
        "strasse",
        "STRASSE",
        "\u{e9}",
        "e\u{301}",
        "\u{212b}",
        "\u{c5}",
        "A\u{30a}",
        "\u{fb01}",
        "fi",
        "i",
        "I",
        "\u{130}",
        "\u{131}",
        "1",
        "01",
        "1.0",
        "\u{ff11}",
    ];
    put_all(h, keys.iter().map(|key| key.as_bytes()))
}

fn injective(h: &Harness<'_>) -> Outcomes {
    let mut random = h.random(0);
    let base = h.keyspace();
    let mut written: BTreeMap<(String, Vec<u8>), usize> = BTreeMap::new();
    for round in 0..h.rounds(400, 20_000) {
        // The same bytes, cut into a keyspace and a key at another place.
        let joined = format!("{base}{}", String::from_utf8_lossy(&random.key(6)));
        let cut = base.len() + random.index(joined.len() - base.len() + 1);
        let Some((keyspace, key)) = joined.split_at_checked(cut) else { continue };
        let (keyspace, key) = (keyspace.to_owned(), key.as_bytes().to_vec());
        let value = round.to_string().into_bytes();
        let put = Put::new(Key::new(&keyspace, &key), &value);
        wait(h.store().put(&call(), put.with_write_id(write_id())))?;
        written.insert((keyspace, key), round);
    }
    for ((keyspace, key), round) in &written {
        let record = wait(h.store().get(&call(), Key::new(keyspace, key)))?;
        let value = record.map(|record| String::from_utf8_lossy(record.value()).into_owned());
        promise!(
            value.as_deref() == Some(round.to_string().as_str()),
            "key \"{}\" in keyspace {keyspace:?} holds {value:?}, and {round} was written to it",
            key.escape_ascii()
        );
    }
    Ok(())
}

fn long(h: &Harness<'_>) -> Outcomes {
    let limit = usize::try_from(h.capabilities().limits.key_bytes).unwrap_or(usize::MAX);
    let mut keys = Vec::new();
    for length in [1, 2, 255, 256, 479, 480, 1_023, 1_024] {
        if length <= limit {
            for last in [0, b'a', 0xff] {
                let mut key = vec![b'k'; length - 1];
                key.push(last);
                keys.push(key);
            }
        }
    }
    put_all(h, keys.iter().map(Vec::as_slice))
}
