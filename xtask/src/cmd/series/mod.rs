// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask series`: keeps patches/ and kernel-rust/ one and the same, and the copy of the
//! kernel's header in evpoll/include; the cover letter ends with what they consist of. Two more of its forms say what the series is worth to others:
//! `--bisect` builds and boots each patch, `--onto` tries it on another kernel.

mod bisect;
mod cover;
mod onto;
mod span;

pub use span::Span;

use crate::cli;
use crate::ctx::{existing_dir, Ctx};
use crate::error::Fatal;
use crate::files;
use crate::git;
use crate::progress::{output, say};
use crate::series::{self, Patch};
use crate::uapi;
use crate::workbench::Workbench;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub fn main(ctx: &Ctx, args: cli::Series) -> anyhow::Result<u8> {
    if let Some(tree) = &args.from {
        return from_tree(ctx, &existing_dir(tree)?);
    }
    if args.bisect {
        return bisect::main(ctx, args.only);
    }
    if let Some(kernel) = &args.onto {
        return onto::main(ctx, kernel);
    }
    let patches = series::patches(&ctx.root)?;
    if patches.is_empty() {
        let loose = series::rust_sources(&ctx.root)?;
        for file in &loose {
            println!("{}", in_no_patch(file));
        }
        println!("no patches");
        return Ok(u8::from(args.check && !loose.is_empty()));
    }
    match args.check {
        true => check(ctx, &patches),
        false => regenerate(ctx, &patches),
    }
}

/// Prints a line for each difference between patches/ and kernel-rust/, between patches/ and what
/// git makes of it, and between the kernel's header and its copy.
fn check(ctx: &Ctx, patches: &[Patch]) -> anyhow::Result<u8> {
    let bench = Workbench::set_up(ctx, patches)?;
    for patch in patches {
        bench.apply(patch)?;
    }
    let mut differences = Vec::new();
    let added = series::added_rust(patches);
    let sources = series::rust_sources(&ctx.root)?;
    for file in added.union(&sources) {
        let source = files::read(&series::rust_folder(&ctx.root).join(file))?;
        let applied = if added.contains(file) {
            bench.file(file)?
        } else {
            None
        };
        match (source, applied) {
            (Some(source), Some(applied)) if source == applied => {}
            (Some(source), Some(applied)) => differences.push(format!(
                "kernel-rust/{}:{}: not what the patches make of it",
                file.display(),
                first_difference(&source, &applied)
            )),
            (Some(_), None) => differences.push(in_no_patch(file)),
            (None, _) => differences.push(format!("kernel-rust/{}: missing", file.display())),
        }
    }
    let header = bench.file(Path::new(uapi::SOURCE))?;
    if !uapi::in_step(&ctx.root, header.as_deref())? {
        differences.push(format!("{}: not what the patches make of it", uapi::COPY));
    }
    if !cover::in_step(ctx, &bench.summary()?)? {
        differences.push(cover::out_of_step());
    }
    let made = bench.patches()?;
    differences.extend(
        changes(patches, &made)?
            .into_iter()
            .map(|change| change.told()),
    );
    for line in &differences {
        println!("{line}");
    }
    if differences.is_empty() {
        println!(
            "{} patches, {} Rust files: in step",
            patches.len(),
            added.len()
        );
        return Ok(0);
    }
    say("xtask: cargo xtask series regenerates patches/ from kernel-rust/, and the copy of the header");
    Ok(1)
}

/// Rewrites the patches that add Rust files, so that they make what kernel-rust/ holds.
fn regenerate(ctx: &Ctx, patches: &[Patch]) -> anyhow::Result<u8> {
    let added = series::added_rust(patches);
    let sources = series::rust_sources(&ctx.root)?;
    if let Some(gone) = added.difference(&sources).next() {
        let text = format!(
            "kernel-rust/{} is gone, and some patch adds it: take it out of the series with \
             `tree` and `series --from`",
            gone.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    let homes: Vec<(PathBuf, usize)> = sources
        .iter()
        .map(|file| Ok((file.clone(), home(file, patches)?)))
        .collect::<anyhow::Result<_>>()?;
    let bench = Workbench::set_up(ctx, patches)?;
    for (number, patch) in patches.iter().enumerate() {
        bench.apply(patch)?;
        for (file, _) in homes.iter().filter(|(_, home)| *home == number) {
            bench.amend(&series::rust_folder(&ctx.root).join(file), file)?;
        }
    }
    write(ctx, patches, &bench.patches()?, &bench.summary()?)?;
    copy_header(ctx, bench.file(Path::new(uapi::SOURCE))?)?;
    Ok(0)
}

/// The patch that is to leave a file as it is in kernel-rust/: the last that touches it; for a new
/// file the last that adds one beside it.
fn home(file: &Path, patches: &[Patch]) -> anyhow::Result<usize> {
    if let Some(last) = patches.iter().rposition(|patch| patch.touches_file(file)) {
        return Ok(last);
    }
    let beside = |patch: &Patch| {
        let added = series::added_rust(std::slice::from_ref(patch));
        added.iter().any(|other| other.parent() == file.parent())
    };
    patches.iter().rposition(beside).ok_or_else(|| {
        let how = "commit it in a tree (cargo xtask tree), then series --from that tree";
        Fatal::Setup(format!("{}: {how}", in_no_patch(file))).into()
    })
}

/// Takes the commits of a tree as the series.
fn from_tree(ctx: &Ctx, tree: &Path) -> anyhow::Result<u8> {
    if !tree.join(".git").exists() {
        let text = format!(
            "{}: not a git tree; cargo xtask tree makes one",
            tree.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    crate::source::check_tree(tree)?;
    let base = git::release_commit(tree)?;
    let changed = output(git::isolated(tree).args(["status", "--porcelain", "-uno"]))?;
    if !changed.trim().is_empty() {
        say(&format!(
            "xtask: {}: what is not committed there is left out",
            tree.display()
        ));
    }
    let made = git::format_patches(tree, &base, &ctx.cache.join(".tmp-patches"))?;
    let summary = git::summary(tree, &base)?;
    write(ctx, &series::patches(&ctx.root)?, &made, &summary)?;

    copy_header(ctx, git::committed(tree, Path::new(uapi::SOURCE))?)?;
    let added = series::added_rust(&series::patches(&ctx.root)?);
    for file in &added {
        let place = series::rust_folder(&ctx.root).join(file);
        let content = git::committed(tree, file)?.unwrap_or_default();
        if files::read(&place)?.as_ref() != Some(&content) {
            files::write(&place, &content)?;
            println!("kernel-rust/{}: written", file.display());
        }
    }
    for file in series::rust_sources(&ctx.root)?.difference(&added) {
        println!("{}", in_no_patch(file));
    }
    Ok(0)
}

/// Makes the copy of the kernel's header, if the series has one.
fn copy_header(ctx: &Ctx, header: Option<Vec<u8>>) -> anyhow::Result<()> {
    let Some(header) = header else {
        return Ok(());
    };
    if uapi::copy(&ctx.root, &header)? {
        println!("{}: written", uapi::COPY);
    }
    Ok(())
}

fn in_no_patch(file: &Path) -> String {
    format!("kernel-rust/{}: in no patch", file.display())
}

/// What has to happen to a file of patches/.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Write(String),
    Remove(String),
}

impl Change {
    fn told(&self) -> String {
        match self {
            Change::Write(name) => format!("patches/{name}: not what git format-patch makes of it"),
            Change::Remove(name) => format!("patches/{name}: git format-patch would not make it"),
        }
    }
}

fn changes(patches: &[Patch], made: &[(String, Vec<u8>)]) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let names: BTreeSet<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    for patch in patches {
        if !names.contains(patch.name().as_str()) {
            changes.push(Change::Remove(patch.name()));
        }
    }
    for (name, content) in made {
        let have = patches.iter().find(|patch| patch.name() == *name);
        if have
            .map(|patch| std::fs::read(&patch.path))
            .transpose()?
            .as_ref()
            != Some(content)
        {
            changes.push(Change::Write(name.clone()));
        }
    }
    Ok(changes)
}

/// Makes patches/ hold exactly these patches, and the cover letter end with what they consist of.
fn write(
    ctx: &Ctx,
    patches: &[Patch],
    made: &[(String, Vec<u8>)],
    summary: &str,
) -> anyhow::Result<()> {
    let folder = ctx.root.join("patches");
    let changes = changes(patches, made)?;
    for change in &changes {
        match change {
            Change::Remove(name) => {
                files::remove(&folder.join(name))?;
                println!("patches/{name}: removed");
            }
            Change::Write(name) => {
                let content = made.iter().find(|(made, _)| made == name);
                files::write(
                    &folder.join(name),
                    content.map_or(&[], |(_, content)| content),
                )?;
                println!("patches/{name}: written");
            }
        }
    }
    if cover::update(ctx, summary)? {
        println!("{}", cover::written());
    }
    println!("{} patches, {} of them changed", made.len(), changes.len());
    Ok(())
}

fn first_difference(one: &[u8], other: &[u8]) -> usize {
    let (mut one, mut other) = (one.split(|b| *b == b'\n'), other.split(|b| *b == b'\n'));
    let mut number = 1;
    while let (Some(a), Some(b)) = (one.next(), other.next()) {
        if a != b {
            break;
        }
        number += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Kind, Touch};

    fn patch(name: &str, touches: &[(&str, Kind)]) -> Patch {
        let touch = |(file, kind): &(&str, Kind)| Touch {
            file: file.into(),
            kind: *kind,
        };
        Patch {
            path: name.into(),
            touches: touches.iter().map(touch).collect(),
        }
    }

    #[test]
    fn a_file_belongs_to_the_last_patch_that_touches_it() {
        let patches = [
            patch("1", &[("fs/evpoll/a.rs", Kind::Added)]),
            patch("2", &[("fs/evpoll/a.rs", Kind::Changed)]),
            patch("3", &[("fs/pipe.c", Kind::Changed)]),
        ];
        assert_eq!(home(Path::new("fs/evpoll/a.rs"), &patches).unwrap(), 1);
        assert_eq!(home(Path::new("fs/evpoll/new.rs"), &patches).unwrap(), 0);
        assert!(home(Path::new("rust/kernel/new.rs"), &patches).is_err());
    }

    #[test]
    fn where_two_files_part() {
        assert_eq!(first_difference(b"a\nb\n", b"a\nc\n"), 2);
        assert_eq!(first_difference(b"a\n", b"a\nb\n"), 2);
    }
}
