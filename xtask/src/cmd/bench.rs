// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench`: the benchmarks, every interface in one boot. The figures of record are
//! numbers of instructions; where KVM works, times are measured in a second boot.

use crate::bench::{self, Figure, Group, Setting};
use crate::cli;
use crate::ctx::{Accel, Ctx, Profile};
use crate::error::Fatal;
use crate::guest::{quote, Boot, End, Input, Limits, Root, Sink, Task};
use crate::kernel::Kernel;
use crate::progress::{self, Step};
use crate::qemu::{self, Acceleration};
use crate::{files, kernel, packages, rootfs};
use anyhow::Context;
use serde::Serialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub fn main(ctx: &Ctx, args: cli::Bench) -> anyhow::Result<u8> {
    packages::ensure(ctx, &[qemu::PACKAGE, "busybox-static"])?;
    let programs = rootfs::build_programs(ctx)?;
    check_names(&programs.bench, &args.names)?;
    let kernel = kernel::build(ctx)?;
    let toolchain = toolchain(&files::read_text(&kernel.config)?);
    let setting = |acceleration: Acceleration| Setting {
        kernel: kernel.release.clone(),
        profile: ctx.profile.name().into(),
        toolchain: toolchain.clone(),
        accel: acceleration.name().into(),
    };

    let mut measured = Vec::new();
    for acceleration in accelerations(ctx.accel) {
        let run = Run {
            ctx,
            kernel: &kernel,
            program: &programs.bench,
            names: &args.names,
        };
        if let Some(figures) = run.measure(acceleration)? {
            measured.push((setting(acceleration), figures));
        }
    }
    if measured
        .iter()
        .all(|(_, figures)| figures.iter().all(|figure| figure.value.is_none()))
    {
        return Err(Fatal::Failed("nothing could be measured".into()).into());
    }
    let sets: Vec<(Setting, Vec<Group>)> = measured
        .iter()
        .map(|(setting, figures)| (setting.clone(), bench::groups(figures)))
        .collect();
    for (setting, groups) in &sets {
        println!(
            "Linux {}, {}, QEMU {}",
            setting.kernel, setting.profile, setting.accel
        );
        for group in groups {
            print!("\n{}", bench::table(group));
        }
        println!();
    }
    if let Some(file) = &args.json {
        files::write(file, json(&measured)?.as_bytes())?;
    }
    if let Some(folder) = &args.report {
        let page = bench::write_report(folder, &sets, &command_line(std::env::args().skip(1)))?;
        progress::say(&format!("xtask: the report is {}", page.display()));
    }
    Ok(0)
}

/// Counting always; a clock where one can be believed.
fn accelerations(asked: Accel) -> Vec<Acceleration> {
    let kvm = match asked {
        Accel::Kvm => true,
        Accel::Auto => qemu::kvm_works(),
        Accel::Tcg => false,
    };
    let mut wanted = vec![Acceleration::Counting];
    wanted.extend(kvm.then_some(Acceleration::Kvm));
    wanted
}

/// A wrong name is found before anything is built for it.
fn check_names(program: &Path, names: &[String]) -> anyhow::Result<()> {
    let known = progress::output(Command::new(program).arg("--list"))?;
    match names
        .iter()
        .find(|name| !known.lines().any(|line| line == *name))
    {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = known.lines().collect();
            let text = format!("no benchmark {name:?}, there is: {}", known.join(", "));
            Err(Fatal::Setup(text).into())
        }
    }
}

struct Run<'a> {
    ctx: &'a Ctx,
    kernel: &'a Kernel,
    program: &'a Path,
    names: &'a [String],
}

impl Run<'_> {
    /// One boot. None if KVM turned out not to work and was not asked for.
    fn measure(&self, acceleration: Acceleration) -> anyhow::Result<Option<Vec<Figure>>> {
        let counting = acceleration == Acceleration::Counting;
        let mut command = vec!["/evpoll/evpoll-bench".to_owned()];
        command.extend(self.names.iter().cloned());
        if !counting {
            command.push("--wall-clock".into());
        }
        let slow = match self.ctx.profile {
            Profile::Release | Profile::Coverage => 1,
            Profile::Debug | Profile::Race => 10,
        };
        let boot = Boot {
            name: "bench",
            task: Task {
                root: Root::Guest,
                command,
                environment: vec![("PATH".into(), "/bin".into())],
                folder: "/".into(),
                terminal: None,
                // Whatever reaches the guest from outside comes at a time of its own, and would be
                // part of the figures.
                alive: 0,
                hold: true,
                leaks: false,
            },
            programs: vec![rootfs::Program::new("evpoll-bench", self.program)],
            processors: 1,
            memory: "2G".into(),
            kernel: &self.kernel.image,
            parameters: vec![],
            accelerations: vec![acceleration],
            input: Input::Nothing,
            limits: Limits {
                ready: Duration::from_secs(120 * slow),
                silence: None,
                total: Some(Duration::from_secs(600 * slow)),
                alive: None,
            },
        };
        let title = match counting {
            true => "measuring, in instructions",
            false => "measuring, in time",
        };
        let mut output = Output::default();
        let step = Step::start(title);
        let outcome = boot.run(self.ctx, &mut output)?;
        if outcome.end == End::NoSign && self.ctx.accel == Accel::Auto {
            drop(step);
            progress::say("xtask: KVM gives no sign of life here, so there are no times");
            return Ok(None);
        }
        let status = outcome.status(Some("the benchmarks"))?;
        if let End::Signal(_) = outcome.end {
            return Err(Fatal::Setup("interrupted".into()).into());
        }
        if status != 0 {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said
                .trim_end()
                .lines()
                .last()
                .unwrap_or("it said nothing")
                .to_owned();
            let text = format!("evpoll-bench failed with status {status}: {last}");
            return Err(Fatal::Failed(text).into());
        }
        if let Some(first) = outcome.reports.first().and_then(|report| report.first()) {
            let text = format!(
                "the kernel complained, figures of it mean nothing: {first}; see {}",
                outcome.console.display()
            );
            return Err(Fatal::Failed(text).into());
        }
        let text = String::from_utf8(output.stdout).context("evpoll-bench printed no text")?;
        let figures = bench::parse(&text)?;
        step.done(format!("{} figures", figures.len()));
        Ok(Some(figures))
    }
}

/// Keeps what the guest says.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Sink for Output {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stdout.extend_from_slice(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stderr.extend_from_slice(bytes);
        Ok(())
    }
}

/// The compilers, as the kernel's configuration has them.
fn toolchain(config: &str) -> String {
    let text = |option: &str| {
        let value = config
            .lines()
            .find_map(|line| line.strip_prefix(option)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    let parts: Vec<String> = ["CONFIG_CC_VERSION_TEXT", "CONFIG_RUSTC_VERSION_TEXT"]
        .into_iter()
        .filter_map(text)
        .collect();
    parts.join("; ")
}

/// One object for each figure, with the setting that it came from.
fn json(measured: &[(Setting, Vec<Figure>)]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Entry<'a> {
        #[serde(flatten)]
        figure: &'a Figure,
        #[serde(flatten)]
        setting: &'a Setting,
    }
    let entries: Vec<Entry> = measured
        .iter()
        .flat_map(|(setting, figures)| figures.iter().map(move |figure| Entry { figure, setting }))
        .collect();
    Ok(serde_json::to_string_pretty(&entries)? + "\n")
}

/// What a person would type to get the same.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = arguments.map(|word| quote(&word)).collect();
    format!("cargo xtask {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_counted_in_any_case() {
        assert_eq!(accelerations(Accel::Tcg), [Acceleration::Counting]);
        assert_eq!(
            accelerations(Accel::Kvm),
            [Acceleration::Counting, Acceleration::Kvm]
        );
        assert_eq!(accelerations(Accel::Auto)[0], Acceleration::Counting);
    }

    #[test]
    fn compilers_come_from_the_configuration() {
        let config = "CONFIG_CC_VERSION_TEXT=\"clang version 22\"\nCONFIG_X=y\n\
                      CONFIG_RUSTC_VERSION_TEXT=\"rustc 1.96.0\"\n";
        assert_eq!(toolchain(config), "clang version 22; rustc 1.96.0");
    }

    #[test]
    fn json_has_the_figure_and_where_it_is_from() {
        let line = r#"{"name":"p","interface":"evpoll","params":{"pipes":10},"value":1.5,"unit":"u","raw":{}}"#;
        let setting = Setting {
            kernel: "7.3.4".into(),
            profile: "release".into(),
            toolchain: "t".into(),
            accel: "tcg".into(),
        };
        let text = json(&[(setting, bench::parse(line).unwrap())]).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read[0]["value"], 1.5);
        assert_eq!(read[0]["kernel"], "7.3.4");
        assert_eq!(read[0]["params"]["pipes"], 10);
    }

    #[test]
    fn the_command_can_be_typed_again() {
        let words = ["bench", "--report", "a b"].into_iter().map(str::to_owned);
        assert_eq!(command_line(words), "cargo xtask bench --report 'a b'");
    }
}
