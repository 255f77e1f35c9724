// SPDX-License-Identifier: GPL-2.0
//! Signals as events. While a guest runs, the signals that would end xtask are only noted, so that
//! the guest and the terminal are cleaned up first.

use std::io::{PipeWriter, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

const TAKEN: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGWINCH];

/// Where the handler writes the numbers of signals, whichever thread it runs in.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The signals are taken in until this is dropped.
pub struct Taken {
    before: Vec<(i32, libc::sigaction)>,
    /// Closed after the handlers are gone, which ends the thread that reads.
    _pipe: PipeWriter,
}

impl Taken {
    /// `deliver` is called in a thread of its own, with the number of each signal that comes, until
    /// it returns false.
    pub fn start(mut deliver: impl FnMut(i32) -> bool + Send + 'static) -> std::io::Result<Taken> {
        let (mut reader, pipe) = std::io::pipe()?;
        PIPE.store(pipe.as_raw_fd(), Ordering::SeqCst);
        let mut before = Vec::new();
        for signal in TAKEN {
            let old = action(signal, None);
            // What xtask was started with ignored (by nohup, say) stays so.
            if old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            before.push((signal, old));
            action(signal, Some(&handler()));
        }
        std::thread::spawn(move || {
            let mut signal = [0];
            while reader.read_exact(&mut signal).is_ok() && deliver(i32::from(signal[0])) {}
        });
        Ok(Taken {
            before,
            _pipe: pipe,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for (signal, old) in &self.before {
            action(*signal, Some(old));
        }
        PIPE.store(-1, Ordering::SeqCst);
    }
}

/// What happens at the signal, before `new`, if any, takes effect.
fn action(signal: i32, new: Option<&libc::sigaction>) -> libc::sigaction {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or points to an action; the call fills in `old`, which is valid when
    // zero, too.
    unsafe {
        libc::sigaction(signal, new, old.as_mut_ptr());
        old.assume_init()
    }
}

fn handler() -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zero is an action with an empty mask.
    let mut action = unsafe {
        libc::sigemptyset(&raw mut (*action.as_mut_ptr()).sa_mask);
        action.assume_init()
    };
    action.sa_sigaction = note as extern "C" fn(i32) as usize;
    action.sa_flags = libc::SA_RESTART;
    action
}

/// The handler: makes one system call that handlers may make, and leaves errno alone.
extern "C" fn note(signal: i32) {
    let byte = signal as u8;
    // SAFETY: one byte to a descriptor that is open or -1; errno is the thread's own.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_signal_becomes_an_event_whichever_thread_gets_it() {
        let (sender, events) = channel();
        let taken = Taken::start(move |signal| sender.send(signal).is_ok()).unwrap();
        // SAFETY: a signal to this process, which handles it.
        unsafe { libc::kill(libc::getpid(), libc::SIGWINCH) };
        let signal = events.recv_timeout(Duration::from_secs(10));
        assert_eq!(signal, Ok(libc::SIGWINCH));
        drop(taken);
        assert_eq!(action(libc::SIGWINCH, None).sa_sigaction, libc::SIG_DFL);
    }
}
