//! NVIDIA GPUs, and the compiler that a program for them is built with.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Check;
use crate::error::Error;
use crate::model::DeviceName;

const GUIDE: &str = "tests/gpu/README.md says what that needs";

pub(super) fn gpu() -> Check {
    const NAME: &str = "GPU";
    let asked = ask("nvidia-smi", &["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]);
    let gpus = match asked {
        Answer::Text(gpus) if !gpus.is_empty() => gpus.replace('\n', "; "),
        Answer::Text(_) => "a driver, and no GPU".to_owned(),
        Answer::Failure(said) => {
            return Check::note(
                NAME,
                format!("`nvidia-smi` fails: {said}"),
                "mend the driver, or use the CPU: `--device cpu`",
            );
        }
        Answer::NoProgram if Path::new("/dev/nvidia0").exists() => {
            "there is one (`/dev/nvidia0`), and no `nvidia-smi` to ask".to_owned()
        }
        Answer::NoProgram => {
            return Check::note(
                NAME,
                "no NVIDIA driver",
                "none is needed: training and evaluation use the CPU; a GPU needs driver 580 or later",
            );
        }
    };
    if cfg!(not(feature = "cuda")) {
        let advice = format!(
            "to use it, `cargo build --release --features cuda`; {GUIDE}. Until then the CPU is used"
        );
        return Check::note(NAME, format!("{gpus}; this program was built without `cuda`"), advice);
    }
    match DeviceName::Cuda(0).open() {
        Ok(_) => Check::ok(NAME, format!("{gpus}; `--device cuda` works")),
        Err(e) => {
            let advice = e.hint().unwrap_or_default();
            let reason = if let Error::Setting { found, .. } = e { found } else { e.to_string() };
            Check::note(NAME, format!("{gpus}; {reason}"), advice)
        }
    }
}

pub(super) fn toolkit() -> Check {
    const NAME: &str = "CUDA toolkit";
    let homes = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"].into_iter().filter_map(env::var_os);
    let named = homes.map(|home| PathBuf::from(home).join("bin/nvcc")).find(|nvcc| nvcc.is_file());
    let nvcc = named.unwrap_or_else(|| "nvcc".into());
    let advice = format!("only `cargo build --features cuda` needs CUDA 13's `nvcc`; {GUIDE}");
    match ask(&nvcc.to_string_lossy(), &["--version"]) {
        Answer::Text(said) => match release(&said) {
            Some(release) => Check::ok(NAME, format!("`{}`, release {release}", nvcc.display())),
            None => Check::note(NAME, format!("`{}` says no release", nvcc.display()), advice),
        },
        Answer::Failure(said) => Check::note(NAME, format!("`{}` fails: {said}", nvcc.display()), advice),
        Answer::NoProgram => {
            Check::note(NAME, "no `nvcc` in `PATH`, nor below `CUDA_HOME` or `CUDA_PATH`", advice)
        }
    }
}

/// `Cuda compilation tools, release 13.0, V13.0.88`
fn release(said: &str) -> Option<&str> {
    said.split("release ").nth(1)?.split([',', '\n']).next()
}

/// What another program says.
enum Answer {
    /// It ended well: standard output.
    Text(String),
    /// It did not: its first line.
    Failure(String),
    NoProgram,
}

fn ask(program: &str, arguments: &[&str]) -> Answer {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            if output.status.success() {
                Answer::Text(out)
            } else {
                let lines = [out, err];
                let said = lines.iter().flat_map(|text| text.lines()).find(|line| !line.is_empty());
                Answer::Failure(said.map_or_else(|| output.status.to_string(), str::to_owned))
            }
        }
        // Denied: a folder of PATH that may not be looked into, and no other that has the program.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Answer::NoProgram
        }
        Err(e) => Answer::Failure(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_toolkit_is_read() {
        let said =
            "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88\nBuild x";
        assert_eq!(release(said), Some("13.0"));
        assert_eq!(release("something else"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_that_fails() {
        assert!(matches!(ask("prep-no-such-program", &[]), Answer::NoProgram));
        assert!(matches!(ask("false", &[]), Answer::Failure(_)));
    }
}
