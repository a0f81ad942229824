//! The volume plugin protocol's messages. Names are Docker's. Everything is optional on the way in: older and newer engines leave fields out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One form for all requests.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Request {
    pub name: String,
    /// Of Mount and Unmount: not the container's, and another one each time.
    #[serde(rename = "ID")]
    pub id: String,
    pub opts: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    pub name: String,
    pub mountpoint: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub status: BTreeMap<String, Value>,
}

impl Request {
    /// # Errors
    /// One line.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| format!("not a request of Docker's: {error}"))
    }

    /// # Errors
    /// There is none.
    pub(super) fn named(&self) -> Result<&str, String> {
        if self.name.is_empty() { Err("the request names no volume".to_owned()) } else { Ok(&self.name) }
    }
}
