//! Builds the guard as a static program, which the executor carries in its own binary (`guard_binary`): it must run in an image with nothing in it, and a
//! guard of another version must never meet this executor. Must fail the build rather than embed one that needs a loader.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("guard");
    let out = PathBuf::from(variable("OUT_DIR"));
    // Dependencies come from the same lock file.
    for input in ["guard/src", "guard/Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
    require_static_libc();
    let built = build(&package, &out);
    let bytes = fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    assert!(!needs_loader(&bytes), "{} is not static: it names a loader", built.display());
    fs::write(out.join("berth-guard"), bytes).expect("the build's own folder can be written");
}

/// Cargo within cargo: a target folder of its own, because the outer one is locked by the build that this is part of.
fn build(package: &Path, out: &Path) -> PathBuf {
    let (target, folder) = (variable("TARGET"), out.join("guard"));
    let mut cargo = Command::new(variable("CARGO"));
    cargo.arg("build").arg("--manifest-path").arg(package.join("Cargo.toml")).args(["--bin", "berth-guard", "--profile", "release"]);
    // All it needs was fetched for the executor itself, which uses the guard's library.
    cargo.args(["--locked", "--offline", "--quiet"]).arg("--target-dir").arg(&folder);
    // Also when it is this machine's: without it the flags below would hit procedural macros, which cannot be static.
    cargo.arg("--target").arg(&target);
    for setting in ["opt-level=\"s\"", "lto=true", "codegen-units=1", "panic=\"abort\"", "strip=true", "debug=false"] {
        cargo.arg("--config").arg(format!("profile.release.{setting}"));
    }
    // What the outer build says of itself (wrappers such as clippy, flags, profiles, features) is not for this one.
    for (name, _) in env::vars_os().filter(|(name, _)| is_outer(name)) {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status().unwrap_or_else(|error| panic!("cargo cannot be run: {error}"));
    assert!(status.success(), "the guard does not build: {status}; see above");
    folder.join(target).join("release").join("berth-guard")
}

fn is_outer(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let kept = ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&&*name) || name.starts_with("CARGO_NET_") || name.starts_with("CARGO_HTTP_");
    let ours =
        name.starts_with("CARGO_") || name.starts_with("RUSTC_") || name == "RUSTFLAGS" || name == "RUSTDOCFLAGS" || name == "CLIPPY_ARGS";
    ours && !kept
}

/// Says what to install, where the linker would say "cannot find -lc".
fn require_static_libc() {
    if !variable("TARGET").ends_with("-linux-gnu") || variable("TARGET") != variable("HOST") {
        return;
    }
    let Ok(answer) = Command::new("cc").arg("-print-file-name=libc.a").output() else { return };
    let found = String::from_utf8_lossy(&answer.stdout).trim().contains('/');
    assert!(found, "the guard is linked statically and libc.a is missing: install the C library's development package (Debian: libc6-dev)");
}

/// Whether a program header says PT_INTERP. Offsets of ELF64, little endian (elf(5)).
fn needs_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| elf[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "the guard is no 64-bit little-endian ELF file");
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(usize::try_from(start + index * size).expect("a file offset"), 4) == PT_INTERP)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
