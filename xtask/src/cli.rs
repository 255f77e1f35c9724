// SPDX-License-Identifier: GPL-2.0
//! Command line.

use crate::cmd;
use crate::ctx::{Accel, Ctx, Profile};
use crate::error::Fatal;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;

mod help;

/// Builds, boots, tests and measures a Linux kernel with evpoll.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// Kernel: release, debug (every checker), race (KCSAN)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "release",
        value_name = "P",
        hide_possible_values = true
    )]
    pub profile: Profile,
    /// A kernel tree of your own (7.3 or newer) instead of the fetched one
    #[arg(long, global = true, value_name = "DIR")]
    pub kernel: Option<PathBuf>,
    /// A patch on top of the series, for a kernel that has a fault (see `mutants`)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "kernel",
        hide = true
    )]
    pub mutation: Option<PathBuf>,
    /// kvm, tcg (emulation), or auto: KVM where it works
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "A",
        hide_possible_values = true
    )]
    pub accel: Accel,
    /// How many compilers at once [default: one a processor]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Show the output of the tools as they run
    #[arg(long, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot the patched kernel with this machine's files, for a shell or a command
    Run(Run),
    /// Run the host's tests, then the selftests on the patched kernel
    Test(Test),
    /// Run storms of threads, processes and signals on shared queues
    Soak(Soak),
    /// Run random programs, whose events have to be those of epoll
    Fuzz(Fuzz),
    /// Compare evpoll with epoll, poll, select, io_uring and signals, in instructions
    Bench(Bench),
    /// Tell which lines of ours the selftests never reach
    Coverage(Coverage),
    /// Run the kernel's own tests of what the series hooks, with and without the series
    Peers(Peers),
    /// Make a git tree of the kernel with the series, one commit a patch
    Tree(Tree),
    /// Regenerate patches/ from kernel-rust/ or from a tree, or check it
    Series(Series),
    /// Check formatting, clippy, checkpatch, sparse, man pages, panics in the hot path
    Lint(Lint),
    /// Put known faults into the kernel and see that the tests find them
    Mutants(Mutants),
    /// Say what is missing on this machine and how to get it, without changing anything
    Doctor(Doctor),
}

#[derive(Args, Debug)]
pub struct Run {
    /// A folder to copy into the guest's memory, at the same path (repeatable)
    #[arg(long, value_name = "DIR")]
    pub overlay: Vec<PathBuf>,
    /// A folder that the guest may write to, at the same path (repeatable)
    #[arg(long, value_name = "DIR")]
    pub share: Vec<PathBuf>,
    /// Processors of the guest, up to 8 [default: as many as there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub cpus: Option<u16>,
    /// Memory of the guest, such as 512M or 2G [default: 2G, and room for overlays]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<cmd::run::Memory>,
    /// Build everything, print the QEMU command line and do not start it
    #[arg(long)]
    pub dry_run: bool,
    /// What to run; its exit status becomes this command's
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Test {
    /// Write the results as JUnit XML too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Only the tests whose name contains this
    pub filter: Option<String>,
}

#[derive(Args, Debug)]
pub struct Soak {
    /// How long the storms go on, in seconds, without booting
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seconds: u64,
    /// The seed of the first storm; those after it have the next ones
    #[arg(long, value_name = "S", default_value = "1")]
    pub seed: u64,
}

#[derive(Args, Debug)]
pub struct Fuzz {
    /// How long, in seconds, without booting
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seconds: u64,
    /// The first program [default: another one each time, and printed]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Run this program, as a failure has printed it, instead of random ones
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    pub replay: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Bench {
    /// Write the figures as JSON too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page with plots, also as Markdown, and the figures into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Fail if one of the targets that were measured is not met
    #[arg(long)]
    pub targets: bool,
    /// Which benchmarks, as they are listed below [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Coverage {
    /// Write every line, with whether it was reached, into this file too
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Only run the tests whose name contains this: the result is not judged
    pub filter: Option<String>,
}

#[derive(Args, Debug)]
pub struct Peers {
    /// More tests, on two kernels of their own that have more configured
    #[arg(long)]
    pub wide: bool,
    /// Only the tests whose name (group/program) contains this
    pub filter: Option<String>,
}

#[derive(Args, Debug)]
pub struct Tree {
    /// Where to make it: a folder that does not exist yet, or is empty
    pub dir: PathBuf,
}

#[derive(Args, Debug)]
pub struct Series {
    /// Change nothing; exit 1 with a line for each difference
    #[arg(long, conflicts_with = "from")]
    pub check: bool,
    /// Take the series from the commits of this tree, which `tree` made
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Build and boot the kernel after each patch, in three configurations
    #[arg(long, conflicts_with_all = ["check", "from"])]
    pub bisect: bool,
    /// Only these patches, by their numbers: 3, or 3..7
    #[arg(long, requires = "bisect", value_name = "N[..M]")]
    pub only: Option<cmd::series::Span>,
    /// Try each patch on another kernel: a release, such as 7.2, or a tree
    #[arg(long, conflicts_with_all = ["check", "from", "bisect"], value_name = "VERSION|DIR")]
    pub onto: Option<String>,
}

#[derive(Args, Debug)]
pub struct Lint {}

#[derive(Args, Debug)]
pub struct Doctor {}

#[derive(Args, Debug)]
pub struct Mutants {
    /// Which faults, as the files in selftests/mutants are called [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// Parses the command line and carries out what it asks for.
pub fn run() -> anyhow::Result<u8> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match help::parse(&words) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            return match error.print() {
                // Enough has been read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
                printed => printed.map(|()| 0).context("printing the help"),
            };
        }
        Err(error) => {
            let text = one_line(&error.to_string(), help::command_of(&words).as_deref());
            return Err(Fatal::Setup(text).into());
        }
    };
    crate::progress::set_verbose(cli.common.verbose);
    let ctx = Ctx::resolve(cli.common)?;
    match cli.command {
        Command::Run(args) => cmd::run::main(&ctx, args),
        Command::Test(args) => cmd::test::main(&ctx, args),
        Command::Soak(args) => cmd::soak::main(&ctx, args),
        Command::Fuzz(args) => cmd::fuzz::main(&ctx, args),
        Command::Bench(args) => cmd::bench::main(&ctx, args),
        Command::Coverage(args) => cmd::coverage::main(&ctx, args),
        Command::Peers(args) => cmd::peers::main(&ctx, args),
        Command::Tree(args) => cmd::tree::main(&ctx, args),
        Command::Series(args) => cmd::series::main(&ctx, args),
        Command::Lint(args) => cmd::lint::main(&ctx, args),
        Command::Mutants(args) => cmd::mutants::main(&ctx, args),
        Command::Doctor(_) => cmd::doctor::main(&ctx),
    }
}

/// The parser's error text without its usage block, in one line, with where there is more about the
/// command.
fn one_line(text: &str, command: Option<&str>) -> String {
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    match command {
        Some(command) => format!("{said} (cargo xtask {command} --help lists what it takes)"),
        None => format!("{said} (cargo xtask --help lists what there is)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("xtask").chain(words.iter().copied()))
    }

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_options_before_and_after_the_command() {
        for words in [
            ["--profile", "debug", "--jobs", "3", "test", "pipe"],
            ["test", "pipe", "--jobs", "3", "--profile", "debug"],
        ] {
            let cli = parse(&words).unwrap();
            assert_eq!(cli.common.profile, Profile::Debug);
            assert_eq!(cli.common.jobs, Some(3));
            assert!(
                matches!(cli.command, Command::Test(Test { filter: Some(f), .. }) if f == "pipe")
            );
        }
    }

    #[test]
    fn what_is_run_keeps_its_own_options() {
        let cli = parse(&[
            "run",
            "--overlay",
            "a",
            "--overlay",
            "b",
            "--",
            "ls",
            "--verbose",
        ]);
        let cli = cli.unwrap();
        assert!(!cli.common.verbose);
        let Command::Run(run) = cli.command else {
            panic!("not run")
        };
        assert_eq!(run.overlay, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(run.command, ["ls", "--verbose"]);
    }

    #[test]
    fn usage_errors_are_one_line() {
        for words in [
            &["frobnicate"][..],
            &[],
            &["tree"],
            &["test", "--jobs", "0"],
            &["lint", "x"],
        ] {
            let line = one_line(&parse(words).unwrap_err().to_string(), None);
            assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
            assert!(!line.starts_with("error"), "{line}");
        }
    }

    #[test]
    fn usage_errors_name_the_help_of_their_command() {
        for (words, expected) in [
            (&["frobnicate"][..], "(cargo xtask --help "),
            (&[], "(cargo xtask --help "),
            (&["tree"], "(cargo xtask tree --help "),
            (&["--jobs", "3", "lint", "x"], "(cargo xtask lint --help "),
            (&["test", "--jobs", "0"], "(cargo xtask test --help "),
            (
                &["--kernel", "test", "run", "--memory", "x"],
                "(cargo xtask run --help ",
            ),
        ] {
            let words = std::iter::once("xtask").chain(words.iter().copied());
            let words: Vec<OsString> = words.map(OsString::from).collect();
            let error = help::parse(&words).unwrap_err();
            let line = one_line(&error.to_string(), help::command_of(&words).as_deref());
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn memory_is_a_size() {
        let memory = |size| parse(&["run", "--memory", size]);
        assert!(memory("512M").is_ok() && memory("2G").is_ok());
        for wrong in [
            "banana",
            "1",
            "2",
            "255M",
            "0G",
            "M",
            "1.5G",
            "99999999999G",
        ] {
            let said = memory(wrong).unwrap_err().to_string();
            assert!(
                said.contains("--memory") && said.contains("such as 512M"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_replay_has_no_seed() {
        assert!(parse(&["fuzz", "--replay", "x"]).is_ok());
        assert!(parse(&["fuzz", "--replay", "x", "--seed", "1"]).is_err());
        assert!(parse(&["fuzz", "--seconds", "0"]).is_err());
    }

    #[test]
    fn check_and_from_exclude_each_other() {
        assert!(parse(&["series", "--check", "--from", "x"]).is_err());
        assert!(parse(&["series", "--check", "--onto", "7.2"]).is_err());
        assert!(parse(&["series", "--bisect", "--onto", "7.2"]).is_err());
        assert!(parse(&["series", "--only", "3"]).is_err());
        assert!(parse(&["series", "--bisect", "--only", "7..3"]).is_err());
        assert!(parse(&["series", "--bisect", "--only", "3..7"]).is_ok());
    }
}
