//! The output of a container, through the leader from the executor that runs it.

use berth_state::pb::api;

use super::Client;
use crate::failure::Failure;

/// Takes each chunk as it comes.
pub type Take<'a> = &'a mut dyn FnMut(api::LogsResponse) -> Result<(), Failure>;

impl Client {
    /// # Errors
    /// No such container, it holds no lease, or the way to its host is broken.
    pub async fn logs(&mut self, container: String, follow: bool, tail_lines: Option<u64>, take: Take<'_>) -> Result<(), Failure> {
        let message = api::LogsRequest { cluster_id: self.cluster_bytes(), container, follow, tail_lines };
        let answered = self.ask(async |mut client| client.logs(message.clone()).await).await.map_err(|gaveup| gaveup.failure)?;
        let (endpoint, mut stream) = (answered.endpoint, answered.value);
        let broken =
            |status: tonic::Status| Failure::Server { endpoint: endpoint.clone(), message: format!("the log ended: {}", status.message()) };
        while let Some(chunk) = stream.message().await.map_err(broken)? {
            take(chunk)?;
        }
        Ok(())
    }
}
