//! Makes libraries that no author would: small ones, compiled from C, with a good descriptor and a bad
//! initializer; and damaged ones.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyway_loader::describe::host_target;
use serde_json::{Value, json};

/// What a forged library says about itself.
pub fn descriptor(name: &str) -> Value {
    let host = host_target();
    let mut parts = host.splitn(3, '-');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    json!({
        "format": 1, "name": name, "version": "1.0.0", "interface": keyway_loader::INTERFACE_VERSION,
        "target_arch": part(), "target_os": part(), "target_env": part(), "panic": "unwind", "profile": "release",
        "description": "forged", "licence": "MIT", "homepage": "", "sharing": "one opener", "data_format": 1,
        "capabilities": {}, "extensions": [], "config_schema": true,
    })
}

/// A library that does `behaviour` while it is loaded; see the functions of `initializer.c`.
pub struct Forged<'a> {
    /// What it does.
    pub behaviour: &'a str,
    /// What it says about itself.
    pub descriptor: Value,
    /// Further arguments of the compiler.
    pub arguments: Vec<String>,
}

impl<'a> Forged<'a> {
    /// The plugin `forged` that does this.
    pub fn new(behaviour: &'a str) -> Self {
        Self { behaviour, descriptor: descriptor("forged"), arguments: Vec::new() }
    }

    /// The library's bytes; compiled in `directory`, where the file `ran` appears if it does `mark`.
    pub fn compile(&self, directory: &Path) -> Vec<u8> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/initializer/initializer.c");
        let header = directory.join("forged.h");
        // A C string is written as one of JSON, as far as these texts go.
        let texts = format!(
            "#define DESCRIPTOR {}\n#define MARK {}\n#define BEHAVIOUR do_{}\n",
            Value::from(self.descriptor.to_string()),
            Value::from(mark(directory).to_string_lossy()),
            self.behaviour
        );
        fs::write(&header, texts).expect("write a header");
        let library = directory.join("forged.so");
        // The linker that Rust needs is a C compiler.
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-pthread", "-include"])
            .arg(&header)
            .arg("-o")
            .arg(&library)
            .arg(source)
            .args(&self.arguments)
            .output()
            .expect("run cc");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        fs::read(library).expect("read the library")
    }
}

/// The file that tells that a library that does `mark` ran.
pub fn mark(directory: &Path) -> PathBuf {
    directory.join("ran")
}

/// The library without its debugging information, which is most of it.
pub fn stripped(library: &Path, directory: &Path) -> Vec<u8> {
    let to = directory.join("stripped.so");
    let done = Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(&to)
        .arg(library)
        .output()
        .expect("run strip");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read(to).expect("read the library")
}

/// The library with every `from` replaced by `to`, which is as long.
pub fn patched(library: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "a patch must not move anything");
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut bytes = library.to_vec();
    let mut at = 0;
    let mut count = 0;
    while let Some(found) =
        bytes.get(at..).and_then(|rest| rest.windows(from.len()).position(|window| window == from))
    {
        at += found;
        if let Some(place) = bytes.get_mut(at..at + to.len()) {
            place.copy_from_slice(to);
        }
        count += 1;
    }
    assert!(count > 0, "{:?} is not in the library", String::from_utf8_lossy(from));
    bytes
}

/// A generator of numbers that are the same in every run (xorshift64*).
pub struct Seeded(pub u64);

impl Seeded {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        usize::try_from(number % bound as u64).unwrap_or_default()
    }
}
