// SPDX-License-Identifier: GPL-2.0
//! A few random programs whose events have to be those that epoll reports, the same ones every
//! time. `cargo xtask fuzz` runs any number of others.

use crate::fuzz::{campaign, rare, Length};
use crate::net::quiet_network;
use crate::runner::{test, Test};

/// With more time than other tests, since a program that hangs is told apart from a slow one.
const fn long(name: &'static str, run: fn()) -> Test {
    Test {
        limit: 30,
        ..test("fuzz", name, run)
    }
}

pub const TESTS: &[Test] = &[
    long("first_seeds", first_seeds),
    long("other_seeds", other_seeds),
    long("more_seeds", more_seeds),
];

/// Runs the programs of so many seeds.
fn seeds(first: u64, number: u64) {
    quiet_network();
    match campaign(first, Length::Programs(number), |_, _| ()) {
        Ok(totals) => {
            check!(totals.counts.events > 0, "nothing has happened");
            check!(rare(&totals.counts), "too many spurious events: {totals:?}");
        }
        // To make it shorter takes more time than there is here.
        Err((_, failure)) => panic!(
            "cargo xtask fuzz --seed {} makes this shorter: {failure}",
            failure.seed
        ),
    }
}

fn first_seeds() {
    seeds(1, 25);
}

fn other_seeds() {
    seeds(20021, 25);
}

fn more_seeds() {
    seeds(7_003_000, 25);
}
