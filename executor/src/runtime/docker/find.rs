//! Finding our containers: one by key, or all by label. Called by every operation. It must never return a container of another
//! cluster or host, and one container that cannot be inspected must not hide the others.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use futures::StreamExt;

use super::DockerRuntime;
use super::call_error::CallError;
use super::engine::CALL_LIMIT;
use super::found::Found;
use super::labels::container_name;
use super::state::code_in_status;
use crate::runtime::{InstanceKey, InstanceState, Observed, RuntimeError};

/// Inspections of one listing under way at once: hides their latency without flooding an engine that is busy starting things.
const INSPECTIONS_AT_ONCE: usize = 8;

impl DockerRuntime {
    pub(super) async fn inspect_instance(&self, key: &InstanceKey) -> Result<Option<Observed>, RuntimeError> {
        let found = self.find(key, CALL_LIMIT).await?;
        Ok(found.map(|found| found.into_observed(&self.owner)))
    }

    /// By name; by label when nobody or somebody else has the name (a person may have renamed it).
    pub(super) async fn find(&self, key: &InstanceKey, limit: Duration) -> Result<Option<Found>, RuntimeError> {
        let name = container_name(key)?;
        let failed = |error: CallError| error.into_runtime("inspect", &name);
        if let Some(found) = self.inspect_by(&name, limit).await.map_err(failed)?.filter(|found| found.key == *key) {
            return Ok(Some(found));
        }
        let renamed = self.summaries(self.owner.filters_for(key), limit).await.map_err(failed)?;
        for id in renamed.into_iter().filter_map(|summary| summary.id) {
            if let Some(found) = self.inspect_by(&id, limit).await.map_err(failed)?.filter(|found| found.key == *key) {
                return Ok(Some(found));
            }
        }
        self.starts.forget_if_over(key);
        Ok(None)
    }

    pub(super) async fn list_instances(&self) -> Result<Vec<Observed>, RuntimeError> {
        let failed = |error: CallError| error.into_runtime("list", "instances");
        let summaries = self.summaries(self.owner.filters(), CALL_LIMIT).await.map_err(failed)?;
        let all = futures::stream::iter(summaries).map(|summary| self.observe(summary));
        let mut seen: Vec<Observed> = all.buffer_unordered(INSPECTIONS_AT_ONCE).filter_map(std::future::ready).collect().await;
        seen.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(seen)
    }

    /// One listed container in full. `None`: gone meanwhile, or its labels are not ours after all.
    async fn observe(&self, summary: ContainerSummary) -> Option<Observed> {
        let id = summary.id.as_deref().unwrap_or_default();
        let Some(identity) = summary.labels.as_ref().and_then(|labels| self.owner.identify(labels)) else {
            tracing::warn!(docker_id = id, "container carries this host's labels but they are damaged: left alone, remove it by hand");
            return None;
        };
        let listed = listed_state(&summary);
        // Running says all there is to say; everything else needs its exit code or start error.
        let state = match listed {
            InstanceState::Running => InstanceState::Running,
            InstanceState::Created | InstanceState::Exited { .. } => match self.inspect_by(id, CALL_LIMIT).await {
                Ok(found) => found?.state,
                // The engine holds a container's lock while it starts it: then the listing is all there is.
                Err(error) => {
                    tracing::warn!(instance = %identity.key.instance_name(), %error, "cannot inspect, listing used");
                    listed
                }
            },
        };
        Some(Observed { key: identity.key, cluster: self.owner.cluster.clone(), lease: identity.lease, state })
    }

    async fn inspect_by(&self, name_or_id: &str, limit: Duration) -> Result<Option<Found>, CallError> {
        let asked = name_or_id.to_owned();
        let call = self.engine.call(limit, |docker| async move { docker.inspect_container(&asked, None::<InspectContainerOptions>).await });
        match call.await {
            Ok(inspected) => Ok(Found::from_inspected(&self.owner, inspected)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn summaries(&self, filters: HashMap<String, Vec<String>>, limit: Duration) -> Result<Vec<ContainerSummary>, CallError> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.engine.call(limit, |docker| async move { docker.list_containers(Some(options)).await }).await
    }
}

fn listed_state(summary: &ContainerSummary) -> InstanceState {
    match summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY) {
        ContainerSummaryStateEnum::CREATED => InstanceState::Created,
        ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD | ContainerSummaryStateEnum::REMOVING => {
            let status = summary.status.as_deref().unwrap_or_default();
            InstanceState::Exited { code: code_in_status(status).unwrap_or(-1), reason: status.to_owned() }
        }
        // What we cannot name is taken as running: the careful side.
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING
        | ContainerSummaryStateEnum::EMPTY => InstanceState::Running,
    }
}
