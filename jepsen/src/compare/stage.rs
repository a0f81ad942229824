//! Three Docker hosts, one directory that all of them share, and the writer's image on each: the same for both systems, made anew for each case. Made by the
//! run; owns the lab, which owns the teardown. Notes every command that set a system up, for the document.

use crate::compare::image::WriterImage;
use crate::lab::{DockerHost, Lab};
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// A program that is process 1 ignores SIGTERM unless it handles it. Both systems shall be able to end the writer at once when they want to.
pub(super) const STOP_SIGNAL: [&str; 2] = ["--stop-signal", "SIGKILL"];
/// A manager that has lost its quorum answers no question; it must not stop the others from being asked.
const ASK_BOUND: Duration = Duration::from_secs(3);

pub(super) struct Stage {
    lab: Lab,
    hosts: Vec<DockerHost>,
    data: PathBuf,
    /// Of the writer, the same on all hosts.
    pub(super) image_id: String,
    commands: RefCell<Vec<String>>,
}

impl Stage {
    pub(super) fn build(image: &mut WriterImage) -> Result<Self> {
        let lab = Lab::new("compare")?;
        let hosts = lab.add_docker_hosts(&HOSTS)?;
        let data = lab.shared_dir().join("data");
        std::fs::create_dir(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let image_id = image.give_to(&hosts)?;
        Ok(Self { lab, hosts, data, image_id, commands: RefCell::default() })
    }

    pub(super) fn hosts(&self) -> &[DockerHost] {
        &self.hosts
    }

    pub(super) fn host(&self, name: &str) -> Result<&DockerHost> {
        self.hosts.iter().find(|host| host.name() == name).with_context(|| format!("no host {name}"))
    }

    /// The shared directory: where writers write.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs `docker ARGS` on a host, as part of the set-up.
    pub(super) fn docker(&self, host: &str, args: &[&str]) -> Result<String> {
        self.note(&format!("docker -H {host} {}", args.join(" ")));
        self.host(host)?.docker(args)
    }

    /// Asks a host's engine something, within a short bound; not part of the set-up.
    pub(super) fn ask_docker(&self, host: &str, args: &[&str]) -> Result<String> {
        self.host(host)?.docker_within(ASK_BOUND, args)
    }

    /// Keeps a set-up command for the document, with what differs from case to case replaced by a name.
    pub(super) fn note(&self, command: &str) {
        let subnet = self.hosts[0].ip().to_string();
        let subnet = subnet.rsplit_once('.').map_or("", |(net, _)| net);
        let plain = command.replace(&self.data.display().to_string(), "$SHARED").replace(&self.image_id, "$IMAGE");
        let plain = plain.replace(&self.lab.dir().display().to_string(), "$LAB").replace(&format!("{subnet}."), "10.0.0.");
        self.commands.borrow_mut().push(plain);
    }

    pub(super) fn commands(&self) -> Vec<String> {
        self.commands.borrow().clone()
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.lab.log_dir()
    }

    pub(super) fn teardown(self) -> Result<()> {
        self.lab.teardown()
    }
}
