//! Keyspaces: named, isolated, listed, dropped whole.

use keyway_loader::{Delete, DropKeyspace, Error, ErrorCode, Key, Put, Scan};

use crate::{
    Case,
    harness::{Harness, call, collect, promise, refused, wait, write_id},
    verdict::{Outcomes, Stop},
};

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "keyspaces_that_look_alike_are_isolated",
        "keyspaces are isolated, and their names are not folded",
        isolated,
    ),
    Case::new(
        "keyspace_is_listed_and_dropped_whole",
        "a keyspace exists from its first write until it is dropped, and is dropped with all its records in one step",
        dropped,
    ),
    Case::new(
        "keyspace_name_has_1_to_128_bytes",
        "a keyspace's name has 1 to 128 bytes; others are InvalidArgument",
        names,
    ),
    Case::new(
        "keyspaces_are_listed_in_order_a_page_at_a_time",
        "keyspaces(after) answers the names after `after`, in order, at most 1,000",
        pages,
    ),
];

fn put_into(h: &Harness<'_>, keyspace: &str, value: &[u8]) -> Result<(), Error> {
    let put = Put::new(Key::new(keyspace, b"k"), value).with_write_id(write_id());
    wait(h.store().put(&call(), put)).map(drop)
}

fn drop_one(h: &Harness<'_>, keyspace: &str) -> Result<bool, Error> {
    wait(h.store().drop_keyspace(&call(), DropKeyspace::new(keyspace, write_id())))
}

fn isolated(h: &Harness<'_>) -> Outcomes {
    let names: Vec<String> =
        ["", "/", "A", "a", "a/", " ", "%", "_", "\0", "\u{e9}", "e\u{301}", "'", ".", "||"]
            .iter()
            .map(|end| format!("{}~{end}", h.keyspace()))
            .collect();
    for name in &names {
        put_into(h, name, name.as_bytes())?;
    }
    let held = |name: &str| -> Result<Option<Vec<u8>>, Error> {
        let record = wait(h.store().get(&call(), Key::new(name, b"k")))?;
        Ok(record.map(|record| record.value().to_vec()))
    };
    for name in &names {
        let value = held(name)?;
        promise!(
            value.as_deref() == Some(name.as_bytes()),
            "the keyspace {name:?} holds what was written to {:?}",
            String::from_utf8_lossy(&value.unwrap_or_default())
        );
        let found = collect(&h.capabilities(), Scan::prefix(name, b""), |scan| h.scan(scan))?.len();
        promise!(found == 1, "a scan of the keyspace {name:?}, which has one key, answered {found}");
    }
    let (first, rest) = names.split_at(1);
    for name in first {
        wait(h.store().delete(&call(), Delete::new(Key::new(name, b"k")).with_write_id(write_id())))?;
        drop_one(h, name)?;
    }
    for name in rest {
        promise!(held(name)?.is_some(), "dropping {first:?} emptied {name:?}");
    }
    Ok(())
}

/// All names, as pages bring them.
fn listed(h: &Harness<'_>) -> Result<Vec<String>, Stop> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().cloned().unwrap_or_default();
        let names = wait(h.store().keyspaces(&call(), &after))?;
        if names.is_empty() {
            return Ok(all);
        }
        promise!(names.len() <= 1_000, "one answer listed {} keyspaces", names.len());
        promise!(names.is_sorted(), "the names of keyspaces are not in order: {names:?}");
        promise!(
            names.iter().all(|name| **name > *after),
            "a name came back that is not after {after:?}: {names:?}"
        );
        all.extend(names);
    }
}

fn dropped(h: &Harness<'_>) -> Outcomes {
    let is_listed = |h: &Harness<'_>| Ok::<_, Stop>(listed(h)?.iter().any(|name| name == h.keyspace()));
    promise!(!is_listed(h)?, "a keyspace is listed before its first write");
    promise!(!drop_one(h, h.keyspace())?, "a keyspace without a write was said to have been dropped");
    h.put(b"k", b"v")?;
    h.put(b"l", b"v")?;
    promise!(is_listed(h)?, "a keyspace is not listed after its first write");
    h.delete(b"k")?;
    h.delete(b"l")?;
    promise!(is_listed(h)?, "a keyspace whose keys were deleted is not listed, and it was not dropped");
    h.put(b"k", b"v")?;
    h.put(b"l", b"v")?;
    promise!(drop_one(h, h.keyspace())?, "an existing keyspace was said to be missing");
    promise!(!drop_one(h, h.keyspace())?, "a dropped keyspace was said to exist");
    promise!(!is_listed(h)?, "a dropped keyspace is listed");
    promise!(h.get(b"k")?.is_none() && h.get(b"l")?.is_none(), "a dropped keyspace still has records");
    promise!(h.entries(b"")?.is_empty(), "a scan of a dropped keyspace has records");
    Ok(())
}

fn names(h: &Harness<'_>) -> Outcomes {
    let longest = "k".repeat(128);
    let put = |name: &str| put_into(h, name, b"v");
    refused(put(""), ErrorCode::INVALID_ARGUMENT, "a put into a keyspace without a name")?;
    let longer = "k".repeat(129);
    refused(put(&longer), ErrorCode::INVALID_ARGUMENT, "a put into a keyspace with a name of 129 bytes")?;
    promise!(!listed(h)?.contains(&longer), "a refused put made its keyspace");
    put(&longest)?;
    put("k")?;
    promise!(listed(h)?.contains(&longest), "a keyspace with a name of 128 bytes is not listed");
    refused(drop_one(h, ""), ErrorCode::INVALID_ARGUMENT, "the drop of a keyspace without a name")
}

fn pages(h: &Harness<'_>) -> Outcomes {
    let count = h.rounds(1_050, 5_000);
    let made: Vec<String> = (0..count).map(|index| format!("{}-{index:04}", h.keyspace())).collect();
    for name in &made {
        put_into(h, name, b"v")?;
    }
    let own: Vec<String> = listed(h)?.into_iter().filter(|name| name.starts_with(h.keyspace())).collect();
    promise!(own == made, "{count} keyspaces were written to, and {} are listed", own.len());
    Ok(())
}
