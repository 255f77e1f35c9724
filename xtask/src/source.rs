// SPDX-License-Identifier: GPL-2.0
//! The kernel source as it is released: fetched from Debian's package, or taken from what lies in
//! the cache folder.

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::lock::Lock;
use crate::packages;
use crate::progress::{output, read, run_logged, Step};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use xshell::{cmd, Shell};

/// The series is made for 7.3; its stable versions come from this suite.
const SERIES: Line = Line { major: 7, minor: 3 };
const SUITE: &str = "trixie-backports";

/// A release with all of its stable versions: 7.3, 7.3.1, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    major: u32,
    minor: u32,
}

impl Line {
    /// What `7.3` stands for; nothing if it is not two numbers.
    pub fn parse(text: &str) -> Option<Line> {
        let (major, minor) = text.split_once('.')?;
        Some(Line {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }

    /// Debian's package of its source.
    fn package(self) -> String {
        format!("linux-source-{self}")
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub stable: u32,
}

impl Version {
    fn line(self) -> Line {
        Line {
            major: self.major,
            minor: self.minor,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.stable > 0 {
            write!(f, ".{}", self.stable)?;
        }
        Ok(())
    }
}

/// An unpacked kernel that nobody changes.
pub struct Pristine {
    pub dir: PathBuf,
    pub version: Version,
}

/// The newest 7.3 in the cache; fetched if there is none.
pub fn pristine(ctx: &Ctx) -> anyhow::Result<Pristine> {
    of_line(ctx, SERIES)
}

/// The newest version of a release in the cache; fetched if there is none.
pub fn of_line(ctx: &Ctx, line: Line) -> anyhow::Result<Pristine> {
    let lock = Lock::take(ctx, "kernel source")?;
    match there_of(ctx, line)? {
        Some((version, dir)) if dir.is_dir() => Ok(Pristine { dir, version }),
        Some((_, archive)) => unpack(ctx, &archive, &lock),
        None => unpack(ctx, &download(ctx, line, &lock)?, &lock),
    }
}

/// What [`pristine`] would take, if it is there.
pub fn there(ctx: &Ctx) -> anyhow::Result<Option<(Version, PathBuf)>> {
    there_of(ctx, SERIES)
}

/// The newest version of a release in the cache, unpacked if it is not older than what is to be
/// unpacked.
fn there_of(ctx: &Ctx, line: Line) -> anyhow::Result<Option<(Version, PathBuf)>> {
    let (unpacked, archive) = (newest(unpacked(ctx, line)?), newest(archives(ctx, line)?));
    Ok(match (unpacked, archive) {
        (Some(unpacked), Some(archive)) if unpacked.0 < archive.0 => Some(archive),
        (unpacked, archive) => unpacked.or(archive),
    })
}

/// What else than fetching it there is.
pub fn ways_out(ctx: &Ctx) -> String {
    ways_out_of(ctx, SERIES)
}

fn ways_out_of(ctx: &Ctx, line: Line) -> String {
    let tree = match line == SERIES {
        true => "give --kernel DIR",
        false => "give a tree instead of a version",
    };
    format!(
        "{tree}, or put linux-{line}*.tar.xz or {}*.deb into {}",
        line.package(),
        ctx.cache.display()
    )
}

/// The version of a kernel tree; an error in one line if it is not one, or an older one.
pub fn check_tree(dir: &Path) -> anyhow::Result<Version> {
    let version = version_of(dir)?;
    if version.line() < SERIES {
        let text = format!(
            "{}: this is Linux {version}, the series needs {SERIES}",
            dir.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    Ok(version)
}

/// The version of any kernel tree; an error in one line if it is not one.
pub fn version_of(dir: &Path) -> anyhow::Result<Version> {
    let not = || Fatal::Setup(format!("{}: not a kernel source tree", dir.display()));
    let makefile = std::fs::read_to_string(dir.join("Makefile")).map_err(|_| not())?;
    let version = version_in_makefile(&makefile).ok_or_else(not)?;
    if !dir.join("Kbuild").is_file() {
        return Err(not().into());
    }
    Ok(version)
}

fn version_in_makefile(makefile: &str) -> Option<Version> {
    let number = |name: &str| {
        let line = makefile
            .lines()
            .find(|line| line.split('=').next().map(str::trim) == Some(name))?;
        line.split('=').nth(1)?.trim().parse().ok()
    };
    let (major, minor, stable) = (
        number("VERSION")?,
        number("PATCHLEVEL")?,
        number("SUBLEVEL")?,
    );
    Some(Version {
        major,
        minor,
        stable,
    })
}

fn newest(found: Vec<(Version, PathBuf)>) -> Option<(Version, PathBuf)> {
    found.into_iter().max()
}

fn sources(ctx: &Ctx) -> PathBuf {
    ctx.cache.join("src")
}

fn unpacked(ctx: &Ctx, line: Line) -> anyhow::Result<Vec<(Version, PathBuf)>> {
    let dirs = files::entries(&sources(ctx))?
        .into_iter()
        .filter(|path| path.is_dir());
    Ok(dirs
        .filter(|path| !name_of(path).starts_with('.'))
        .filter_map(|path| Some((version_of(&path).ok()?, path)))
        .filter(|(version, _)| version.line() == line)
        .collect())
}

/// What was downloaded, or put there by hand: linux-source-7.3*.deb, linux-7.3*.tar.*
fn archives(ctx: &Ctx, line: Line) -> anyhow::Result<Vec<(Version, PathBuf)>> {
    let mut found = Vec::new();
    for folder in [ctx.cache.clone(), sources(ctx)] {
        let files = files::entries(&folder)?
            .into_iter()
            .filter(|path| path.is_file());
        let named = files.filter_map(|path| Some((version_in_name(&name_of(&path))?, path)));
        found.extend(named.filter(|(version, _)| version.line() == line));
    }
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The version that an archive's name promises, if it is one of a kernel.
fn version_in_name(name: &str) -> Option<Version> {
    let version = if let Some(rest) = name.strip_prefix("linux-source-") {
        let rest = rest.strip_suffix(".deb")?;
        // linux-source-7.3_7.3.4-1_all, or renamed by hand to something shorter.
        rest.split_once('_').map_or(rest, |(_, version)| version)
    } else {
        let rest = name.strip_prefix("linux-")?;
        rest.split_once(".tar").map(|(version, _)| version)?
    };
    let digits = version
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .next()?;
    let mut numbers = digits.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let stable = numbers.next().and_then(Result::ok).unwrap_or(0);
    Some(Version {
        major,
        minor,
        stable,
    })
}

/// Unpacks a tarball, or the tarball inside a Debian package, to where its own version belongs.
fn unpack(ctx: &Ctx, archive: &Path, lock: &Lock) -> anyhow::Result<Pristine> {
    packages::ensure(ctx, &["xz-utils"])?;
    let step = Step::start(format!("unpacking {}", name_of(archive)));
    let staging = files::staging(&sources(ctx).join("kernel"))?;
    files::make_dir(&staging)?;
    let shell = Shell::new()?;
    let damaged = || format!("{} is damaged: remove it", archive.display());
    let from_package = archive
        .extension()
        .is_some_and(|extension| extension == "deb");
    let tarball = if from_package {
        let package = staging.join("package");
        lock.output(&mut cmd!(shell, "dpkg-deb -x {archive} {package}").into())
            .with_context(damaged)?;
        let folder = package.join("usr/src");
        let inside = files::entries(&folder)?.into_iter();
        inside
            .filter(|path| path.is_file())
            .find(|path| {
                name_of(path).starts_with("linux-source") && name_of(path).contains(".tar")
            })
            .with_context(|| format!("{} has no kernel source in it", archive.display()))?
    } else {
        archive.to_path_buf()
    };
    let tree = staging.join("tree");
    files::make_dir(&tree)?;
    let tar = cmd!(shell, "tar --strip-components=1 -xf {tarball} -C {tree}");
    lock.output(&mut tar.into()).with_context(damaged)?;
    let version = version_of(&tree)
        .with_context(|| format!("{} is not what its name says: remove it", archive.display()))?;
    let dir = sources(ctx).join(format!("linux-{version}"));
    files::remove(&dir)?;
    files::place(&tree, &dir)?;
    files::remove(&staging)?;
    step.done(format!("Linux {version}"));
    Ok(Pristine { dir, version })
}

/// Downloads Debian's package of the source into the cache folder, reading the archive through an
/// apt state in the cache, so that the machine's own is neither needed to list the suite nor
/// changed.
fn download(ctx: &Ctx, line: Line, lock: &Lock) -> anyhow::Result<PathBuf> {
    let package = line.package();
    let ways_out = ways_out_of(ctx, line);
    if !packages::debian() {
        let text = format!("cannot fetch the kernel source without Debian's apt: {ways_out}");
        return Err(Fatal::Setup(text).into());
    }
    let apt = Apt::new(&ctx.cache.join("apt"))?;
    let mut step = Step::start(format!("reading the list of {SUITE}"));
    apt.write_sources()?;
    let mut cmd = apt.command("apt-get");
    // By itself it takes a list that it could not fetch for a mere warning.
    cmd.args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
    cmd.stdin(lock.stdin()?);
    run_logged(cmd, &ctx.log("source-update"), &mut step).with_context(|| ways_out.clone())?;
    let known = apt.names("linux-source-")?;
    if !known.contains(&package) {
        let known = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        let text = format!("{SUITE} has no {package} (it has {known}): {ways_out}");
        return Err(Fatal::Setup(text).into());
    }
    step.done("");

    let mut step = Step::start(format!("downloading {package}"));
    let folder = sources(ctx).join(".tmp-download");
    files::make_dir(&folder)?;
    let mut cmd = apt.command("apt-get");
    cmd.args(["-q", "download", &package]).current_dir(&folder);
    cmd.stdin(lock.stdin()?);
    run_logged(cmd, &ctx.log("source-download"), &mut step).with_context(|| ways_out.clone())?;
    let mut found = files::entries(&folder)?.into_iter();
    let archive = found
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let place = sources(ctx).join(name_of(&archive));
    files::place(&archive, &place)?;
    files::remove(&folder)?;
    step.done(name_of(&place));
    Ok(place)
}

/// An apt state of one's own.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(dir: &Path) -> anyhow::Result<Apt> {
        for folder in ["lists/partial", "archives/partial"] {
            files::make_dir(&dir.join(folder))?;
        }
        files::write(&dir.join("status"), b"")?;
        Ok(Apt {
            dir: dir.to_path_buf(),
        })
    }

    /// Lists the suite at the mirror that the machine itself uses.
    fn write_sources(&self) -> anyhow::Result<()> {
        const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let format = "$(LABEL) $(REPO_URI)";
        let shell = Shell::new()?;
        let targets = read(cmd!(shell, "apt-get indextargets --format {format}"))
            .context("asking apt for this machine's mirror")?;
        let mirror = mirror(&targets).ok_or_else(|| {
            Fatal::Setup("this machine lists no Debian mirror: add one to apt's sources".into())
        })?;
        let line = format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n");
        files::write(&self.dir.join("sources.list"), line.as_bytes())
    }

    fn command(&self, program: &str) -> Command {
        let dir = self.dir.display();
        let mut cmd = Command::new(program);
        for option in [
            format!("Dir::State={dir}"),
            format!("Dir::State::Lists={dir}/lists"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}"),
            format!("Dir::Etc::SourceList={dir}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
        ] {
            cmd.arg("-o").arg(option);
        }
        if packages::root() {
            // Otherwise it downloads as a user of its own, who may not write into the cache.
            cmd.args(["-o", "APT::Sandbox::User=root"]);
        }
        cmd.env("LC_ALL", "C");
        cmd
    }

    fn names(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }
}

/// The main archive among the `label uri` lines of apt's index targets.
fn mirror(targets: &str) -> Option<&str> {
    let pairs = || {
        targets
            .lines()
            .filter_map(|line| line.trim().rsplit_once(' '))
    };
    let labelled = pairs().find(|(label, _)| matches!(*label, "Debian" | "Debian Backports"));
    let other = || pairs().find(|(_, uri)| !uri.contains("security"));
    labelled.or_else(other).map(|(_, uri)| uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32, stable: u32) -> Version {
        Version {
            major,
            minor,
            stable,
        }
    }

    #[test]
    fn a_makefile_tells_its_version() {
        let makefile = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n";
        assert_eq!(version_in_makefile(makefile), Some(version(7, 3, 4)));
        assert_eq!(version_in_makefile("all:\n\tcc x.c\n"), None);
    }

    #[test]
    fn archives_are_known_by_name() {
        let v = version_in_name;
        assert_eq!(
            v("linux-source-7.3_7.3.4-1~bpo13+1_all.deb"),
            Some(version(7, 3, 4))
        );
        assert_eq!(v("linux-source-7.3.deb"), Some(version(7, 3, 0)));
        assert_eq!(v("linux-7.3.11.tar.xz"), Some(version(7, 3, 11)));
        assert_eq!(v("linux-7.3.tar.gz"), Some(version(7, 3, 0)));
        assert_eq!(v("linux-7.30.tar.xz"), Some(version(7, 30, 0)));
        assert_eq!(v("linux-7.2.9.tar.xz"), Some(version(7, 2, 9)));
        assert_eq!(v("notes.txt"), None);
    }

    #[test]
    fn a_line_is_two_numbers() {
        assert_eq!(Line::parse("7.3"), Some(SERIES));
        assert_eq!(
            Line::parse("7.2").map(Line::package).as_deref(),
            Some("linux-source-7.2")
        );
        for other in ["7", "7.3.4", "../linux", "v7.3", ""] {
            assert_eq!(Line::parse(other), None, "{other}");
        }
        assert_ne!(version(7, 30, 0).line(), SERIES);
    }

    #[test]
    fn the_newest_is_taken() {
        let found = vec![
            (version(7, 3, 4), "a".into()),
            (version(7, 3, 11), "b".into()),
        ];
        assert_eq!(newest(found), Some((version(7, 3, 11), "b".into())));
    }

    #[test]
    fn the_security_archive_is_not_the_mirror() {
        let targets = "Debian-Security http://m/debian-security/\nDebian http://m/debian/\n";
        assert_eq!(mirror(targets), Some("http://m/debian/"));
        assert_eq!(
            mirror("Debian Backports http://m/debian/\n"),
            Some("http://m/debian/")
        );
        assert_eq!(mirror(""), None);
    }

    #[test]
    fn versions_print_as_linux_does() {
        assert_eq!(version(7, 3, 0).to_string(), "7.3");
        assert_eq!(version(7, 3, 4).to_string(), "7.3.4");
    }
}
