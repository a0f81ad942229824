//! Small texts on the command line and what they mean, each with a table of examples as its test. Pure; used as clap value parsers.
//!
//! [`duration`] `500ms` · [`size`] `512m`, `0.5` CPUs · [`mount`] `vol:/path:ro` · [`port`] `ip:80:8080/udp` · [`constraint`] `zone==a` ·
//! [`agent`] a fence agent · [`pair`] `KEY=value` and env files · [`restart`] `on-failure:3` · [`health`] a health command · [`endpoint`] `host:port` · [`target`] a lease.

pub mod agent;
pub mod constraint;
pub mod duration;
pub mod endpoint;
pub mod health;
pub mod mount;
pub mod pair;
pub mod port;
pub mod restart;
pub mod size;
pub mod target;

/// Why a text on the command line means nothing: what it was, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {want}")]
pub struct Unclear {
    pub text: String,
    pub want: String,
}

impl Unclear {
    pub fn new(text: &str, want: impl Into<String>) -> Self {
        Self { text: text.to_owned(), want: want.into() }
    }
}
