//! Flags that a later minor version may add: which of them must be understood.

/// The flags of the high half that this interface understands: none yet. A callee may ignore a flag of the
/// low half that it does not know. It must understand a flag of the high half or refuse the call.
pub const UNDERSTOOD_FLAGS: u64 = 0;

const MUST_UNDERSTAND: u64 = 0xffff_ffff_0000_0000;

/// The flags that must be understood and are not.
pub(crate) const fn unknown_flags(flags: u64) -> u64 {
    flags & MUST_UNDERSTAND & !UNDERSTOOD_FLAGS
}
