// SPDX-License-Identifier: GPL-2.0
//! QEMU as a child process that never outlives xtask.

use crate::error::Fatal;
use crate::qemu;
use anyhow::Context;
use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Killed when it is dropped, and by the kernel when xtask dies in whatever way.
pub struct Qemu {
    child: Child,
}

impl Qemu {
    /// Starts it with the given ends of sockets; what it says goes to the file `said`.
    pub fn start(arguments: &[String], inherited: Vec<RawFd>, said: &Path) -> anyhow::Result<Qemu> {
        let log =
            File::create(said).with_context(|| format!("Failed to write {}", said.display()))?;
        let parent = std::process::id();
        let mut command = Command::new(qemu::PROGRAM);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // SAFETY: between fork and exec only async-signal-safe calls are made, and no memory is
        // allocated.
        unsafe { command.pre_exec(move || prepare(parent, &inherited)) };
        let child = command.spawn().map_err(|error| {
            let text = format!(
                "cannot start {}: {error}; install {}",
                qemu::PROGRAM,
                qemu::PACKAGE
            );
            Fatal::Setup(text)
        })?;
        Ok(Qemu { child })
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: dies with its parent, is out of reach of the terminal's Ctrl-C (which the guest's
/// command may want), takes every signal, and keeps its ends of the sockets.
fn prepare(parent: u32, inherited: &[RawFd]) -> std::io::Result<()> {
    let checked = |result: i32| match result {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: system calls on numbers; the signal set is initialised by sigemptyset before use.
    unsafe {
        checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have died before that took effect.
        if libc::getppid() as u32 != parent {
            libc::_exit(1);
        }
        checked(libc::setsid())?;
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        for socket in inherited {
            checked(libc::fcntl(*socket, libc::F_SETFD, 0))?;
        }
    }
    Ok(())
}
