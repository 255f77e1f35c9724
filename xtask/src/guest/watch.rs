// SPDX-License-Identifier: GPL-2.0
//! Reads the guest's console line by line: what the kernel complains about, and whether it died.

use std::collections::VecDeque;

/// Lines kept for an error message.
const LAST: usize = 30;
/// A report longer than this is cut.
const REPORT: usize = 80;
/// Reports kept; a storm of them adds nothing.
const REPORTS: usize = 20;

/// How a line that starts a report begins, after its time stamp.
const STARTS: [&str; 20] = [
    "BUG: ",
    "BUG ",
    "WARNING: ",
    "Oops: ",
    "Oops[",
    "UBSAN: ",
    "KCSAN: ",
    "ODEBUG: ",
    "INFO: task ",
    "INFO: possible ",
    "INFO: trying to register non-static key",
    "DEBUG_LOCKS_WARN_ON",
    "refcount_t: ",
    "general protection fault",
    "kernel BUG at ",
    "kernel tried to execute NX-protected page",
    "watchdog: BUG: ",
    "Kernel panic - not syncing",
    "kmemleak: unreferenced object",
    "list_add corruption",
];
/// What a line that starts a report contains.
const CONTAINS: [&str; 12] = [
    "possible recursive locking detected",
    "possible circular locking dependency detected",
    "inconsistent lock state",
    "suspicious RCU usage",
    "invalid wait context",
    "lock held when returning to user space",
    "bad unlock balance detected",
    "soft lockup - CPU",
    "hard LOCKUP",
    "sleeping function called from invalid context",
    "new suspected memory leaks",
    "list_del corruption",
];
/// How KCSAN's reports begin. They are about any code of the kernel; those that name none of ours
/// are no complaint, as mainline has some of its own.
const RACE: &str = "BUG: KCSAN: ";
/// The line before and behind a report of KASAN or KCSAN begins with this.
const RULE: &str = "==========";
/// What the names of our functions and files contain, Rust's mangled ones too.
const OURS: [&str; 7] = [
    "evpoll",
    "fcblist",
    "fcb_",
    "file_notify_",
    "file_send_notify",
    "10anon_inode",
    "9wait_lock",
];
/// Of a processor that makes no progress.
const STALLS: [&str; 5] = [
    "detected stalls on",
    "detected expedited stalls on",
    "self-detected stall on",
    "soft lockup - CPU",
    "hard LOCKUP",
];

#[derive(Default)]
pub struct Watch {
    line: Vec<u8>,
    last: VecDeque<String>,
    reports: Vec<Vec<String>>,
    /// The last report goes on.
    open: bool,
    stalls: u32,
    races_elsewhere: u32,
    panic: Option<String>,
}

impl Watch {
    /// More of the console. `each` sees every line that it completes.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let line = String::from_utf8_lossy(&line).into_owned();
                    each(&line);
                    self.see(line);
                }
                b'\r' => (),
                other => self.line.push(*other),
            }
        }
    }

    fn see(&mut self, line: String) {
        let message = message(&line);
        if STALLS.iter().any(|mark| message.contains(mark)) {
            self.stalls += 1;
        }
        if let Some(why) = message.strip_prefix("Kernel panic - not syncing: ") {
            self.panic = Some(why.to_owned());
        }
        if self.open {
            let report = self.reports.last_mut();
            let full = report.is_none_or(|report| {
                report.push(line.clone());
                report.len() >= REPORT
            });
            let ends = message.starts_with("---[ end trace") || message.starts_with(RULE);
            self.open = !full && !ends;
            if !self.open {
                self.sort_out();
            }
        } else if starts_report(message) && self.reports.len() < REPORTS {
            self.reports.push(vec![line.clone()]);
            self.open = true;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Drops the last report, now complete, if it is about a race between others.
    fn sort_out(&mut self) {
        let elsewhere = self.reports.last().is_some_and(|report| {
            let race = report
                .first()
                .is_some_and(|head| message(head).starts_with(RACE));
            race && !is_race_of_ours(report)
        });
        if elsewhere {
            self.reports.pop();
            self.races_elsewhere += 1;
        }
    }

    /// Data races that KCSAN reported and that no code of ours has a part in.
    pub fn races_elsewhere(&self) -> u32 {
        self.races_elsewhere
    }

    /// What the kernel complained about, a list of lines each.
    pub fn reports(&self) -> &[Vec<String>] {
        &self.reports
    }

    /// Why the kernel died, if it did.
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// How often a processor was reported to make no progress.
    pub fn stalls(&self) -> u32 {
        self.stalls
    }

    /// The end of the console, with what has not become a line yet.
    pub fn last(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.last.iter().cloned().collect();
        if !self.line.is_empty() {
            lines.push(String::from_utf8_lossy(&self.line).into_owned());
        }
        lines
    }
}

/// Whether one of the two accesses that KCSAN reports is in our code. It may be in a helper that
/// our code calls, but what other code does on our behalf (`->poll()`) is its own matter.
fn is_race_of_ours(report: &[String]) -> bool {
    let ours = |line: &str| OURS.iter().any(|name| line.contains(name));
    report.iter().enumerate().any(|(i, line)| {
        let line = message(line);
        let access = line.starts_with("read") || line.starts_with("write");
        let mut stack = report[i + 1..].iter().map(|line| message(line));
        let innermost = stack.find(|frame| !frame.starts_with("rust_helper_"));
        access && line.contains(" of ") && innermost.is_some_and(ours)
    })
}

fn starts_report(message: &str) -> bool {
    let stall = STALLS.iter().any(|mark| message.contains(mark));
    stall
        || STARTS.iter().any(|mark| message.starts_with(mark))
        || CONTAINS.iter().any(|mark| message.contains(mark))
}

/// A console line without its time stamp and thread: `[    1.234567][   T12] `.
pub fn message(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some((inside, after)) = rest.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let stamp = |c: char| c.is_ascii_digit() || c == '.' || c == ' ';
        let inside = inside.trim_start();
        let caller = inside.strip_prefix(['T', 'C']).unwrap_or(inside);
        if caller.is_empty() || !caller.chars().all(stamp) {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(text: &str) -> Watch {
        let mut watch = Watch::default();
        watch.feed(text.as_bytes(), |_| ());
        watch
    }

    #[test]
    fn stamps_are_taken_off() {
        assert_eq!(message("[    0.000000] Linux version"), "Linux version");
        assert_eq!(message("[   12.345678][  T123] BUG: x"), "BUG: x");
        assert_eq!(message("[   12.345678][    C0] BUG: x"), "BUG: x");
        assert_eq!(message("[drm] nothing"), "[drm] nothing");
        assert_eq!(message("no stamp"), "no stamp");
    }

    #[test]
    fn an_ordinary_boot_is_clean() {
        let watch = watch(
            "[    0.000000] Linux version 7.3.4\r\n\
             [    0.000000] Memory: 2000K/3000K available\r\n\
             [    0.010000] rcu: RCU debug extended QS entry/exit.\r\n\
             [    0.020000] DEBUG: nothing, no WARNING here\r\n\
             [    1.000000] kmemleak: Kernel memory leak detector initialized (mem pool available: 1)\r\n",
        );
        assert!(watch.reports().is_empty());
        assert_eq!(watch.panic(), None);
        assert_eq!(watch.last().len(), 5);
    }

    #[test]
    fn a_warning_is_collected_to_its_end() {
        let watch = watch(
            "[    1.0] ------------[ cut here ]------------\n\
             [    1.0] WARNING: fs/evpoll/core.c:12 at evpoll_x+0x1/0x2, CPU#0: t/1\n\
             [    1.0] Call Trace:\n\
             [    1.0] ---[ end trace 0000000000000000 ]---\n\
             [    1.1] all is well\n",
        );
        assert_eq!(watch.reports().len(), 1);
        assert_eq!(watch.reports()[0].len(), 3);
    }

    #[test]
    fn what_the_checkers_say_is_a_report() {
        for line in [
            "BUG: KASAN: slab-use-after-free in ep_poll+0x1/0x2",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: sleeping function called from invalid context at mm/page_alloc.c:1",
            "BUG kmalloc-64 (Not tainted): Poison overwritten",
            "Oops: Oops: 0002 [#1] SMP NOPTI",
            "general protection fault, maybe for address 0x1: 0000 [#1]",
            "WARNING: possible recursive locking detected",
            "WARNING: suspicious RCU usage",
            "[ BUG: Invalid wait context ] is followed by invalid wait context",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "INFO: task sh:12 blocked for more than 120 seconds.",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "kmemleak: unreferenced object 0xffff888004 (size 64):",
            "refcount_t: underflow; use-after-free.",
            "UBSAN: array-index-out-of-bounds in fs/x.c:1:2",
        ] {
            let watch = watch(&format!("[    1.000000] {line}\n"));
            assert_eq!(watch.reports().len(), 1, "{line}");
        }
    }

    #[test]
    fn races_count_where_our_code_has_a_part() {
        let race = |innermost: &str, caller: &str| {
            format!(
                "[ 1.0] ==================================================================\n\
                 [ 1.0] BUG: KCSAN: data-race in {innermost} / tick\n\
                 [ 1.0] \n\
                 [ 1.0] read (marked) to 0xffff888 of 4 bytes by task 5 on cpu 0:\n\
                 [ 1.0]  {innermost}+0x1/0x2\n\
                 [ 1.0]  {caller}+0x1/0x2\n\
                 [ 1.0] \n\
                 [ 1.0] write to 0xffff888 of 4 bytes by task 6 on cpu 1:\n\
                 [ 1.0]  tick+0x1/0x2\n\
                 [ 1.0] ==================================================================\n"
            )
        };
        let queue = "_RNvMs_NtCs1_6evpoll5queueNtB4_5Queue4wait";
        let text = race("tcp_poll", "sock_poll")
            + &race(queue, "ksys_x")
            + &race("pipe_poll", queue)
            + &race("rust_helper_atomic_read", queue);
        let watch = watch(&text);
        assert_eq!(watch.races_elsewhere(), 2);
        assert_eq!(watch.reports().len(), 2);
        assert!(watch.reports()[0][0].contains("evpoll"));
        assert!(watch.reports()[1][0].contains("atomic_read"));
    }

    #[test]
    fn a_panic_is_told_apart() {
        let watch = watch(
            "[    9.9] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n\
             [    9.9] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\n",
        );
        assert_eq!(
            watch.panic(),
            Some("Attempted to kill init! exitcode=0x00000100")
        );
    }

    #[test]
    fn stalls_are_counted_and_lines_may_come_in_pieces() {
        let mut watch = Watch::default();
        let mut lines = Vec::new();
        for piece in [
            "[ 1.0] rcu: INFO: rcu_sched self-det",
            "ected stall on CPU\r\nrest",
        ] {
            watch.feed(piece.as_bytes(), |line| lines.push(line.to_owned()));
        }
        assert_eq!(watch.stalls(), 1);
        assert_eq!(lines.len(), 1);
        assert_eq!(watch.last().last().map(String::as_str), Some("rest"));
    }

    #[test]
    fn a_storm_of_reports_is_bounded() {
        let storm = "WARNING: x\n---[ end trace 0 ]---\n".repeat(500);
        assert_eq!(watch(&storm).reports().len(), REPORTS);
    }
}
