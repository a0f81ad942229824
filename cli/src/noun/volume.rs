//! `berth volume …`: units of data with at most one writer.

use std::collections::BTreeMap;

use berth_state::Order;
use berth_state::command::{AddVolume, ClearSuspicion, RemoveVolume, UpdateVolume};
use berth_state::ids::{Version, VolumeId};
use berth_state::noun::volume::{Driver, Takeover, Volume, VolumeSpec};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::words::{LeaseRef, pairs, word};
use crate::client::actor;
use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;
use crate::parse::{duration, pair};

#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// All volumes
    Ls,
    /// One volume: spec, takeover rule, who holds it
    Show { volume: String },
    /// Register a volume
    Add(AddArgs),
    /// Change the given parts of its spec
    Update(UpdateArgs),
    /// Forget a volume, not its data; refused while a lease or a container names it
    Rm { volume: VolumeId },
    /// State that you have looked at the data of a volume that two holders are suspected to have written; until then nobody gets it
    Clear {
        volume: VolumeId,
        /// What you found; kept in the log with your name
        #[arg(long)]
        reason: String,
    },
}

/// What `--help` says of each driver; the rules themselves are in `berth_state::storage`.
const DRIVERS: &str = "\
Options of the drivers, each given as -O KEY=VALUE:

  path       path=DIR                       a directory on storage that every host has mounted at the same place; cannot cut or fence
  image      file=FILE [size=10G]           a file system of its own in a file on shared storage; cuts by file-system shutdown
             [fs=ext4|xfs] [direct-io=yes|no] [mount-options=…]     with size the file is made when it is absent
  nfs        server=HOST export=/PATH       an export; fences with revoke=PROGRAM, which takes it from a client
             [mount-options=…] [revoke=PROGRAM]
  glusterfs  servers=HOST,HOST volume=NAME  through its FUSE client; cuts by FUSE abort, fences with fence=auth-reject
             [subdir=/PATH] [fence=none|auth-reject] [manage=HOST] [mount-options=…]
  cephfs     monitors=HOST:PORT,… | conf=FILE   through ceph-fuse; cuts by FUSE abort, fences with fence=evict
             [client=USER] [keyring=FILE] [fs=NAME] [path=/PATH] [fence=none|evict] [admin=USER] [admin-keyring=FILE] [admin-conf=FILE] [mount-options=…]
  exec       program=FILE                   your program, by a documented protocol
             [cut=no|yes] [fence=no|yes|token] [dataset=NAME] [opt.NAME=VALUE …]

Takeover, unless --takeover says otherwise: after-fence where the storage can fence, else after-expiry. after-expiry needs a driver that cuts, or --coherent.
Options are checked when the volume is added.";

#[derive(Debug, Args)]
#[command(after_long_help = DRIVERS)]
pub struct AddArgs {
    volume: VolumeId,
    #[command(flatten)]
    spec: SpecArgs,
    /// The owner's statement that a dead host's late dirty pages cannot reach the data (one page cache for all hosts, or synchronous writes only)
    #[arg(long)]
    coherent: bool,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    volume: VolumeId,
    #[command(flatten)]
    spec: SpecArgs,
    /// Take back or make the owner's statement
    #[arg(long, value_name = "BOOL")]
    coherent: Option<bool>,
    /// Take an option of the driver away
    #[arg(long, value_name = "KEY")]
    option_rm: Vec<String>,
    /// Only if it still has this version; default: the one just read
    #[arg(long, value_name = "N")]
    version: Option<Version>,
}

#[derive(Debug, Args)]
struct SpecArgs {
    /// How hosts reach its data [default: path]
    #[arg(long)]
    driver: Option<DriverWord>,
    /// Driver path: the directory, mounted at the same place on every host
    #[arg(long, value_name = "DIR")]
    path: Option<String>,
    /// An option of the driver; may be repeated. `berth volume add --help` lists them
    #[arg(short = 'O', long, value_name = "KEY=VALUE", value_parser = pair::parse)]
    option: Vec<(String, String)>,
    /// What must be true before another host may take it over from a silent one [default: after-fence where the storage can, else after-expiry]
    #[arg(long)]
    takeover: Option<TakeoverWord>,
    /// Waited after expiry before the takeover [default: 500ms]
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    lock_delay: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DriverWord {
    Path,
    Image,
    Nfs,
    Glusterfs,
    Cephfs,
    Exec,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TakeoverWord {
    /// The holder stops itself at its deadline; nobody is asked
    AfterExpiry,
    /// The storage or power fence acknowledges first
    AfterFence,
    /// An operator confirms: berth fence confirm
    Manual,
}

impl SpecArgs {
    fn apply(self, mut spec: VolumeSpec) -> VolumeSpec {
        if let Some(driver) = self.driver {
            spec.driver = match driver {
                DriverWord::Path => Driver::Path,
                DriverWord::Image => Driver::Image,
                DriverWord::Nfs => Driver::Nfs,
                DriverWord::Glusterfs => Driver::Glusterfs,
                DriverWord::Cephfs => Driver::Cephfs,
                DriverWord::Exec => Driver::Exec,
            };
        }
        spec.options.extend(self.option);
        spec.options.extend(self.path.map(|path| ("path".to_owned(), path)));
        if let Some(takeover) = self.takeover {
            spec.takeover = match takeover {
                TakeoverWord::AfterExpiry => Takeover::AfterExpiry,
                TakeoverWord::AfterFence => Takeover::AfterFence,
                TakeoverWord::Manual => Takeover::Manual,
            };
        }
        spec.lock_delay_ms = self.lock_delay.unwrap_or(spec.lock_delay_ms);
        spec
    }
}

fn plain() -> VolumeSpec {
    VolumeSpec {
        driver: Driver::Path,
        options: BTreeMap::new(),
        takeover: Takeover::AfterExpiry,
        coherent: false,
        lock_delay_ms: VolumeSpec::DEFAULT_LOCK_DELAY_MS,
    }
}

/// `volume show -o json`.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    volume: &'a Volume,
    held_by: Option<LeaseRef>,
    /// Containers whose spec names it.
    used_by: Vec<String>,
}

impl VolumeCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Ls => {
                let registry = cx.client.read().await?;
                cx.out.show(&registry.volumes, || table(&registry))
            }
            Self::Show { volume } => {
                let registry = cx.client.read().await?;
                let found = registry.volume(&volume)?;
                let users = registry.containers.iter().filter(|c| c.spec.volumes.iter().any(|m| m.volume == found.id));
                let used_by = users.map(|c| c.id.to_string()).collect();
                cx.out.record(&Detail { volume: found, held_by: registry.lease_of_volume(&volume).map(LeaseRef::from), used_by })
            }
            Self::Add(args) => {
                let chosen = args.spec.takeover.is_some();
                let mut spec = VolumeSpec { coherent: args.coherent, ..args.spec.apply(plain()) };
                if !chosen && spec.can_fence() {
                    spec.takeover = Takeover::AfterFence;
                }
                let accepted = cx.client.write(Order::AddVolume(AddVolume { volume: args.volume.clone(), spec }), Retry::Same).await?;
                cx.done(&accepted, &format!("volume {} added", args.volume))
            }
            Self::Update(args) => update(cx, args).await,
            Self::Rm { volume } => {
                let accepted = cx.client.write(Order::RemoveVolume(RemoveVolume { volume: volume.clone() }), Retry::Same).await?;
                cx.done(&accepted, &format!("volume {volume} removed; its data is untouched"))
            }
            Self::Clear { volume, reason } => clear(cx, volume, reason).await,
        }
    }
}

async fn clear(cx: &mut Context, volume: VolumeId, reason: String) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Usage("--reason: say what you found in its data".to_owned()));
    }
    let order = Order::ClearSuspicion(ClearSuspicion { volume: volume.clone(), name: actor::name(), reason });
    let accepted = cx.client.write(order, Retry::Same).await?;
    cx.done(&accepted, &format!("volume {volume} may be had again, on your word"))
}

async fn update(cx: &mut Context, args: UpdateArgs) -> Result<(), Failure> {
    let registry = cx.client.read_as(false).await?;
    let found = registry.volume(args.volume.as_str())?;
    let version = args.version.unwrap_or(found.version);
    let coherent = args.coherent.unwrap_or(found.spec.coherent);
    let mut former = found.spec.clone();
    former.options.retain(|key, _| !args.option_rm.contains(key));
    let spec = VolumeSpec { coherent, ..args.spec.apply(former) };
    let order = Order::UpdateVolume(UpdateVolume { volume: args.volume.clone(), version, spec });
    let accepted = cx.client.write(order, Retry::Version(version)).await?;
    cx.done(&accepted, &format!("volume {} updated", args.volume))
}

fn table(registry: &Registry) -> String {
    let headings = ["VOLUME", "DRIVER", "OPTIONS", "TAKEOVER", "COHERENT", "HELD BY", "HOST", "TOKEN", "BARRED FROM", "SUSPECT", "VERSION"];
    let mut table = Table::new(&headings);
    for volume in &registry.volumes {
        let lease = registry.lease_of_volume(volume.id.as_str());
        let bars: Vec<&str> = volume.bars.iter().map(|bar| bar.host.as_str()).collect();
        table.row([
            volume.id.to_string(),
            word(&volume.spec.driver),
            pairs(&volume.spec.options),
            word(&volume.spec.takeover),
            volume.spec.coherent.to_string(),
            lease.map(|l| l.container.to_string()).unwrap_or_default(),
            lease.map(|l| l.host.to_string()).unwrap_or_default(),
            lease.map(|l| l.token.to_string()).unwrap_or_default(),
            bars.join(","),
            volume.suspicion.map(|s| format!("{} and {}", s.token, s.other)).unwrap_or_default(),
            volume.version.to_string(),
        ]);
    }
    table.text()
}
