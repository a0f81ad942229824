//! What runs beside the log. Notes are kept by every node; everything else is done by the leader alone and only *proposes* (L21): each file
//! is a pure function from applied state (and notes) to orders, so that doing it late or twice is harmless.
//!
//! - [`notes`]: when this node saw which renewal, by its own clock (L10).
//! - [`timers`]: what is over by those notes: expiry, lock delay, activation, drain time, silent sessions (L11-L14, L17).
//! - [`placement`]: the next grant. [`revocation`]: leases that should stop.
//! - [`fencing`]: who is to be fenced, and how it is proven (L15, L21). [`fencer`]: the actions under way.
//! - [`driver`]: the task that turns them and proposes.

pub mod driver;
pub mod fencer;
pub mod fencing;
pub mod notes;
pub mod placement;
pub mod revocation;
pub mod timers;
