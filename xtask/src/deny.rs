//! Dependencies: their licences, versions and advisories, as `deny.toml` says.

use std::path::Path;

use anyhow::Result;

use crate::shell::{output, program, run};
use crate::steps::{Gap, Outcome};
use crate::tools::DENY;

/// Where the data base of advisories comes from.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// The step `deny`.
pub(crate) fn check() -> Result<Outcome> {
    let tool = match DENY.path() {
        Ok(tool) => tool,
        Err(error) => return Ok(Outcome::with(vec![DENY.gap(&error)])),
    };
    run(&mut deny(&tool, &["bans", "licenses", "sources"]))?;
    // Whether there is a way to the data base, asked of what fetches it.
    let ask = ["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=10", "ls-remote", "--heads"];
    let asked = output(program("git").args(ask).arg(ADVISORIES).env("GIT_TERMINAL_PROMPT", "0"));
    if asked.is_err() {
        let what = "advisories about dependencies: their data base cannot be reached from here";
        return Ok(Outcome::with(vec![Gap::of_machine(what)]));
    }
    run(&mut deny(&tool, &["advisories"]))?;
    Ok(Outcome::Passed)
}

fn deny(tool: &Path, what: &[&str]) -> std::process::Command {
    let mut deny = program(tool);
    deny.args(["--workspace", "--all-features", "check"]).args(what);
    deny
}
