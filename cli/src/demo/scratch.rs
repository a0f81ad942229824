//! The demo's scratch folder: everything it writes is in here, and its name is how its processes are known. Must never be a folder that
//! was there before.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::output::say;

/// A new folder; removed with all that is in it when this is dropped, unless it is kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes a folder with a random name in `parent`, for this user alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(parent: &Path, keep: bool) -> anyhow::Result<Self> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::create_dir_all(parent).with_context(|| format!("{}: cannot be made", parent.display()))?;
        // Absolute and without links: it is compared with what the kernel says of processes.
        let parent = std::fs::canonicalize(parent).with_context(|| format!("{}: cannot be read", parent.display()))?;
        let path = parent.join(format!("berth-demo-{name}"));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("{}: cannot be made", path.display()))?;
        let scratch = Self { path, keep };
        for part in ["logs", "storage"] {
            std::fs::create_dir(scratch.path.join(part)).with_context(|| format!("{}: cannot be written", scratch.path.display()))?;
        }
        Ok(scratch)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a node or host keeps its data.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Standard output and error of a part.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The storage that all hosts share.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }

    /// Leaves the folder where it is, to be looked into.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            say(&format!("berth: the demo's folder {} stays: {error}", self.path.display()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_owner_unless_it_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let gone = Scratch::create(parent.path(), false).unwrap();
        let kept = Scratch::create(parent.path(), true).unwrap();
        let (gone_at, kept_at) = (gone.path().to_owned(), kept.path().to_owned());
        assert_ne!(gone_at, kept_at);
        drop((gone, kept));
        assert!(!gone_at.exists() && kept_at.join("logs").is_dir());
        assert!(parent.path().is_dir());
    }
}
