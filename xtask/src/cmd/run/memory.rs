// SPDX-License-Identifier: GPL-2.0
//! How much memory a guest is to have.

use std::fmt;
use std::str::FromStr;

/// Less is not enough for the kernel and what it is booted with.
const LEAST: u32 = 256;

/// In MiB. As the command line has it: `512M`, `2G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(u32);

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Memory, String> {
        parse(text)
            .filter(|size| *size >= LEAST)
            .map(Memory)
            .ok_or_else(|| {
                format!("it takes a number with M or G, such as 512M or 2G, of {LEAST}M or more")
            })
    }
}

fn parse(text: &str) -> Option<u32> {
    let (number, unit) = match text.as_bytes().last()? {
        b'M' | b'm' => (text.strip_suffix(['M', 'm'])?, 1),
        b'G' | b'g' => (text.strip_suffix(['G', 'g'])?, 1024),
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(unit)
}

/// As QEMU takes it.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown = |text: &str| text.parse::<Memory>().map(|memory| memory.to_string());
        assert_eq!(shown("512M").as_deref(), Ok("512M"));
        assert_eq!(shown("256m").as_deref(), Ok("256M"));
        assert_eq!(shown("2G").as_deref(), Ok("2048M"));
        for wrong in ["", "G", "2", "2T", "255M", "0G", "-1G", "1 G", "4194304G"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
