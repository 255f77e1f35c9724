// SPDX-License-Identifier: GPL-2.0
//! QEMU: which acceleration works here, and the command line for a machine.

mod accel;
mod machine;
mod monitor;

pub use accel::{candidates, kvm_works};
pub use machine::{Acceleration, Machine, Port, Trace, Traced, Wiring};
pub use monitor::Monitor;

/// The Debian package and the program in it.
pub const PACKAGE: &str = "qemu-system-x86";
pub const PROGRAM: &str = "qemu-system-x86_64";
