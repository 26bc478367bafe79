//! What the client and the server say to each other: frames of a length (4 bytes, little-endian) and a message.
//!
//! Replace it by the protocol of your store, or by a client crate.

use keyway_sdk::serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

/// A keyspace and a key.
pub type Place = (String, Vec<u8>);

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
pub enum Request {
    /// The record of a key.
    Get(Place),
    /// Changes: all or none if `is_atomic`. Conditions see the state before.
    Apply {
        /// The changes, of distinct keys.
        changes: Vec<Change>,
        /// Whether one that fails stops the others.
        is_atomic: bool,
    },
    /// The records from `lower` to before `upper`, in order.
    Scan {
        /// Of this keyspace.
        keyspace: String,
        /// The first key.
        lower: Vec<u8>,
        /// The key at which it ends, if any.
        upper: Option<Vec<u8>>,
        /// Most records.
        limit: u32,
        /// Most bytes of keys and values; one record may have more.
        max_bytes: u64,
        /// Whether values are left out.
        keys_only: bool,
    },
    /// The keyspaces after a name.
    Keyspaces(String),
    /// Remove a keyspace with all its records.
    DropKeyspace(String),
    /// Nothing: whether the server answers.
    Ping,
}

/// A change of one key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
pub struct Change {
    /// The key.
    pub place: Place,
    /// What must hold.
    pub condition: Condition,
    /// What is done.
    pub action: Action,
}

/// What must hold before a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
pub enum Condition {
    /// Nothing.
    Any,
    /// The key does not exist.
    Absent,
    /// The key has this version.
    Version(Vec<u8>),
}

/// What a change does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
pub enum Action {
    /// Write this value.
    Put(ByteBuf),
    /// Remove the key.
    Delete,
    /// Nothing but check the condition.
    Check,
}

/// What a server answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
pub enum Response {
    /// To `Get`: value and version.
    Record(Option<(ByteBuf, Vec<u8>)>),
    /// To `Apply`: what became of each change, up to the one that failed if it was atomic.
    Applied(Vec<Applied>),
    /// To `Scan`: key, value and version of each, and whether these are the last.
    Records(Vec<(Vec<u8>, ByteBuf, Vec<u8>)>, bool),
    /// To `Keyspaces`.
    Keyspaces(Vec<String>),
    /// To `DropKeyspace`: whether it existed.
    Dropped(bool),
    /// To `Ping`.
    Pong,
}

/// What became of a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
pub enum Applied {
    /// Written, with this version; whether the key existed before.
    Written(Vec<u8>, bool),
    /// Removed or checked; whether the key existed before.
    Done(bool),
    /// Refused, because the key exists.
    Exists,
    /// Refused, because the key has another version, or none.
    Differs,
}
