//! Whether this host's engine can run our instances. Called once when the executor starts. It must refuse settings under which a
//! container could run without its lease having been looked at.

use bollard::models::SystemInfo;

use super::DockerRuntime;
use super::engine::CALL_LIMIT;
use crate::runtime::RuntimeError;

impl DockerRuntime {
    pub(super) async fn probe_engine(&self) -> Result<(), RuntimeError> {
        let call = self.engine.call(CALL_LIMIT, |docker| async move { docker.info().await });
        let reason = match call.await {
            Ok(info) => refusal(&info),
            Err(error) => Some(format!("{} ({error})", self.engine.socket().display())),
        };
        match reason {
            None => Ok(()),
            Some(reason) => Err(RuntimeError::Unavailable { runtime: "docker", reason }),
        }
    }
}

/// What about this engine rules it out, and what to do about it.
fn refusal(info: &SystemInfo) -> Option<String> {
    if info.live_restore_enabled == Some(true) {
        // Containers that outlive their engine are remounted and restarted behind our back (design, facts measured).
        let text = "dockerd runs with live-restore, under which containers outlive it unwatched: set \"live-restore\": false in \
                    daemon.json (or drop --live-restore) and restart dockerd";
        return Some(text.to_owned());
    }
    let system = info.os_type.as_deref().unwrap_or("linux");
    (system != "linux").then(|| format!("this dockerd runs {system} containers: Berth needs Linux ones"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_restore_engine_is_refused_with_what_to_do() {
        let info = SystemInfo { live_restore_enabled: Some(true), ..SystemInfo::default() };
        let text = refusal(&info).unwrap_or_default();
        assert!(text.contains("live-restore\": false") && text.contains("restart dockerd"), "{text}");
    }

    #[test]
    fn an_ordinary_engine_passes_and_windows_containers_do_not() {
        assert_eq!(refusal(&SystemInfo { live_restore_enabled: Some(false), ..SystemInfo::default() }), None);
        assert_eq!(refusal(&SystemInfo::default()), None);
        let windows = SystemInfo { os_type: Some("windows".to_owned()), ..SystemInfo::default() };
        assert!(refusal(&windows).is_some_and(|text| text.contains("windows")));
    }
}
