//! Whom to ask next, learned from what nodes say.

use super::*;

fn link() -> Link {
    Link::new(&["n1:7000".to_owned(), "n2:7000".to_owned(), "n3:7000".to_owned()]).unwrap()
}

fn status(kind: &'static str, leader: Option<&str>) -> Status {
    let mut status = Status::unavailable("said so");
    status.metadata_mut().insert("berth-error", kind.parse().unwrap());
    if let Some(leader) = leader {
        status.metadata_mut().insert("berth-leader", leader.parse().unwrap());
    }
    status
}

fn told(link: &Link, status: &Status) -> LinkError {
    let address = link.lock().current.clone();
    let (error, leader) = understand(&address, status);
    link.learn(&address, &error, leader);
    error
}

#[test]
fn it_goes_where_it_is_sent() {
    let link = link();
    let changes = link.leader_changes();
    let error = told(&link, &status("not-leader", Some("3=n9:7009")));
    assert!(matches!(error, LinkError::NotLeader { leader_known: true, .. }), "{error}");
    assert_eq!(link.lock().current, "n9:7009");
    assert!(changes.has_changed().unwrap());
}

#[test]
fn without_a_hint_it_tries_the_next_in_turn() {
    let link = link();
    let seen: Vec<String> = (0..4)
        .map(|_| {
            told(&link, &Status::unavailable("no connection"));
            link.lock().current.clone()
        })
        .collect();
    assert_eq!(seen, ["n2:7000", "n3:7000", "n1:7000", "n2:7000"]);
}

#[test]
fn a_node_that_is_only_busy_keeps_its_place() {
    let link = link();
    let error = told(&link, &status("busy", None));
    assert!(matches!(error, LinkError::Busy { .. }), "{error}");
    assert_eq!(link.lock().current, "n1:7000");
}

#[test]
fn a_late_error_of_a_former_leader_changes_nothing() {
    let link = link();
    told(&link, &status("not-leader", Some("2=n2:7000")));
    let (error, leader) = understand("n1:7000", &status("not-leader", Some("3=n3:7000")));
    link.learn("n1:7000", &error, leader);
    assert_eq!(link.lock().current, "n2:7000");
}

#[test]
fn an_endpoint_needs_a_port_and_there_must_be_one() {
    assert!(Link::new(&["n1".to_owned()]).is_err());
    assert!(Link::new(&[]).is_err());
}
