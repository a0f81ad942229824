//! The guard as a program: without a pid namespace, and, as root, as PID 1 of one. What a runtime does with it is tested in the executor.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test; its clock only measures and bounds its own waiting")]

mod bench;

use std::time::{Duration, Instant};

use bench::{Bench, FAR, Mode, each_mode};
use berth_guard::exit;
use berth_guard::page::Deadline;
use berth_guard::status::{HookFailure, HookKind, Phase};
use rustix::process::Signal;

#[test]
fn the_commands_end_is_the_guards_end() {
    each_mode(|mode| {
        for (script, code, phase) in [
            ("exit 0", 0, Phase::Exited(0)),
            ("exit 7", 7, Phase::Exited(7)),
            ("kill -9 $$", 137, Phase::Killed(9)),
            ("kill -15 $$", 143, Phase::Killed(15)),
        ] {
            let bench = Bench::new(mode, FAR);
            let mut guard = bench.start(&["sh", "-c", script]);
            assert_eq!((guard.end(), bench.phase()), (code, phase), "{script}");
        }
    });
}

#[test]
fn a_command_that_cannot_be_started_ends_with_dockers_codes() {
    each_mode(|mode| {
        for (program, code) in
            [("/no/such/program", exit::NOT_FOUND), ("no-such-program", exit::NOT_FOUND), ("/etc/passwd", exit::NOT_EXECUTABLE)]
        {
            let bench = Bench::new(mode, FAR);
            let mut guard = bench.start(&[program]);
            assert_eq!((guard.end(), bench.phase()), (code.into(), Phase::NotStarted(code)), "{program}");
            assert!(guard.said().contains(program), "{}", guard.said());
        }
    });
}

#[test]
fn nothing_is_started_under_a_right_that_is_over_or_unproven() {
    each_mode(|mode| {
        type Spoil = fn(&Bench);
        let spoils: [(&str, Spoil); 5] = [
            ("passed", |bench| bench.page().store(Deadline::At(1))),
            ("over", |bench| bench.page().store(Deadline::Over)),
            ("missing", |bench| std::fs::remove_file(bench.path("page")).unwrap()),
            ("short", |bench| bench.replace_page(|bytes| bytes.truncate(64))),
            ("of another token", |bench| bench.replace_page(|bytes| bytes[8] ^= 1)),
        ];
        for (what, spoil) in spoils {
            let bench = Bench::new(mode, FAR);
            spoil(&bench);
            let hook = format!("touch {}", bench.path("hook").display());
            let mut guard = bench.start_with(&[(HookKind::Init, 5_000, &hook)], &["touch", bench.path("ran").to_str().unwrap()]);
            assert_eq!(guard.end(), i32::from(exit::REFUSED), "{what}: {}", guard.said());
            assert_eq!(bench.phase(), Phase::Refused, "{what}");
            assert!(!bench.path("ran").exists() && !bench.path("hook").exists(), "{what}: something was started");
        }
    });
}

#[test]
fn the_command_gets_environment_folder_and_arguments_as_they_are() {
    let bench = Bench::new(Mode::Plain, FAR);
    let script = "printf '%s|' \"$BERTH_TOKEN\" \"$EMPTY-\" \"$@\"; pwd; cat";
    let mut guard = bench.start(&["sh", "-c", script, "name", "--", "a b", "", "--token"]);
    assert_eq!(guard.end(), 0);
    assert_eq!(guard.said(), format!("7|-|--|a b||--token|{}\n", bench.folder().display()));
}

#[test]
fn signals_reach_the_command_real_time_ones_too() {
    each_mode(|mode| {
        let bench = Bench::new(mode, FAR);
        let mut guard = bench.start(&[
            "sh",
            "-c",
            "for n in 1 2 10 12 15 28 37 64; do trap \"echo got $n\" $n; done; echo ready; while :; do sleep 0.01; done",
        ]);
        guard.wait_for("ready");
        for number in [1, 2, 10, 12, 15, 28, 37, 64] {
            guard.signal(number);
            guard.wait_for(&format!("got {number}\n"));
        }
        guard.signal(Signal::KILL.as_raw());
    });
}

#[test]
fn a_signal_goes_to_the_command_and_not_to_its_children() {
    each_mode(|mode| {
        let bench = Bench::new(mode, FAR);
        let script = "trap 'echo parent; exit 4' TERM; sh -c 'trap \"echo child\" TERM; echo ready; while :; do sleep 0.01; done' & wait";
        let mut guard = bench.start(&["sh", "-c", script]);
        guard.wait_for("ready");
        guard.signal(Signal::TERM.as_raw());
        assert_eq!(guard.end(), 4);
        assert!(!guard.said().contains("child"), "{}", guard.said());
    });
}

#[test]
fn orphans_are_reaped_and_do_not_outlive_the_command() {
    each_mode(|mode| {
        let bench = Bench::new(mode, FAR);
        let marker = bench.marker();
        let script = format!(
            "(setsid sh -c 'exit 3' &) ; (setsid sleep {marker} &); sleep 0.2; ps -o stat= --ppid $PPID; echo ready; read x < {}",
            bench.fifo().display()
        );
        let mut guard = bench.start(&["sh", "-c", &script]);
        guard.wait_for("ready");
        assert!(!guard.said().contains('Z'), "a dead orphan was left: {}", guard.said());
        assert_eq!(bench::processes_with(&marker), 1);
        std::fs::write(bench.fifo(), "go\n").unwrap();
        assert_eq!(guard.end(), 0);
        bench::eventually("the orphan dies", || bench::processes_with(&marker) == 0);
    });
}

#[test]
fn at_the_deadline_everything_ends_however_it_hid() {
    each_mode(|mode| {
        let bench = Bench::new(mode, Deadline::At(berth_guard::clock::now_ns() + 2_000_000_000));
        let marker = bench.marker();
        let script = format!(
            "trap '' TERM HUP INT; (setsid sleep {marker} &); (sleep {marker} &); (setsid sh -c 'sleep {marker} & sleep {marker}' &); exec sleep {marker}"
        );
        let mut guard = bench.start(&["sh", "-c", &script]);
        bench::eventually("all of it runs", || bench::processes_with(&marker) == 5);
        assert_eq!(guard.end(), i32::from(exit::DEADLINE_PASSED));
        let late = berth_guard::clock::now_ns();
        let Deadline::At(deadline) = bench.page().load() else { panic!("no deadline") };
        assert!(late >= deadline, "it ended before its deadline");
        println!("{mode:?}: seen dead {} us after the deadline", (late - deadline) / 1_000);
        assert_eq!(bench.phase(), Phase::DeadlinePassed);
        bench::eventually("everything is dead", || bench::processes_with(&marker) == 0);
    });
}

#[test]
fn a_lowered_deadline_is_noticed() {
    each_mode(|mode| {
        for taken_back in [false, true] {
            let bench = Bench::new(mode, FAR);
            let marker = bench.marker();
            let mut guard = bench.start(&["sh", "-c", &format!("exec sleep {marker}")]);
            bench::eventually("it runs", || bench::processes_with(&marker) == 1 && bench.phase() == Phase::Running);
            let begun = Instant::now();
            bench.page().store(if taken_back { Deadline::Over } else { Deadline::At(berth_guard::clock::now_ns()) });
            assert_eq!(guard.end(), i32::from(exit::DEADLINE_PASSED));
            let took = begun.elapsed();
            println!("{mode:?}: a lowered deadline was noticed within {} ms", took.as_millis());
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    });
}

#[test]
fn a_raised_deadline_and_none_at_all_let_it_run_on() {
    each_mode(|mode| {
        for later in [FAR, Deadline::None] {
            let bench = Bench::new(mode, Deadline::At(berth_guard::clock::now_ns() + 2_000_000_000));
            let mut guard = bench.start(&["sh", "-c", "echo ready; sleep 2.5; echo still here"]);
            guard.wait_for("ready");
            bench.page().store(later);
            assert_eq!(guard.end(), 0, "{later:?}");
            assert!(guard.said().contains("still here"));
        }
    });
}

#[test]
fn nobody_who_reads_its_output_holds_up_the_deadline() {
    let bench = Bench::new(Mode::Plain, Deadline::At(berth_guard::clock::now_ns() + 500_000_000));
    // Fills the pipe, which nobody reads, and waits in its write.
    let mut guard = bench.start_unread(&["sh", "-c", "cat /dev/zero >&2"]);
    assert_eq!(guard.end(), i32::from(exit::DEADLINE_PASSED));
}

#[test]
fn hooks_run_in_order_before_the_command_and_leave_nobody_behind() {
    each_mode(|mode| {
        let bench = Bench::new(mode, FAR);
        let marker = bench.marker();
        let init = format!("echo init; (setsid sleep {marker} &); sleep {marker} &");
        let mut guard = bench.start_with(
            &[(HookKind::Init, 5_000, &init), (HookKind::PreStart, 5_000, "echo pre-start")],
            &["sh", "-c", "ps -C sleep -o args= | grep -c $0; echo command", &marker],
        );
        assert_eq!(guard.end(), 0, "{}", guard.said());
        assert_eq!(guard.said(), "init\npre-start\n0\ncommand\n");
    });
}

#[test]
fn a_failed_hook_keeps_the_command_from_starting_and_says_why() {
    each_mode(|mode| {
        for (kind, script, failure, why) in [
            (HookKind::Init, "exit 3", HookFailure::Code(3), "init hook sh: it ended with code 3"),
            (HookKind::PreStart, "kill -9 $$", HookFailure::Code(137), "pre-start hook sh: it ended with code 137"),
            (HookKind::Init, "sleep 1000", HookFailure::TimedOut, "it took longer than 300 ms"),
        ] {
            let bench = Bench::new(mode, FAR);
            let mut guard = bench.start_with(&[(kind, 300, script)], &["touch", bench.path("ran").to_str().unwrap()]);
            assert_eq!(guard.end(), i32::from(exit::HOOK_FAILED), "{script}");
            assert_eq!(bench.phase(), Phase::HookFailed(kind, failure));
            assert!(guard.said().contains(why), "{}", guard.said());
            assert!(!bench.path("ran").exists(), "the command was started");
        }
    });
}

#[test]
fn a_hooks_children_die_with_its_timeout() {
    each_mode(|mode| {
        let bench = Bench::new(mode, FAR);
        let marker = bench.marker();
        let hook = format!("(setsid sleep {marker} &); trap '' TERM; sleep {marker}");
        let mut guard = bench.start_with(&[(HookKind::PreStart, 300, &hook)], &["true"]);
        assert_eq!(guard.end(), i32::from(exit::HOOK_FAILED));
        bench::eventually("all are dead", || bench::processes_with(&marker) == 0);
    });
}

#[test]
fn the_deadline_ends_a_hook_too() {
    each_mode(|mode| {
        let bench = Bench::new(mode, Deadline::At(berth_guard::clock::now_ns() + 400_000_000));
        let mut guard = bench.start_with(&[(HookKind::Init, 60_000, "sleep 1000")], &["touch", bench.path("ran").to_str().unwrap()]);
        assert_eq!(guard.end(), i32::from(exit::DEADLINE_PASSED));
        assert!(!bench.path("ran").exists());
    });
}

#[test]
fn a_stop_during_a_hook_is_not_lost() {
    each_mode(|mode| {
        let bench = Bench::new(mode, FAR);
        let hook = format!("trap '' TERM; echo ready; read x < {}", bench.fifo().display());
        let mut guard = bench.start_with(&[(HookKind::Init, 60_000, &hook)], &["sleep", "1000"]);
        guard.wait_for("ready");
        guard.signal(Signal::TERM.as_raw());
        // The guard takes its signals in turn, so it has passed on the first of two when it has the second.
        std::thread::sleep(Duration::from_millis(100));
        std::fs::write(bench.fifo(), "go\n").unwrap();
        assert_eq!(guard.end(), 143);
    });
}

#[test]
fn without_its_status_file_it_guards_all_the_same() {
    let bench = Bench::new(Mode::Plain, FAR);
    std::fs::remove_file(bench.path("status")).unwrap();
    let mut guard = bench.start(&["sh", "-c", "exit 5"]);
    assert_eq!(guard.end(), 5);
}

#[test]
fn a_starter_that_ignores_the_death_of_children_does_not_blind_it() {
    let bench = Bench::new(Mode::ChildrenIgnored, FAR);
    let mut guard = bench.start(&["sh", "-c", "exit 5"]);
    assert_eq!((guard.end(), bench.phase()), (5, Phase::Exited(5)));
}
