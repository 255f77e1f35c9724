// SPDX-License-Identifier: GPL-2.0
//! What is to be run, as the harness wrote it down.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A line of the plan.
#[derive(Debug, PartialEq, Eq)]
pub struct Planned {
    pub name: String,
    pub limit: Duration,
    /// For a shell.
    pub command: String,
    /// Where it is run.
    pub folder: PathBuf,
}

/// Reads a plan. An error, in words, for a file that cannot be read or a line that is none of a
/// plan: nothing is run then.
pub fn read(path: &str) -> Result<Vec<Planned>, String> {
    let text = std::fs::read_to_string(path).map_err(|why| format!("{path}: {why}"))?;
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    text.lines()
        .map(|line| parse(line, folder).ok_or_else(|| format!("{path}: not a test: {line:?}")))
        .collect()
}

fn parse(line: &str, folder: &Path) -> Option<Planned> {
    let mut fields = line.splitn(3, '\t');
    let (name, limit, command) = (fields.next()?, fields.next()?, fields.next()?);
    if name.is_empty() || name.contains(char::is_whitespace) || command.is_empty() {
        return None;
    }
    Some(Planned {
        name: name.into(),
        limit: Duration::from_secs(limit.parse().ok().filter(|limit| *limit > 0)?),
        command: command.into(),
        folder: folder.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_name_limit_and_command() {
        let planned = parse("net/tls\t60\t./tls -v\tx", Path::new("/e")).unwrap();
        assert_eq!(planned.name, "net/tls");
        assert_eq!(planned.limit, Duration::from_secs(60));
        assert_eq!(planned.command, "./tls -v\tx");
    }

    #[test]
    fn anything_else_is_refused() {
        for line in [
            "",
            "a",
            "a\t1",
            "a\t0\tx",
            "a\tsoon\tx",
            "a b\t1\tx",
            "\t1\tx",
            "a\t1\t",
        ] {
            assert_eq!(parse(line, Path::new("/")), None, "{line:?}");
        }
    }
}
