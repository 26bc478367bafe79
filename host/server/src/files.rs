//! As many open files as the operating system allows: each connection is one.

/// Raises the soft limit of open files to the hard one; answers it.
///
/// # Errors
///
/// The operating system's.
#[cfg(unix)]
pub fn raise_limit() -> std::io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

/// There is no such limit here.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn raise_limit() -> std::io::Result<Option<u64>> {
    Ok(None)
}
