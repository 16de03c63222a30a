//! Which processor this is, and how fast it runs.

use std::hint::black_box;
use std::time::Instant;

/// What the processor is called; `unknown` where the system does not tell in the way of Linux.
pub(super) fn name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    name_in(&info).unwrap_or("unknown").to_owned()
}

fn name_in(info: &str) -> Option<&str> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim()).filter(|name| !name.is_empty())
}

/// Multiplications of a chain: about a tenth of a millisecond.
const LINKS: u32 = 1 << 17;

/// Chains of a measurement. Whatever else wants the processor only makes a chain slower, so the fastest
/// counts.
const CHAINS: u32 = 16;

/// Cycles from the input of a 64-bit multiplication to its output, on Intel since Nehalem and on AMD
/// since Zen.
const LATENCY: u32 = 3;

/// An estimate of the clock in GHz: the time of a chain of multiplications, each of which waits for the
/// one before it. `None` on processors whose latency is not known.
///
/// Additions will not do: processors since Golden Cove fold those of constants when they rename
/// registers. Numbers are squared because the compiler knows no shorter way to a power of 2^n, whereas
/// a product with constants is one product. Always squaring leads to 1; the time does not depend on it.
pub(super) fn clock_ghz() -> Option<f64> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    (0..CHAINS).map(|_| chain_ghz()).max_by(f64::total_cmp)
}

fn chain_ghz() -> f64 {
    const UNROLLED: u32 = 16;
    let started = Instant::now();
    let mut x = black_box(0x9e37_79b9_7f4a_7c15u64);
    for _ in 0..LINKS / UNROLLED {
        for _ in 0..UNROLLED {
            x = x.wrapping_mul(x);
        }
    }
    black_box(x);
    let nanoseconds = started.elapsed().as_nanos().max(1) as f64;
    f64::from(LINKS) * f64::from(LATENCY) / nanoseconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found() {
        let info = "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Some CPU @ 2 GHz\nflags\t: a b\n";
        assert_eq!(name_in(info), Some("Some CPU @ 2 GHz"));
        assert_eq!(name_in("processor : 0\nmodel name\t: \n"), None);
        assert_eq!(name_in(""), None);
    }

    #[test]
    fn the_clock_is_one_of_this_world() {
        if let Some(ghz) = clock_ghz() {
            assert!(ghz > 0.01 && ghz < 20.0, "{ghz}");
        }
    }
}
