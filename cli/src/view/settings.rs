//! `berth settings …`: what may be changed for the whole cluster while it runs.

use berth_state::Order;
use berth_state::command::ChangeSettings;
use berth_state::noun::cluster::Settings;
use clap::{Args, Subcommand};

use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::context::Context;
use crate::failure::Failure;
use crate::parse::duration;

#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// The settings in force
    Show,
    /// Change the given ones
    Set(SetArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SetArgs {
    /// Time to live of a lease; takes effect with each lease's next renewal
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    ttl: Option<u64>,
    /// A grant that its host does not claim within this is withdrawn
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    activation: Option<u64>,
    /// A host that is silent for this long is fenced, where all volumes of a lease are after-fence
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    fence_after: Option<u64>,
}

impl SettingsCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Show => {
                let registry = cx.client.read().await?;
                cx.out.record(&of(&registry)?)
            }
            Self::Set(args) => {
                let registry = cx.client.read_as(false).await?;
                let now = of(&registry)?;
                let settings = Settings {
                    ttl_ms: args.ttl.unwrap_or(now.ttl_ms),
                    activation_ms: args.activation.unwrap_or(now.activation_ms),
                    fence_after_ms: args.fence_after.unwrap_or(now.fence_after_ms),
                };
                let accepted = cx.client.write(Order::ChangeSettings(ChangeSettings { settings }), Retry::Same).await?;
                cx.done(&accepted, "settings changed")
            }
        }
    }
}

fn of(registry: &Registry) -> Result<Settings, Failure> {
    registry
        .cluster
        .as_ref()
        .map(|c| c.settings)
        .ok_or_else(|| Failure::Ended("the cluster has no settings yet: wait for its first leader".to_owned()))
}
