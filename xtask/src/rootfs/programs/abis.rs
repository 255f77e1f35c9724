// SPDX-License-Identifier: GPL-2.0
//! The kernel's other ABIs, and whether programs for them can be built on this machine.

use crate::ctx::Ctx;
use crate::files;
use crate::packages;
use crate::progress::{output, say};
use crate::toolchain::{self, UserSpace};
use anyhow::anyhow;
use std::process::Command;

/// As the selftests call them.
pub const ABIS: &[&str] = &[I386.name, X32.name];

const I386: Abi = Abi {
    name: "i386",
    target: "i686-unknown-linux-gnu",
    flag: "-m32",
};
const X32: Abi = Abi {
    name: "x32",
    target: "x86_64-unknown-linux-gnux32",
    flag: "-mx32",
};

#[derive(Clone, Copy)]
pub struct Abi {
    pub name: &'static str,
    /// As rustc calls it.
    pub target: &'static str,
    /// What makes a C compiler compile for it.
    pub flag: &'static str,
}

/// What there is to build programs with. Without it their tests are left out, which is said; in
/// CI (`CI=true`), where nobody would notice, it is an error.
pub struct Tools {
    pub user_space: Option<UserSpace>,
    pub abis: Vec<Abi>,
}

impl Tools {
    pub fn find(ctx: &Ctx) -> anyhow::Result<Tools> {
        let must = std::env::var_os("CI").is_some_and(|value| value == "true");
        let mut tools = Tools {
            user_space: None,
            abis: Vec::new(),
        };
        match toolchain::user_space(ctx) {
            Ok(found) => tools.user_space = Some(found),
            Err(error) => {
                left_out("tests for other ABIs and with clang", error, must)?;
                return Ok(tools);
            }
        }
        if packages::debian() {
            if let Err(error) = packages::ensure_beside(ctx, &packages::MULTILIB) {
                left_out("tests for i386 and x32", error, must)?;
                return Ok(tools);
            }
        }
        for abi in [I386, X32] {
            match links(ctx, abi) {
                Ok(()) => tools.abis.push(abi),
                Err(error) => left_out(&format!("tests for {}", abi.name), error, must)?,
            }
        }
        Ok(tools)
    }
}

fn left_out(what: &str, error: anyhow::Error, must: bool) -> anyhow::Result<()> {
    if must {
        return Err(error.context(format!("{what} cannot be built")));
    }
    say(&format!("xtask: {what} are left out: {error:#}"));
    Ok(())
}

/// Whether gcc makes a static program for it, which takes a C library of its own.
fn links(ctx: &Ctx, abi: Abi) -> anyhow::Result<()> {
    let folder = ctx.root.join("target/guest");
    files::make_dir(&folder)?;
    let source = folder.join("probe.c");
    files::write(
        &source,
        b"#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n",
    )?;
    let mut gcc = Command::new("gcc");
    gcc.args([abi.flag, "-static", "-o"])
        .arg(folder.join(format!("probe-{}", abi.name)))
        .arg(&source);
    let made = output(&mut gcc);
    made.map(drop)
        .map_err(|_| anyhow!("gcc {} makes no static program here", abi.flag))
}
