//! What the event log tells about a container's leases, read through `berth events`. Called by the cases, to see that the story in the log is the one
//! that happened. Holds no opinion on what should have happened.

use crate::e2e::cli::Cli;
use anyhow::{Context, Result};
use berth_state::ids::{Revision, Token};
use serde_json::Value;

/// Events of the cluster from some revision on, oldest first, as the command line prints them.
#[derive(Debug, Clone)]
pub struct History {
    events: Vec<Value>,
}

/// What happened to a lease, in the words of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Granted(Token),
    Activated(Token),
    Withdrawn(Token),
    Revoked(Token),
    Closed(Token),
    Expired(Token),
    Fenced(Token, String),
    Released(Token),
}

impl History {
    /// All events after `after`.
    pub fn read(cli: &Cli, after: Revision) -> Result<Self> {
        let said = cli.at_leader()?.run(&["events", "--since", &after.0.to_string(), "-o", "json"])?;
        Self::parse(&said)
    }

    /// One array, or one object a line.
    fn parse(said: &str) -> Result<Self> {
        let values = serde_json::Deserializer::from_str(said).into_iter::<Value>().collect::<Result<Vec<_>, _>>();
        let values = values.with_context(|| format!("`berth events` printed no JSON: {said}"))?;
        let events = values.into_iter().flat_map(|value| match value {
            Value::Array(events) => events,
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => vec![other],
        });
        Ok(Self { events: events.collect() })
    }

    /// The newest revision in it.
    pub fn last(&self) -> Option<Revision> {
        self.events.iter().filter_map(|e| e["revision"].as_u64()).max().map(Revision)
    }

    /// The story of the leases of `container`, in order. `known` are its leases that were granted before this history begins.
    pub fn of_leases(&self, container: &str, known: &[Token]) -> Vec<Told> {
        let mut tokens = known.to_vec();
        let mut story = Vec::new();
        for event in &self.events {
            let Some(token) = event["token"].as_u64().map(Token) else { continue };
            if event["container"] == container {
                tokens.push(token);
            }
            if tokens.contains(&token) {
                story.extend(told(event, token));
            }
        }
        story
    }

    /// For a failure's message: one line each.
    pub fn lines(&self) -> String {
        self.events.iter().map(|e| format!("{e}\n")).collect()
    }
}

/// `None` for events that are no step of a lease.
fn told(event: &Value, token: Token) -> Option<Told> {
    Some(match event["kind"].as_str()? {
        "LeaseGranted" => Told::Granted(token),
        "LeaseActivated" => Told::Activated(token),
        "LeaseWithdrawn" => Told::Withdrawn(token),
        "LeaseRevoked" => Told::Revoked(token),
        "LeaseClosed" => Told::Closed(token),
        "LeaseExpired" => Told::Expired(token),
        "LeaseFenced" => Told::Fenced(token, event["evidence"]["kind"].as_str().unwrap_or_default().to_string()),
        "LeaseReleased" => Told::Released(token),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"
        {"revision": 10, "kind": "LeaseGranted", "token": 10, "container": "pg", "host": "h2"}
        {"revision": 11, "kind": "LeaseGranted", "token": 11, "container": "other", "host": "h2"}
        {"revision": 12, "kind": "LeaseExpired", "token": 5, "lease": 5}
        {"revision": 13, "kind": "LeaseFenced", "token": 5, "lease": 5, "evidence": {"kind": "ran-out", "expired_at": 12}}
        {"revision": 14, "kind": "LeaseActivated", "token": 11, "lease": 11}
        {"revision": 15, "kind": "InstanceObserved", "token": 10, "lease": 10}"#;

    #[test]
    fn the_story_is_that_of_the_containers_own_leases() {
        let history = History::parse(LOG).expect("JSON");
        let story = history.of_leases("pg", &[Token(5)]);
        assert_eq!(story, [Told::Granted(Token(10)), Told::Expired(Token(5)), Told::Fenced(Token(5), "ran-out".to_string())]);
        assert_eq!(history.last(), Some(Revision(15)));
    }

    #[test]
    fn an_array_is_read_like_lines() {
        let array = format!("[{}]", LOG.trim().lines().collect::<Vec<_>>().join(","));
        let stories = [LOG, &array].map(|log| History::parse(log).expect("JSON").of_leases("pg", &[]));
        assert_eq!(stories[0], stories[1]);
        assert!(History::parse("no json").is_err());
    }
}
