//! The run folder as executor and host guard share it: where each file is, and how one is replaced as a whole. Used by both sides. Nothing in it outlives a
//! boot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `--run` of an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// Absolute, and there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn make(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path.join("leases"))?;
        Ok(Self(path.canonicalize()?))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.0.join("leases")
    }

    #[must_use]
    pub fn lease(&self, token: u64) -> PathBuf {
        self.leases().join(token.to_string())
    }

    #[must_use]
    pub fn page(&self, token: u64) -> PathBuf {
        self.lease(token).join("page")
    }

    /// What is to be done at the deadline; by the executor.
    #[must_use]
    pub fn order(&self, token: u64) -> PathBuf {
        self.lease(token).join("enforce.json")
    }

    /// What was done; by the guard.
    #[must_use]
    pub fn facts(&self, token: u64) -> PathBuf {
        self.lease(token).join("enforced.json")
    }

    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.0.join("host-guard.status")
    }

    /// Held by the one guard of this folder.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("host-guard.lock")
    }

    /// Held by the one executor of this folder as long as it lives: the kernel lets go of it whatever it dies of.
    #[must_use]
    pub fn attached(&self) -> PathBuf {
        self.0.join("host-guard.attached")
    }

    /// Asks the guard to let another one take its place.
    #[must_use]
    pub fn hand_over(&self) -> PathBuf {
        self.0.join("host-guard.hand-over")
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("host-guard.log")
    }
}

/// The token of a lease folder's name.
#[must_use]
pub fn token_of(name: &str) -> Option<u64> {
    // Only the form that we write: no sign, no zeros in front.
    name.parse().ok().filter(|token: &u64| token.to_string() == name)
}

/// Replaces a file as a whole: nobody ever sees half of it. Readable by its owner only: programs of drivers may be told secrets.
///
/// # Errors
/// The file system refuses.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    fs::rename(&draft, path)
}

/// A lock file, made if missing.
///
/// # Errors
/// It cannot be opened.
pub fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_write_are_tokens() {
        assert_eq!(token_of("42"), Some(42));
        for strange in ["", "+42", "042", "-1", "x", "42 ", ".42", "99999999999999999999999"] {
            assert_eq!(token_of(strange), None, "{strange}");
        }
    }

    #[test]
    fn a_replaced_file_is_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enforce.json");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a draft is left");
    }
}
