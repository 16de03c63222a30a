//! The check that the hot kernels are what they look like: everything inlined, nothing gathered.
//!
//! An intrinsic that is not inlined into a function compiled for its instructions becomes a call, and the kernel
//! many times slower, without any test failing. So the compiler writes down its assembly, and this reads it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{ROOT, cargo, run};
use crate::steps::{Gap, Outcome};

/// Functions with the loops that take the time, by what their symbols contain.
const KERNELS: &[&str] = &[
    "lanes6avx5127Encoder10push_whole",
    "lanes6avx5127Decoder10pull_whole",
    "lanes6avx5127Decoder9pull_both",
    "lanes11avx512_long7Encoder9push_with",
    "lanes11avx512_long7Decoder9pull_with",
    "lanes11avx512_long7Decoder9pull_both",
    "deal6avx51214split16_groups",
    "deal6avx51214merge16_groups",
    "lanes4avx26encode5Batch5write",
    "lanes4avx26encode7Encoder7look_up",
    "lanes4avx26encode7Encoder9step_half",
    "lanes4avx26decode7Decoder5steps",
    "deal4avx214split16_groups",
    "deal4avx214merge16_groups",
];

/// What a kernel may call: what ends it, and what one step in ten needs.
const RARE: &[&str] = &["panic", "slice_index_fail", "replace_marked", "keep_symbols"];

pub(crate) fn check() -> Result<Outcome> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Outcome::with(vec![Gap::of_machine("the kernels are for x86-64")]));
    }
    // Apart, so that the folder has this assembly alone; removed first, since names change.
    let target = &Path::new(ROOT).join("target/kernels");
    if target.join("release/deps").exists() {
        for file in assembly(target)? {
            fs::remove_file(file)?;
        }
    }
    let flags = ["rustc", "--release", "-p", "huffwire", "--all-features", "--lib", "--target-dir"];
    run(cargo(&flags).arg(target).args(["--", "--emit=asm", "-Ccodegen-units=1"]))?;
    let mut seen = vec![false; KERNELS.len()];
    for file in assembly(target)? {
        check_file(&fs::read_to_string(file)?, &mut seen)?;
    }
    for (kernel, seen) in KERNELS.iter().zip(seen) {
        ensure!(seen, "no function's symbol contains {kernel}: was it renamed, or inlined?");
    }
    Ok(Outcome::Passed)
}

/// Where the compiler wrote the library's assembly.
fn assembly(target: &Path) -> Result<Vec<PathBuf>> {
    let folder = target.join("release/deps");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "s") {
            files.push(path);
        }
    }
    Ok(files)
}

fn check_file(text: &str, seen: &mut [bool]) -> Result<()> {
    let mut inside: Option<&str> = None;
    for line in text.lines() {
        if let Some(symbol) = line.strip_suffix(':').filter(|symbol| symbol.starts_with('_')) {
            let kernel = KERNELS.iter().position(|kernel| symbol.contains(kernel));
            inside = kernel.map(|_| symbol);
            if let Some(kernel) = kernel {
                seen[kernel] = true;
            }
            continue;
        }
        let Some(symbol) = inside else { continue };
        let mut words = line.split_whitespace();
        let (instruction, operand) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        ensure!(!instruction.contains("gather"), "{symbol} gathers: {line}");
        let called =
            instruction.starts_with("call") && !RARE.iter().any(|rare| operand.contains(rare));
        ensure!(!called, "{symbol} calls what should be inlined: {operand}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "_ZN8huffwire5lanes6avx5127Encoder10push_whole17h0E:\n";

    #[test]
    fn calls_and_gathers_in_kernels_are_found() {
        let mut seen = vec![false; KERNELS.len()];
        let fine =
            format!("{KERNEL}\tvpermb\t%zmm0\n\tcallq\tx_keep_symbols\n_other:\n\tcallq\tx\n");
        assert!(check_file(&fine, &mut seen).is_ok());
        assert!(seen[0] && !seen[1]);
        for bad in ["\tcallq\t_mm512_load", "\tvpgatherdd\t(%rax,%zmm0)"] {
            assert!(check_file(&format!("{KERNEL}{bad}\n"), &mut seen).is_err());
        }
    }
}
