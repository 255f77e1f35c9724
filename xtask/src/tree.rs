// SPDX-License-Identifier: GPL-2.0
//! The tree that is built: a released kernel with the series applied, kept in step with patches/
//! and kernel-rust/ file by file, so that make sees exactly what changed.

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::hash::Hash;
use crate::lock::Lock;
use crate::progress::{read, Step};
use crate::series::{self, Patch};
use crate::source::{self, Version};
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use xshell::{cmd, Shell};

#[derive(Clone)]
pub struct Tree {
    pub dir: PathBuf,
    pub version: Version,
    /// What it is made from; nothing for a tree of the user's own, which can change in any place.
    pub inputs: Option<Inputs>,
}

/// Hashes of the files that the series makes.
#[derive(Clone)]
pub struct Inputs {
    pub all: String,
    /// Of those that say what can be configured.
    pub kconfig: String,
}

/// Brings the tree into step. The caller holds the lock of the build and keeps it while it builds.
pub fn ensure(ctx: &Ctx, building: &Lock) -> anyhow::Result<Tree> {
    let Some(own) = &ctx.kernel else {
        let pristine = source::pristine(ctx)?;
        let copy = builds(ctx).join(format!("linux-{}", pristine.version));
        if !copy.is_dir() {
            populate(&pristine.dir, &copy, building)?;
        }
        let inputs = Some(sync(ctx, &pristine.dir, &copy)?);
        return Ok(Tree {
            dir: copy,
            version: pristine.version,
            inputs,
        });
    };
    let version = source::check_tree(own)?;
    check_clean(own)?;
    if has_evpoll(own) {
        return Ok(Tree {
            dir: own.clone(),
            version,
            inputs: None,
        });
    }
    let copy = builds(ctx).join(format!("own-{}", path_hash(own)));
    mirror(ctx, own, &copy)?;
    sync(ctx, own, &copy)?;
    Ok(Tree {
        dir: copy,
        version,
        inputs: None,
    })
}

/// The tree that the series is for, without it: what a patched kernel is compared with. It is not
/// changed, and has to be built elsewhere. An error for a tree of the user's own that has the
/// series, because what it was before is not known.
pub fn plain(ctx: &Ctx) -> anyhow::Result<Tree> {
    let Some(own) = &ctx.kernel else {
        let pristine = source::pristine(ctx)?;
        let inputs = Inputs {
            all: "plain".into(),
            kconfig: "plain".into(),
        };
        return Ok(Tree {
            dir: pristine.dir,
            version: pristine.version,
            inputs: Some(inputs),
        });
    };
    let version = source::check_tree(own)?;
    if has_evpoll(own) {
        let text = format!(
            "{} has the series already: give --kernel a tree without it, to compare with",
            own.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    check_clean(own)?;
    Ok(Tree {
        dir: own.clone(),
        version,
        inputs: None,
    })
}

/// The kernel with the first patches of the series, as they are in patches/. It is a tree of its own,
/// and when the number of patches changes, only files that differ are written.
pub fn partial(ctx: &Ctx, patches: &[Patch], building: &Lock) -> anyhow::Result<Tree> {
    let pristine = source::pristine(ctx)?;
    let copy = builds(ctx).join(format!("partial-{}", pristine.version));
    if !copy.is_dir() {
        populate(&pristine.dir, &copy, building)?;
    }
    let layers = Layers {
        patches: patches.to_vec(),
        ..Layers::default()
    };
    let inputs = Some(lay(ctx, &pristine.dir, &copy, &layers)?);
    Ok(Tree {
        dir: copy,
        version: pristine.version,
        inputs,
    })
}

/// Whether a tree has the series; its Rust files alone do not make it.
pub fn has_evpoll(tree: &Path) -> bool {
    tree.join("fs/evpoll/Makefile").is_file()
}

/// A short name for a folder somewhere else.
pub fn path_hash(path: &Path) -> String {
    let mut hash = Hash::new();
    hash.add(path.as_os_str().as_encoded_bytes());
    hash.hex()
}

fn builds(ctx: &Ctx) -> PathBuf {
    ctx.cache.join("build-src")
}

/// What kbuild itself asks of the source of a build elsewhere.
fn check_clean(dir: &Path) -> anyhow::Result<()> {
    for built in [".config", "include/config", "arch/x86/include/generated"] {
        if dir.join(built).exists() {
            let dir = dir.display();
            let text =
                format!("{dir} has been built in (there is {built}): make -C {dir} mrproper");
            return Err(Fatal::Setup(text).into());
        }
    }
    Ok(())
}

/// Copies a released kernel. The files are links to the originals where the file system has
/// links: [`install`] replaces files and never writes into them.
fn populate(from: &Path, copy: &Path, building: &Lock) -> anyhow::Result<()> {
    let step = Step::start("copying the kernel source");
    let staging = files::staging(copy)?;
    files::remove(&state_file(copy))?;
    let shell = Shell::new()?;
    let links = cmd!(shell, "cp -al {from} {staging}");
    if building.output(&mut links.into()).is_err() {
        files::remove(&staging)?;
        let copy = cmd!(shell, "cp -a --reflink=auto {from} {staging}");
        building
            .output(&mut copy.into())
            .context("copying the kernel source")?;
    }
    files::place(&staging, copy)?;
    step.done("");
    Ok(())
}

/// What is put on a kernel, in this order.
#[derive(Default)]
struct Layers {
    patches: Vec<Patch>,
    /// Files of kernel-rust/.
    rust: BTreeSet<PathBuf>,
    mutation: Vec<Patch>,
}

/// Makes the files of the series in `copy` what the series makes of those in `base`.
fn sync(ctx: &Ctx, base: &Path, copy: &Path) -> anyhow::Result<Inputs> {
    let layers = Layers {
        patches: series::patches(&ctx.root)?,
        rust: series::rust_sources(&ctx.root)?,
        mutation: ctx
            .mutation
            .iter()
            .map(|path| series::patch(path.clone()))
            .collect::<anyhow::Result<_>>()?,
    };
    lay(ctx, base, copy, &layers)
}

fn lay(ctx: &Ctx, base: &Path, copy: &Path, layers: &Layers) -> anyhow::Result<Inputs> {
    let Layers {
        patches,
        rust,
        mutation,
    } = layers;
    let now: BTreeSet<PathBuf> = series::touched(patches)
        .into_iter()
        .chain(rust.clone())
        .chain(series::touched(mutation))
        .collect();
    let before = read_state(copy)?;
    let all: BTreeSet<PathBuf> = now.union(&before).cloned().collect();

    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    let scratch = files::staging(&builds(ctx).join(format!("series-{name}")))?;
    for file in &all {
        if base.join(file).is_file() {
            install(&base.join(file), &scratch.join(file))?;
        }
    }
    files::make_dir(&scratch)?;
    let put_on = |patches: &[Patch], base: &str| -> anyhow::Result<()> {
        for patch in patches {
            apply(patch, &scratch).map_err(|error| {
                let name = patch.name();
                Fatal::Setup(format!("{name} does not apply to {base}: {error}"))
            })?;
        }
        Ok(())
    };
    put_on(patches, &base.display().to_string())?;
    for file in rust {
        install(
            &series::rust_folder(&ctx.root).join(file),
            &scratch.join(file),
        )?;
    }
    put_on(mutation, "the series")?;

    let (mut hash, mut kconfig) = (Hash::new(), Hash::new());
    write_state(copy, &all)?;
    for file in &all {
        let (wanted, there) = (scratch.join(file), copy.join(file));
        let content = files::read(&wanted)?;
        if let Some(content) = &content {
            hash.add(file.as_os_str().as_encoded_bytes()).add(content);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("Kconfig") || name == "Makefile" {
                kconfig
                    .add(file.as_os_str().as_encoded_bytes())
                    .add(content);
            }
        }
        if content == files::read(&there)? {
            continue;
        }
        match content {
            Some(_) => install(&wanted, &there)?,
            None => files::remove(&there)?,
        }
    }
    write_state(copy, &now)?;
    files::remove(&scratch)?;
    Ok(Inputs {
        all: hash.hex(),
        kconfig: kconfig.hex(),
    })
}

/// Copies a file with its permissions, not its time, by way of a new one.
fn install(from: &Path, to: &Path) -> anyhow::Result<()> {
    let staging = files::staging(to)?;
    std::fs::copy(from, &staging)
        .with_context(|| format!("copying {} to {}", from.display(), staging.display()))?;
    files::place(&staging, to)
}

fn apply(patch: &Patch, folder: &Path) -> anyhow::Result<()> {
    let mut cmd = Command::new("git");
    cmd.args(["apply", "--whitespace=nowarn"])
        .arg(&patch.path)
        .current_dir(folder);
    // The cache may lie inside a repository, which has no say in this.
    if let Some(parent) = folder.parent() {
        cmd.env("GIT_CEILING_DIRECTORIES", parent);
    }
    let out = cmd
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot run git")?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let first = said.lines().next().unwrap_or("git apply failed");
    anyhow::bail!("{}", first.trim_start_matches("error: "))
}

/// The files that differ from the kernel the copy was made of, as of the last time; a superset
/// while they are being changed.
fn state_file(copy: &Path) -> PathBuf {
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    copy.with_file_name(format!("{name}.touched"))
}

fn read_state(copy: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let state = files::read(&state_file(copy))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&state)
        .lines()
        .map(PathBuf::from)
        .collect())
}

fn write_state(copy: &Path, touched: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let state: String = touched
        .iter()
        .map(|file| format!("{}\n", file.display()))
        .collect();
    files::write(&state_file(copy), state.as_bytes())
}

/// Brings the copy of a tree of the user's own up to date, leaving the files of the series to
/// [`sync`]. As make does, it takes a file that is younger than its copy, or of another size, to
/// be changed.
fn mirror(ctx: &Ctx, own: &Path, copy: &Path) -> anyhow::Result<()> {
    let mut step = Step::start(format!("copying what is new in {}", own.display()));
    files::make_dir(copy)?;
    let patched = read_state(copy)?;
    let wanted: BTreeSet<PathBuf> = tracked(own)?.into_iter().collect();
    let mut copied = 0;
    for file in wanted.difference(&patched) {
        let (from, to) = (own.join(file), copy.join(file));
        let Ok(meta) = std::fs::symlink_metadata(&from) else {
            continue;
        };
        let there = std::fs::symlink_metadata(&to).ok();
        let same = there.is_some_and(|there| {
            let young = meta.modified().ok() <= there.modified().ok();
            young && meta.len() == there.len() && meta.is_symlink() == there.is_symlink()
        });
        if same {
            continue;
        }
        copied += 1;
        step.note(file.display().to_string());
        if meta.is_symlink() {
            files::remove(&to)?;
            files::make_dir(to.parent().unwrap_or(copy))?;
            std::os::unix::fs::symlink(std::fs::read_link(&from)?, &to)?;
        } else {
            install(&from, &to)?;
        }
    }
    let ours = series::touched(&series::patches(&ctx.root)?);
    for file in files::walk(copy, |name| name != ".git")? {
        if !wanted.contains(&file) && !patched.contains(&file) && !ours.contains(&file) {
            files::remove(&copy.join(&file))?;
        }
    }
    step.done(format!("{copied} files"));
    Ok(())
}

/// The files that make up a tree: what its repository knows or does not ignore; all of them where
/// there is no repository.
fn tracked(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if dir.join(".git").exists() {
        let shell = Shell::new()?;
        let git = cmd!(shell, "git -C {dir} ls-files -z --cached --others");
        let names = read(git.arg("--exclude-standard"))?;
        return Ok(names.split_terminator('\0').map(PathBuf::from).collect());
    }
    files::walk(dir, |_| true)
}
