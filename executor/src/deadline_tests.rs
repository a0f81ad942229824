//! The deadline book, rule by rule (L8, I12).

use super::*;

const S: SessionId = SessionId(7);
const T1: Token = Token(11);
const T2: Token = Token(12);
const TTL: u64 = 10_000;
const MARGIN: u64 = 500;
/// hold(10 s) - m
const HOLD: u64 = 9_000;

fn at(ms: u64) -> HolderTime {
    HolderTime(0).plus_ms(ms)
}

fn book() -> DeadlineBook {
    let mut book = DeadlineBook::new(MARGIN);
    book.begin_session(S);
    book
}

fn send(book: &mut DeadlineBook, seq: u64, ms: u64) {
    book.sent(Seq(seq), at(ms), &BTreeSet::from([T1, T2]));
}

fn heard(seq: u64, leases: Vec<(Token, LeaseVerdict)>) -> KeepaliveAnswer {
    KeepaliveAnswer { session: S, seq: Seq(seq), verdict: SessionVerdict::Heard { ttl_ms: TTL, leases } }
}

fn live(seq: u64) -> KeepaliveAnswer {
    heard(seq, vec![(T1, LeaseVerdict::Live { ttl_ms: TTL })])
}

#[test]
fn a_deadline_counts_from_the_sending_and_keeps_the_margin() {
    let mut book = book();
    send(&mut book, 1, 1_000);
    assert_eq!(book.answer(&live(1)), Heard::Renewed { ttl_ms: TTL });
    assert_eq!(book.right(T1), Right::Until(at(1_000 + HOLD)));
    assert!(book.may_act(T1, at(1_000 + HOLD - 1)));
    assert!(!book.may_act(T1, at(1_000 + HOLD)));
}

#[test]
fn before_the_first_live_nothing_may_be_done() {
    let mut book = book();
    send(&mut book, 1, 0);
    assert_eq!(book.right(T1), Right::Never);
    assert!(!book.may_act(T1, at(0)));
}

#[test]
fn answers_in_the_wrong_order_never_shorten() {
    let mut book = book();
    send(&mut book, 1, 0);
    send(&mut book, 2, 3_000);
    book.answer(&live(2));
    book.answer(&live(1));
    assert_eq!(book.right(T1), Right::Until(at(3_000 + HOLD)));
}

#[test]
fn an_answer_that_this_process_did_not_ask_for_counts_for_nothing() {
    let mut book = book();
    assert_eq!(book.answer(&live(1)), Heard::Nothing);
    send(&mut book, 1, 0);
    book.answer(&live(1));
    assert_eq!(book.answer(&heard(1, vec![(T1, LeaseVerdict::Gone(GoneReason::Ended))])), Heard::Nothing, "a second answer");
    let other = KeepaliveAnswer { session: SessionId(8), ..live(2) };
    send(&mut book, 2, 5_000);
    assert_eq!(book.answer(&other), Heard::Nothing, "another session");
    assert_eq!(book.right(T1), Right::Until(at(HOLD)));
}

#[test]
fn a_verdict_on_a_token_that_was_not_claimed_counts_for_nothing() {
    let mut book = book();
    book.sent(Seq(1), at(0), &BTreeSet::from([T2]));
    book.answer(&live(1));
    assert_eq!(book.right(T1), Right::Never);
}

#[test]
fn an_answer_on_a_former_session_counts_for_nothing() {
    let mut book = book();
    send(&mut book, 1, 0);
    book.begin_session(SessionId(9));
    assert_eq!(book.answer(&live(1)), Heard::Nothing);
    assert_eq!(book.right(T1), Right::Never);
}

#[test]
fn gone_is_final_whatever_comes_later() {
    let mut book = book();
    send(&mut book, 1, 0);
    send(&mut book, 2, 1);
    send(&mut book, 3, 2);
    book.answer(&live(1));
    book.answer(&heard(2, vec![(T1, LeaseVerdict::Gone(GoneReason::Closing))]));
    book.answer(&live(3));
    assert_eq!(book.right(T1), Right::Over(Lost::Gone(GoneReason::Closing)));
    assert!(!book.may_act(T1, at(0)));
}

#[test]
fn stale_kills_nobody_and_renews_nobody() {
    let mut book = book();
    send(&mut book, 1, 0);
    send(&mut book, 2, 3_000);
    book.answer(&live(1));
    let stale = KeepaliveAnswer { session: S, seq: Seq(2), verdict: SessionVerdict::Stale };
    assert_eq!(book.answer(&stale), Heard::Nothing);
    assert_eq!(book.right(T1), Right::Until(at(HOLD)));
}

#[test]
fn a_session_that_is_gone_takes_every_right_with_it() {
    let mut book = book();
    send(&mut book, 1, 0);
    book.answer(&live(1));
    book.sent(Seq(2), at(1), &BTreeSet::from([T2]));
    let gone = KeepaliveAnswer { session: S, seq: Seq(2), verdict: SessionVerdict::Gone };
    assert_eq!(book.answer(&gone), Heard::SessionGone);
    assert_eq!(book.right(T1), Right::Over(Lost::SessionGone));
    assert_eq!(book.right(T2), Right::Over(Lost::SessionGone));
}

#[test]
fn a_passed_deadline_is_final_even_if_a_renewal_arrives_afterwards() {
    let mut book = book();
    send(&mut book, 1, 0);
    send(&mut book, 2, HOLD - 1);
    book.answer(&live(1));
    assert_eq!(book.expire(at(HOLD - 1)), vec![]);
    assert_eq!(book.expire(at(HOLD)), vec![T1]);
    book.answer(&live(2));
    assert_eq!(book.right(T1), Right::Over(Lost::DeadlinePassed));
    assert_eq!(book.expire(at(HOLD)), vec![], "reported twice");
}

#[test]
fn an_adopted_deadline_goes_on_but_begins_nothing_new_before_a_live() {
    let mut book = book();
    book.adopt(T1, at(4_000));
    assert_eq!(book.right(T1), Right::Until(at(4_000)));
    assert!(!book.may_act(T1, at(1_000)));
    send(&mut book, 1, 1_000);
    book.answer(&live(1));
    assert!(book.may_act(T1, at(1_000)));
}

#[test]
fn a_retired_token_is_never_revived() {
    let mut book = book();
    send(&mut book, 1, 0);
    book.retire(T1);
    book.answer(&live(1));
    assert_eq!(book.right(T1), Right::Over(Lost::Released));
    assert!(!book.may_act(T1, at(1)));
}

#[test]
fn the_book_remembers_a_bounded_number_of_keepalives() {
    let mut book = book();
    for seq in 1..=(MAX_OUTSTANDING as u64 + 1) {
        send(&mut book, seq, seq);
    }
    assert_eq!(book.answer(&live(1)), Heard::Nothing);
    assert_ne!(book.answer(&live(2)), Heard::Nothing);
}

#[test]
fn a_start_needs_time_to_spare() {
    let mut book = book();
    send(&mut book, 1, 0);
    book.answer(&live(1));
    assert!(book.may_start(T1, at(HOLD * 3 / 4 - 1)));
    assert!(!book.may_start(T1, at(HOLD * 3 / 4)));
}

#[test]
fn a_lease_without_end_has_no_deadline_from_its_first_live_on_and_no_right_before() {
    let mut book = book();
    book.without_end(T1);
    send(&mut book, 1, 0);
    assert_eq!(book.right(T1), Right::Never, "its volumes being fenced later is no answer");
    assert!(!book.may_act(T1, at(0)) && !book.may_start(T1, at(0)));
    book.answer(&live(1));
    assert_eq!(book.right(T1), Right::Open);
    assert_eq!(book.expire(at(1_000_000_000)), vec![]);
    assert!(book.may_act(T1, at(1_000_000_000)) && book.may_start(T1, at(1_000_000_000)));
    assert!(!book.is_over(T1, at(1_000_000_000)));
}

#[test]
fn a_lease_that_turns_out_to_have_no_end_loses_its_deadline_only_after_a_live_of_this_process() {
    let mut book = book();
    send(&mut book, 1, 0);
    book.answer(&live(1));
    book.without_end(T1);
    assert_eq!(book.right(T1), Right::Open);
    // Adopted: it keeps the deadline it had until an answer comes.
    book.adopt(T2, at(500));
    book.without_end(T2);
    assert_eq!(book.right(T2), Right::Until(at(500)));
    assert_eq!(book.expire(at(500)), vec![T2]);
}

#[test]
fn a_right_without_end_is_lost_by_word_and_never_revived() {
    let mut book = book();
    book.adopt_open(T1);
    assert_eq!(book.right(T1), Right::Open);
    assert!(!book.may_act(T1, at(0)), "what runs goes on, but nothing new begins before a Live of this process");
    send(&mut book, 1, 0);
    book.answer(&heard(1, vec![(T1, LeaseVerdict::Gone(GoneReason::Closing))]));
    assert_eq!(book.right(T1), Right::Over(Lost::Gone(GoneReason::Closing)));
    book.without_end(T1);
    send(&mut book, 2, 1);
    book.answer(&live(2));
    assert_eq!(book.right(T1), Right::Over(Lost::Gone(GoneReason::Closing)));
    book.retire(T1);
    book.without_end(T1);
    assert_eq!(book.right(T1), Right::Over(Lost::Released));
}
