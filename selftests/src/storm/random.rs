// SPDX-License-Identifier: GPL-2.0
//! Numbers that look random and follow from a seed.

/// A generator (splitmix64). Each thread has its own.
pub struct Random(u64);

impl Random {
    /// The `stream`-th of those that belong to a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut first = Random(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        Random(first.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1; `n` is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let take = |seed, stream| {
            let mut r = Random::new(seed, stream);
            (0..50).map(|_| r.next()).collect::<Vec<_>>()
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(1, 3));
        assert_ne!(take(1, 2), take(2, 2));
    }

    #[test]
    fn everything_is_picked() {
        let mut r = Random::new(1, 1);
        let mut seen = [0; 10];
        for _ in 0..1000 {
            seen[r.below(10)] += 1;
        }
        assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
    }
}
