//! The descriptor of a library, rendered as JSON when the library is compiled.

use keyway_abi::{Capabilities, Features, INTERFACE_VERSION};

use crate::{Backend, PluginInfo};

/// The longest descriptor, in bytes.
const MAX_DESCRIPTOR_BYTES: usize = 32 * 1024;

/// The descriptor of `B`, as a constant.
pub struct Rendered<B>(std::marker::PhantomData<B>);

impl<B: Backend> Rendered<B> {
    const BUFFER: JsonBuffer = {
        assert!(
            cfg!(feature = "tokio") || B::RUNTIME_THREADS == 0,
            "Backend::RUNTIME_THREADS needs the feature `tokio`: add features = [\"tokio\"] to keyway-sdk in Cargo.toml"
        );
        assert!(
            cfg!(panic = "unwind"),
            "a plugin contains its panics, which needs panic = \"unwind\": remove `panic = \"abort\"` from the profile in \
             Cargo.toml"
        );
        render(&B::PLUGIN)
    };

    /// The descriptor's length in bytes.
    pub const LEN: usize = Self::BUFFER.len;

    /// The descriptor as an array, to be placed in its own section.
    #[expect(clippy::indexing_slicing, reason = "const evaluation: out of bounds is a compile error")]
    pub const fn bytes<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        let mut index = 0;
        while index < N {
            bytes[index] = Self::BUFFER.bytes[index];
            index += 1;
        }
        bytes
    }

    /// The descriptor as a text.
    pub fn text() -> &'static str {
        let buffer: &'static JsonBuffer = &Self::BUFFER;
        buffer.bytes.get(..buffer.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// The length of the descriptor of `B`.
pub const fn descriptor_len<B: Backend>() -> usize {
    Rendered::<B>::LEN
}

/// The descriptor of `B` as an array.
pub const fn descriptor_bytes<B: Backend, const N: usize>() -> [u8; N] {
    Rendered::<B>::bytes()
}

struct JsonBuffer {
    bytes: [u8; MAX_DESCRIPTOR_BYTES],
    len: usize,
}

#[expect(clippy::indexing_slicing, reason = "const evaluation: out of bounds is a compile error")]
impl JsonBuffer {
    const fn raw(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() {
            self.bytes[self.len] = text[index];
            self.len += 1;
            index += 1;
        }
        self
    }

    const fn string(mut self, text: &str) -> Self {
        self = self.raw("\"");
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() {
            assert!(text[index] >= 0x20, "a descriptor's texts hold no control characters");
            if text[index] == b'"' || text[index] == b'\\' {
                self.bytes[self.len] = b'\\';
                self.len += 1;
            }
            self.bytes[self.len] = text[index];
            self.len += 1;
            index += 1;
        }
        self.raw("\"")
    }

    const fn number(mut self, number: u64) -> Self {
        if number >= 10 {
            self = self.number(number / 10);
        }
        self.bytes[self.len] = b'0' + (number % 10) as u8;
        self.len += 1;
        self
    }

    const fn strings(mut self, name: &str, values: &[&str]) -> Self {
        self = self.raw(",").string(name).raw(":[");
        let mut index = 0;
        while index < values.len() {
            if index > 0 {
                self = self.raw(",");
            }
            self = self.string(values[index]);
            index += 1;
        }
        self.raw("]")
    }

    #[expect(clippy::indexing_slicing, reason = "const evaluation: out of bounds is a compile error")]
    const fn capabilities(mut self, capabilities: &Capabilities) -> Self {
        self = self.raw(",\"capabilities\":{\"features\":[");
        let (mut index, mut is_first) = (0, true);
        while index < Features::NAMED.len() {
            let (name, feature) = Features::NAMED[index];
            if capabilities.features.contains(feature) {
                if !is_first {
                    self = self.raw(",");
                }
                is_first = false;
                self = self.string(name);
            }
            index += 1;
        }
        self = self.raw("]");
        let (levels, limits) = (capabilities.levels(), capabilities.limits.named());
        index = 0;
        while index < levels.len() {
            self = self.field(levels[index].0, levels[index].1);
            index += 1;
        }
        self = self.raw(",\"limits\":{");
        index = 0;
        while index < limits.len() {
            if index > 0 {
                self = self.raw(",");
            }
            self = self.string(limits[index].0).raw(":").number(limits[index].1);
            index += 1;
        }
        self.raw("}}")
    }

    const fn field(self, name: &str, value: &str) -> Self {
        self.raw(",").string(name).raw(":").string(value)
    }
}

/// What a loader would refuse, refused by the compiler. Messages of constant evaluation have no arguments.
#[expect(clippy::indexing_slicing, reason = "const evaluation: out of bounds is a compile error")]
const fn check(plugin: &PluginInfo) {
    let name = plugin.name.as_bytes();
    assert!(!name.is_empty(), "PluginInfo::name is empty");
    let mut index = 0;
    while index < name.len() {
        let byte = name[index];
        assert!(
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-',
            "PluginInfo::name has lower-case letters, digits and dashes only"
        );
        index += 1;
    }
    assert!(
        is_version(plugin.version.as_bytes()),
        "PluginInfo::version is a semantic version such as \"1.2.3\"; usually it is env!(\"CARGO_PKG_VERSION\")"
    );
    assert!(
        is_object(plugin.config_schema.as_bytes()),
        "PluginInfo::config_schema is one JSON object; keep it in a file that `keyway_sdk::check_config_schema` writes"
    );
}

/// Whether a text begins with three numbers without leading zeros, and goes on as a semantic version may.
#[expect(clippy::indexing_slicing, reason = "const evaluation: out of bounds is a compile error")]
const fn is_version(text: &[u8]) -> bool {
    let (mut index, mut part) = (0, 0);
    while part < 3 {
        let begin = index;
        while index < text.len() && text[index].is_ascii_digit() {
            index += 1;
        }
        if index == begin || (text[begin] == b'0' && index - begin > 1) {
            return false;
        }
        part += 1;
        if part < 3 {
            if index >= text.len() || text[index] != b'.' {
                return false;
            }
            index += 1;
        }
    }
    if index == text.len() {
        return true;
    }
    let begins = text[index] == b'-' || text[index] == b'+';
    index += 1;
    let has_suffix = index < text.len();
    while index < text.len() {
        if !text[index].is_ascii_alphanumeric() && !matches!(text[index], b'-' | b'+' | b'.') {
            return false;
        }
        index += 1;
    }
    begins && has_suffix
}

/// Whether a text is one pair of braces with what is between them, outside of quotes.
#[expect(clippy::indexing_slicing, reason = "const evaluation: out of bounds is a compile error")]
const fn is_object(text: &[u8]) -> bool {
    let (mut index, mut depth, mut quoted, mut ended) = (0, 0_usize, false, false);
    while index < text.len() {
        let byte = text[index];
        if quoted {
            if byte == b'\\' {
                index += 1;
            } else if byte == b'"' {
                quoted = false;
            }
        } else if !byte.is_ascii_whitespace() {
            match byte {
                _ if ended => return false,
                b'{' | b'[' => depth += 1,
                _ if depth == 0 => return false,
                b'}' | b']' => {
                    depth -= 1;
                    ended = depth == 0;
                }
                b'"' => quoted = true,
                _ => {}
            }
        }
        index += 1;
    }
    ended
}

const fn render(plugin: &PluginInfo) -> JsonBuffer {
    check(plugin);
    JsonBuffer { bytes: [0; MAX_DESCRIPTOR_BYTES], len: 0 }
        .raw("{\"format\":1")
        .field("name", plugin.name)
        .field("version", plugin.version)
        .field("interface", INTERFACE_VERSION)
        .field("target_arch", TARGET_ARCH)
        .field("target_os", TARGET_OS)
        .field("target_env", TARGET_ENV)
        .field("panic", PANIC_STRATEGY)
        .field("profile", if cfg!(debug_assertions) { "debug" } else { "release" })
        .field("description", plugin.description)
        .field("licence", plugin.licence)
        .field("homepage", plugin.homepage)
        .field("sharing", plugin.capabilities.sharing.name())
        .raw(",\"data_format\":")
        .number(plugin.data_format as u64)
        .capabilities(&plugin.capabilities)
        .strings("extensions", plugin.extensions)
        .raw(",\"config_schema\":")
        .raw(plugin.config_schema)
        .raw("}")
}

const TARGET_ARCH: &str = std::env::consts::ARCH;
const TARGET_OS: &str = std::env::consts::OS;
const TARGET_ENV: &str = if cfg!(target_env = "gnu") {
    "gnu"
} else if cfg!(target_env = "musl") {
    "musl"
} else if cfg!(target_env = "msvc") {
    "msvc"
} else {
    ""
};
const PANIC_STRATEGY: &str = if cfg!(panic = "unwind") { "unwind" } else { "abort" };
