// SPDX-License-Identifier: GPL-2.0
//! The patched kernel of a profile: configured, built, reused while its inputs are unchanged.

use crate::ctx::Ctx;
use std::path::PathBuf;

pub struct Kernel {
    /// The bootable bzImage.
    pub image: PathBuf,
    pub vmlinux: PathBuf,
    pub objdir: PathBuf,
    pub srcdir: PathBuf,
    pub config: PathBuf,
    /// As `uname -r` prints it.
    pub release: String,
    /// Hash of everything that went into it.
    pub id: String,
}

pub fn build(_ctx: &Ctx) -> anyhow::Result<Kernel> {
    todo!()
}
