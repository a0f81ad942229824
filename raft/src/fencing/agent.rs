//! Power fencing through the ClusterLabs fence-agent interface: options as `key=value` lines on standard input. Called by [`super::run`].
//! Success is `off` with exit code 0 and then `status` that says off (exit code 2), never one of them alone.

use std::time::Duration;

use berth_state::noun::host::FenceAgent;

use crate::fencing::program::{Ran, run};

/// `status` of a plug that is off, by the interface.
const STATUS_OFF: i32 = 2;
const STATUS_PAUSE: Duration = Duration::from_millis(500);
const STATUS_ASKED: u32 = 5;

/// Turns the host off and proves it.
///
/// # Errors
/// Why it is not proven, for people, without secrets.
pub async fn power_off(agent: &FenceAgent) -> Result<String, String> {
    let off = action(agent, "off").await?;
    if off.code != Some(0) {
        return Err(agent.secrets.redacted(&format!("off: exit {:?}: {}", off.code, off.said())));
    }
    let mut last = String::new();
    for _ in 0..STATUS_ASKED {
        let status = action(agent, "status").await?;
        if status.code == Some(STATUS_OFF) {
            return Ok(agent.secrets.redacted(&format!("off, status off: {}", off.said())));
        }
        last = agent.secrets.redacted(&format!("off was said to be done, but status: exit {:?}: {}", status.code, status.said()));
        tokio::time::sleep(STATUS_PAUSE).await;
    }
    Err(last)
}

async fn action(agent: &FenceAgent, action: &str) -> Result<Ran, String> {
    let options = agent.options.iter().chain(&agent.secrets.0).filter(|(name, _)| name.as_str() != "action");
    let lines: String = options.map(|(name, value)| format!("{name}={value}\n")).collect();
    let input = format!("{lines}action={action}\n");
    let ran = run(&agent.agent, &[], &input, Duration::from_millis(agent.timeout_ms)).await;
    ran.map_err(|error| agent.secrets.redacted(&format!("{action}: {error}")))
}
