//! Reads the applied state when a store is opened, and removes what an install that was cut off left behind.

use std::ops::ControlFlow;
use std::path::Path;

use super::{APPLIED, object_key};
use crate::engine::{Batch, Direction, Engine, Family, Span};
use crate::store::codec::unseal;
use crate::store::error::StoreError;
use crate::store::events::drop_beyond;
use crate::store::machine::{Machine, Object};
use crate::store::pb;
use crate::store::shared::Standing;

/// The machine, and where it stands.
///
/// # Errors
/// [`StoreError::DamagedState`] when a record or an object cannot be read.
pub fn load<M: Machine>(engine: &dyn Engine, path: &Path) -> Result<(M, Standing), StoreError> {
    let damaged = |detail: String| StoreError::DamagedState { path: path.to_owned(), detail };
    let standing = match engine.get(Family::SmMeta, APPLIED)? {
        None => Standing::default(),
        Some(bytes) => {
            let applied: pb::Applied = unseal(&bytes).map_err(|e| damaged(e.to_string()))?;
            Standing::from_pb(&applied).map_err(|e| damaged(e.to_string()))?
        }
    };
    drop_leftovers(engine, &standing)?;
    let objects = objects(engine, standing.generation)?;
    let machine = M::load(&mut objects.into_iter()).map_err(damaged)?;
    Ok((machine, standing))
}

fn objects(engine: &dyn Engine, generation: u64) -> Result<Vec<Object>, StoreError> {
    let span = Span { from: object_key(generation, &[]), to: generation.checked_add(1).map(|next| object_key(next, &[])) };
    let mut objects = Vec::new();
    engine.scan(Family::State, &span, Direction::Forward, &mut |key, value| {
        if let Some((_, key)) = key.split_first_chunk::<8>() {
            objects.push((key.to_vec(), value.to_vec()));
        }
        ControlFlow::Continue(())
    })?;
    Ok(objects)
}

/// Not synced: what comes back is dropped again at the next open.
fn drop_leftovers(engine: &dyn Engine, standing: &Standing) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.delete_range(Family::State, Vec::new(), object_key(standing.generation, &[]));
    if let Some(next) = standing.generation.checked_add(1) {
        // Longer than any key can be below the last generation, so that it is an end.
        batch.delete_range(Family::State, object_key(next, &[]), vec![0xff; 9]);
    }
    drop_beyond(&mut batch, standing.head.as_ref());
    Ok(engine.write(batch)?)
}
