// SPDX-License-Identifier: GPL-2.0
//! Short storms, with seeds that never change; `evpoll-soak` has long ones.

use std::time::Duration;

use crate::runner::{test, Test};
use crate::storm::{storm, Options};

const fn long(name: &'static str, run: fn()) -> Test {
    Test {
        limit: 60,
        ..test("storm", name, run)
    }
}

pub const TESTS: &[Test] = &[long("seed_1", || short(1)), long("seed_2", || short(2))];

fn short(seed: u64) {
    storm(Options {
        time: Duration::from_millis(1500),
        seed,
    });
}
