// SPDX-License-Identifier: GPL-2.0
//! The guest's own programs, linked statically so that they run without any file of the host.

mod abis;
mod c;
mod host;
mod kselftest;
mod manual;
mod rust;

pub use abis::ABIS;

use crate::ctx::Ctx;
use crate::lock::Lock;
use crate::packages;
use crate::progress::Step;
use std::path::{Path, PathBuf};

/// An executable of the host that goes into the guest.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path in the guest's `/evpoll`.
    pub name: String,
    pub path: PathBuf,
}

impl Program {
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Program {
        Program {
            name: name.into(),
            path: path.into(),
        }
    }
}

/// The `selftests` package, for the host's own ABI.
pub struct Programs {
    pub selftests: PathBuf,
    pub bench: PathBuf,
    pub soak: PathBuf,
    pub fuzz: PathBuf,
    /// Runs the kernel's own tests.
    pub peers: PathBuf,
}

pub fn build(ctx: &Ctx) -> anyhow::Result<Programs> {
    let mut step = Step::start("building the guest's programs");
    let folder = rust::native(ctx, &mut step)?;
    step.done("");
    Ok(Programs {
        selftests: folder.join(rust::SELFTESTS),
        bench: folder.join("evpoll-bench"),
        soak: folder.join("evpoll-soak"),
        fuzz: folder.join("evpoll-fuzz"),
        peers: folder.join("evpoll-peers"),
    })
}

/// What the tests in the guest consist of.
#[derive(Default)]
pub struct TestPrograms {
    pub programs: Vec<Program>,
    /// The other ABIs that there are selftests of.
    pub abis: Vec<&'static str>,
}

/// Builds what the tests need besides the host's own selftests: those for the other ABIs, and the
/// programs that they run.
pub fn for_tests(ctx: &Ctx, selftests: &Path) -> anyhow::Result<TestPrograms> {
    packages::ensure(ctx, &packages::CLIENTS)?;
    let tools = abis::Tools::find(ctx)?;
    // Two commands at a time would put their files in each other's way.
    let _alone = Lock::take(ctx, "programs for other ABIs")?;
    let mut programs = vec![Program::new(rust::SELFTESTS, selftests)];
    let mut step = Step::start("building what the tests start in the guest");
    programs.extend(rust::others(ctx, &tools, &mut step)?);
    programs.extend(rust::examples(ctx, &tools, &mut step)?);
    programs.push(rust::evhttpd(ctx, &mut step)?);
    programs.extend(host::programs()?);
    programs.extend(c::build(ctx, &tools, &mut step)?);
    step.done(format!("{} programs", programs.len() - 1));
    Ok(TestPrograms {
        programs,
        abis: tools.abis.iter().map(|abi| abi.name).collect(),
    })
}
