// SPDX-License-Identifier: GPL-2.0
//! Lines that no test reaches, and why that is accepted.

use crate::error::Fatal;
use crate::files;
use std::collections::BTreeSet;
use std::path::Path;

/// Where they are listed.
pub const FILE: &str = "qemu/coverage.accepted";

/// A line that is accepted. It is known by its text, so that it may move; each entry stands for one
/// line, so that another one that reads the same is not accepted with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub file: String,
    /// Without the space around it.
    pub text: String,
    pub reason: String,
    /// It is a matter of luck whether it is reached.
    by_chance: bool,
}

/// The entries.
#[derive(Debug, Default)]
pub struct Accepted {
    entries: Vec<Entry>,
}

impl Accepted {
    pub fn read(path: &Path) -> anyhow::Result<Accepted> {
        Accepted::parse(&files::read_text(path)?)
    }

    /// `# a comment`, `[file]`, `= the reason of what follows`, or `~ the reason` if it may be
    /// reached all the same, and the lines' text.
    fn parse(text: &str) -> anyhow::Result<Accepted> {
        let mut entries = Vec::new();
        let (mut file, mut reason) = (None, None);
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with("# ") {
                continue;
            }
            let name = line
                .strip_prefix("[fs/")
                .and_then(|rest| rest.strip_suffix(']'));
            if let Some(name) = name {
                file = Some(format!("fs/{name}"));
                reason = None;
            } else if let Some(why) = line.strip_prefix("= ") {
                reason = Some((why.to_owned(), false));
            } else if let Some(why) = line.strip_prefix("~ ") {
                reason = Some((why.to_owned(), true));
            } else if let (Some(file), Some((reason, by_chance))) = (&file, &reason) {
                entries.push(Entry {
                    file: file.clone(),
                    text: line.to_owned(),
                    reason: reason.clone(),
                    by_chance: *by_chance,
                });
            } else {
                let number = number + 1;
                let text = format!(
                    "{FILE}:{number}: a line needs the file (`[fs/x.c]`) and a reason (`= why`) \
                     above it"
                );
                return Err(Fatal::Setup(text).into());
            }
        }
        Ok(Accepted { entries })
    }

    /// Takes the entry of a line, if there is one: its reason.
    pub fn take(&mut self, file: &str, text: &str) -> Option<String> {
        let text = text.trim();
        let at = self
            .entries
            .iter()
            .position(|entry| entry.file == file && entry.text == text)?;
        Some(self.entries.remove(at).reason)
    }

    /// What nobody has taken, although it is not a matter of luck, or although there is no such
    /// line in `there`: the file and the text of each.
    pub fn stale(self, there: &BTreeSet<(String, String)>) -> Vec<Entry> {
        let is_there = |entry: &Entry| there.contains(&(entry.file.clone(), entry.text.clone()));
        let entries = self.entries.into_iter();
        entries
            .filter(|entry| !(entry.by_chance && is_there(entry)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# What tests cannot do.
[fs/evpoll/map.rs]
= Takes a file system that fails.
    return Err(EIO);
return Err(EIO);
[fs/fcblist.c]
= No memory.
#ifdef CONFIG_NET
";

    #[test]
    fn each_entry_stands_for_one_line() {
        let mut accepted = Accepted::parse(TEXT).unwrap();
        let mut take = |file, text| accepted.take(file, text);
        assert_eq!(take("fs/fcblist.c", "return Err(EIO);"), None);
        for _ in 0..2 {
            let why = take("fs/evpoll/map.rs", "\t\treturn Err(EIO);");
            assert_eq!(why.as_deref(), Some("Takes a file system that fails."));
        }
        assert_eq!(take("fs/evpoll/map.rs", "return Err(EIO);"), None);
        let stale = accepted.stale(&BTreeSet::new());
        assert_eq!(stale.len(), 1);
        assert_eq!(stale[0].text, "#ifdef CONFIG_NET");
    }

    #[test]
    fn what_is_reached_by_chance_may_be_reached() {
        let text = "[fs/x.c]\n~ Who is first.\na();\ngone();\n= Never.\nb();\n";
        let there = ["a();", "b();"].map(|line| ("fs/x.c".to_owned(), line.to_owned()));
        let stale = Accepted::parse(text).unwrap().stale(&there.into());
        let texts: Vec<&str> = stale.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["gone();", "b();"]);
    }

    #[test]
    fn a_line_without_a_reason_is_an_error() {
        assert!(Accepted::parse("[fs/fcblist.c]\nreturn;\n").is_err());
        assert!(Accepted::parse("= why\nreturn;\n").is_err());
    }

    #[test]
    fn the_list_can_be_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        Accepted::read(&root.join(FILE)).unwrap();
    }
}
