// SPDX-License-Identifier: GPL-2.0
//! Boots a guest for one task and tells how that ended. `qemu/init` is the other side.

mod end;
mod process;
mod session;
mod signals;
mod task;
mod terminal;
mod through;
mod watch;
mod wires;

pub use end::{End, Outcome};
pub use session::{Limits, Sink};
pub use task::{quote, How, Place, Root, Size, Task, COVERED};
pub use terminal::{in_background, size as terminal_size, size_of as terminal_size_of};
pub use through::Through;
pub use wires::{Input, Reins};

use crate::ctx::{Ctx, Profile};
use crate::qemu::{Acceleration, Machine, Trace, Wiring};
use crate::rootfs;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// A task and the machine for it.
pub struct Boot<'a> {
    /// Names the files that it leaves: `console-NAME.log`.
    pub name: &'a str,
    pub task: Task,
    /// Programs of the host that the guest gets in `/evpoll`.
    pub programs: Vec<rootfs::Program>,
    pub processors: u16,
    pub memory: String,
    pub kernel: &'a Path,
    /// Kernel parameters.
    pub parameters: Vec<String>,
    /// Tried in this order.
    pub accelerations: Vec<Acceleration>,
    pub input: Input,
    pub limits: Limits,
}

impl Boot<'_> {
    /// Boots, and boots again with the next acceleration if one gives no sign of life.
    pub fn run(&self, ctx: &Ctx, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
        self.run_traced(ctx, sink, None)
    }

    /// The same, with a record of what code was run.
    pub fn run_traced(
        &self,
        ctx: &Ctx,
        sink: &mut dyn Sink,
        trace: Option<&Trace>,
    ) -> anyhow::Result<Outcome> {
        let archive = Archive::new(ctx)?;
        rootfs::initramfs(ctx, &self.task, &self.programs, true, &archive.path)?;
        let (last, others) = self
            .accelerations
            .split_last()
            .context("no acceleration to try")?;
        for acceleration in others {
            let outcome = session::run(ctx, self, &archive.path, (*acceleration, trace), sink)?;
            if !matches!(outcome.end, End::NoSign) {
                return Ok(outcome);
            }
            eprintln!(
                "xtask: {} gives no sign of life here, emulating",
                acceleration.name()
            );
        }
        session::run(ctx, self, &archive.path, (*last, trace), sink)
    }

    /// The same boot as a command line for a person, with everything on the terminal. The archive
    /// that it names stays until the next one is asked for.
    pub fn by_hand(&self, ctx: &Ctx) -> anyhow::Result<Vec<String>> {
        let archive = boot_folder(ctx)?.join(format!("initramfs-{}.cpio", self.name));
        rootfs::initramfs(ctx, &self.task, &self.programs, false, &archive)?;
        let acceleration = *self
            .accelerations
            .first()
            .context("no acceleration to try")?;
        Ok(self
            .machine(ctx, acceleration, None, &archive, Wiring::Console)
            .arguments())
    }

    fn machine(
        &self,
        ctx: &Ctx,
        acceleration: Acceleration,
        trace: Option<&Trace>,
        archive: &Path,
        wiring: Wiring,
    ) -> Machine {
        // The kernel of this profile can be emulated so, and races are what it is for.
        let parallel = ctx.profile == Profile::Race && acceleration == Acceleration::Tcg;
        let own = ctx.profile.parameters().iter().map(|p| (*p).to_owned());
        Machine {
            acceleration: match parallel {
                true => Acceleration::Parallel,
                false => acceleration,
            },
            processors: self.processors,
            memory: self.memory.clone(),
            kernel: self.kernel.to_owned(),
            initramfs: archive.to_owned(),
            parameters: self.parameters.iter().cloned().chain(own).collect(),
            share_root: matches!(self.task.root, Root::Host { .. }),
            shares: self.task.shares(),
            trace: trace.cloned(),
            wiring,
        }
    }
}

fn boot_folder(ctx: &Ctx) -> anyhow::Result<PathBuf> {
    let folder = ctx.cache.join("boot");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("Failed to make {}: set EVPOLL_CACHE", folder.display()))?;
    Ok(folder)
}

/// The boot archive of this process, removed when dropped.
struct Archive {
    path: PathBuf,
}

impl Archive {
    fn new(ctx: &Ctx) -> anyhow::Result<Archive> {
        let folder = boot_folder(ctx)?;
        sweep(&folder);
        Ok(Archive {
            path: folder.join(format!("{}.cpio", std::process::id())),
        })
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // Left behind, the next one sweeps it up.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes archives of processes that were killed.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let owner = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = std::fs::remove_file(path);
        }
    }
}
