// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask`: fetches, patches, builds, boots, tests and measures a Linux kernel with evpoll.

mod cli;
mod cmd;
mod ctx;
mod error;
mod files;
mod git;
mod hash;
mod lock;
mod progress;

// The kernel: what it is made from and how.
mod kconfig;
mod kernel;
mod packages;
mod series;
mod source;
mod toolchain;
mod tree;
mod uapi;
mod workbench;

// The guest: what it is booted with and what it says.
mod bench;
mod guest;
mod guest_program;
mod junit;
mod ktap;
mod peers;
mod qemu;
mod rootfs;

fn main() -> std::process::ExitCode {
    error::report(cli::run())
}
