// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask series --bisect`: the kernel after each patch of the series, built in every
//! configuration that makes a difference to the series, and booted. KTAP on stdout.
//!
//! A kernel takes minutes to build, and there are dozens. So there is one source tree, of which only
//! the files are written that a patch changes, and one object folder for each configuration, in
//! which make rebuilds what depends on them. What has passed is remembered by the hash of the
//! patches, the configuration, the toolchain and the commands that the guest runs, known before the
//! tree is touched: it never goes back to a patch that has passed. The programs that the commands
//! start are no part of it: a selftest that changes would build all of these kernels again. And a
//! kernel that is, byte for byte, one that has been booted is not booted again.

use super::span::Span;
use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::files;
use crate::guest::{Boot, End, Input, Limits, Outcome, Sink, Task};
use crate::guest_program::scale;
use crate::hash::Hash;
use crate::kernel::{Build, Kernel, Recipe};
use crate::lock::Lock;
use crate::progress::{seconds, Step};
use crate::rootfs::{self, Program};
use crate::series::{self, Patch};
use crate::source::{self, Version};
use crate::toolchain::{self, Toolchain};
use crate::tree::{self, Tree};
use crate::{packages, qemu};
use anyhow::Context;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What of the series a kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Configuration {
    /// Everything, on top of what is measured: evpoll, and before there is evpoll, the callback
    /// lists that it will select.
    On,
    /// Nothing: the options are off.
    Off,
    /// Nothing, and no Rust either.
    NoRust,
}

const CONFIGURATIONS: [Configuration; 3] =
    [Configuration::On, Configuration::Off, Configuration::NoRust];

impl Configuration {
    fn name(self) -> &'static str {
        match self {
            Configuration::On => "on",
            Configuration::Off => "off",
            Configuration::NoRust => "no-rust",
        }
    }

    fn fragments(self) -> &'static [&'static str] {
        match self {
            Configuration::On => &["common", "release", "touched"],
            Configuration::Off | Configuration::NoRust => &["small", "touched"],
        }
    }

    /// What the series has to do with it, as far as this tree knows the options.
    fn settings(self, options: Options) -> String {
        let value = match self {
            Configuration::On => "y",
            Configuration::Off | Configuration::NoRust => "n",
        };
        let mut text = String::new();
        if options.fcblist {
            text += &format!("CONFIG_FCBLIST={value}\n");
        }
        if options.evpoll {
            text += &format!("CONFIG_EVPOLL={value}\n");
        }
        text += match self {
            Configuration::NoRust => "CONFIG_RUST=n\n",
            Configuration::On | Configuration::Off => "CONFIG_RUST=y\n",
        };
        text
    }
}

/// What a tree has of the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    fcblist: bool,
    evpoll: bool,
    /// The system calls have numbers.
    calls: bool,
}

impl Options {
    fn of(tree: &Path) -> anyhow::Result<Options> {
        let has = |file: &str, line: &str| -> anyhow::Result<bool> {
            let text = files::read_text(&tree.join(file))?;
            Ok(text.lines().any(|have| have.contains(line)))
        };
        Ok(Options {
            fcblist: has("fs/Kconfig", "config FCBLIST")?,
            evpoll: has("init/Kconfig", "config EVPOLL")?,
            calls: has("arch/x86/entry/syscalls/syscall_64.tbl", "sys_evpoll_wait")?,
        })
    }
}

/// How one patch did in one configuration.
enum Verdict {
    Passed(&'static str),
    /// Why, in lines.
    Failed(Vec<String>),
    /// The guest crashed or hung.
    Crashed(Vec<String>),
}

pub fn main(ctx: &Ctx, only: Option<Span>) -> anyhow::Result<u8> {
    if ctx.kernel.is_some() || ctx.profile != Profile::Release {
        let text = "--bisect has a kernel and configurations of its own: leave out --kernel and \
                    --profile";
        return Err(Fatal::Setup(text.into()).into());
    }
    let patches = series::patches(&ctx.root)?;
    let chosen = only.unwrap_or(Span::all(patches.len()));
    chosen.check(patches.len())?;
    packages::ensure(ctx, &[qemu::PACKAGE, "busybox-static", "git"])?;
    let programs = rootfs::build_programs(ctx)?;
    let bisect = Bisect {
        ctx,
        tools: toolchain::ensure(ctx)?,
        programs: vec![
            Program::new("evpoll-bench", programs.bench),
            Program::new("evpoll-selftests", programs.selftests),
        ],
        base: source::pristine(ctx)?.version,
        lock: Lock::take(ctx, "bisected series")?,
        records: ctx.cache.join("bisect"),
    };
    bisect.run(&patches, chosen)
}

struct Bisect<'a> {
    ctx: &'a Ctx,
    tools: Toolchain,
    programs: Vec<Program>,
    /// The kernel that the series is for.
    base: Version,
    lock: Lock,
    /// A file for each thing that has passed, named by its hash.
    records: PathBuf,
}

impl Bisect<'_> {
    fn run(&self, patches: &[Patch], chosen: Span) -> anyhow::Result<u8> {
        let begin = Instant::now();
        let mut report = Report::default();
        println!("KTAP version 1");
        println!("1..{}", chosen.count() * CONFIGURATIONS.len());
        for number in chosen.numbers() {
            let name = patches[number - 1].name();
            let name = name.trim_end_matches(".patch");
            for configuration in CONFIGURATIONS {
                let start = Instant::now();
                let key = self.key(&patches[..number], configuration)?;
                let verdict = if self.passed(&key)? {
                    Verdict::Passed("has passed before")
                } else {
                    let tree = tree::partial(self.ctx, &patches[..number], &self.lock)?;
                    self.attempt(&tree, number, configuration)?
                };
                if matches!(verdict, Verdict::Passed(_)) {
                    self.record(&key)?;
                }
                let told = format!("{name} {}", configuration.name());
                report.add(&told, &verdict, start.elapsed())?;
            }
        }
        report.finish(begin.elapsed())
    }

    /// The hash of what decides how these patches do, but for the programs that the guest runs.
    fn key(&self, patches: &[Patch], configuration: Configuration) -> anyhow::Result<String> {
        let mut parts = vec![
            self.base.to_string(),
            self.tools.id.clone(),
            configuration.name().to_owned(),
            smoke(false),
            smoke(true),
        ];
        for name in configuration.fragments() {
            let path = self.ctx.root.join(format!("qemu/{name}.config"));
            parts.push(files::read_text(&path)?);
        }
        for patch in patches {
            parts.push(changes(&files::read_text(&patch.path)?).to_owned());
        }
        Ok(hash(&parts))
    }

    /// Builds and boots.
    fn attempt(
        &self,
        tree: &Tree,
        number: usize,
        configuration: Configuration,
    ) -> anyhow::Result<Verdict> {
        let options = Options::of(&tree.dir)?;
        let build = self.prepare(tree, number, configuration, options)?;
        let smoke = smoke(options.calls && configuration == Configuration::On);
        let kernel = match build.kernel() {
            Ok(kernel) => kernel,
            Err(error) => return Ok(Verdict::Failed(lines(&format!("{error:#}")))),
        };
        let warnings = self.warnings(&build)?;
        if !warnings.is_empty() {
            // Make would not repeat them.
            files::remove(&build.objdir)?;
            return Ok(Verdict::Failed(warnings));
        }
        let image = std::fs::read(&kernel.image).context("reading the kernel that was built")?;
        let same = hash(&[&image, smoke.as_bytes()]);
        if self.passed(&same)? {
            return Ok(Verdict::Passed("built, a kernel that has been booted"));
        }
        let verdict = self.boot(&kernel, number, configuration, &smoke)?;
        if matches!(verdict, Verdict::Passed(_)) {
            self.record(&same)?;
        }
        Ok(verdict)
    }

    fn prepare(
        &self,
        tree: &Tree,
        number: usize,
        configuration: Configuration,
        options: Options,
    ) -> anyhow::Result<Build<'_>> {
        let name = format!("bisect-{}", configuration.name());
        let objdir = self.ctx.cache.join("build").join(&name);
        let mut variables = Vec::new();
        if configuration == Configuration::On {
            files::make_dir(&objdir)?;
            let kconfig = objdir.join("Kconfig.bisect");
            let text = selecting(&files::read_text(&tree.dir.join("Kconfig"))?);
            if files::read(&kconfig)?.as_deref() != Some(text.as_bytes()) {
                files::write(&kconfig, text.as_bytes())?;
            }
            variables.push(format!("KBUILD_KCONFIG={}", kconfig.display()));
        }
        let fragments = configuration.fragments().iter();
        let recipe = Recipe {
            title: format!("{number:04}, {},", configuration.name()),
            fragments: fragments.map(|&name| name.to_owned()).collect(),
            settings: Some((
                "the settings of --bisect".into(),
                configuration.settings(options),
            )),
            variables,
        };
        let place = (objdir, format!("{name}-{number:04}"));
        let (tools, lock) = (self.tools.clone(), self.lock.share()?);
        Build::of_recipe(self.ctx, tools, tree.clone(), place, recipe, lock)
    }

    /// What the build said beside what it did. Compilers' warnings are errors in these
    /// configurations; there are other programs.
    fn warnings(&self, build: &Build) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for step in ["config", "build"] {
            let log = build.log(step);
            let text = files::read(&log)?.unwrap_or_default();
            found.extend(warnings(&String::from_utf8_lossy(&text)));
            if !found.is_empty() {
                found.push(format!("the whole log is {}", log.display()));
                return Ok(found);
            }
        }
        Ok(found)
    }

    fn boot(
        &self,
        kernel: &Kernel,
        number: usize,
        configuration: Configuration,
        smoke: &str,
    ) -> anyhow::Result<Verdict> {
        let accelerations = qemu::candidates(self.ctx.accel);
        let slow = u64::from(scale(Profile::Release, &accelerations));
        let name = format!("bisect-{}-{number:04}", configuration.name());
        let boot = Boot {
            name: &name,
            task: Task {
                // The small kernel has no virtio.
                hold: true,
                alive: 0,
                ..Task::of_program(["/bin/sh", "-c", smoke].map(str::to_owned).to_vec())
            },
            programs: self.programs.clone(),
            processors: 2,
            memory: "1G".into(),
            kernel: &kernel.image,
            parameters: vec!["oops=panic".into()],
            accelerations,
            input: Input::Nothing,
            limits: Limits {
                ready: Duration::from_secs(40 * slow),
                silence: None,
                total: Some(Duration::from_secs(200 * slow)),
                alive: None,
            },
        };
        let step = Step::start(format!("booting {} for {number:04}", configuration.name()));
        let mut output = Output::default();
        let outcome = boot.run(self.ctx, &mut output)?;
        step.done(outcome.end.to_string());
        judge(&outcome, &output.0)
    }

    fn passed(&self, key: &str) -> anyhow::Result<bool> {
        Ok(files::read(&self.records.join(key))?.is_some())
    }

    fn record(&self, key: &str) -> anyhow::Result<()> {
        files::write(&self.records.join(key), b"passed\n")
    }
}

/// What the guest does: pipes and sockets, `fork` and `open` as everybody uses them, and then the
/// calls of evpoll, or that there are none.
fn smoke(calls: bool) -> String {
    let plain = "cd /evpoll && ./evpoll-bench idle --quick --wall-clock >/dev/null";
    let evpoll = match calls {
        true => "./evpoll-selftests --scale 3 pipe.",
        // It says so of each test, and fails.
        false => "{ ./evpoll-selftests pipe.data; true; } | grep -m1 'this kernel has no evpoll'",
    };
    format!("{plain} && {evpoll}")
}

/// A top-level Kconfig as the tree's, with somebody who selects the callback lists before the patch
/// that adds evpoll: nobody could enable, and so compile, them otherwise.
fn selecting(kconfig: &str) -> String {
    format!("{kconfig}\nconfig FCBLIST_BISECTED\n\tdef_bool y\n\tselect FCBLIST\n")
}

fn hash<T: AsRef<[u8]>>(parts: &[T]) -> String {
    let mut hash = Hash::new();
    for part in parts {
        hash.add(part);
    }
    hash.hex()
}

/// The lines of a build's log that warn of something.
fn warnings(log: &str) -> Vec<String> {
    const MOST: usize = 10;
    log.lines()
        // The command line comes first.
        .filter(|line| !line.starts_with("$ "))
        .filter(|line| line.to_ascii_lowercase().contains("warning:"))
        .take(MOST)
        .map(str::to_owned)
        .collect()
}

/// A patch without what it says about itself: that may change.
fn changes(patch: &str) -> &str {
    match patch.find("\ndiff --git ") {
        Some(start) => &patch[start..],
        None => "",
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What came of a boot. An interruption ends the whole command.
fn judge(outcome: &Outcome, said: &[u8]) -> anyhow::Result<Verdict> {
    let console = format!("the console is in {}", outcome.console.display());
    match &outcome.end {
        End::Signal(_) | End::Unread | End::SwitchedOff => {
            Err(Fatal::Setup("interrupted: the same command goes on from here".into()).into())
        }
        End::Exited(status) => {
            let mut why: Vec<String> = outcome.reports.iter().flatten().cloned().collect();
            if *status != 0 {
                why.push(format!("what runs in the guest ended with status {status}"));
                why.extend(lines(&String::from_utf8_lossy(said)));
            }
            if why.is_empty() {
                return Ok(Verdict::Passed("built and booted"));
            }
            why.push(console);
            Ok(Verdict::Failed(why))
        }
        end => {
            let mut why = vec![end.to_string()];
            why.extend(outcome.last.iter().cloned());
            why.push(console);
            Ok(Verdict::Crashed(why))
        }
    }
}

/// All that the guest says.
#[derive(Default)]
struct Output(Vec<u8>);

impl Sink for Output {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The results as they come.
#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
    crashed: bool,
}

impl Report {
    fn add(&mut self, name: &str, verdict: &Verdict, time: Duration) -> anyhow::Result<()> {
        let number = self.passed + self.failed + 1;
        let (result, said) = match verdict {
            Verdict::Passed(how) => {
                self.passed += 1;
                (
                    format!("ok {number} {name} # {how}, {}", seconds(time)),
                    &[][..],
                )
            }
            Verdict::Failed(why) | Verdict::Crashed(why) => {
                self.failed += 1;
                self.crashed |= matches!(verdict, Verdict::Crashed(_));
                (
                    format!("not ok {number} {name} # {}", seconds(time)),
                    &why[..],
                )
            }
        };
        for line in said {
            println!("# {line}");
        }
        println!("{result}");
        Ok(std::io::stdout().flush()?)
    }

    fn finish(&self, time: Duration) -> anyhow::Result<u8> {
        println!("# {}", seconds(time));
        println!("{} passed, {} failed, 0 skipped", self.passed, self.failed);
        match (self.crashed, self.failed) {
            (true, _) => Err(Fatal::Guest("a guest crashed or hung, see above".into()).into()),
            (false, failed) => Ok(u8::from(failed > 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End) -> Outcome {
        Outcome {
            end,
            reports: vec![],
            last: vec!["[ 1.0] last words".into()],
            console: "/c/console.log".into(),
        }
    }

    #[test]
    fn every_configuration_says_what_is_on() {
        let all = Options {
            fcblist: true,
            evpoll: true,
            calls: true,
        };
        let of = |configuration: Configuration| configuration.settings(all);
        assert_eq!(
            of(Configuration::On),
            "CONFIG_FCBLIST=y\nCONFIG_EVPOLL=y\nCONFIG_RUST=y\n"
        );
        assert_eq!(
            of(Configuration::Off),
            "CONFIG_FCBLIST=n\nCONFIG_EVPOLL=n\nCONFIG_RUST=y\n"
        );
        assert_eq!(
            of(Configuration::NoRust),
            "CONFIG_FCBLIST=n\nCONFIG_EVPOLL=n\nCONFIG_RUST=n\n"
        );
        let none = Options::default();
        assert_eq!(Configuration::On.settings(none), "CONFIG_RUST=y\n");
    }

    #[test]
    fn the_calls_are_asked_for_in_any_case() {
        assert!(smoke(true).contains("evpoll-selftests") && !smoke(true).contains("no evpoll"));
        assert!(smoke(false).contains("this kernel has no evpoll"));
        assert_ne!(hash(&["a", &smoke(true)]), hash(&["a", &smoke(false)]));
    }

    #[test]
    fn what_a_patch_says_is_not_what_it_changes() {
        let patch = |subject: &str, line: &str| {
            format!("Subject: {subject}\n---\n f | 1 +\n\ndiff --git a/f b/f\n+{line}\n")
        };
        let (one, other) = (patch("one", "x"), patch("other", "x"));
        assert_eq!(changes(&one), changes(&other));
        assert_ne!(changes(&one), changes(&patch("one", "y")));
        assert!(changes(&one).contains("+x"));
    }

    #[test]
    fn warnings_are_found_whoever_warns() {
        let log = "$ make W=1 warning:\n  CC fs/pipe.o\nfs/pipe.c:3:1: warning: unused\n\
                   vmlinux.o: warning: objtool: x\nWARNING: unmet direct dependencies\n\
                   WARNING: modpost: y\n  CC lib/warnings.o\n";
        assert_eq!(warnings(log).len(), 4);
        assert!(warnings("  CC fs/pipe.o\n").is_empty());
    }

    #[test]
    fn only_a_silent_success_passes() {
        let of = |outcome: &Outcome| judge(outcome, b"x\ny\n").unwrap();
        assert!(matches!(of(&outcome(End::Exited(0))), Verdict::Passed(_)));
        let Verdict::Failed(why) = of(&outcome(End::Exited(1))) else {
            panic!("status 1 is a failure")
        };
        assert_eq!(why[1..3], ["x", "y"]);
        let mut complained = outcome(End::Exited(0));
        complained.reports.push(vec!["BUG: z".into()]);
        assert!(matches!(of(&complained), Verdict::Failed(_)));
        let crashed = outcome(End::Crashed("oops".into()));
        assert!(matches!(of(&crashed), Verdict::Crashed(_)));
        assert!(judge(&outcome(End::Signal(2)), b"").is_err());
    }

    #[test]
    fn a_crash_decides_the_status() {
        let mut report = Report::default();
        let time = Duration::from_secs(1);
        report.add("a", &Verdict::Passed("booted"), time).unwrap();
        assert_eq!(report.finish(time).unwrap(), 0);
        report.add("b", &Verdict::Failed(vec![]), time).unwrap();
        assert_eq!(report.finish(time).unwrap(), 1);
        report.add("c", &Verdict::Crashed(vec![]), time).unwrap();
        let error = report.finish(time).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Fatal::Guest(_))));
    }

    #[test]
    fn somebody_selects_the_lists() {
        let text = selecting("mainmenu \"Linux\"\nsource \"fs/Kconfig\"\n");
        assert!(text.starts_with("mainmenu") && text.ends_with("\tselect FCBLIST\n"));
    }
}
