//! Amounts of space, as people write and read them.

use std::fmt;
use std::str::FromStr;

/// Units, each 1024 times the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// An amount of space on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the file system, at most 100.
    Percent(u8),
}

/// A text that is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size: write a whole number and a unit (B, KiB, MiB, GiB, TiB), such as \"50GiB\"")]
pub struct NotASize;

/// Bytes, for people: `21.3 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl Size {
    /// In bytes, on a file system that has so many.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => whole / 100 * u64::from(percent),
        }
    }
}

/// A number of bytes with its unit: `50GiB`.
///
/// # Errors
/// [`NotASize`], also for more than 2^64 bytes.
pub fn parse_bytes(text: &str) -> Result<u64, NotASize> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or(NotASize)?;
    let (number, unit) = text.split_at(unit_at);
    let power = UNITS.iter().position(|known| *known == unit).ok_or(NotASize)?;
    let number: u64 = number.parse().map_err(|_| NotASize)?;
    number.checked_mul(1 << (10 * power)).ok_or(NotASize)
}

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        match text.strip_suffix('%') {
            Some(percent) if percent.bytes().all(|b| b.is_ascii_digit()) => {
                percent.parse().ok().filter(|percent| *percent <= 100).map(Self::Percent).ok_or(NotASize)
            }
            Some(_) => Err(NotASize),
            None => parse_bytes(text).map(Self::Bytes),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => Bytes(*bytes).fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut tenths, mut unit) = (u128::from(self.0) * 10, UNITS.iter());
        let mut name = unit.next().unwrap_or(&"B");
        while tenths >= 10_240
            && let Some(larger) = unit.next()
        {
            (tenths, name) = (tenths.div_ceil(1024), larger);
        }
        match tenths % 10 {
            0 => write!(f, "{} {name}", tenths / 10),
            tenth => write!(f, "{}.{tenth} {name}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, expected) in [
            ("0B", Ok(Size::Bytes(0))),
            ("50GiB", Ok(Size::Bytes(50 << 30))),
            ("10%", Ok(Size::Percent(10))),
            ("101%", Err(NotASize)),
            ("+5%", Err(NotASize)),
            ("50", Err(NotASize)),
            ("50GB", Err(NotASize)),
            ("-1GiB", Err(NotASize)),
            ("GiB", Err(NotASize)),
            ("99999999999TiB", Err(NotASize)),
        ] {
            assert_eq!(text.parse::<Size>(), expected, "{text}");
        }
    }

    #[test]
    fn sizes_as_people_read_them() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (50 << 30, "50 GiB"),
            (3 << 50, "3072 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_percentage_is_of_the_file_system() {
        assert_eq!(Size::Percent(10).of(1000), 100);
        assert_eq!(Size::Bytes(7).of(1000), 7);
    }
}
