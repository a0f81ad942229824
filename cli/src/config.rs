//! Where the client's settings come from: flags over environment over configuration file over defaults. Resolved once, in `cli::main`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_state::ids::{ClusterId, RequestId};
use serde::Deserialize;

use crate::failure::Failure;
use crate::output::Format;
use crate::parse::{duration, endpoint};

/// Where a control node listens when nothing else is said.
pub const DEFAULT_ENDPOINT: &str = "127.0.0.1:7400";
/// Longer than an election, so that one in between is not seen.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags that every client command takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Control nodes to ask; any of them will do
    #[arg(
        long,
        global = true,
        env = "BERTH_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT,…",
        help_heading = "Client options"
    )]
    pub endpoints: Option<String>,
    /// Refuse to talk to any other cluster: 32 hex digits
    #[arg(long, global = true, env = "BERTH_CLUSTER_ID", hide_env_values = true, value_name = "ID", help_heading = "Client options")]
    pub cluster_id: Option<ClusterId>,
    /// Give up after this long, tries at other nodes included [default: 10s]
    #[arg(long, global = true, env = "BERTH_TIMEOUT", hide_env_values = true, value_name = "TIME", value_parser = duration::parse, help_heading = "Client options")]
    pub timeout: Option<Duration>,
    /// What goes to standard output [default: table]
    #[arg(
        short,
        long,
        global = true,
        env = "BERTH_OUTPUT",
        hide_env_values = true,
        value_name = "FORMAT",
        help_heading = "Client options"
    )]
    pub output: Option<Format>,
    /// Configuration file in TOML: endpoints, cluster-id, timeout, output [default: ~/.config/berth/config.toml]
    #[arg(long, global = true, env = "BERTH_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = "Client options")]
    pub config: Option<PathBuf>,
    /// Read what a node has, however old, without asking the leader; works without a quorum
    #[arg(long, global = true, help_heading = "Client options")]
    pub stale: bool,
    /// Repeat a write whose outcome was unknown: the id that the first attempt printed
    #[arg(long, global = true, value_name = "ID", help_heading = "Client options")]
    pub request_id: Option<RequestId>,
}

/// The settings of one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub endpoints: Vec<String>,
    pub cluster: Option<ClusterId>,
    pub timeout: Duration,
    pub format: Format,
    pub stale: bool,
    pub request: Option<RequestId>,
}

/// The configuration file. An unknown key is an error: a misspelt one would otherwise be ignored in silence.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    endpoints: Option<Endpoints>,
    cluster_id: Option<String>,
    timeout: Option<String>,
    output: Option<Format>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Endpoints {
    List(Vec<String>),
    Line(String),
}

impl Config {
    /// # Errors
    /// [`Failure::Usage`], [`Failure::Config`].
    pub fn resolve(args: &GlobalArgs) -> Result<Self, Failure> {
        let file = Located::find(args.config.as_deref())?;
        let endpoints = match &args.endpoints {
            Some(line) => split(line).map_err(Failure::Usage)?,
            None => match &file.content.endpoints {
                Some(Endpoints::List(list)) => split(&list.join(",")).map_err(|why| file.wrong(why))?,
                Some(Endpoints::Line(line)) => split(line).map_err(|why| file.wrong(why))?,
                None => vec![DEFAULT_ENDPOINT.to_owned()],
            },
        };
        let of_file = |text: &Option<String>| {
            text.as_deref().map(str::parse).transpose().map_err(|e: berth_state::ids::HexIdError| file.wrong(e.to_string()))
        };
        let cluster = match args.cluster_id {
            Some(id) => Some(id),
            None => of_file(&file.content.cluster_id)?,
        };
        let timeout = match (args.timeout, &file.content.timeout) {
            (Some(timeout), _) => timeout,
            (None, Some(text)) => duration::parse(text).map_err(|e| file.wrong(e.to_string()))?,
            (None, None) => DEFAULT_TIMEOUT,
        };
        if timeout.is_zero() {
            return Err(Failure::Usage("--timeout must be above 0".to_owned()));
        }
        let format = args.output.or(file.content.output).unwrap_or_default();
        Ok(Self { endpoints, cluster, timeout, format, stale: args.stale, request: args.request_id })
    }
}

fn split(line: &str) -> Result<Vec<String>, String> {
    let endpoints: Result<Vec<_>, _> = line.split(',').map(str::trim).filter(|part| !part.is_empty()).map(endpoint::parse).collect();
    let endpoints = endpoints.map_err(|e| e.to_string())?;
    if endpoints.is_empty() { Err("no endpoint: give --endpoints host:port,host:port".to_owned()) } else { Ok(endpoints) }
}

/// A configuration file and where it is, for the error text.
struct Located {
    path: PathBuf,
    content: File,
}

impl Located {
    /// The file that was named must be there; the default one may be missing.
    fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => match default_path() {
                Some(path) if path.exists() => path,
                Some(_) | None => return Ok(Self { path: PathBuf::new(), content: File::default() }),
            },
        };
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::Config { path: path.clone(), why: e.to_string() })?;
        match toml::from_str(&text) {
            Ok(content) => Ok(Self { path, content }),
            Err(error) => Err(Failure::Config { path, why: error.to_string() }),
        }
    }

    fn wrong(&self, why: String) -> Failure {
        Failure::Config { path: self.path.clone(), why }
    }
}

fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|f| !f.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| std::env::var_os("HOME").filter(|f| !f.is_empty()).map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("berth").join("config.toml"))
}
