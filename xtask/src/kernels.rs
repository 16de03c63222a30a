//! The check that the hot kernels are what they look like: everything inlined, nothing gathered.
//!
//! An intrinsic that is not inlined into a function compiled for its instructions becomes a call, and the kernel
//! many times slower, without any test failing. So the compiler writes down its assembly, and this reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::needs;
use crate::shell::{ROOT, cargo, run};
use crate::steps::{Gap, Outcome};

/// Where the kernels are, a folder for each instruction set.
const FOLDER: &str = "crates/huffwire/src/kernels";

/// Processors: what Rust calls them, the target to compile for where they are not this one, and the folders of their
/// instruction sets.
const PROCESSORS: &[(&str, Option<&str>, &[&str])] = &[
    ("x86_64", None, &["avx2", "avx512"]),
    ("aarch64", Some("aarch64-unknown-linux-gnu"), &["neon"]),
];

/// The package that links for an Arm processor, and its program.
const ARM_COMPILER: &str = "gcc-aarch64-linux-gnu";
const ARM_LINKER: (&str, &str) =
    ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");

/// What a kernel may call: what ends it, and what one step in ten needs, or the last one.
const RARE: &[&str] = &["panic", "slice_index_fail", "replace_marked", "keep_symbols", "padded"];

pub(crate) fn check() -> Result<Outcome> {
    let mut gaps = Vec::new();
    for (processor, target, sets) in PROCESSORS {
        match target {
            _ if *processor == std::env::consts::ARCH => check_processor(None, sets)?,
            None => gaps.push(Gap::of_machine(format!("the kernels are for {processor}"))),
            Some(target) => {
                // A dependency is linked to be a library of C's.
                let missing = needs::missing(&[target, ARM_COMPILER])?;
                if missing.is_empty() {
                    check_processor(Some(target), sets)?;
                }
                gaps.extend(missing);
            }
        }
    }
    Ok(Outcome::with(gaps))
}

/// Checks the kernels of some instruction sets, in the assembly for another processor or, if it is `None`, for this one.
fn check_processor(other: Option<&str>, sets: &[&str]) -> Result<()> {
    // Apart, so that the folder has this assembly alone; removed first, since names change, together with what makes
    // cargo believe that there is nothing to be compiled.
    let folder = &Path::new(ROOT).join("target/kernels");
    let output = folder.join(other.unwrap_or("")).join("release/deps");
    if output.exists() {
        for file in assembly(&output)? {
            fs::remove_file(file)?;
        }
        run(&mut command(&["clean", "--quiet", "--release", "-p", "huffwire"], folder, other))?;
    }
    let mut compile = command(
        &["rustc", "--release", "-p", "huffwire", "--all-features", "--lib"],
        folder,
        other,
    );
    run(compile.args(["--", "--emit=asm", "-Ccodegen-units=1"]))?;
    let kernels = kernels(sets)?;
    let mut seen = vec![false; kernels.len()];
    for file in assembly(&output)? {
        check_file(&fs::read_to_string(file)?, &kernels, &mut seen)?;
    }
    for (kernel, seen) in kernels.iter().zip(seen) {
        ensure!(
            seen,
            "no symbol belongs to {} of {}: is it called, or was it inlined?",
            kernel.name,
            kernel.file.display()
        );
    }
    Ok(())
}

/// A command for cargo about a folder with what is compiled for a processor.
fn command(arguments: &[&str], folder: &Path, other: Option<&str>) -> Command {
    let mut command = cargo(arguments);
    command.arg("--target-dir").arg(folder);
    if let Some(other) = other {
        command.args(["--target", other]).env(ARM_LINKER.0, ARM_LINKER.1);
    }
    command
}

/// A function with a loop that takes time: any whose name ends in `_steps`.
struct Kernel {
    file: PathBuf,
    name: String,
    /// What its symbols contain: its modules and its type or itself, each after its length.
    path: Vec<String>,
}

impl Kernel {
    /// The kernel `name` in a file of a folder of kernels.
    fn new(file: PathBuf, name: &str) -> Self {
        let mangled = |part: &str| format!("{}{part}", part.len());
        let folders = file.iter().map(|part| part.to_string_lossy());
        let modules = folders.map(|part| part.trim_end_matches(".rs").to_owned());
        let mut path: Vec<String> =
            modules.filter(|module| module != "mod").map(|module| mangled(&module)).collect();
        path.push(mangled(name));
        Self { file, name: name.to_owned(), path }
    }

    /// Whether a symbol is that of this function.
    fn has(&self, symbol: &str) -> bool {
        let mut rest = symbol;
        self.path.iter().all(|part| match rest.split_once(part.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }
}

/// All kernels of some instruction sets in the source.
fn kernels(sets: &[&str]) -> Result<Vec<Kernel>> {
    let root = Path::new(ROOT).join(FOLDER);
    let mut kernels = Vec::new();
    for set in sets {
        let before = kernels.len();
        let mut folders = vec![PathBuf::from(set)];
        while let Some(folder) = folders.pop() {
            let path = root.join(&folder);
            for entry in fs::read_dir(&path).with_context(|| format!("{}", path.display()))? {
                let entry = entry?;
                let place = folder.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    folders.push(place);
                    continue;
                }
                let text = fs::read_to_string(entry.path())?;
                let names = names(&text).map(|name| Kernel::new(place.clone(), name));
                kernels.extend(names);
            }
        }
        ensure!(kernels.len() > before, "no function of {FOLDER}/{set} is named *_steps");
    }
    Ok(kernels)
}

/// The functions of a file that are kernels.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let declared = text.lines().filter_map(|line| line.split_once("fn ")).filter(|(before, _)| {
        // Not in a comment.
        before.split_whitespace().all(|word| word.starts_with("pub") || word == "unsafe")
    });
    declared
        .filter_map(|(_, after)| after.split(['(', '<']).next())
        .filter(|name| name.ends_with("_steps"))
}

/// The assembly that the compiler wrote to a folder.
fn assembly(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "s") {
            files.push(path);
        }
    }
    Ok(files)
}

fn check_file(text: &str, kernels: &[Kernel], seen: &mut [bool]) -> Result<()> {
    let mut inside: Option<&str> = None;
    for line in text.lines() {
        if let Some(symbol) = line.strip_suffix(':').filter(|symbol| symbol.starts_with('_')) {
            let kernel = kernels.iter().position(|kernel| kernel.has(symbol));
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
        let calls = instruction.starts_with("call") || matches!(instruction, "bl" | "blr");
        let called = calls && !RARE.iter().any(|rare| operand.contains(rare));
        ensure!(!called, "{symbol} calls what should be inlined: {operand}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str =
        "_ZN8huffwire7kernels6avx5125lanes5bits86encode7Encoder10push_steps17h0E:\n";

    #[test]
    fn calls_and_gathers_in_kernels_are_found() {
        let source =
            "// fn no_steps()\npub(crate) fn other_steps<T>() {}\n    fn push_steps(a: u8) {}\n";
        let file = PathBuf::from("avx512/lanes/bits8/encode.rs");
        let kernels: Vec<_> = names(source).map(|name| Kernel::new(file.clone(), name)).collect();
        let found: Vec<_> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
        assert_eq!(found, ["other_steps", "push_steps"]);
        let mut seen = [false; 2];
        let fine =
            format!("{KERNEL}\tvpermb\t%zmm0\n\tcallq\tx_keep_symbols\n_other:\n\tcallq\tx\n");
        assert!(check_file(&fine, &kernels, &mut seen).is_ok());
        assert_eq!(seen, [false, true]);
        for bad in ["\tcallq\t_mm512_load", "\tbl\tvld1q_u8", "\tvpgatherdd\t(%rax,%zmm0)"] {
            assert!(check_file(&format!("{KERNEL}{bad}\n"), &kernels, &mut seen).is_err());
        }
    }
}
