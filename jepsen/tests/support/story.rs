//! The story's frame: one cluster with one Postgres, a client that writes all the time, watchers, and what is checked after every case. Used by the cases
//! of the end-to-end test; the checks here are the test, so none may be left out for one case.

use crate::answers::AnswerWatch;
use crate::pg::Pg;
use crate::writer::{CREATE_TABLE, Writer, read_back};
use berth_jepsen::e2e::{
    CaseReport, Cluster, ClusterPlan, FenceWatch, History, Life, Placed, ProcessWatch, Report, Stamp, Told, falls, overlaps, quiet_between,
    target_dir,
};
use berth_jepsen::lab::{IMAGE_POSTGRES, wait_until};
use berth_state::ids::{Revision, Token};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub const CONTAINER: &str = "pg";
const VOLUME: &str = "pgdata";
pub const SECOND: Duration = Duration::from_secs(1);
/// Bound of every wait: far above what a healthy run needs, so that a busy machine is slow and not wrong.
pub const LONG: Duration = Duration::from_secs(90);
/// A watcher that was blind for longer could have missed an overlap; then a clean result is no evidence.
const BLIND: Duration = Duration::from_secs(1);

/// Declared in the order of their end: the watchers before the cluster they watch.
pub struct Story {
    pub report: Report,
    pub writer: Writer,
    answers: AnswerWatch,
    fence: FenceWatch,
    pub processes: ProcessWatch,
    pub cluster: Cluster,
    begun: Instant,
    name: &'static str,
}

/// How things stood when a case began.
pub struct Before {
    pub case: &'static str,
    pub placed: Placed,
    pub postmaster: String,
    pub connections: u64,
    pub revision: Revision,
    pub at: Stamp,
}

/// What the case did to Postgres, for the report.
#[derive(Default)]
pub struct Outcome {
    pub evidence: Option<String>,
    pub self_stop: Option<Duration>,
}

impl Story {
    /// Cluster, volume, container and writer. `name` is that of the lab and of the report.
    pub fn begin(name: &'static str, ttl: Duration) -> Self {
        let begun = Instant::now();
        let cluster = Cluster::start(ClusterPlan { name, nodes: 3, hosts: 3, ttl }).unwrap();
        println!("{:>7.2}s cluster of three nodes and three Docker hosts", begun.elapsed().as_secs_f64());
        let volume = cluster.lab().shared_dir().join(VOLUME);
        std::fs::create_dir(&volume).unwrap();
        let processes = ProcessWatch::start(cluster.host_machines());
        let fence = FenceWatch::start(&volume);
        let addresses: BTreeMap<String, Ipv4Addr> = cluster.hosts().iter().map(|host| (host.name().to_string(), host.ip())).collect();
        let answers = AnswerWatch::start(&addresses);
        add_postgres(&cluster, &volume.display().to_string());
        let placed = ready(&cluster, "the first Postgres");
        println!("{:>7.2}s Postgres is up on {}", begun.elapsed().as_secs_f64(), placed.host);
        Pg::connect_soon(cluster.host(&placed.host).unwrap().ip()).execute(CREATE_TABLE);
        let writer = Writer::start(cluster.cli().clone(), CONTAINER, addresses);
        Self { report: Report::new(ttl), writer, answers, fence, processes, cluster, begun, name }
    }

    /// Waits until all is well, and notes how things stand.
    pub fn before(&self, case: &'static str) -> Before {
        let placed = ready(&self.cluster, case);
        self.rows_flow(placed.token, Stamp::now());
        let postmaster = self.postmaster(&placed.host);
        let revision = self.history(Revision(0)).last().unwrap();
        self.processes.take_longest_pause();
        println!("{:>7.2}s {case}: {} holds token {}", self.begun.elapsed().as_secs_f64(), placed.host, placed.token);
        Before { case, placed, postmaster, connections: self.writer.connections(), revision, at: Stamp::now() }
    }

    /// Waits until rows are acknowledged under a higher token than before, and says where the container is then.
    pub fn taken_over(&self, before: &Before) -> Placed {
        let old = before.placed.token;
        let what = format!("{}: rows acknowledged under a token above {old}", before.case);
        let waited = wait_until(&what, LONG, || Ok(self.writer.newest_token(before.at) > Some(old)));
        if let Err(late) = waited {
            let why = self.cluster.cli().run(&["why", CONTAINER]).unwrap_or_else(|e| format!("{e:#}"));
            panic!("{late:#}\n{why}\nevents:\n{}", self.history(before.revision).lines());
        }
        ready(&self.cluster, before.case)
    }

    /// Waits until a row under this token is acknowledged that was not before.
    pub fn rows_flow(&self, token: Token, since: Stamp) {
        let flow = || Ok(self.writer.newest_token(since) == Some(token));
        wait_until(&format!("rows acknowledged under token {token}"), LONG, flow).unwrap();
    }

    /// Watches for as long as the lease needs to run out if nobody renewed it: that `holds` all the time.
    pub fn for_a_whole_lease(&self, what: &str, holds: impl Fn() -> bool) {
        // wait(T) and the lock delay, and time for the takeover to show.
        let end = Instant::now() + self.cluster.ttl().mul_f64(1.05) + 2 * SECOND;
        while Instant::now() < end {
            assert!(holds(), "{what}: no longer so");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Start time of the postmaster on `host`, which must answer.
    pub fn postmaster(&self, host: &str) -> String {
        let ip = self.cluster.host(host).unwrap().ip();
        let mut found = None;
        wait_until(&format!("the postmaster of {host} to tell its start"), LONG, || {
            found = Pg::connect(ip, SECOND).and_then(|pg| pg.postmaster(SECOND));
            Ok(found.is_some())
        })
        .unwrap();
        found.unwrap()
    }

    pub fn history(&self, after: Revision) -> History {
        History::read(self.cluster.cli(), after).unwrap()
    }

    /// The steps of the container's leases since the case began.
    pub fn told(&self, before: &Before) -> Vec<Told> {
        self.history(before.revision).of_leases(CONTAINER, &[before.placed.token])
    }

    /// All that watchers saw of Postgres on the hosts, from processes and from answers.
    pub fn lives(&self) -> Vec<Life> {
        [self.processes.lives(), self.answers.lives()].concat()
    }

    /// Ends a case: everything that must hold after each, and a line in the report.
    pub fn after(&mut self, before: &Before, outcome: Outcome) {
        let placed = ready(&self.cluster, before.case);
        let (acked, unknown) = self.every_acknowledged_row_is_there(&placed);
        self.never_up_twice(before.case);
        self.tokens_rose_as_told(before, &placed);
        let pause = self.processes.take_longest_pause();
        assert!(pause < BLIND, "{}: the watcher was blind for {pause:?}: this machine is too busy for evidence", before.case);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        let quiet = quiet_between(&self.processes.lives(), &before.placed.host, &placed.host, before.at);
        self.report.cases.push(CaseReport {
            case: before.case.to_string(),
            host_before: before.placed.host.clone(),
            host_after: placed.host.clone(),
            token_before: before.placed.token.0,
            token_after: placed.token.0,
            evidence: outcome.evidence,
            outage_ms: ms(self.writer.witness().longest_silence(before.at, Stamp::now())),
            quiet_ms: quiet.filter(|_| placed.host != before.placed.host).map(ms),
            self_stop_ms: outcome.self_stop.map(ms),
            rows_acked: acked,
            rows_unknown: unknown,
            watch_pause_ms: ms(pause),
        });
    }

    fn every_acknowledged_row_is_there(&self, placed: &Placed) -> (usize, usize) {
        let pg = Pg::connect_soon(self.cluster.host(&placed.host).unwrap().ip());
        let known = self.writer.witness();
        let present = read_back(&pg, LONG).expect("the primary gives all rows");
        let findings = known.judge(&self.writer.witness(), &present);
        assert!(findings.is_clean(), "of {} acknowledged rows: {findings:#?}", known.acked());
        (known.acked(), known.unknown())
    }

    /// By what both watchers saw since the story began.
    pub fn never_up_twice(&self, case: &str) {
        let twice: Vec<String> = overlaps(&self.lives()).iter().map(ToString::to_string).collect();
        assert!(twice.is_empty(), "{case}: Postgres was up twice: {twice:#?}");
        assert!(self.processes.looks() > 0 && !self.lives().is_empty(), "the watchers saw something at all");
    }

    /// In the volume's own fence file tokens only rise, and the newest is that of the present holder, which the event log granted.
    fn tokens_rose_as_told(&self, before: &Before, placed: &Placed) {
        let shown = self.fence.tokens();
        assert_eq!(falls(&shown), vec![], "the tokens in the volume: {shown:?}");
        assert_eq!(shown.last(), Some(&placed.token), "the volume's fence file shows the present holder: {shown:?}");
        let told = self.told(before);
        let granted: Vec<Token> = told.iter().filter_map(|t| if let Told::Granted(token) = t { Some(*token) } else { None }).collect();
        let expected = if placed.token == before.placed.token { vec![] } else { vec![placed.token] };
        assert_eq!(granted, expected, "{}: one lease for each takeover and none without: {told:?}", before.case);
        assert!(placed.token >= before.placed.token);
    }

    /// Prints the table, writes the report, and tears all down.
    pub fn end(self) {
        let Self { report, writer, answers, fence, processes, cluster, begun, name } = self;
        drop((writer, answers, fence, processes));
        println!("{report}");
        report.write(&target_dir().unwrap().join("reports").join(format!("{name}.json"))).unwrap();
        cluster.teardown().unwrap();
        println!("{:>7.2}s all", begun.elapsed().as_secs_f64());
    }
}

fn add_postgres(cluster: &Cluster, directory: &str) {
    let path = format!("path={directory}");
    let run = |args: &[&str]| cluster.cli().run(args).unwrap();
    run(&["volume", "add", VOLUME, "--driver", "path", "--option", &path, "--takeover", "after-expiry", "--coherent"]);
    let mount = format!("{VOLUME}:/var/lib/postgresql/data");
    let health = ["--health-cmd", "pg_isready", "--health-interval", "1s", "--health-timeout", "5s"];
    let stop = ["--stop-signal", "SIGINT", "--stop-grace", "20s"];
    let add = ["container", "add", CONTAINER, "--image", IMAGE_POSTGRES, "--volume", &mount, "--publish", "5432:5432"];
    run(&[&add[..], &health, &stop].concat());
}

/// Waits until the container is up and healthy, and says where.
fn ready(cluster: &Cluster, what: &str) -> Placed {
    let mut placed = None;
    let waited = wait_until(&format!("{what}: the container to be ready"), LONG, || {
        placed = cluster.cli().placed(CONTAINER).ok().flatten().filter(|p| p.ready);
        Ok(placed.is_some())
    });
    if let Err(late) = waited {
        let why = cluster.cli().run(&["why", CONTAINER]).unwrap_or_else(|e| format!("{e:#}"));
        panic!("{late:#}\n{why}");
    }
    placed.unwrap()
}
