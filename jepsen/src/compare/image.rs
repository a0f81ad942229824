//! The writer's container image, made without a registry: one program and the libraries it is linked to. Called by the stage; the archive is made once in a
//! run, so that all hosts of all cases have the same image id.

use crate::compare::interrupt;
use crate::lab::{DockerHost, run_command};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The tag under which every host has it.
pub(super) const IMAGE: &str = "berth-lab/compare-writer:1";
const BOUND: Duration = Duration::from_secs(60);

/// The archive for `docker load`, made on first use.
#[derive(Debug)]
pub(super) struct WriterImage {
    program: PathBuf,
    archive: PathBuf,
    made: bool,
}

impl WriterImage {
    /// `program` is the writer, `folder` a scratch folder.
    pub(super) fn new(program: &Path, folder: &Path) -> Result<Self> {
        ensure!(program.is_file(), "{} is not there: `make compare` builds it", program.display());
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { program: program.to_path_buf(), archive: folder.join("writer-image.tar"), made: false })
    }

    /// The scratch folder it was given.
    pub(super) fn folder(&self) -> &Path {
        self.archive.parent().unwrap_or(Path::new("."))
    }

    /// Gives every host the image; returns its id.
    pub(super) fn give_to(&mut self, hosts: &[DockerHost]) -> Result<String> {
        let first = hosts.first().context("no host")?;
        if !self.made {
            self.make(first)?;
            self.made = true;
        }
        for host in hosts {
            interrupt::check()?;
            host.load_image(&self.archive, IMAGE)?;
        }
        first.docker(&["images", "--quiet", "--no-trunc", IMAGE])
    }

    fn make(&self, host: &DockerHost) -> Result<()> {
        let layer = self.archive.with_extension("layer");
        let (folder, name) = self.program.parent().zip(self.program.file_name()).context("the writer has no folder")?;
        let mut tar = Command::new("tar");
        // Links are followed: the loader and the libraries lie in the image under the names by which the program asks for them.
        tar.args(["--dereference", "-cf"]).arg(&layer).arg("-C").arg(folder).arg(name);
        let libraries = libraries(&self.program)?;
        if !libraries.is_empty() {
            tar.args(["-C", "/"]).args(libraries.iter().map(|path| path.trim_start_matches('/')));
        }
        run_command(BOUND, tar, "")?;
        let entry = format!("ENTRYPOINT [\"/{}\", \"/data\"]", name.to_string_lossy());
        let (layer_path, archive) = (layer.to_string_lossy(), self.archive.to_string_lossy());
        host.docker(&["import", "--change", &entry, &layer_path, IMAGE])?;
        host.docker(&["save", "--output", &archive, IMAGE])?;
        let _ = std::fs::remove_file(&layer);
        Ok(())
    }
}

/// Loader and libraries of a program, by the paths it looks for; none if it is linked statically.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    let said = run_command(BOUND, ldd, "").or_else(|failed| {
        // Said of a static program, with exit code 1.
        if failed.to_string().contains("not a dynamic executable") { Ok(String::new()) } else { Err(failed) }
    })?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_string).collect())
}
