// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask series --onto KERNEL`: which patches `git am` takes on another kernel, which only
//! `git am -3` does, and where the others conflict. That a patch applies does not say that what
//! comes of it compiles.
//!
//! It happens in the workbench: a repository of only the files that the series touches, with the
//! series on the kernel that it is made for, so that what merges has both sides and what was before.

use crate::ctx::{existing_dir, Ctx};
use crate::git;
use crate::packages;
use crate::progress::{output, Step};
use crate::series::{self, Patch};
use crate::source::{self, Line, Version};
use crate::workbench::Workbench;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// How a patch fares.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// `git am` takes it, with so many hunks at other lines than they say.
    Applies { moved: usize },
    /// `git am -3` does.
    Merges,
    /// Nobody does, because of these.
    Conflicts(Vec<Conflict>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Conflict {
    file: PathBuf,
    /// None: the other kernel does not have the file.
    hunks: Option<usize>,
}

pub fn main(ctx: &Ctx, kernel: &str) -> anyhow::Result<u8> {
    packages::ensure(ctx, &["git"])?;
    let (dir, version) = find(ctx, kernel)?;
    let patches = series::patches(&ctx.root)?;
    let bench = Workbench::set_up(ctx, &patches)?;
    for patch in &patches {
        bench.apply(patch)?;
    }
    let step = Step::start(format!("trying the series on Linux {version}"));
    let trial = Trial::begin(&bench, &dir, &patches)?;
    let mut fates = Vec::new();
    for (patch, commit) in patches.iter().zip(&trial.commits) {
        fates.push(trial.attempt(patch, commit)?);
    }
    step.done("");
    for (patch, fate) in patches.iter().zip(&fates) {
        println!("{}: {fate}", patch.name());
    }
    println!("{}", summary(&fates, version));
    Ok(u8::from(fates.iter().any(Fate::is_conflict)))
}

/// The other kernel: a folder, or a release that is fetched if need be.
fn find(ctx: &Ctx, kernel: &str) -> anyhow::Result<(PathBuf, Version)> {
    let Some(line) = Line::parse(kernel).filter(|_| !Path::new(kernel).is_dir()) else {
        let dir = existing_dir(Path::new(kernel))?;
        let version = source::version_of(&dir)?;
        return Ok((dir, version));
    };
    let pristine = source::of_line(ctx, line)?;
    Ok((pristine.dir, pristine.version))
}

/// A branch of the workbench that has the other kernel.
struct Trial<'a> {
    dir: &'a Path,
    /// Those of the series, in order.
    commits: Vec<String>,
}

impl Trial<'_> {
    fn begin<'a>(
        bench: &'a Workbench,
        kernel: &Path,
        patches: &[Patch],
    ) -> anyhow::Result<Trial<'a>> {
        let mut trial = Trial {
            dir: &bench.dir,
            commits: vec![],
        };
        let commits = trial.git(&["rev-list", "--reverse", "base..HEAD"])?;
        trial.commits = commits.lines().map(str::to_owned).collect();
        trial.git(&["checkout", "-q", "--orphan", "onto"])?;
        trial.git(&["rm", "-r", "-f", "-q", "--ignore-unmatch", "."])?;
        for file in series::touched(patches) {
            let from = kernel.join(&file);
            if from.is_file() {
                bench.lay(&from, &file)?;
            }
        }
        trial.commit("the other kernel")?;
        Ok(trial)
    }

    /// Puts the patch on what is there. Where it conflicts, the series' side of the conflict is
    /// taken, so that what later patches are found to conflict with is not this again.
    fn attempt(&self, patch: &Patch, commit: &str) -> anyhow::Result<Fate> {
        let path = patch.path.to_string_lossy();
        let applied = self.try_git(&["apply", "--index", "-v", "--whitespace=nowarn", &path])?;
        let fate = if applied.status.success() {
            let said = String::from_utf8_lossy(&applied.stderr).into_owned();
            Fate::Applies {
                moved: moved(&said),
            }
        } else if self.pick(commit, &[])? {
            Fate::Merges
        } else {
            let conflicts = self.conflicts()?;
            anyhow::ensure!(!conflicts.is_empty(), "git cannot try {}", patch.name());
            self.git(&["reset", "-q", "--hard"])?;
            if !self.pick(commit, &["-X", "theirs"])? {
                self.take_theirs()?;
            }
            Fate::Conflicts(conflicts)
        };
        self.commit(&patch.name())?;
        Ok(fate)
    }

    /// Merges a commit of the series into what is there; whether that went without a conflict.
    fn pick(&self, commit: &str, how: &[&str]) -> anyhow::Result<bool> {
        let args = [&["cherry-pick", "--no-commit"], how, &[commit]].concat();
        Ok(self.try_git(&args)?.status.success())
    }

    /// What a merge has left.
    fn conflicts(&self) -> anyhow::Result<Vec<Conflict>> {
        let conflict = |file: PathBuf| -> anyhow::Result<Conflict> {
            let there = self.stage(2, &file)?;
            let text = std::fs::read(self.dir.join(&file)).unwrap_or_default();
            let hunks = there.then(|| marks(&String::from_utf8_lossy(&text)));
            Ok(Conflict { file, hunks })
        };
        self.unmerged()?.into_iter().map(conflict).collect()
    }

    fn unmerged(&self) -> anyhow::Result<Vec<PathBuf>> {
        let names = self.git(&["diff", "--name-only", "--diff-filter=U", "-z"])?;
        Ok(names.split_terminator('\0').map(PathBuf::from).collect())
    }

    /// Whether the index has this side of a conflict: 2 is the other kernel, 3 the series.
    fn stage(&self, number: u8, file: &Path) -> anyhow::Result<bool> {
        let object = format!(":{number}:{}", file.display());
        Ok(self.try_git(&["cat-file", "-e", &object])?.status.success())
    }

    /// For files that one side does not have, which no option of merge decides about.
    fn take_theirs(&self) -> anyhow::Result<()> {
        for file in self.unmerged()? {
            let name = file.to_string_lossy();
            if self.stage(3, &file)? {
                self.git(&["checkout", "-q", "--theirs", "--", &name])?;
            } else {
                self.git(&["rm", "-q", "-f", "--", &name])?;
            }
        }
        Ok(())
    }

    fn commit(&self, subject: &str) -> anyhow::Result<()> {
        self.git(&["add", "-A", "-f"])?;
        self.git(&["commit", "-q", "--allow-empty", "-m", subject])?;
        Ok(())
    }

    fn git(&self, args: &[&str]) -> anyhow::Result<String> {
        output(git::isolated(self.dir).args(args))
    }

    fn try_git(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut cmd = git::isolated(self.dir);
        cmd.args(args).stdin(Stdio::null());
        cmd.output().context("cannot run git")
    }
}

/// The hunks that `git apply -v` has found at other lines.
fn moved(said: &str) -> usize {
    said.lines()
        .filter(|line| line.starts_with("Hunk #") && line.contains("(offset "))
        .count()
}

/// The conflicts in a file.
fn marks(text: &str) -> usize {
    text.lines()
        .filter(|line| line.starts_with("<<<<<<< "))
        .count()
}

fn summary(fates: &[Fate], version: Version) -> String {
    let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
    format!(
        "Linux {version}: {} apply, {} merge, {} conflict",
        count(|fate| matches!(fate, Fate::Applies { .. })),
        count(|fate| matches!(fate, Fate::Merges)),
        count(Fate::is_conflict)
    )
}

impl Fate {
    fn is_conflict(&self) -> bool {
        matches!(self, Fate::Conflicts(_))
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |number| if number == 1 { "" } else { "s" };
        match self {
            Fate::Applies { moved: 0 } => f.write_str("applies"),
            Fate::Applies { moved } => {
                write!(f, "applies, {moved} hunk{} at other lines", plural(*moved))
            }
            Fate::Merges => f.write_str("merges, with git am -3"),
            Fate::Conflicts(conflicts) => {
                f.write_str("conflicts in ")?;
                for (number, Conflict { file, hunks }) in conflicts.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", file.display())?;
                    match hunks {
                        None => f.write_str(" (not there)")?,
                        Some(hunks) => write!(f, " ({hunks} hunk{})", plural(*hunks))?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    /// A patch that changes the 6th of ten lines, on kernels of one file.
    struct Scene {
        dir: PathBuf,
        commit: String,
        patch: Patch,
    }

    impl Scene {
        fn new(name: &str) -> Scene {
            let dir = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            files::remove(&dir).unwrap();
            files::make_dir(&dir).unwrap();
            let git = |args: &[&str]| output(git::isolated(&dir).args(args)).unwrap();
            git(&["init", "-q", "-b", "series"]);
            files::write(&dir.join("f"), lines(&[]).as_bytes()).unwrap();
            git(&["add", "-A"]);
            git(&["commit", "-q", "-m", "base"]);
            files::write(&dir.join("f"), lines(&[(6, "ours")]).as_bytes()).unwrap();
            git(&["commit", "-q", "-a", "-m", "patch"]);
            let path = dir.join(".git/one.patch");
            files::write(&path, git(&["format-patch", "-1", "--stdout"]).as_bytes()).unwrap();
            let commit = git(&["rev-parse", "HEAD"]).trim().to_owned();
            git(&["checkout", "-q", "--orphan", "onto"]);
            let patch = series::patch(path).unwrap();
            Scene { dir, commit, patch }
        }

        /// What comes of the patch on a kernel with this file.
        fn fate(&self, kernel: Option<&str>) -> (Fate, String) {
            let trial = Trial {
                dir: &self.dir,
                commits: vec![],
            };
            let file = self.dir.join("f");
            match kernel {
                Some(text) => files::write(&file, text.as_bytes()).unwrap(),
                None => files::remove(&file).unwrap(),
            }
            trial.commit("the other kernel").unwrap();
            let fate = trial.attempt(&self.patch, &self.commit).unwrap();
            (fate, files::read_text(&file).unwrap())
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = files::remove(&self.dir);
        }
    }

    fn lines(changed: &[(usize, &str)]) -> String {
        let line = |number: usize| {
            let change = changed.iter().find(|(changed, _)| *changed == number);
            change.map_or(format!("{number}\n"), |(_, text)| format!("{text}\n"))
        };
        (1..=10).map(line).collect()
    }

    #[test]
    fn what_applies_as_it_is_or_elsewhere() {
        let scene = Scene::new("applies");
        let (fate, text) = scene.fate(Some(&lines(&[])));
        assert_eq!(fate, Fate::Applies { moved: 0 });
        assert_eq!(text, lines(&[(6, "ours")]));
        let (fate, _) = scene.fate(Some(&format!("new\nnew\n{}", lines(&[]))));
        assert_eq!(fate, Fate::Applies { moved: 1 });
    }

    #[test]
    fn a_changed_neighbour_takes_a_merge() {
        let scene = Scene::new("merges");
        let (fate, text) = scene.fate(Some(&lines(&[(4, "theirs")])));
        assert_eq!(fate, Fate::Merges);
        assert_eq!(text, lines(&[(4, "theirs"), (6, "ours")]));
    }

    #[test]
    fn a_conflict_is_counted_and_the_series_goes_on() {
        let scene = Scene::new("conflicts");
        let (fate, text) = scene.fate(Some(&lines(&[(1, "kept"), (6, "theirs")])));
        let file = PathBuf::from("f");
        let conflict = Conflict {
            file: file.clone(),
            hunks: Some(1),
        };
        assert_eq!(fate, Fate::Conflicts(vec![conflict]));
        assert_eq!(text, lines(&[(1, "kept"), (6, "ours")]));
        let (fate, text) = scene.fate(None);
        let conflict = Conflict { file, hunks: None };
        assert_eq!(fate, Fate::Conflicts(vec![conflict]));
        assert_eq!(text, lines(&[(6, "ours")]));
    }

    #[test]
    fn each_fate_is_told_in_a_line() {
        let conflict = |hunks| Conflict {
            file: "net/socket.c".into(),
            hunks,
        };
        let told = |fate: Fate| fate.to_string();
        assert_eq!(told(Fate::Applies { moved: 0 }), "applies");
        assert_eq!(
            told(Fate::Applies { moved: 2 }),
            "applies, 2 hunks at other lines"
        );
        assert_eq!(
            told(Fate::Conflicts(vec![conflict(Some(1)), conflict(None)])),
            "conflicts in net/socket.c (1 hunk), net/socket.c (not there)"
        );
    }
}
