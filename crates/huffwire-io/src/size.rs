//! Numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written as `262144`, `256KiB`, `1 GiB` or `64M`.
///
/// Units are powers of 1024: `K` or `KiB`, `M` or `MiB`, `G` or `GiB`, in capitals or not; `B` or no
/// unit stands for bytes. `KB` is refused, because it may mean 1000 or 1024.
///
/// ```
/// use huffwire_io::ByteCount;
///
/// assert_eq!("64MiB".parse(), Ok(ByteCount(64 << 20)));
/// assert!("64KB".parse::<ByteCount>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

/// A text that is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a number of bytes is needed, such as 262144, 256KiB, 64MiB or 1GiB")]
pub struct NotAByteCount;

impl FromStr for ByteCount {
    type Err = NotAByteCount;

    fn from_str(text: &str) -> Result<Self, NotAByteCount> {
        let upper = text.trim().to_ascii_uppercase();
        let end = upper.find(|c: char| !c.is_ascii_digit()).unwrap_or(upper.len());
        let (digits, unit) = upper.split_at(end);
        let unit = match unit.trim_start() {
            "" | "B" => 1,
            "K" | "KIB" => 1 << 10,
            "M" | "MIB" => 1 << 20,
            "G" | "GIB" => 1 << 30,
            _ => return Err(NotAByteCount),
        };
        let number: u64 = digits.parse().map_err(|_| NotAByteCount)?;
        number.checked_mul(unit).map(Self).ok_or(NotAByteCount)
    }
}

impl fmt::Display for ByteCount {
    /// The largest unit that leaves a whole number: `64MiB`, `1000B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = |unit: &(u64, &str)| self.0 >= unit.0 && self.0.is_multiple_of(unit.0);
        match units.into_iter().find(whole) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts() {
        let bytes = |text: &str| text.parse::<ByteCount>().ok().map(|bytes| bytes.0);
        assert_eq!(bytes("262144"), Some(262_144));
        assert_eq!(bytes("256KiB"), Some(262_144));
        assert_eq!(bytes(" 3 MiB"), Some(3 << 20));
        assert_eq!(bytes("1g"), Some(1 << 30));
        assert_eq!(bytes("7B"), Some(7));
        assert_eq!(bytes("0"), Some(0));
        for text in ["", "KiB", "-1", "1.5MiB", "1KB", "1TiB", "99999999999999999999"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        assert_eq!(bytes(&format!("{}KiB", u64::MAX)), None);
    }

    #[test]
    fn what_is_printed_is_what_is_parsed() {
        for count in [0, 7, 1000, 1 << 10, 3 << 20, 5 << 30, u64::MAX].map(ByteCount) {
            assert_eq!(count.to_string().parse(), Ok(count));
        }
        assert_eq!(ByteCount(64 << 20).to_string(), "64MiB");
    }
}
