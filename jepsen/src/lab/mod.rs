//! The test lab: several machines on this one, made of Linux namespaces, with faults as methods.
//!
//! Called by the end-to-end test, by `make lab` and by fault injection. Needs root; it must never leave anything
//! behind and never touch a process, rule or interface that it did not make.
//!
//! - [`Lab`]: one lab, its private subnet and shared directory; removed on drop, also by a panic.
//! - [`Machine`]: a network namespace and a freezer cgroup; runs processes, suffers partitions, pauses and power loss.
//! - [`DockerHost`]: a machine with a dockerd of its own. [`GlusterServer`]: a machine that serves a GlusterFS volume.
//! - [`LabProcess`]: one program in a machine; [`Launch`] says how it starts.
//! - [`Ceph`]: a Ceph cluster of one node, for the optional test of driver cephfs.
//! - [`postgres_image`], [`busybox_image`]: container images built here from Debian packages, cached between runs.
//! - [`leftovers`]: what a lab left on this machine, found by scanning; empty after a teardown.

mod cage;
mod ceph;
mod docker_host;
mod gluster;
mod identity;
mod image;
mod machine;
mod network;
mod poll;
mod process;
mod requirements;
mod shell;
mod site;
mod sweep;

pub use ceph::Ceph;
pub use docker_host::{DockerHost, IMAGE_BUSYBOX, IMAGE_POSTGRES};
pub use gluster::GlusterServer;
pub use identity::LabId;
pub use image::{busybox_image, default_cache_dir, postgres_image};
pub use machine::Machine;
pub use poll::wait_until;
pub use process::{LabProcess, Launch};
pub use requirements::{missing_requirements, ready_or_skip};
pub(crate) use shell::run_command;
pub use site::Lab;
pub use sweep::{labs, leftovers, remove_kept, sweep_dead};
