//! The marks in an image of the page of `meta`.
//!
//! The image may be torn by a loss of power, or belong to another table. So everything in it is checked, and
//! an image that is not a whole page of `meta` gives no answer. Format:
//! <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use super::bytes::number;
use crate::{
    lineage,
    sql::{MARK, MARK_BEFORE, META_NAMES},
};

/// A leaf of a table without row ids.
const LEAF: u64 = 10;
const HEADER_BYTES: usize = 8;
/// The least that a cell takes.
const LEAST_BYTES: usize = 4;

/// The mark of a state, and of the one before it; zero if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) mark: u64,
    pub(super) before: u64,
}

impl Marks {
    pub(super) const NONE: Self = Self { mark: 0, before: 0 };

    /// None if the page is not a whole one of `meta`.
    pub(super) fn of(page: &[u8]) -> Option<Self> {
        let rows = rows(page)?;
        let value =
            |name: &str| rows.iter().find(|row| row.name == name.as_bytes()).map_or(0, |row| row.value);
        // A page without it is torn, or another table's.
        rows.iter().find(|row| row.name == b"incarnation")?;
        Some(Self { mark: value(MARK), before: value(MARK_BEFORE) })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.mark == 0 || lineage::is_whole(self.mark)
    }
}

struct Row<'a> {
    name: &'a [u8],
    value: u64,
    /// Where the cell lies.
    begin: usize,
    end: usize,
}

/// All rows, if they are known ones in their order, and they and the free space fill the page to the byte.
fn rows(page: &[u8]) -> Option<Vec<Row<'_>>> {
    let count = usize::try_from(number(page, 3, 2)?).ok()?;
    let content = match usize::try_from(number(page, 5, 2)?).ok()? {
        0 => 65_536,
        content => content,
    };
    let pointers_end = HEADER_BYTES + 2 * count;
    if number(page, 0, 1)? != LEAF || content < pointers_end || content > page.len() {
        return None;
    }
    let cell = |nth| cell(page, usize::try_from(number(page, HEADER_BYTES + 2 * nth, 2)?).ok()?);
    let rows: Vec<Row<'_>> = (0..count).map(cell).collect::<Option<_>>()?;
    let is_known = |row: &Row<'_>| META_NAMES.iter().any(|name| name.as_bytes() == row.name);
    if !rows.iter().all(is_known) || !rows.is_sorted_by(|one, other| one.name < other.name) {
        return None;
    }
    let mut places: Vec<(usize, usize)> = rows.iter().map(|row| (row.begin, row.end)).collect();
    places.extend(free_blocks(page)?);
    places.sort_unstable();
    let taken: usize = places.iter().map(|(begin, end)| end - begin).sum();
    let fragments = usize::try_from(number(page, 7, 1)?).ok()?;
    let overlap = places.is_sorted_by(|(_, end), (begin, _)| end <= begin);
    let begins = places.first().is_none_or(|(begin, _)| *begin >= content);
    (overlap && begins && taken + fragments == page.len() - content).then_some(rows)
}

fn free_blocks(page: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut blocks = Vec::new();
    let mut at = usize::try_from(number(page, 1, 2)?).ok()?;
    while at != 0 {
        let next = usize::try_from(number(page, at, 2)?).ok()?;
        let bytes = usize::try_from(number(page, at + 2, 2)?).ok()?;
        if next != 0 && next <= at || at + bytes > page.len() {
            return None;
        }
        blocks.push((at, at + bytes));
        at = next;
    }
    Some(blocks)
}

/// A record of a text and an integer.
fn cell(page: &[u8], begin: usize) -> Option<Row<'_>> {
    let (payload, at) = small(page, begin)?;
    let (header, types) = small(page, at)?;
    let (text, next) = small(page, types)?;
    let (integer, values) = small(page, next)?;
    if values != at + header || text < 13 || text % 2 == 0 {
        return None;
    }
    let text_end = values + (text - 13) / 2;
    let bytes = match integer {
        1..=4 => integer,
        5 => 6,
        6 => 8,
        8 | 9 => 0,
        _ => return None,
    };
    let value = match integer {
        8 => 0,
        9 => 1,
        // Negative ones are longer in memory than in the file.
        _ => {
            let unused = 64 - 8 * u32::try_from(bytes).ok()?;
            ((number(page, text_end, bytes)? << unused).cast_signed() >> unused).cast_unsigned()
        }
    };
    let end = text_end + bytes;
    (end == at + payload && end <= page.len()).then_some(Row {
        name: page.get(values..text_end)?,
        value,
        begin,
        end: end.max(begin + LEAST_BYTES),
    })
}

/// A number of one byte, and where the next thing begins. All that `meta` has are so small.
fn small(page: &[u8], at: usize) -> Option<(usize, usize)> {
    let byte = *page.get(at)?;
    (byte < 0x80).then_some((usize::from(byte), at + 1))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::sql;

    /// The page of `meta` after this, and what SQLite says is in it.
    fn page_after(path: &std::path::Path, change: impl FnOnce(&Connection)) -> (Vec<u8>, Marks) {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        change(&connection);
        let (mark, before) = sql::marks(&connection).unwrap();
        drop(connection);
        let bytes = std::fs::read(path).unwrap();
        (bytes.get(4096..8192).unwrap().to_vec(), Marks { mark, before })
    }

    #[test]
    fn marks_are_read_from_a_page_and_a_torn_one_has_others_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        let mark = lineage::fresh().unwrap();
        let (mut last, marks) = page_after(&path, |_| {
            sql::create(&mut Connection::open(&path).unwrap(), u64::MAX / 3, mark).unwrap();
        });
        assert_eq!((Marks::of(&last), marks), (Some(marks), Marks { mark, before: 0 }));
        let mut known = vec![marks];
        for turn in 0..80_u64 {
            let (page, marks) = page_after(&path, |connection| {
                sql::set_probe(connection, turn.pow(4)).unwrap();
                sql::set_last_version(connection, turn << (turn % 40)).unwrap();
                sql::set_mark(connection, lineage::fresh().unwrap()).unwrap();
            });
            assert_eq!(Marks::of(&page), Some(marks), "turn {turn}");
            assert_eq!(marks.before, known.last().unwrap().mark);
            known.push(marks);
            // Any sectors of either.
            for sectors in 0..=255_u8 {
                let torn: Vec<u8> = (0..8)
                    .flat_map(|nth| {
                        let of = if sectors & (1 << nth) == 0 { &last } else { &page };
                        of.get(512 * nth..512 * (nth + 1)).unwrap().to_vec()
                    })
                    .collect();
                let read = Marks::of(&torn).filter(Marks::is_whole);
                let is_one = |read: Marks| known.iter().rev().take(2).any(|marks| marks.mark == read.mark);
                assert!(read.is_none_or(is_one), "turn {turn}, sectors {sectors:08b}");
            }
            last = page;
        }
        assert_eq!(Marks::of(&vec![0; 4096]), None);
        assert_eq!(Marks::of(&[]), None);
    }
}
