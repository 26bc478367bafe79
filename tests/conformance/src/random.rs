//! Random numbers that a seed repeats.

/// A small generator (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>): the same numbers for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers for one name, by FNV-1a.
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::new(seed ^ hash)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A place in something of that length, which is not zero.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A key of up to `max` bytes out of a small alphabet, so that prefixes and delimiters meet.
    pub(crate) fn key(&mut self, max: u64) -> Vec<u8> {
        const ALPHABET: [u8; 6] = [b'a', b'b', b'/', 0x00, 0xff, b'%'];
        let length = self.below(max + 1);
        (0..length).filter_map(|_| ALPHABET.get(self.index(ALPHABET.len())).copied()).collect()
    }
}
