//! Secrets: values that commands, state and snapshots must carry and nobody is to be shown: no event has them, and printed or serialized they are stars.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

/// What stands for a secret where it is shown. In an update it means: as it was.
pub const HIDDEN: &str = "********";

/// Options by name, whose values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub BTreeMap<String, String>);

impl Secrets {
    /// The names, each with [`HIDDEN`].
    #[must_use]
    pub fn hidden(&self) -> Self {
        Self(self.0.keys().map(|name| (name.clone(), HIDDEN.to_owned())).collect())
    }

    /// Takes from `former` each value that is [`HIDDEN`] here: whoever changes what he was shown cannot know it.
    #[must_use]
    pub fn filled(&self, former: &Self) -> Self {
        let fill = |(name, value): (&String, &String)| {
            let known = if value == HIDDEN { former.0.get(name).unwrap_or(value) } else { value };
            (name.clone(), known.clone())
        };
        Self(self.0.iter().map(fill).collect())
    }

    /// A text that somebody else wrote, such as what a program printed, without any of these values.
    #[must_use]
    pub fn redacted(&self, text: &str) -> String {
        // Shorter ones would take half of any text away, and are no secret.
        let values = self.0.values().filter(|value| value.len() >= 4);
        values.fold(text.to_owned(), |text, value| text.replace(value.as_str(), HIDDEN))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, HIDDEN))).finish()
    }
}

impl Serialize for Secrets {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.keys().map(|name| (name, HIDDEN)))
    }
}
