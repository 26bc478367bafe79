//! Stage 4: is the library made for this platform and this interface.

use thiserror::Error;

use crate::describe::{Described, Descriptor, host_target};

/// Why a library does not fit.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CheckError {
    /// A form of descriptor that is not known.
    #[error("{plugin} has a descriptor of format {found}, and this loader knows format 1; upgrade Keyway")]
    DescriptorFormat {
        /// Which plugin.
        plugin: String,
        /// Its format.
        found: u32,
    },
    /// The file's name and the descriptor disagree.
    #[error("the file is named as plugin {expected:?}, but its descriptor says {found:?}; rename the file")]
    Name {
        /// By the file's name.
        expected: String,
        /// By the descriptor.
        found: String,
    },
    /// Built for another platform.
    #[error("{plugin} is built for {found}, and this is {expected}; get the build for {expected}")]
    Platform {
        /// Which plugin.
        plugin: String,
        /// This platform.
        expected: String,
        /// The library's.
        found: String,
    },
    /// Built for another major version of the interface.
    #[error(
        "{plugin} speaks interface {found}, and this host speaks {expected}; get a build for interface {major}.x",
        major = expected.major
    )]
    Interface {
        /// Which plugin.
        plugin: String,
        /// The host's.
        expected: semver::Version,
        /// The library's.
        found: semver::Version,
    },
    /// A panic in it would take the process down.
    #[error("{plugin} is built with panic = {found:?}; rebuild it with panic = \"unwind\"")]
    Panic {
        /// Which plugin.
        plugin: String,
        /// Its strategy.
        found: String,
    },
}

/// Checks a described library whose file's name says `expected_name`.
///
/// # Errors
///
/// See [`CheckError`].
pub fn check(described: &Described, expected_name: &str) -> Result<(), CheckError> {
    check_descriptor(&described.descriptor, expected_name, &host_interface())
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
    // Any minor: an older one lacks methods, for which there are defaults; a newer one has methods that are not called.
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
            data_format: 1,
            extensions: Vec::new(),
            config_schema: serde_json::Value::Bool(true),
        }
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
