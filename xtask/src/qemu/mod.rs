// SPDX-License-Identifier: GPL-2.0
//! QEMU: which acceleration works here, and the command line for a machine.

mod accel;
mod machine;

pub use accel::{candidates, kvm_works};
pub use machine::{Acceleration, Machine, Port, Trace, Wiring};

/// The Debian package and the program in it.
pub const PACKAGE: &str = "qemu-system-x86";
pub const PROGRAM: &str = "qemu-system-x86_64";
