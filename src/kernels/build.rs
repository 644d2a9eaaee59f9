//! Compiles every `.cu` file beside this one to PTX, once for each architecture, if the feature `cuda` is on.
//!
//! PTX for `compute_80` runs on every later GPU; that for `compute_90a` on Hopper alone, and is taken there.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

const ARCHITECTURES: [&str; 2] = ["compute_80", "compute_90a"];

fn main() {
    if let Err(e) = build() {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/kernels/build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed=src/kernels");
    for variable in ["NVCC", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let folder = Path::new("src/kernels");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut stems: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            stems.push(path.file_stem().ok_or("a file has a stem")?.to_string_lossy().into_owned());
        }
    }
    stems.sort();
    compile(folder, &out, &stems)?;
    let mut table = String::from("/// Stem of the file, PTX for `compute_80`, PTX for `compute_90a`.\n");
    writeln!(table, "pub(super) const PTX: [(&str, &str, &str); {}] = [", stems.len())?;
    for stem in &stems {
        let text = |architecture| {
            format!("include_str!(concat!(env!(\"OUT_DIR\"), \"/{stem}.{architecture}.ptx\"))")
        };
        writeln!(table, "    ({stem:?}, {}, {}),", text(ARCHITECTURES[0]), text(ARCHITECTURES[1]))?;
    }
    table.push_str("];\n");
    fs::write(out.join("ptx.rs"), table)?;
    Ok(())
}

/// As many at a time as cargo allows.
fn compile(folder: &Path, out: &Path, stems: &[String]) -> Result<(), Box<dyn Error>> {
    let nvcc = nvcc();
    let jobs: Vec<(&String, &str)> =
        stems.iter().flat_map(|stem| ARCHITECTURES.map(|architecture| (stem, architecture))).collect();
    let left = Mutex::new(jobs);
    let failures = Mutex::new(String::new());
    let n_jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    std::thread::scope(|scope| {
        for _ in 0..n_jobs {
            scope.spawn(|| {
                loop {
                    let Some((stem, architecture)) = left.lock().expect("no thread panics").pop() else { break };
                    let mut command = Command::new(&nvcc);
                    command.args(["--ptx", "-std=c++17", "-O3", "-Werror", "all-warnings"]);
                    command.arg(format!("-arch={architecture}")).arg(folder.join(format!("{stem}.cu")));
                    command.arg("-o").arg(out.join(format!("{stem}.{architecture}.ptx")));
                    let failure = match command.output() {
                        Ok(output) if output.status.success() => continue,
                        Ok(output) => {
                            let errors = String::from_utf8_lossy(&output.stderr);
                            errors.lines().take(40).collect::<Vec<_>>().join("\n")
                        }
                        Err(e) => format!(
                            "cannot run `{}`: {e}; the feature `cuda` needs CUDA 13's compiler, see tests/gpu/README.md",
                            nvcc.to_string_lossy()
                        ),
                    };
                    let mut failures = failures.lock().expect("no thread panics");
                    failures.push_str(&format!("{stem}.cu for {architecture}: {failure}\n"));
                }
            });
        }
    });
    let failures = failures.into_inner()?;
    if failures.is_empty() { Ok(()) } else { Err(failures.into()) }
}

/// `NVCC`, that of `CUDA_HOME`, or what the path has.
fn nvcc() -> OsString {
    env::var_os("NVCC")
        .or_else(|| env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc").into_os_string()))
        .unwrap_or_else(|| "nvcc".into())
}
