// SPDX-License-Identifier: GPL-2.0
//! What every step of a command needs to know.

use crate::cli::Common;
use crate::error::Fatal;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// What is measured.
    Release,
    /// Every checker that the kernel has, but for data races.
    Debug,
    /// KCSAN, which looks for data races, on processors that run at the same time.
    Race,
    /// What `coverage` boots.
    #[value(skip)]
    Coverage,
}

impl Profile {
    /// As the command line and file names spell it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Debug => "debug",
            Profile::Race => "race",
            Profile::Coverage => "coverage",
        }
    }

    /// How much longer things take than in the release kernel, roughly: time limits are
    /// multiplied by it.
    pub fn slowness(self) -> u32 {
        match self {
            Profile::Release | Profile::Coverage => 1,
            Profile::Debug | Profile::Race => 4,
        }
    }

    /// Parameters of its kernel.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Profile::Release | Profile::Coverage => &[],
            // An interrupt while the kernel finds out about its processor, and has forgotten for a
            // moment that there are five levels of page tables, makes KASAN report any access.
            Profile::Debug => &["no5lvl"],
            // One access in so many is watched: by default it is 4000, for machines that are fast.
            Profile::Race => &["kcsan.skip_watch=400"],
        }
    }

    /// Memory that the guest needs for the tests, as QEMU takes it.
    pub fn memory(self) -> &'static str {
        match self {
            Profile::Release | Profile::Coverage => "1G",
            Profile::Debug | Profile::Race => "3G",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accel {
    Auto,
    Kvm,
    Tcg,
}

impl Accel {
    /// As the command line spells it.
    pub fn name(self) -> &'static str {
        match self {
            Accel::Auto => "auto",
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
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
    /// `--mutation FILE`: a patch on top of the series.
    pub mutation: Option<PathBuf>,
    pub accel: Accel,
    pub jobs: usize,
    pub verbose: bool,
}

impl Ctx {
    pub fn resolve(common: Common) -> anyhow::Result<Ctx> {
        let kernel = common.kernel.as_deref().map(existing_dir).transpose()?;
        if let Some(dir) = &kernel {
            crate::source::check_tree(dir)?;
        }
        Ok(Ctx {
            root: checkout(),
            cache: cache_folder()?,
            profile: common.profile,
            kernel,
            mutation: common.mutation.map(std::path::absolute).transpose()?,
            accel: common.accel,
            jobs: common.jobs.map_or_else(processors, usize::from),
            verbose: common.verbose,
        })
    }

    /// Where the log of a step goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.cache.join("log").join(format!("{name}.log"))
    }
}

/// The folder as an absolute path, or a one-line error.
pub fn existing_dir(dir: &Path) -> anyhow::Result<PathBuf> {
    let absolute = dir
        .canonicalize()
        .map_err(|error| Fatal::Setup(format!("{}: {}", dir.display(), plain(&error))))?;
    if !absolute.is_dir() {
        return Err(Fatal::Setup(format!("{}: not a folder", dir.display())).into());
    }
    Ok(absolute)
}

/// An input/output error in words, without its number.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such folder".into(),
        _ => error.to_string(),
    }
}

fn checkout() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = if let Some(own) = set("EVPOLL_CACHE") {
        PathBuf::from(own)
    } else if let Some(base) = set("XDG_CACHE_HOME") {
        PathBuf::from(base).join("evpoll")
    } else if let Some(home) = set("HOME") {
        PathBuf::from(home).join(".cache/evpoll")
    } else {
        let text = "no cache folder: set EVPOLL_CACHE to a folder with 4 GB of room, or 15 GB for \
                    every profile and the peers";
        return Err(Fatal::Setup(text.into()).into());
    };
    Ok(std::path::absolute(folder)?)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
