// SPDX-License-Identifier: GPL-2.0
//! What QEMU logs with `-d in_asm`: the blocks that it has translated.

use anyhow::bail;
use std::collections::BTreeMap;

/// The code that was run.
#[derive(Debug, Default)]
pub struct Reached {
    /// Instructions, by their addresses: the addresses where they end.
    instructions: BTreeMap<u64, u64>,
}

impl Reached {
    /// Adds what a log says. An error is a log in which there is nothing, or something else.
    pub fn add(&mut self, log: &str) -> anyhow::Result<()> {
        let mut found = 0;
        for line in log.lines() {
            if let Some((start, end)) = instruction(line) {
                self.instructions.insert(start, end);
                found += 1;
            } else if line.starts_with("OBJD-T") {
                bail!(
                    "this QEMU cannot disassemble, so its log says less than is needed: install \
                     one that was built with capstone"
                );
            }
        }
        if found == 0 {
            bail!(
                "QEMU has logged no code of ours: was the kernel loaded where it was linked for?"
            );
        }
        Ok(())
    }

    /// Whether any of the code from `start` to `end` was run.
    pub fn any_of(&self, start: u64, end: u64) -> bool {
        let last = self.instructions.range(..end).next_back();
        last.is_some_and(|(_, &stop)| stop > start)
    }
}

/// `0xffffffff81285dd4:  55                       pushq    %rbp`: where it starts and ends.
fn instruction(line: &str) -> Option<(u64, u64)> {
    let (address, rest) = line.strip_prefix("0x")?.split_once(":  ")?;
    let start = u64::from_str_radix(address, 16).ok()?;
    let bytes = rest
        .split(' ')
        .take_while(|word| word.len() == 2 && u8::from_str_radix(word, 16).is_ok())
        .count();
    (bytes > 0).then(|| (start, start + bytes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
----------------
IN: evpoll_do_init
0xffffffff81285ded:  e8 5e 03 09 00           callq    0xffffffff81316150

----------------
IN: 
0xffffffff81285df2:  31 db                    xorl     %ebx, %ebx
0xffffffff81285df4:  be 50 00 00 00           movl     $0x50, %esi
0xffffffff81285df9:  0f 1f 84 00 00 00 00 00  nopl     (%rax, %rax)
";

    #[test]
    fn instructions_and_their_ends() {
        let mut reached = Reached::default();
        reached.add(LOG).unwrap();
        assert_eq!(
            reached.instructions.into_iter().collect::<Vec<_>>(),
            [
                (0xffff_ffff_8128_5ded, 0xffff_ffff_8128_5df2),
                (0xffff_ffff_8128_5df2, 0xffff_ffff_8128_5df4),
                (0xffff_ffff_8128_5df4, 0xffff_ffff_8128_5df9),
                (0xffff_ffff_8128_5df9, 0xffff_ffff_8128_5e01),
            ]
        );
    }

    #[test]
    fn parts_that_were_run() {
        let mut reached = Reached::default();
        reached
            .add("0x10:  90  nop\n0x12:  31 db 31 db  x\n")
            .unwrap();
        assert!(reached.any_of(0x10, 0x11) && reached.any_of(0x0, 0x20));
        assert!(!reached.any_of(0x11, 0x12) && !reached.any_of(0x16, 0x20));
        assert!(reached.any_of(0x14, 0x15) && !reached.any_of(0x0, 0x10));
    }

    #[test]
    fn a_log_without_code_is_an_error() {
        assert!(Reached::default().add("").is_err());
        assert!(Reached::default()
            .add("OBJD-T: 31db\n")
            .unwrap_err()
            .to_string()
            .contains("capstone"));
    }
}
