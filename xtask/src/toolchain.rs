// SPDX-License-Identifier: GPL-2.0
//! The compilers of the kernel: a rustc that has its library's source, the clang and LLVM of the
//! same version (so that C helpers can be inlined into Rust), bindgen, and what kbuild runs.

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::hash::Hash;
use crate::lock::Lock;
use crate::packages;
use crate::progress::{output, run_logged, Step};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINDGEN: &str = "0.72.1";
/// GNU's.
const OBJCOPY: &str = "objcopy";
const OBJCOPY_PACKAGE: &str = "binutils";
/// The oldest rustc that Linux 7.3 takes.
const OLDEST_RUSTC: (u32, u32) = (1, 85);

#[derive(Clone)]
pub struct Toolchain {
    /// What goes on make's command line.
    pub make_vars: Vec<(String, String)>,
    pub rustfmt: PathBuf,
    /// Hash of the versions of what compiles.
    pub id: String,
}

impl Toolchain {
    /// The name of one of LLVM's programs, of the version that compiles.
    pub fn llvm(&self, program: &str) -> String {
        let suffix = self.make_vars.iter().find(|(name, _)| name == "LLVM");
        match suffix {
            Some((_, suffix)) if suffix != "1" => format!("{program}{suffix}"),
            _ => program.to_owned(),
        }
    }
}

/// Finds the tools, installing and building what is missing.
pub fn ensure(ctx: &Ctx) -> anyhow::Result<Toolchain> {
    packages::ensure(ctx, &packages::KBUILD)?;
    let rust = rust(ctx)?;
    let suffix = clang(ctx, rust.llvm)?;
    let bindgen = bindgen(ctx, libclang(&suffix).as_deref())?;
    packages::ensure(ctx, &[OBJCOPY_PACKAGE])?;
    assemble(&rust, &suffix, &bindgen)
}

/// The tools together, which are all there.
fn assemble(rust: &Rust, suffix: &str, bindgen: &Path) -> anyhow::Result<Toolchain> {
    let libclang = libclang(suffix);
    let set = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
    let mut make_vars = vec![
        (
            "LLVM".to_owned(),
            if suffix.is_empty() {
                "1".to_owned()
            } else {
                suffix.to_owned()
            },
        ),
        // LLVM's cannot convert what the x32 ABI needs, and the kernel does not offer that ABI then.
        ("OBJCOPY".to_owned(), OBJCOPY.to_owned()),
        set("RUSTC", &rust.rustc),
        set("RUSTDOC", &rust.tool("rustdoc")),
        set("RUSTFMT", &rust.tool("rustfmt")),
        set("CLIPPY_DRIVER", &rust.tool("clippy-driver")),
        set("BINDGEN", bindgen),
    ];
    if let Some(libclang) = &libclang {
        make_vars.push(set("LIBCLANG_PATH", libclang));
    }
    let mut id = Hash::new();
    id.add(&rust.version)
        .add(BINDGEN)
        .add(rust.rustc.as_os_str().as_encoded_bytes());
    for tool in [
        &format!("clang{suffix}"),
        &format!("ld.lld{suffix}"),
        OBJCOPY,
    ] {
        id.add(output(Command::new(tool).arg("--version"))?);
    }
    Ok(Toolchain {
        make_vars,
        rustfmt: rust.tool("rustfmt"),
        id: id.hex(),
    })
}

/// What of the tools is there. Nothing is installed or built.
pub struct Survey {
    /// The rustc that the kernel would be compiled with: its version, or what is wrong.
    pub rustc: Found,
    /// clang and LLVM, of that rustc's version.
    pub clang: Found,
    /// bindgen; where it is not there yet, it is built when it is needed.
    pub bindgen: Option<PathBuf>,
    /// If everything is there.
    pub tools: Option<Toolchain>,
}

/// A tool: its version; or what is wrong, and the packages that would change it, if any would.
pub type Found = Result<String, (String, Vec<String>)>;

/// The packages that a kernel takes besides those of [`packages::KBUILD`] and the compilers.
pub const BESIDES: [&str; 1] = [OBJCOPY_PACKAGE];

pub fn survey(ctx: &Ctx) -> Survey {
    let bindgen = Some(bindgen_program(ctx)).filter(|program| program.is_file());
    let rust = match present_rust() {
        Ok(rust) => rust,
        Err(wrong) => {
            let unknown = "its version is that of rustc, which is not there".to_owned();
            return Survey {
                rustc: Err(wrong),
                clang: Err((unknown, vec![])),
                bindgen,
                tools: None,
            };
        }
    };
    let clang = present_clang(rust.llvm);
    let tools = match (&clang, &bindgen) {
        (Ok(suffix), Some(bindgen)) => assemble(&rust, suffix, bindgen).ok(),
        _ => None,
    };
    let release = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    Survey {
        rustc: Ok(format!("{}, LLVM {}", release(&rust.version), rust.llvm)),
        clang: clang.map(|suffix| {
            let program = format!("clang{suffix}");
            let version = output(Command::new(&program).arg("--version"));
            version.map_or(program, |version| release(&version))
        }),
        bindgen,
        tools,
    }
}

/// The rustc that [`rust`] would take, if it is there.
fn present_rust() -> Result<Rust, (String, Vec<String>)> {
    if packages::debian() {
        let missing = packages::absent(&DEBIANS);
        if missing.is_empty() {
            let known =
                |name: &str| Ok(packages::absent(&[name]).is_empty() || packages::known(name));
            if let Ok(Some(rust)) = debians_rust(known) {
                return Ok(rust);
            }
        } else if missing.iter().all(|name| packages::known(name)) {
            let names = missing.iter().map(|name| (*name).to_owned()).collect();
            return Err(("Debian's is not installed".into(), names));
        }
    }
    other_rust().map_err(|error| (format!("{error:#}"), vec![]))
}

/// The suffix that [`clang`] would take, if its programs are there.
fn present_clang(llvm: u32) -> Result<String, (String, Vec<String>)> {
    if !packages::debian() {
        return other_clang(llvm).map_err(|error| (format!("{error:#}"), vec![]));
    }
    let names = clang_packages(llvm);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let missing = packages::absent(&names);
    if missing.is_empty() {
        return Ok(suffix(llvm));
    }
    let text = format!("LLVM {llvm}, as rustc has it, is not all there");
    Err((text, missing.into_iter().map(str::to_owned).collect()))
}

/// The compilers for programs that run in the guest.
pub struct UserSpace {
    /// One that has its library's source.
    pub rustc: PathBuf,
    pub clang: String,
}

/// Finds them: those that the kernel is built with.
pub fn user_space(ctx: &Ctx) -> anyhow::Result<UserSpace> {
    let rust = rust(ctx)?;
    let suffix = clang(ctx, rust.llvm)?;
    Ok(UserSpace {
        rustc: rust.rustc,
        clang: format!("clang{suffix}"),
    })
}

struct Rust {
    rustc: PathBuf,
    /// All that `rustc -vV` says.
    version: String,
    llvm: u32,
}

impl Rust {
    fn at(rustc: PathBuf) -> anyhow::Result<Rust> {
        let mut cmd = Command::new(&rustc);
        let version = output(plain(&mut cmd).arg("-vV"))?;
        let llvm = llvm_major(&version)
            .with_context(|| format!("{} does not tell its version of LLVM", rustc.display()))?;
        Ok(Rust {
            rustc,
            version,
            llvm,
        })
    }

    /// Its sibling of another name, if it is there; else whichever is in `PATH`.
    fn tool(&self, name: &str) -> PathBuf {
        let sibling = self.rustc.with_file_name(name);
        if sibling.is_file() {
            return sibling;
        }
        files::program(name).unwrap_or_else(|| name.into())
    }
}

/// Debian's rustc, and the source of its library.
const DEBIANS: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Debian's rustc with the source of its library; else one of rustup that has it.
fn rust(ctx: &Ctx) -> anyhow::Result<Rust> {
    // With lists of long ago it would be a compiler of long ago.
    packages::refresh(ctx, &DEBIANS);
    if packages::available(ctx, DEBIANS[0])? && packages::available(ctx, DEBIANS[1])? {
        packages::ensure_matching(ctx, &DEBIANS)?;
        if let Some(rust) = debians_rust(|name| packages::available(ctx, name))? {
            return Ok(rust);
        }
    }
    other_rust()
}

/// Debian's, which is installed, if it is new enough and its clang is `available`.
fn debians_rust(available: impl Fn(&str) -> anyhow::Result<bool>) -> anyhow::Result<Option<Rust>> {
    let rust = Rust::at("/usr/bin/rustc".into())?;
    let fits = suits(&rust.version) && available(&format!("clang-{}", rust.llvm))?;
    Ok(fits.then_some(rust))
}

/// The one in `PATH`.
fn other_rust() -> anyhow::Result<Rust> {
    let mut cmd = Command::new("rustc");
    let sysroot = output(plain(&mut cmd).args(["--print", "sysroot"]))
        .context("no rustc: install a Rust toolchain")?;
    let sysroot = Path::new(sysroot.trim());
    let rust = Rust::at(sysroot.join("bin/rustc"))?;
    if !suits(&rust.version) {
        let (major, minor) = OLDEST_RUSTC;
        let text = format!("rustc is too old, the kernel needs {major}.{minor}: rustup update");
        return Err(Fatal::Setup(text).into());
    }
    if !sysroot.join("lib/rustlib/src/rust/library").is_dir() {
        let text = "rustc has no library source: rustup component add rust-src";
        return Err(Fatal::Setup(text.into()).into());
    }
    Ok(rust)
}

/// The suffix of the programs of clang and LLVM: `-22`, or nothing where they have none.
fn clang(ctx: &Ctx, llvm: u32) -> anyhow::Result<String> {
    if packages::debian() {
        let names = clang_packages(llvm);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        packages::ensure(ctx, &names)?;
        return Ok(suffix(llvm));
    }
    other_clang(llvm)
}

/// Debian's packages of clang and LLVM.
fn clang_packages(llvm: u32) -> [String; 4] {
    let suffix = suffix(llvm);
    ["clang", "lld", "llvm", "libclang"].map(|name| match name {
        "libclang" => format!("{name}{suffix}-dev"),
        _ => format!("{name}{suffix}"),
    })
}

fn suffix(llvm: u32) -> String {
    format!("-{llvm}")
}

/// As [`clang`], where there are no packages.
fn other_clang(llvm: u32) -> anyhow::Result<String> {
    let suffix = suffix(llvm);
    if files::program(&format!("clang{suffix}")).is_some() {
        return Ok(suffix);
    }
    let version = output(Command::new("clang").arg("--version")).unwrap_or_default();
    if clang_major(&version) == Some(llvm) && files::program("ld.lld").is_some() {
        return Ok(String::new());
    }
    let text =
        format!("clang, lld and llvm {llvm} are needed, the LLVM of this rustc: install them");
    Err(Fatal::Setup(text).into())
}

/// The folder of libclang, if the default place would be another version's.
fn libclang(suffix: &str) -> Option<PathBuf> {
    let config = Command::new(format!("llvm-config{suffix}"))
        .arg("--libdir")
        .output()
        .ok()?;
    let folder = PathBuf::from(String::from_utf8_lossy(&config.stdout).trim());
    folder.is_dir().then_some(folder)
}

/// bindgen, built into the cache once.
fn bindgen(ctx: &Ctx, libclang: Option<&Path>) -> anyhow::Result<PathBuf> {
    let root = bindgen_root(ctx);
    let program = bindgen_program(ctx);
    if program.is_file() {
        return Ok(program);
    }
    let lock = Lock::take(ctx, "bindgen")?;
    if program.is_file() {
        return Ok(program);
    }
    let mut step = Step::start(format!("building bindgen {BINDGEN}"));
    let staging = files::staging(&root)?;
    let mut cmd = Command::new("cargo");
    cmd.args([
        "install",
        "bindgen-cli",
        "--locked",
        "--version",
        BINDGEN,
        "--root",
    ])
    .arg(&staging);
    cmd.stdin(lock.stdin()?);
    if let Some(folder) = libclang {
        cmd.env("LIBCLANG_PATH", folder);
    }
    plain(&mut cmd);
    run_logged(cmd, &ctx.log("bindgen"), &mut step)
        .with_context(|| format!("building bindgen (or put it at {})", program.display()))?;
    files::place(&staging, &root)?;
    step.done("");
    Ok(program)
}

fn bindgen_root(ctx: &Ctx) -> PathBuf {
    ctx.cache.join("tools").join(format!("bindgen-{BINDGEN}"))
}

fn bindgen_program(ctx: &Ctx) -> PathBuf {
    bindgen_root(ctx).join("bin/bindgen")
}

/// Removes what `cargo run` puts into the environment of this program, and the user's own flags:
/// a compiler that is called by its path is to be that compiler and no other.
pub fn plain(cmd: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let cargo =
            text.starts_with("CARGO") && text != "CARGO_HOME" && !text.starts_with("CARGO_HTTP");
        let rust = text.starts_with("RUST") && text != "RUSTUP_HOME";
        if cargo || rust || text == "LD_LIBRARY_PATH" {
            cmd.env_remove(&name);
        }
    }
    cmd
}

fn llvm_major(version: &str) -> Option<u32> {
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

fn clang_major(version: &str) -> Option<u32> {
    let (_, after) = version.split_once("clang version ")?;
    after.split('.').next()?.parse().ok()
}

fn suits(version: &str) -> bool {
    let Some(release) = version
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
    else {
        return false;
    };
    let mut numbers = release
        .split('.')
        .map_while(|text| text.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(a), Some(b)) if (a, b) >= OLDEST_RUSTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    #[test]
    fn versions_are_read() {
        assert_eq!(llvm_major(VERSION), Some(22));
        assert_eq!(
            clang_major("Debian clang version 22.1.8 (1~deb)\nTarget: x"),
            Some(22)
        );
        assert!(suits(VERSION));
        assert!(!suits("rustc 1.70.0\nrelease: 1.70.0\n"));
    }
}
