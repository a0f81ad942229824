//! What one atomic write does. Built by the stores, carried out by the engines in the order given.

use super::Family;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        family: Family,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        family: Family,
        key: Vec<u8>,
    },
    /// Deletes keys from `from` (included) to `to` (excluded).
    DeleteRange {
        family: Family,
        from: Vec<u8>,
        to: Vec<u8>,
    },
}

/// Changes that happen together or not at all; later ones win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
    size_bytes: usize,
}

impl Batch {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.size_bytes += key.len() + value.len();
        self.ops.push(Op::Put { family, key, value });
    }

    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.size_bytes += key.len();
        self.ops.push(Op::Delete { family, key });
    }

    /// Deletes keys from `from` (included) to `to` (excluded); an empty range does nothing.
    pub fn delete_range(&mut self, family: Family, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        if from < to {
            self.size_bytes += from.len() + to.len();
            self.ops.push(Op::DeleteRange { family, from, to });
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of keys and values, to bound how much is gathered.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    #[must_use]
    pub fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}
