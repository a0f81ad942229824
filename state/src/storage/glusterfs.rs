//! Options of driver `glusterfs`: a GlusterFS volume, or a directory of one, through its FUSE client.

use super::place::{Place, Space};
use super::reader::{OptionError, Reader, server};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlusterfsOptions {
    /// Asked for the volume in this order.
    pub servers: Vec<String>,
    pub volume: String,
    /// Directory within the volume; `/`: all of it.
    pub subdir: String,
    /// Each given to the client program as `--NAME=VALUE` or `--NAME`.
    pub mount_options: Vec<String>,
    /// Cut clients off by `auth.reject` on the servers.
    pub auth_reject: bool,
    /// The server that control nodes send their orders to.
    pub manage: String,
}

/// Options of the client program that Berth decides, or that would make it something else than a mount of this volume.
const REFUSED: [&str; 17] = [
    "volfile",
    "volfile-server",
    "volfile-id",
    "volume-name",
    "subdir-mount",
    "process-name",
    "log-file",
    "pid-file",
    "no-daemon",
    "debug",
    "run-id",
    "fuse-mountopts",
    "dump-fuse",
    "worm",
    "read-only",
    "kernel-writeback-cache",
    "xlator-option",
];

impl GlusterfsOptions {
    pub(super) fn read(options: &super::Options) -> Result<Self, OptionError> {
        let known = ["servers", "volume", "subdir", "mount-options", "fence", "manage"];
        let reader = Reader::new("glusterfs", options, &known)?;
        let servers = reader.servers("servers", "HOST,HOST", server)?;
        let manage = match reader.get("manage") {
            Some(value) => reader.server("manage", value)?,
            None => servers.first().cloned().unwrap_or_default(),
        };
        Ok(Self {
            volume: reader.name("volume", reader.need("volume", "NAME")?)?,
            subdir: reader.inner_path("subdir")?,
            mount_options: reader.mount_options(&REFUSED)?,
            auth_reject: reader.word("fence", &["none", "auth-reject"])? == "auth-reject",
            servers,
            manage,
        })
    }

    /// The servers do not count: two lists without a common name can be one cluster.
    pub(super) fn place(&self) -> Place {
        Place::new(Space::Glusterfs { volume: self.volume.clone() }, &self.subdir)
    }
}
