//! One lab from its first bridge to its last removed file. Made by tests and by `make lab`; owns every machine, and must leave
//! nothing behind: neither after a teardown nor after a panic.

use crate::lab::cage::cgroup_dirs;
use crate::lab::docker_host::DockerHost;
use crate::lab::identity::{LabId, MachineNumber};
use crate::lab::machine::Machine;
use crate::lab::network;
use crate::lab::poll::wait_until;
use crate::lab::process::{lock, tail};
use crate::lab::requirements::missing_requirements;
use crate::lab::sweep::{self, Owner};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// For the last process to go.
const LEFT_BOUND: Duration = Duration::from_secs(5);
/// Lines of each log that a failing test prints.
const LOG_LINES: usize = 40;

/// A lab with its machines. Dropping it tears everything down; when the thread panics, the ends of all logs are printed first.
#[derive(Debug)]
pub struct Lab {
    id: LabId,
    name: String,
    machines: Mutex<Vec<Machine>>,
    kept: Arc<AtomicBool>,
    gone: AtomicBool,
}

impl Lab {
    /// Removes what crashed runs left, then makes the bridge on a subnet that collides with nothing on this machine.
    pub fn new(name: &str) -> Result<Self> {
        let missing = missing_requirements();
        ensure!(missing.is_empty(), "no lab on this machine: {}", missing.join("; "));
        check_name(name)?;
        let claim = sweep::claim_lock()?;
        sweep::sweep_dead_locked()?;
        let id = free_id()?;
        fs::create_dir_all(id.dir()).with_context(|| format!("cannot make {}", id.dir().display()))?;
        Owner::this_process(name)?.write(id)?;
        let made = fs::create_dir_all(id.dir().join("shared")).map_err(Into::into).and_then(|()| network::create_bridge(id));
        if let Err(failed) = made {
            sweep::remove_everything(id)?;
            return Err(failed);
        }
        drop(claim);
        let (kept, gone) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
        Ok(Self { id, name: name.to_string(), machines: Mutex::new(Vec::new()), kept, gone })
    }

    pub fn id(&self) -> LabId {
        self.id
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address under which machines see a client in the root namespace.
    pub fn client_ip(&self) -> Ipv4Addr {
        self.id.client_ip()
    }

    /// A folder that every machine sees at this same path: the lab's shared storage.
    pub fn shared_dir(&self) -> PathBuf {
        self.id.dir().join("shared")
    }

    /// Everything of this lab that is on disk; removed with it.
    pub fn dir(&self) -> PathBuf {
        self.id.dir()
    }

    /// Logs of all processes, a folder for each machine.
    pub fn log_dir(&self) -> PathBuf {
        self.id.dir().join("logs")
    }

    /// A machine with a network of its own and nothing else, for instance for a control node.
    pub fn add_node_machine(&self, name: &str) -> Result<Machine> {
        check_name(name)?;
        let mut machines = lock(&self.machines);
        ensure!(machines.iter().all(|m| m.name() != name), "this lab has a machine {name} already");
        let number = MachineNumber::nth(machines.len()).context("this lab is full")?;
        let machine = Machine::create(self.id, name, number, self.kept.clone()).with_context(|| format!("machine {name}"))?;
        machines.push(machine.clone());
        Ok(machine)
    }

    /// A machine with Docker. dockerd answers on return.
    pub fn add_docker_host(&self, name: &str) -> Result<DockerHost> {
        DockerHost::create(self.add_node_machine(name)?).with_context(|| format!("docker host {name}"))
    }

    /// Several Docker hosts, started at the same time.
    pub fn add_docker_hosts(&self, names: &[&str]) -> Result<Vec<DockerHost>> {
        let machines = names.iter().map(|name| self.add_node_machine(name)).collect::<Result<Vec<_>>>()?;
        at_once(machines, DockerHost::create)
    }

    pub fn machines(&self) -> Vec<Machine> {
        lock(&self.machines).clone()
    }

    /// Leaves the lab running when this process ends, and returns its number. [`crate::lab::remove_kept`] removes it.
    pub fn keep(self) -> Result<LabId> {
        Owner::Kept { name: self.name.clone() }.write(self.id)?;
        self.kept.store(true, Ordering::Relaxed);
        self.gone.store(true, Ordering::Relaxed);
        Ok(self.id)
    }

    /// Removes everything and proves it by a scan; the error lists what is left. The drop does the same without an answer.
    pub fn teardown(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        if self.gone.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        // Through the machines first, because only they can reap their processes; what fails here the sweep below gets.
        let reaped: Vec<_> = self.machines().iter().filter_map(|m| m.kill_host().err()).collect();
        let _claim = sweep::claim_lock()?;
        sweep::remove_everything(self.id)?;
        let mut left = Vec::new();
        // A killed process is listed for a moment after its control group is gone.
        let clean = wait_until("nothing of the lab to be left", LEFT_BOUND, || {
            left = sweep::leftovers(self.id);
            Ok(left.is_empty())
        });
        if clean.is_err() {
            bail!("lab {} left this behind: {left:#?}", self.id);
        }
        reaped.into_iter().next().map_or(Ok(()), Err)
    }

    fn print_logs(&self) {
        for machine in self.machines() {
            let Ok(files) = fs::read_dir(machine.log_dir()) else { continue };
            let mut paths: Vec<_> = files.flatten().map(|f| f.path()).collect();
            paths.sort();
            for path in paths {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                eprintln!("---- {}/{file} (last {LOG_LINES} lines)\n{}", machine.name(), tail(&path, LOG_LINES));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.gone.load(Ordering::Relaxed) {
            return;
        }
        if thread::panicking() {
            self.print_logs();
        }
        if let Err(failed) = self.remove() {
            eprintln!("lab {}: teardown failed: {failed:#}", self.id);
        }
    }
}

/// Runs `work` for each item on a thread of its own; the first error is returned after all have ended.
pub(super) fn at_once<A: Send, B: Send>(items: Vec<A>, work: impl Fn(A) -> Result<B> + Sync) -> Result<Vec<B>> {
    let results: Vec<Result<B>> = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(anyhow!("a lab thread panicked")))).collect()
    });
    results.into_iter().collect()
}

/// Names become parts of namespaces, cgroups and paths (a socket path holds 108 bytes).
fn check_name(name: &str) -> Result<()> {
    let good = !name.is_empty() && name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    ensure!(good, "lab name {name:?}: use up to 20 of a-z, 0-9 and -");
    Ok(())
}

/// A number whose folder, bridge, cgroups and subnet are all free.
fn free_id() -> Result<LabId> {
    let used = network::used_addresses()?;
    let interfaces = network::interfaces();
    // Labs of different runs begin at different numbers, so that an old connection's late packets meet nobody.
    let first = std::process::id() % 254;
    for step in 0..254_u32 {
        let id = LabId(u8::try_from((first + step) % 254 + 1)?);
        let named = id.dir().exists() || interfaces.contains(&id.bridge()) || !cgroup_dirs(id).is_empty();
        if !named && !used.split_whitespace().any(|word| overlaps(word, id.client_ip())) {
            return Ok(id);
        }
    }
    bail!("no free subnet in 10.209.0.0/16 (see `ip -4 route`): remove old labs, or the route that covers it")
}

/// Whether `word`, an address with or without a prefix length, shares an address with the /24 around `inside`.
fn overlaps(word: &str, inside: Ipv4Addr) -> bool {
    let (address, length) = word.split_once('/').unwrap_or((word, "32"));
    let (Ok(address), Ok(length)) = (address.parse::<Ipv4Addr>(), length.parse::<u32>()) else { return false };
    let shift = 32 - length.min(24);
    length > 0 && u64::from(u32::from(address)) >> shift == u64::from(u32::from(inside)) >> shift
}

#[cfg(test)]
mod tests {
    use super::overlaps;
    use std::net::Ipv4Addr;

    #[test]
    fn a_subnet_collides_with_routes_above_and_below_it_and_with_no_other() {
        let client = Ipv4Addr::new(10, 209, 7, 1);
        for taken in ["10.209.7.0/24", "10.209.7.200", "10.209.7.128/25", "10.208.0.0/15", "10.0.0.0/8"] {
            assert!(overlaps(taken, client), "{taken} covers part of the subnet");
        }
        for free in ["10.209.8.0/24", "10.209.6.255", "172.17.0.0/16", "0.0.0.0/0", "default", "dev"] {
            assert!(!overlaps(free, client), "{free} does not touch the subnet");
        }
    }
}
