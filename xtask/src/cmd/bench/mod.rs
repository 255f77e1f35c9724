// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench`: the benchmarks, every interface in one boot. The figures of record are
//! numbers of instructions, each of which two boots have to agree on; where KVM works, times are
//! measured in further boots. Some benchmarks take boots of another kind: see [`Plan`].

mod boot;
mod plan;
mod trace;

use crate::bench::{self, Measured, Profiles, Results, Setting, Symbols, Target, BARE};
use crate::cli;
use crate::ctx::{Accel, Ctx};
use crate::error::Fatal;
use crate::guest::quote;
use crate::kernel::{self, Kernel, Variant};
use crate::progress::{self, Step};
use crate::qemu::{self, Acceleration};
use crate::{files, packages, rootfs, tree};
use anyhow::Context;
use boot::{Bench, Measure};
use plan::{Plan, IDLE, PRODUCERS, PROFILE};
use std::path::Path;
use std::process::Command;

/// Of a profile: events that a wait gives.
const ACTIVE: [u32; 2] = [1, 100];
const PROFILED: [&str; 3] = ["evpoll", "epoll-edge", BARE];
/// Of `producers`.
const PROCESSORS: [u16; 2] = [2, 4];

pub fn main(ctx: &Ctx, args: cli::Bench) -> anyhow::Result<u8> {
    packages::ensure(ctx, &packages::BOOT)?;
    let program = rootfs::build_programs(ctx)?.bench;
    let plan = Plan::new(&known(&program)?, &args.names)?;
    destinations(&args)?;
    let kernels = Kernels::build(ctx, &plan)?;
    let mut session = Session {
        ctx,
        kernels: &kernels,
        program: &program,
        results: Results {
            measured: Vec::new(),
            profiles: None,
            repeated: false,
            command: command_line(std::env::args().skip(1)),
        },
        differences: Vec::new(),
    };
    session.run(&plan)?;
    let Session {
        results,
        differences,
        ..
    } = session;

    print!("{}", bench::text(&results));
    conclude(&args, &results, &differences)?;
    Ok(0)
}

/// Writes what is worth it. An error if the boots have not gone as they should.
fn conclude(args: &cli::Bench, results: &Results, differences: &[String]) -> anyhow::Result<()> {
    let mut figures = results.measured.iter().flat_map(|boot| &boot.figures);
    if results.profiles.is_none() && !figures.any(|figure| figure.value.is_some()) {
        return Err(Fatal::Failed("nothing could be measured".into()).into());
    }
    if !differences.is_empty() {
        for difference in differences {
            println!("not the same in two boots: {difference}");
        }
        let text = format!(
            "{} figures are not the same in two boots, so none are written",
            differences.len()
        );
        return Err(Fatal::Failed(text).into());
    }
    if let Some(file) = &args.json {
        files::write(file, bench::json(results)?.as_bytes())?;
    }
    if let Some(folder) = &args.report {
        let page = bench::write_report(folder, results)?;
        progress::say(&format!("xtask: the report is {}", page.display()));
    }
    match args.targets {
        true => judge(&bench::targets(&results.measured)),
        false => Ok(()),
    }
}

/// An error unless all targets are met. Those of benchmarks that were not asked for do not count,
/// but one has to be there.
fn judge(targets: &[Target]) -> anyhow::Result<()> {
    let missed: Vec<&str> = targets
        .iter()
        .filter(|target| target.met == Some(false))
        .map(|target| target.what.as_str())
        .collect();
    let text = match missed.len() {
        0 if targets.iter().any(|target| target.met.is_some()) => return Ok(()),
        0 => "none of the targets was measured".to_owned(),
        1 => format!("a target is not met: {}", missed[0]),
        n => format!("{n} targets are not met: {}", missed.join("; ")),
    };
    Err(Fatal::Failed(text).into())
}

/// An error, before anything takes its time, if what is measured could not be written.
fn destinations(args: &cli::Bench) -> anyhow::Result<()> {
    let unwritable = |option: &str| format!("{option} cannot be written, name another place");
    if let Some(file) = &args.json {
        files::try_write(file).with_context(|| unwritable("--json"))?;
    }
    if let Some(folder) = &args.report {
        bench::try_report(folder).with_context(|| unwritable("--report"))?;
    }
    Ok(())
}

/// The benchmarks that the program has, and the profile, which it does not list: it takes somebody
/// who looks.
fn known(program: &Path) -> anyhow::Result<Vec<String>> {
    let list = progress::output(Command::new(program).arg("--list"))?;
    Ok(list.lines().chain([PROFILE]).map(str::to_owned).collect())
}

/// Whether times are worth measuring.
fn kvm(asked: Accel) -> bool {
    match asked {
        Accel::Kvm => true,
        Accel::Auto => qemu::kvm_works(),
        Accel::Tcg => false,
    }
}

/// The kernels that a plan takes, and what they are called.
struct Kernels {
    standard: (Kernel, String),
    unpatched: Option<(Kernel, String)>,
    parallel: Option<(Kernel, String)>,
}

impl Kernels {
    fn build(ctx: &Ctx, plan: &Plan) -> anyhow::Result<Kernels> {
        let named = |variant, what: &str| -> anyhow::Result<(Kernel, String)> {
            let kernel = kernel::build_variant(ctx, variant)?;
            let name = format!("{}{what}", kernel.release);
            Ok((kernel, name))
        };
        // Of a tree of one's own that has the series, there is no unpatched one.
        let comparable = !ctx.kernel.as_deref().is_some_and(tree::has_evpoll);
        if plan.idle && !comparable {
            progress::say(
                "xtask: --kernel names a tree with the series, so there is no unpatched kernel \
                 to compare idle with",
            );
        }
        let unpatched = plan.idle && comparable;
        Ok(Kernels {
            unpatched: unpatched
                .then(|| named(Variant::UNPATCHED, " unpatched"))
                .transpose()?,
            parallel: (plan.producers && !kvm(ctx.accel))
                .then(|| named(Variant::PARALLEL, " without JUMP_LABEL"))
                .transpose()?,
            standard: named(Variant::STANDARD, "")?,
        })
    }
}

/// The boots, one after the other, and what has come of them.
struct Session<'a> {
    ctx: &'a Ctx,
    kernels: &'a Kernels,
    program: &'a Path,
    results: Results,
    differences: Vec<String>,
}

impl Session<'_> {
    fn run(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let kernels = self.kernels;
        let idle = [IDLE.to_owned()];
        // What is compared between kernels is measured before anything has been done with them,
        // and in the same way on each.
        if plan.idle {
            if let Some(unpatched) = &kernels.unpatched {
                self.count("idle, unpatched", unpatched, &idle)?;
            }
            self.count("idle", &kernels.standard, &idle)?;
        }
        if !plan.common.is_empty() {
            self.count("measuring", &kernels.standard, &plan.common)?;
        }
        if kvm(self.ctx.accel) {
            self.clock(plan, &idle)?;
        }
        if plan.producers {
            self.producers()?;
        }
        if plan.profile {
            self.profile()?;
        }
        Ok(())
    }

    fn setting(&self, kernel: &(Kernel, String), boot: &Measure) -> anyhow::Result<Setting> {
        Ok(Setting {
            kernel: kernel.1.clone(),
            profile: self.ctx.profile.name().into(),
            toolchain: toolchain(&files::read_text(&kernel.0.config)?),
            accel: boot.acceleration.name().into(),
            processors: boot.processors,
        })
    }

    fn bench<'b>(&'b self, kernel: &'b Kernel) -> Bench<'b> {
        Bench {
            ctx: self.ctx,
            kernel,
            program: self.program,
        }
    }

    /// In two boots, in instructions.
    fn count(
        &mut self,
        title: &str,
        kernel: &(Kernel, String),
        names: &[String],
    ) -> anyhow::Result<()> {
        let mut first: Option<Measured> = None;
        for run in 1..=2 {
            let boot = Measure {
                title: format!("{title}, in instructions, boot {run} of 2"),
                acceleration: Acceleration::Counting,
                processors: 1,
                names,
            };
            let Some(figures) = self.bench(&kernel.0).measure(&boot)? else {
                return Err(Fatal::Guest("the emulator gives no sign of life".into()).into());
            };
            match &first {
                None => {
                    let setting = self.setting(kernel, &boot)?;
                    first = Some(Measured { setting, figures });
                }
                Some(first) => {
                    let found = bench::differences(&first.figures, &figures);
                    self.differences.extend(found);
                }
            }
        }
        self.results.measured.extend(first);
        self.results.repeated = true;
        Ok(())
    }

    /// In time, with KVM.
    fn clock(&mut self, plan: &Plan, idle: &[String]) -> anyhow::Result<()> {
        let kernels = self.kernels;
        let mut boots = Vec::new();
        if plan.idle {
            boots.extend(kernels.unpatched.as_ref().map(|kernel| (kernel, idle)));
            boots.push((&kernels.standard, idle));
        }
        if !plan.timed.is_empty() {
            boots.push((&kernels.standard, &plan.timed[..]));
        }
        for (kernel, names) in boots {
            let boot = Measure {
                title: format!("{}, in time", names.join(", ")),
                acceleration: Acceleration::Kvm,
                processors: 1,
                names,
            };
            if !self.add(kernel, &boot)? {
                break;
            }
        }
        Ok(())
    }

    fn producers(&mut self) -> anyhow::Result<()> {
        let kernels = self.kernels;
        let names = [PRODUCERS.to_owned()];
        let (kernel, acceleration) = match &kernels.parallel {
            Some(parallel) => (parallel, Acceleration::Parallel),
            None => (&kernels.standard, Acceleration::Kvm),
        };
        for processors in PROCESSORS {
            let boot = Measure {
                title: format!("producers on {processors} processors, in time"),
                acceleration,
                processors,
                names: &names,
            };
            self.add(kernel, &boot)?;
        }
        Ok(())
    }

    /// One boot, by the clock. False if KVM turned out not to work.
    fn add(&mut self, kernel: &(Kernel, String), boot: &Measure) -> anyhow::Result<bool> {
        let figures = self.bench(&kernel.0).measure(boot)?;
        let works = figures.is_some();
        if let Some(figures) = figures {
            let setting = self.setting(kernel, boot)?;
            self.results.measured.push(Measured { setting, figures });
        }
        Ok(works)
    }

    fn profile(&mut self) -> anyhow::Result<()> {
        let kernel = &self.kernels.standard;
        let symbols = Symbols::parse(&files::read_text(&kernel.0.symbols)?)?;
        let boot = Measure {
            title: String::new(),
            acceleration: Acceleration::Counting,
            processors: 1,
            names: &[],
        };
        let mut profiles = Profiles {
            setting: self.setting(kernel, &boot)?,
            of: Vec::new(),
        };
        let mut step = Step::start("recording instructions");
        for active in ACTIVE {
            for interface in PROFILED {
                step.note(format!("{interface}, {active} a wait"));
                let bench = self.bench(&kernel.0);
                let profile = trace::record(&bench, interface, active, &symbols)?;
                profiles.of.push((interface.to_owned(), active, profile));
            }
        }
        step.done("");
        self.results.profiles = Some(profiles);
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

/// What a person would type to get the same.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = arguments.map(|word| quote(&word)).collect();
    format!("cargo xtask {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(what: &str) -> Folder {
            let name = format!("xtask-bench-{what}-{}", std::process::id());
            Folder(std::env::temp_dir().join(name))
        }

        fn args(&self, json: Option<&str>, report: Option<&str>) -> cli::Bench {
            cli::Bench {
                json: json.map(|name| self.0.join(name)),
                report: report.map(|name| self.0.join(name)),
                targets: false,
                names: Vec::new(),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = files::remove(&self.0);
        }
    }

    /// Of one boot that gave this line.
    fn results(line: &str) -> Results {
        let setting = Setting {
            kernel: "7.3.4".into(),
            profile: "release".into(),
            toolchain: String::new(),
            accel: "tcg".into(),
            processors: 1,
        };
        Results {
            measured: vec![Measured {
                setting,
                figures: bench::parse(line).unwrap(),
            }],
            profiles: None,
            repeated: true,
            command: String::new(),
        }
    }

    const LINE: &str = "{\"name\":\"syscall\",\"interface\":\"evpoll\",\
        \"params\":{\"call\":\"ADD and DEL\"},\"value\":900.0,\"unit\":\"instructions/call\"}";

    #[test]
    fn what_cannot_be_written_is_an_error_at_once() {
        let folder = Folder::new("destinations");
        let file = folder.0.join("figures.json");
        files::write(&file, b"old").unwrap();
        let check = |json, report| destinations(&folder.args(json, report));
        check(Some("figures.json"), Some(".")).unwrap();
        check(Some("new/figures.json"), Some("new/report")).unwrap();
        // What is there stays, and nothing is added to it.
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        let report = files::entries(&folder.0.join("new/report")).unwrap();
        assert!(report.is_empty(), "{report:?}");

        let error = format!("{:#}", check(Some("new"), None).unwrap_err());
        assert!(
            error.starts_with("--json") && error.contains("folder"),
            "{error}"
        );
        assert!(check(Some("figures.json/x"), None).is_err());
        assert!(check(None, Some("figures.json")).is_err());
    }

    #[test]
    fn figures_that_do_not_repeat_leave_the_old_ones_alone() {
        let folder = Folder::new("conclude");
        let file = folder.0.join("figures.json");
        files::write(&file, b"old").unwrap();
        let args = folder.args(Some("figures.json"), Some("report"));
        let differences = ["syscall evpoll: 900 and 910".to_owned()];
        let error = conclude(&args, &results(LINE), &differences).unwrap_err();
        assert!(error.to_string().contains("1 figures"), "{error}");
        assert!(conclude(&args, &results(""), &[]).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"old");
        assert!(!folder.0.join("report").exists());

        conclude(&args, &results(LINE), &[]).unwrap();
        assert!(files::read_text(&file).unwrap().contains("900.0"));
        assert!(folder.0.join("report").is_dir());
    }

    #[test]
    fn targets_are_judged_if_that_is_asked_for() {
        let folder = Folder::new("targets");
        let mut args = folder.args(Some("figures.json"), None);
        let dear = LINE.replace("900.0", "1000.1");
        let other = LINE.replace("ADD and DEL", "getppid");
        for line in [LINE, &dear, &other] {
            conclude(&args, &results(line), &[]).unwrap();
        }
        args.targets = true;
        conclude(&args, &results(LINE), &[]).unwrap();
        let error = |line: &str| conclude(&args, &results(line), &[]).unwrap_err();
        let found = error(&dear);
        assert!(
            found
                .to_string()
                .ends_with("not met: ADD and DEL of a watch"),
            "{found}"
        );
        assert!(matches!(found.downcast_ref(), Some(Fatal::Failed(_))));
        // They are written all the same.
        let written = files::read_text(&folder.0.join("figures.json")).unwrap();
        assert!(written.contains("1000.1"));
        assert!(error(&other).to_string().contains("none of the targets"));
    }

    #[test]
    fn times_are_asked_for_or_not() {
        assert!(kvm(Accel::Kvm));
        assert!(!kvm(Accel::Tcg));
    }

    #[test]
    fn compilers_come_from_the_configuration() {
        let config = "CONFIG_CC_VERSION_TEXT=\"clang version 22\"\nCONFIG_X=y\n\
                      CONFIG_RUSTC_VERSION_TEXT=\"rustc 1.96.0\"\n";
        assert_eq!(toolchain(config), "clang version 22; rustc 1.96.0");
        assert_eq!(toolchain(""), "");
    }

    #[test]
    fn the_command_can_be_typed_again() {
        let words = ["bench", "--report", "a b"].map(str::to_owned);
        assert_eq!(
            command_line(words.into_iter()),
            "cargo xtask bench --report 'a b'"
        );
    }
}
