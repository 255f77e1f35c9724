// SPDX-License-Identifier: GPL-2.0
//! What a leak makes grow: memory, address space, descriptors.

use std::io::{BufRead, BufReader};

use crate::sys::*;

/// What must not grow, in kB where it is memory.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub available: usize,
    pub slab: usize,
    pub unreclaimable: usize,
    pub address_space: usize,
    pub descriptors: usize,
    pub maps: usize,
}

impl Figures {
    /// As they are, of the system and of this process.
    #[track_caller]
    pub fn now() -> Self {
        let memory = |name| kilobytes("/proc/meminfo", name);
        Figures {
            available: memory("MemAvailable:"),
            slab: memory("Slab:"),
            unreclaimable: memory("SUnreclaim:"),
            address_space: kilobytes("/proc/self/status", "VmSize:"),
            descriptors: open_files(),
            maps: mappings().len(),
        }
    }

    /// What is wrong after so many rounds. A single object of 32 bytes that each round of 100 000
    /// leaves behind makes 3 MB; what the allocator keeps for itself is less.
    pub fn grown(&self, before: &Figures, rounds: usize, kept: usize) -> Option<String> {
        // Of a few rounds only, a larger part may be what is kept.
        let slack = kept + 2048 + 4096 * usize::from(rounds < 20_000);
        let grew = |name: &str, before: usize, now: usize, slack: usize| {
            (now > before + slack).then(|| format!("{name} grew from {before} to {now}"))
        };
        grew("Slab", before.slab, self.slab, 2 * slack)
            .or_else(|| {
                let (before, now) = (before.unreclaimable, self.unreclaimable);
                grew("SUnreclaim", before, now, slack)
            })
            .or_else(|| {
                // The machine as a whole.
                let slack = 4 * slack + 4096;
                (self.available + slack < before.available).then(|| {
                    format!(
                        "MemAvailable fell from {} to {}",
                        before.available, self.available
                    )
                })
            })
            .or_else(|| {
                let (before, now) = (before.address_space, self.address_space);
                grew("VmSize", before, now, 256)
            })
            .or_else(|| {
                let (before, now) = (before.descriptors, self.descriptors);
                grew("the number of descriptors", before, now, 0)
            })
            .or_else(|| {
                let (before, now) = (before.maps, self.maps);
                grew("the number of mappings", before, now, 2)
            })
    }
}

/// What the allocator may keep of what is freed, in kB: with KASAN, a part of all memory is kept
/// for a while so that its use is seen.
pub fn kept_when_freed() -> usize {
    // Line by line: all of it would make the process grow, whose size is measured, too.
    let symbols = std::fs::File::open("/proc/kallsyms");
    let lines = symbols.into_iter().flat_map(|f| BufReader::new(f).lines());
    if lines
        .map_while(Result::ok)
        .any(|line| line.contains(" kasan_report"))
    {
        kilobytes("/proc/meminfo", "MemTotal:") / 16
    } else {
        0
    }
}
