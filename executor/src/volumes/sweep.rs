//! Finds mounts of tokens that nobody here holds any more: what a process left that died between an unmount and its record, or whose ledger was lost. They
//! are cut and taken away. Run by the executor from its start on, until none is left.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use berth_state::ids::Token;
use tracing::{info, warn};

use super::cut::{self, CutError, CutMeans, CutPlan};
use super::loop_device;
use super::mountinfo::{self, Mount};
use super::place::parse_name;

/// Mount points below `mounts` with their plans. What has another kind of name is not ours.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn found(mounts: &Path) -> io::Result<Vec<CutPlan>> {
    let mounts = mounts.canonicalize()?;
    let mut plans: Vec<CutPlan> = Vec::new();
    for mount in mountinfo::all()?.iter().filter(|mount| mount.point.parent() == Some(&mounts)) {
        let plan = parse_name(&mount.point).map(|(volume, token)| CutPlan {
            volume: volume.to_string(),
            token: token.0,
            mount_point: Some(mount.point.clone()),
            means: means(mount),
        });
        plans.extend(plan.filter(|plan| !plans.contains(plan)));
    }
    Ok(plans)
}

/// By what is mounted: the options that it was mounted with are forgotten.
fn means(mount: &Mount) -> CutMeans {
    match (mount.file_system.as_str(), loop_device::backing_of(mount.device)) {
        ("ext4" | "xfs", Some(backing)) => CutMeans::FileSystemShutdown { backing },
        (fuse, _) if fuse.starts_with("fuse.") => CutMeans::FuseAbort { server: fuse.trim_start_matches("fuse.").to_owned() },
        _ => CutMeans::None,
    }
}

/// Cuts and takes away every mount whose token is not in `held`. Call with the tokens as they are *after* the mounts were listed: a holder is recorded before
/// it mounts. Returns how many are left. Blocks.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn sweep(mounts: &Path, held: impl FnOnce() -> BTreeSet<Token>) -> io::Result<usize> {
    let plans = found(mounts)?;
    let held = held();
    let dead = plans.iter().filter(|plan| !held.contains(&Token(plan.token)));
    let mut left = 0;
    for plan in dead {
        let point = plan.mount_point.as_deref().unwrap_or(mounts).display();
        match finish(plan) {
            Ok(()) => info!(volume = plan.volume, token = plan.token, %point, "took away a mount that nobody holds any more"),
            Err(error) => {
                left += 1;
                warn!(volume = plan.volume, token = plan.token, %point, %error, "cannot take away a mount that nobody holds any more");
            }
        }
    }
    folders(mounts, &held);
    Ok(left)
}

fn finish(plan: &CutPlan) -> Result<(), CutError> {
    cut::cut_now(plan)?;
    cut::unmount_now(plan).map(drop)
}

/// Empty mount points of tokens that are over.
fn folders(mounts: &Path, held: &BTreeSet<Token>) {
    for entry in fs::read_dir(mounts).into_iter().flatten().flatten() {
        if parse_name(&entry.path()).is_some_and(|(_, token)| !held.contains(&token)) {
            // Fails on one that is mounted or not empty, as it should.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
