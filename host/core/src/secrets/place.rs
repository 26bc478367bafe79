//! Where the first record of a secret lies.

use keyway_loader::Key;
use keyway_storage::prefetch::RecordKey;

use super::{SecretPath, plain, record::metadata_key};
use crate::mounts::Mount;

/// Where the record lies that a secret is read from first.
pub(crate) fn place_of(mount: &Mount, path: &SecretPath) -> RecordKey {
    let key = if mount.kv_version == 1 { plain::key_of(path.as_str()) } else { metadata_key(path) };
    RecordKey::of(Key::new(&mount.keyspace(), &key))
}
