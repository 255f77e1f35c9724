// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask doctor`: what there is on this machine of what the commands need, what is missing,
//! and how to get it. It asks what the set-up of the commands asks, and changes nothing.

mod cache;
mod machine;
mod table;

use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::files;
use crate::packages;
use crate::progress::output;
use crate::qemu;
use crate::rootfs;
use crate::source;
use crate::toolchain::{self, Found};
use std::process::Command;
use table::{Row, State, Table};

pub fn main(ctx: &Ctx) -> anyhow::Result<u8> {
    let mut table = Table::default();
    machine::look(ctx, &mut table);
    let tools = compilers(ctx, &mut table);
    programs(&mut table);
    emulator(&mut table);
    kernel_source(ctx, &mut table)?;
    cache::look(ctx, tools.as_ref(), &mut table)?;
    print!("{table}");
    let advice = advice(&table);
    for line in &advice {
        println!("{line}");
    }
    match table.missing() {
        0 => Ok(0),
        count => {
            let what = if count == 1 { "thing is" } else { "things are" };
            let how = advice.first().map_or("see the table", String::as_str);
            Err(Fatal::Setup(format!("{count} required {what} missing; {how}")).into())
        }
    }
}

/// What to run, in a line for what is required and one for what is not.
fn advice(table: &Table) -> Vec<String> {
    let mut lines = Vec::new();
    let required = table.packages(State::Missing);
    for (state, what) in [
        (State::Missing, "to get what is missing"),
        (State::Optional, "for the rest"),
    ] {
        let mut names = table.packages(state);
        if state != State::Missing {
            names.retain(|name| !required.contains(name));
        }
        if names.is_empty() {
            continue;
        }
        lines.push(match packages::debian() {
            true => format!("{what}, as root: {}", packages::install_command(&names)),
            false => format!("{what}, install what has: {}", names.join(" ")),
        });
    }
    lines
}

/// What compiles the harness and the kernel.
fn compilers(ctx: &Ctx, table: &mut Table) -> Option<toolchain::Toolchain> {
    let own = output(Command::new("rustc").arg("--version")).unwrap_or_default();
    table.add(harness(own.trim(), env!("CARGO_PKG_RUST_VERSION")));
    let found = toolchain::survey(ctx);
    table.add(tool("rustc for the kernel", found.rustc));
    table.add(tool("clang and LLVM", found.clang));
    table.add(match &found.bindgen {
        Some(program) => Row::ok("bindgen", program.display().to_string()),
        None => Row::later("bindgen", "is built into the cache when a kernel is built"),
    });
    found.tools
}

/// The rustc in `PATH`, by what it says of itself, and the version that the workspace asks for.
fn harness(own: &str, needed: &str) -> Row {
    const WHAT: &str = "rustc for the harness";
    if own.is_empty() {
        let text = format!("none in PATH, it takes {needed}: install a toolchain (rustup)");
        return Row::missing(WHAT, text);
    }
    let version = own.strip_prefix("rustc ").and_then(version_of);
    match version.is_some_and(|version| Some(version) < version_of(needed)) {
        true => Row::missing(
            WHAT,
            format!("{own} is too old, it takes {needed}: rustup update, or a newer one in PATH"),
        ),
        false => Row::ok(WHAT, format!("{own} (it takes {needed} or newer)")),
    }
}

/// Major, minor and patch level at the beginning of the text: `1.89`, `1.95.0-nightly (…)`.
fn version_of(text: &str) -> Option<[u32; 3]> {
    let mut version = [0; 3];
    let text = text.split([' ', '-']).next()?;
    for (number, place) in text.split('.').zip(&mut version) {
        *place = number.parse().ok()?;
    }
    Some(version)
}

fn tool(what: &'static str, found: Found) -> Row {
    match found {
        Ok(version) => Row::ok(what, version),
        Err((why, names)) => Row::missing(what, why).with_packages(names),
    }
}

/// Packages, by what they are for.
fn programs(table: &mut Table) {
    let kernel = [&packages::KBUILD[..], &toolchain::BESIDES].concat();
    for (what, names, state) in [
        ("what builds a kernel", &kernel[..], State::Missing),
        ("what boots it", &packages::BOOT, State::Missing),
        (
            "for i386 and x32 tests",
            &packages::MULTILIB,
            State::Optional,
        ),
        ("for `test`", &packages::CLIENTS, State::Missing),
        ("for `lint`", &packages::LINT, State::Optional),
        ("for `peers`", &packages::PEERS, State::Optional),
    ] {
        let absent = packages::absent(names);
        table.add(match absent.as_slice() {
            [] => Row::ok(what, "all there"),
            absent => Row::new(state, what, format!("missing: {}", absent.join(" ")))
                .with_packages(absent.iter().map(|name| (*name).to_owned())),
        });
    }
}

/// What the guest runs on, and with.
fn emulator(table: &mut Table) {
    // Not there: its package says so already.
    if let Some(version) = files::program(qemu::PROGRAM).and_then(|_| qemu::version()) {
        let note = match version < qemu::PATCHES_SAFELY {
            true => "; before 8.1, processors run in parallel only on kernels built for that",
            false => "",
        };
        let (major, minor) = version;
        table.add(Row::ok("QEMU", format!("{major}.{minor}{note}")));
    }
    if files::program("busybox").is_some() {
        table.add(match rootfs::busybox() {
            Ok(path) => Row::ok("a static BusyBox", path.display().to_string()),
            Err(error) => Row::missing("a static BusyBox", format!("{error:#}")),
        });
    }
    table.add(match qemu::kvm() {
        Ok(()) => Row::ok("KVM", "it can be tried".to_owned()),
        Err(why) => Row::new(
            State::Optional,
            "KVM",
            format!("{why}; else it is emulated"),
        ),
    });
}

fn kernel_source(ctx: &Ctx, table: &mut Table) -> anyhow::Result<()> {
    const WHAT: &str = "kernel source";
    table.add(match (&ctx.kernel, source::there(ctx)?) {
        (Some(own), _) => Row::ok(WHAT, own.display().to_string()),
        (None, Some((version, path))) => Row::ok(WHAT, format!("{version}, {}", path.display())),
        (None, None) if packages::debian() => {
            Row::later(WHAT, "is downloaded by the first command that takes it")
        }
        (None, None) => Row::missing(WHAT, source::ways_out(ctx)),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_one_command_for_each_kind() {
        let mut table = Table::default();
        assert!(advice(&table).is_empty());
        table.add(Row::ok("a", "there"));
        table.add(Row::missing("b", "no").with_packages(["bc".into(), "flex".into()]));
        table.add(Row::missing("c", "no").with_packages(["bc".into()]));
        table.add(
            Row::new(State::Optional, "d", "no").with_packages(["sparse".into(), "bc".into()]),
        );
        let lines = advice(&table);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(" bc flex"), "{}", lines[0]);
        assert!(lines[1].ends_with(" sparse"), "{}", lines[1]);
    }

    #[test]
    fn the_harness_takes_a_rustc_that_is_new_enough() {
        let missing = |own| {
            let mut table = Table::default();
            table.add(harness(own, "1.89"));
            table.missing() == 1
        };
        for own in [
            "rustc 1.89.0 (x 2025-08-04)",
            "rustc 1.100.0-nightly (x)",
            "rustc 2.0.1",
        ] {
            assert!(!missing(own), "{own}");
        }
        for own in [
            "",
            "rustc 1.88.0 (x 2025-06-23)",
            "rustc 1.9.0",
            "rustc 0.99",
        ] {
            assert!(missing(own), "{own}");
        }
        assert!(version_of(env!("CARGO_PKG_RUST_VERSION")).is_some());
    }

    #[test]
    fn what_is_wrong_with_a_tool_says_how_to_get_it() {
        let mut table = Table::default();
        table.add(tool("rustc", Ok("1.95".into())));
        assert_eq!(table.missing(), 0);
        table.add(tool("clang", Err(("none".into(), vec!["clang-22".into()]))));
        assert_eq!(table.missing(), 1);
        assert_eq!(table.packages(State::Missing), ["clang-22"]);
    }
}
