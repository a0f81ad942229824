//! The enforcer: kills instances at their deadline, from a thread of its own. Needs no async runtime, no dockerd and no disk. Owns the deadline book, so
//! that "may I act" and "kill now" are decided under one lock. Without it running nothing may be renewed.
//!
//! Each change of a right is stored in the lease's deadline page under the same lock, so that the guards know it too: they enforce while the executor is down. A
//! restarted executor kills what is overdue before anything else.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_guard::page::PageWriter;
use berth_state::ids::Token;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::clock::HolderClock;
use crate::deadline::{DeadlineBook, Lost, Right};
use crate::pages::deadline_of;
use crate::runtime::{InstanceKey, KillHandle, RuntimeError, kill};

/// How often the clock is read. L19 asks for at most 50 ms.
pub const POLL: Duration = Duration::from_millis(20);

/// How an instance is killed without help; replaced in tests.
pub trait Killer: Send + Sync + 'static {
    /// # Errors
    /// The kernel refused.
    fn kill(&self, handle: &KillHandle) -> Result<(), RuntimeError>;

    /// # Errors
    /// The kernel's answer cannot be read.
    fn is_gone(&self, handle: &KillHandle) -> Result<bool, RuntimeError>;
}

/// By system calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemKiller;

impl Killer for SystemKiller {
    fn kill(&self, handle: &KillHandle) -> Result<(), RuntimeError> {
        kill::kill_now(handle)
    }

    fn is_gone(&self, handle: &KillHandle) -> Result<bool, RuntimeError> {
        kill::is_gone(handle)
    }
}

/// Clones share one book and one thread.
#[derive(Clone)]
pub struct Enforcer {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn HolderClock>,
    killer: Arc<dyn Killer>,
    state: Mutex<State>,
    wake: Condvar,
    /// Counts changes of the book; a watcher looks the book up itself.
    changed: watch::Sender<u64>,
}

struct State {
    book: DeadlineBook,
    handles: BTreeMap<Token, BTreeMap<InstanceKey, KillHandle>>,
    /// The deadline pages of rights that are not over: guards read them.
    pages: BTreeMap<Token, PageWriter>,
    /// Something is to be looked at before the next poll.
    hurry: bool,
    stop: bool,
}

/// The running thread; dropping it stops it, and kills nothing.
pub struct EnforcerThread {
    enforcer: Enforcer,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Enforcer {
    #[must_use]
    pub fn new(clock: Arc<dyn HolderClock>, killer: Arc<dyn Killer>, margin_ms: u64) -> Self {
        let book = DeadlineBook::new(margin_ms);
        let state = Mutex::new(State { book, handles: BTreeMap::new(), pages: BTreeMap::new(), hurry: false, stop: false });
        Self { shared: Arc::new(Shared { clock, killer, state, wake: Condvar::new(), changed: watch::Sender::new(0) }) }
    }

    /// Starts the thread that enforces.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn spawn(&self) -> io::Result<EnforcerThread> {
        let enforcer = self.clone();
        let thread = std::thread::Builder::new().name("berth-deadline".to_owned()).spawn(move || enforcer.run())?;
        Ok(EnforcerThread { enforcer: self.clone(), thread: Some(thread) })
    }

    fn run(&self) {
        loop {
            self.tick();
            let state = self.lock();
            if state.stop {
                return;
            }
            // Condvar wakes early for what is urgent; a spurious wake only polls once more.
            let waited = self.shared.wake.wait_timeout_while(state, POLL, |state| !state.hurry && !state.stop);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.hurry = false;
        }
    }

    /// One look at the clock: ends the rights whose deadline has come and kills every instance without a right, until it is gone.
    pub fn tick(&self) {
        let mut state = self.lock();
        let expired = state.book.expire(self.shared.clock.now());
        state.write_pages();
        let doomed = state.doomed();
        drop(state);
        for token in &expired {
            warn!(%token, "deadline passed: killing");
        }
        let gone: Vec<_> = doomed.into_iter().filter(|(token, key, handle)| self.finish(*token, key, handle)).collect();
        if gone.is_empty() && expired.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (token, key, _) in gone {
            state.remove(token, &key);
        }
        drop(state);
        self.announce();
    }

    /// Kills; whether it is gone then.
    fn finish(&self, token: Token, key: &InstanceKey, handle: &KillHandle) -> bool {
        // Every poll kills again: a process may have been forked at the very moment, and a repeat is harmless.
        if let Err(error) = self.shared.killer.kill(handle) {
            error!(%token, instance = %key.instance_name(), %error, "cannot kill");
        }
        match self.shared.killer.is_gone(handle) {
            Ok(gone) => gone,
            Err(error) => {
                error!(%token, instance = %key.instance_name(), %error, "cannot see whether it is dead");
                false
            }
        }
    }

    /// Reads or changes the book, and lets the thread look at once.
    pub fn book<R>(&self, act: impl FnOnce(&mut DeadlineBook) -> R) -> R {
        let mut state = self.lock();
        let result = act(&mut state.book);
        // Under the same lock: no page ever says what the book does not.
        state.write_pages();
        state.hurry = true;
        drop(state);
        self.shared.wake.notify_all();
        self.announce();
        result
    }

    /// Reads the book only.
    pub fn read<R>(&self, look: impl FnOnce(&DeadlineBook) -> R) -> R {
        look(&self.lock().book)
    }

    #[must_use]
    pub fn right(&self, token: Token) -> Right {
        self.read(|book| book.right(token))
    }

    /// I11, with the clock read now.
    #[must_use]
    pub fn may_act(&self, token: Token) -> bool {
        let state = self.lock();
        state.book.may_act(token, self.shared.clock.now())
    }

    /// I11 for a start, with the clock read now.
    #[must_use]
    pub fn may_start(&self, token: Token) -> bool {
        let state = self.lock();
        state.book.may_start(token, self.shared.clock.now())
    }

    /// From here on this page says what the book says of its token; at once, too.
    pub fn follow(&self, token: Token, page: PageWriter) {
        let mut state = self.lock();
        state.pages.insert(token, page);
        state.write_pages();
    }

    /// Whether a right there was is over, with the clock read now.
    #[must_use]
    pub fn is_over(&self, token: Token) -> bool {
        let state = self.lock();
        state.book.is_over(token, self.shared.clock.now())
    }

    /// Puts an instance under enforcement. `false`: its right is over; it is being killed.
    pub fn register(&self, token: Token, key: InstanceKey, handle: KillHandle) -> bool {
        let mut state = self.lock();
        state.handles.entry(token).or_default().insert(key, handle);
        state.hurry = true;
        let right = state.book.right(token);
        drop(state);
        self.shared.wake.notify_all();
        match right {
            Right::Until(deadline) => self.shared.clock.now() < deadline,
            Right::Open => true,
            Right::Never | Right::Over(_) => false,
        }
    }

    /// The runtime says that the instance is dead.
    pub fn unregister(&self, token: Token, key: &InstanceKey) {
        self.lock().remove(token, key);
    }

    /// The ledger failed: ends every right and kills everything, on the caller's thread. Returns when all is gone or `rounds` polls have passed.
    pub fn kill_all(&self, why: Lost, rounds: u32) {
        self.book(|book| book.lose_all(why));
        for _ in 0..rounds {
            self.tick();
            if self.lock().handles.is_empty() {
                return;
            }
            #[allow(clippy::disallowed_methods, reason = "last act of the process: nothing else is to run meanwhile")]
            std::thread::sleep(POLL);
        }
    }

    /// Counts up with every change of the book.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    fn announce(&self) {
        self.shared.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one insert or remove: a panic in a holder leaves it usable, and enforcement must go on.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Every instance under a token without a right.
    fn doomed(&self) -> Vec<(Token, InstanceKey, KillHandle)> {
        let over = self.handles.iter().filter(|(token, _)| match self.book.right(**token) {
            // An instance whose token never had a right must not run either.
            Right::Never | Right::Over(_) => true,
            Right::Until(_) | Right::Open => false,
        });
        over.flat_map(|(token, handles)| handles.iter().map(|(key, handle)| (*token, key.clone(), handle.clone()))).collect()
    }

    /// One store for each page that is not as the book says. What is over is over for good: such a page is let go.
    fn write_pages(&mut self) {
        let book = &self.book;
        self.pages.retain(|token, page| {
            let right = book.right(*token);
            let deadline = deadline_of(right);
            if page.load() != deadline {
                page.store(deadline);
            }
            match right {
                Right::Never | Right::Until(_) | Right::Open => true,
                Right::Over(_) => false,
            }
        });
    }

    fn remove(&mut self, token: Token, key: &InstanceKey) {
        if let Some(handles) = self.handles.get_mut(&token) {
            handles.remove(key);
            if handles.is_empty() {
                self.handles.remove(&token);
            }
        }
    }
}

impl EnforcerThread {
    /// Whether deadlines are still enforced.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for EnforcerThread {
    fn drop(&mut self) {
        self.enforcer.lock().stop = true;
        self.enforcer.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
#[path = "enforcer_tests.rs"]
mod tests;
