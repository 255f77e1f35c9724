// SPDX-License-Identifier: GPL-2.0
//! The guest's own programs: the `selftests` package, linked statically so that they run without
//! any file of the host.

use crate::ctx::Ctx;
use crate::progress::{self, Step};
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

pub struct Programs {
    pub selftests: PathBuf,
    pub bench: PathBuf,
}

/// Builds them, in a target folder of their own because their flags differ from xtask's.
pub fn build(ctx: &Ctx) -> anyhow::Result<Programs> {
    let target = ctx.root.join("target/guest");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&ctx.root)
        .args([
            "build",
            "--package",
            "selftests",
            "--bins",
            "--release",
            "--locked",
        ])
        .args(["--target", TARGET, "--jobs", &ctx.jobs.to_string()])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    let mut step = Step::start("building the guest's programs");
    progress::run_logged(cargo, &ctx.log("guest-programs"), &mut step)?;
    step.done("");
    let folder = target.join(TARGET).join("release");
    Ok(Programs {
        selftests: folder.join("evpoll-selftests"),
        bench: folder.join("evpoll-bench"),
    })
}
