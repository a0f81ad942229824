//! Compiles every .proto below `proto/` in pure Rust (no protoc). Messages always; gRPC clients and servers only with feature `rpc`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::disallowed_types,
    reason = "runs on the builder's machine, not in the state machine"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    find(root, &mut files)?;
    files.sort();
    let rpc = std::env::var_os("CARGO_FEATURE_RPC").is_some();
    // BTreeMap: a message is encoded to the same bytes on every node.
    tonic_prost_build::configure().build_client(rpc).build_server(rpc).btree_map(".").compile_fds(protox::compile(files, [root])?)?;
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
