// SPDX-License-Identifier: GPL-2.0
//! A hash that tells inputs apart (FNV-1a, 64 bits): stable across machines and compilers, not a
//! defence against anybody.

#[derive(Clone)]
pub struct Hash(u64);

impl Hash {
    pub fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    /// Adds one item; its length is part of it, so that items do not run into each other.
    pub fn add(&mut self, bytes: impl AsRef<[u8]>) -> &mut Hash {
        let bytes = bytes.as_ref();
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    pub fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_do_not_run_into_each_other() {
        let of = |items: &[&str]| {
            let mut hash = Hash::new();
            for item in items {
                hash.add(item);
            }
            hash.hex()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }
}
