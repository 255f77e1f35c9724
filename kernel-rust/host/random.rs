// SPDX-License-Identifier: GPL-2.0
//! Random operations by the million, that can be had again.

use std::cell::Cell;

/// How many operations a long test does.
pub(crate) const TEN_MILLION: u64 = 10_000_000;

/// The seed of a long test: the number in the environment variable `EVPOLL_SEED`, or always the
/// same one, so that a test that passes here passes elsewhere. `EVPOLL_SEED=new` is another one each
/// time.
///
/// # Panics
///
/// If the variable is something else.
fn seed() -> u64 {
    match std::env::var("EVPOLL_SEED").as_deref() {
        Err(_) => 2002,
        Ok("new") => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos() as u64),
        Ok(number) => number.parse().expect("EVPOLL_SEED: a number, or new"),
    }
}

/// A generator of random numbers: SplitMix64 (Steele, Lea, Flood, 2014).
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Creates one. The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0 and less than 2^32.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (((self.any() >> 32) * end as u64) >> 32) as usize
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// What is said of a test that did not come to its end.
struct Replay {
    seed: u64,
    done: Cell<u64>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed at operation {}; EVPOLL_SEED={} does the same again",
                self.done.get(),
                self.seed
            );
        }
    }
}

/// Calls `operation` ten million times. A failure is a panic, after which the seed is printed.
pub(crate) fn ten_million(mut operation: impl FnMut(&mut Random)) {
    let replay = Replay {
        seed: seed(),
        done: Cell::new(0),
    };
    let mut random = Random::new(replay.seed);
    for done in 0..TEN_MILLION {
        replay.done.set(done);
        operation(&mut random);
    }
}
