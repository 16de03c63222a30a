//! What a release is made for.

use anyhow::Result;

use super::elf::Machine;
use crate::shell::host;

/// A kind of computer that gets a program and a wheel.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    /// The target of the program, as rustc calls it.
    pub(super) program: &'static str,
    /// The target of the wheel: Python links with the C library of the system.
    pub(super) wheel: &'static str,
    /// The package of the system that compiles C and links for the wheel; `None` if zig does.
    pub(super) wheel_linker: Option<&'static str>,
    /// What maturin is to call the oldest system that the wheel runs on.
    pub(super) compatibility: Option<&'static str>,
    /// The processor of a program that must be static and stripped.
    pub(super) machine: Option<Machine>,
    /// The emulator of this processor.
    pub(super) emulator: Option<&'static str>,
}

/// Every target of a release. Those without an emulator or a machine of this kind are built and never tried.
pub(super) const TARGETS: &[Target] = &[
    Target {
        program: "x86_64-unknown-linux-musl",
        wheel: "x86_64-unknown-linux-gnu",
        wheel_linker: None,
        compatibility: Some("manylinux2014"),
        machine: Some(Machine::X86_64),
        emulator: None,
    },
    Target {
        program: "aarch64-unknown-linux-musl",
        wheel: "aarch64-unknown-linux-gnu",
        wheel_linker: None,
        compatibility: Some("manylinux2014"),
        machine: Some(Machine::Aarch64),
        emulator: Some("qemu-aarch64"),
    },
    Target {
        program: "aarch64-apple-darwin",
        wheel: "aarch64-apple-darwin",
        wheel_linker: None,
        compatibility: None,
        machine: None,
        emulator: None,
    },
    Target {
        program: "x86_64-pc-windows-gnu",
        wheel: "x86_64-pc-windows-gnu",
        // With zig, maturin 1.16 has each library of each crate export the module's function, under a wrong name.
        wheel_linker: Some("gcc-mingw-w64-x86-64"),
        compatibility: None,
        machine: None,
        emulator: None,
    },
];

impl Target {
    /// The targets of the Rust toolchain that it takes.
    pub(super) fn rust_targets(&self) -> Vec<&'static str> {
        if self.program == self.wheel { vec![self.program] } else { vec![self.program, self.wheel] }
    }

    /// What it takes of the system: targets of Rust, what makes environments of Python and archives, the emulator, and
    /// for the wheel, if one is built, what links it.
    pub(super) fn needs(&self, wheel: bool) -> Vec<&'static str> {
        let mut needs = self.rust_targets();
        needs.extend(["python3", "python3-venv", "tar"]);
        if self.emulator.is_some() {
            needs.push("qemu-user");
        }
        needs.extend(self.wheel_linker.filter(|_| wheel));
        needs
    }

    /// The name of its program's file.
    pub(super) fn file(&self) -> &'static str {
        if self.is_windows() { "huffwire.exe" } else { "huffwire" }
    }

    /// Whether it is Windows.
    pub(super) fn is_windows(&self) -> bool {
        self.program.contains("windows")
    }

    /// Whether its programs run on a machine whose target is `host`.
    pub(super) fn runs_on(&self, host: &str) -> bool {
        let parts = |triple: &str| {
            let mut parts = triple.split('-').map(str::to_owned);
            (parts.next(), parts.nth(1))
        };
        parts(self.program) == parts(host)
    }
}

/// The target whose static programs run on this machine.
pub(super) fn of_this_machine() -> Result<Option<&'static Target>> {
    let host = host()?;
    Ok(TARGETS.iter().find(|target| target.machine.is_some() && target.runs_on(&host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs;

    #[test]
    fn a_static_program_runs_beside_any_c_library() {
        assert!(TARGETS[0].runs_on("x86_64-unknown-linux-gnu"));
        assert!(!TARGETS[0].runs_on("aarch64-unknown-linux-gnu"));
        assert!(!TARGETS[0].runs_on("x86_64-apple-darwin"));
        assert!(TARGETS[1].runs_on("aarch64-unknown-linux-musl"));
    }

    #[test]
    fn what_targets_need_is_in_the_table() {
        for target in TARGETS {
            assert!(needs::missing(&target.needs(true)).is_ok(), "{}", target.program);
        }
    }
}
