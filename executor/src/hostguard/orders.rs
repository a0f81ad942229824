//! What the executor tells the host guard, step by step: what to cut before anything is attached, whom to kill before anything is started (L9). Called by the
//! steps of a workload and at the executor's start. Without a host guard it does nothing.

use berth_state::ids::Token;
use berth_state::noun::lease::{Lease, LeasedVolume};
use berth_state::noun::session::Guard;
use tracing::{info, warn};

use super::order::{FORMAT, Needs, Order, OrderError};
use super::target::KillTarget;
use crate::context::Context;
use crate::ledger::{LedgerState, Record};
use crate::pages::PagesError;
use crate::runtime::{InstanceKey, KillHandle, Runtime};
use crate::step_done::{StepError, with_causes};
use crate::volumes::{CutPlan, Still, VolumeRequest};

impl Context {
    /// Before attach. From here on the page follows the book, and what is mounted under this token is cut at its deadline, whoever lives then.
    pub(crate) fn put_under_host_guard(&self, lease: &Lease) -> Result<(), StepError> {
        let Some(client) = &self.host_guard else { return Ok(()) };
        let plan = |held: &LeasedVolume| Ok(self.driver(held.spec.driver)?.cut_plan(&self.request(lease, held))?);
        let cuts = lease.volumes.iter().map(plan).collect::<Result<Vec<CutPlan>, StepError>>()?;
        let failed = |error: PagesError| StepError::failed(with_causes(&error));
        // The page first: an order beside a page that says nothing yet would be carried out.
        self.enforcer.follow(lease.token, self.pages.make(lease.token).map_err(failed)?);
        let order = Order {
            format: FORMAT,
            token: lease.token.0,
            lease: lease.id.0,
            container: lease.container.to_string(),
            margin_ms: lease.lock_delay_ms(),
            needs: lease.guard.into(),
            kills: vec![],
            cuts,
        };
        client.order(order).map_err(refused)
    }

    /// Before start: a start that ends only after this process is killed too.
    pub(crate) async fn aim_ahead(&self, runtime: &dyn Runtime, token: Token, key: &InstanceKey) -> Result<(), StepError> {
        let Some(client) = &self.host_guard else { return Ok(()) };
        let ahead = runtime.kill_ahead(key).await?;
        client.aim(token.0, ahead.into_iter().map(KillTarget::from).collect()).map_err(refused)
    }

    /// Once it runs.
    pub(crate) fn aim_at(&self, token: Token, handle: &KillHandle) -> Result<(), StepError> {
        let Some(client) = &self.host_guard else { return Ok(()) };
        client.aim(token.0, vec![KillTarget::from(handle.clone())]).map_err(refused)
    }

    /// For what others start: containers that use a volume through the plugin (`GroupNamed` with their ids), a command under a lease (its handle). In place of
    /// those before.
    #[allow(dead_code, reason = "for what is started outside of a runtime of ours")]
    pub(crate) fn aim_targets(&self, token: Token, targets: Vec<KillTarget>) -> Result<(), StepError> {
        let Some(client) = &self.host_guard else { return Ok(()) };
        client.aim(token.0, targets).map_err(refused)
    }

    /// At the start of this process: orders of the former one go on; where one is missing it is made from the ledger.
    pub(crate) fn adopt_orders(&self, state: &LedgerState) {
        let Some(client) = &self.host_guard else { return };
        for record in state.records.values().filter(|record| record.boot == self.boot) {
            if let Err(error) = client.adopt(self.order_of(record)) {
                warn!(token = %record.token, %error, "the host guard has no order for a lease of an earlier executor");
            }
        }
    }

    fn order_of(&self, record: &Record) -> Order {
        let plan = |volume: &crate::ledger::MountedVolume| {
            let request = VolumeRequest {
                volume: volume.volume.clone(),
                options: volume.options.clone(),
                host: self.host.clone(),
                container: record.container.clone(),
                lease: record.lease,
                token: record.token,
                read_only: false,
                still: Still::always(),
            };
            self.drivers.get(&volume.driver)?.cut_plan(&request).ok()
        };
        Order {
            format: FORMAT,
            token: record.token.0,
            lease: record.lease.0,
            container: record.container.to_string(),
            margin_ms: 0,
            needs: Needs::HostGuard,
            kills: record.handle.iter().cloned().map(KillTarget::from).collect(),
            cuts: record.volumes.iter().filter_map(plan).collect(),
        }
    }

    /// What may be declared of the guards on this host (L3), and remembered as what the next grants rest on.
    pub(crate) fn declared_guard(&self) -> Guard {
        // PID 1 of each instance, whatever else there is.
        let Some(client) = &self.host_guard else { return Guard::Init };
        let guard = client.level().unwrap_or(Guard::Init);
        client.declare(guard);
        guard
    }

    /// Before its release: the instance is dead and nothing is mounted any more, so nothing is to be cut, however late the answer comes. A late cut would be
    /// one behind the back of the next holder.
    pub(crate) fn discharge_host_guard(&self, token: Token) -> Result<(), StepError> {
        let Some(client) = &self.host_guard else { return Ok(()) };
        client.discharge(token.0).map_err(refused)
    }

    /// After its release, and before its folder goes.
    pub(crate) fn forget_order(&self, token: Token) {
        let Some(client) = &self.host_guard else { return };
        if let Some(facts) = client.facts(token.0) {
            let late_ms = facts.verified_ns.map(|at| at.saturating_sub(facts.deadline_ns) / 1_000_000).filter(|_| facts.deadline_ns > 0);
            info!(%token, acts = facts.acts.len(), verified_ms_after_deadline = ?late_ms, "the host guard had enforced its end");
        }
        client.forget(token.0);
    }

    /// Whether the session is to be opened anew, because other guards are there now than it declared.
    pub(crate) fn guards_changed(&self) -> bool {
        self.host_guard.as_ref().is_some_and(|client| client.is_outdated())
    }

    /// Whether what `token` was granted under is there now.
    pub(crate) fn may_claim(&self, token: Token) -> bool {
        self.host_guard.as_ref().is_none_or(|client| client.may_claim(token.0))
    }
}

fn refused(error: OrderError) -> StepError {
    StepError::failed(with_causes(&error))
}
