// SPDX-License-Identifier: GPL-2.0
//! Files and folders that are complete or not there at all.

use anyhow::{bail, Context};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where something is made before it is renamed to `path`. What an interrupted attempt left is
/// removed; the caller holds the lock of whatever it belongs to.
pub fn staging(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path
        .file_name()
        .context("a path without a name")?
        .to_string_lossy();
    let staging = path.with_file_name(format!(".tmp-{name}"));
    remove(&staging)?;
    make_dir(path.parent().context("a path without a parent")?)?;
    Ok(staging)
}

/// Puts in place what was made at `staging`.
pub fn place(staging: &Path, path: &Path) -> anyhow::Result<()> {
    std::fs::rename(staging, path).with_context(|| format!("putting {} in place", path.display()))
}

pub fn make_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// Removes a file or a folder, if it is there.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    removed.with_context(|| format!("removing {}", path.display()))
}

/// Writes a file by way of a new one beside it: hard links to the old one keep the old content.
pub fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let staging = staging(path)?;
    std::fs::write(&staging, content).with_context(|| format!("writing {}", staging.display()))?;
    place(&staging, path)
}

/// Whether [`write`] could write this file now: an error if not. Makes its folder, as that does.
pub fn try_write(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!("{} is a folder", path.display());
    }
    let staging = staging(path)?;
    std::fs::write(&staging, []).with_context(|| format!("writing {}", staging.display()))?;
    remove(&staging)
}

/// The content of a file, or nothing if there is none.
pub fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

pub fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// What a folder holds, sorted; nothing if it is not there.
pub fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
        Ok(entries) => {
            for entry in entries {
                found.push(entry?.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every file below a folder, as paths relative to it, sorted; without the files and folders whose
/// names are not `wanted`.
pub fn walk(folder: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in entries(&next)? {
            if !wanted(&path.file_name().unwrap_or_default().to_string_lossy()) {
                continue;
            }
            if std::fs::symlink_metadata(&path)?.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder)?.to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Where `PATH` has a program.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
