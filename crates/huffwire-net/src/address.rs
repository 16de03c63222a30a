//! The ports on which a rank may listen.

use std::fmt;
use std::str::FromStr;

/// The ports on which a rank may listen: any that is free, or one of a range that a firewall lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    low: u16,
    high: u16,
}

impl Ports {
    /// Any free port.
    pub const ANY: Self = Self { low: 0, high: 0 };

    /// All ports, in the order in which they are tried.
    pub(crate) fn each(self) -> impl Iterator<Item = u16> {
        self.low..=self.high
    }
}

impl FromStr for Ports {
    type Err = String;

    /// Reads `low-high`, or a single port.
    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (low.trim().parse(), high.trim().parse()) {
            (Ok(low), Ok(high)) if 0 < low && low <= high => Ok(Self { low, high }),
            _ => Err(format!(
                "{text:?} are no ports: give two numbers from 1 to 65535, the lower one first, such as 29600-29699"
            )),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any port"),
            Self { low, high } if low == high => write!(f, "port {low}"),
            Self { low, high } => write!(f, "ports {low} to {high}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_nonsense_is_refused() {
        let ports: Ports = "29600-29602".parse().unwrap();
        assert_eq!(ports.each().collect::<Vec<_>>(), [29600, 29601, 29602]);
        assert_eq!("80".parse::<Ports>().unwrap().each().collect::<Vec<_>>(), [80]);
        assert_eq!(ports.to_string(), "ports 29600 to 29602");
        for text in ["", "-", "5-4", "0-7", "1-65536", "a-b", "1-2-3", "-5"] {
            assert!(text.parse::<Ports>().unwrap_err().contains("no ports"), "{text}");
        }
    }
}
