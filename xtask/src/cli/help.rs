// SPDX-License-Identifier: GPL-2.0
//! What `--help` says besides the options: examples, what else is worth knowing, exit statuses.

use super::Cli;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// What stands below the options of a command.
struct Help {
    /// Its name; empty for all of them together.
    command: &'static str,
    /// Command lines, and what they are for.
    examples: &'static [(&'static str, &'static str)],
    /// What else to know before using it.
    notes: &'static str,
    /// Where they are others than [`STATUS`].
    status: Option<&'static str>,
}

const STATUS: &str = "0 success, 1 tests failed, 2 usage or set-up problem, 3 the guest hung or \
                      crashed";

const HELP: [Help; 13] = [
    Help {
        command: "",
        examples: &[
            ("cargo xtask doctor", "what is missing on this machine, before anything else"),
            ("cargo xtask test", "build, boot, run every test"),
            ("cargo xtask run", "a shell on the patched kernel"),
            ("cargo xtask bench pipetest", "evpoll beside epoll, poll and the others"),
            ("cargo xtask tree ../linux", "a git tree with the series, to work in"),
            ("cargo xtask series --from ../linux", "and its commits back into patches/"),
        ],
        notes: "\
Each command has a --help of its own, with examples. What is fetched or built lives in the folder
EVPOLL_CACHE (default: evpoll in the user's cache folder), and is reused while it is up to date.",
        status: None,
    },
    Help {
        command: "run",
        examples: &[
            ("cargo xtask run", "your shell, with this machine's programs, in this folder"),
            ("cargo xtask run -- python3 -c 'print(1)'", "one command; its exit status comes back"),
            (
                "cargo xtask run --share out -- sh -c 'uname -r >out/release'",
                "what it writes to out/ is there afterwards",
            ),
            (
                "cargo xtask run --overlay target/release -- target/release/mybench",
                "a copy of the folder in the guest's memory, to read it faster or to change it",
            ),
            (
                "cargo xtask run --profile debug --cpus 1 --memory 4G",
                "a shell on the kernel that has every checker",
            ),
            (
                "cargo xtask run --dry-run -- true",
                "the QEMU command line, to be run by hand with other options",
            ),
        ],
        notes: "\
The guest is root, on this machine's root file system, which it cannot write to; /tmp, /var/tmp,
/run and /dev/shm are its own, and empty. It has no network but its loopback.

--overlay DIR copies DIR into the guest's memory: what is written there ends with the guest.
--share DIR is DIR itself: what is written there is written here, at once, and nothing outside of
it is ever changed. Files of a share cannot be mapped for writing, and named pipes and sockets are
better made in /tmp. If DIR is a folder in /tmp, it is there in either case.

CMD has a terminal if stdin, stdout and stderr are one. Ctrl-] three times within a second pulls
the plug; so does Ctrl-C until the guest is up.",
        status: Some(
            "that of CMD, or of the shell; 2 usage or set-up problem, 3 the guest hung or crashed, \
             130 the plug was pulled",
        ),
    },
    Help {
        command: "test",
        examples: &[
            ("cargo xtask test", "everything, on the release kernel"),
            ("cargo xtask test pipe", "the tests that have `pipe` in their name"),
            (
                "cargo xtask test --profile debug --junit results.xml",
                "on the kernel that has every checker, with the results for a CI system",
            ),
            ("cargo xtask test --kernel ../linux", "on a kernel tree of your own"),
        ],
        notes: "\
KTAP on stdout, and in the end `N passed, N failed, N skipped`; progress on stderr. A warning, an
oops or a leak that the kernel reports is a failure.",
        status: None,
    },
    Help {
        command: "soak",
        examples: &[
            ("cargo xtask soak", "for a minute"),
            (
                "cargo xtask soak --seconds 600 --seed 7 --profile debug",
                "for ten minutes, from the seventh storm on, with every checker",
            ),
        ],
        notes: "A failure prints the seed of its storm.",
        status: None,
    },
    Help {
        command: "fuzz",
        examples: &[
            ("cargo xtask fuzz --seconds 600", "for ten minutes, from a seed of its own choice"),
            ("cargo xtask fuzz --seed 200017", "what a failure has printed, the same again"),
            (
                "cargo xtask fuzz --replay shortest.txt",
                "only the shortest program that fails, put into a file",
            ),
        ],
        notes: "\
A failure prints its seed, and the shortest program that still fails. To find that one takes its
time besides.",
        status: None,
    },
    Help {
        command: "bench",
        examples: &[
            ("cargo xtask bench", "all benchmarks, a quarter of an hour on two processors"),
            ("cargo xtask bench pipetest ctl", "those two, and no kernel that they do not take"),
            (
                "cargo xtask bench --report docs/results --json figures.json",
                "a page with plots, and the figures for a program",
            ),
            ("cargo xtask bench --targets memory", "fails if a watch takes more than it may"),
        ],
        notes: "\
Figures are instructions of the guest, from two boots that have to agree within 0.5 % (those of
`idle` 0.1 %, the memory of a watch 1 byte). Those of `producers` are events per second, by the
clock; where KVM works, others are measured in nanoseconds as well.

--json writes an array with an object for each figure: its name, interface, params, value (null if
there is none) and unit, in raw what else was noted, and the kernel, profile, toolchain, accel and
processors that it was measured with. Those named `profile` have the part and the function as
params; those named `target` have what and limit, and in raw whether it is met: true, false, or
null if it was not measured. Nothing is written if the boots do not agree.

--targets judges the targets of the benchmarks that were run.

NAME is one of
  pipetest   one-byte messages through many pipes
  deadconn   an HTTP server with idle connections
  syscall    single calls
  ctl        watches added, modified, removed and closed
  memory     kernel memory for a watch
  fd-scale   one more descriptor, with up to a million open
  idle       what the series costs who does not use it: boots the unpatched kernel, too
  producers  threads that write while one waits, on 2 and on 4 processors, by the clock
  profile    the instructions of an event by function",
        status: Some(
            "0 success, 1 two boots do not agree or a benchmark failed, or, with --targets, a \
             target is not met, 2 usage or set-up problem, 3 the guest hung or crashed",
        ),
    },
    Help {
        command: "coverage",
        examples: &[
            ("cargo xtask coverage", "the lines that are not reached, and why that is accepted"),
            ("cargo xtask coverage --report lines.txt", "with every line in a file"),
            ("cargo xtask coverage pipe", "of some tests only; not judged"),
        ],
        notes: "Builds a kernel of its own, once, and takes no --profile.",
        status: Some(
            "0 success, 1 tests failed, or a line is not reached that has to be, 2 usage or set-up \
             problem, 3 the guest hung or crashed",
        ),
    },
    Help {
        command: "peers",
        examples: &[
            ("cargo xtask peers", "epoll, pipes, sockets and more: twelve minutes"),
            ("cargo xtask peers unix/", "those that have `unix/` in their name"),
            ("cargo xtask peers --wide", "more of them, on kernels that have more configured"),
        ],
        notes: "\
What passes on the kernel without the series has to pass on the one with it, with a queue in use
and without.",
        status: None,
    },
    Help {
        command: "tree",
        examples: &[
            ("cargo xtask tree ../linux", "in a new folder, with git, to build or to change"),
        ],
        notes: "`cargo xtask series --from DIR` takes commits that you have amended back.",
        status: Some("0 success, 2 usage or set-up problem"),
    },
    Help {
        command: "series",
        examples: &[
            ("cargo xtask series", "patches/ made anew from kernel-rust/"),
            ("cargo xtask series --check", "whether they are the same, as CI asks"),
            ("cargo xtask series --from ../linux", "patches/ and kernel-rust/ from a tree"),
            (
                "cargo xtask series --bisect --only 3..7",
                "patches 3 to 7: each builds and boots, with the options on and off, and without Rust",
            ),
            ("cargo xtask series --onto 7.2", "which patches apply to 7.2, and where others conflict"),
        ],
        notes: "\
--bisect takes hours the first time; what has passed is remembered, and not done again while it is
unchanged. --onto fetches the source of a release, if Debian has it.",
        status: Some(
            "0 success; 1 with --check: they differ, with --bisect: a patch failed, with --onto: one \
             conflicts; 2 usage or set-up problem",
        ),
    },
    Help {
        command: "lint",
        examples: &[("cargo xtask lint", "all of them, four minutes")],
        notes: "A line for each finding, and a table of what was looked at.",
        status: Some("0 success, 1 there are findings, 2 usage or set-up problem"),
    },
    Help {
        command: "mutants",
        examples: &[
            ("cargo xtask mutants", "all of them, twenty minutes"),
            ("cargo xtask mutants add_never_looks", "one of those in selftests/mutants"),
        ],
        notes: "Each fault is a patch that names its profile and the test that has to fail.",
        status: Some("0 each is found, 1 one is not, 2 usage or set-up problem"),
    },
    Help {
        command: "doctor",
        examples: &[
            ("cargo xtask doctor", "what there is, what is missing, and a command that gets it"),
            ("cargo xtask doctor --profile debug", "the same, and whether that kernel is built"),
        ],
        notes: "Nothing is downloaded, installed, built or written.",
        status: Some("0 what is required is there, 2 something is missing"),
    },
];

/// The command line's definition, with what is written here.
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    for help in &HELP {
        let text = help.text();
        command = match help.command {
            "" => command.after_help(text),
            name => command.mut_subcommand(name, |own| own.after_help(text)),
        };
    }
    command
}

/// Parses a command line, whose first word is the program.
pub fn parse<T: Into<OsString> + Clone>(
    words: impl IntoIterator<Item = T>,
) -> Result<Cli, clap::Error> {
    let matches: ArgMatches = command().try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches)
}

/// The command that a line names which could not be parsed, as far as that can be told.
pub fn command_of<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Option<String> {
    let tolerant = command().ignore_errors(true);
    let matches = tolerant.try_get_matches_from(words).ok()?;
    matches.subcommand_name().map(str::to_owned)
}

impl Help {
    fn text(&self) -> String {
        let mut text = "Examples:\n".to_owned();
        for (line, what) in self.examples {
            text += &format!("  {line}\n      {what}\n");
        }
        if !self.notes.is_empty() {
            text += &format!("\n{}\n", self.notes);
        }
        text + "\n" + &folded(&format!("Exit status: {}.", self.status.unwrap_or(STATUS)))
    }
}

/// Broken into lines of at most [`WIDTH`].
fn folded(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// What a line of help may take.
const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::path::Path;

    const PREFIX: &str = "cargo xtask";

    /// The words of a line as a shell has them, without a comment, which two spaces start.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word) = (Vec::new(), None::<String>);
        let mut quoted = false;
        let mut last = ' ';
        for c in line.chars() {
            match c {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => {
                    if last == ' ' && !words.is_empty() {
                        break;
                    }
                    words.extend(word.take());
                }
                c => word.get_or_insert_default().push(c),
            }
            last = c;
        }
        words.extend(word);
        words
    }

    /// Whether the command line, which starts with `cargo xtask`, is one that the parser takes.
    /// Numbers may be spelled as in a synopsis.
    fn check(line: &str) -> Result<(), String> {
        let rest = line.strip_prefix(PREFIX).ok_or("it is no command")?;
        let words = words(rest).into_iter().map(|word| match word.as_str() {
            "N" | "S" => "1".to_owned(),
            _ => word,
        });
        let parsed = parse(std::iter::once("xtask".to_owned()).chain(words));
        match parsed {
            Err(error) if error.use_stderr() => Err(format!("`{line}`: {error}")),
            _ => Ok(()),
        }
    }

    /// Whether this only names a command, or all of them.
    fn names(line: &str) -> bool {
        let rest = line.strip_prefix(PREFIX).map(str::trim);
        let known = |name| Cli::command().find_subcommand(name).is_some();
        rest.is_some_and(|name| name.is_empty() || known(name))
    }

    /// The command lines in a text: lines of code, and what stands between back quotes.
    fn commands(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for line in text.lines() {
            let code = line.trim_start();
            if code.starts_with(PREFIX) {
                found.push(code);
                continue;
            }
            let inside = line.split('`').skip(1).step_by(2);
            found.extend(inside.filter(|code| code.starts_with(PREFIX)));
        }
        found
    }

    #[test]
    fn every_command_has_examples_that_it_takes() {
        let named = |name: &str| HELP.iter().filter(|help| help.command == name).count();
        for command in Cli::command().get_subcommands() {
            assert_eq!(named(command.get_name()), 1, "{}", command.get_name());
        }
        assert_eq!(HELP.len(), Cli::command().get_subcommands().count() + 1);
        for help in &HELP {
            assert!(!help.examples.is_empty(), "{}", help.command);
            for (line, what) in help.examples {
                check(line).unwrap();
                assert!(!what.is_empty());
                let own = line.strip_prefix(PREFIX).unwrap().trim_start();
                assert!(own.starts_with(help.command), "{line}");
            }
            commands(help.notes)
                .iter()
                .for_each(|line| check(line).unwrap());
        }
    }

    #[test]
    fn help_is_shown_with_its_examples_and_fits_a_terminal() {
        for help in &HELP {
            let words = ["xtask", help.command, "--help"];
            let words = words.into_iter().filter(|word| !word.is_empty());
            let shown = parse(words).unwrap_err();
            assert!(!shown.use_stderr());
            let shown = shown.to_string();
            assert!(shown.contains("\nExamples:\n  cargo xtask"), "{shown}");
            assert!(shown.contains("\nExit status: "), "{shown}");
            for line in shown.lines() {
                assert!(line.chars().count() <= WIDTH, "{}: {line}", help.command);
            }
        }
    }

    #[test]
    fn what_the_documents_say_can_be_typed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let wanted = |name: &str| !name.starts_with('.') && name != "target";
        let mut files = files::walk(root, wanted).unwrap();
        files.retain(|file| file.extension().is_some_and(|end| end == "md"));
        files.push(".ci/run".into());
        let mut seen = 0;
        for file in &files {
            let text = files::read_text(&root.join(file)).unwrap();
            for line in commands(&text) {
                seen += 1;
                if !names(line) {
                    check(line).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
                }
            }
        }
        assert!(seen > 30, "only {seen} command lines were found");
    }

    #[test]
    fn command_lines_are_found_and_judged() {
        let text = "\
Text with `cargo xtask tree DIR` and `cargo test`, and cargo xtask in plain words.
    cargo xtask fuzz --seed 7       the same again
";
        let found = commands(text);
        let expected = [
            "cargo xtask tree DIR",
            "cargo xtask fuzz --seed 7       the same again",
        ];
        assert_eq!(found, expected);
        found.iter().for_each(|line| check(line).unwrap());
        assert_eq!(
            words(" run -- a 'b  c' ''  comment"),
            ["run", "--", "a", "b  c", ""]
        );
        for wrong in [
            "cargo xtask frobnicate",
            "cargo xtask test --seed N",
            "cargo xtask",
            "x",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
