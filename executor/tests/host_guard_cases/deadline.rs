//! What happens at a deadline, whoever lives then.

use berth_executor::hostguard::KillTarget;
use berth_executor::hostguard::facts::ActKind;
use berth_executor::volumes::{CutMeans, CutPlan};
use berth_guard::page::{Deadline, PageWriter};
use rustix::process::Signal;

use super::Case;
use super::bench::{Bench, Executor, Instance, eventually, in_ms, now_ns, order, pause_ms, unique};

pub fn cases() -> Vec<Case> {
    super::cases![
        an_instance_dies_at_its_deadline_although_its_executor_was_killed,
        an_instance_dies_at_its_deadline_although_its_executor_is_stopped,
        without_a_guard_the_instance_outlives_executor_and_deadline,
        a_lowered_or_taken_back_page_is_noticed,
        a_renewed_lease_and_one_without_a_deadline_go_on,
        an_instance_that_starts_after_everything_was_done_is_killed,
        a_process_is_killed_by_its_number_where_it_has_no_group,
        a_folder_that_somebody_removes_takes_no_instance_out_of_guard,
        a_page_that_is_made_anew_is_the_one_that_counts,
        a_lease_that_is_released_is_not_cut_behind_its_successors_back,
        garbage_is_reported_and_left_alone,
    ]
}

fn dies_although(what: Signal) {
    let bench = Bench::new();
    let (token, instance) = (unique(), Instance::running("while :; do :; done"));
    let executor = Executor::play(&bench, token, 1_500, &instance.group, &[]);
    executor.signal(what);
    pause_ms(500);
    assert_eq!(bench.facts(token), None, "something was done before the deadline");
    assert!(instance.alive() >= 2);
    let facts = bench.verified(token);
    assert_eq!(instance.alive(), 0);
    let late_ms = (facts.noticed_ns - facts.deadline_ns) / 1_000_000;
    println!("  noticed {late_ms} ms after the deadline, dead {} us later", (facts.verified_ns.unwrap() - facts.noticed_ns) / 1_000);
    assert!(late_ms < 2_000);
    assert_eq!(facts.acts.first().unwrap().kind, ActKind::Kill);
}

fn an_instance_dies_at_its_deadline_although_its_executor_was_killed() {
    dies_although(Signal::KILL);
}

fn an_instance_dies_at_its_deadline_although_its_executor_is_stopped() {
    dies_although(Signal::STOP);
}

/// The negative control: what the guard does is done by nobody else.
fn without_a_guard_the_instance_outlives_executor_and_deadline() {
    let bench = Bench::new();
    let (token, instance) = (unique(), Instance::running("while :; do :; done"));
    let executor = Executor::play(&bench, token, 1_000, &instance.group, &[]);
    let guard = bench.status();
    berth_executor::runtime::kill::signal(guard.pid, guard.start_ticks, Signal::KILL).unwrap();
    executor.signal(Signal::KILL);
    pause_ms(2_000);
    assert!(instance.alive() >= 2, "somebody killed it");
    assert_eq!(bench.facts(token), None);
}

fn a_lowered_or_taken_back_page_is_noticed() {
    for lowered in [true, false] {
        let bench = Bench::new();
        let (token, instance) = (unique(), Instance::running("sleep 1000"));
        let (client, _) = bench.client();
        let page = bench.page(token, in_ms(600_000));
        order(&client, token, vec![instance.target()], vec![]);
        eventually("the guard has it", || bench.status().leases == 1);
        pause_ms(100);
        assert!(instance.alive() >= 2);
        let lowered_ns = now_ns();
        page.store(if lowered { Deadline::At(lowered_ns) } else { Deadline::Over });
        let facts = bench.verified(token);
        println!("  noticed after {} us", (facts.noticed_ns - lowered_ns) / 1_000);
        assert_eq!(instance.alive(), 0);
        assert_eq!(facts.deadline_ns, if lowered { lowered_ns } else { 0 });
    }
}

fn a_renewed_lease_and_one_without_a_deadline_go_on() {
    let bench = Bench::new();
    let (renewed, endless) = (Instance::running("sleep 1000"), Instance::running("sleep 1000"));
    let (client, _) = bench.client();
    let (one, other) = (unique(), unique());
    let page = bench.page(one, in_ms(500));
    let open: PageWriter = bench.page(other, Deadline::None);
    order(&client, one, vec![renewed.target()], vec![]);
    order(&client, other, vec![endless.target()], vec![]);
    for _ in 0..10 {
        page.store(in_ms(500));
        pause_ms(150);
    }
    assert!(renewed.alive() >= 2 && endless.alive() >= 2);
    bench.verified(one);
    assert_eq!(renewed.alive(), 0);
    assert!(endless.alive() >= 2);
    open.store(Deadline::Over);
    bench.verified(other);
    assert_eq!(endless.alive(), 0);
}

/// A start that was under way when the executor died ends some time; here in the group that was registered, and in one found by its name.
fn an_instance_that_starts_after_everything_was_done_is_killed() {
    let bench = Bench::new();
    let (client, _) = bench.client();
    let token = unique();
    let id = format!("container-{}", unique());
    let (mut known, mut found) = (Instance::named(&format!("late-{}", unique())), Instance::named(&format!("docker-{id}.scope")));
    let _page = bench.page(token, in_ms(200));
    order(&client, token, vec![known.target(), KillTarget::GroupNamed { text: id }], vec![]);
    bench.verified(token);
    for instance in [&mut known, &mut found] {
        std::fs::create_dir_all(&instance.group).unwrap();
        let start = format!("echo 0 > {}/cgroup.procs; exec sleep 1000", instance.group.display());
        let mut child = std::process::Command::new("sh").args(["-c", &start]).spawn().unwrap();
        eventually("the late instance is killed", || child.try_wait().unwrap().is_some());
    }
}

fn a_process_is_killed_by_its_number_where_it_has_no_group() {
    let bench = Bench::new();
    let (client, _) = bench.client();
    let token = unique();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let start_ticks = berth_executor::runtime::kill::start_ticks(child.id()).unwrap().unwrap();
    // A number that was given away meanwhile: nobody is hit.
    let stranger = KillTarget::Handle { cgroup: None, pid: std::process::id(), start_ticks: 1, process_group: false };
    let target = KillTarget::Handle { cgroup: None, pid: child.id(), start_ticks, process_group: false };
    let _page = bench.page(token, in_ms(200));
    order(&client, token, vec![stranger, target], vec![]);
    eventually("it is dead", || child.try_wait().unwrap().is_some());
    bench.verified(token);
}

fn a_folder_that_somebody_removes_takes_no_instance_out_of_guard() {
    let bench = Bench::new();
    let (client, _) = bench.client();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let _page = bench.page(token, in_ms(1_500));
    order(&client, token, vec![instance.target()], vec![]);
    eventually("the guard has it", || bench.status().leases == 1);
    // And its order: at the latest by the next regular look.
    pause_ms(400);
    std::fs::remove_dir_all(bench.run.lease(token)).unwrap();
    eventually("it is dead all the same", || instance.alive() == 0);
    eventually("and then let go of", || bench.status().leases == 0);
    assert!(bench.log().contains("stays under guard"), "{}", bench.log());
}

fn a_page_that_is_made_anew_is_the_one_that_counts() {
    let bench = Bench::new();
    let (client, _) = bench.client();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    drop(bench.page(token, in_ms(1_500)));
    order(&client, token, vec![instance.target()], vec![]);
    eventually("the guard has it", || bench.status().leases == 1);
    // And its order: at the latest by the next regular look.
    pause_ms(400);
    std::fs::remove_dir_all(bench.run.lease(token)).unwrap();
    let page = bench.page(token, in_ms(600_000));
    order(&client, token, vec![instance.target()], vec![]);
    pause_ms(2_000);
    assert!(instance.alive() >= 2, "the page that nobody writes any more was believed");
    page.store(Deadline::Over);
    bench.verified(token);
    assert_eq!(instance.alive(), 0);
}

/// A driver's program is called for the cut of a lost lease, and not for one that was released.
fn a_lease_that_is_released_is_not_cut_behind_its_successors_back() {
    let bench = Bench::new();
    let (client, _) = bench.client();
    let (program, called) = (bench.folder.path().join("driver"), bench.folder.path().join("called"));
    let script = format!("#!/bin/sh\ncat >> {}\necho '{{\"ok\":true}}'\n", called.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for released in [true, false] {
        let token = unique();
        let means = CutMeans::Program {
            program: program.to_str().unwrap().to_owned(),
            request: format!(r#"{{"operation":"cut","token":{token}}}"#),
            timeout_ms: 5_000,
        };
        let plan = CutPlan { volume: "pg".to_owned(), token, mount_point: None, means };
        let page = bench.page(token, in_ms(600_000));
        order(&client, token, vec![], vec![plan]);
        eventually("the guard has it", || bench.status().leases == 1);
        pause_ms(400);
        if released {
            // As the executor does it, as fast as it can.
            client.discharge(token).unwrap();
            page.store(Deadline::Over);
            client.forget(token);
            std::fs::remove_dir_all(bench.run.lease(token)).or_else(|_| std::fs::remove_dir_all(bench.run.lease(token))).unwrap();
            eventually("the guard lets go", || bench.status().leases == 0);
            assert!(!called.exists(), "cut after its release");
        } else {
            page.store(Deadline::Over);
            bench.verified(token);
            assert!(std::fs::read_to_string(&called).unwrap().contains(&format!("\"token\":{token}")));
        }
    }
}

fn garbage_is_reported_and_left_alone() {
    let bench = Bench::new();
    let (client, started) = bench.client();
    let put = |path: &str, bytes: &[u8]| {
        let path = bench.run.leases().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Whole at once, so that what is said of it is one thing.
        std::fs::write(bench.folder.path().join("draft"), bytes).unwrap();
        std::fs::rename(bench.folder.path().join("draft"), path).unwrap();
    };
    put("nonsense/page", b"x");
    put("007/page", b"x");
    put("11/page", b"short");
    put("12/page", &[7; 4_096]);
    put("file", b"x");
    let _page = bench.page(13, in_ms(600_000));
    put("13/enforce.json", b"{ half");
    // A page of another token.
    put("14/page", &std::fs::read(bench.run.page(13)).unwrap());
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let _own = bench.page(token, in_ms(500));
    order(&client, token, vec![instance.target()], vec![]);
    bench.verified(token);
    assert_eq!((instance.alive(), bench.status().pid), (0, started.pid));
    let log = bench.log();
    for name in ["leases/nonsense", "leases/007", "leases/11", "leases/12", "leases/13", "leases/14", "leases/file"] {
        assert_eq!(log.matches(&format!("{name}: ")).count(), 1, "{name} in\n{log}");
    }
    assert!(bench.run.leases().join("nonsense/page").exists() && bench.run.leases().join("12/page").exists());
}
