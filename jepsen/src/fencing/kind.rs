//! Which storage and which takeover rule a case has, and how Berth is told. Used by rig, scenarios and command line; holds no other choice.

use clap::ValueEnum;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum DriverKind {
    /// One directory, one page cache for all hosts.
    Path,
    /// A file system in an image file, each holder with a loop device of its own.
    Image,
    /// A real GlusterFS server.
    Glusterfs,
    /// A program of the report's own, for what no real storage does on demand.
    Exec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Rule {
    AfterExpiry,
    AfterFence,
    Manual,
}

impl DriverKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Image => "image",
            Self::Glusterfs => "glusterfs",
            Self::Exec => "exec",
        }
    }

    /// The options of `berth volume add`. `shared` is the directory that every host sees, `server` the storage's address.
    pub fn options(self, shared: &Path, server: Option<&str>, rule: Rule) -> Vec<String> {
        let option = |key: &str, value: &str| ["-O".to_string(), format!("{key}={value}")];
        let inside = |name: &str| shared.join(name).display().to_string();
        let coherent = || ["--coherent".to_string()];
        match self {
            Self::Path => [&option("path", &inside("data"))[..], &coherent()].concat(),
            Self::Image => [option("file", &inside("images/data.img")), option("size", "128M"), option("fs", "ext4")].concat(),
            Self::Glusterfs => {
                let fence = if rule == Rule::AfterFence { "auth-reject" } else { "none" };
                [option("servers", server.unwrap_or_default()), option("volume", "data"), option("fence", fence)].concat()
            }
            Self::Exec => [&option("program", &inside("driver"))[..], &option("dataset", "data"), &coherent()].concat(),
        }
    }
}

impl Rule {
    pub fn word(self) -> &'static str {
        match self {
            Self::AfterExpiry => "after-expiry",
            Self::AfterFence => "after-fence",
            Self::Manual => "manual",
        }
    }
}
