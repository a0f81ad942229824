//! Signals, as the kernel has them: rustix has no masks and no waiting for a signal. The guard has no handler at all; everything is blocked and taken one by
//! one, so that nothing interrupts anything.
#![allow(unsafe_code, reason = "no crate wraps signal masks and waits without starting a thread")]

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// The signal mask that the guard was started with, and that its children get.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

/// A signal that was sent to the guard.
#[derive(Clone, Copy)]
pub(crate) struct Caught {
    pub(crate) number: i32,
    /// What `sigqueue` sent along.
    value: Option<libc::sigval>,
}

impl Caught {
    pub(crate) fn is_child(self) -> bool {
        self.number == libc::SIGCHLD
    }

    /// Sends it on, to this process alone.
    pub(crate) fn forward(self, to: Pid) {
        let pid = to.as_raw_nonzero().get();
        // SAFETY: both calls take plain numbers; `pid` is a child that is not reaped, so its number is nobody else's.
        unsafe {
            match self.value {
                Some(value) => libc::sigqueue(pid, self.number, value),
                None => libc::kill(pid, self.number),
            }
        };
    }
}

/// Blocks every signal; the kernel still kills for what the process does wrong itself (a fault).
pub(crate) fn block_signals() -> Mask {
    let mut former = MaybeUninit::<libc::sigset_t>::zeroed();
    let all = all();
    // SAFETY: valid pointers to a full set and to room for one; the default disposition runs no code of ours.
    unsafe {
        // Whoever started us may have ignored it, and then the kernel keeps no dead child for us to see.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, former.as_mut_ptr());
        Mask(former.assume_init())
    }
}

/// For a child before its program.
pub(crate) fn restore(mask: &Mask) {
    // SAFETY: a valid pointer to a set; the former one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) };
}

fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Takes the next signal; `None`: none came in time.
pub(crate) fn next_signal(at_most: Duration) -> Option<Caught> {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    let set = all();
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: valid pointers; the kernel fills `info` when it returns a signal, and zeros are a valid one otherwise.
    let (number, info) = unsafe {
        let number = libc::sigtimedwait(&raw const set, info.as_mut_ptr(), &raw const timeout);
        (number, info.assume_init())
    };
    if number <= 0 {
        return None;
    }
    // SAFETY: a queued signal carries a value.
    let value = (info.si_code == libc::SI_QUEUE).then(|| unsafe { info.si_value() });
    Some(Caught { number, value })
}

/// A second process like this one. `None`: the child.
///
/// # Errors
/// The kernel gives no process.
pub(crate) fn fork() -> rustix::io::Result<Option<Pid>> {
    // SAFETY: the guard has one thread, so the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => Ok(None),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Kills every process that this one may signal and that is in its pid namespace, except itself. For PID 1 only.
pub(crate) fn kill_all_others() {
    assert!(is_first(), "elsewhere this would hit strangers");
    // SAFETY: plain numbers; -1 spares PID 1 itself, and the namespace is the instance's own.
    unsafe { libc::kill(-1, Signal::KILL.as_raw()) };
}

/// Whether this is PID 1 of its namespace, whose end is everybody's.
pub(crate) fn is_first() -> bool {
    rustix::process::getpid().as_raw_nonzero().get() == 1
}

/// Ends the process at once: no destructor, no buffer, nothing that could wait.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: does not return and touches nothing of this process.
    unsafe { libc::_exit(code.into()) }
}

fn last_error() -> rustix::io::Errno {
    let raw = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN);
    rustix::io::Errno::from_raw_os_error(raw)
}
