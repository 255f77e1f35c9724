// SPDX-License-Identifier: GPL-2.0
//! QEMU: which acceleration works here, and the command line for a machine.

mod accel;
mod machine;
mod monitor;

pub use accel::{candidates, kvm, kvm_works};
pub use machine::{Acceleration, Machine, Port, Trace, Traced, Wiring};
pub use monitor::Monitor;

use crate::progress::output;
use std::process::Command;

/// The Debian package and the program in it.
pub const PACKAGE: &str = "qemu-system-x86";
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The first version that emulates processors in parallel although a kernel patches its own code
/// while they run.
pub const PATCHES_SAFELY: (u32, u32) = (8, 1);

/// Major and minor, if it is there and tells.
pub fn version() -> Option<(u32, u32)> {
    let said = output(Command::new(PROGRAM).arg("--version")).ok()?;
    version_in(&said)
}

/// From `QEMU emulator version 7.2.22 (Debian …)`.
fn version_in(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.lines().next()?.split_once("version ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_version_is_read() {
        let said = "QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopyright\n";
        assert_eq!(version_in(said), Some((7, 2)));
        assert_eq!(version_in("QEMU emulator version 10.0\n"), Some((10, 0)));
        assert_eq!(version_in("no such thing"), None);
        assert!((7, 2) < PATCHES_SAFELY && (8, 1) >= PATCHES_SAFELY);
    }
}
