//! The smallest state machine: text values under text keys; each put is one event. For the node tests.

use std::collections::BTreeMap;

use berth_raft::store::machine::{Applied, Machine};
use bytes::Bytes;

#[derive(Default)]
pub struct Toy {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The command that puts a value.
pub fn put(key: &str, value: &str) -> Bytes {
    Bytes::from(format!("{key}={value}"))
}

impl Toy {
    pub fn get(&self, key: &str) -> Option<String> {
        self.values.get(key.as_bytes()).map(|value| String::from_utf8(value.clone()).unwrap())
    }
}

impl Machine for Toy {
    fn apply(&mut self, _: u64, command: &[u8]) -> Applied {
        let at = command.iter().position(|byte| *byte == b'=').unwrap();
        let (key, value) = (command[..at].to_vec(), command[at + 1..].to_vec());
        self.values.insert(key.clone(), value.clone());
        Applied { outcome: None, events: vec![Bytes::copy_from_slice(command)], changed: vec![(key, Some(value))] }
    }

    fn load(objects: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        Ok(Self { values: objects.collect() })
    }

    fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.values.clone().into_iter().collect()
    }
}
