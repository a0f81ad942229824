//! The hardware watchdog: resets the host when the guard is stuck or an instance does not die. It is petted only while that promise holds: at no time may the
//! reset that is armed lie later than a lease's deadline plus what kill and cut may take, unless the lease is verified dead and cut.
//!
//! So a healthy host is petted after each renewal; while a deadline draws near nobody pets; and a look after the kill, when all is dead, it goes on. A host is
//! reset only if nobody could verify that in time.
//!
//! - [`device`]: the device, and what it must do. `ioctl`: its system calls.

pub mod device;
mod ioctl;

pub use device::{Device, DeviceError, Watchdog};

use super::lease::View;
use super::status::WatchdogStatus;

const NS_PER_S: u64 = 1_000_000_000;
/// Petting more often than this says nothing more.
const EVERY_NS: u64 = 200_000_000;

/// Who holds the petting off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOff {
    pub token: u64,
}

/// Pets, or does not.
pub struct Keeper {
    device: Box<dyn Watchdog>,
    timeout_s: u32,
    petted_ns: u64,
    fits: bool,
}

impl Keeper {
    #[must_use]
    pub fn new(device: Box<dyn Watchdog>, now_ns: u64) -> Self {
        let timeout_s = device.timeout_s();
        Self { device, timeout_s, petted_ns: now_ns, fits: true }
    }

    #[must_use]
    pub fn status(&self) -> WatchdogStatus {
        WatchdogStatus { timeout_ms: u64::from(self.timeout_s) * 1_000, petted_ns: self.petted_ns, fits: self.fits }
    }

    /// After a look at all leases.
    ///
    /// # Errors
    /// For the log: the device refused.
    pub fn pet(&mut self, now_ns: u64, leases: &[View]) -> Result<Option<HeldOff>, DeviceError> {
        let timeout_ns = u64::from(self.timeout_s) * NS_PER_S;
        // Until the host is empty: what is declared should not change to and fro.
        self.fits = leases.is_empty() || (self.fits && leases.iter().all(|lease| fits(lease, timeout_ns)));
        if let Some(lease) = leases.iter().find(|lease| !may_pet(lease, now_ns, timeout_ns)) {
            return Ok(Some(HeldOff { token: lease.token }));
        }
        if now_ns.saturating_sub(self.petted_ns) >= EVERY_NS {
            self.device.pet()?;
            self.petted_ns = now_ns;
        }
        Ok(None)
    }

    /// The clean end: only where no lease is left.
    ///
    /// # Errors
    /// The device stays armed.
    pub fn disarm(self) -> Result<(), DeviceError> {
        self.device.disarm()
    }
}

/// A renewal moves the deadline so far ahead that twice the timeout fits in: then one lost keepalive does not cost the host.
fn fits(lease: &View, timeout_ns: u64) -> bool {
    lease.lead_ns.is_none_or(|lead| lead.saturating_add(lease.margin_ns) >= timeout_ns.saturating_mul(2))
}

fn may_pet(lease: &View, now_ns: u64, timeout_ns: u64) -> bool {
    let Some(until_ns) = lease.until_ns else { return true };
    if lease.verified {
        return true;
    }
    let latest = until_ns.saturating_add(lease.margin_ns);
    // A timeout too long for this lease cannot be strict before its deadline: it would reset a healthy host. It still is after it, and says that it does not fit.
    let armed_until = if fits(lease, timeout_ns) { now_ns.saturating_add(timeout_ns) } else { now_ns };
    armed_until <= latest
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const S: u64 = NS_PER_S;

    struct Fake {
        pets: Arc<AtomicU32>,
    }

    impl Watchdog for Fake {
        fn timeout_s(&self) -> u32 {
            5
        }
        fn pet(&mut self) -> Result<(), DeviceError> {
            self.pets.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        fn disarm(self: Box<Self>) -> Result<(), DeviceError> {
            Ok(())
        }
    }

    fn keeper() -> (Keeper, Arc<AtomicU32>) {
        let pets = Arc::new(AtomicU32::new(0));
        (Keeper::new(Box::new(Fake { pets: Arc::clone(&pets) }), 0), pets)
    }

    fn view(until_s: u64) -> View {
        View { token: 7, until_ns: Some(until_s * S), margin_ns: S / 2, lead_ns: Some(10 * S), verified: false }
    }

    #[test]
    fn a_host_with_renewed_leases_or_none_is_petted() {
        let (mut keeper, pets) = keeper();
        assert_eq!(keeper.pet(S, &[]).unwrap(), None);
        assert_eq!(keeper.pet(2 * S, &[view(10)]).unwrap(), None);
        assert_eq!(keeper.pet(2 * S + 1, &[view(10)]).unwrap(), None, "no need to pet twice, but no reason to hold off");
        assert_eq!(pets.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_armed_reset_never_lies_behind_a_lease_that_is_not_verified_dead() {
        let (mut keeper, pets) = keeper();
        // Timeout 5 s, margin 0.5 s, deadline 10 s: the last pet may be at 5.5 s.
        assert_eq!(keeper.pet(5 * S + S / 2, &[view(10)]).unwrap(), None);
        for late in [5 * S + S / 2 + 1, 9 * S, 10 * S, 11 * S, 100 * S] {
            assert_eq!(keeper.pet(late, &[view(10)]).unwrap(), Some(HeldOff { token: 7 }), "{late}");
        }
        assert_eq!(pets.load(Ordering::SeqCst), 1);
        let dead = View { verified: true, ..view(10) };
        assert_eq!(keeper.pet(100 * S, &[dead]).unwrap(), None);
        assert_eq!(keeper.pet(101 * S, &[dead, view(102)]).unwrap(), Some(HeldOff { token: 7 }), "one is enough");
        assert_eq!(pets.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_lease_too_short_for_the_timeout_does_not_reset_a_healthy_host_but_is_said_not_to_fit() {
        let (mut keeper, _) = keeper();
        let short = View { lead_ns: Some(3 * S), ..view(13) };
        assert_eq!(keeper.pet(12 * S, &[short]).unwrap(), None);
        assert!(!keeper.status().fits);
        assert_eq!(keeper.pet(13 * S + S / 2 + 1, &[short]).unwrap(), Some(HeldOff { token: 7 }), "over and not dead");
        keeper.pet(20 * S, &[]).unwrap();
        assert!(keeper.status().fits);
    }

    #[test]
    fn a_lease_without_a_deadline_holds_nothing_off() {
        let (mut keeper, pets) = keeper();
        let endless = View { until_ns: None, lead_ns: None, ..view(0) };
        assert_eq!(keeper.pet(1_000 * S, &[endless]).unwrap(), None);
        assert_eq!(pets.load(Ordering::SeqCst), 1);
    }
}
