//! Numbers that look random and can be had again.

/// xorshift64: the same numbers for the same seed, which is not zero.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        assert_ne!(seed, 0, "of zero nothing comes");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
