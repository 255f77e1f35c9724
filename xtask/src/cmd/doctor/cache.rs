// SPDX-License-Identifier: GPL-2.0
//! What the cache holds.

use super::machine::size;
use super::table::{Row, Table};
use crate::ctx::{Ctx, Profile};
use crate::kernel::{self, Standing, Variant};
use crate::toolchain::Toolchain;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub fn look(ctx: &Ctx, tools: Option<&Toolchain>, table: &mut Table) -> anyhow::Result<()> {
    table.add(match ctx.cache.is_dir() {
        true => Row::ok(
            "cache",
            format!("{}, {}", ctx.cache.display(), size(taken(&ctx.cache))),
        ),
        false => Row::later(
            "cache",
            format!("{}, is made when it is needed", ctx.cache.display()),
        ),
    });
    if ctx.kernel.is_some() {
        return Ok(());
    }
    for (profile, variant) in kernels() {
        let what = format!("{} kernel", variant.name(profile));
        let asked = variant == Variant::STANDARD && profile == ctx.profile;
        match kernel::standing(ctx, profile, variant, tools)? {
            Standing::UpToDate => table.add(Row::ok(what, "built, up to date")),
            Standing::Changed => {
                table.add(Row::later(
                    what,
                    "built of something else, is brought up to date",
                ));
            }
            Standing::Unknown => {
                table.add(Row::later(
                    what,
                    "built, the next use says whether it is up to date",
                ));
            }
            Standing::NotBuilt if asked => {
                table.add(Row::later(
                    what,
                    "is built by the first command that takes it",
                ));
            }
            // Of those that nobody asked for, only what is there is told.
            Standing::NotBuilt => (),
        }
    }
    Ok(())
}

/// Those that commands build.
fn kernels() -> Vec<(Profile, Variant)> {
    let profiles = [
        Profile::Release,
        Profile::Debug,
        Profile::Race,
        Profile::Coverage,
    ];
    let standard = profiles.map(|profile| (profile, Variant::STANDARD));
    let others = [
        Variant::UNPATCHED,
        Variant::PARALLEL,
        Variant::WIDE,
        Variant::UNPATCHED_WIDE,
    ];
    let others = others.map(|variant| (Profile::Release, variant));
    standard.into_iter().chain(others).collect()
}

/// What a folder takes on disk: what has several names counts once, and what cannot be read not at
/// all.
fn taken(folder: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut blocks = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                folders.push(entry.path());
            }
            if data.nlink() == 1 || data.is_dir() || seen.insert((data.dev(), data.ino())) {
                blocks += data.blocks();
            }
        }
    }
    blocks * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_names_is_counted_once() {
        let folder = std::env::temp_dir().join(format!("xtask-taken-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inside")).unwrap();
        std::fs::write(folder.join("inside/a"), vec![1; 100_000]).unwrap();
        let one = taken(&folder);
        std::fs::hard_link(folder.join("inside/a"), folder.join("b")).unwrap();
        let two = taken(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(one >= 100_000, "{one}");
        // A longer folder may take another block, but the file does not come twice.
        assert!(two < one + 50_000, "{one} {two}");
        assert_eq!(taken(&folder), 0);
    }

    #[test]
    fn each_kernel_is_looked_at_once() {
        let names: HashSet<String> = kernels().iter().map(|(p, v)| v.name(*p)).collect();
        assert_eq!(names.len(), kernels().len());
    }
}
