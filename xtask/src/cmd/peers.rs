// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask peers`: the kernel's own selftests of what the series hooks, on the plain kernel
//! and on the patched one, with a queue in use and without. What passes on the one has to pass on
//! the other.

use crate::cli;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::kernel::{self, Build, Variant};
use crate::peers::{self, Guest, Side, Tallies, Test};
use crate::progress::say;
use crate::{packages, rootfs};

/// How often a test that does not end in the same way everywhere is run again on each side.
const AGAIN: u32 = 5;

pub fn main(ctx: &Ctx, args: cli::Peers) -> anyhow::Result<u8> {
    let filter = args.filter.as_deref();
    let tests = peers::select(filter, args.wide);
    if let (Some(filter), true) = (filter, tests.is_empty()) {
        return Err(Fatal::Setup(format!("no test's name contains {filter:?}")).into());
    }
    packages::ensure(ctx, &packages::BOOT)?;
    let runner = rootfs::build_programs(ctx)?.peers;
    let (unpatched, patched) = match args.wide {
        false => (Variant::UNPATCHED, Variant::STANDARD),
        true => (Variant::UNPATCHED_WIDE, Variant::WIDE),
    };
    let build = Build::prepare_variant(ctx, unpatched)?;
    let plain = build.kernel()?;
    let programs = peers::build_programs(ctx, &build, &tests)?;
    // The lock that it holds is taken anew for the other kernel.
    drop(build);
    let guest = Guest {
        ctx,
        plain,
        patched: kernel::build_variant(ctx, patched)?,
        runner,
        programs,
    };

    let mut tallies = Tallies::default();
    let mut complaints = run_all(&guest, &tests, 1, &mut tallies)?;
    let doubtful = tallies.in_doubt();
    if !doubtful.is_empty() {
        say(&format!(
            "xtask: {} tests did not end in the same way everywhere, each is run {AGAIN} times more",
            doubtful.len()
        ));
        let again: Vec<Test> = tests
            .into_iter()
            .filter(|test| doubtful.contains(test.name))
            .collect();
        complaints += run_all(&guest, &again, AGAIN, &mut tallies)?;
    }
    let comparison = tallies.compare();
    print!("{comparison}");
    Ok(u8::from(!comparison.good() || complaints > 0))
}

/// Runs the tests on each side. Returns how often the patched kernel complained, having shown it.
fn run_all(
    guest: &Guest,
    tests: &[Test],
    times: u32,
    tallies: &mut Tallies,
) -> anyhow::Result<usize> {
    let mut complaints = 0;
    for side in Side::ALL {
        let ran = guest.run(side, tests, times)?;
        tallies.add(side, &ran.results);
        if let Some((rounds, events)) = ran.watched {
            say(&format!(
                "xtask: meanwhile a queue had {events} events in {rounds} rounds"
            ));
        }
        for line in ran.reports.iter().flatten() {
            say(&format!("xtask: {}: {line}", side.kernel()));
        }
        if side != Side::Plain {
            complaints += ran.reports.len();
        }
        say(&format!(
            "xtask: what the tests said: {}",
            ran.log.display()
        ));
    }
    Ok(complaints)
}
