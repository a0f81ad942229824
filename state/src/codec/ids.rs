//! Ids, tokens and counters as fields. Names and lengths are checked here, so that no malformed id gets past the codec.

use crate::codec::error::CodecError;
use crate::codec::wire::{At, Field};
use crate::ids::{
    BootId, ClusterId, ContainerId, HostId, Incarnation, LeaseId, LedgerId, NodeId, Nonce, RequestId, Revision, Seq, SessionId, Time,
    Token, Version, VolumeId,
};

macro_rules! names {
    ($($name:ident),*) => {$(
        impl Field<String> for $name {
            fn put(&self) -> String {
                self.as_str().to_owned()
            }
            fn take(pb: String, At { message, field }: At) -> Result<Self, CodecError> {
                Self::new(&pb).map_err(|why| CodecError::BadName { message, field, why })
            }
        }
    )*};
}
names!(HostId, VolumeId, ContainerId);

macro_rules! numbers {
    ($($name:ident),*) => {$(
        impl Field<u64> for $name {
            fn put(&self) -> u64 {
                self.0
            }
            fn take(pb: u64, _: At) -> Result<Self, CodecError> {
                Ok(Self(pb))
            }
        }
    )*};
}
numbers!(Revision, LeaseId, Token, SessionId, NodeId, Seq, Nonce, Version, Incarnation, Time);

macro_rules! sixteen_bytes {
    ($($name:ident),*) => {$(
        impl Field<Vec<u8>> for $name {
            fn put(&self) -> Vec<u8> {
                self.0.to_vec()
            }
            fn take(pb: Vec<u8>, At { message, field }: At) -> Result<Self, CodecError> {
                let id = pb.as_slice().try_into().map_err(|_| CodecError::BadIdLength { message, field, bytes: pb.len() })?;
                Ok(Self(id))
            }
        }
    )*};
}
sixteen_bytes!(ClusterId, BootId, LedgerId, RequestId);
