//! The libraries that a library makes the dynamic linker load, and the places where it makes it look. Read as
//! the linker reads them: from the program headers, and not from the sections, which the linker ignores.

use object::{
    Endianness, LittleEndian,
    elf::{self, DynamicTag},
    macho,
    read::{
        elf::{Dyn, ElfFile, FileHeader, ProgramHeader},
        macho::{MachHeader, MachOFile},
        pe::{ImageNtHeaders, PeFile},
    },
};

type Result<T> = std::result::Result<T, Unreadable>;

/// Why what a library links to cannot be read.
pub(super) struct Unreadable(pub(super) String);

impl From<object::Error> for Unreadable {
    fn from(error: object::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<&str> for Unreadable {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

/// The smallest page of any platform, in bytes.
const PAGE: u64 = 4096;
/// Most libraries that are listed; one with more is none that we would load.
const MAX_NAMES: usize = 256;

/// What a library makes the dynamic linker do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// The libraries that it needs, as it names them.
    pub needed: Vec<String>,
    /// The directories that it adds to the linker's search (`RPATH`, `RUNPATH`, `LC_RPATH`).
    pub search: Vec<String>,
}

impl Links {
    pub(super) fn of(file: &object::File<'_>) -> Result<Self> {
        match file {
            object::File::Elf32(elf) => from_elf(elf),
            object::File::Elf64(elf) => from_elf(elf),
            object::File::MachO32(macho) => from_macho(macho),
            object::File::MachO64(macho) => from_macho(macho),
            object::File::Pe32(pe) => from_pe(pe),
            object::File::Pe64(pe) => from_pe(pe),
            _ => Ok(Self::default()),
        }
    }

    fn need(&mut self, name: &[u8]) -> Result<()> {
        if self.needed.len() == MAX_NAMES {
            return Err(Unreadable::from("it needs more libraries than any plugin would"));
        }
        self.needed.push(text(name));
        Ok(())
    }
}

/// As it is shown to operators: without anything that a terminal would obey.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().filter(|letter| !letter.is_control()).collect()
}

/// By the System V ABI ("Dynamic Section") and the GNU extensions in `<elf.h>`.
fn from_elf<Elf: FileHeader<Endian = Endianness>>(file: &ElfFile<'_, Elf>) -> Result<Links> {
    let (endian, data, segments) = (file.endian(), file.data(), file.elf_program_headers());
    // As it will lie in memory, because the linker reads it there.
    let at = |address: u64, size: u64| {
        let loaded = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
        loaded
            .filter_map(|segment| segment.data_range(endian, data, address, size).ok().flatten())
            .next_back()
            .ok_or(Unreadable::from("the dynamic section lies in no segment"))
    };
    check_pages(segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).map(|segment| {
        let from: u64 = segment.p_vaddr(endian).into();
        (from, from.saturating_add(segment.p_memsz(endian).into()))
    }))?;
    let mut dynamic = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_DYNAMIC);
    let (Some(segment), None) = (dynamic.next(), dynamic.next()) else {
        return Err(Unreadable::from("there is not exactly one dynamic section"));
    };
    let bytes = at(segment.p_vaddr(endian).into(), segment.p_filesz(endian).into())?;
    let (entries, _) = object::slice_from_bytes::<Elf::Dyn>(bytes, bytes.len() / size_of::<Elf::Dyn>())
        .map_err(|()| Unreadable::from("the dynamic section is not aligned"))?;
    let entries: Vec<(DynamicTag, u64)> =
        entries.iter().map(|entry| (entry.d_tag(endian), entry.d_val(endian).into())).collect();
    // The linker reads on until it finds the end, wherever that is.
    let Some(end) = entries.iter().position(|(tag, _)| *tag == elf::DT_NULL) else {
        return Err(Unreadable::from("the dynamic section has no end"));
    };
    let entries = entries.get(..end).unwrap_or_default();
    // Of two the linker would take the last.
    let value = |wanted| {
        let mut values = entries.iter().filter(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
        values.next().filter(|_| values.next().is_none())
    };
    let (Some(strings), Some(length)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
        return Err(Unreadable::from("the dynamic section does not name its strings once"));
    };
    let strings = at(strings, length)?;
    let string = |offset: u64| {
        let rest = usize::try_from(offset).ok().and_then(|offset| strings.get(offset..));
        rest.and_then(|rest| rest.split(|byte| *byte == 0).next())
            .ok_or(Unreadable::from("a name lies beyond the strings"))
    };
    let mut links = Links::default();
    for (tag, value) in entries.iter().copied() {
        match tag {
            // Filters and auditors are loaded like the libraries that are needed.
            elf::DT_NEEDED | elf::DT_AUXILIARY | elf::DT_FILTER | elf::DT_AUDIT | elf::DT_DEPAUDIT => {
                links.need(string(value)?)?;
            }
            elf::DT_RPATH | elf::DT_RUNPATH => {
                links.search.push(text(string(value)?));
            }
            _ => {}
        }
    }
    Ok(links)
}

/// Segments are mapped by whole pages: of two on one page the later would lie over what was read of the earlier.
fn check_pages(loaded: impl Iterator<Item = (u64, u64)>) -> Result<()> {
    let mut pages: Vec<(u64, u64)> = loaded.map(|(from, to)| (from / PAGE, to.div_ceil(PAGE))).collect();
    pages.sort_unstable();
    let share = pages.windows(2).any(|pair| matches!(pair, [(_, end), (next, _)] if next < end));
    if share { Err(Unreadable::from("two segments share a page")) } else { Ok(()) }
}

/// By Apple's `<mach-o/loader.h>`.
fn from_macho<Mach: MachHeader<Endian = Endianness>>(file: &MachOFile<'_, Mach>) -> Result<Links> {
    let endian = file.endian();
    let mut links = Links::default();
    let mut commands = file.macho_load_commands()?;
    while let Some(command) = commands.next()? {
        if let Some(library) = command.dylib()? {
            links.need(command.string(endian, library.dylib.name)?)?;
        }
        if command.cmd() == macho::LC_RPATH {
            let path: &macho::RpathCommand<Endianness> = command.data()?;
            links.search.push(text(command.string(endian, path.path)?));
        }
    }
    Ok(links)
}

/// By Microsoft's "PE Format": the import table and the one of imports that are resolved late.
fn from_pe<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>) -> Result<Links> {
    let mut links = Links::default();
    if let Some(table) = file.import_table()? {
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            links.need(table.name(descriptor.name.get(LittleEndian))?)?;
        }
    }
    if let Some(table) = file.delay_load_import_table()? {
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            links.need(table.name(descriptor.dll_name_rva.get(LittleEndian))?)?;
        }
    }
    Ok(links)
}
