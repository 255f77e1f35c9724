// SPDX-License-Identifier: GPL-2.0
//! What the kernel complains about while a test runs, so that the test fails which made it do so.
//!
//! The harness watches the console as well and fails the whole run; but the console does not say
//! which test it was.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// How a message begins that is a complaint.
const COMPLAINTS: [&str; 12] = [
    "BUG: ",
    "BUG ",
    "WARNING: ",
    "Oops: ",
    "UBSAN: ",
    "ODEBUG: ",
    "INFO: task ",
    "INFO: trying to register non-static key",
    "DEBUG_LOCKS_WARN_ON",
    "refcount_t: ",
    "list_add corruption",
    "list_del corruption",
];
/// KCSAN reports races of any code. Only those of ours are of interest, and only those that the
/// first line names: the harness looks at the whole report.
const RACE: &str = "BUG: KCSAN: ";
const OURS: [&str; 4] = ["evpoll", "fcblist", "file_notify_", "file_send_notify"];

/// The kernel's log, from some moment on.
pub struct Complaints {
    log: File,
}

impl Complaints {
    /// From now on. None where the log may not be read.
    pub fn from_now() -> Option<Complaints> {
        let mut log = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .ok()?;
        log.seek(SeekFrom::End(0)).ok()?;
        Some(Complaints { log })
    }

    /// The first line of each that came since the last time.
    pub fn new_ones(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        // A read returns one record.
        let mut record = [0u8; 8192];
        loop {
            match self.log.read(&mut record) {
                Ok(0) => return found,
                Ok(n) => found.extend(complaint(&String::from_utf8_lossy(&record[..n]))),
                // Records were overwritten before they were read.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => continue,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return found,
            }
        }
    }
}

/// The message of a record of the kernel's log (`6,339,5140900,-;text`), if it is a complaint.
fn complaint(record: &str) -> Option<String> {
    let text = record.split_once(';')?.1.lines().next()?;
    let bad = COMPLAINTS.iter().any(|begin| text.starts_with(begin));
    let ours = OURS.iter().any(|name| text.contains(name));
    (bad && (ours || !text.starts_with(RACE))).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_the_rest() {
        let kasan = "3,1,5,-;BUG: KASAN: slab-use-after-free in x+0x1/0x2\n CALLER=T1\n";
        assert!(complaint(kasan).unwrap().ends_with("x+0x1/0x2"));
        let lockdep = "4,2,6,-;WARNING: possible recursive locking detected\n";
        assert!(complaint(lockdep).is_some());
        let race = |of: &str| format!("3,3,7,-;BUG: KCSAN: data-race in a / {of}\n");
        assert_eq!(complaint(&race("tcp_poll")), None);
        assert!(complaint(&race("_RNv6evpoll5watch")).is_some());
        assert_eq!(complaint("6,4,8,-;evpoll: no BUG: here\n"), None);
        assert_eq!(complaint("nothing of the kind"), None);
    }
}
