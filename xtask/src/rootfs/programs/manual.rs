// SPDX-License-Identifier: GPL-2.0
//! The programs in the manual, which are taken out of its pages: so what is printed there is what
//! is compiled and run.
//!
//! As in the pages of Linux, they are between `.\" SRC BEGIN (NAME)` and `.\" SRC END`, in roff.

use crate::error::Fatal;
use crate::files;
use std::path::{Path, PathBuf};

const BEGIN: &str = ".\\\" SRC BEGIN (";
const END: &str = ".\\\" SRC END";

/// Writes the sources of all programs of the manual into this folder. Returns their paths.
pub fn extract(root: &Path, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for page in files::entries(&root.join("evpoll/man"))? {
        let found = programs(&files::read_text(&page)?)
            .map_err(|why| Fatal::Setup(format!("{}: {why}", page.display())))?;
        for (name, text) in found {
            let path = folder.join(name);
            if files::read(&path)?.as_deref() != Some(text.as_bytes()) {
                files::write(&path, text.as_bytes())?;
            }
            sources.push(path);
        }
    }
    Ok(sources)
}

/// The programs of a page: names and texts.
fn programs(page: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        let Some(name) = line
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(')'))
        else {
            continue;
        };
        let mut text = String::new();
        loop {
            let (number, line) = lines.next().ok_or(format!("{name} has no end"))?;
            match line {
                END => break,
                ".EX" | ".EE" => {}
                line => {
                    text += &plain(line)
                        .ok_or(format!("line {}: cannot be taken for C", number + 1))?;
                    text.push('\n');
                }
            }
        }
        found.push((name.to_owned(), text));
    }
    Ok(found)
}

/// What roff prints for a line of a program. Nothing, if it is a request, or has an escape that
/// programs have no use for.
fn plain(line: &str) -> Option<String> {
    const ESCAPES: [(&str, &str); 8] = [
        ("e", "\\"),
        ("-", "-"),
        ("&", ""),
        ("(aq", "'"),
        ("(dq", "\""),
        ("(ha", "^"),
        ("(ti", "~"),
        ("(ga", "`"),
    ];
    if line.starts_with(['.', '\'']) {
        return None;
    }
    let mut parts = line.split('\\');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (rest, meant) = ESCAPES
            .iter()
            .find_map(|(escape, meant)| Some((part.strip_prefix(escape)?, meant)))?;
        text += meant;
        text += rest;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_they_are_printed() {
        let page = "\
.SH EXAMPLES
.P
.\\\" SRC BEGIN (a.c)
.EX
int x = \\-1;
\\&.y = \\(aq\\en\\(aq;
.EE
.\\\" SRC END
.\\\" SRC BEGIN (b.c)
.\\\" SRC END
.SH SEE ALSO
";
        let programs = programs(page).unwrap();
        assert_eq!(programs[0].0, "a.c");
        assert_eq!(programs[0].1, "int x = -1;\n.y = '\\n';\n");
        assert_eq!(programs[1], ("b.c".into(), String::new()));
    }

    #[test]
    fn what_is_no_program_is_told() {
        let page = |line: &str| format!("{BEGIN}a.c)\n{line}\n{END}\n");
        for line in [".PP", "'x'", "\\fBbold\\fP", "x \\"] {
            let why = programs(&page(line)).unwrap_err();
            assert!(why.contains("line 2"), "{line}: {why}");
        }
        assert!(programs(&format!("{BEGIN}a.c)\n")).is_err());
    }

    #[test]
    fn every_line_that_roff_would_break_is_one_that_is_refused_or_meant() {
        assert_eq!(plain("\"\\e0\"").as_deref(), Some("\"\\0\""));
        assert_eq!(plain("a \\- b \\(ha c").as_deref(), Some("a - b ^ c"));
        assert_eq!(plain("\\(xx"), None);
    }
}
