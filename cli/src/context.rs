//! What every client command is given: the client and where to print.

use berth_state::outcome::{Accepted, Made};

use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::{Output, say};

pub struct Context {
    pub client: Client,
    pub out: Output,
}

impl Context {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { client: Client::new(config), out: Output::new(config.format) }
    }

    /// Reports an accepted write: what was done, and its revision.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn done(&self, accepted: &Accepted, what: &str) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.show(accepted, String::new);
        }
        let note = match accepted.made {
            Made::Unchanged => ": it was so already".to_owned(),
            Made::Version(version) => format!(", version {version}"),
            Made::Done | Made::Lease { .. } | Made::Session(_) => String::new(),
        };
        say(&format!("{what} (revision {}{note})", accepted.revision));
        Ok(())
    }
}
