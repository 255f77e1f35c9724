// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask run`: one command, or a shell, on the patched kernel with the host's files.

mod command;
mod memory;
mod places;

pub use memory::Memory;

use crate::cli;
use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::guest::{self, Boot, How, Input, Limits, Place, Root, Size, Task, Through};
use crate::{files, kernel, packages, qemu};
use anyhow::Context;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

/// As many as the kernel is configured for.
const PROCESSORS: u16 = 8;
const MEBIBYTE: u64 = 1 << 20;

pub fn main(ctx: &Ctx, args: cli::Run) -> anyhow::Result<u8> {
    let shell = args.command.is_empty();
    let terminal = on_terminal(shell);
    let folder = std::env::current_dir().context("Failed to find the current folder")?;
    let places = places::places(&args.overlay, &args.share, &folder)?;
    let visible = |path: &Path| places::visible(path, &places);
    let mut environment = command::environment(|name| std::env::var(name).ok());
    let command = if shell {
        let shell = command::shell(std::env::var("SHELL").ok(), visible)?;
        if terminal {
            environment.push(("PS1".into(), command::prompt(&shell).into()));
        }
        vec![shell]
    } else {
        command::command(args.command, &folder, visible)?
    };
    let memory = match args.memory {
        Some(memory) => memory.to_string(),
        None => memory(&places)?,
    };
    let processors = args.cpus.unwrap_or_else(processors);
    if processors > PROCESSORS {
        let text = format!("--cpus: the kernel is configured for {PROCESSORS} at most");
        return Err(Fatal::Setup(text).into());
    }
    packages::ensure(ctx, &packages::BOOT)?;
    let kernel = kernel::build(ctx)?;

    let boot = Boot {
        name: "run",
        task: Task {
            root: Root::Host { places },
            command,
            environment,
            folder,
            terminal: terminal.then(|| {
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
        input: match terminal {
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
    let mut sink = Through::new(format!("booting {}", kernel.release));
    if shell && terminal {
        sink.when_ready("a shell in the guest; exit ends it, Ctrl-] three times pulls the plug");
    }
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

/// Whether what runs in the guest has a terminal: where xtask has one. A command has to have all of
/// it, so that what is redirected arrives byte by byte, and its errors apart from its output.
fn on_terminal(shell: bool) -> bool {
    let output = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    std::io::stdin().is_terminal() && !guest::in_background() && (shell || output)
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

/// Enough for programs and for what is copied in, which lies in memory.
fn memory(places: &[Place]) -> anyhow::Result<String> {
    let mut bytes = 0;
    for place in places.iter().filter(|place| place.how == How::Overlay) {
        for file in files::walk(&place.folder, |_| true)? {
            let path = place.folder.join(file);
            bytes += std::fs::symlink_metadata(path).map_or(0, |data| data.len());
        }
    }
    // Page tables, inodes and the like take their share.
    let copies = bytes / MEBIBYTE * 5 / 4;
    Ok(format!("{}M", 2048 + copies.next_multiple_of(256)))
}
