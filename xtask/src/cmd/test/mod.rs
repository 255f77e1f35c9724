// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask test`: the host's tests, then the selftests on the patched kernel, then
//! `cargo xtask run`, as one KTAP document on stdout.

mod host;
mod report;
mod run;
pub(super) mod selftests;

use crate::cli;
use crate::ctx::{Ctx, Profile};
use crate::error::Fatal;
use crate::{files, kernel, packages, rootfs, toolchain};
use report::Report;
use std::io::Write;

pub fn main(ctx: &Ctx, args: cli::Test) -> anyhow::Result<u8> {
    packages::ensure(ctx, &packages::BOOT)?;
    // Tests on the host compile with both, and fail without.
    packages::ensure(ctx, &packages::GCC)?;
    toolchain::user_space(ctx)?;
    let filter = args.filter.as_deref();
    let programs = rootfs::build_programs(ctx)?;
    let mut selected = selftests::list(&programs.selftests, ctx.profile, rootfs::ABIS, filter)?;
    let mut set = rootfs::TestPrograms::default();
    if !selected.is_empty() {
        set = rootfs::programs_for_tests(ctx, &programs.selftests)?;
        selected = selftests::list(&programs.selftests, ctx.profile, &set.abis, filter)?;
    }
    let host = host::run(ctx, filter)?;
    let runs = run::select(ctx.profile, filter);
    let nothing = selected.is_empty() && host.is_empty() && runs.is_empty();
    if let (Some(filter), true) = (filter, nothing) {
        return Err(Fatal::Setup(format!("no test's name contains {filter:?}")).into());
    }

    let mut report = Report::start(4);
    report.suite("host", host);
    let ended = if selected.is_empty() {
        report.skip("guest", "no test is selected");
        report.skip("console", "nothing was booted");
        Ok(0)
    } else {
        let kernel = kernel::build(ctx)?;
        selftests::run(ctx, &kernel, &set, filter, &selected, &mut report)
    };
    if runs.is_empty() {
        let why = match ctx.profile {
            Profile::Release => "no test is selected",
            _ => "it is tested with the release kernel",
        };
        report.skip("run", why);
    } else if matches!(ended, Ok(0)) {
        run::run(ctx, &runs, &mut report)?;
    } else {
        report.skip("run", "the guest did not come to its end");
    }
    if let Some(file) = &args.junit {
        files::write(file, report.junit().as_bytes())?;
    }
    let clean = report.finish();
    // The error, if any, comes after the results.
    std::io::stdout().flush()?;
    match ended? {
        0 => Ok(u8::from(!clean)),
        status => Ok(status),
    }
}
