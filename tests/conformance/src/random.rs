//! Numbers that look random and are the same in every run: xorshift64* (Vigna, 2016).

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound.max(1)
    }

    /// A key of up to `max` bytes out of a small alphabet, so that prefixes and delimiters meet.
    pub(crate) fn key(&mut self, max: u64) -> Vec<u8> {
        const ALPHABET: [u8; 6] = [b'a', b'b', b'/', 0x00, 0xff, b'%'];
        let length = self.below(max + 1);
        (0..length)
            .filter_map(|_| ALPHABET.get(usize::try_from(self.below(6)).unwrap_or(0)).copied())
            .collect()
    }
}
