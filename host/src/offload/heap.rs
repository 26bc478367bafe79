//! How the C library keeps memory that large requests have freed.
#![expect(unsafe_code, reason = "the C library alone knows its heap")]

/// Has blocks of a mebibyte and more mapped each by itself, so that each is given back to the operating system when it is freed. The C
/// library otherwise maps fewer with each one that it has seen freed, and keeps the others, in an arena of each thread. Call it
/// before there are other threads. Whether the C
/// library takes it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn set_up() -> bool {
    const MAPPED_BYTES: libc::c_int = 1024 * 1024;
    // SAFETY: mallopt(3) only sets a parameter, and there is no other thread that could allocate meanwhile.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES) == 1 }
}

/// Other C libraries give memory back by themselves, or have no call for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn set_up() -> bool {
    true
}
