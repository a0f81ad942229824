//! From the engine's pid to a [`KillHandle`]. Called after a start and after an executor restart. Whoever holds the handle kills
//! without asking anyone, so nothing goes into it that was not checked against the container's id: a `cgroup.kill` written to
//! the wrong group would take down strangers, or the whole host.
//!
//! Formats: cgroups(7) for `/proc/PID/cgroup`, proc(5) for `mountinfo`.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::runtime::KillHandle;
use crate::runtime::kill::start_ticks;

/// Above any pid Linux can give (its limit is 2^22), and not negative as a C `pid_t`: no signal to it can hit anyone.
const NO_SUCH_PID: u32 = i32::MAX as u32;

#[derive(Debug, thiserror::Error)]
pub(super) enum HandleError {
    /// Ended meanwhile, or the engine numbers its processes in a pid namespace that we do not see.
    #[error("no process {pid} is visible here")]
    NotVisible { pid: u32 },
    #[error(
        "process {pid} is not in a control group of container {id}: dockerd seems to run in another pid namespace; run the executor in the same one"
    )]
    Foreign { pid: u32, id: String },
    #[error("process {pid} cannot be examined: {source}")]
    Io {
        pid: u32,
        #[source]
        source: std::io::Error,
    },
}

/// The handle of an instance that ran and is over: kills nothing.
pub(super) fn already_over() -> KillHandle {
    KillHandle { cgroup: None, pid: NO_SUCH_PID, start_ticks: 0, process_group: false }
}

/// Checks that `pid` is a process of container `id` and says how to kill it.
pub(super) fn make(pid: u32, id: &str) -> Result<KillHandle, HandleError> {
    check(Path::new("/proc"), start_ticks, pid, id)
}

fn check(
    proc_root: &Path,
    ticks_of: impl Fn(u32) -> Result<Option<u64>, std::io::Error>,
    pid: u32,
    id: &str,
) -> Result<KillHandle, HandleError> {
    let io = |source| HandleError::Io { pid, source };
    let alive = || ticks_of(pid).map_err(io)?.ok_or(HandleError::NotVisible { pid });
    let before = alive()?;
    let groups = match std::fs::read_to_string(proc_root.join(pid.to_string()).join("cgroup")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(HandleError::NotVisible { pid }),
        Err(source) => return Err(io(source)),
    };
    // Both reads were of one process only if it is still the same one.
    if alive()? != before {
        return Err(HandleError::NotVisible { pid });
    }
    if !in_container(&groups, id) {
        return Err(HandleError::Foreign { pid, id: id.to_owned() });
    }
    let cgroup = kill_folder(proc_root, &groups, pid, id);
    Ok(KillHandle { cgroup, pid, start_ticks: before, process_group: false })
}

/// Whether some line of `/proc/PID/cgroup` has the container's id in its path.
pub(super) fn in_container(groups: &str, id: &str) -> bool {
    // An empty or shortened id would match anything.
    id.len() == 64 && groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.contains(id))
}

/// The container's own cgroup v2 folder, if it has one that can be killed. `None` is safe: then the pid alone is killed,
/// which as init takes its pid namespace along.
fn kill_folder(proc_root: &Path, groups: &str, pid: u32, id: &str) -> Option<PathBuf> {
    let path = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    let mounts = std::fs::read_to_string(proc_root.join("self/mountinfo")).ok()?;
    let (root, mount_point) = mounts.lines().find_map(cgroup2_mount)?;
    let below = path.strip_prefix(root).ok()?;
    // A path that climbs lies outside what is mounted here.
    if below.components().any(|part| matches!(part, Component::ParentDir)) {
        return None;
    }
    // The process must really be listed in the folder we arrived at: this also catches a wrong mount.
    let listed = std::fs::read_to_string(mount_point.join(below).join("cgroup.procs")).ok()?;
    if !listed.lines().any(|line| line.parse() == Ok(pid)) {
        return None;
    }
    // The process may sit in a group that it made inside the container's: the container's is the one named by its id.
    let mut folder = mount_point;
    for part in below.components() {
        folder.push(part);
        if part.as_os_str().to_str().is_some_and(|name| name.contains(id)) {
            return folder.join("cgroup.kill").exists().then_some(folder);
        }
    }
    None
}

/// Root and mount point of a mountinfo line, if it is a cgroup v2 mount.
fn cgroup2_mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    if kind.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?.into(), fields.next()?.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use std::fs;

    use super::*;

    const ID: &str = "ef59b742f17d66cb0edc1292a76abd542cbd7fd57c0aaab5c9ab6461604deedc";

    /// A made-up /proc and cgroup2 mount.
    struct Fake {
        folder: tempfile::TempDir,
    }

    impl Fake {
        fn new(v2_path: &str, v1_path: &str) -> Self {
            let fake = Self { folder: tempfile::tempdir().unwrap() };
            let proc_root = fake.proc_root();
            fs::create_dir_all(proc_root.join("42")).unwrap();
            fs::create_dir_all(proc_root.join("self")).unwrap();
            fs::write(proc_root.join("42/cgroup"), format!("4:memory:{v1_path}\n1:name=systemd:/\n0::{v2_path}\n")).unwrap();
            let mount = format!("20 41 0:38 / {} rw - cgroup2 cgroup2 rw\n", fake.unified().display());
            fs::write(proc_root.join("self/mountinfo"), format!("10 31 0:28 / /sys rw - tmpfs tmpfs rw\n{mount}")).unwrap();
            fake.group(v2_path, "41\n42\n");
            fake
        }

        fn proc_root(&self) -> PathBuf {
            self.folder.path().join("proc")
        }

        fn unified(&self) -> PathBuf {
            self.folder.path().join("unified")
        }

        fn check(&self, pid: u32, id: &str) -> Result<KillHandle, HandleError> {
            check(&self.proc_root(), |pid| Ok((pid == 42).then_some(777)), pid, id)
        }

        fn group(&self, path: &str, procs: &str) {
            let folder = self.unified().join(path.trim_start_matches('/'));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.procs"), procs).unwrap();
            fs::write(folder.join("cgroup.kill"), "").unwrap();
        }
    }

    #[test]
    fn a_container_in_its_own_group_is_killed_by_that_group() {
        let path = format!("/docker/{ID}");
        let fake = Fake::new(&path, &path);
        let expected = KillHandle { cgroup: Some(fake.unified().join("docker").join(ID)), pid: 42, start_ticks: 777, process_group: false };
        assert_eq!(fake.check(42, ID).unwrap(), expected);
    }

    #[test]
    fn the_group_of_a_nested_manager_is_not_enough() {
        let nested = format!("/system.slice/docker-{ID}.scope/init.scope");
        let fake = Fake::new(&nested, "/");
        fake.group(&format!("/system.slice/docker-{ID}.scope"), "");
        let handle = fake.check(42, ID).unwrap();
        assert_eq!(handle.cgroup, Some(fake.unified().join(format!("system.slice/docker-{ID}.scope"))));
    }

    #[test]
    fn the_root_group_is_never_taken_even_when_v1_proves_the_container() {
        let fake = Fake::new("/", &format!("/docker/{ID}"));
        let handle = fake.check(42, ID).unwrap();
        assert_eq!(handle.cgroup, None);
    }

    #[test]
    fn a_group_that_does_not_list_the_process_is_never_taken() {
        let path = format!("/docker/{ID}");
        let fake = Fake::new(&path, &path);
        fake.group(&path, "41\n421\n");
        assert_eq!(fake.check(42, ID).unwrap().cgroup, None);
    }

    #[test]
    fn a_path_outside_our_cgroup_namespace_is_never_taken() {
        let climbing = format!("/../docker/{ID}");
        let fake = Fake::new(&climbing, "/");
        assert_eq!(fake.check(42, ID).unwrap().cgroup, None);
    }

    #[test]
    fn a_process_of_somebody_else_is_refused() {
        let other = format!("/docker/{}", ID.replace('e', "f"));
        let fake = Fake::new(&other, &other);
        assert!(matches!(fake.check(42, ID), Err(HandleError::Foreign { pid: 42, .. })));
        assert!(matches!(fake.check(42, ""), Err(HandleError::Foreign { .. })), "an empty id matches nothing");
    }

    #[test]
    fn an_unknown_process_is_not_visible() {
        let path = format!("/docker/{ID}");
        let fake = Fake::new(&path, &path);
        assert!(matches!(fake.check(43, ID), Err(HandleError::NotVisible { pid: 43 })));
    }

    #[test]
    fn a_pid_given_away_between_the_reads_is_not_visible() {
        let path = format!("/docker/{ID}");
        let fake = Fake::new(&path, &path);
        let ticks = std::cell::Cell::new(776);
        let rising = |_| {
            ticks.set(ticks.get() + 1);
            Ok(Some(ticks.get()))
        };
        assert!(matches!(check(&fake.proc_root(), rising, 42, ID), Err(HandleError::NotVisible { pid: 42 })));
    }

    #[test]
    fn the_handle_of_what_is_over_can_hit_nobody() {
        let handle = already_over();
        assert!(i32::try_from(handle.pid).is_ok_and(|pid| pid > 1 << 22), "neither negative nor a possible pid");
        assert_eq!((handle.cgroup, handle.process_group), (None, false));
    }
}
