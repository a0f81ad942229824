//! The writer's container image, made on each host without a registry: the program and the libraries it is linked to, and nothing else. Called by the rig.

use crate::lab::{DockerHost, run_command};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const IMAGE: &str = "berth-lab/fence-writer:1";
/// The writer in the image.
pub const PROGRAM: &str = "/fence-writer";
const BOUND: Duration = Duration::from_secs(60);

/// The image's one layer, as an archive in `folder`.
pub fn layer(writer: &Path, folder: &Path) -> Result<PathBuf> {
    let layer = folder.join("fence-writer.tar");
    let (bin, name) = writer.parent().zip(writer.file_name()).context("the writer has no folder")?;
    let mut tar = Command::new("tar");
    // Links are followed: loader and libraries lie in the image under the names by which the program asks for them.
    tar.args(["--dereference", "-cf"]).arg(&layer).arg("-C").arg(bin).arg(name);
    tar.args(["-C", "/"]).args(libraries(writer)?.iter().map(|path| path.trim_start_matches('/')));
    run_command(BOUND, tar, "")?;
    Ok(layer)
}

pub fn give_to(host: &DockerHost, layer: &Path) -> Result<()> {
    let entry = format!("ENTRYPOINT [\"{PROGRAM}\"]");
    host.docker(&["import", "--change", &entry, "--change", "CMD [\"all\", \"/data\"]", &layer.to_string_lossy(), IMAGE])?;
    Ok(())
}

fn libraries(program: &Path) -> Result<Vec<String>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    let said = run_command(BOUND, ldd, "").or_else(|failed| {
        // Said of a static program, with exit code 1.
        if failed.to_string().contains("not a dynamic executable") { Ok(String::new()) } else { Err(failed) }
    })?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_string).collect())
}
