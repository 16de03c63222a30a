//! What the file of a program for Linux says about itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The size that a program stays below.
const LIMIT: u64 = 8_000_000;

/// A processor, by its number in ELF files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Machine {
    X86_64 = 62,
    Aarch64 = 183,
}

/// What matters of an ELF file.
#[derive(Debug, PartialEq)]
struct Facts {
    machine: u16,
    /// Whether another program has to load libraries for it.
    is_dynamic: bool,
    /// Whether it still has a table of symbols.
    has_symbols: bool,
}

/// Checks that a program is static, stripped, small, and for this processor.
pub(super) fn check(program: &Path, machine: Machine) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("{}", program.display()))?;
    let size = bytes.len() as u64;
    let facts = facts(&bytes).with_context(|| format!("{} is no ELF file", program.display()))?;
    let expected = Facts { machine: machine as u16, is_dynamic: false, has_symbols: false };
    ensure!(facts == expected, "{}: {facts:?}, and not {expected:?}", program.display());
    ensure!(size < LIMIT, "{} has {size} bytes; the limit is {LIMIT}", program.display());
    println!("{}: {machine:?}, static, stripped, {size} bytes", program.display());
    Ok(())
}

/// Reads a 64-bit ELF file with the lowest byte first.
fn facts(file: &[u8]) -> Option<Facts> {
    const INTERPRETER: u32 = 3;
    const SYMBOL_TABLE: u32 = 2;
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let half =
        |at: usize| Some(u16::from_le_bytes(file.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let word =
        |at: usize| Some(u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let long = |at: usize| {
        usize::try_from(u64::from_le_bytes(file.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
    };
    // A table is an offset, the size of a row and the number of rows.
    let rows = |offset: usize, size: u16, number: u16| {
        (0..usize::from(number)).map(move |row| offset.saturating_add(row * usize::from(size)))
    };
    let mut facts = Facts { machine: half(18)?, is_dynamic: false, has_symbols: false };
    for segment in rows(long(32)?, half(54)?, half(56)?) {
        facts.is_dynamic |= word(segment)? == INTERPRETER;
    }
    for section in rows(long(40)?, half(58)?, half(60)?) {
        facts.has_symbols |= word(section.checked_add(4)?)? == SYMBOL_TABLE;
    }
    Some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_machine_is_read() {
        let file = fs::read(std::env::current_exe().unwrap()).unwrap();
        if cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")) {
            let facts = facts(&file).unwrap();
            // A test program is linked with the system's C library, and keeps its symbols.
            assert_eq!(facts, Facts { machine: 62, is_dynamic: true, has_symbols: true });
        }
    }

    #[test]
    fn other_files_are_refused() {
        for file in [&b""[..], b"\x7fELF", b"\x7fELF\x01\x01 of 32 bits", b"#!/bin/sh\nexit 0\n"] {
            assert_eq!(facts(file), None);
        }
        let mut torn = b"\x7fELF\x02\x01".to_vec();
        torn.resize(64, 0xff);
        assert_eq!(facts(&torn), None);
    }
}
