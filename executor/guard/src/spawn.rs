//! Starting a child without waiting for it: a program on a dead file system hangs in its very start, and the deadline must be watched then too. So not by
//! `Command::spawn`, which waits; the child tells through a pipe that closes when its program runs.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use berth_guard::exit;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::termios::{isatty, tcsetpgrp};

use crate::sys::{self, Mask};

/// A started process; whether its program runs is known later.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// Ends without a word when the program runs, with an error number when it could not.
    said: Option<std::fs::File>,
    /// Why the program could not be started.
    pub(crate) failed: Option<io::Error>,
}

impl Child {
    /// Whether it is still unknown if the program runs.
    pub(crate) fn is_starting(&self) -> bool {
        self.said.is_some()
    }

    /// Looks once; whether it has just become known that the program runs.
    pub(crate) fn listen(&mut self) -> bool {
        let Some(pipe) = &mut self.said else { return false };
        let mut number = [0; 4];
        match pipe.read(&mut number) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return false,
            Ok(4) => self.failed = Some(io::Error::from_raw_os_error(i32::from_ne_bytes(number))),
            Ok(_) | Err(_) => {}
        }
        self.said = None;
        self.failed.is_none()
    }
}

/// The exit code that stands for a program that could not be started; as Docker and shells say it.
pub(crate) fn failure_code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::NOT_EXECUTABLE }
}

/// Starts `words` with this process's environment, folder and streams, and with the mask the guard was started with. On a terminal it gets a process
/// group of its own in the foreground, so that the terminal's signals reach it and not, a second time, through the guard. Elsewhere it stays in the guard's
/// group: whoever kills that group means both.
///
/// # Errors
/// The kernel gives no process or no pipe.
pub(crate) fn spawn(words: &[OsString], mask: &Mask) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // Nobody's thread is held up by it: neither end blocks.
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut command = Command::new(program);
    command.args(arguments);
    match sys::fork()? {
        None => {
            take_terminal();
            sys::restore(mask);
            let error = command.exec();
            let number = error.raw_os_error().unwrap_or(libc::ENOENT);
            let _ = std::fs::File::from(writer).write_all(&number.to_ne_bytes());
            sys::exit(failure_code(&error))
        }
        Some(pid) => Ok(Child { pid, said: Some(reader.into()), failed: None }),
    }
}

fn take_terminal() {
    let stdin = io::stdin();
    if isatty(stdin.as_fd()) && rustix::process::setpgid(None, None).is_ok() {
        // Every signal is blocked here, so the kernel does not stop us for asking from the background.
        let _ = tcsetpgrp(stdin.as_fd(), rustix::process::getpid());
    }
}

/// The terminal goes back to who had it: the guard's own group.
pub(crate) fn give_terminal_back() {
    let stdin = io::stdin();
    if isatty(stdin.as_fd()) {
        let _ = tcsetpgrp(stdin.as_fd(), rustix::process::getpgrp());
    }
}
