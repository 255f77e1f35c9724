// SPDX-License-Identifier: GPL-2.0
//! What the series consists of: the patches, the files that they touch, and the Rust files whose
//! source is kernel-rust/.

use crate::error::Fatal;
use crate::files;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folders of a kernel tree that kernel-rust/ may hold files for; its others (host/, tests/)
/// are the Cargo package around them.
const KERNEL_FOLDERS: [&str; 18] = [
    "arch", "block", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc", "kernel",
    "lib", "mm", "net", "rust", "samples", "security", "sound", "virt",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub path: PathBuf,
    pub touches: Vec<Touch>,
}

/// One file in one patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    pub file: PathBuf,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Changed,
    Removed,
}

impl Patch {
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    pub fn touches_file(&self, file: &Path) -> bool {
        self.touches.iter().any(|touch| touch.file == file)
    }
}

/// The patches in order. The cover letter has no `.patch` suffix and is not among them.
pub fn patches(root: &Path) -> anyhow::Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for path in files::entries(&root.join("patches"))? {
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            patches.push(patch(path)?);
        }
    }
    Ok(patches)
}

/// A patch file.
pub fn patch(path: PathBuf) -> anyhow::Result<Patch> {
    let text = files::read_text(&path)?;
    Ok(Patch {
        touches: touches(&text),
        path,
    })
}

/// Every file that some patch touches.
pub fn touched(patches: &[Patch]) -> BTreeSet<PathBuf> {
    patches
        .iter()
        .flat_map(|patch| &patch.touches)
        .map(|touch| touch.file.clone())
        .collect()
}

/// The Rust files that the series adds (and does not take away again).
pub fn added_rust(patches: &[Patch]) -> BTreeSet<PathBuf> {
    let mut added = BTreeSet::new();
    for touch in patches.iter().flat_map(|patch| &patch.touches) {
        let rust = touch
            .file
            .extension()
            .is_some_and(|extension| extension == "rs");
        match touch.kind {
            Kind::Added if rust => added.insert(touch.file.clone()),
            Kind::Removed => added.remove(&touch.file),
            _ => false,
        };
    }
    added
}

/// The text of a file that the series adds; none if it does not.
pub fn added_text(patches: &[Patch], file: &Path) -> anyhow::Result<Option<String>> {
    let mut touching = patches.iter().filter(|patch| patch.touches_file(file));
    let Some(first) = touching.next() else {
        return Ok(None);
    };
    let text = text_in(&files::read_text(&first.path)?, file);
    match (text, touching.next()) {
        (Some(text), None) => Ok(Some(text)),
        (_, other) => {
            let name = other.unwrap_or(first).name();
            let text = format!(
                "{name} changes {}: let one patch add all of it",
                file.display()
            );
            Err(Fatal::Setup(text).into())
        }
    }
}

/// Where the kernel's Rust files have their source.
pub fn rust_folder(root: &Path) -> PathBuf {
    root.join("kernel-rust")
}

/// The Rust files under kernel-rust/ that belong into the kernel, by their paths there.
pub fn rust_sources(root: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let base = rust_folder(root);
    let mut sources = BTreeSet::new();
    for folder in KERNEL_FOLDERS {
        // Hidden ones are editors' own.
        for file in files::walk(&base.join(folder), |name| !name.starts_with('.'))? {
            if file.extension().is_some_and(|extension| extension == "rs") {
                sources.insert(Path::new(folder).join(file));
            }
        }
    }
    Ok(sources)
}

/// The files that a patch in git's format touches. A renamed file is one removed and one added.
fn touches(patch: &str) -> Vec<Touch> {
    let mut found: Vec<Touch> = Vec::new();
    let mut header = false;
    for line in patch.lines() {
        if let Some(names) = line.strip_prefix("diff --git ") {
            header = true;
            if let Some(file) = new_name(names) {
                found.push(Touch {
                    file,
                    kind: Kind::Changed,
                });
            }
        } else if line.starts_with("@@ ") {
            header = false;
        }
        if !header {
            continue;
        }
        if let Some(old) = line.strip_prefix("rename from ") {
            if let Some(last) = found.last_mut() {
                last.kind = Kind::Added;
            }
            found.insert(
                found.len() - 1,
                Touch {
                    file: old.into(),
                    kind: Kind::Removed,
                },
            );
        } else if let Some(last) = found.last_mut() {
            if line.starts_with("new file mode") || line.starts_with("copy to ") {
                last.kind = Kind::Added;
            } else if line.starts_with("deleted file mode") {
                last.kind = Kind::Removed;
            }
        }
    }
    found
}

/// `a/fs/x.c b/fs/x.c`: the name after the change.
fn new_name(names: &str) -> Option<PathBuf> {
    names
        .rsplit_once(" b/")
        .map(|(_, name)| PathBuf::from(name))
}

/// The text of a file that a patch in git's format adds.
fn text_in(patch: &str, file: &Path) -> Option<String> {
    let file = file.display();
    let start = format!("\ndiff --git a/{file} b/{file}\nnew file mode ");
    let (_, rest) = patch.split_once(&start)?;
    let mut lines = rest.lines();
    let mut header = lines
        .by_ref()
        .take_while(|line| !line.starts_with("diff --git "));
    let (_, _, count) = header.find_map(hunk)?;
    let added = lines.take(count).map(|line| line.strip_prefix('+'));
    added.map(|line| Some(format!("{}\n", line?))).collect()
}

/// The line numbers that a patch adds, for each file, in the file as that patch leaves it.
pub fn added_lines(diff: &str) -> Vec<(PathBuf, Vec<usize>)> {
    let mut found: Vec<(PathBuf, Vec<usize>)> = Vec::new();
    let mut number = 0;
    let mut left = (0, 0);
    for line in diff.lines() {
        if left == (0, 0) {
            if let Some(file) = line.strip_prefix("+++ b/") {
                found.push((file.into(), Vec::new()));
            } else if let Some((start, old, new)) = hunk(line) {
                number = start;
                left = (old, new);
            }
            continue;
        }
        match line.as_bytes().first() {
            Some(b'+') => {
                if let Some((_, lines)) = found.last_mut() {
                    lines.push(number);
                }
                number += 1;
                left.1 -= left.1.min(1);
            }
            Some(b'-') => left.0 -= left.0.min(1),
            Some(b'\\') => {}
            _ => {
                number += 1;
                left = (left.0 - left.0.min(1), left.1 - left.1.min(1));
            }
        }
    }
    found
}

/// `@@ -1,2 +3,4 @@`: where the new side starts, and how many lines each side has.
fn hunk(line: &str) -> Option<(usize, usize, usize)> {
    let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(usize, usize)> {
        match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let (start, lines) = range(new)?;
    Some((start, range(old)?.1, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH] fs: add x

---
diff --git a/fs/Makefile b/fs/Makefile
index 1..2 100644
--- a/fs/Makefile
+++ b/fs/Makefile
@@ -3,2 +3,3 @@ obj-y :=
 a
+obj-y += x.o
 b
diff --git a/fs/x.rs b/fs/x.rs
new file mode 100644
index 0..1
--- /dev/null
+++ b/fs/x.rs
@@ -0,0 +1,2 @@
+// deleted file mode
+mod y;
diff --git a/fs/old.c b/fs/new.c
similarity index 90%
rename from fs/old.c
rename to fs/new.c
diff --git a/fs/gone.c b/fs/gone.c
deleted file mode 100644
--- a/fs/gone.c
+++ /dev/null
@@ -1 +0,0 @@
-x
--
";

    #[test]
    fn touched_files() {
        let touch = |file: &str, kind| Touch {
            file: file.into(),
            kind,
        };
        assert_eq!(
            touches(PATCH),
            [
                touch("fs/Makefile", Kind::Changed),
                touch("fs/x.rs", Kind::Added),
                touch("fs/old.c", Kind::Removed),
                touch("fs/new.c", Kind::Added),
                touch("fs/gone.c", Kind::Removed),
            ]
        );
    }

    #[test]
    fn added_rust_files_are_those_still_there_at_the_end() {
        let patch = |text: &str| Patch {
            path: "0001-x.patch".into(),
            touches: touches(text),
        };
        let first = patch(PATCH);
        assert_eq!(
            added_rust(std::slice::from_ref(&first)),
            BTreeSet::from(["fs/x.rs".into()])
        );
        let removal = "diff --git a/fs/x.rs b/fs/x.rs\ndeleted file mode 100644\n";
        assert!(added_rust(&[first, patch(removal)]).is_empty());
    }

    #[test]
    fn the_text_of_an_added_file() {
        let text = |file: &str| text_in(PATCH, file.as_ref());
        let added = "// deleted file mode\nmod y;\n";
        assert_eq!(text("fs/x.rs").as_deref(), Some(added));
        for other in ["fs/Makefile", "fs/new.c", "fs/gone.c", "fs/unknown.c"] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_is_added_in_pieces_is_refused() {
        let path = std::env::temp_dir().join(format!("evpoll-{}.patch", std::process::id()));
        files::write(&path, PATCH.as_bytes()).unwrap();
        let first = patch(path.clone()).unwrap();
        let text = |patches: &[Patch], file: &str| added_text(patches, file.as_ref());
        let one = std::slice::from_ref(&first);
        assert!(text(one, "fs/x.rs").unwrap().is_some());
        assert!(text(one, "fs/unknown.c").unwrap().is_none());
        let error = text(one, "fs/Makefile").unwrap_err().to_string();
        assert!(error.contains("changes fs/Makefile"), "{error}");
        assert!(text(&[first.clone(), first], "fs/x.rs").is_err());
        files::remove(&path).unwrap();
    }

    #[test]
    fn lines_that_a_patch_adds() {
        let lines = added_lines(PATCH);
        assert_eq!(lines[0], ("fs/Makefile".into(), vec![4]));
        assert_eq!(lines[1], ("fs/x.rs".into(), vec![1, 2]));
    }
}
