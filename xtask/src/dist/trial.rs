//! Whether a program that was built works: it compresses a file, and restores it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::archive::emptied;
use super::report::Trial;
use super::target::Target;
use crate::needs;
use crate::shell::{VERSION, host, output, program};
use crate::steps::Gap;

/// The file that is compressed, and what it becomes.
const FILES: [&str; 3] = ["data.safetensors", "data.safetensors.hw", "back.safetensors"];

/// Tries the program of a target as far as this machine can.
pub(super) fn run(target: &Target, executable: &Path) -> Result<Trial> {
    let folder = emptied("target/trial")?;
    prepare(&folder)?;
    let how = if target.runs_on(&host()?) {
        let Some(confined) = confined(&folder)? else {
            let reason = "in an empty root: this machine lets nobody change the root";
            return Ok(Trial::Left(vec![Gap::of_machine(reason)]));
        };
        // What the program then finds is itself and the file.
        fs::copy(executable, folder.join(target.file()))?;
        round_trip(&folder, &confined, &Path::new("/").join(target.file()), Path::new("/"))?;
        "in an empty root".to_owned()
    } else if let Some(emulator) = target.emulator {
        let missing = needs::missing(&["qemu-user"])?;
        if !missing.is_empty() {
            return Ok(Trial::Left(missing));
        }
        round_trip(&folder, &[emulator.to_owned()], executable, &folder)?;
        format!("with {emulator}")
    } else {
        let what = format!("no machine for {} is here", target.program);
        return Ok(Trial::Left(vec![Gap::of_machine(what)]));
    };
    fs::remove_dir_all(&folder)?;
    Ok(Trial::Passed(how))
}

/// Writes the file that is compressed.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    fs::write(folder.join(FILES[0]), tensors())?;
    Ok(())
}

/// The command that runs another with `folder` as its root; none where the system forbids it.
fn confined(folder: &Path) -> Result<Option<Vec<String>>> {
    let folder = folder.to_str().context("the checkout's path is not UTF-8")?.to_owned();
    if output(program("id").arg("-u"))? == "0" {
        return Ok(Some(vec!["chroot".to_owned(), folder]));
    }
    // Whoever is not root becomes it within a namespace, if that is allowed.
    let unshare = ["unshare", "--map-root-user"].map(str::to_owned);
    let allowed = program(&unshare[0]).args([&unshare[1], "true"]).output();
    let allowed = allowed.is_ok_and(|output| output.status.success());
    Ok(allowed.then(|| [unshare.to_vec(), vec![format!("--root={folder}")]].concat()))
}

/// Asks for the version, and compresses and restores the file of `folder`, which the program sees as `seen`. `before` is
/// the command, if any, that runs the program.
pub(super) fn round_trip(
    folder: &Path,
    before: &[String],
    executable: &Path,
    seen: &Path,
) -> Result<()> {
    let [data, coded, back] = FILES;
    let command = || match before.split_first() {
        Some((first, rest)) => {
            let mut command = program(first);
            command.args(rest).arg(executable);
            command
        }
        None => program(executable),
    };
    let said = output(command().arg("--version"))?;
    ensure!(said == format!("huffwire {VERSION}"), "the program says that it is `{said}`");
    run_quietly(command().arg("compress").arg(seen.join(data)))?;
    run_quietly(command().arg("verify").arg(seen.join(coded)))?;
    let mut decompress = command();
    decompress.arg("decompress").arg(seen.join(coded)).arg("-o").arg(seen.join(back));
    run_quietly(&mut decompress)?;
    let read = |name: &str| fs::read(folder.join(name)).with_context(|| name.to_owned());
    ensure!(read(data)? == read(back)?, "the restored file differs from the original");
    let (original, coded) = (read(data)?.len(), read(coded)?.len());
    ensure!(coded < original * 3 / 4, "{original} bytes became {coded}");
    println!("compressed {original} bytes to {coded}, and restored them");
    Ok(())
}

fn run_quietly(command: &mut Command) -> Result<()> {
    crate::shell::run(command.arg("--quiet"))
}

/// A safetensors file with one bf16 tensor whose values resemble weights: sums of uniform numbers.
fn tensors() -> Vec<u8> {
    const VALUES: usize = 1 << 20;
    let bytes = VALUES * 2;
    let mut header =
        format!(r#"{{"w":{{"dtype":"BF16","shape":[{VALUES}],"data_offsets":[0,{bytes}]}}}}"#);
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    let mut state = 1_u64;
    for _ in 0..VALUES {
        let mut sum = 0.0_f32;
        for _ in 0..4 {
            // The constants of Knuth's generator MMIX; the upper bits are the good ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += f32::from((state >> 48) as u16) / 65_536.0 - 0.5;
        }
        let bits = (sum * 0.02).to_bits();
        file.extend(((bits >> 16) as u16).to_le_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_safetensors_file() {
        let file = tensors();
        let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
        let header = std::str::from_utf8(&file[8..8 + length]).unwrap();
        assert!(header.starts_with(r#"{"w":{"dtype":"BF16""#));
        assert_eq!(file.len(), 8 + length + (2 << 20));
        // Values of many sizes, and no constant.
        let mut exponents: Vec<u8> =
            file[8 + length..].chunks(2).map(|bf16| bf16[1] & 0x7f).collect();
        exponents.sort_unstable();
        exponents.dedup();
        assert!(exponents.len() > 4);
    }
}
