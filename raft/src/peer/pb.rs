//! The generated messages and stubs of proto/peer.proto. Used inside [`crate::peer`] only.
#![allow(clippy::all, clippy::wildcard_enum_match_arm, missing_docs, reason = "generated code")]

tonic::include_proto!("berth.peer.v1");
