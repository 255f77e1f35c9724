// SPDX-License-Identifier: GPL-2.0
//! A repository of only the files that the series touches, as the kernel has them: small enough
//! to apply the series in a second. Blobs and hunks are those of a full tree.

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::git;
use crate::lock::Lock;
use crate::progress::output;
use crate::series::{self, Patch};
use crate::source;
use anyhow::Context;
use std::path::{Path, PathBuf};

pub struct Workbench {
    pub dir: PathBuf,
    /// The kernel that lies below the series.
    pub version: source::Version,
    _lock: Lock,
}

impl Workbench {
    pub fn set_up(ctx: &Ctx, patches: &[Patch]) -> anyhow::Result<Workbench> {
        let pristine = source::pristine(ctx)?;
        let lock = Lock::take(ctx, "series")?;
        let dir = files::staging(&ctx.cache.join("series"))?;
        files::make_dir(&dir)?;
        let bench = Workbench {
            dir,
            version: pristine.version,
            _lock: lock,
        };
        for file in series::touched(patches) {
            let from = pristine.dir.join(&file);
            if from.is_file() {
                bench.lay(&from, &file)?;
            }
        }
        bench.git(&["init", "-q", "-b", "series"])?;
        // They decide what a hunk's first line says, as in a full tree.
        let attributes = pristine.dir.join(".gitattributes");
        if attributes.is_file() {
            bench.lay(&attributes, Path::new(".git/info/attributes"))?;
        }
        bench.git(&["add", "-A", "-f"])?;
        let subject = format!("Linux {}", bench.version);
        bench.git(&["commit", "-q", "--allow-empty", "-m", &subject])?;
        bench.git(&["tag", "base"])?;
        Ok(bench)
    }

    /// Applies a patch as `git am` does.
    pub fn apply(&self, patch: &Patch) -> anyhow::Result<()> {
        let mut cmd = git::isolated(&self.dir);
        cmd.args(["am", "-q", "--committer-date-is-author-date"])
            .arg(&patch.path);
        let out = cmd
            .stdin(std::process::Stdio::null())
            .output()
            .context("cannot run git")?;
        if out.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = said.lines().find(|line| line.starts_with("error: "));
        let line = line.or(said.lines().next()).unwrap_or("git am failed");
        let why = line.trim_start_matches("error: ");
        let text = format!(
            "{} does not apply to Linux {}: {why}",
            patch.name(),
            self.version
        );
        Err(Fatal::Failed(text).into())
    }

    /// Makes a file part of the last commit.
    pub fn amend(&self, from: &Path, file: &Path) -> anyhow::Result<()> {
        self.lay(from, file)?;
        self.git(&["add", "-f", &file.to_string_lossy()])?;
        if self.git(&["diff", "--cached", "--quiet"]).is_err() {
            self.git(&["commit", "-q", "--amend", "--no-edit", "--allow-empty"])?;
        }
        Ok(())
    }

    /// The commits as patches, by name and content.
    pub fn patches(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        git::format_patches(&self.dir, "base", &self.dir.join(".git/patches"))
    }

    /// What a cover letter says of them.
    pub fn summary(&self) -> anyhow::Result<String> {
        git::summary(&self.dir, "base")
    }

    /// All changes of the series together.
    pub fn diff(&self) -> anyhow::Result<String> {
        self.git(&["diff", "--no-color", "--no-ext-diff", "base", "HEAD"])
    }

    /// A file as the series leaves it.
    pub fn file(&self, file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        files::read(&self.dir.join(file))
    }

    fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        output(git::isolated(&self.dir).args(args))
    }

    /// Copies a file to where the kernel has `file`.
    pub fn lay(&self, from: &Path, file: &Path) -> anyhow::Result<()> {
        let to = self.dir.join(file);
        files::make_dir(to.parent().context("a file without a folder")?)?;
        std::fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        // What is left is removed by the next one that is set up.
        let _ = files::remove(&self.dir);
    }
}
