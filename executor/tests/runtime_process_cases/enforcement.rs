//! Cases about what only namespaces and root can enforce. Called through `cases_…` only.

use std::path::PathBuf;

use super::survival::record;
use crate::runtime_conformance::{Bench, Case, exited, logs, spec, start_ready};

pub fn cases_with_pid_namespace() -> Vec<(&'static str, Case)> {
    super::cases![an_instance_sees_only_its_own_processes, a_command_has_no_rights_that_its_user_has_not]
}

pub fn cases_of_root() -> Vec<(&'static str, Case)> {
    super::cases![
        too_much_memory_is_the_reason_of_the_end,
        a_cpu_limit_is_set_in_the_kernel,
        a_removed_instance_leaves_no_cgroup,
        a_read_only_volume_stays_writable_for_the_host,
    ]
}

fn cgroups(bench: &Bench, instance: &str) -> Vec<PathBuf> {
    let plan = record(bench, instance, "plan");
    let v1 = plan["record"]["limits_v1"].as_array().unwrap().clone();
    [plan["record"]["cgroup"].clone()].into_iter().chain(v1).filter_map(|path| Some(PathBuf::from(path.as_str()?))).collect()
}

async fn an_instance_sees_only_its_own_processes(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "cd /proc; echo $$ [0-9]*");
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    exited(&*runtime, &spec.key).await;
    assert_eq!(logs(&*runtime, &spec.key, None).await.0, "2 1 2\n");
}

async fn a_command_has_no_rights_that_its_user_has_not(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec =
        spec(bench, "while read name value; do case $name in Uid:|CapEff:|CapAmb:) echo $name $value;; esac; done < /proc/self/status");
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    exited(&*runtime, &spec.key).await;
    let seen = logs(&*runtime, &spec.key, None).await.0;
    let user = rustix::process::geteuid();
    assert!(seen.starts_with(&format!("Uid: {user}")), "{seen}");
    assert!(seen.contains("CapAmb: 0000000000000000\n"), "{seen}");
    assert_eq!(seen.contains("CapEff: 0000000000000000\n"), !user.is_root(), "{seen}");
}

async fn too_much_memory_is_the_reason_of_the_end(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "exec tail /dev/zero");
    spec.memory_bytes = Some(32 << 20);
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    let (code, reason) = exited(&*runtime, &spec.key).await;
    assert_eq!(code, 137);
    assert!(reason.starts_with("out of memory"), "{reason}");
}

async fn a_cpu_limit_is_set_in_the_kernel(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "echo ready; while :; do sleep 0.05; done");
    spec.cpu_millis = Some(250);
    start_ready(&*runtime, &spec).await;
    let limits: Vec<String> = cgroups(bench, &spec.key.instance_name())
        .iter()
        .flat_map(|cgroup| ["cpu.max", "cpu.cfs_quota_us"].map(|file| std::fs::read_to_string(cgroup.join(file)).unwrap_or_default()))
        .collect();
    assert!(limits.iter().any(|limit| limit.split_whitespace().next() == Some("25000")), "{limits:?}");
}

async fn a_removed_instance_leaves_no_cgroup(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "echo ready; while :; do sleep 0.05; done");
    spec.memory_bytes = Some(64 << 20);
    let handle = start_ready(&*runtime, &spec).await;
    let made = cgroups(bench, &spec.key.instance_name());
    assert!(made.iter().all(|cgroup| cgroup.is_dir()) && handle.cgroup.as_ref() == made.first(), "{made:?}");
    runtime.kill(&spec.key).await.unwrap();
    runtime.remove(&spec.key).await.unwrap();
    let left: Vec<_> =
        made.iter().flat_map(|cgroup| [cgroup.clone(), cgroup.parent().unwrap().to_path_buf()]).filter(|path| path.exists()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

async fn a_read_only_volume_stays_writable_for_the_host(bench: &Bench) {
    let runtime = (bench.open)().await;
    let volume = tempfile::tempdir().unwrap();
    let mut spec = spec(
        bench,
        &format!("echo ready; while [ ! -e {0}/from-host ]; do sleep 0.05; done; echo x > {0}/from-inside", volume.path().display()),
    );
    let mount = berth_executor::runtime::spec::MountSpec { source: volume.path().to_path_buf(), target: "/unused".into(), read_only: true };
    spec.mounts.push(mount);
    start_ready(&*runtime, &spec).await;
    std::fs::write(volume.path().join("from-host"), "").unwrap();
    assert_ne!(exited(&*runtime, &spec.key).await.0, 0);
    assert!(!volume.path().join("from-inside").exists());
}
