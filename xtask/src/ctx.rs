// SPDX-License-Identifier: GPL-2.0
//! What every step of a command needs to know.

use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// What is measured.
    Release,
    /// Every checker that the kernel has.
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    Auto,
    Kvm,
    Tcg,
}

/// Common options, resolved.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The checkout that xtask belongs to.
    pub root: PathBuf,
    /// `EVPOLL_CACHE`, or a folder in the user's cache directory.
    pub cache: PathBuf,
    pub profile: Profile,
    /// `--kernel DIR`: a kernel tree to use instead of the fetched one.
    pub kernel: Option<PathBuf>,
    pub accel: Accel,
    pub jobs: usize,
    pub verbose: bool,
}
