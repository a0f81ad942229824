//! The nouns: what the cluster's state consists of. Plain data and what follows from one object alone; rules between objects
//! are in `decide`.

pub mod cluster;
pub mod container;
pub mod ending;
pub mod fence;
pub mod host;
pub mod lease;
pub mod secrets;
pub mod session;
pub mod volume;
