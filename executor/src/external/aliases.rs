//! Which Docker volume names this host knows, and which volume of Berth each means (`docker volume create -d berth -o volume=pg data`). A file in the data
//! folder, replaced as a whole. Losing it loses names only, no volume and no lease.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use berth_state::ids::VolumeId;
use serde::{Deserialize, Serialize};
use tracing::warn;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    pub volume: String,
    /// Where its data is on hosts, as its driver options say; for the authorization plugin.
    pub paths: Vec<PathBuf>,
}

#[derive(Debug)]
pub struct Aliases {
    file: PathBuf,
    known: Mutex<BTreeMap<String, Alias>>,
}

impl Aliases {
    #[must_use]
    pub fn open(file: PathBuf) -> Self {
        let known = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(file = %file.display(), %error, "names of Docker volumes are forgotten");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { file, known: Mutex::new(known) }
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<String, Alias>)) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = known.clone();
        edit(&mut next);
        if next == *known {
            return Ok(());
        }
        let temporary = self.file.with_extension("new");
        std::fs::write(&temporary, serde_json::to_vec_pretty(&next)?)?;
        std::fs::rename(&temporary, &self.file)?;
        *known = next;
        Ok(())
    }

    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, name: &str, alias: Alias) -> io::Result<()> {
        self.change(|known| {
            known.insert(name.to_owned(), alias);
        })
    }

    /// # Errors
    /// The file cannot be written.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|known| {
            known.remove(name);
        })
    }

    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Alias> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The volume that a name means: its alias, or the volume of that very name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<VolumeId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        VolumeId::new(known.get(name).map_or(name, |alias| alias.volume.as_str())).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn names_outlive_the_process_and_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.json");
        Aliases::open(file.clone()).put("data", Alias { volume: "pg".to_owned(), paths: vec![] }).unwrap();
        let again = Aliases::open(file.clone());
        assert_eq!(again.volume("data").unwrap().as_str(), "pg");
        assert_eq!(again.volume("other").unwrap().as_str(), "other");
        assert_eq!(again.volume("../x"), None);
        again.remove("data").unwrap();
        assert!(Aliases::open(file.clone()).all().is_empty());
        std::fs::write(&file, "{").unwrap();
        assert!(Aliases::open(file).all().is_empty());
    }
}
