//! Where the product under test is: the `berth` that was built beside this test. Used by the cluster and the report.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// Cargo's target folder, from where this very test program is: `<target>/<profile>/deps/<test>`.
pub fn target_dir() -> Result<PathBuf> {
    profile_dir()?.parent().map(PathBuf::from).context("the test program is not in a cargo target folder")
}

/// `BERTH_BINARY` if set, else the `berth` of the same profile.
pub fn berth_binary() -> Result<PathBuf> {
    let binary =
        std::env::var_os("BERTH_BINARY").map_or_else(|| Ok(profile_dir()?.join("berth")), |path| Ok::<_, anyhow::Error>(path.into()))?;
    ensure!(binary.is_file(), "{} is not there: build it first (cargo build -p berth)", binary.display());
    Ok(binary)
}

fn profile_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this test program is")?;
    let folder = program.parent().context("this program lies in no folder")?;
    // Tests lie a folder deeper than programs.
    let profile = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    profile.map(PathBuf::from).context("the test program is not in a cargo target folder")
}
