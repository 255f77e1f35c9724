// SPDX-License-Identifier: GPL-2.0
//! What compilers say about the lines that the series adds: clippy for Rust, sparse for C. What
//! they say about the rest of the kernel is not the series' business.

use super::{count, Added, Outcome};
use crate::files;
use crate::kernel::Build;
use crate::progress::{run_logged_with, Step};
use anyhow::{bail, Context};
use std::path::{Path, PathBuf};

/// Folders whose C files are not part of the kernel, or not objects by themselves (the helpers of
/// Rust).
const OUTSIDE: [&str; 6] = [
    "tools",
    "samples",
    "scripts",
    "Documentation",
    "usr",
    "rust",
];

/// sparse 0.6.4, the last release, does not know `__typeof_unqual__`; what the difference can
/// make it say is not about types of the series.
const SPARSE: &str = "sparse -D__typeof_unqual__=__typeof__";

/// Compiles the kernel crate and what the series adds with clippy in the place of rustc.
pub fn clippy(build: &Build, added: &Added, step: &mut Step) -> anyhow::Result<Outcome> {
    let rust = with_extension(added, "rs");
    let crates = crates(&rust, &build.tree.dir);
    if rust.is_empty() {
        return Ok(Outcome {
            looked_at: count(0, "Rust file"),
            findings: Vec::new(),
        });
    }
    // An object that is up to date is not compiled again, and then nothing is said about it.
    let unclean = build.objdir.join("evpoll.clippy-unclean");
    if unclean.exists() {
        for object in ["rust/kernel.o", "rust/libkernel.rmeta"] {
            files::remove(&build.objdir.join(object))?;
        }
        for folder in &crates {
            remove_objects(&build.objdir.join(folder))?;
        }
    }
    files::write(&unclean, b"")?;
    let mut cmd = build.make();
    cmd.args(["CLIPPY=1", "prepare"]);
    let mut messages = Messages::default();
    let mut see = |line: &str| {
        step.note(line.trim());
        messages.rust(line);
    };
    run_logged_with(cmd, &build.log("clippy-prepare"), &mut see).context("make CLIPPY=1")?;
    if !crates.is_empty() {
        let mut cmd = build.make();
        cmd.arg("CLIPPY=1")
            .args(crates.iter().map(|folder| format!("{}/", folder.display())));
        run_logged_with(cmd, &build.log("clippy"), &mut see).context("make CLIPPY=1")?;
    }
    let findings = messages.about(added, &build.tree.dir);
    if findings.is_empty() {
        files::remove(&unclean)?;
    }
    Ok(Outcome {
        looked_at: count(rust.len(), "Rust file"),
        findings,
    })
}

/// Runs sparse on the C files that the series touches.
pub fn sparse(build: &Build, added: &Added, step: &mut Step) -> anyhow::Result<Outcome> {
    let objects: Vec<PathBuf> = with_extension(added, "c")
        .into_iter()
        .filter(|file| !OUTSIDE.iter().any(|folder| file.starts_with(folder)))
        .map(|file| file.with_extension("o"))
        .collect();
    if objects.is_empty() {
        return Ok(Outcome {
            looked_at: count(0, "C file"),
            findings: Vec::new(),
        });
    }
    // Compiled anew, so that the compiler's own warnings come every time.
    for object in &objects {
        files::remove(&build.objdir.join(object))?;
    }
    let mut cmd = build.make();
    // Always the compiler of the kernel crate that clippy has just been: another would rebuild it.
    cmd.args(["C=2", &format!("CHECK={SPARSE}"), "CLIPPY=1"])
        .args(&objects);
    let mut messages = Messages::default();
    let mut useless = false;
    let see = |line: &str| {
        step.note(line.trim());
        useless |= line.contains("is not available or not up to date");
        messages.c(line);
    };
    run_logged_with(cmd, &build.log("sparse"), see).context("make C=2")?;
    if useless {
        bail!("this sparse is too old for the kernel: install a newer one");
    }
    let findings = messages.about(added, &build.tree.dir);
    Ok(Outcome {
        looked_at: count(objects.len(), "C file"),
        findings,
    })
}

pub fn with_extension(added: &Added, wanted: &str) -> Vec<PathBuf> {
    let files = added.iter().map(|(file, _)| file);
    files
        .filter(|file| file.extension().is_some_and(|have| have == wanted))
        .cloned()
        .collect()
}

/// The folders, other than the kernel crate's, that have Rust files of the series and a Makefile.
pub fn crates(rust: &[PathBuf], tree: &Path) -> Vec<PathBuf> {
    let folders = rust.iter().filter_map(|file| file.parent());
    let mut folders: Vec<PathBuf> = folders
        .filter(|folder| !folder.starts_with("rust") && tree.join(folder).join("Makefile").exists())
        .map(Path::to_path_buf)
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

fn remove_objects(folder: &Path) -> anyhow::Result<()> {
    for path in files::entries(folder)? {
        if path
            .extension()
            .is_some_and(|extension| extension == "o" || extension == "a")
        {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// Messages of compilers, with the places that they are about.
#[derive(Default)]
pub struct Messages {
    found: Vec<(String, usize, String)>,
    /// rustc says first what, then where.
    pending: Option<String>,
}

impl Messages {
    /// A line of rustc or clippy.
    pub fn rust(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with("warning") || line.starts_with("error") {
            self.pending = Some(line.to_owned());
        } else if let Some(place) = line.strip_prefix("--> ") {
            let mut parts = place.rsplitn(3, ':');
            let (_column, number, file) = (parts.next(), parts.next(), parts.next());
            let number = number.and_then(|number| number.parse().ok());
            if let (Some(message), Some(number), Some(file)) = (self.pending.take(), number, file) {
                self.found.push((file.to_owned(), number, message));
            }
        }
    }

    /// A line of sparse: `file:line:column: warning: text`.
    fn c(&mut self, line: &str) {
        let mut parts = line.splitn(4, ':');
        let (file, number, _column) = (parts.next(), parts.next(), parts.next());
        let text = parts.next().map(str::trim);
        let number = number.and_then(|number| number.parse().ok());
        if let (Some(file), Some(number), Some(text)) = (file, number, text) {
            if text.starts_with("warning:") || text.starts_with("error:") {
                self.found.push((file.to_owned(), number, text.to_owned()));
            }
        }
    }

    /// Those about a line that the series adds, each once.
    pub fn about(&self, added: &Added, tree: &Path) -> Vec<String> {
        let mut told = Vec::new();
        for (place, number, text) in &self.found {
            let place = Path::new(place);
            let file = place.strip_prefix(tree).unwrap_or(place);
            let file = file.strip_prefix("./").unwrap_or(file);
            let ours = added
                .iter()
                .any(|(name, lines)| name == file && lines.contains(number));
            let line = format!("{}:{number}: {text}", file.display());
            if ours && !told.contains(&line) {
                told.push(line);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added() -> Added {
        vec![
            ("fs/evpoll/a.rs".into(), vec![1, 2, 3]),
            ("fs/pipe.c".into(), vec![7]),
        ]
    }

    #[test]
    fn only_what_the_series_adds_is_told() {
        let mut messages = Messages::default();
        for line in [
            "/t/fs/pipe.c:7:3: warning: context imbalance",
            "/t/fs/pipe.c:8:3: warning: not ours",
            "  CHECK   /t/fs/pipe.c",
        ] {
            messages.c(line);
        }
        let told = messages.about(&added(), Path::new("/t"));
        assert_eq!(told, ["fs/pipe.c:7: warning: context imbalance"]);
    }

    #[test]
    fn clippy_says_what_then_where() {
        let mut messages = Messages::default();
        for line in [
            "warning: unneeded `return`",
            "  --> /t/fs/evpoll/a.rs:2:5",
            "   |",
            "  --> fs/evpoll/a.rs:3:5",
        ] {
            messages.rust(line);
        }
        let told = messages.about(&added(), Path::new("/t"));
        assert_eq!(told, ["fs/evpoll/a.rs:2: warning: unneeded `return`"]);
    }
}
