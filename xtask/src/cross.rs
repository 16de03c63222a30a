//! The library's tests on other processors, which an emulator stands in for: another instruction set, the
//! highest byte first, a `usize` of 32 bits.

use std::process::Command;

use anyhow::Result;

use crate::needs;
use crate::shell::{cargo, host, run};
use crate::steps::Outcome;

/// A processor, as those name it who have to do with it.
struct Processor {
    rust: &'static str,
    /// The prefix of gcc, and the folder in `/usr` with the C library.
    gnu: &'static str,
    qemu: &'static str,
    /// What its tests need besides the target of `rust`.
    packages: [&'static str; 3],
}

const PROCESSORS: &[Processor] = &[
    Processor {
        rust: "aarch64-unknown-linux-gnu",
        gnu: "aarch64-linux-gnu",
        qemu: "qemu-aarch64",
        packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"],
    },
    Processor {
        rust: "s390x-unknown-linux-gnu",
        gnu: "s390x-linux-gnu",
        qemu: "qemu-s390x",
        packages: ["gcc-s390x-linux-gnu", "libc6-dev-s390x-cross", "qemu-user"],
    },
    Processor {
        rust: "i686-unknown-linux-gnu",
        gnu: "i686-linux-gnu",
        qemu: "qemu-i386",
        packages: ["gcc-i686-linux-gnu", "libc6-dev-i386-cross", "qemu-user"],
    },
];

/// What is tested there. Left out is what takes an emulator minutes (`gradient`, `threads`, `fuzz`); the golden files
/// have every encoder of gradients.
const TESTS: &[&str] = &[
    "--lib",
    "--test=golden",
    "--test=hostile",
    "--test=one_pass",
    "--test=platforms",
    "--test=round_trip",
];

impl Processor {
    fn cargo(&self, command: &str) -> Command {
        let mut cargo =
            cargo(&[command, "-p", "huffwire", "--all-features", "--target", self.rust]);
        let variable =
            |end| format!("CARGO_TARGET_{}_{end}", self.rust.to_uppercase().replace('-', "_"));
        cargo.env(variable("LINKER"), format!("{}-gcc", self.gnu));
        cargo.env(variable("RUNNER"), format!("{} -L /usr/{}", self.qemu, self.gnu));
        cargo
    }
}

pub(crate) fn check() -> Result<Outcome> {
    let host = host()?;
    let mut gaps = Vec::new();
    // The processor of this machine has been tested already.
    for processor in PROCESSORS.iter().filter(|processor| processor.rust != host) {
        let target = needs::missing(&[processor.rust])?;
        let packages = needs::missing(&processor.packages)?;
        match (target.is_empty(), packages.is_empty()) {
            (true, true) => run(processor.cargo("test").args(TESTS))?,
            (true, false) => run(&mut processor.cargo("check"))?,
            (false, _) => {}
        }
        for gap in target.into_iter().chain(packages) {
            if !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
    }
    Ok(Outcome::with(gaps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_and_emulator_are_told_to_cargo() {
        let cargo = PROCESSORS[1].cargo("test");
        let told = |name: &str| {
            let found = cargo.get_envs().find(|(variable, _)| *variable == name);
            found.and_then(|(_, value)| value).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(told("CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER"), "s390x-linux-gnu-gcc");
        let runner = told("CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER");
        assert_eq!(runner, "qemu-s390x -L /usr/s390x-linux-gnu");
    }

    #[test]
    fn everything_it_needs_is_in_the_table() {
        for processor in PROCESSORS {
            assert!(needs::missing(&[processor.rust]).is_ok(), "{}", processor.rust);
            assert!(needs::missing(&processor.packages).is_ok(), "{}", processor.rust);
        }
    }
}
