// SPDX-License-Identifier: GPL-2.0
//! The patched kernel of a profile: configured, built, reused while its inputs are unchanged.

use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::files;
use crate::hash::Hash;
use crate::kconfig;
use crate::lock::Lock;
use crate::progress::{run_logged, say, Step};
use crate::series;
use crate::source::{self, Version};
use crate::toolchain::{self, Toolchain};
use crate::tree::{self, Tree};
use anyhow::Context;
use std::path::PathBuf;
use std::process::Command;

/// Makes a build come out the same at every place and time.
const REPRODUCIBLE: [&str; 5] = [
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_USER=evpoll",
    "KBUILD_BUILD_HOST=evpoll",
    "KBUILD_BUILD_VERSION=1",
    "LOCALVERSION=",
];
/// KCSAN for the Rust code, which 7.3 does not have of its own: what `-fsanitize=thread` and the
/// parameters of scripts/Makefile.kcsan are for C. As extra passes, since the target that the
/// kernel describes to rustc permits no `-Zsanitizer=thread`.
const KCSAN_FOR_RUST: &str = "KRUSTFLAGS=-Cpasses=forceattrs -Cpasses=tsan-module -Cpasses=tsan \
     -Cllvm-args=-force-attribute=sanitize_thread -Cllvm-args=-tsan-distinguish-volatile=1 \
     -Cllvm-args=-tsan-compound-read-before-write=1";

/// For coverage: our code as it was written. Optimised, two lines of three have no code of their
/// own, and a condition may have no branch.
const AS_WRITTEN: &str = "RUSTFLAGS_evpoll_main.o=-Copt-level=0";

/// What the tools of a build may see of the environment.
const ENVIRONMENT: [&str; 6] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "USER",
];

pub struct Kernel {
    /// The bootable bzImage.
    pub image: PathBuf,
    pub config: PathBuf,
    /// Its functions by address: `System.map`.
    pub symbols: PathBuf,
    /// As `uname -r` prints it.
    pub release: String,
}

/// Which kernel of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// With the series, or from the source as it is released.
    pub series: bool,
    /// How its configuration differs from the profile's.
    pub other: Option<Other>,
}

/// A configuration that differs from the profile's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// With what more of the kernel's own tests take.
    Wide,
    /// It does not patch its own code, so that old emulators can run its processors in parallel.
    Parallel,
}

impl Other {
    /// As the names of folders spell it.
    fn name(self) -> &'static str {
        match self {
            Other::Wide => "wide",
            Other::Parallel => "parallel",
        }
    }

    /// Its configuration fragment: `qemu/NAME.config`.
    fn fragment(self) -> &'static str {
        match self {
            Other::Wide => "peers",
            Other::Parallel => "parallel",
        }
    }
}

impl Variant {
    /// What is tested and measured.
    pub const STANDARD: Variant = Variant {
        series: true,
        other: None,
    };
    /// What it is compared with.
    pub const UNPATCHED: Variant = Variant {
        series: false,
        other: None,
    };
    /// For several processors at the same time where there is no KVM.
    pub const PARALLEL: Variant = Variant {
        series: true,
        other: Some(Other::Parallel),
    };
    /// For more of the kernel's own tests, and what they are compared with.
    pub const WIDE: Variant = Variant {
        series: true,
        other: Some(Other::Wide),
    };
    pub const UNPATCHED_WIDE: Variant = Variant {
        series: false,
        other: Some(Other::Wide),
    };

    /// What its folders are called, before the profile's name.
    fn prefix(self) -> String {
        let plain = if self.series { "" } else { "plain-" };
        let other = self.other.map(|other| format!("{}-", other.name()));
        plain.to_owned() + &other.unwrap_or_default()
    }

    /// What its kernel of a profile is called.
    pub fn name(self, profile: Profile) -> String {
        format!("{}{}", self.prefix(), profile.name())
    }
}

/// How a kernel in the cache stands to what it would be built from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    NotBuilt,
    UpToDate,
    /// Its inputs have changed, or its compilers.
    Changed,
    /// It is there, but not from what.
    Unknown,
}

/// How the kernel of this profile and variant stands, from the fetched source. Nothing is changed.
pub fn standing(
    ctx: &Ctx,
    profile: Profile,
    variant: Variant,
    tools: Option<&Toolchain>,
) -> anyhow::Result<Standing> {
    let objdir = folder(ctx, &variant.name(profile));
    if !objdir.join(STAMP).is_file() || !objdir.join(IMAGE).is_file() {
        return Ok(Standing::NotBuilt);
    }
    let (Some(tools), Some((version, _))) = (tools, source::there(ctx)?) else {
        return Ok(Standing::Unknown);
    };
    let now = made_of(ctx, profile, variant, tools, version)?;
    Ok(match files::read(&objdir.join(MADE_OF))? {
        Some(then) if then == now.as_bytes() => Standing::UpToDate,
        Some(_) => Standing::Changed,
        None => Standing::Unknown,
    })
}

/// Hash of the files that a kernel is made from, as they lie in the checkout. Where it is the same,
/// so is what comes of them; what a kernel is rebuilt by is [`Build::id`], which takes a tree.
fn made_of(
    ctx: &Ctx,
    profile: Profile,
    variant: Variant,
    tools: &Toolchain,
    version: Version,
) -> anyhow::Result<String> {
    let recipe = Recipe::of_variant(profile, variant, variant.series);
    let mut hash = Hash::new();
    hash.add(version.to_string())
        .add(&tools.id)
        .add(format!("{REPRODUCIBLE:?} {:?}", recipe.variables));
    for name in &recipe.fragments {
        let path = ctx.root.join(format!("qemu/{name}.config"));
        hash.add(files::read_text(&path)?);
    }
    if !variant.series {
        return Ok(hash.hex());
    }
    let patches = series::patches(&ctx.root)?;
    let mutation = ctx.mutation.iter();
    for path in patches.iter().map(|patch| &patch.path).chain(mutation) {
        let text = files::read_text(path)?;
        // Not what its message says.
        let at = text.find("\ndiff --git ").unwrap_or(0);
        hash.add(&text[at..]);
    }
    for file in series::rust_sources(&ctx.root)? {
        let content = files::read(&series::rust_folder(&ctx.root).join(&file))?;
        hash.add(file.as_os_str().as_encoded_bytes())
            .add(content.unwrap_or_default());
    }
    Ok(hash.hex())
}

/// Where the object folder of this name is.
fn folder(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.cache.join("build").join(name)
}

/// In the object folder: what is there once a kernel is built, the hash of its inputs, and that of
/// the files that they come from.
const IMAGE: &str = "arch/x86/boot/bzImage";
const STAMP: &str = "evpoll.stamp";
const MADE_OF: &str = "evpoll.made-of";

impl Recipe {
    fn of_variant(profile: Profile, variant: Variant, has_evpoll: bool) -> Recipe {
        let mut fragments = vec!["common", profile.name()];
        if has_evpoll {
            fragments.push("evpoll");
        }
        fragments.extend(variant.other.map(Other::fragment));
        let variables: &[&str] = match profile {
            Profile::Race => &[KCSAN_FOR_RUST],
            Profile::Coverage => &[AS_WRITTEN],
            Profile::Release | Profile::Debug => &[],
        };
        Recipe {
            title: variant.name(profile),
            fragments: fragments.into_iter().map(str::to_owned).collect(),
            settings: None,
            variables: variables.iter().map(|&text| text.to_owned()).collect(),
        }
    }
}

pub fn build(ctx: &Ctx) -> anyhow::Result<Kernel> {
    build_variant(ctx, Variant::STANDARD)
}

/// As [`build`]; each variant has an object folder of its own.
pub fn build_variant(ctx: &Ctx, variant: Variant) -> anyhow::Result<Kernel> {
    let build = Build::prepare_variant(ctx, variant)?;
    build.kernel()
}

/// What a kernel is configured and built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What messages call it.
    pub title: String,
    /// Configuration fragments in the order in which they are merged: `qemu/NAME.config`.
    pub fragments: Vec<String>,
    /// More configuration, by the name that messages call it.
    pub settings: Option<(String, String)>,
    /// Variables of make.
    pub variables: Vec<String>,
}

/// Everything that a build needs, ready, and the lock that keeps it so.
pub struct Build<'a> {
    ctx: &'a Ctx,
    pub tools: Toolchain,
    pub tree: Tree,
    pub objdir: PathBuf,
    name: String,
    recipe: Recipe,
    /// Where that is what it is for.
    variant: Option<Variant>,
    lock: Lock,
}

impl Build<'_> {
    /// To build the kernel of the profile.
    pub fn prepare(ctx: &Ctx) -> anyhow::Result<Build<'_>> {
        Build::prepare_variant(ctx, Variant::STANDARD)
    }

    /// To build something else of the tree, as the profile configures it.
    pub fn prepare_named<'a>(ctx: &'a Ctx, name: &str) -> anyhow::Result<Build<'a>> {
        Build::make_ready(ctx, name, Variant::STANDARD)
    }

    /// To build a variant of the profile's kernel.
    pub fn prepare_variant(ctx: &Ctx, variant: Variant) -> anyhow::Result<Build<'_>> {
        Build::make_ready(ctx, &variant.name(ctx.profile), variant)
    }

    fn make_ready<'a>(ctx: &'a Ctx, name: &str, variant: Variant) -> anyhow::Result<Build<'a>> {
        let tools = toolchain::ensure(ctx)?;
        let lock = Lock::take(ctx, "kernel build")?;
        let tree = match variant.series {
            true => tree::ensure(ctx, &lock)?,
            false => tree::plain(ctx)?,
        };
        let name = match &ctx.kernel {
            Some(own) => format!("{name}-{}", tree::path_hash(own)),
            None => name.to_owned(),
        };
        let recipe = Recipe::of_variant(ctx.profile, variant, tree::has_evpoll(&tree.dir));
        let objdir = folder(ctx, &name);
        let build = Build::of_recipe(ctx, tools, tree, (objdir, name), recipe, lock)?;
        Ok(Build {
            variant: Some(variant),
            ..build
        })
    }

    /// To build a tree that the caller has made, and keeps as it is with the lock. `place` is where
    /// objects go, and what the logs are called.
    pub fn of_recipe<'a>(
        ctx: &'a Ctx,
        tools: Toolchain,
        tree: Tree,
        (objdir, name): (PathBuf, String),
        recipe: Recipe,
        lock: Lock,
    ) -> anyhow::Result<Build<'a>> {
        files::make_dir(&objdir)?;
        Ok(Build {
            ctx,
            tools,
            tree,
            objdir,
            name,
            recipe,
            variant: None,
            lock,
        })
    }

    /// Builds the kernel, unless it is there.
    pub fn kernel(&self) -> anyhow::Result<Kernel> {
        let fragments = self.fragments()?;
        let wanted = self.id(&fragments);
        let stamp = self.objdir.join(STAMP);
        let title = format!("building the {} kernel", self.recipe.title);
        if let Some(wanted) = &wanted {
            let built = files::read(&stamp)?.is_some_and(|have| have == wanted.as_bytes());
            if built && self.image().is_file() && self.vmlinux().is_file() {
                say(&format!("xtask: {title}: reused, its inputs are unchanged"));
                self.note_made_of()?;
                return self.result();
            }
        }
        files::remove(&stamp)?;
        self.configure()?;
        let mut step = Step::start(title);
        let mut cmd = self.make();
        cmd.args(["bzImage", "vmlinux"]);
        run_logged(cmd, &self.log("build"), &mut step).context("building the kernel")?;
        let size = std::fs::metadata(self.image())?.len();
        step.done(format!("{:.1} MB", size as f64 / 1e6));
        if let Some(wanted) = wanted {
            files::write(&stamp, wanted.as_bytes())?;
        }
        self.note_made_of()?;
        self.result()
    }

    /// For [`standing`].
    fn note_made_of(&self) -> anyhow::Result<()> {
        let note = self.objdir.join(MADE_OF);
        let (Some(variant), Some(_)) = (self.variant, &self.tree.inputs) else {
            return files::remove(&note);
        };
        let (profile, version) = (self.ctx.profile, self.tree.version);
        let now = made_of(self.ctx, profile, variant, &self.tools, version)?;
        match files::read(&note)?.is_some_and(|then| then == now.as_bytes()) {
            true => Ok(()),
            false => files::write(&note, now.as_bytes()),
        }
    }

    /// A make of this tree into this object folder.
    pub fn make(&self) -> Command {
        let mut cmd = Command::new("make");
        cmd.arg("-C")
            .arg(&self.tree.dir)
            .arg("--no-print-directory");
        cmd.arg(format!("O={}", self.objdir.display()))
            .arg(format!("-j{}", self.ctx.jobs));
        cmd.args(
            self.tools
                .make_vars
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        cmd.args(REPRODUCIBLE);
        cmd.args(&self.recipe.variables);
        self.surroundings(&mut cmd);
        cmd
    }

    /// Only what a build may see, and the lock for as long as it runs.
    fn surroundings(&self, cmd: &mut Command) {
        cmd.env_clear().env("LC_ALL", "C");
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                cmd.env(name, value);
            }
        }
        if let Ok(stdin) = self.lock.stdin() {
            cmd.stdin(stdin);
        }
    }

    /// Where the log of a step goes.
    pub fn log(&self, step: &str) -> PathBuf {
        self.ctx.log(&format!("kernel-{}-{step}", self.name))
    }

    /// The configuration fragments, by name and content, in the order in which they are merged.
    fn fragments(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut fragments = Vec::new();
        for name in &self.recipe.fragments {
            let name = format!("qemu/{name}.config");
            let text = files::read_text(&self.ctx.root.join(&name))?;
            fragments.push((name, text));
        }
        fragments.extend(self.recipe.settings.clone());
        Ok(fragments)
    }

    /// The fragments as files.
    fn fragment_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let names = self.recipe.fragments.iter();
        let mut paths: Vec<PathBuf> = names
            .map(|name| self.ctx.root.join(format!("qemu/{name}.config")))
            .collect();
        if let Some((_, text)) = &self.recipe.settings {
            let path = self.objdir.join("evpoll.settings");
            files::write(&path, text.as_bytes())?;
            paths.push(path);
        }
        Ok(paths)
    }

    /// The hash of all inputs, if they are known.
    fn id(&self, fragments: &[(String, String)]) -> Option<String> {
        let mut hash = Hash::new();
        hash.add(self.tree.version.to_string())
            .add(&self.tree.inputs.as_ref()?.all)
            .add(&self.tools.id)
            .add(format!("{REPRODUCIBLE:?}"));
        for variable in &self.recipe.variables {
            hash.add(variable);
        }
        for (_, text) in fragments {
            hash.add(text);
        }
        Some(hash.hex())
    }

    /// Configures the object folder, unless it is so already.
    pub fn configure(&self) -> anyhow::Result<()> {
        let fragments = self.fragments()?;
        let stamp = self.objdir.join("evpoll.config-stamp");
        let config = self.objdir.join(".config");
        let mut wanted = Hash::new();
        wanted
            .add(&self.tools.id)
            .add(self.tree.version.to_string());
        for (name, text) in &fragments {
            wanted.add(name).add(text);
        }
        for variable in &self.recipe.variables {
            wanted.add(variable);
        }
        if let Some(inputs) = &self.tree.inputs {
            wanted.add(&inputs.kconfig);
        }
        let wanted = wanted.hex();
        let done = files::read(&stamp)?.is_some_and(|have| have == wanted.as_bytes());
        if done && config.is_file() && self.tree.inputs.is_some() {
            return Ok(());
        }
        let mut step = Step::start("configuring the kernel");
        files::remove(&stamp)?;
        let mut cmd = self.make();
        cmd.arg("tinyconfig");
        run_logged(cmd, &self.log("tinyconfig"), &mut step).context("make tinyconfig")?;
        let mut cmd = Command::new(self.tree.dir.join("scripts/kconfig/merge_config.sh"));
        cmd.args(["-m", "-O"]).arg(&self.objdir).arg(&config);
        cmd.args(self.fragment_files()?);
        cmd.current_dir(&self.objdir);
        self.surroundings(&mut cmd);
        run_logged(cmd, &self.log("merge"), &mut step).context("merging the fragments")?;
        let mut cmd = self.make();
        cmd.arg("olddefconfig");
        run_logged(cmd, &self.log("config"), &mut step).context("make olddefconfig")?;
        check_config(&fragments, &files::read_text(&config)?)?;
        files::write(&stamp, wanted.as_bytes())?;
        step.done("");
        Ok(())
    }

    fn image(&self) -> PathBuf {
        self.objdir.join(IMAGE)
    }

    fn vmlinux(&self) -> PathBuf {
        self.objdir.join("vmlinux")
    }

    fn result(&self) -> anyhow::Result<Kernel> {
        let release = files::read_text(&self.objdir.join("include/config/kernel.release"))?;
        Ok(Kernel {
            image: self.image(),
            config: self.objdir.join(".config"),
            symbols: self.objdir.join("System.map"),
            release: release.trim().to_owned(),
        })
    }
}

/// An error that names every line of the fragments that is not in effect.
fn check_config(fragments: &[(String, String)], config: &str) -> anyhow::Result<()> {
    let missed = kconfig::unfulfilled(&kconfig::wishes(fragments), config);
    if missed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missed
        .iter()
        .map(|(wish, is)| format!("{}: {}={} (it is {is})", wish.from, wish.symbol, wish.value))
        .collect();
    let text = format!(
        "lines of the configuration do not take effect, a dependency is missing: {}",
        lines.join(", ")
    );
    Err(Fatal::Setup(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_has_a_folder_of_its_own() {
        let mut names = Vec::new();
        for series in [true, false] {
            for other in [None, Some(Other::Wide), Some(Other::Parallel)] {
                names.push(Variant { series, other }.prefix());
            }
        }
        assert_eq!(
            names,
            [
                "",
                "wide-",
                "parallel-",
                "plain-",
                "plain-wide-",
                "plain-parallel-"
            ]
        );
    }
}
