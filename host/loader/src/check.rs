//! Stage 4: is the library made for this platform and this interface, and does it load no libraries but the
//! system's.

use thiserror::Error;

use crate::{
    describe::{Described, Descriptor, Links, host_target},
    report::Fix,
};

/// The libraries that a plugin may need: the C library, and those that compilers put under every program. It
/// must carry all other code, because nothing else was verified.
const SYSTEM_LIBRARIES: &[&str] = &[
    // glibc, whose parts were separate libraries before 2.34, and the compilers' run-time libraries.
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "ld-linux-riscv64-lp64d.so.1",
    // musl.
    "libc.so",
    "libc.musl-x86_64.so.1",
    "libc.musl-aarch64.so.1",
    // macOS; the rest is its frameworks.
    "/usr/lib/libSystem.B.dylib",
    "/usr/lib/libc++.1.dylib",
    "/usr/lib/libiconv.2.dylib",
    "/usr/lib/libobjc.A.dylib",
    "/usr/lib/libresolv.9.dylib",
    // Windows, in small letters; the rest is its API sets.
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "crypt32.dll",
    "kernel32.dll",
    "msvcrt.dll",
    "ntdll.dll",
    "ole32.dll",
    "secur32.dll",
    "shell32.dll",
    "synchronization.dll",
    "ucrtbase.dll",
    "user32.dll",
    "userenv.dll",
    "vcruntime140.dll",
    "vcruntime140_1.dll",
    "ws2_32.dll",
];

/// Beginnings of such names.
const SYSTEM_FAMILIES: &[&str] = &["/System/Library/Frameworks/", "api-ms-win-"];

/// Why a library does not fit.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CheckError {
    /// A form of descriptor that is not known.
    #[error("{plugin} has a descriptor of format {found}, and this loader knows format 1")]
    DescriptorFormat {
        /// Which plugin.
        plugin: String,
        /// Its format.
        found: u32,
    },
    /// The file's name and the descriptor disagree.
    #[error("the file is named as plugin {expected:?}, but its descriptor says {found:?}")]
    Name {
        /// By the file's name.
        expected: String,
        /// By the descriptor.
        found: String,
    },
    /// Built for another platform.
    #[error("{plugin} is built for {found}, and this is {expected}")]
    Platform {
        /// Which plugin.
        plugin: String,
        /// This platform.
        expected: String,
        /// The library's.
        found: String,
    },
    /// Built for another major version of the interface.
    #[error("{plugin} speaks interface {found}, and this host speaks {expected}")]
    Interface {
        /// Which plugin.
        plugin: String,
        /// The host's.
        expected: semver::Version,
        /// The library's.
        found: semver::Version,
    },
    /// A panic in it would take the process down.
    #[error("{plugin} is built with panic = {found:?}, and a panic in it would end the whole process")]
    Panic {
        /// Which plugin.
        plugin: String,
        /// Its strategy.
        found: String,
    },
    /// It needs a library that is not verified.
    #[error("{plugin} needs {library:?}, which is not one of the system's libraries that a plugin may need")]
    Needs {
        /// Which plugin.
        plugin: String,
        /// The library.
        library: String,
    },
    /// It changes where the dynamic linker looks.
    #[error("{plugin} makes the dynamic linker look for libraries in {path:?} (RPATH or RUNPATH)")]
    SearchPath {
        /// Which plugin.
        plugin: String,
        /// The directories.
        path: String,
    },
}

impl Fix for CheckError {
    fn fix(&self) -> String {
        match self {
            Self::DescriptorFormat { .. } => "upgrade Keyway".to_owned(),
            Self::Name { found, .. } => {
                format!(
                    "name it as what it is, unless that is there already: {}; if you build it, name = \"keyway_{}\" \
                     under [lib] in its Cargo.toml does that",
                    crate::discover::file_name(found),
                    found.replace('-', "_")
                )
            }
            Self::Platform { expected, .. } => format!("get the build for {expected}"),
            Self::Interface { expected, .. } => format!("get a build for interface {}.x", expected.major),
            Self::Panic { .. } => {
                "rebuild it with panic = \"unwind\": remove panic = \"abort\" under [profile] in its Cargo.toml".to_owned()
            }
            Self::Needs { library, .. } => format!(
                "link it statically into the plugin (often a feature of the crate that needs it, such as \"bundled\" or \
                 \"vendored\", in the plugin's Cargo.toml), or allow it: libraries = [{library:?}] under [trust]"
            ),
            Self::SearchPath { .. } => "rebuild it without -rpath: look for link arguments in its build.rs and .cargo/config.toml".to_owned(),
        }
    }
}

/// Checks a described library whose file's name says `expected_name`. It may need the libraries in `allowed`,
/// besides the system's.
///
/// # Errors
///
/// `DescriptorFormat`, `Name`, `Platform`, `Interface`, `Panic`, `Needs` or `SearchPath`: what does not fit
/// this host.
pub fn check(described: &Described, expected_name: &str, allowed: &[String]) -> Result<(), CheckError> {
    check_descriptor(&described.descriptor, expected_name, &host_interface())?;
    check_links(&described.descriptor, &described.links, allowed)
}

fn check_links(descriptor: &Descriptor, links: &Links, allowed: &[String]) -> Result<(), CheckError> {
    let plugin = format!("{} {}", descriptor.name, descriptor.version);
    if let Some(path) = links.search.first() {
        return Err(CheckError::SearchPath { plugin, path: path.clone() });
    }
    match links.needed.iter().find(|library| !is_allowed(library, allowed)) {
        None => Ok(()),
        Some(library) => Err(CheckError::Needs { plugin, library: library.clone() }),
    }
}

fn is_allowed(library: &str, allowed: &[String]) -> bool {
    // Windows does not tell letters by their size.
    let small = library.to_ascii_lowercase();
    let name = if small.ends_with(".dll") { small.as_str() } else { library };
    let is_within = |beginning: &&str| name.starts_with(beginning) && !name.contains("..");
    SYSTEM_LIBRARIES.contains(&name)
        || SYSTEM_FAMILIES.iter().any(is_within)
        || allowed.iter().any(|allowed| allowed == library)
}

/// The interface that this host speaks.
fn host_interface() -> semver::Version {
    semver::Version::parse(keyway_abi::INTERFACE_VERSION).expect("a crate's version is a semantic version")
}

fn check_descriptor(
    descriptor: &Descriptor,
    expected_name: &str,
    interface: &semver::Version,
) -> Result<(), CheckError> {
    let plugin = format!("{} {}", descriptor.name, descriptor.version);
    if descriptor.format != 1 {
        return Err(CheckError::DescriptorFormat { plugin, found: descriptor.format });
    }
    if descriptor.name != expected_name {
        let (expected, found) = (expected_name.to_owned(), descriptor.name.clone());
        return Err(CheckError::Name { expected, found });
    }
    if descriptor.target() != host_target() {
        return Err(CheckError::Platform { plugin, expected: host_target(), found: descriptor.target() });
    }
    // Any minor: an older one lacks methods, for which there are defaults; a newer one has methods that are
    // not called.
    if descriptor.interface.major != interface.major {
        let (expected, found) = (interface.clone(), descriptor.interface.clone());
        return Err(CheckError::Interface { plugin, expected, found });
    }
    if descriptor.panic != "unwind" {
        return Err(CheckError::Panic { plugin, found: descriptor.panic.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        let version = |text: &str| semver::Version::parse(text).unwrap();
        let host = host_target();
        let mut parts = host.splitn(3, '-').map(str::to_owned);
        Descriptor {
            format: 1,
            name: "x".into(),
            version: version("0.3.0"),
            interface: version("1.4.0"),
            target_arch: parts.next().unwrap_or_default(),
            target_os: parts.next().unwrap_or_default(),
            target_env: parts.next().unwrap_or_default(),
            panic: "unwind".into(),
            profile: "release".into(),
            description: String::new(),
            licence: String::new(),
            homepage: String::new(),
            sharing: "one opener".into(),
            capabilities: keyway_abi::Capabilities::LEAST,
            data_format: 1,
            extensions: Vec::new(),
            config_schema: serde_json::Value::Bool(true),
        }
    }

    #[test]
    fn nothing_but_the_systems_libraries_is_needed_from_the_usual_places() {
        let check = |needed: &[&str], search: &[&str], allowed: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            check_links(
                &descriptor(),
                &Links { needed: owned(needed), search: owned(search) },
                &owned(allowed),
            )
        };
        assert_eq!(
            check(&["libc.so.6", "libgcc_s.so.1", "KERNEL32.dll", "api-ms-win-core-1.dll"], &[], &[]),
            Ok(())
        );
        assert_eq!(check(&["/System/Library/Frameworks/Security.framework/Security"], &[], &[]), Ok(()));
        for wrong in
            ["libevil.so", "./libc.so.6", "/System/Library/Frameworks/../../../tmp/x", "LIBC.SO.6", ""]
        {
            assert!(matches!(check(&[wrong], &[], &[]), Err(CheckError::Needs { .. })), "{wrong}");
            assert_eq!(check(&[wrong], &[], &[wrong]), Ok(()));
        }
        assert!(matches!(check(&[], &["$ORIGIN"], &["$ORIGIN"]), Err(CheckError::SearchPath { .. })));
    }

    fn check_at(descriptor: &Descriptor, interface: &str) -> Result<(), CheckError> {
        check_descriptor(descriptor, "x", &semver::Version::parse(interface).unwrap())
    }

    #[test]
    fn any_minor_of_the_same_major_fits_in_both_directions() {
        for host in ["1.0.0", "1.4.0", "1.4.7", "1.9.0"] {
            assert_eq!(check_at(&descriptor(), host), Ok(()), "{host}");
        }
    }

    #[test]
    fn another_major_is_refused_with_both_versions() {
        let text = check_at(&descriptor(), "2.0.0").unwrap_err().to_string();
        assert!(text.contains("1.4.0") && text.contains("2.0.0"), "{text}");
    }

    #[test]
    fn other_platform_name_format_and_panic_strategy_are_refused() {
        let foreign = Descriptor { target_arch: "riscv64".into(), ..descriptor() };
        assert!(matches!(check_at(&foreign, "1.0.0"), Err(CheckError::Platform { .. })));
        let renamed = Descriptor { name: "y".into(), ..descriptor() };
        assert!(matches!(check_at(&renamed, "1.0.0"), Err(CheckError::Name { .. })));
        let later = Descriptor { format: 2, ..descriptor() };
        assert!(matches!(check_at(&later, "1.0.0"), Err(CheckError::DescriptorFormat { .. })));
        let aborting = Descriptor { panic: "abort".into(), ..descriptor() };
        assert!(matches!(check_at(&aborting, "1.0.0"), Err(CheckError::Panic { .. })));
    }
}
