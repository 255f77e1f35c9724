// SPDX-License-Identifier: GPL-2.0
//! The archive that the guest boots from: BusyBox, `qemu/init`, what to run, and the programs that
//! it consists of. Small enough to be made anew for every boot.

mod cpio;
mod programs;

pub use programs::{
    build as build_programs, for_tests as programs_for_tests, Program, TestPrograms, ABIS,
};

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::guest::{Place, Task};
use anyhow::Context;
use cpio::Archive;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the archive for this task to `target`. `programs` go into the guest's `/evpoll`; `ports`
/// says whether xtask is listening.
pub fn initramfs(
    ctx: &Ctx,
    task: &Task,
    programs: &[Program],
    ports: bool,
    target: &Path,
) -> anyhow::Result<()> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "tmp", "run", "var/tmp", "root"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    add_busybox(&mut archive)?;
    let init = ctx.root.join("qemu/init");
    archive.file("init", true, read(&init)?);
    archive.file("evpoll/settings", false, task.settings(ports));
    archive.file("evpoll/command", false, task.script());
    for (index, Place { how, folder }) in task.places().iter().enumerate() {
        let path = folder
            .to_str()
            .with_context(|| format!("{}: a folder's name has to be UTF-8", folder.display()))?;
        let text = format!("{} {path}", how.name());
        archive.file(&format!("evpoll/place.{index}"), false, text);
    }
    for program in programs {
        let path = format!("evpoll/{}", program.name);
        archive.file(&path, true, read(&program.path)?);
    }
    std::fs::write(target, archive.bytes())
        .with_context(|| format!("Failed to write the boot archive {}", target.display()))
}

/// BusyBox under all of its names: which of them a shell finds without a link differs from build
/// to build.
fn add_busybox(archive: &mut Archive) -> anyhow::Result<()> {
    let path = busybox()?;
    archive.file("bin/busybox", true, read(&path)?);
    let list = Command::new(&path)
        .arg("--list")
        .output()
        .with_context(|| format!("Failed to run {} --list", path.display()))?;
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        let link = format!("bin/{name}");
        if !name.contains('/') && !archive.contains(&link) {
            archive.link(&link, "busybox");
        }
    }
    Ok(())
}

/// The host's BusyBox, which has to be a static one.
pub fn busybox() -> anyhow::Result<PathBuf> {
    let path = files::program("busybox")
        .ok_or_else(|| Fatal::Setup("no busybox in PATH: install a static one".into()))?;
    if has_interpreter(&read(&path)?) {
        let text = format!(
            "{} is not static: install the package busybox-static",
            path.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    Ok(path)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("Failed to read {}", path.display()))
}

/// Whether the 64-bit ELF file asks for a dynamic loader (it has a PT_INTERP header).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| {
        elf.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    let table = elf
        .get(32..40)
        .map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default()));
    let (Some(table), Some(size), Some(count)) = (table, half(54), half(56)) else {
        return false;
    };
    (0..usize::from(count)).any(|index| {
        let at = table as usize + index * usize::from(size);
        elf.get(at..at + 4)
            .is_some_and(|b| b == PT_INTERP.to_le_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_programs_are_told_from_static_ones() {
        let this = std::fs::read("/proc/self/exe").unwrap();
        assert!(has_interpreter(&this));
        assert!(!has_interpreter(b"#!/bin/sh\n"));
    }
}
