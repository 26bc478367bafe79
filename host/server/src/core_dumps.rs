//! No image of the memory, which holds keys, is written when the process crashes.

/// Switches core dumps off for this process; on Linux also attaching to it by others than root.
///
/// # Errors
///
/// The operating system's.
#[cfg(unix)]
pub fn disable() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A core pattern that pipes into a program (systemd-coredump) ignores the limit, but not this.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Nothing is known to do it here.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn disable() -> std::io::Result<()> {
    Ok(())
}
