//! The Docker volume plugin: dockerd asks here whenever a container is about to get, or has let go of, a volume of Berth. It takes leases through
//! [`crate::external`] and knows no rule of its own. Must always answer, within Docker's patience and in one readable line, whatever it is asked.
//!
//! - [`server`]: HTTP/1.1 over a Unix socket, as Docker's plugins speak it. `protocol`: what is said. [`calls`]: the nine calls.

pub mod calls;
mod protocol;
pub mod server;

pub use calls::VolumePlugin;
