// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask run`: one command, or a shell, on the patched kernel with the host's files.

use crate::cli;
use crate::ctx::{existing_dir, Ctx, Profile};
use crate::error::Fatal;
use crate::guest::{self, Boot, Input, Limits, Root, Size, Task, Through, COVERED};
use crate::{files, kernel, packages, qemu};
use anyhow::Context;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
/// As many as the kernel is configured for.
const PROCESSORS: u16 = 8;
const MEBIBYTE: u64 = 1 << 20;

pub fn main(ctx: &Ctx, args: cli::Run) -> anyhow::Result<u8> {
    let interactive = args.command.is_empty() && std::io::stdin().is_terminal();
    let overlays = overlays(&args.overlay)?;
    let folder = std::env::current_dir().context("Failed to find the current folder")?;
    let keeps = keeps(&folder, &overlays);
    let visible = |path: &Path| {
        let inside = |folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
        !covered(path) || inside(&overlays) || inside(&keeps)
    };
    let command = command(args.command, &folder, visible)?;
    let memory = match args.memory {
        Some(memory) => memory,
        None => memory(&overlays)?,
    };
    let processors = args.cpus.unwrap_or_else(processors);
    if processors > PROCESSORS {
        let text = format!("--cpus: the kernel is configured for {PROCESSORS} at most");
        return Err(Fatal::Setup(text).into());
    }
    packages::ensure(ctx, &[qemu::PACKAGE, "busybox-static"])?;
    let kernel = kernel::build(ctx)?;

    let boot = Boot {
        name: "run",
        task: Task {
            root: Root::Host { overlays, keeps },
            command,
            environment: environment(|name| std::env::var(name).ok()),
            folder,
            terminal: interactive.then(|| {
                guest::terminal_size().unwrap_or(Size {
                    rows: 24,
                    columns: 80,
                })
            }),
            alive: 5,
            hold: false,
            leaks: false,
        },
        programs: vec![],
        processors,
        memory,
        kernel: &kernel.image,
        parameters: vec![],
        accelerations: qemu::candidates(ctx.accel),
        input: match interactive {
            true => Input::Keys,
            false if guest::in_background() => Input::Nothing,
            false => Input::Stdin,
        },
        limits: limits(ctx.profile),
    };
    if args.dry_run {
        let words: Vec<String> = boot
            .by_hand(ctx)?
            .iter()
            .map(|word| guest::quote(word))
            .collect();
        println!("{} {}", qemu::PROGRAM, words.join(" "));
        return Ok(0);
    }
    if interactive {
        eprintln!("xtask: a shell in the guest; exit ends it, Ctrl-A x switches the machine off");
    }
    let mut sink = Through::new(format!("booting {}", kernel.release));
    let outcome = boot.run(ctx, &mut sink)?;
    drop(sink);
    if let Some(first) = outcome.reports.first().and_then(|report| report.first()) {
        eprintln!(
            "xtask: the kernel complained ({} times), see {}; first: {first}",
            outcome.reports.len(),
            outcome.console.display()
        );
    }
    outcome.status(None)
}

/// No limit on what the command does, but the guest has to come up and stay alive.
fn limits(profile: Profile) -> Limits {
    let slow = u64::from(profile.slowness());
    Limits {
        ready: Duration::from_secs(120 * slow),
        silence: None,
        total: None,
        alive: Some(Duration::from_secs(60 * slow)),
    }
}

fn processors() -> u16 {
    let have = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(have).map_or(PROCESSORS, |have| have.min(PROCESSORS))
}

fn covered(path: &Path) -> bool {
    COVERED.iter().any(|folder| path.starts_with(folder))
}

/// The folders to copy, as absolute paths, outer ones first.
fn overlays(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = given
        .iter()
        .map(|dir| existing_dir(dir))
        .collect::<Result<Vec<_>, _>>()?;
    folders.sort();
    folders.dedup();
    for folder in &folders {
        let special = ["/proc", "/sys", "/dev"]
            .iter()
            .any(|top| folder.starts_with(top));
        if special || folder.parent().is_none() {
            let text = format!("--overlay {}: cannot be copied", folder.display());
            return Err(Fatal::Setup(text).into());
        }
    }
    Ok(folders)
}

/// The folder that the command starts in stays visible wherever it is.
fn keeps(folder: &Path, overlays: &[PathBuf]) -> Vec<PathBuf> {
    let copied = overlays.iter().any(|overlay| folder.starts_with(overlay));
    // A folder that is covered itself is left to be the fresh one.
    let inside = covered(folder) && !COVERED.iter().any(|top| folder == Path::new(top));
    if inside && !copied {
        vec![folder.to_owned()]
    } else {
        vec![]
    }
}

/// What to run, the program as a path: the guest's own shell would prefer BusyBox's idea of it.
fn command(
    mut words: Vec<String>,
    folder: &Path,
    visible: impl Fn(&Path) -> bool,
) -> anyhow::Result<Vec<String>> {
    if words.is_empty() {
        let shell = std::env::var("SHELL")
            .ok()
            .filter(|shell| Path::new(shell).is_file());
        words.push(shell.unwrap_or_else(|| "/bin/sh".into()));
    }
    let name = &words[0];
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

fn environment(host: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
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

/// Enough for programs and for what is copied in, which lies in memory.
fn memory(overlays: &[PathBuf]) -> anyhow::Result<String> {
    let mut bytes = 0;
    for overlay in overlays {
        for file in files::walk(overlay, |_| true)? {
            bytes += std::fs::symlink_metadata(overlay.join(file)).map_or(0, |data| data.len());
        }
    }
    // Page tables, inodes and the like take their share.
    let copies = bytes / MEBIBYTE * 5 / 4;
    Ok(format!("{}M", 2048 + copies.next_multiple_of(256)))
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
    fn the_current_folder_stays_visible() {
        let overlay = PathBuf::from("/tmp/x");
        assert_eq!(keeps(Path::new("/home/me"), &[]), Vec::<PathBuf>::new());
        assert_eq!(keeps(Path::new("/tmp"), &[]), Vec::<PathBuf>::new());
        assert_eq!(
            keeps(Path::new("/tmp/y"), std::slice::from_ref(&overlay)),
            [PathBuf::from("/tmp/y")]
        );
        assert_eq!(
            keeps(Path::new("/tmp/x/y"), &[overlay]),
            Vec::<PathBuf>::new()
        );
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
    fn some_folders_cannot_be_copied() {
        assert!(overlays(&["/".into()]).is_err());
        assert!(overlays(&["/proc/self".into()]).is_err());
        assert!(overlays(&["/no/such/folder".into()]).is_err());
        let twice: Vec<PathBuf> = vec!["/usr".into(), "/usr/".into()];
        assert_eq!(overlays(&twice).unwrap(), [PathBuf::from("/usr")]);
    }
}
