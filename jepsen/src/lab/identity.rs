//! Names and addresses of everything a lab makes, derived from one number. Used by all lab modules, so that the remains of a
//! crashed run can be found by name alone; it must never do anything but name.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// First machine's last address byte; the bridge (the client) is .1.
const FIRST_MACHINE: u8 = 11;
/// Each machine gets a container subnet of its own out of 10.210-10.249; that is the limit.
pub(super) const MAX_MACHINES: usize = 40;

/// A lab's number: the third byte of its subnet 10.209.N.0/24, unique on this machine while the lab lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabId(pub(super) u8);

impl fmt::Display for LabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl LabId {
    /// Folder of all labs. `BERTH_LAB_DIR` moves it, for instance off a file system that cannot carry overlay2.
    pub(super) fn base_dir() -> PathBuf {
        std::env::var_os("BERTH_LAB_DIR").map_or_else(|| PathBuf::from("/var/lib/berth-lab"), PathBuf::from)
    }

    pub(super) fn dir(self) -> PathBuf {
        Self::base_dir().join(self.to_string())
    }

    pub(super) fn owner_file(self) -> PathBuf {
        self.dir().join("owner")
    }

    pub(super) fn bridge(self) -> String {
        format!("blab{self}")
    }

    /// Prefix of the veth ends in the root namespace. At most 15 bytes with the machine's number.
    pub(super) fn veth_prefix(self) -> String {
        format!("blab{self}v")
    }

    pub(super) fn veth(self, machine: MachineNumber) -> String {
        format!("{}{}", self.veth_prefix(), machine.0)
    }

    /// Prefix of the named network namespaces.
    pub(super) fn netns_prefix(self) -> String {
        format!("berth-lab-{self}-")
    }

    /// The lab's cgroup in every hierarchy.
    pub(super) fn cgroup(self) -> String {
        format!("berth-lab-{self}")
    }

    /// The address of the bridge: what machines see of a client in the root namespace.
    pub(super) fn client_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 209, self.0, 1)
    }

    pub(super) fn subnet(self) -> String {
        format!("10.209.{self}.0/24")
    }
}

/// A machine's number: the last byte of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MachineNumber(pub(super) u8);

impl MachineNumber {
    /// The number of the `index`-th machine of a lab, or `None` when the lab is full.
    pub(super) fn nth(index: usize) -> Option<Self> {
        if index >= MAX_MACHINES {
            return None;
        }
        u8::try_from(index).ok().map(|i| Self(FIRST_MACHINE + i))
    }

    pub(super) fn ip(self, lab: LabId) -> Ipv4Addr {
        Ipv4Addr::new(10, 209, lab.0, self.0)
    }

    /// Follows from the address, so that a machine keeps its MAC over a reboot and neighbours' ARP entries stay right.
    pub(super) fn mac(self, lab: LabId) -> String {
        format!("02:be:0a:d1:{:02x}:{:02x}", lab.0, self.0)
    }

    /// Address and prefix of the Docker bridge on this machine: no two machines of any labs share one.
    pub(super) fn docker_bip(self, lab: LabId) -> String {
        format!("10.{}.{}.1/24", 210 + u16::from(self.0 - FIRST_MACHINE), lab.0)
    }
}
