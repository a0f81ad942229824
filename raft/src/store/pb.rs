//! Generated protobuf types of `proto/disk.proto`. Used only by the store; nothing above sees them.

#![allow(clippy::all, missing_docs, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/berth.disk.v1.rs"));
