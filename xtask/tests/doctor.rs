// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask doctor` changes nothing, wherever it looks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of this test, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        for inside in ["home", "tmp"] {
            std::fs::create_dir_all(folder.join(inside)).unwrap();
        }
        Scratch(folder)
    }

    /// Runs it with this cache, and with a home and a folder for temporary files that are empty.
    fn doctor(&self, cache: &Path) -> Output {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_xtask"));
        doctor.arg("doctor");
        doctor
            .env("EVPOLL_CACHE", cache)
            .env("HOME", self.0.join("home"))
            .env("TMPDIR", self.0.join("tmp"));
        // With another home, rustc would be looked for there.
        let home = std::env::var_os("HOME").map(PathBuf::from);
        for (name, below) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let usual = home.as_ref().map(|home| home.join(below));
            if let (None, Some(folder)) = (std::env::var_os(name), usual) {
                doctor.env(name, folder);
            }
        }
        doctor.output().unwrap()
    }

    fn is_empty(&self, name: &str) -> bool {
        std::fs::read_dir(self.0.join(name))
            .unwrap()
            .next()
            .is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in a folder for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn nothing_is_written() {
    let scratch = Scratch::new("doctor-writes");
    let missing = scratch.0.join("no/such/cache");
    let out = scratch.doctor(&missing);
    assert!(!missing.exists() && !scratch.0.join("no").exists());
    assert!(
        scratch.is_empty("home") && scratch.is_empty("tmp"),
        "{out:?}"
    );
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("is made when it is needed"), "{text}");

    let empty = scratch.0.join("cache");
    std::fs::create_dir(&empty).unwrap();
    scratch.doctor(&empty);
    assert!(scratch.is_empty("cache"));
}

#[test]
fn the_status_says_whether_something_is_missing() {
    let scratch = Scratch::new("doctor-status");
    let out = scratch.doctor(&scratch.0.join("cache"));
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    let missing = text
        .lines()
        .filter(|line| line.starts_with("MISSING"))
        .count();
    assert!(text.lines().count() > 10, "{text}");
    match missing {
        0 => {
            assert_eq!(out.status.code(), Some(0), "{text}{said}");
            assert_eq!(said, "");
        }
        count => {
            assert_eq!(out.status.code(), Some(2), "{text}{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(
                said.starts_with(&format!("xtask: {count} required ")),
                "{said}"
            );
        }
    }
}

#[test]
fn without_any_program_everything_is_missing_and_said_so() {
    let scratch = Scratch::new("doctor-path");
    std::fs::create_dir(scratch.0.join("bin")).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("doctor")
        .env("PATH", scratch.0.join("bin"))
        .env("EVPOLL_CACHE", scratch.0.join("cache"))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{text}{said}");
    for line in text.lines().filter(|line| line.contains("rustc for")) {
        assert!(line.starts_with("MISSING"), "{line}");
    }
    assert!(
        text.contains("qemu-system-x86_64") && text.contains("busybox"),
        "{text}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}
