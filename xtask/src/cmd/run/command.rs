// SPDX-License-Identifier: GPL-2.0
//! What is run in the guest: a program of the host, or a shell, and its environment.

use crate::error::Fatal;
use crate::files;
use crate::guest::COVERED;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Variables that the guest's command gets from the host.
const ENVIRONMENT: [&str; 8] = [
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "COLORTERM",
];
/// Where programs are in any case.
const FOLDERS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The words to run, the program as a path: the guest's own shell would prefer BusyBox's idea of
/// it.
pub fn command(
    mut words: Vec<String>,
    folder: &Path,
    visible: impl Fn(&Path) -> bool,
) -> anyhow::Result<Vec<String>> {
    let Some(name) = words.first() else {
        return Err(Fatal::Setup("there is no command to run".into()).into());
    };
    let program = if name.contains('/') {
        Some(folder.join(name)).filter(|path| path.exists())
    } else {
        files::program(name)
    };
    let Some(program) = program else {
        return Err(Fatal::Setup(format!("{name}: no such program")).into());
    };
    if !visible(&program) {
        let text = format!(
            "{}: the guest has a {} of its own, pass --overlay with the program's folder",
            program.display(),
            COVERED
                .iter()
                .find(|top| program.starts_with(top))
                .unwrap_or(&"folder"),
        );
        return Err(Fatal::Setup(text).into());
    }
    if !name.contains('/') {
        words[0] = program
            .to_str()
            .context("a program's name has to be UTF-8")?
            .to_owned();
    }
    Ok(words)
}

/// The person's own shell, if the guest has it; else bash; else sh.
pub fn shell(own: Option<String>, visible: impl Fn(&Path) -> bool) -> anyhow::Result<String> {
    let there = |path: &PathBuf| path.is_absolute() && path.is_file() && visible(path);
    let own = own.map(PathBuf::from).filter(there);
    let found = own
        .or_else(|| files::program("bash").filter(there))
        .or_else(|| files::program("sh").filter(there))
        .ok_or_else(|| Fatal::Setup("no shell in PATH: give a command, -- CMD".into()))?;
    let found = found.to_str().context("a shell's name has to be UTF-8")?;
    Ok(found.to_owned())
}

/// A prompt that names the guest. A shell that reads a file in which the person has set another one
/// prefers that.
pub fn prompt(shell: &str) -> &'static str {
    match shell.rsplit('/').next() {
        Some("bash") => r"\u@\h:\w\$ ",
        Some("zsh") => "%n@%m:%~%# ",
        _ => "evpoll:$PWD# ",
    }
}

/// The variables that the command gets.
pub fn environment(host: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let mut path: Vec<String> = Vec::new();
    for folder in host("PATH")
        .unwrap_or_default()
        .split(':')
        .chain(FOLDERS.split(':'))
    {
        if folder.starts_with('/') && !path.iter().any(|have| have == folder) {
            path.push(folder.to_owned());
        }
    }
    let mut variables = vec![("PATH".to_owned(), path.join(":"))];
    for name in ENVIRONMENT {
        if let Some(value) = host(name) {
            variables.push((name.into(), value));
        }
    }
    if host("HOME").is_none() {
        variables.push(("HOME".into(), "/".into()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_the_hosts_and_the_usual_folders_once() {
        let host = |name: &str| match name {
            "PATH" => Some("/opt/x:/usr/bin::relative:/opt/x".to_owned()),
            "TERM" => Some("dumb".to_owned()),
            _ => None,
        };
        let variables = environment(host);
        let path = "/opt/x:/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin";
        assert_eq!(variables[0], ("PATH".into(), path.into()));
        assert!(variables.contains(&("TERM".into(), "dumb".into())));
        assert!(variables.contains(&("HOME".into(), "/".into())));
        assert!(!variables.iter().any(|(name, _)| name == "LANG"));
    }

    #[test]
    fn programs_are_found_before_the_guest_boots() {
        let folder = Path::new("/");
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let found = command(words("sh -c x"), folder, |_| true).unwrap();
        assert!(
            found[0].ends_with("/sh") && found[1..] == ["-c", "x"],
            "{found:?}"
        );
        assert_eq!(
            command(words("bin/sh"), folder, |_| true).unwrap(),
            ["bin/sh"]
        );
        for wrong in ["no-such-program", "/no/such/program"] {
            let error = command(words(wrong), folder, |_| true).unwrap_err();
            assert!(
                matches!(error.downcast_ref(), Some(Fatal::Setup(_))),
                "{error}"
            );
        }
        assert!(command(words("sh"), folder, |_| false).is_err());
    }

    #[test]
    fn the_shell_is_ones_own_where_the_guest_has_it() {
        assert_eq!(shell(Some("/bin/sh".into()), |_| true).unwrap(), "/bin/sh");
        for missing in [None, Some("/no/such/shell".into()), Some("sh".into())] {
            let found = shell(missing, |_| true).unwrap();
            assert!(found.starts_with('/'), "{found}");
        }
        // One that the guest does not see is not taken, and is no reason to fail.
        let found = shell(Some("/bin/sh".into()), |path| path != Path::new("/bin/sh")).unwrap();
        assert_ne!(found, "/bin/sh");
        assert!(shell(Some("/bin/sh".into()), |_| false).is_err());
    }

    #[test]
    fn prompts_are_in_the_shells_own_words() {
        assert!(prompt("/usr/bin/bash").contains(r"\h"));
        assert!(prompt("/bin/zsh").contains("%m"));
        assert!(prompt("/bin/sh").contains("evpoll"));
    }
}
