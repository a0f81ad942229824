//! Enums as the one word that `-o json` prints, for tables too, so that what is seen in one can be searched in the other.

use berth_state::ids::{LeaseId, Token};
use berth_state::noun::lease::{Lease, Phase};
use serde::Serialize;
use serde_json::Value;

/// The word of a unit variant, or of the `kind` of a tagged one.
#[must_use]
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(Value::Object(fields)) => match fields.get("kind") {
            Some(Value::String(kind)) => kind.clone(),
            Some(_) | None => fields.keys().next().cloned().unwrap_or_default(),
        },
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | Err(_) => String::new(),
    }
}

/// `a=b,c=d`.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}

/// A lease in another object's answer.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseRef {
    pub lease: LeaseId,
    pub token: Token,
    pub container: String,
    pub host: String,
    pub phase: Phase,
}

impl From<&Lease> for LeaseRef {
    fn from(lease: &Lease) -> Self {
        Self {
            lease: lease.id,
            token: lease.token,
            container: lease.container.to_string(),
            host: lease.host.to_string(),
            phase: lease.phase,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_state::noun::container::RestartPolicy;
    use berth_state::noun::lease::{Evidence, InstanceState};

    #[test]
    fn a_word_is_what_json_prints() {
        assert_eq!(word(&InstanceState::BackOff), "back-off");
        assert_eq!(word(&Evidence::StorageCut), "storage-cut");
        assert_eq!(word(&RestartPolicy::OnFailure { max_attempts: 2 }), "on-failure");
        assert_eq!(word(&None::<u8>), "");
    }
}
