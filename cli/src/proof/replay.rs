//! The state that the events alone give. An event that does not fit what came before it is a finding, never a crash: the file may come from anybody.

use std::panic::{AssertUnwindSafe, catch_unwind};

use berth_state::{ClusterState, Event};

#[derive(Default)]
pub struct Replay {
    state: ClusterState,
}

impl Replay {
    #[must_use]
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// # Errors
    /// What the event contradicts. The state is of no use after that.
    pub fn evolve(&mut self, event: &Event) -> Result<(), String> {
        let state = &mut self.state;
        // `evolve` panics on what `decide` would never have written.
        match quietly(|| catch_unwind(AssertUnwindSafe(|| state.evolve(event)))) {
            Ok(()) => Ok(()),
            Err(cause) => {
                let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
                Err(format!("{} does not fit the history before it ({})", event.fact.kind(), text.unwrap_or("it contradicts the state")))
            }
        }
    }
}

/// Without the panic's own text on standard error: what was caught is told as a finding. The client has one thread here; tests have many, and want
/// the texts of their own.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    if cfg!(test) {
        return run();
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = run();
    std::panic::set_hook(hook);
    result
}
