// SPDX-License-Identifier: GPL-2.0
//! The kernel's functions by address, as its `System.map` lists them.

use anyhow::{bail, Context};
use std::collections::BTreeMap;

/// Where user space ends.
const USER_END: u64 = 1 << 47;
/// What system calls are called, in front of their names.
pub const SYSCALL: &str = "__x64_sys_";

#[derive(Debug)]
pub struct Symbols {
    names: BTreeMap<u64, String>,
}

impl Symbols {
    pub fn parse(map: &str) -> anyhow::Result<Symbols> {
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        for line in map.lines() {
            let mut words = line.split(' ');
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                bail!("System.map has a line that is no symbol: {line:?}");
            };
            // Padding in front of functions, which nobody runs, has names as well.
            if !matches!(kind, "t" | "T" | "w" | "W") || name.starts_with("__pfx_") {
                continue;
            }
            let address = u64::from_str_radix(address, 16)
                .with_context(|| format!("System.map: no address: {line:?}"))?;
            // One piece of code may have several names: that of a system call tells most.
            if name.starts_with(SYSCALL) || !names.contains_key(&address) {
                names.insert(address, name.to_owned());
            }
        }
        if names.is_empty() {
            bail!("System.map has no function");
        }
        Ok(Symbols { names })
    }

    /// The address where a function starts.
    pub fn start(&self, name: &str) -> anyhow::Result<u64> {
        let found = self.names.iter().find(|(_, known)| *known == name);
        found
            .map(|(address, _)| *address)
            .with_context(|| format!("the kernel has no {name}: the profile cannot be read"))
    }

    /// The addresses where those functions start whose names begin with one of these.
    pub fn starts(&self, prefixes: &[&str]) -> Vec<u64> {
        let wanted = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.names
            .iter()
            .filter(|(_, name)| wanted(name))
            .map(|(address, _)| *address)
            .collect()
    }

    /// The function that an instruction belongs to: where it starts, and its name. None is user
    /// space.
    pub fn function(&self, address: u64) -> Option<(u64, &str)> {
        if address < USER_END {
            return None;
        }
        let found = self.names.range(..=address).next_back();
        Some(found.map_or((0, "?"), |(start, name)| (*start, name.as_str())))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const MAP: &str = "\
0000000000000000 D __per_cpu_start
ffffffff81000000 T entry_SYSCALL_64
ffffffff81000100 t do_syscall_64
ffffffff810001f0 t __pfx_sys_write
ffffffff81000200 T __ia32_sys_getppid
ffffffff81000200 T __x64_sys_getppid
ffffffff81000300 T __x64_sys_write
ffffffff81000400 T __x64_sys_read
ffffffff81000500 T __x64_sys_evpoll_wait
ffffffff81000600 t _RNvNtC6kernel4sync4wake
ffffffff81000700 T asm_sysvec_apic_timer_interrupt
ffffffff81000800 T native_irq_return_iret
ffffffff81000900 T __x64_sys_close
ffffffff82000000 D data
";

    #[test]
    fn functions_have_the_names_that_tell_most() {
        let symbols = Symbols::parse(MAP).unwrap();
        let name = |address| symbols.function(address).map(|(_, name)| name);
        assert_eq!(name(0xffff_ffff_8100_0210), Some("__x64_sys_getppid"));
        assert_eq!(name(0xffff_ffff_8100_01f8), Some("do_syscall_64"));
        assert_eq!(name(0xffff_ffff_8100_0900), Some("__x64_sys_close"));
        assert_eq!(name(0x7fff_0000_1234), None);
        assert_eq!(name(0xffff_ffff_8000_0000), Some("?"));
    }

    #[test]
    fn what_is_missed_is_named() {
        let symbols = Symbols::parse(MAP).unwrap();
        assert_eq!(
            symbols.start("do_syscall_64").unwrap(),
            0xffff_ffff_8100_0100
        );
        assert!(symbols
            .start("do_x")
            .unwrap_err()
            .to_string()
            .contains("do_x"));
        assert_eq!(symbols.starts(&["asm_", "native_"]).len(), 2);
    }

    #[test]
    fn a_map_without_functions_is_an_error() {
        assert!(Symbols::parse("").is_err());
        assert!(Symbols::parse("ffffffff81000000 D data\n").is_err());
        assert!(Symbols::parse("hello\n").is_err());
    }
}
