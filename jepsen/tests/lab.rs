//! The lab itself, on real namespaces and real dockerds: what it makes works, its faults bite, and nothing stays behind. Needs root
//! and Docker; says so and is skipped where they are missing, except in CI.

#![allow(clippy::unwrap_used, reason = "test")]

use berth_jepsen::lab::{self, DockerHost, IMAGE_BUSYBOX, IMAGE_POSTGRES, Lab, LabId, LabProcess, Launch, Machine, wait_until};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[path = "support/pg.rs"]
mod pg;
use pg::Pg;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);
const UDP_PORT: u16 = 7777;

/// Prints how long a step took: the lab's costs are part of what this test is asked for.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{:>7.2}s {what}", start.elapsed().as_secs_f64());
    result
}

fn run_postgres(host: &DockerHost, data: &Path) {
    let mount = format!("{}:/var/lib/postgresql/data", data.display());
    host.docker(&["run", "-d", "--name", "pg", "-p", "5432:5432", "-v", &mount, IMAGE_POSTGRES]).unwrap();
}

fn assert_nothing_left(id: LabId) {
    assert_eq!(lab::leftovers(id), Vec::<String>::new());
}

#[test]
fn a_postgres_survives_its_host_and_every_fault_bites_and_heals() {
    if !lab::ready_or_skip("the Docker lab") {
        return;
    }
    let image = timed("postgres image", || lab::postgres_image(&lab::default_cache_dir()).unwrap());
    println!("        image archive: {} bytes", fs::metadata(&image).unwrap().len());
    let again = timed("postgres image, cached", || lab::postgres_image(&lab::default_cache_dir()).unwrap());
    assert_eq!(image, again);

    let lab = Lab::new("story").unwrap();
    let id = lab.id();
    let hosts = timed("three Docker hosts", || lab.add_docker_hosts(&["h1", "h2", "h3"]).unwrap());
    timed("image loaded on three hosts", || {
        std::thread::scope(|s| hosts.iter().for_each(|h| drop(s.spawn(|| h.load_image(&image, IMAGE_POSTGRES).unwrap()))));
    });
    let ids: Vec<String> = hosts.iter().map(|h| h.docker(&["image", "inspect", "-f", "{{.Id}}", IMAGE_POSTGRES]).unwrap()).collect();
    assert!(ids.iter().all(|image_id| *image_id == ids[0]), "the same image everywhere: {ids:?}");
    assert!(!lab::leftovers(id).is_empty(), "the scan that proves a clean teardown sees a lab that is there");

    let data = lab.shared_dir().join("pg");
    fs::create_dir(&data).unwrap();
    let (h1, h2) = (&hosts[0], &hosts[1]);
    let pg = timed("first Postgres up, initdb included", || {
        run_postgres(h1, &data);
        Pg::connect_soon(h1.ip())
    });
    pg.execute("create table t (n bigint); insert into t select generate_series(1, 1000)");
    a_partition_cuts_off_and_heals(h1, &pg);
    a_frozen_host_answers_nothing_until_thawed(h1, &pg);
    a_one_way_cut_stops_answers(h1, &lab);

    timed("host killed", || h1.kill_host().unwrap());
    assert_eq!(h1.pids(), Vec::<i32>::new());
    assert_eq!(pg.number("select 1::bigint", 2 * SECOND), None, "a powered-off host says nothing, not even that it is gone");
    let pg2 = timed("second Postgres up on another host", || {
        run_postgres(h2, &data);
        Pg::connect_soon(h2.ip())
    });
    assert_eq!(pg2.number("select count(*) from t", LONG), Some(1000));

    timed("killed host booted again", || h1.boot().unwrap());
    let state = h1.docker(&["inspect", "-f", "{{.State.Running}}", "pg"]).unwrap();
    assert_eq!(state, "false", "its disk remembers the container, and that it does not run");
    a_killed_dockerd_leaves_its_container_running_and_starts_again(h2, &pg2);
    postgres_gets_the_stop_signal_itself(h2, &data);

    timed("teardown", || lab.teardown().unwrap());
    assert_nothing_left(id);
}

fn a_partition_cuts_off_and_heals(host: &DockerHost, pg: &Pg) {
    assert_eq!(pg.number("select count(*) from t", LONG), Some(1000));
    host.partition().unwrap();
    assert_eq!(pg.number("select count(*) from t", SECOND), None, "an open connection is silent");
    assert!(Pg::connect(host.ip(), SECOND).is_none(), "no new connection gets through");
    host.heal().unwrap();
    assert_eq!(pg.number("select count(*) from t", LONG), Some(1000), "the open connection goes on after the heal");
    assert!(Pg::connect(host.ip(), LONG).is_some());
}

fn a_frozen_host_answers_nothing_until_thawed(host: &DockerHost, pg: &Pg) {
    timed("freeze", || host.freeze().unwrap());
    assert!(host.is_frozen());
    assert_eq!(pg.number("select count(*) from t", SECOND), None);
    host.docker_within(SECOND, &["ps"]).unwrap_err();
    host.thaw().unwrap();
    assert_eq!(pg.number("select count(*) from t", LONG), Some(1000));
}

fn a_one_way_cut_stops_answers(host: &DockerHost, lab: &Lab) {
    host.drop_to(lab.client_ip()).unwrap();
    assert!(Pg::connect(host.ip(), SECOND).is_none(), "what a container answers is dropped too");
    host.heal().unwrap();
    assert!(Pg::connect(host.ip(), LONG).is_some());
}

fn a_killed_dockerd_leaves_its_container_running_and_starts_again(host: &DockerHost, pg: &Pg) {
    host.kill_dockerd().unwrap();
    assert_eq!(host.dockerd_pid(), None);
    host.docker_within(5 * SECOND, &["ps"]).unwrap_err();
    // The connection came through docker-proxy or through the kernel's NAT: either way the container itself lives on.
    let inside =
        host.pids().into_iter().filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "postgres"));
    assert!(inside.count() > 0, "Postgres outlives its dockerd");
    assert_eq!(pg.number("select count(*) from t", LONG), Some(1000));
    timed("dockerd started again", || host.start_dockerd().unwrap());
    // Without live-restore the new dockerd ends what it finds.
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.Running}}", "pg"]).unwrap(), "false");
}

fn postgres_gets_the_stop_signal_itself(host: &DockerHost, data: &Path) {
    host.docker(&["start", "pg"]).unwrap();
    drop(Pg::connect_soon(host.ip()));
    timed("docker stop", || host.docker(&["stop", "-t", "20", "pg"]).unwrap());
    assert_eq!(host.docker(&["inspect", "-f", "{{.State.ExitCode}}", "pg"]).unwrap(), "0", "a clean shutdown, not a kill");
    assert!(!data.join("pgdata/postmaster.pid").exists());
}

#[test]
fn node_machines_run_programs_and_their_faults_hit_one_direction_or_all() {
    if !lab::ready_or_skip("the node lab") {
        return;
    }
    let lab = Lab::new("nodes").unwrap();
    let id = lab.id();
    let (a, b) = timed("two node machines", || (lab.add_node_machine("a").unwrap(), lab.add_node_machine("b").unwrap()));
    each_direction_is_cut_by_itself(&lab, &a);
    machines_reach_each_other(&a, &b);
    a_process_is_known_by_its_pid_and_can_be_ended(&a);
    a_frozen_writer_writes_nothing(&lab, &b);
    a_machine_that_is_off_starts_nothing_until_booted(&a);
    timed("teardown of two node machines", || lab.teardown().unwrap());
    assert_nothing_left(id);
}

fn send_from(machine: &Machine, to: Ipv4Addr, port: u16, word: &str) {
    let script = format!("echo {word} > /dev/udp/{to}/{port}");
    // A dropped packet may be reported to the sender; whether it arrives is what counts.
    let _ = machine.run(LONG, &Launch::new("bash").args(["-c", &script]));
}

fn listen_on(machine: &Machine) -> LabProcess {
    let process = machine.spawn("listen", &helper("listen")).unwrap();
    wait_until("the listener", LONG, || Ok(process.log_tail(100).contains("listening"))).unwrap();
    process
}

fn each_direction_is_cut_by_itself(lab: &Lab, machine: &Machine) {
    let here = UdpSocket::bind((lab.client_ip(), 0)).unwrap();
    here.set_read_timeout(Some(LONG)).unwrap();
    let port = here.local_addr().unwrap().port();
    let listener = listen_on(machine);
    let send_to = |word: &str| here.send_to(word.as_bytes(), (machine.ip(), UDP_PORT)).map(drop).unwrap();
    let arrives_there = |word: &str| {
        let again = || Ok(listener.log_tail(1000).lines().any(|l| l.ends_with(word)));
        wait_until(word, LONG, again).unwrap();
    };
    let next_here = || {
        let mut buffer = [0_u8; 64];
        let n = here.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).trim().to_string()
    };

    machine.drop_to(lab.client_ip()).unwrap();
    send_from(machine, lab.client_ip(), port, "lost-out");
    send_to("in-while-out-is-cut");
    arrives_there("in-while-out-is-cut");
    machine.heal().unwrap();
    send_from(machine, lab.client_ip(), port, "out-healed");
    assert_eq!(next_here(), "out-healed", "the packet before it was dropped, not delayed");

    machine.drop_from(lab.client_ip()).unwrap();
    send_to("lost-in");
    send_from(machine, lab.client_ip(), port, "out-while-in-is-cut");
    assert_eq!(next_here(), "out-while-in-is-cut");
    machine.heal().unwrap();
    send_to("in-healed");
    arrives_there("in-healed");
    assert!(!listener.log_tail(1000).contains("lost-in"));
    listener.kill9().unwrap();
}

fn machines_reach_each_other(a: &Machine, b: &Machine) {
    let listener = listen_on(b);
    send_from(a, b.ip(), UDP_PORT, "from-a");
    wait_until("a packet from the other machine", LONG, || Ok(listener.log_tail(1000).contains("from-a"))).unwrap();
}

fn a_process_is_known_by_its_pid_and_can_be_ended(machine: &Machine) {
    let sleeper = machine.spawn("sleeper", &Launch::new("sleep").arg("1000").env("MARK", "42")).unwrap();
    assert!(sleeper.is_alive() && machine.pids().contains(&sleeper.pid()));
    let mark = || Ok(fs::read(format!("/proc/{}/environ", sleeper.pid()))?.windows(7).any(|w| w == b"MARK=42"));
    wait_until("the environment that was asked for", LONG, mark).unwrap();
    assert!(sleeper.wait(Duration::from_millis(50)).is_err(), "a bounded wait ends without the process ending");
    assert_eq!(sleeper.kill9().unwrap().signal(), Some(9));
    assert!(!sleeper.is_alive() && !sleeper.terminate().unwrap());

    let polite = machine.spawn("polite", &Launch::new("sleep").arg("1000")).unwrap();
    assert!(polite.stop(LONG).unwrap(), "sleep goes at SIGTERM");
    let loud = machine.spawn("loud", &Launch::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
    assert_eq!(loud.wait(LONG).unwrap().code(), Some(3));
    assert_eq!(loud.log_tail(10), "out\nerr");
    let lost = machine.run(LONG, &Launch::new("/no/such/program")).unwrap_err();
    assert!(format!("{lost:#}").contains("/no/such/program"), "{lost:#}");
}

fn a_frozen_writer_writes_nothing(lab: &Lab, machine: &Machine) {
    let file = lab.shared_dir().join("ticks");
    let script = format!("while :; do echo tick >> {}; sleep 0.002; done", file.display());
    let _writer = machine.spawn("writer", &Launch::new("sh").args(["-c", &script])).unwrap();
    let size = || fs::metadata(&file).map_or(0, |m| m.len());
    wait_until("the first ticks", LONG, || Ok(size() > 20)).unwrap();
    machine.freeze().unwrap();
    let frozen_at = size();
    assert!(wait_until("a tick that must not come", SECOND, || Ok(size() > frozen_at)).is_err());
    machine.thaw().unwrap();
    wait_until("ticks after the thaw", LONG, || Ok(size() > frozen_at)).unwrap();
}

fn a_machine_that_is_off_starts_nothing_until_booted(machine: &Machine) {
    let victim = machine.spawn("victim", &Launch::new("sleep").arg("1000")).unwrap();
    timed("node machine killed", || machine.kill_host().unwrap());
    assert!(!victim.is_alive() && machine.pids().is_empty() && !machine.is_on());
    machine.spawn("early", &Launch::new("true")).unwrap_err();
    machine.partition().unwrap_err();
    machine.boot().unwrap();
    machine.boot().unwrap_err();
    assert!(machine.spawn("late", &Launch::new("true")).unwrap().wait(LONG).unwrap().success());
}

#[test]
fn a_panic_tears_the_lab_down() {
    if !lab::ready_or_skip("the panic lab") {
        return;
    }
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let panicked = std::thread::spawn(move || {
        let lab = Lab::new("panic").unwrap();
        let machine = lab.add_node_machine("a").unwrap();
        let sleeper = machine.spawn("sleeper", &Launch::new("sleep").arg("1000")).unwrap();
        tell.send((lab.id(), sleeper.pid())).unwrap();
        panic!("on purpose");
    });
    panicked.join().unwrap_err();
    let (id, pid) = told.recv().unwrap();
    assert_nothing_left(id);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_next_lab_removes_what_a_killed_run_left_and_spares_what_lives() {
    if !lab::ready_or_skip("the crash lab") {
        return;
    }
    let living = Lab::new("living").unwrap();
    let machine = living.add_node_machine("a").unwrap();
    let mut crash = helper_command("crash").spawn().unwrap();
    let mut marks = Vec::new();
    wait_until("the other run's lab", LONG, || {
        marks = other_labs_of(crash.id());
        Ok(!marks.is_empty())
    })
    .unwrap();
    crash.kill().unwrap();
    crash.wait().unwrap();
    let other = marks[0];
    let name = format!("next-{}", std::process::id());
    let next = Lab::new(&name).unwrap();
    assert_nothing_left(other);
    assert!(machine.spawn("alive", &Launch::new("true")).unwrap().wait(LONG).unwrap().success(), "the living lab was spared");
    let kept = next.keep().unwrap();
    assert!(!lab::sweep_dead().unwrap().contains(&kept), "a kept lab is nobody's leftover");
    assert!(!lab::leftovers(kept).is_empty());
    assert_eq!(lab::remove_kept(&name).unwrap(), vec![kept]);
    assert_nothing_left(kept);
}

/// Labs of the given process that are there with more than their folder and bridge: a killed run cannot clean these up.
fn other_labs_of(pid: u32) -> Vec<LabId> {
    lab::labs().into_iter().filter(|(_, owner)| *owner == Some(pid)).map(|(id, _)| id).filter(|id| lab::leftovers(*id).len() > 4).collect()
}

/// This test binary started as another process, with a role.
fn helper(role: &str) -> Launch {
    Launch::new(std::env::current_exe().unwrap()).args(["--exact", "helper_role", "--nocapture"]).env("LAB_HELPER", role)
}

fn helper_command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "helper_role", "--nocapture"]).env("LAB_HELPER", role);
    command
}

/// Not a test of its own: what [`helper`] processes run. Without a role there is nothing to do.
#[test]
fn helper_role() {
    match std::env::var("LAB_HELPER").as_deref() {
        Ok("listen") => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, UDP_PORT)).unwrap();
            println!("listening");
            let mut buffer = [0_u8; 64];
            loop {
                let n = socket.recv(&mut buffer).unwrap();
                println!("{}", String::from_utf8_lossy(&buffer[..n]).trim());
            }
        }
        Ok("crash") => {
            let lab = Lab::new("crash").unwrap();
            let machine = lab.add_node_machine("a").unwrap();
            let _sleeper = machine.spawn("sleeper", &Launch::new("sleep").arg("1000")).unwrap();
            std::thread::sleep(4 * LONG);
        }
        Ok(other) => panic!("no such role: {other}"),
        Err(_) => {}
    }
}

#[test]
fn a_published_port_is_reached_and_a_paused_container_on_a_frozen_host_is_removed() {
    if !lab::ready_or_skip("the busybox lab") {
        return;
    }
    let image = timed("busybox image", || lab::busybox_image(&lab::default_cache_dir()).unwrap());
    let lab = Lab::new("busybox").unwrap();
    let id = lab.id();
    let host = timed("one Docker host", || lab.add_docker_host("h1").unwrap());
    timed("busybox loaded", || host.load_image(&image, IMAGE_BUSYBOX).unwrap());
    host.docker(&["run", "-d", "--name", "web", "-p", "8080:80", IMAGE_BUSYBOX, "sh", "-c", "echo hello > /tmp/x; httpd -f -p 80 -h /tmp"])
        .unwrap();
    let mut page = String::new();
    wait_until("the page", LONG, || {
        page = http_get(host.ip(), 8080, "/x").unwrap_or_default();
        Ok(page.contains("hello"))
    })
    .unwrap();
    // The hardest state to clean up: a paused container on a frozen host without a network.
    host.docker(&["pause", "web"]).unwrap();
    host.partition().unwrap();
    host.freeze().unwrap();
    drop(lab);
    assert_nothing_left(id);
}

fn http_get(ip: Ipv4Addr, port: u16, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect_timeout(&(ip, port).into(), SECOND).ok()?;
    stream.set_read_timeout(Some(SECOND)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
