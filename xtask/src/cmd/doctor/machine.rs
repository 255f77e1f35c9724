// SPDX-License-Identifier: GPL-2.0
//! The machine itself: its kind, processors, memory, and room for the cache.

use super::table::{Row, State, Table};
use crate::ctx::Ctx;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const GIGABYTE: u64 = 1_000_000_000;
/// The source, a kernel of the release profile, and what is booted.
const ROOM: u64 = 4 * GIGABYTE;
/// The kernels of every profile, and those of `peers`.
const ROOM_FOR_ALL: u64 = 15 * GIGABYTE;
/// The guest's, and what the link of a kernel takes.
const MEMORY: u64 = 2 * GIGABYTE;
/// A guest of the debug profile has 3 GiB.
const MEMORY_DEBUG: u64 = 5 * GIGABYTE;

pub fn look(ctx: &Ctx, table: &mut Table) {
    let (system, kind) = (std::env::consts::OS, std::env::consts::ARCH);
    table.add(match (system, kind) {
        ("linux", "x86_64") => Row::ok("machine", format!("{system}, {kind}")),
        _ => Row::missing(
            "machine",
            format!("{system}, {kind}: it takes x86-64 Linux"),
        ),
    });
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    table.add(Row::ok(
        "processors",
        format!("{count}, {} compilers at once", ctx.jobs),
    ));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    table.add(memory_row(available(&memory)));
    // There as well when the cache already has everything: an update takes its time and room.
    let built = ctx.cache.join("build/release").is_dir();
    table.add(room_row(free(&ctx.cache), built));
}

fn memory_row(available: Option<u64>) -> Row {
    const WHAT: &str = "memory";
    match available {
        None => Row::ok(WHAT, "this machine does not tell"),
        Some(bytes) if bytes < MEMORY => {
            let text = format!(
                "{} available, a guest and a build take {}",
                size(bytes),
                size(MEMORY)
            );
            Row::missing(WHAT, text)
        }
        Some(bytes) if bytes < MEMORY_DEBUG => {
            let text = format!(
                "{} available, --profile debug and race take {}",
                size(bytes),
                size(MEMORY_DEBUG)
            );
            Row::new(State::Optional, WHAT, text)
        }
        Some(bytes) => Row::ok(WHAT, format!("{} available", size(bytes))),
    }
}

fn room_row(free: Option<u64>, built: bool) -> Row {
    const WHAT: &str = "disk";
    match free {
        None => Row::ok(WHAT, "this file system does not tell"),
        Some(bytes) if bytes < ROOM && built => {
            let text = format!(
                "{} free, another profile takes up to {}",
                size(bytes),
                size(ROOM)
            );
            Row::new(State::Optional, WHAT, text)
        }
        Some(bytes) if bytes < ROOM => {
            let text = format!(
                "{} free, the release profile takes {}: make room, or set EVPOLL_CACHE to a folder \
                 elsewhere",
                size(bytes),
                size(ROOM)
            );
            Row::missing(WHAT, text)
        }
        Some(bytes) if bytes < ROOM_FOR_ALL => {
            let text = format!(
                "{} free; every profile and the peers take some {}",
                size(bytes),
                size(ROOM_FOR_ALL)
            );
            Row::ok(WHAT, text)
        }
        Some(bytes) => Row::ok(WHAT, format!("{} free", size(bytes))),
    }
}

/// What could be had without swapping, from /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The free space of the file system that a folder is on, or would be on.
fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    let path = CString::new(there.as_os_str().as_bytes()).ok()?;
    let mut about = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero; the call fills in the structure, which is valid when zero,
    // too.
    let about = unsafe {
        if libc::statvfs(path.as_ptr(), about.as_mut_ptr()) != 0 {
            return None;
        }
        about.assume_init()
    };
    Some(about.f_bavail * about.f_frsize)
}

/// Bytes as people read them: 12 MB, 3.4 GB.
pub fn size(bytes: u64) -> String {
    match bytes {
        GIGABYTE.. => format!("{:.1} GB", bytes as f64 / GIGABYTE as f64),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(row: Row) -> usize {
        let mut table = Table::default();
        table.add(row);
        table.missing()
    }

    #[test]
    fn memory_is_what_is_available() {
        let text = "MemTotal:  9000000 kB\nMemAvailable:    2000000 kB\n";
        assert_eq!(available(text), Some(2_048_000_000));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(missing(memory_row(Some(GIGABYTE))), 1);
        assert_eq!(missing(memory_row(Some(4 * GIGABYTE))), 0);
        assert_eq!(missing(memory_row(None)), 0);
    }

    #[test]
    fn room_is_asked_of_the_file_system_that_the_cache_would_be_on() {
        assert!(free(Path::new("/no/such/folder")).is_some_and(|bytes| bytes > 0));
        assert_eq!(missing(room_row(Some(GIGABYTE), false)), 1);
        assert_eq!(missing(room_row(Some(GIGABYTE), true)), 0);
        assert_eq!(missing(room_row(Some(9 * GIGABYTE), false)), 0);
        let told = |bytes| {
            let mut table = Table::default();
            table.add(room_row(Some(bytes), false));
            table.to_string().contains("15.0 GB")
        };
        assert!(told(9 * GIGABYTE) && !told(20 * GIGABYTE));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(12_345_678), "12 MB");
        assert_eq!(size(3_400_000_000), "3.4 GB");
    }
}
