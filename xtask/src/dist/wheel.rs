//! Whether a wheel works: it is installed in a new environment, and used there.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::archive::emptied;
use super::report::Trial;
use super::target::Target;
use super::trial;
use crate::shell::{host, output, program, run};
use crate::steps::Gap;
use crate::tools::pip;

/// Bytes that come back, and errors that are errors.
const BYTES: &str = "
import huffwire
tensor = bytes(range(256)) * 64
message = huffwire.encode(tensor, 'bf16')
assert huffwire.decode(message) == tensor
try:
    huffwire.decode(message[:-1])
except huffwire.Error as error:
    print('bytes come back; half a message is refused:', error)
else:
    raise SystemExit('half a message was decoded')
";

/// Arrays that come back, from messages and from files.
const ARRAYS: &str = "
import ml_dtypes, numpy, huffwire.numpy
weights = (numpy.random.default_rng(1).standard_normal((512, 256)) * 0.02).astype(ml_dtypes.bfloat16)
message = huffwire.numpy.encode(weights)
assert len(message) < 0.75 * weights.nbytes, len(message)
assert huffwire.numpy.decode(message, weights.shape).tobytes() == weights.tobytes()
huffwire.numpy.save_file({'w': weights}, 'arrays.hw')
assert huffwire.numpy.load_file('arrays.hw')['w'].tobytes() == weights.tobytes()
print('arrays come back: NumPy', numpy.__version__)
";

/// The module that is compiled exports the function that Python calls first; some linkers left it out.
const EXPORTED: &str = "
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
[module] = [name for name in wheel.namelist() if name.startswith('huffwire/_huffwire.') and not name.endswith('.pyi')]
if b'PyInit__huffwire\\0' not in wheel.read(module):
    raise SystemExit(f'{module} does not export PyInit__huffwire')
";

/// Tries a wheel as far as this machine can.
pub(super) fn run_in_new_environment(target: &Target, wheel: &Path) -> Result<Trial> {
    run(program("python3").args(["-I", "-c", EXPORTED]).arg(wheel))?;
    if target.wheel != host()? {
        let what = format!("this machine has no Python for {}", target.wheel);
        return Ok(Trial::Left(vec![Gap::of_machine(what)]));
    }
    let folder = emptied("target/trial-wheel")?;
    let environment = folder.join("environment");
    run(program("python3").args(["-m", "venv"]).arg(&environment))?;
    let python = environment.join("bin/python");
    run(pip(&python).args(["--no-index", "--no-deps"]).arg(wheel))?;
    let mut of_python = program(&python);
    // Isolated: it sees what is installed, and nothing of the checkout.
    run(of_python.args(["-I", "-c", BYTES]).current_dir(&folder))?;
    trial::prepare(&folder)?;
    trial::round_trip(&folder, &[], &environment.join("bin/huffwire"), &folder)?;
    let extra = format!("{}[numpy]", wheel.display());
    if let Err(error) = run(pip(&python).arg(extra)) {
        let remedy = Some("a network, for pip".to_owned());
        return Ok(Trial::Left(vec![Gap { what: format!("with NumPy: {error:#}"), remedy }]));
    }
    let mut of_python = program(&python);
    run(of_python.args(["-I", "-c", ARRAYS]).current_dir(&folder))?;
    let version = output(program(&python).arg("--version"))?;
    fs::remove_dir_all(&folder)?;
    Ok(Trial::Passed(format!("installed, {version}")))
}
