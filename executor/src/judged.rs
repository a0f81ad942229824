//! What a record of an earlier process is worth (L9). Pure. Asked when the executor starts; the page of a lease may say otherwise, and then decides.

use berth_state::ids::{BootId, Incarnation};

use crate::clock::HolderTime;
use crate::deadline::{Lost, Right};
use crate::ledger::Record;

/// What a record of an earlier process is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Same boot, same life of the control plane, deadline ahead: it goes on, unchanged.
    GoesOn(Right),
    /// Kill, cut, unmount, release.
    Over(Lost),
}

/// L9.
#[must_use]
pub fn judge(record: &Record, boot: BootId, incarnation: Incarnation, now: HolderTime) -> Judged {
    if record.boot != boot || record.incarnation != incarnation || record.over {
        Judged::Over(Lost::Stale)
    } else if record.open {
        Judged::GoesOn(Right::Open)
    } else if now >= record.deadline {
        Judged::Over(Lost::DeadlinePassed)
    } else {
        Judged::GoesOn(Right::Until(record.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    const BOOT: BootId = BootId([1; 16]);
    const LIFE: Incarnation = Incarnation(1);

    fn at(ms: u64) -> HolderTime {
        HolderTime(0).plus_ms(ms)
    }

    #[test]
    fn a_record_goes_on_only_within_its_boot_its_incarnation_and_its_deadline() {
        let good = record(11, BOOT, at(1_000));
        assert_eq!(judge(&good, BOOT, LIFE, at(999)), Judged::GoesOn(Right::Until(at(1_000))));
        assert_eq!(judge(&good, BOOT, LIFE, at(1_000)), Judged::Over(Lost::DeadlinePassed));
        assert_eq!(judge(&good, BootId([2; 16]), LIFE, at(0)), Judged::Over(Lost::Stale));
        assert_eq!(judge(&good, BOOT, Incarnation(2), at(0)), Judged::Over(Lost::Stale));
        let open = Record { open: true, ..good.clone() };
        assert_eq!(judge(&open, BOOT, LIFE, at(1_000)), Judged::GoesOn(Right::Open));
        let over = Record { over: true, ..open };
        assert_eq!(judge(&over, BOOT, LIFE, at(0)), Judged::Over(Lost::Stale));
    }
}
