//! The optional Docker authorization plugin: refuses containers and volumes that would reach a managed volume's data around the driver, by a bind mount of its
//! path. A guard rail against mistakes, and no proof: whoever may talk to dockerd has a hundred other ways. Must never refuse what has nothing to do with it.

mod base64;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::external::External;
use crate::plugin::server::Handler;

pub(crate) struct Authorizer {
    external: Arc<External>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Asked {
    request_method: String,
    request_uri: String,
    /// Base 64.
    request_body: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    host_config: Option<HostConfig>,
    /// Of a volume.
    driver_opts: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    binds: Option<Vec<String>>,
    mounts: Option<Vec<Mount>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    r#type: String,
    source: String,
}

#[async_trait]
impl Handler for Authorizer {
    async fn call(&self, call: &str, body: Bytes) -> Value {
        match call {
            "Plugin.Activate" => json!({ "Implements": ["authz"] }),
            "AuthZPlugin.AuthZReq" => match check(&body, || self.external.managed_paths()) {
                None => json!({ "Allow": true }),
                Some(line) => {
                    warn!(line, "refused by the authorization plugin");
                    json!({ "Allow": false, "Msg": line })
                }
            },
            // Only what is asked for is judged.
            "AuthZPlugin.AuthZRes" => json!({ "Allow": true }),
            other => json!({ "Allow": true, "Err": format!("{other:?} is no call of the authorization plugin protocol") }),
        }
    }
}

impl Authorizer {
    pub(crate) fn new(external: Arc<External>) -> Self {
        Self { external }
    }
}

/// Why the request is refused; `None`: it is not.
fn check(body: &[u8], managed: impl FnOnce() -> Vec<PathBuf>) -> Option<String> {
    let asked: Asked = serde_json::from_slice(body).ok()?;
    let path = asked.request_uri.split('?').next().unwrap_or_default().trim_end_matches('/');
    let creates = asked.request_method == "POST" && (path.ends_with("/containers/create") || path.ends_with("/volumes/create"));
    if !creates {
        return None;
    }
    let bytes = base64::decode(asked.request_body.as_deref()?)?;
    let create: Create = serde_json::from_slice(&bytes).ok()?;
    let sources = sources(&create);
    let managed: Vec<PathBuf> = managed().into_iter().flat_map(|path| [resolved(&path), path]).collect();
    let around = sources.iter().find_map(|source| {
        let real = resolved(source);
        managed.iter().find(|path| real.starts_with(path) || source.starts_with(path)).map(|path| (source, path))
    });
    let (source, path) = around?;
    Some(format!(
        "{} is data of a volume that Berth manages ({}): use the volume, `-v NAME:/path --volume-driver berth`, so that a lease is taken",
        source.display(),
        path.display()
    ))
}

/// Paths of the host that would be mounted.
fn sources(create: &Create) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec![];
    if let Some(config) = &create.host_config {
        let binds = config.binds.iter().flatten().filter_map(|bind| bind.split(':').next());
        let mounts = config.mounts.iter().flatten().filter(|mount| mount.r#type == "bind").map(|mount| mount.source.as_str());
        found.extend(binds.chain(mounts).map(PathBuf::from));
    }
    // The local driver mounts any device or path: `--opt type=none --opt o=bind --opt device=/srv/pg`.
    found.extend(create.driver_opts.iter().flatten().filter(|(key, _)| *key == "device").map(|(_, value)| PathBuf::from(value)));
    found.retain(|path| path.is_absolute());
    found
}

/// Without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(real) = std::fs::canonicalize(path) {
        return real;
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn asked(uri: &str, body: &str) -> Option<String> {
        let body = base64::encode(body.as_bytes());
        let request = json!({ "RequestMethod": "POST", "RequestUri": uri, "RequestBody": body });
        check(request.to_string().as_bytes(), || vec!["/srv/pg".into()])
    }

    #[test]
    fn bind_mounts_at_or_below_a_managed_path_are_refused_however_they_are_said() {
        let create = "/v1.41/containers/create?name=x";
        for body in [
            r#"{"HostConfig":{"Binds":["/srv/pg:/data"]}}"#,
            r#"{"HostConfig":{"Binds":["/srv/pg/sub:/data:ro"]}}"#,
            r#"{"HostConfig":{"Binds":["/srv/other/../pg:/data"]}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/srv/pg","Target":"/data"}]}}"#,
        ] {
            assert!(asked(create, body).is_some_and(|line| line.contains("--volume-driver berth")), "{body}");
        }
        let device = r#"{"Name":"x","Driver":"local","DriverOpts":{"type":"none","o":"bind","device":"/srv/pg"}}"#;
        assert!(asked("/volumes/create", device).is_some());
    }

    #[test]
    fn everything_else_passes() {
        let create = "/v1.41/containers/create";
        for body in [
            r#"{"HostConfig":{"Binds":["pg:/data","/srv/pgx:/data"]}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"volume","Source":"pg","Target":"/data"}]}}"#,
            r#"{"HostConfig":null}"#,
            "{}",
            "garbage",
        ] {
            assert_eq!(asked(create, body), None, "{body}");
        }
        assert_eq!(asked("/v1.41/containers/x/start", r#"{"HostConfig":{"Binds":["/srv/pg:/data"]}}"#), None);
        assert_eq!(check(b"garbage", Vec::new), None);
        assert_eq!(check(b"", Vec::new), None);
    }

    #[test]
    fn a_link_to_a_managed_path_is_seen_through() {
        let folder = tempfile::tempdir().unwrap();
        let (data, link) = (folder.path().join("data"), folder.path().join("link"));
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let body = json!({ "HostConfig": { "Binds": [format!("{}:/data", link.display())] } }).to_string();
        let request =
            json!({ "RequestMethod": "POST", "RequestUri": "/containers/create", "RequestBody": base64::encode(body.as_bytes()) });
        assert!(check(request.to_string().as_bytes(), || vec![data]).is_some());
    }
}
