//! Where a volume's data is, so that two volumes over the same data are found. Pure comparison of what the options say: two names of one server, or a link from
//! one directory to another, are not seen here.

use std::fmt;

/// A namespace of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// Files as every host sees them: directories of `path` and files of `image`.
    Files,
    Nfs {
        server: String,
    },
    Glusterfs {
        volume: String,
    },
    Cephfs {
        file_system: String,
    },
    Exec {
        program: String,
        dataset: String,
    },
}

/// A path in a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    space: Space,
    path: String,
}

impl Place {
    pub(super) fn new(space: Space, path: &str) -> Self {
        Self { space, path: path.to_owned() }
    }

    /// Whether one is the other or lies inside it.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.space == other.space && (inside(&self.path, &other.path) || inside(&other.path, &self.path))
    }
}

fn inside(inner: &str, outer: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The canonical text: equal exactly for equal places.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.space {
            Space::Files => write!(f, "file:{}", self.path),
            Space::Nfs { server } => write!(f, "nfs:{server}:{}", self.path),
            Space::Glusterfs { volume } => write!(f, "glusterfs:{volume}:{}", self.path),
            Space::Cephfs { file_system } => write!(f, "cephfs:{file_system}:{}", self.path),
            Space::Exec { program, dataset } => write!(f, "exec:{program}:{dataset}"),
        }
    }
}
