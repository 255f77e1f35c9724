// SPDX-License-Identifier: GPL-2.0
//! What must be installed on the machine, by the names of Debian's packages.

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::lock::Lock;
use crate::progress::{output, read, run_logged, say, Step};
use crate::qemu;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};
use xshell::{cmd, Shell};

/// Elsewhere than on Debian: what tells that the equivalent of a package is there. Packages that
/// stand for a program of their own name are not listed.
const PROGRAMS: [(&str, &[&str]); 11] = [
    ("qemu-system-x86", &["qemu-system-x86_64"]),
    ("busybox-static", &["busybox"]),
    ("libelf-dev", &["/usr/include/libelf.h"]),
    ("libssl-dev", &["/usr/include/openssl/ssl.h"]),
    ("libc6-dev", &["/usr/include/stdio.h"]),
    ("xz-utils", &["xz"]),
    ("dwarves", &["pahole"]),
    ("kmod", &["depmod"]),
    ("rust-web-clippy", &["clippy-driver"]),
    ("rustfmt-web", &["rustfmt"]),
    ("binutils", &["ld"]),
];

/// What kbuild runs besides the compilers.
pub const KBUILD: [&str; 15] = [
    "make",
    "bc",
    "bison",
    "flex",
    "libelf-dev",
    "libssl-dev",
    "cpio",
    "zstd",
    "kmod",
    "dwarves",
    "gcc",
    "libc6-dev",
    "git",
    "xz-utils",
    "perl",
];

/// What 32-bit and x32 programs are built with. They are not worth another package: gcc-multilib
/// cannot be installed beside a cross compiler.
pub const MULTILIB: [&str; 3] = ["gcc-multilib", "libc6-dev-i386", "libc6-dev-x32"];

/// The compiler of C programs for the host; clang comes with the kernel's compilers.
pub const GCC: [&str; 2] = ["gcc", "libc6-dev"];

/// What booting a guest takes.
pub const BOOT: [&str; 2] = [qemu::PACKAGE, "busybox-static"];

/// What `lint` runs besides the compilers.
pub const LINT: [&str; 7] = [
    "git",
    "perl",
    "python3",
    "sparse",
    "mandoc",
    "rust-web-clippy",
    "rustfmt-web",
];

/// Clients of evhttpd, for `test`: they are what Debian ships, and so no part of the build. Each is
/// a program of the package's name.
pub const CLIENTS: [&str; 2] = ["curl", "wrk"];

/// What the kernel's own tests are built with, for `peers`.
pub const PEERS: [&str; 4] = ["gcc", "libc6-dev", "libcap-dev", "liburing-dev"];

const LISTS: &str = "/var/lib/apt/lists";
/// Lists of packages that are older than this are read again before they decide anything.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// What else building and booting a kernel takes on Debian.
const COMPILERS_AND_QEMU: [&str; 7] = [
    "rustc-web",
    "rust-web-src",
    "clang-22",
    "lld-22",
    "llvm-22",
    "libclang-22-dev",
    "qemu-system-x86",
];

/// Sees to it that the packages are installed.
pub fn ensure(ctx: &Ctx, wanted: &[&str]) -> anyhow::Result<()> {
    obtain(ctx, wanted, How::Missing)
}

/// As [`ensure`]; if one of them is missing, the others are brought to the same version.
pub fn ensure_matching(ctx: &Ctx, wanted: &[&str]) -> anyhow::Result<()> {
    obtain(ctx, wanted, How::All)
}

/// As [`ensure`], but fails if anything else would have to go for them.
pub fn ensure_beside(ctx: &Ctx, wanted: &[&str]) -> anyhow::Result<()> {
    obtain(ctx, wanted, How::Beside)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Those that are missing.
    Missing,
    /// All, if any is missing.
    All,
    /// Those that are missing, and without removing anything.
    Beside,
}

fn obtain(ctx: &Ctx, wanted: &[&str], how: How) -> anyhow::Result<()> {
    if !debian() {
        return ensure_programs(wanted);
    }
    if missing(wanted).is_empty() {
        return Ok(());
    }
    let _lock = Lock::take(ctx, "packages")?;
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    if !root() {
        return Err(Fatal::Setup(command_for(&missing)).into());
    }
    if missing.iter().any(|name| candidate(name).is_none()) {
        update(ctx)?;
    }
    if let Some(name) = missing.iter().find(|name| candidate(name).is_none()) {
        let text = format!("no package source of this machine has {name}: add one that does");
        return Err(Fatal::Setup(text).into());
    }
    let names = match how {
        How::All => wanted,
        _ => &missing,
    };
    if install(ctx, names, how).is_err() {
        // Most often the lists are old and name versions that are gone.
        update(ctx)?;
        install(ctx, names, how)?;
    }
    Ok(())
}

/// Reads the package lists again if they are old, one of these packages is not installed, and
/// this user may. Without a network the old lists have to do.
pub fn refresh(ctx: &Ctx, wanted: &[&str]) {
    if !debian() || !root() || missing(wanted).is_empty() {
        return;
    }
    let Ok(_lock) = Lock::take(ctx, "packages") else {
        return;
    };
    let changed = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|data| data.modified())
            .ok()
    };
    // The folder's own time is that of the last change of any list; ours is that of the last look.
    let times = [changed(Path::new(LISTS)), changed(&stamp(ctx))];
    if old(&times, SystemTime::now()) {
        if let Err(error) = update(ctx) {
            say(&format!(
                "xtask: going on with old package lists: {error:#}"
            ));
        }
    }
}

/// Whether the last of these times is long ago, or there is none.
fn old(times: &[Option<SystemTime>], now: SystemTime) -> bool {
    let last = times.iter().flatten().max();
    // A time to come says nothing either.
    last.and_then(|last| now.duration_since(*last).ok())
        .is_none_or(|age| age > OLD)
}

/// Its time is that of the last update of the lists.
fn stamp(ctx: &Ctx) -> std::path::PathBuf {
    ctx.cache.join("package-lists.stamp")
}

/// What to tell who may not install packages: one command for all that any command will ask for,
/// not only for what is missing at this step.
fn command_for(missing_now: &[&str]) -> String {
    let mut names = missing_now.to_vec();
    let all = all();
    let later = missing(&all)
        .into_iter()
        .filter(|name| !missing_now.contains(name) && candidate(name).is_some());
    names.extend(later);
    format!("packages are missing; as root: {}", install_command(&names))
}

/// All that any command asks for, each once.
fn all() -> Vec<&'static str> {
    let groups = [
        &KBUILD[..],
        &COMPILERS_AND_QEMU,
        &BOOT,
        &GCC,
        &MULTILIB,
        &CLIENTS,
        &LINT,
        &PEERS,
    ];
    let mut names: Vec<&str> = Vec::new();
    for name in groups.concat() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What installs these packages.
pub fn install_command(names: &[&str]) -> String {
    format!(
        "apt-get install --no-install-recommends {}",
        names.join(" ")
    )
}

/// Which of these packages are not there; elsewhere than on Debian, which of the programs and files
/// that they stand for.
pub fn absent<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    match debian() {
        true => missing(wanted),
        false => absent_programs(wanted),
    }
}

/// Whether a package that is not there could be installed.
pub fn known(name: &str) -> bool {
    candidate(name).is_some()
}

/// Whether the package is installed or can be.
pub fn available(ctx: &Ctx, name: &str) -> anyhow::Result<bool> {
    if !debian() {
        return Ok(false);
    }
    if missing(&[name]).is_empty() || candidate(name).is_some() {
        return Ok(true);
    }
    if root() {
        let _lock = Lock::take(ctx, "packages")?;
        update(ctx)?;
    }
    Ok(candidate(name).is_some())
}

/// Whether this machine has Debian's package manager.
pub fn debian() -> bool {
    files::program("dpkg-query").is_some() && files::program("apt-get").is_some()
}

pub fn root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn ensure_programs(wanted: &[&str]) -> anyhow::Result<()> {
    let missing = absent_programs(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "not found on this machine, install what has them: {}",
        missing.join(" ")
    );
    Err(Fatal::Setup(text).into())
}

fn absent_programs<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    wanted
        .iter()
        .flat_map(|name| stands_for(name))
        .filter(|what| match what.starts_with('/') {
            true => !std::path::Path::new(what).exists(),
            false => files::program(what).is_none(),
        })
        .collect()
}

fn stands_for(package: &str) -> Vec<&str> {
    match PROGRAMS.iter().find(|(name, _)| *name == package) {
        Some((_, programs)) => programs.to_vec(),
        None => vec![package],
    }
}

fn missing<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${binary:Package}\n"])
        .args(wanted)
        .output();
    // It fails when one of them is unknown, and still tells about the others.
    let known = query.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let installed = installed(&known.unwrap_or_default());
    wanted
        .iter()
        .copied()
        .filter(|name| !installed.iter().any(|have| have == name))
        .collect()
}

/// The installed packages in dpkg-query's answer, without the architecture.
fn installed(answer: &str) -> Vec<String> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .collect()
}

/// The version that would be installed. Asking leaves nothing behind: otherwise apt-cache would
/// write down what it has read.
fn candidate(name: &str) -> Option<String> {
    let shell = Shell::new().ok()?;
    let nowhere = [
        "-o",
        "Dir::Cache::pkgcache=",
        "-o",
        "Dir::Cache::srcpkgcache=",
    ];
    let ask = cmd!(shell, "apt-cache {nowhere...} policy {name}");
    let policy = read(ask.env("LC_ALL", "C")).ok()?;
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

fn apt_get() -> Command {
    let mut cmd = Command::new("apt-get");
    cmd.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=600"]);
    cmd.env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C");
    cmd
}

fn update(ctx: &Ctx) -> anyhow::Result<()> {
    let mut step = Step::start("reading the package lists");
    let mut cmd = apt_get();
    cmd.arg("update");
    run_logged(cmd, &ctx.log("apt-update"), &mut step)?;
    files::write(&stamp(ctx), b"")?;
    step.done("");
    Ok(())
}

fn install(ctx: &Ctx, names: &[&str], how: How) -> anyhow::Result<()> {
    let mut step = Step::start(format!("installing {}", names.join(" ")));
    let mut cmd = apt_get();
    cmd.args(["install", "--no-install-recommends"]);
    if how == How::Beside {
        cmd.arg("--no-remove");
    }
    cmd.args(names);
    run_logged(cmd, &ctx.log("apt-install"), &mut step)?;
    step.done("");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_fully_installed_counts() {
        let answer =
            "installed make\nnot-installed bc\ninstalled libelf-dev:amd64\nconfig-files x\n";
        assert_eq!(installed(answer), ["make", "libelf-dev"]);
    }

    #[test]
    fn one_command_is_for_all_commands() {
        let all = all();
        for name in [&LINT[..], &PEERS, &CLIENTS, &BOOT].concat() {
            let times = all.iter().filter(|have| **have == name).count();
            assert_eq!(times, 1, "{name}");
        }
    }

    #[test]
    fn lists_are_old_after_a_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |hours: u64| Some(now - Duration::from_secs(hours * 3600));
        assert!(!old(&[ago(23), ago(100)], now));
        assert!(!old(&[ago(100), ago(0)], now));
        assert!(old(&[ago(25), None], now));
        assert!(old(&[None, None], now));
        assert!(old(&[Some(now + Duration::from_secs(60))], now));
    }

    #[test]
    fn a_package_stands_for_its_programs() {
        assert_eq!(stands_for("dwarves"), ["pahole"]);
        assert_eq!(stands_for("make"), ["make"]);
    }
}
