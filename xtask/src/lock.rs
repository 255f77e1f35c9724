// SPDX-License-Identifier: GPL-2.0
//! One command at a time for each thing in the cache.

use crate::ctx::Ctx;
use crate::progress::{self, Step};
use anyhow::Context;
use std::fs::{File, TryLockError};
use std::process::{Command, Stdio};

/// Held until dropped, and by the programs that [`Lock::stdin`] was given to until they end: what
/// an interrupted command leaves running still keeps the next one out.
pub struct Lock(File);

impl Lock {
    /// Takes the lock of a resource; says so if that means waiting for another command.
    pub fn take(ctx: &Ctx, resource: &str) -> anyhow::Result<Lock> {
        let folder = ctx.cache.join("locks");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(resource);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let title = format!("waiting for another command that is using the {resource}");
                let step = Step::start(title);
                file.lock()
                    .with_context(|| format!("locking {}", path.display()))?;
                step.done("");
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        Ok(Lock(file))
    }

    /// The same lock once more: it is free when both are dropped.
    pub fn share(&self) -> anyhow::Result<Lock> {
        Ok(Lock(self.0.try_clone()?))
    }

    /// Runs a command that changes what the lock is for; see [`progress::output`].
    pub fn output(&self, cmd: &mut Command) -> anyhow::Result<String> {
        progress::captured(cmd.stdin(self.stdin()?))
    }

    /// An empty standard input that keeps the lock as long as a child has it.
    pub fn stdin(&self) -> anyhow::Result<Stdio> {
        Ok(Stdio::from(self.0.try_clone()?))
    }
}
