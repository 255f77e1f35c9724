// SPDX-License-Identifier: GPL-2.0
//! What was reached, for people and for scripts.

use super::accepted::{Accepted, Entry, FILE};
use super::code::ByLine;
use crate::files;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// A file with its lines.
struct Source {
    text: Vec<String>,
    /// Those that there is code for.
    lines: BTreeMap<u32, Line>,
}

struct Line {
    reached: bool,
    /// The functions that it is part of, in one text.
    function: String,
    /// Why it is fine that it was not reached.
    accepted: Option<String>,
}

/// The result.
pub struct Report {
    sources: BTreeMap<String, Source>,
    /// Accepted lines that are not there, or were reached.
    stale: Vec<Entry>,
}

impl Report {
    /// `tree` has the text of the files.
    pub fn new(lines: &ByLine, tree: &Path, mut accepted: Accepted) -> anyhow::Result<Report> {
        let names: BTreeSet<&String> = lines.keys().map(|(file, _)| file).collect();
        let mut sources = BTreeMap::new();
        for name in names {
            let text = files::read_text(&tree.join(name))?;
            let source = Source {
                text: text.lines().map(str::to_owned).collect(),
                lines: BTreeMap::new(),
            };
            sources.insert(name.clone(), source);
        }
        let mut there = BTreeSet::new();
        for ((file, number), line) in lines {
            let Some(source) = sources.get_mut(file) else {
                continue;
            };
            let text = text(&source.text, *number).to_owned();
            let functions: Vec<&str> = line.functions.iter().map(String::as_str).collect();
            let line = Line {
                reached: line.reached,
                function: functions.join(", "),
                accepted: match line.reached {
                    true => None,
                    false => accepted.take(file, &text),
                },
            };
            source.lines.insert(*number, line);
            there.insert((file.clone(), text.trim().to_owned()));
        }
        Ok(Report {
            sources,
            stale: accepted.stale(&there),
        })
    }

    /// A line for each file: lines, reached, percent.
    pub fn table(&self) -> String {
        let mut out = format!(
            "{:<28} {:>6} {:>8} {:>8}\n",
            "file", "lines", "reached", "percent"
        );
        let mut sum = (0, 0);
        for (name, source) in &self.sources {
            let (all, reached) = source.count();
            sum = (sum.0 + all, sum.1 + reached);
            row(&mut out, name, all, reached);
        }
        row(&mut out, "all", sum.0, sum.1);
        out
    }

    /// The lines that were not reached, by file and function.
    pub fn never_reached(&self) -> String {
        let mut out = String::new();
        for (name, source) in &self.sources {
            let mut function = None;
            for (number, line) in source.lines.iter().filter(|(_, line)| !line.reached) {
                if function != Some(&line.function) {
                    let _ = writeln!(out, "\n{name}: {}", line.function);
                    function = Some(&line.function);
                }
                let text = text(&source.text, *number).trim();
                let _ = writeln!(out, "{number:>6}  {text}");
                if let Some(reason) = &line.accepted {
                    let _ = writeln!(out, "        accepted: {reason}");
                }
            }
        }
        out
    }

    /// All files, each line with a mark: `+` was reached, `-` was not, `~` was not and that is
    /// accepted.
    pub fn annotated(&self) -> String {
        let mut out = self.table();
        for (name, source) in &self.sources {
            let _ = writeln!(out, "\n{name}");
            for (number, text) in (1..).zip(&source.text) {
                let mark = match source.lines.get(&number) {
                    None => ' ',
                    Some(line) if line.reached => '+',
                    Some(line) if line.accepted.is_some() => '~',
                    Some(_) => '-',
                };
                let _ = writeln!(out, "{mark} {number:>5}  {text}");
            }
        }
        out
    }

    /// What is not as it should be: a file of which too little is reached, a line without a
    /// reason, a reason without a line.
    pub fn faults(&self, least: usize) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, source) in &self.sources {
            let (all, reached) = source.count();
            if reached * 100 < all * least {
                faults.push(format!(
                    "{name}: less than {least} % of the lines are reached"
                ));
            }
            for (number, line) in &source.lines {
                if !line.reached && line.accepted.is_none() {
                    faults.push(format!(
                        "{name}:{number}: never reached: write a test that does, or the reason \
                         into {FILE}"
                    ));
                }
            }
        }
        for Entry { file, text, .. } in &self.stale {
            faults.push(format!(
                "{FILE}: stale, there is no such line or it is reached: {file}: {text}"
            ));
        }
        faults
    }
}

impl Source {
    /// Lines, and those that were reached.
    fn count(&self) -> (usize, usize) {
        let reached = self.lines.values().filter(|line| line.reached).count();
        (self.lines.len(), reached)
    }
}

fn text(lines: &[String], number: u32) -> &str {
    let index = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
    lines.get(index).map_or("", String::as_str)
}

fn row(out: &mut String, name: &str, all: usize, reached: usize) {
    let percent = 100.0 * reached as f64 / all.max(1) as f64;
    let _ = writeln!(out, "{name:<28} {all:>6} {reached:>8} {percent:>8.1}");
}

#[cfg(test)]
mod tests {
    use super::super::code;
    use super::*;

    fn report(reached: &[u32], accepted: &[(&str, &str)]) -> Report {
        let folder = std::env::temp_dir().join(format!(
            "evpoll-coverage-{}-{reached:?}",
            std::process::id()
        ));
        files::write(
            &folder.join("fs/x.c"),
            b"int f(void)\n{\n\ta();\n\tb();\n}\n",
        )
        .unwrap();
        let mut lines = ByLine::new();
        for number in [1, 3, 4, 5] {
            let line = code::Line {
                reached: reached.contains(&number),
                functions: ["f".to_owned()].into(),
            };
            lines.insert(("fs/x.c".into(), number), line);
        }
        let mut list = String::from("[fs/x.c]\n");
        for (text, reason) in accepted {
            let _ = write!(list, "= {reason}\n{text}\n");
        }
        let path = folder.join("accepted");
        files::write(&path, list.as_bytes()).unwrap();
        let report = Report::new(&lines, &folder, Accepted::read(&path).unwrap()).unwrap();
        files::remove(&folder).unwrap();
        report
    }

    #[test]
    fn everything_reached() {
        let report = report(&[1, 3, 4, 5], &[]);
        assert!(report.table().contains("fs/x.c"));
        assert!(report.table().ends_with("4        4    100.0\n"));
        assert_eq!(report.never_reached(), "");
        assert!(report.faults(90).is_empty());
    }

    #[test]
    fn a_line_needs_a_reason_and_a_file_most_of_its_lines() {
        let report = report(&[1, 4, 5], &[]);
        assert_eq!(report.never_reached(), "\nfs/x.c: f\n     3  a();\n");
        let faults = report.faults(90);
        assert!(faults[0].starts_with("fs/x.c: less than 90 %"));
        assert!(faults[1].starts_with("fs/x.c:3: never reached"));
        assert_eq!(report.faults(75).len(), 1);
    }

    #[test]
    fn a_reason_is_shown_and_one_without_a_line_is_a_fault() {
        let report = report(&[1, 3, 5], &[("b();", "No b."), ("a();", "No a.")]);
        assert_eq!(
            report.never_reached(),
            "\nfs/x.c: f\n     4  b();\n        accepted: No b.\n"
        );
        let faults = report.faults(75);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].contains("stale") && faults[0].ends_with("a();"),
            "{faults:?}"
        );
        assert!(report.annotated().contains("~     4  \tb();"));
    }
}
