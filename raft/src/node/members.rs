//! The members a new group begins with, as every one of its nodes is told in the same words. Read once, by a node with an empty store; an
//! existing store knows its members from its log.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::types::Member;

/// Why a member list cannot begin a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    #[error("{text:?} is no member: write id=host:port, as in 1=10.0.0.1:7400,2=10.0.0.2:7400,3=10.0.0.3:7400")]
    Malformed { text: String },
    #[error("node id {id} is in the member list twice")]
    DoubleId { id: u64 },
    #[error("{address} is in the member list twice: each node has an address of its own")]
    DoubleAddress { address: String },
    #[error("a group of {count} cannot be begun: use one, three or five members (an even number survives no more failures than one less)")]
    Size { count: usize },
}

/// One, three or five members with ids above 0 and addresses of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMembers(BTreeMap<u64, Member>);

impl InitialMembers {
    /// # Errors
    /// [`MembersError`] when the list cannot begin a group.
    pub fn new(members: impl IntoIterator<Item = (u64, String)>) -> Result<Self, MembersError> {
        let mut checked: BTreeMap<u64, Member> = BTreeMap::new();
        for (id, address) in members {
            if id == 0 || !is_address(&address) {
                return Err(MembersError::Malformed { text: format!("{id}={address}") });
            }
            if checked.values().any(|member| member.address == address) {
                return Err(MembersError::DoubleAddress { address });
            }
            if checked.insert(id, Member { address }).is_some() {
                return Err(MembersError::DoubleId { id });
            }
        }
        match checked.len() {
            1 | 3 | 5 => Ok(Self(checked)),
            count => Err(MembersError::Size { count }),
        }
    }

    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.0.get(&id)
    }

    #[must_use]
    pub fn members(&self) -> &BTreeMap<u64, Member> {
        &self.0
    }

    /// The one that writes the first entry.
    #[must_use]
    pub fn lowest(&self) -> u64 {
        self.0.keys().next().copied().unwrap_or_default()
    }
}

/// `host:port`; whether the host exists is found out by connecting.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ',' | '=' | '@' | '?' | '#');
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

impl FromStr for InitialMembers {
    type Err = MembersError;

    fn from_str(text: &str) -> Result<Self, MembersError> {
        let member = |part: &str| {
            let malformed = || MembersError::Malformed { text: part.to_owned() };
            let (id, address) = part.trim().split_once('=').ok_or_else(malformed)?;
            Ok((id.parse::<u64>().map_err(|_| malformed())?, address.to_owned()))
        };
        Self::new(text.split(',').map(member).collect::<Result<Vec<_>, _>>()?)
    }
}

impl fmt::Display for InitialMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (id, member)) in self.0.iter().enumerate() {
            write!(f, "{}{id}={member}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_in_order_of_id() {
        let list: InitialMembers = "3=c:3, 1=a:1,2=[::1]:2".parse().unwrap();
        assert_eq!(list.to_string(), "1=a:1,2=[::1]:2,3=c:3");
        assert_eq!(list.lowest(), 1);
        assert_eq!(list.get(2).map(|m| m.address.as_str()), Some("[::1]:2"));
    }

    #[test]
    fn what_cannot_begin_a_group_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<InitialMembers>().unwrap_err();
        assert_eq!(error("1=a:1,2=b:2"), MembersError::Size { count: 2 });
        assert_eq!(error("1=a:1,2=b:2,3=c:3,4=d:4"), MembersError::Size { count: 4 });
        assert_eq!(error("1=a:1,1=b:1,2=c:1"), MembersError::DoubleId { id: 1 });
        assert_eq!(error("1=a:1,2=a:1,3=b:1"), MembersError::DoubleAddress { address: "a:1".to_owned() });
        for bad in ["", "1", "1=", "1=a", "1=a:x", "1=a:0", "1=:1", "0=a:1", "x=a:1", "1=a b:1", "1=http://a:1"] {
            assert!(matches!(error(bad), MembersError::Malformed { .. }), "{bad:?} was accepted");
        }
    }
}
