//! get, get_many, put, delete, keyspaces.

use keyway_loader::{DropKeyspace, ErrorCode, Key, Put, WriteId};

use crate::{
    Case,
    harness::{Broken, Harness, Outcomes, call, promise, refused, wait},
};

pub(crate) const CASES: &[Case] = &[
    Case { name: "get_missing_key_is_none", applies: |_| true, run: get_missing_key_is_none },
    Case { name: "put_then_get_returns_value_and_version", applies: |_| true, run: put_then_get },
    Case { name: "put_awkward_keys_are_distinct", applies: |_| true, run: awkward_keys },
    Case { name: "put_empty_value_is_not_absence", applies: |_| true, run: empty_value },
    Case { name: "put_key_beyond_limit_leaves_no_trace", applies: |_| true, run: key_limit },
    Case { name: "put_value_beyond_limit_leaves_no_trace", applies: |_| true, run: value_limit },
    Case { name: "get_many_answers_in_order", applies: |_| true, run: get_many_in_order },
    Case { name: "delete_is_idempotent_and_truthful", applies: |_| true, run: delete_is_idempotent },
    Case { name: "keyspaces_that_look_alike_are_isolated", applies: |_| true, run: keyspaces_isolated },
    Case { name: "keyspace_is_listed_and_dropped_whole", applies: |_| true, run: keyspace_dropped },
    Case { name: "keyspace_name_without_bytes_is_invalid", applies: |_| true, run: keyspace_names },
];

fn get_missing_key_is_none(h: &Harness) -> Outcomes {
    promise!(h.get(b"missing")?.is_none(), "a key that was never written has a record");
    promise!(!h.delete(b"missing")?, "a key that was never written was deleted");
    Ok(())
}

fn put_then_get(h: &Harness) -> Outcomes {
    let first = h.put(b"k", b"one")?;
    let record = h.get(b"k")?.ok_or_else(|| Broken("a written key is missing".into()))?;
    promise!(record.value() == b"one", "another value came back than was written");
    promise!(record.version() == first, "get has another version than put answered");
    promise!(record.expires_at_ms().is_none(), "a record without expiry came back with one");
    let second = h.put(b"k", b"two")?;
    promise!(first != second, "a second write did not change the version");
    promise!(h.value(b"k")? == b"two", "the second write is not seen");
    Ok(())
}

fn awkward_keys(h: &Harness) -> Outcomes {
    let longest = vec![b'x'; 480];
    let keys: Vec<&[u8]> = vec![
        b"",
        b"\0",
        b"\0\0",
        b"\xff",
        b"\xff\xff",
        b"\xc3\x28",
        b"%",
        b"%%",
        b"_",
        b"/",
        b"//",
        b"a/",
        b"a",
        b"A",
        b"a ",
        b" a",
        b"||",
        b".",
        b"..",
        b"a\0b",
        b"a\0",
        b"'",
        b"\"",
        b"\\",
        b";--",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        &longest,
    ];
    for (index, key) in keys.iter().enumerate() {
        h.put(key, index.to_string().as_bytes())?;
    }
    for (index, key) in keys.iter().enumerate() {
        let value = h.value(key)?;
        promise!(
            value == index.to_string().as_bytes(),
            "the key {} is taken for another one",
            key.escape_ascii()
        );
    }
    Ok(())
}

fn empty_value(h: &Harness) -> Outcomes {
    h.put(b"k", b"")?;
    promise!(h.value(b"k")?.is_empty(), "an empty value came back with bytes");
    promise!(h.delete(b"k")?, "a key with an empty value was not there to delete");
    Ok(())
}

fn key_limit(h: &Harness) -> Outcomes {
    let limit = usize::try_from(h.capabilities().limits.key_bytes).unwrap_or(usize::MAX);
    promise!(limit >= 480, "the longest key has {limit} bytes, and every backend takes 480");
    let longest = vec![b'k'; limit];
    h.put(&longest, b"v")?;
    promise!(h.value(&longest)? == b"v", "a key of the greatest length is not found");
    let longer = vec![b'k'; limit + 1];
    refused(h.put(&longer, b"v"), ErrorCode::TOO_LARGE, "a put of a key beyond the limit")?;
    refused(h.get(&longer), ErrorCode::TOO_LARGE, "a get of a key beyond the limit")?;
    Ok(())
}

fn value_limit(h: &Harness) -> Outcomes {
    let limit = usize::try_from(h.capabilities().limits.value_bytes).unwrap_or(usize::MAX);
    let value = vec![7; limit + 1];
    refused(h.put(b"k", &value), ErrorCode::TOO_LARGE, "a put of a value beyond the limit")?;
    promise!(h.get(b"k")?.is_none(), "a value beyond the limit left a record");
    let (largest, _) = value.split_at(limit);
    h.put(b"k", largest)?;
    promise!(h.value(b"k")? == largest, "a value of the greatest size came back changed");
    h.delete(b"k")?;
    Ok(())
}

fn get_many_in_order(h: &Harness) -> Outcomes {
    h.put(b"a", b"1")?;
    h.put(b"c", b"3")?;
    let other = format!("{}-other", h.keyspace());
    wait(h.store().put(&call(), Put::new(Key::new(&other, b"a"), b"other")))?;
    let keys = [h.key(b"c"), h.key(b"b"), h.key(b"a"), Key::new(&other, b"a"), h.key(b"c")];
    let records = wait(h.store().get_many(&call(), &keys))?;
    let values: Vec<Option<Vec<u8>>> =
        records.iter().map(|record| record.map(|record| record.value().to_vec())).collect();
    let expected =
        [Some(b"3".to_vec()), None, Some(b"1".to_vec()), Some(b"other".to_vec()), Some(b"3".to_vec())];
    promise!(values == expected, "get_many answered {values:?} for keys that hold {expected:?}");
    promise!(wait(h.store().get_many(&call(), &[]))?.is_empty(), "get_many of no keys answered some");
    Ok(())
}

fn delete_is_idempotent(h: &Harness) -> Outcomes {
    h.put(b"k", b"v")?;
    promise!(h.delete(b"k")?, "an existing key was said to be missing");
    promise!(h.get(b"k")?.is_none(), "a deleted key has a record");
    promise!(!h.delete(b"k")?, "a deleted key was said to exist");
    Ok(())
}

fn keyspaces_isolated(h: &Harness) -> Outcomes {
    let names: Vec<String> = ["", "/", "A", "a", "a/", " ", "%", "_", "\u{e9}"]
        .iter()
        .map(|end| format!("{}~{end}", h.keyspace()))
        .collect();
    for name in &names {
        wait(h.store().put(&call(), Put::new(Key::new(name, b"k"), name.as_bytes())))?;
    }
    for name in &names {
        let record = wait(h.store().get(&call(), Key::new(name, b"k")))?;
        let own = record.is_some_and(|record| record.value() == name.as_bytes());
        promise!(own, "the keyspace {name:?} is taken for another one");
    }
    Ok(())
}

fn keyspace_dropped(h: &Harness) -> Outcomes {
    let listed = |h: &Harness| -> Result<bool, Broken> {
        let (mut after, mut found) = (String::new(), false);
        loop {
            let names = wait(h.store().keyspaces(&call(), &after))?;
            let Some(last) = names.last() else { return Ok(found) };
            promise!(names.is_sorted(), "the names of keyspaces are not in order");
            promise!(
                names.iter().all(|name| **name > *after),
                "a name came back that is not behind {after:?}"
            );
            found |= names.iter().any(|name| name == h.keyspace());
            after.clone_from(last);
        }
    };
    promise!(!listed(h)?, "a keyspace is listed before its first write");
    h.put(b"k", b"v")?;
    h.put(b"l", b"v")?;
    promise!(listed(h)?, "a keyspace is not listed after its first write");
    promise!(
        wait(h.store().drop_keyspace(&call(), DropKeyspace::new(h.keyspace(), WriteId::default())))?,
        "an existing keyspace was said to be missing"
    );
    promise!(
        !wait(h.store().drop_keyspace(&call(), DropKeyspace::new(h.keyspace(), WriteId::default())))?,
        "a dropped keyspace was said to exist"
    );
    promise!(!listed(h)?, "a dropped keyspace is listed");
    promise!(h.get(b"k")?.is_none() && h.get(b"l")?.is_none(), "a dropped keyspace still has records");
    Ok(())
}

fn keyspace_names(h: &Harness) -> Outcomes {
    let put = |name: &str| wait(h.store().put(&call(), Put::new(Key::new(name, b"k"), b"v")));
    refused(put(""), ErrorCode::INVALID_ARGUMENT, "a put into a keyspace without a name")?;
    refused(
        put(&"k".repeat(129)),
        ErrorCode::INVALID_ARGUMENT,
        "a put into a keyspace with a name of 129 bytes",
    )?;
    put(&"k".repeat(128))?;
    Ok(())
}
