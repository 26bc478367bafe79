//! Descriptors and links are read from every kind of library, on every system: an operator on Linux locks and
//! signs what will run on macOS and Windows.
#![cfg(target_os = "linux")]
#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyway_compat::{
    Workbench,
    forge::{Forged, descriptor},
};
use keyway_loader::{
    LockFile,
    describe::{Described, describe},
    stage::stage,
};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
    write::{Object, Relocation, Symbol, SymbolSection},
};
use serde_json::json;

/// One of the linkers that come with Rust's own distribution; none, with a printed line, if Rust came
/// without.
fn linker(name: &str) -> Option<PathBuf> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let root = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim()).join("lib/rustlib");
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let linker = root.join(host).join("bin/gcc-ld").join(name);
    if linker.exists() {
        return Some(linker);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", linker.display());
    eprintln!("SKIPPED: {} is missing", linker.display());
    None
}

fn link(linker: &Path, directory: &Path, arguments: &[&str]) {
    let done = Command::new(linker).current_dir(directory).args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An object file with a descriptor, and with a reference to `symbol` if there is one.
fn object(format: BinaryFormat, target_os: &str, reference: Option<&str>) -> Vec<u8> {
    let mut described = descriptor("forged");
    described["target_os"] = json!(target_os);
    described["target_arch"] = json!("x86_64");
    described["target_env"] = json!(if target_os == "windows" { "msvc" } else { "" });
    let mut object = Object::new(format, Architecture::X86_64, Endianness::Little);
    let (segment, name): (&[u8], &[u8]) =
        if format == BinaryFormat::MachO { (b"__DATA", b"__keyway") } else { (b"", b".keyway") };
    let section = object.add_section(segment.to_vec(), name.to_vec(), SectionKind::Data);
    object.append_section_data(section, described.to_string().as_bytes(), 16);
    let symbol = |name: &str, section: SymbolSection| Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind: SymbolKind::Data,
        scope: SymbolScope::Dynamic,
        weak: false,
        section,
        flags: SymbolFlags::None,
    };
    object.add_symbol(symbol("keyway_descriptor", SymbolSection::Section(section)));
    if let Some(reference) = reference {
        let symbol = object.add_symbol(symbol(reference, SymbolSection::Undefined));
        let data = object.add_section(Vec::new(), b".data".to_vec(), SectionKind::Data);
        let offset = object.append_section_data(data, &[0; 8], 8);
        let flags = RelocationFlags::Generic {
            kind: object::RelocationKind::Absolute,
            encoding: object::RelocationEncoding::Generic,
            size: 64,
        };
        object.add_relocation(data, Relocation { offset, symbol, addend: 0, flags }).unwrap();
    }
    object.write().unwrap()
}

/// The description that is read from a file, and its entry in a lock file.
fn read(bench: &Workbench, file: &str) -> (Described, String) {
    let described = describe(stage(&bench.path().join(file), &bench.loader.staging_dir).unwrap()).unwrap();
    let mut lock = LockFile::default();
    lock.insert(&described);
    (described, lock.plugin.first().unwrap().target.clone())
}

/// A library of Apple's, by a description of what it exports ("TBD, version 4").
fn stub(bench: &Workbench, name: &str, install_name: &str) {
    let text = format!(
        "--- !tapi-tbd\ntbd-version: 4\ntargets: [ x86_64-macos ]\ninstall-name: '{install_name}'\nexports:\n  - targets: [ \
         x86_64-macos ]\n    symbols: [ _one_of_{} ]\n...\n",
        name.replace('.', "_")
    );
    fs::write(bench.path().join(name), text).unwrap();
}

#[test]
fn mach_o_is_described_with_its_libraries_and_its_search_path() {
    let Some(linker) = linker("ld64.lld") else { return };
    let bench = Workbench::new();
    fs::write(bench.path().join("forged.o"), object(BinaryFormat::MachO, "macos", None)).unwrap();
    stub(&bench, "libSystem.tbd", "/usr/lib/libSystem.B.dylib");
    stub(&bench, "libevil.tbd", "@rpath/libevil.dylib");
    let common =
        ["-dylib", "-arch", "x86_64", "-platform_version", "macos", "11.0", "11.0", "-install_name", "x"];
    let build = |more: &[&str]| {
        link(&linker, bench.path(), &[&common[..], &["-o", "forged.dylib", "forged.o"], more].concat())
    };
    build(&["libSystem.tbd"]);
    let (described, target) = read(&bench, "forged.dylib");
    assert_eq!((described.descriptor.name.as_str(), target.as_str()), ("forged", "x86_64-macos"));
    assert_eq!(described.links.needed, ["/usr/lib/libSystem.B.dylib"]);
    assert!(described.links.search.is_empty());
    build(&["libSystem.tbd", "libevil.tbd", "-rpath", "@loader_path"]);
    let (described, _) = read(&bench, "forged.dylib");
    assert_eq!(described.links.needed, ["/usr/lib/libSystem.B.dylib", "@rpath/libevil.dylib"]);
    assert_eq!(described.links.search, ["@loader_path"]);
    let refused = keyway_loader::check::check(&described, "forged", &[]).unwrap_err();
    assert!(refused.to_string().contains("is built for x86_64-macos"), "{refused}");
    truncations_are_damage(&bench, "forged.dylib");
}

#[test]
fn pe_is_described_with_its_libraries() {
    let Some(linker) = linker("lld-link") else { return };
    let bench = Workbench::new();
    // A library that exports something, for the sake of the description of what it exports.
    let mut evil = Object::new(BinaryFormat::Coff, Architecture::X86_64, Endianness::Little);
    let data = evil.add_section(Vec::new(), b".data".to_vec(), SectionKind::Data);
    evil.append_section_data(data, &[0; 8], 8);
    evil.add_symbol(Symbol {
        name: b"evil".to_vec(),
        value: 0,
        size: 8,
        kind: SymbolKind::Data,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(data),
        flags: SymbolFlags::None,
    });
    fs::write(bench.path().join("evil.obj"), evil.write().unwrap()).unwrap();
    link(
        &linker,
        bench.path(),
        &["/dll", "/noentry", "/machine:x64", "/export:evil,DATA", "/out:evil.dll", "evil.obj"],
    );
    fs::write(bench.path().join("forged.obj"), object(BinaryFormat::Coff, "windows", Some("__imp_evil")))
        .unwrap();
    link(
        &linker,
        bench.path(),
        &["/dll", "/noentry", "/machine:x64", "/out:forged.dll", "forged.obj", "evil.lib"],
    );
    let (described, target) = read(&bench, "forged.dll");
    assert_eq!((described.descriptor.name.as_str(), target.as_str()), ("forged", "x86_64-windows-msvc"));
    assert_eq!(described.links.needed, ["evil.dll"]);
    truncations_are_damage(&bench, "forged.dll");
}

fn truncations_are_damage(bench: &Workbench, file: &str) {
    let whole = fs::read(bench.path().join(file)).unwrap();
    for step in 0..64 {
        let end = whole.len() * step / 64;
        fs::write(bench.path().join("part"), whole.get(..end).unwrap()).unwrap();
        let staged = stage(&bench.path().join("part"), &bench.loader.staging_dir).unwrap();
        // Never a panic. Bytes after the last part that is read may be missing: only a digest detects that.
        match describe(staged) {
            Ok(described) => assert_eq!(described.descriptor.name, "forged"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn elf_is_described_with_its_libraries() {
    let bench = Workbench::new();
    fs::write(bench.path().join("forged"), Forged::new("abort").compile(bench.path())).unwrap();
    let (described, _) = read(&bench, "forged");
    assert!(described.links.needed.iter().any(|library| library == "libc.so.6"), "{:?}", described.links);
}
