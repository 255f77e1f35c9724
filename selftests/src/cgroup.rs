// SPDX-License-Identifier: GPL-2.0
//! Control groups, for tests of what happens at a memory limit.

use std::ffi::CString;
use std::fs;

use crate::runner::skip;
use crate::sys::*;

/// A control group of this process's own, with the memory controller; removed when dropped.
pub struct Group {
    pub path: String,
    mounted: Option<TempDir>,
}

impl Group {
    /// Skips the test where there are none.
    #[track_caller]
    pub fn new() -> Self {
        Self::try_new().unwrap_or_else(|why| skip(&why))
    }

    /// Fails with the reason where there are none, or this process may not make one.
    pub fn try_new() -> Result<Self, String> {
        let there = "/sys/fs/cgroup";
        let (root, mounted) = if fs::metadata(format!("{there}/cgroup.controllers")).is_ok() {
            (there.to_owned(), None)
        } else {
            let dir = TempDir::new();
            let path = CString::new(dir.0.as_str()).unwrap();
            let (kind, none) = (c"cgroup2".as_ptr(), std::ptr::null());
            // SAFETY: C strings.
            if let Err(e) = sys(unsafe { libc::mount(kind, path.as_ptr(), kind, 0, none) }) {
                return Err(format!("cgroup2 cannot be mounted: {e}"));
            }
            (dir.0.clone(), Some(dir))
        };
        let controllers = fs::read_to_string(format!("{root}/cgroup.controllers"));
        let path = format!("{root}/evpoll-{}", std::process::id());
        let group = Group { path, mounted };
        if !controllers.is_ok_and(|c| c.split_whitespace().any(|c| c == "memory")) {
            return Err("no memory controller in cgroup2".to_owned());
        }
        if let Err(e) = fs::write(format!("{root}/cgroup.subtree_control"), "+memory") {
            return Err(format!("the memory controller cannot be used: {e}"));
        }
        if let Err(e) = fs::create_dir(&group.path) {
            return Err(format!("no control group can be made: {e}"));
        }
        Ok(group)
    }

    /// Writes to one of the group's files.
    #[track_caller]
    pub fn set(&self, file: &str, text: &str) {
        let path = format!("{}/{file}", self.path);
        if let Err(e) = fs::write(&path, text) {
            panic!("{path}: {e}");
        }
    }

    /// Puts this process into the group.
    #[track_caller]
    pub fn join(&self) {
        self.set("cgroup.procs", "0");
    }

    /// A line of memory.stat, in bytes.
    #[track_caller]
    pub fn stat(&self, name: &str) -> usize {
        let path = format!("{}/memory.stat", self.path);
        let text = fs::read_to_string(&path).expect("memory.stat");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.expect(name).trim().parse().expect(name)
    }

    /// What is charged to the group, in bytes.
    #[track_caller]
    pub fn current(&self) -> usize {
        // What is counted lazily is brought up to date by reading this first.
        self.stat("kernel");
        let path = format!("{}/memory.current", self.path);
        let text = fs::read_to_string(&path).expect("memory.current");
        text.trim().parse().expect("memory.current")
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has just ended may be in it for a moment.
        for _ in 0..100 {
            match fs::remove_dir(&self.path) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => sleep(ms(10)),
                _ => break,
            }
        }
        if let Some(dir) = self.mounted.take() {
            let path = CString::new(dir.0.as_str()).unwrap();
            // SAFETY: a C string.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}
