//! Byte ranges (RFC 9110, section 14).

/// What a `Range` header asks for, before the size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeAsk {
    /// `first-` or `first-last`, both inclusive.
    From {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte, when given.
        last: Option<u64>,
    },
    /// `-length`: the last bytes.
    Suffix(u64),
}

/// A range that lies inside content of a known size. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
}

impl RangeAsk {
    /// Reads a header's value. `None` for what RFC 9110 lets a server ignore: another unit, several
    /// ranges, a syntax error. The whole content is then sent.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, spec) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        if first.is_empty() {
            return Some(Self::Suffix(number(last)?));
        }
        let first = number(first)?;
        let last = if last.is_empty() { None } else { Some(number(last)?) };
        if last.is_some_and(|last| last < first) {
            return None;
        }
        Some(Self::From { first, last })
    }

    /// The bytes meant in content of `size` bytes; `None` when there are none (answer 416).
    pub fn within(self, size: u64) -> Option<ByteRange> {
        let (start, end) = match self {
            Self::From { first, last } => (first, last.map_or(size, |last| last.saturating_add(1).min(size))),
            Self::Suffix(length) => (size.saturating_sub(length), size),
        };
        (start < end).then_some(ByteRange { start, end })
    }
}

impl ByteRange {
    /// How many bytes it covers; at least one.
    pub fn length(self) -> u64 {
        self.end - self.start
    }
}

/// Digits only: `u64::from_str` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_as_the_rfc_reads_them() {
        let within =
            |header: &str, size| RangeAsk::parse(header).and_then(|r| r.within(size)).map(|r| (r.start, r.end));
        assert_eq!(within("bytes=0-499", 1000), Some((0, 500)));
        assert_eq!(within("bytes=500-", 1000), Some((500, 1000)));
        assert_eq!(within("bytes=-200", 1000), Some((800, 1000)));
        assert_eq!(within("bytes=-2000", 1000), Some((0, 1000)));
        assert_eq!(within("bytes=999-5000", 1000), Some((999, 1000)));
        assert_eq!(within("bytes=1000-", 1000), None, "unsatisfiable");
        assert_eq!(within("bytes=-0", 1000), None, "unsatisfiable");
        assert_eq!(within("bytes=0-", 0), None, "unsatisfiable");
        for ignored in [
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes=5-1",
            "bytes=a-b",
            "bytes",
            "",
            "bytes=+1-2",
            "bytes=-",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(RangeAsk::parse(ignored), None, "{ignored}");
        }
    }

    proptest! {
        #[test]
        fn never_outside_the_content(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", size: u64) {
            if let Some(range) = RangeAsk::parse(&header).and_then(|r| r.within(size)) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
