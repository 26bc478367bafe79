//! Restricts the child before it loads an untrusted file.
#![expect(unsafe_code, reason = "closing files that nothing in this process owns")]

use std::time::Duration;

/// The address space, in bytes: more than the memory that it may use, because programs reserve more than they use.
#[cfg(unix)]
const ADDRESS_SPACE: u64 = 4 * 1024 * 1024 * 1024;
/// The files that it may have open.
#[cfg(unix)]
const OPEN_FILES: u64 = 64;

/// Restricts this process for good; `file_bytes` is the longest file that it may write. Answers what could
/// not be restricted, and why.
///
/// To be called while the process has one thread.
pub(super) fn enter(deadline: Duration, file_bytes: u64) -> Vec<String> {
    let mut skipped = Vec::new();
    let mut note = |what: &str, done: Result<(), String>| {
        if let Err(why) = done {
            skipped.push(format!("{what} ({why})"));
        }
    };
    note("end with the parent", follow_parent());
    note("open files", close_files());
    note("resource limits", limit(deadline, file_bytes));
    note("processes and network", forbid());
    skipped
}

#[cfg(unix)]
fn close_files() -> Result<(), String> {
    let listed = std::fs::read_dir("/dev/fd").map_err(|error| error.to_string())?;
    let numbers: Vec<i32> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    // Without the listing's own, which is closed by now.
    let is_open =
        |number: &i32| std::path::Path::new(&format!("/dev/fd/{number}")).symlink_metadata().is_ok();
    for number in numbers.into_iter().filter(is_open) {
        // SAFETY: this is the only thread, and it owns no file but the standard streams. The process that
        // started the parent left all others open.
        unsafe { rustix::io::close(number) };
    }
    Ok(())
}

#[cfg(unix)]
fn limit(deadline: Duration, file_bytes: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let seconds = deadline.as_secs();
    // Soft and hard: at the soft limit of processor time comes a signal that tells what it is.
    let limits = [
        (Resource::As, ADDRESS_SPACE, ADDRESS_SPACE),
        (Resource::Core, 0, 0),
        (Resource::Cpu, seconds, seconds + 5),
        (Resource::Fsize, file_bytes, file_bytes),
        (Resource::Nofile, OPEN_FILES, OPEN_FILES),
    ];
    let mut failed = Vec::new();
    for (resource, soft, hard) in limits {
        let hard = getrlimit(resource).maximum.map_or(hard, |most| most.min(hard));
        let limit = Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) };
        if let Err(error) = setrlimit(resource, limit) {
            failed.push(format!("{resource:?}: {error}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// Ends this process with its parent, who alone watches its time.
#[cfg(target_os = "linux")]
fn follow_parent() -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn follow_parent() -> Result<(), String> {
    Err("not on this system".to_owned())
}

/// A filter of system calls (seccomp(2)). A process that starts another one, makes a socket or touches
/// another process is ended with SIGSYS.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
fn forbid() -> Result<(), String> {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    let text = |error: &dyn std::error::Error| error.to_string();
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| text(&error))?;
    let install = |rules: BTreeMap<i64, Vec<SeccompRule>>, action| {
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, action, arch).map_err(|error| text(&error))?;
        let program = BpfProgram::try_from(filter).map_err(|error| text(&error))?;
        seccompiler::apply_filter(&program).map_err(|error| text(&error))
    };
    let unless = |argument, operator, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
        condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(|error| text(&error))
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_socket,
        libc::SYS_io_uring_setup,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_send_signal,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_bpf,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    let own = u64::from(std::process::id());
    let thread = u64::try_from(libc::CLONE_THREAD).map_err(|error| text(&error))?;
    // A process may signal itself, as abort(3) does.
    rules.insert(libc::SYS_kill, vec![unless(0, SeccompCmpOp::Ne, own)?]);
    rules.insert(libc::SYS_tgkill, vec![unless(0, SeccompCmpOp::Ne, own)?]);
    rules.insert(libc::SYS_clone, vec![unless(0, SeccompCmpOp::MaskedEq(thread), 0)?]);
    // The arguments of clone3 lie in memory, which a filter cannot read: it does not exist, and the C library
    // takes clone.
    let no_such_call = u32::try_from(libc::ENOSYS).map_err(|error| text(&error))?;
    install([(libc::SYS_clone3, Vec::new())].into(), SeccompAction::Errno(no_such_call))?;
    install(rules, SeccompAction::KillProcess)
}

#[cfg(not(unix))]
fn close_files() -> Result<(), String> {
    // Handles are not inherited unless they are named.
    Ok(())
}

#[cfg(not(unix))]
fn limit(_deadline: Duration, _file_bytes: u64) -> Result<(), String> {
    Err("not on this system".to_owned())
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
fn forbid() -> Result<(), String> {
    Err("not on this system".to_owned())
}
