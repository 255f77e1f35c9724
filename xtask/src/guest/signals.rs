// SPDX-License-Identifier: GPL-2.0
//! Signals as events. While a guest runs, the signals that would end xtask are taken in by a
//! thread, so that the guest and the terminal are cleaned up first.

use std::mem::MaybeUninit;

const TAKEN: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGWINCH];

/// The signals are blocked, in this thread and those that it starts, until this is dropped.
pub struct Taken {
    before: libc::sigset_t,
}

impl Taken {
    /// `deliver` is called in a thread of its own, with the number of each signal that comes, until
    /// it returns false.
    pub fn start(mut deliver: impl FnMut(i32) -> bool + Send + 'static) -> Taken {
        let set = taken();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both point to signal sets; the call fills in the second one and cannot fail with
        // these arguments.
        let before = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, before.as_mut_ptr());
            before.assume_init()
        };
        std::thread::spawn(move || loop {
            let mut signal = 0;
            // SAFETY: a signal set and an integer to fill in.
            let failed = unsafe { libc::sigwait(&set, &mut signal) };
            if failed != 0 || !deliver(signal) {
                return;
            }
        });
        Taken { before }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

fn taken() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that sigaddset then changes.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in TAKEN.into_iter().filter(|signal| !ignored(*signal)) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Whether xtask was started with the signal ignored (by nohup, say), which stays so.
fn ignored(signal: i32) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only fills in the present one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
        now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
