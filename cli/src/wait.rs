//! `--wait`: after an accepted write, looks at the registry until a state is reached or the time is over. Rides out elections; must never write.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::client::Client;
use crate::client::registry::Registry;
use crate::failure::Failure;
use crate::parse::duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(clap::Args, Clone, Debug)]
pub struct WaitArgs {
    /// Return only when it is so
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up after this long, with exit code 124
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse, requires = "wait")]
    pub wait_timeout: Duration,
}

/// What one look showed.
pub enum Progress {
    Reached,
    /// Not yet; what is the case now, for people.
    Not(String),
}

/// # Errors
/// [`Failure::WaitTimedOut`]; what `look` finds hopeless; another cluster.
pub async fn until<L>(client: &mut Client, args: &WaitArgs, goal: &str, look: L) -> Result<(), Failure>
where
    L: Fn(&Registry) -> Result<Progress, Failure>,
{
    if !args.wait {
        return Ok(());
    }
    let seen = Mutex::new("nothing was seen yet".to_owned());
    let note = |now: String| *seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
    let watching = async {
        loop {
            match client.read_as(false).await {
                Ok(registry) => match look(&registry)? {
                    Progress::Reached => return Ok(()),
                    Progress::Not(now) => note(now),
                },
                Err(failure) if failure.passes() => note(failure.to_string()),
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(args.wait_timeout, watching).await {
        Ok(result) => result,
        Err(_) => {
            let now = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
            Err(Failure::WaitTimedOut { after: args.wait_timeout, goal: goal.to_owned(), now })
        }
    }
}
