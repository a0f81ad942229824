//! Options of driver `nfs`: an export of an NFS server.

use super::place::{Place, Space};
use super::reader::{OptionError, Reader};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsOptions {
    pub server: String,
    /// Absolute path on the server.
    pub export: String,
    pub mount_options: Vec<String>,
    /// Program on the control nodes that takes the export from a client and gives it back. Without it this storage cannot fence.
    pub revoke: Option<String>,
}

impl NfsOptions {
    pub(super) fn read(options: &super::Options) -> Result<Self, OptionError> {
        let reader = Reader::new("nfs", options, &["server", "export", "mount-options", "revoke"])?;
        let export = match reader.need("export", "/absolute/path")? {
            "/" => "/".to_owned(),
            _ => reader.path("export", "/absolute/path")?,
        };
        Ok(Self {
            server: reader.server("server", reader.need("server", "HOST")?)?,
            export,
            // `nosharecache` and the like are the owner's; addresses are what the revocation names.
            mount_options: reader.mount_options(&["addr", "mountaddr", "mounthost", "async", "bg"])?,
            revoke: reader.optional_path("revoke")?,
        })
    }

    pub(super) fn place(&self) -> Place {
        Place::new(Space::Nfs { server: self.server.clone() }, &self.export)
    }
}
