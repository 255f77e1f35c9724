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
    let libclang = libclang(&suffix);
    let bindgen = bindgen(ctx, libclang.as_deref())?;

    packages::ensure(ctx, &[OBJCOPY_PACKAGE])?;
    let set = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
    let mut make_vars = vec![
        (
            "LLVM".to_owned(),
            if suffix.is_empty() {
                "1".to_owned()
            } else {
                suffix.clone()
            },
        ),
        // LLVM's cannot convert what the x32 ABI needs, and the kernel does not offer that ABI then.
        ("OBJCOPY".to_owned(), OBJCOPY.to_owned()),
        set("RUSTC", &rust.rustc),
        set("RUSTDOC", &rust.tool("rustdoc")),
        set("RUSTFMT", &rust.tool("rustfmt")),
        set("CLIPPY_DRIVER", &rust.tool("clippy-driver")),
        set("BINDGEN", &bindgen),
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

/// Debian's rustc with the source of its library; else one of rustup that has it.
fn rust(ctx: &Ctx) -> anyhow::Result<Rust> {
    let debians = ["rustc-web", "rust-web-src"];
    // With lists of long ago it would be a compiler of long ago.
    packages::refresh(ctx, &debians);
    if packages::available(ctx, debians[0])? && packages::available(ctx, debians[1])? {
        packages::ensure_matching(ctx, &debians)?;
        let rust = Rust::at("/usr/bin/rustc".into())?;
        if suits(&rust.version) && packages::available(ctx, &format!("clang-{}", rust.llvm))? {
            return Ok(rust);
        }
    }
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
    let suffix = format!("-{llvm}");
    if packages::debian() {
        let names = ["clang", "lld", "llvm"].map(|name| format!("{name}{suffix}"));
        let library = format!("libclang{suffix}-dev");
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push(&library);
        packages::ensure(ctx, &names)?;
        return Ok(suffix);
    }
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
    let root = ctx.cache.join("tools").join(format!("bindgen-{BINDGEN}"));
    let program = root.join("bin/bindgen");
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
