//! Randomness: the one seam through which it enters the executor (nonces, request ids, ledger id), so that a simulation can own it.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_state::ids::{Nonce, RequestId};

/// Where random numbers come from. Two processes must never draw the same sequence.
pub trait Random: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8; 16]);

    fn nonce(&self) -> Nonce {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        let [a, b, c, d, e, f, g, h, ..] = bytes;
        Nonce(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    fn request_id(&self) -> RequestId {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        RequestId(bytes)
    }
}

/// The kernel's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8; 16]) {
        // Without it a cloned machine could not be told from a reordered message (L17): better no executor.
        getrandom::fill(bytes).expect("the kernel gives random numbers on every Linux since 3.17");
    }
}

/// Counts up; for tests.
#[derive(Debug, Default)]
pub struct CountingRandom(AtomicU64);

impl Random for CountingRandom {
    fn fill(&self, bytes: &mut [u8; 16]) {
        let next = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        bytes[..8].copy_from_slice(&next.to_le_bytes());
    }
}
