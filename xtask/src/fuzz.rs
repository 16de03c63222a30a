//! Fuzzing with libFuzzer on a stable compiler and without cargo-fuzz.
//!
//! What cargo-fuzz adds to a build is a handful of compiler flags, and all of
//! them but the sanitizers are stable. Flags in `RUSTFLAGS` are kept, so an
//! address sanitizer is one variable away:
//! `RUSTFLAGS=-Zsanitizer=address cargo +nightly xtask fuzz`.

mod log;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::needs;
use crate::shell::{self, ROOT};
use crate::steps::Outcome;
use log::Log;

/// What `cargo xtask fuzz` understands.
pub(crate) const ARGUMENTS: &str = "[TARGET] [--seconds N] [--reproduce FILE]";

const DEFAULT_SECONDS: u32 = 10;

/// The address space of a target. libFuzzer's own limit sees only memory that
/// is written to; this one also stops a vast allocation made for a forged
/// header.
const ADDRESS_SPACE_KIB: u32 = 4 << 20;

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Request {
    /// One target, or all of them.
    target: Option<String>,
    seconds: u32,
    /// An input to run once, instead of fuzzing.
    reproduce: Option<PathBuf>,
}

/// Fuzzes as `arguments` say.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    fuzz(&parse(arguments)?)
}

/// Fuzzes every target for a moment: the step of `cargo xtask test`.
pub(crate) fn smoke() -> Result<Outcome> {
    let missing = needs::missing(&["g++"])?;
    if missing.is_empty() {
        run(&[])?;
    }
    Ok(Outcome::with(missing))
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request { target: None, seconds: DEFAULT_SECONDS, reproduce: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().context("`--seconds` needs a number")?;
                request.seconds =
                    number.parse().with_context(|| format!("`--seconds {number}`"))?;
            }
            "--reproduce" => {
                let file = words.next().context("`--reproduce` needs a file")?;
                request.reproduce = Some(std::path::absolute(file)?);
            }
            name if request.target.is_none() && !name.starts_with('-') => {
                request.target = Some(name.to_owned());
            }
            other => bail!("`fuzz` does not know `{other}`, only {ARGUMENTS}"),
        }
    }
    ensure!(
        request.reproduce.is_none() || request.target.is_some(),
        "`--reproduce` needs to know the target"
    );
    Ok(request)
}

fn fuzz(request: &Request) -> Result<()> {
    let mut targets = targets()?;
    if let Some(wanted) = &request.target {
        let known = targets.join(", ");
        targets.retain(|target| target == wanted);
        ensure!(!targets.is_empty(), "no fuzz target `{wanted}`: {known}");
    }
    let programs = build(&targets)?;
    if let (Some(file), Some(target)) = (&request.reproduce, targets.first()) {
        return shell::run(confined(&programs.join(target)).arg(file));
    }

    // Whoever names a target watches it; a round through all is told briefly.
    let watched = request.target.is_some();
    let mut total = 0;
    for target in &targets {
        let log = fuzz_one(target, &programs, request.seconds, watched)?;
        println!("{target:<12} {log}");
        total += log.inputs();
    }
    println!("{total} inputs in all, and none failed");
    Ok(())
}

/// The names of all targets, in order.
fn targets() -> Result<Vec<String>> {
    let folder = Path::new(ROOT).join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if let (Some(name), Some("rs")) =
            (path.file_stem(), path.extension().and_then(|e| e.to_str()))
        {
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

/// Compiles `targets` and returns the folder, relative to the root, in which
/// their programs are.
fn build(targets: &[String]) -> Result<PathBuf> {
    let host = &shell::host()?;
    // Naming the target, though it is the host, keeps the flags away from
    // build scripts and procedural macros.
    let mut cargo = shell::cargo(&["build", "--manifest-path=fuzz/Cargo.toml", "--release"]);
    cargo.args(["--target-dir=fuzz/target", "--target", host]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    // The encoded form would win over the plain one.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    shell::run(cargo.env("RUSTFLAGS", flags(host)))?;
    Ok(["fuzz/target", host, "release"].iter().collect())
}

/// The flags that cargo-fuzz would set, and then the user's own.
fn flags(host: &str) -> String {
    let mut flags = vec![
        "-Cpasses=sancov-module".to_owned(),
        "-Cllvm-args=-sanitizer-coverage-level=4".to_owned(),
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters".to_owned(),
        "-Cllvm-args=-sanitizer-coverage-pc-table".to_owned(),
        "-Cllvm-args=-sanitizer-coverage-trace-compares".to_owned(),
        "--cfg=fuzzing".to_owned(),
        "-Clink-dead-code".to_owned(),
    ];
    if host.contains("-linux-") {
        flags.push("-Cllvm-args=-sanitizer-coverage-stack-depth".to_owned());
    }
    flags.extend(env::var("RUSTFLAGS"));
    flags.join(" ")
}

/// Fuzzes one target and returns what libFuzzer said.
fn fuzz_one(target: &str, programs: &Path, seconds: u32, watched: bool) -> Result<Log> {
    let corpus = format!("fuzz/corpus/{target}");
    let artifacts = format!("fuzz/artifacts/{target}/");
    let seeds = format!("fuzz/seeds/{target}");
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(Path::new(ROOT).join(folder)).with_context(|| folder.clone())?;
    }

    let mut command = confined(&programs.join(target));
    command.args([
        &format!("-max_total_time={seconds}"),
        &format!("-artifact_prefix={artifacts}"),
        "-max_len=65536",
        "-print_final_stats=1",
        // New inputs go to the first folder; libFuzzer only reads the others.
        &corpus,
    ]);
    if Path::new(ROOT).join(&seeds).is_dir() {
        command.arg(seeds);
    }

    let (status, log) = listen(&mut command, watched)?;
    if status.success() {
        return Ok(log);
    }
    if !watched {
        eprint!("{}", log.text());
    }
    match log.artifact() {
        Some(file) => bail!(
            "fuzz target `{target}` failed: {status}\n  \
             input:      {file}\n  \
             reproduce:  cargo xtask fuzz {target} --reproduce {file}"
        ),
        None => bail!("fuzz target `{target}` failed without an input: {status}"),
    }
}

/// A fuzz target's program under limits on its time and memory, which hold as
/// well for reproducing what exceeded them.
fn confined(target: &Path) -> Command {
    // An address sanitizer reserves terabytes for itself.
    let sanitized = env::var("RUSTFLAGS").is_ok_and(|flags| flags.contains("sanitizer"));
    let limit = if sanitized { "unlimited".to_owned() } else { ADDRESS_SPACE_KIB.to_string() };
    let mut command = shell::program("sh");
    // A system without such a limit is fuzzed without it.
    command.args(["-c", "ulimit -v $0 2>/dev/null; exec \"$@\"", &limit]);
    command.arg(target);
    command.args(["-timeout=10", "-rss_limit_mb=2048"]);
    command
}

/// Runs `command` and keeps what it writes on its standard error, where
/// libFuzzer speaks; `watched` also passes it on.
fn listen(command: &mut Command, watched: bool) -> Result<(ExitStatus, Log)> {
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut log = Log::default();
    if let Some(stderr) = child.stderr.take() {
        // A panic message may hold a piece of the input, and so need not be UTF-8.
        for line in BufReader::new(stderr).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if watched {
                eprintln!("{line}");
            }
            log.push(&line);
        }
    }
    Ok((child.wait()?, log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn no_arguments_ask_for_every_target() {
        let request = request("").unwrap();
        assert_eq!(request.target, None);
        assert_eq!(request.seconds, DEFAULT_SECONDS);
    }

    #[test]
    fn arguments_come_in_any_order() {
        assert_eq!(request("--seconds 3 file").unwrap(), request("file --seconds 3").unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--seconds", "--seconds x", "a b", "--jobs", "--reproduce crash"] {
            assert!(request(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_target_is_a_program() {
        let manifest = fs::read_to_string(Path::new(ROOT).join("fuzz/Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        }
    }
}
