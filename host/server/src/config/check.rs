//! Makes a checked configuration of the file: every problem names its setting and says what to write instead.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use keyway_api::RequestLimits;
use keyway_core::{
    BackendSettings, SwapSettings,
    audit::{
        AuditSettings,
        spec::{DeviceRecord, Target},
    },
    barrier::UseBound,
    mounts::{
        MountPath,
        table::{MountConfig, SECRETS},
    },
};
use keyway_loader::{Policy, Requirement, Trust, TrustedKey, Wanted, swap::Deadlines};
use keyway_storage::CallLimits;

use super::{
    file::{AuditSection, File, KeysSection, LimitsSection, SwapSection, TlsSection, TrustSection},
    settings::{ClientAuthority, Config, LOCK_FILE, Limits, STAGING, TlsFiles},
};

/// A setting and its problem.
pub(super) type Problem = (String, String);

/// Checks all of it; answers the first problem.
pub(super) fn check(file: File, path: &Path) -> Result<Config, Problem> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let data_dir = directory.join(&file.data_dir);
    let plugin_dirs: Vec<PathBuf> = file.plugin_dirs.iter().map(|plugins| data_dir.join(plugins)).collect();
    if plugin_dirs.contains(&data_dir.join(STAGING)) {
        let message = "the server keeps its own copies in data_dir/plugins; name another directory (relative ones are \
                       relative to data_dir)";
        return Err(("plugin_dirs".to_owned(), message.to_owned()));
    }
    let mut backends = BTreeMap::new();
    for (name, section) in file.backends {
        let setting = |key: &str| format!("backends.{name}.{key}");
        let plugin = Requirement::parse(&section.plugin).map_err(|message| (setting("plugin"), message))?;
        let config =
            serde_json::to_value(section.config).map_err(|error| (setting("config"), error.to_string()))?;
        let wanted = Wanted { plugin, fallback: section.fallback };
        backends.insert(name, BackendSettings { wanted, config });
    }
    let known = |setting: String, backend: &str| {
        if backends.contains_key(backend) {
            return Ok(());
        }
        let names: Vec<_> = backends.keys().map(String::as_str).collect();
        Err((setting, format!("there is no backend {backend:?}; there are: {}", names.join(", "))))
    };
    known("system_backend".to_owned(), &file.system_backend)?;
    let mut mounts = BTreeMap::new();
    for (mount, section) in file.mounts {
        known(format!("mounts.{mount}.backend"), &section.backend)?;
        let (path, section) = check_mount(&mount, section)?;
        if mounts.insert(path, section).is_some() {
            return Err((format!("mounts.{mount}"), "the same path is there twice".to_owned()));
        }
    }
    check_nesting(&mounts)?;
    Ok(Config {
        file: path.to_owned(),
        listen: check_listen(&file.listen, file.tls.is_some())?,
        tls: check_tls(file.tls, directory)?,
        limits: check_limits(&file.limits)?,
        open_metrics: file.metrics.unauthenticated,
        passwords: file.seal.password,
        open_ceremonies: file.seal.open_ceremonies,
        swaps: check_swaps(&file.swap)?,
        audit: check_audit(file.audit, directory, &data_dir, &plugin_dirs)?,
        plugin_dirs,
        system_backend: file.system_backend,
        key_uses: check_key_uses(&file.keys)?,
        key_age: check_key_age(&file.keys)?,
        libraries: check_libraries(file.trust.as_ref())?,
        trust: check_trust(file.trust, directory, &data_dir)?,
        data_dir,
        backends,
        mounts,
    })
}

fn check_swaps(section: &SwapSection) -> Result<SwapSettings, Problem> {
    let defaults = SwapSettings::default();
    let bounded = |name: &str, given: Option<u32>, least: u32, most: u32| match given {
        Some(value) if value < least || value > most => {
            Err((format!("swap.{name}"), format!("it is from {least} to {most}")))
        }
        given => Ok(given),
    };
    let seconds = |name: &str, given: Option<u32>, least: u32, default: Duration| {
        let given = bounded(name, given, least, 3_600)?;
        Ok::<_, Problem>(given.map_or(default, |seconds| Duration::from_secs(seconds.into())))
    };
    let Deadlines { drain, close, open, copy } = defaults.deadlines;
    let latency = bounded("max_latency_ms", section.max_latency_ms, 1, 60_000)?;
    let images = bounded("max_images", section.max_images, 1, 10_000)?;
    Ok(SwapSettings {
        deadlines: Deadlines {
            drain: seconds("drain_s", section.drain_s, 1, drain)?,
            close: seconds("close_s", section.close_s, 1, close)?,
            open: seconds("open_s", section.open_s, 1, open)?,
            copy: seconds("copy_s", section.copy_s, 1, copy)?,
        },
        watch: seconds("watch_s", section.watch_s, 0, defaults.watch)?,
        error_percent: bounded("max_error_percent", section.max_error_percent, 0, 100)?
            .unwrap_or(defaults.error_percent),
        latency: latency.map_or(defaults.latency, |ms| Duration::from_millis(ms.into())),
        images: images.and_then(|images| usize::try_from(images).ok()).unwrap_or(defaults.images),
    })
}

fn check_mount(mount: &str, section: MountConfig) -> Result<(String, MountConfig), Problem> {
    let setting = format!("mounts.{mount}");
    let path = MountPath::parse(mount).map_err(|message| (setting.clone(), message))?;
    if section.engine != SECRETS {
        return Err((setting, format!("engine {:?} does not exist; write {SECRETS:?}", section.engine)));
    }
    Ok((path.as_str().to_owned(), section))
}

/// No mount lies inside another: it would hide the other's secrets.
fn check_nesting(mounts: &BTreeMap<String, MountConfig>) -> Result<(), Problem> {
    for mount in mounts.keys() {
        let path = MountPath::parse(mount).map_err(|message| (format!("mounts.{mount}"), message))?;
        let others = mounts.keys().map(String::as_str).filter(|other| other.len() < mount.len());
        if let Some(other) = path.overlapped_by(others) {
            return Err((format!("mounts.{mount}"), format!("path is already in use at {other}/")));
        }
    }
    Ok(())
}

fn check_listen(listen: &str, is_protected: bool) -> Result<SocketAddr, Problem> {
    let invalid = |message: String| ("listen".to_owned(), message);
    let address = listen
        .to_socket_addrs()
        .map_err(|error| invalid(format!("{listen:?} is no address and port: {error}")))?
        .next()
        .ok_or_else(|| invalid(format!("{listen:?} has no address")))?;
    if !address.ip().is_loopback() && !is_protected {
        return Err(invalid(format!(
            "{address} is not loopback, and secrets would travel in the clear; write [tls] with cert_file and key_file, \
             listen on 127.0.0.1, or write tls = \"off\" if something else encrypts"
        )));
    }
    Ok(address)
}

fn check_tls(tls: Option<TlsSection>, directory: &Path) -> Result<Option<TlsFiles>, Problem> {
    match tls {
        None => Ok(None),
        Some(TlsSection::Word(word)) if word == "off" => Ok(None),
        Some(TlsSection::Word(_)) => {
            Err(("tls".to_owned(), "write \"off\", or a section with cert_file and key_file".to_owned()))
        }
        // The files are relative to the configuration: a user who may change the one may change the others.
        Some(TlsSection::Files(files)) => {
            let is_required = match (&files.client_ca_file, files.client_auth.as_deref()) {
                (None, None) => false,
                (Some(_), None | Some("required")) => true,
                (Some(_), Some("optional")) => false,
                (Some(_), Some(other)) => {
                    let message = format!("{other:?} is neither \"required\" nor \"optional\"");
                    return Err(("tls.client_auth".to_owned(), message));
                }
                (None, Some(_)) => {
                    let message = "clients can be asked for certificates only with client_ca_file";
                    return Err(("tls.client_auth".to_owned(), message.to_owned()));
                }
            };
            let clients =
                files.client_ca_file.map(|file| ClientAuthority { file: directory.join(file), is_required });
            Ok(Some(TlsFiles {
                cert_file: directory.join(files.cert_file),
                key_file: directory.join(files.key_file),
                clients,
            }))
        }
    }
}

fn check_limits(section: &LimitsSection) -> Result<Limits, Problem> {
    let default = Limits::default();
    let within = |name: &str, value: Option<u32>, usual: usize, least: u32, most: u32| match value {
        None => Ok(usual),
        Some(value) if (least..=most).contains(&value) => Ok(value as usize),
        Some(value) => Err((format!("limits.{name}"), format!("{value} is not between {least} and {most}"))),
    };
    let seconds = |name: &str, value: Option<u32>, usual: Duration, most: u32| {
        within(name, value, 0, 1, most)
            .map(|given| if given == 0 { usual } else { Duration::from_secs(given as u64) })
    };
    let (requests, calls) = (default.requests, default.calls);
    let running = within("backend_calls", section.backend_calls, calls.running.get(), 1, 65_536)?;
    let deadline = within("backend_deadline_ms", section.backend_deadline_ms, 10_000, 100, 60_000)?;
    Ok(Limits {
        connections: within("connections", section.connections, default.connections, 1, 1_000_000)?,
        drain: seconds("drain_s", section.drain_s, default.drain, 600)?,
        requests: RequestLimits {
            running: within("requests", section.requests, requests.running, 1, 65_536)?,
            time: seconds("request_s", section.request_s, requests.time, 3_600)?,
            body_memory_bytes: within("body_memory_mib", section.body_memory_mib, 256, 64, 65_536)?
                * 1024
                * 1024,
            // Zero is no bound.
            client_requests: section.client_requests_per_s.map_or(requests.client_requests, NonZeroU32::new),
            client_attempts: section
                .client_attempts_per_minute
                .map_or(requests.client_attempts, NonZeroU32::new),
        },
        calls: CallLimits {
            running: NonZeroUsize::new(running).unwrap_or(calls.running),
            deadline: Duration::from_millis(deadline as u64),
            ..calls
        },
    })
}

fn check_audit(
    section: AuditSection,
    directory: &Path,
    data_dir: &Path,
    plugin_dirs: &[PathBuf],
) -> Result<AuditSettings, Problem> {
    // What the kernel shows as files is none.
    let kernels = ["/dev", "/proc", "/sys"].map(Path::new);
    let own = [data_dir].into_iter().chain(plugin_dirs.iter().map(PathBuf::as_path));
    let forbidden: Vec<PathBuf> = own.chain(kernels).map(Path::to_owned).collect();
    let mut devices = Vec::new();
    for (index, device) in section.devices.into_iter().enumerate() {
        let problem = |message: String| (format!("audit.devices[{index}]"), message);
        let mut options = device.options;
        // Relative to the configuration, as the certificate.
        if let Some(path) = options.get_mut("path") {
            *path = directory.join(&*path).display().to_string();
        }
        let name = device.name.unwrap_or_else(|| device.kind.clone());
        let written = DeviceRecord { name, kind: device.kind, description: device.description, options };
        let spec = written.parse().map_err(problem)?;
        if let Target::File { path, .. } = &spec.target
            && let Some(forbidden) = forbidden.iter().find(|forbidden| path.starts_with(forbidden))
        {
            let message = format!(
                "{} lies in {}: no audit log lies in data_dir, next to plugins or among devices",
                path.display(),
                forbidden.display()
            );
            return Err(problem(message));
        }
        if devices.iter().any(|known: &keyway_core::audit::spec::Spec| known.name == spec.name) {
            return Err(problem(format!("another device has the same name, {:?}; write `name`", spec.name)));
        }
        devices.push(spec);
    }
    Ok(AuditSettings { devices, api: section.api, forbidden })
}

fn check_key_age(keys: &KeysSection) -> Result<Option<Duration>, Problem> {
    const DAY_S: u64 = 86_400;
    match keys.max_age_days {
        Some(0) => Err(("keys.max_age_days".to_owned(), "a key lives for a day at least".to_owned())),
        days => Ok(days.map(|days| Duration::from_secs(u64::from(days) * DAY_S))),
    }
}

fn check_key_uses(keys: &KeysSection) -> Result<UseBound, Problem> {
    let bound = keys.max_uses.map_or(Ok(UseBound::default()), UseBound::new);
    bound.map_err(|error| ("keys.max_uses".to_owned(), error.to_string()))
}

fn check_trust(trust: Option<TrustSection>, directory: &Path, data_dir: &Path) -> Result<Trust, Problem> {
    let Some(trust) = trust else { return Err(no_policy()) };
    if trust.policy.is_none() && trust.directories.is_empty() {
        return Err(no_policy());
    }
    let parse = |setting: String, word: &str| {
        let message = || {
            format!(
                "{word:?} is no policy; write \"lock\", \"signed\", \"owner\", or \"none\" for development"
            )
        };
        Policy::parse(word).ok_or_else(|| (setting, message()))
    };
    let policy = trust.policy.map(|word| parse("trust.policy".to_owned(), &word)).transpose()?;
    let mut directories = Vec::new();
    for (path, word) in trust.directories {
        let policy = parse(format!("trust.directories.{}", path.display()), &word)?;
        directories.push((data_dir.join(path), policy));
    }
    let mut keys = Vec::new();
    for (name, section) in trust.keys {
        let key = TrustedKey::new(&name, &section.public_key, section.plugins);
        keys.push(key.map_err(|message| (format!("trust.keys.{name}"), message))?);
    }
    let is_signed = |policy: &Policy| *policy == Policy::Signed;
    if keys.is_empty()
        && (policy.iter().any(is_signed) || directories.iter().any(|(_, policy)| is_signed(policy)))
    {
        let message =
            "the policy \"signed\" needs a key; write [trust.keys.NAME] with public_key and plugins";
        return Err(("trust.keys".to_owned(), message.to_owned()));
    }
    Ok(Trust { policy, directories, lock_file: directory.join(LOCK_FILE), keys })
}

fn no_policy() -> Problem {
    let message = "no policy says which plugins may run; write [trust] policy = \"lock\" and run \
                   `keyway plugin lock --config FILE`";
    ("trust.policy".to_owned(), message.to_owned())
}

/// Checks for names as the dynamic linker has them. The linker would take a path as it is, unverified.
fn check_libraries(trust: Option<&TrustSection>) -> Result<Vec<String>, Problem> {
    let libraries = trust.map(|trust| trust.libraries.clone()).unwrap_or_default();
    match libraries.iter().find(|name| name.is_empty() || name.contains(['/', '\\', '$'])) {
        None => Ok(libraries),
        Some(name) => Err((
            "trust.libraries".to_owned(),
            format!("{name:?} is not the name of a library, as libpq.so.5"),
        )),
    }
}
