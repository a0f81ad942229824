//! Options of driver `cephfs`: a directory of a Ceph file system, through ceph-fuse.

use super::place::{Place, Space};
use super::reader::{OptionError, Reader, server};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CephfsOptions {
    /// `HOST` or `HOST:PORT`; empty: as `conf` says.
    pub monitors: Vec<String>,
    /// The Ceph user that hosts mount as, without `client.`.
    pub client: String,
    /// Keyring of that user, on every host.
    pub keyring: Option<String>,
    /// Ceph's own configuration file, on every host.
    pub conf: Option<String>,
    /// Name of the file system; empty: the cluster's only one.
    pub file_system: String,
    /// Directory within it; `/`: all of it.
    pub path: String,
    /// Each given to ceph-fuse with `-o`.
    pub mount_options: Vec<String>,
    /// Cut clients off by evicting and blocklisting them.
    pub evict: bool,
    /// The Ceph user that control nodes give orders as, without `client.`; needs `evict`.
    pub admin: String,
    pub admin_keyring: Option<String>,
    pub admin_conf: Option<String>,
}

const KNOWN: [&str; 11] =
    ["monitors", "client", "keyring", "conf", "fs", "path", "mount-options", "fence", "admin", "admin-keyring", "admin-conf"];

impl CephfsOptions {
    pub(super) fn read(options: &super::Options) -> Result<Self, OptionError> {
        let reader = Reader::new("cephfs", options, &KNOWN)?;
        let conf = reader.optional_path("conf")?;
        let monitors = match reader.get("monitors") {
            None if conf.is_some() => Vec::new(),
            Some(_) | None => reader.servers("monitors", "HOST:PORT,HOST:PORT", monitor)?,
        };
        let file_system = reader.get("fs").map(|value| reader.name("fs", value)).transpose()?.unwrap_or_default();
        Ok(Self {
            monitors,
            client: reader.name("client", reader.get("client").unwrap_or("admin"))?,
            keyring: reader.optional_path("keyring")?,
            conf,
            file_system,
            path: reader.inner_path("path")?,
            mount_options: reader.mount_options(&["fsname", "subtype", "default_permissions"])?,
            evict: reader.word("fence", &["none", "evict"])? == "evict",
            admin: reader.name("admin", reader.get("admin").unwrap_or("admin"))?,
            admin_keyring: reader.optional_path("admin-keyring")?,
            admin_conf: reader.optional_path("admin-conf")?,
        })
    }

    /// The monitors do not count: two lists without a common name can be one cluster.
    pub(super) fn place(&self) -> Place {
        Place::new(Space::Cephfs { file_system: self.file_system.clone() }, &self.path)
    }
}

/// `HOST`, `HOST:PORT` or `[V6]:PORT`.
fn monitor(value: &str) -> Option<String> {
    if let Ok(address) = value.parse::<core::net::SocketAddr>() {
        return Some(address.to_string());
    }
    match value.split_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port != 0) => server(host).map(|host| format!("{host}:{port}")),
        Some(_) => None,
        None => server(value),
    }
}
