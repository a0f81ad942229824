//! That there is one guard, and that the executor knows whether there is.

use std::process::{Command, Stdio};

use berth_executor::hostguard::client::{Health, Unwell};
use berth_executor::hostguard::order::{FORMAT, Needs, Order};
use berth_executor::hostguard::{HOST_GUARD_COMMAND, HostGuardClient, HostGuardConfig};
use berth_executor::runtime::kill;
use berth_guard::page::Deadline;
use berth_state::noun::session::Guard;
use rustix::process::Signal;

use super::Case;
use super::bench::{Bench, Executor, Instance, client, eventually, in_ms, order, pause_ms, unique};

pub fn cases() -> Vec<Case> {
    super::cases![
        a_restarted_executor_adopts_the_guard_that_is_there,
        a_killed_guard_is_noticed_and_its_successor_keeps_the_deadline,
        a_stopped_guard_is_noticed_and_replaced,
        two_guards_of_one_folder_are_impossible,
        two_executors_of_one_folder_are_impossible,
        a_guard_hands_over_without_killing_anything,
        a_guard_of_another_version_or_with_other_mounts_is_not_adopted,
        nothing_is_claimed_that_was_granted_under_a_guard_that_is_not_there,
        a_guard_has_a_session_and_a_group_of_its_own_and_nobody_waits_for_it,
        a_guard_that_is_asked_to_stop_stays_while_there_is_a_lease,
        a_guard_that_nobody_needs_ends_by_itself,
    ]
}

fn guard_command(bench: &Bench, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(HOST_GUARD_COMMAND).arg("--run").arg(bench.run.path()).args(words).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn a_restarted_executor_adopts_the_guard_that_is_there() {
    let bench = Bench::new();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let executor = Executor::play(&bench, token, 2_000, &instance.group, &[]);
    let first = bench.status();
    drop(executor);
    let (_client, adopted) = bench.client();
    assert_eq!((adopted.pid, adopted.start_ticks), (first.pid, first.start_ticks));
    assert_eq!(bench.facts(token), None, "the restart killed");
    bench.verified(token);
    assert_eq!(instance.alive(), 0, "the new executor renewed nothing, and the deadline was forgotten");
}

fn a_killed_guard_is_noticed_and_its_successor_keeps_the_deadline() {
    let bench = Bench::new();
    let (client, first) = bench.client();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let deadline = in_ms(3_000);
    let _page = bench.page(token, deadline);
    order(&client, token, vec![instance.target()], vec![]);
    assert_eq!(client.level(), Some(Guard::HostProcess));
    kill::signal(first.pid, first.start_ticks, Signal::KILL).unwrap();
    eventually("it is seen to be gone", || client.health() == Health::Unwell(Unwell::Ended));
    assert_eq!((client.level(), client.may_claim(token)), (None, false));
    let second = client.ensure().unwrap();
    assert_ne!(second.pid, first.pid);
    assert!(client.may_claim(token));
    assert!(instance.alive() >= 2, "the change of guards killed");
    // I12: the deadline is the page's, to the nanosecond.
    let facts = bench.verified(token);
    assert_eq!((Deadline::At(facts.deadline_ns), facts.guard_pid), (deadline, second.pid));
    assert_eq!(instance.alive(), 0);
}

fn a_stopped_guard_is_noticed_and_replaced() {
    let bench = Bench::new();
    let (client, first) = bench.client();
    kill::signal(first.pid, first.start_ticks, Signal::STOP).unwrap();
    eventually("its silence is noticed", || client.health() == Health::Unwell(Unwell::Silent));
    assert_eq!(client.level(), None);
    let second = client.ensure().unwrap();
    assert_ne!(second.pid, first.pid);
    assert!(!first.lives().unwrap());
}

fn two_guards_of_one_folder_are_impossible() {
    let bench = Bench::new();
    let (client, first) = bench.client();
    let second = guard_command(&bench, &["--foreground"]).stderr(Stdio::null()).status().unwrap();
    assert_eq!(second.code(), Some(3));
    assert!(matches!(client.health(), Health::Well(status) if status.pid == first.pid));
    assert_eq!(client.ensure().unwrap().pid, first.pid);
}

fn two_executors_of_one_folder_are_impossible() {
    let bench = Bench::new();
    let (_client, _) = bench.client();
    let config = HostGuardConfig { run: bench.run.path().to_owned(), berth_binary: "/nonexistent".into(), watchdog: None, margin_ms: 500 };
    let clock = std::sync::Arc::new(berth_executor::clock::SystemHolderClock::new().unwrap());
    let Err(refused) = HostGuardClient::new(config, clock) else { panic!("a second executor took the folder") };
    let text = std::error::Error::source(&refused).unwrap().to_string();
    assert!(text.contains("--run"), "{text}");
}

fn a_guard_hands_over_without_killing_anything() {
    let bench = Bench::new();
    let (client, first) = bench.client();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let _page = bench.page(token, in_ms(2_500));
    order(&client, token, vec![instance.target()], vec![]);
    eventually("the guard has it", || bench.status().leases == 1);
    assert!(guard_command(&bench, &["--take-over"]).status().unwrap().success());
    eventually("another guard is there", || matches!(client.health(), Health::Well(status) if status.pid != first.pid));
    eventually("the first has ended", || !first.lives().unwrap());
    assert!(instance.alive() >= 2, "the change of guards killed");
    let facts = bench.verified(token);
    assert_ne!(facts.guard_pid, first.pid);
    assert_eq!(instance.alive(), 0);
}

fn a_guard_of_another_version_or_with_other_mounts_is_not_adopted() {
    let bench = Bench::new();
    let (client, first) = bench.client();
    // Byte 8: the protocol.
    let mut status = std::fs::read(bench.run.status()).unwrap();
    status[8] = 99;
    std::fs::write(bench.run.status(), status).unwrap();
    assert_eq!(client.health(), Health::Unwell(Unwell::Version));
    let second = client.ensure().unwrap();
    assert_ne!(second.pid, first.pid);
    eventually("the first has handed over", || !first.lives().unwrap());
    drop(client);

    // One that was started elsewhere.
    let (pid, ticks) = (second.pid, second.start_ticks);
    kill::signal(pid, ticks, Signal::KILL).unwrap();
    eventually("it is gone", || !second.lives().unwrap());
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
    assert!(elsewhere.args([HOST_GUARD_COMMAND, "--run"]).arg(bench.run.path()).status().unwrap().success());
    let client = super::bench::client(bench.run.path(), None);
    eventually("its mounts are seen to be others", || client.health() == Health::Unwell(Unwell::OtherMounts));
    let third = bench.status();
    assert_ne!(client.ensure().unwrap().pid, third.pid);
}

fn nothing_is_claimed_that_was_granted_under_a_guard_that_is_not_there() {
    let bench = Bench::new();
    let client = client(bench.run.path(), None);
    let of = |token, needs| Order {
        format: FORMAT,
        token,
        lease: 1,
        container: "db".to_owned(),
        margin_ms: 0,
        needs,
        kills: vec![],
        cuts: vec![],
    };
    client.order(of(1, Needs::Nothing)).unwrap();
    client.order(of(2, Needs::HostGuard)).unwrap();
    client.order(of(3, Needs::Watchdog)).unwrap();
    let claims = |client: &HostGuardClient| [1, 2, 3, 4].map(|token| client.may_claim(token));
    assert_eq!(claims(&client), [true, false, false, true], "4 is not ordered yet, and nothing was declared");
    client.declare(Guard::HostProcess);
    assert_eq!(claims(&client), [true, false, false, false]);
    client.ensure().unwrap();
    assert_eq!(claims(&client), [true, true, false, true], "a watchdog that is not there is not claimed under");
}

fn a_guard_has_a_session_and_a_group_of_its_own_and_nobody_waits_for_it() {
    let bench = Bench::new();
    let (_client, guard) = bench.client();
    let pid = rustix::process::Pid::from_raw(i32::try_from(guard.pid).unwrap()).unwrap();
    assert_ne!(rustix::process::getsid(Some(pid)).unwrap(), rustix::process::getsid(None).unwrap());
    let group = std::fs::read_to_string(format!("/proc/{}/cgroup", guard.pid)).unwrap();
    let unified = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    assert!(unified.starts_with("/berth/guards/"), "{group}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", guard.pid)).unwrap();
    let field = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let parent = field("PPid:").split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert_ne!(parent, std::process::id());
    println!("  {}, {}, {}", field("VmLck:"), field("VmRSS:"), field("Threads:"));
    assert!(!field("VmLck:").contains("\t       0 kB"), "its memory is not locked");
    let spared = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", guard.pid)).unwrap() == "-1000\n";
    assert!(spared || bench.log().contains("cannot be spared by the out-of-memory killer"), "{}", bench.log());
}

fn a_guard_that_is_asked_to_stop_stays_while_there_is_a_lease() {
    let bench = Bench::new();
    let (client, guard) = bench.client();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let _page = bench.page(token, in_ms(1_500));
    order(&client, token, vec![instance.target()], vec![]);
    eventually("the guard has it", || bench.status().leases == 1);
    kill::signal(guard.pid, guard.start_ticks, Signal::TERM).unwrap();
    bench.verified(token);
    assert_eq!(instance.alive(), 0);
    assert!(guard.lives().unwrap());
    std::fs::remove_dir_all(bench.run.lease(token)).unwrap();
    eventually("it ends", || !guard.lives().unwrap());
}

fn a_guard_that_nobody_needs_ends_by_itself() {
    let bench = Bench::new();
    let (client, guard) = bench.client();
    pause_ms(4_000);
    assert!(guard.lives().unwrap(), "an executor is there");
    drop(client);
    eventually("it ends", || !guard.lives().unwrap());
}
