//! One instance's folder: its paths, and what its records say about the instance's state. Called by the executor and by the shim.
//! Must never report an end that is not proven: `Exited` needs the shim's record, or the death of shim and first process.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::procfs;
use super::record::{self, Exit, Plan, Running, Started, Stored};
use crate::runtime::{InstanceSpec, KillHandle, kill};

/// Exit code of an instance whose end nobody recorded: that of a SIGKILL.
const UNRECORDED: i32 = 137;

#[derive(Clone, Debug)]
pub(super) struct InstanceFolder {
    path: PathBuf,
}

/// Where the instance is in its life, with what is needed to act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Created,
    /// A shim has the right to start it and lives; the first process is not known yet.
    Starting(Started),
    /// The first process lives, or the shim is still writing its end down.
    Running(Started, Running),
    Exited(Exit),
}

impl InstanceFolder {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Lays a new folder out at this path, which must not have its final name yet.
    pub fn lay_out(&self, spec: &InstanceSpec, id: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        std::fs::create_dir(self.work())?;
        std::fs::create_dir(self.log())?;
        record::write(&self.file("spec.json"), &Stored { id: id.to_owned(), spec: spec.clone() })
    }

    pub fn stored(&self) -> io::Result<Stored> {
        let path = self.file("spec.json");
        record::read(&path)?.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{} is missing", path.display())))
    }

    pub fn plan(&self) -> io::Result<Option<Plan>> {
        record::read(&self.file("plan.json"))
    }

    pub fn write_plan(&self, plan: &Plan) -> io::Result<()> {
        record::write(&self.file("plan.json"), plan)
    }

    /// Takes the one right to start this instance; `AlreadyExists` when it is taken.
    pub fn claim(&self, started: &Started) -> io::Result<()> {
        record::claim(&self.file("started.json"), started)
    }

    pub fn write_running(&self, running: &Running) -> io::Result<()> {
        record::write(&self.file("running.json"), running)
    }

    /// The first record of the end stays.
    pub fn write_exit(&self, exit: &Exit) -> io::Result<()> {
        match record::claim(&self.file("exit.json"), exit) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    pub fn started(&self) -> io::Result<Option<Started>> {
        record::read(&self.file("started.json"))
    }

    pub fn running(&self) -> io::Result<Option<Running>> {
        record::read(&self.file("running.json"))
    }

    pub fn exit(&self) -> io::Result<Option<Exit>> {
        record::read(&self.file("exit.json"))
    }

    /// Whether the files that tell the phase exist: cheap, for noticing a change.
    pub fn marks(&self) -> [bool; 3] {
        ["started.json", "running.json", "exit.json"].map(|name| self.file(name).exists())
    }

    /// The phase as it is now; `None` when there is no such instance. Writes the end down when it is proven and nobody else can.
    pub fn phase(&self) -> io::Result<Option<Phase>> {
        if !self.path.is_dir() {
            return Ok(None);
        }
        if let Some(exit) = self.exit()? {
            return Ok(Some(Phase::Exited(exit)));
        }
        let Some(started) = self.started()? else { return Ok(Some(Phase::Created)) };
        let Some(shim) = started.shim else { return self.conclude("closed before it was started").map(Some) };
        if started.boot_id != procfs::boot_id()? {
            return self.conclude("the host restarted").map(Some);
        }
        // The shim first: when it is dead, its records do not change any more.
        let shim_lives = procfs::is_alive(shim)?;
        match self.running()? {
            // Not only the first process: without a pid namespace others outlive it.
            Some(running) if shim_lives || !kill::is_gone(&self.kill_handle(&running)?).map_err(io::Error::other)? => {
                Ok(Some(Phase::Running(started, running)))
            }
            None if shim_lives => Ok(Some(Phase::Starting(started))),
            Some(_) | None => self.conclude("its shim was killed, and it died with it").map(Some),
        }
    }

    /// The shim cannot write the end any more, and may have done so since it was looked for.
    fn conclude(&self, reason: &str) -> io::Result<Phase> {
        self.write_exit(&Exit { code: UNRECORDED, reason: reason.to_owned() })?;
        let exit = self.exit()?.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the end was written and is not there"))?;
        Ok(Phase::Exited(exit))
    }

    /// How to kill the running instance.
    pub fn kill_handle(&self, running: &Running) -> io::Result<KillHandle> {
        let plan = self.plan()?.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "plan.json of a running instance is missing"))?;
        Ok(KillHandle {
            process_group: !plan.isolation.has_pid_namespace(),
            cgroup: plan.cgroup,
            pid: running.init.pid,
            start_ticks: running.init.start_ticks,
        })
    }
}
