// SPDX-License-Identifier: GPL-2.0
//! Every test, by group.

use crate::runner::Test;

/// The list of a group's tests, each named after its function.
macro_rules! tests {
    ($group:literal: $($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::runner::Test] =
            &[$(crate::runner::test($group, stringify!($name), $name)),*];
    };
}

/// The list of tests that take an argument: each function once for each `suffix => argument`.
macro_rules! variants {
    ($list:ident, $group:literal, $first:literal => $a:expr, $second:literal => $b:expr;
     $($name:ident),* $(,)?) => {
        pub const $list: &[crate::runner::Test] = &[$(
            crate::runner::test($group, concat!(stringify!($name), $first), || $name($a)),
            crate::runner::test($group, concat!(stringify!($name), $second), || $name($b)),
        )*];
    };
}

mod create;
mod ctl;
mod faults;
mod fifo;
mod mapping;
mod other_sockets;
mod pipe;
mod tcp;
mod threads;
mod udp;
mod unix;
mod vsock;
mod wait;
mod watch;

pub fn all() -> Vec<Test> {
    [
        create::TESTS,
        ctl::TESTS,
        ctl::UNSUPPORTED,
        wait::TESTS,
        mapping::TESTS,
        watch::TESTS,
        tcp::TESTS,
        tcp::PER_IP,
        udp::TESTS,
        udp::PER_IP,
        unix::TESTS,
        unix::PER_KIND,
        other_sockets::TESTS,
        vsock::TESTS,
        pipe::TESTS,
        fifo::TESTS,
        threads::TESTS,
        faults::TESTS,
    ]
    .concat()
}

/// Tests of what only a kernel with evpoll can do: names, or beginnings of names.
#[cfg(test)]
const EMULATED_NOT: &[&str] = &[
    "create.address_space",
    "create.anon_inode",
    "create.close_frees",
    "create.maps_read_only",
    "create.memory_is_not",
    "create.no_descriptors_for_the_whole_system",
    "create.no_memory",
    "ctl.room_after_close",
    "mapping.",
    "wait.in_a_child",
    "wait.in_another_process",
    "faults.pages_are_zeroed",
];

#[cfg(test)]
mod on_the_host {
    use super::*;
    use crate::runner::{run, Outcome};
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Mutex;

    #[test]
    fn names_are_words_and_unique() {
        let mut seen = HashSet::new();
        for test in all() {
            let name = test.full_name();
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(|c| word(c) || c == '.'), "{name}");
            assert!(seen.insert(name.clone()), "{name} is there twice");
        }
    }

    #[test]
    fn what_is_not_emulated_exists() {
        for name in EMULATED_NOT {
            let known = all().iter().any(|t| t.full_name().starts_with(name));
            assert!(known, "{name}");
        }
    }

    /// Each scenario holds for epoll, and each test can pass.
    #[test]
    fn every_scenario_holds_where_epoll_plays_evpoll() {
        crate::net::loopback_up();
        // Other tests run at the same time, and who knows what else.
        crate::runner::set_scale(2);
        let filter = std::env::var("EMULATED").unwrap_or_default();
        let tests: Vec<Test> = all()
            .into_iter()
            .filter(|t| !EMULATED_NOT.iter().any(|n| t.full_name().starts_with(n)))
            .filter(|t| t.full_name().contains(&filter))
            .collect();
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(String::new());
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let name = test.full_name();
                        let started = std::time::Instant::now();
                        match run(test, None) {
                            (Outcome::Passed, _) => {}
                            (Outcome::Skipped(why), _) => println!("{name}: skipped: {why}"),
                            (Outcome::Failed(why), said) => {
                                *failures.lock().unwrap() += &format!("{name}: {said}{why}\n");
                            }
                        }
                        println!("{name}: {} ms", started.elapsed().as_millis());
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap();
        assert!(failures.is_empty(), "{failures}");
    }
}
