//! The record of a secret that a request reads first.

use keyway_loader::Key;
use keyway_storage::prefetch::RecordKey;

use super::{SecretPath, plain, record::metadata_key};
use crate::mounts::Mount;

/// The key of the record that a request for this secret reads first.
pub(crate) fn first_record(mount: &Mount, path: &SecretPath) -> RecordKey {
    let key = if mount.kv_version == 1 { plain::key_of(path.as_str()) } else { metadata_key(path) };
    RecordKey::of(Key::new(&mount.keyspace(), &key))
}
