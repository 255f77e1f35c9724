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

/// The list of tests that start C programs: each function once for each compiler and ABI.
macro_rules! programs {
    ($group:literal: $($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::runner::Test] = &[$(
            crate::runner::test($group, concat!(stringify!($name), "_gcc_x86_64"), || $name("gcc-x86_64")),
            crate::runner::test($group, concat!(stringify!($name), "_gcc_i386"), || $name("gcc-i386")),
            crate::runner::test($group, concat!(stringify!($name), "_gcc_x32"), || $name("gcc-x32")),
            crate::runner::test($group, concat!(stringify!($name), "_clang_x86_64"), || $name("clang-x86_64")),
            crate::runner::test($group, concat!(stringify!($name), "_clang_i386"), || $name("clang-i386")),
        )*];
    };
}

mod bad_input;
mod closing;
mod counters;
mod create;
mod ctl;
mod device;
mod evhttpd;
mod examples;
mod faults;
mod fdinfo;
mod fifo;
mod fuzz;
mod kselftest;
mod library;
mod limits;
mod manual;
mod mapping;
mod memory;
mod nesting;
mod other_sockets;
mod pipe;
mod programs2002;
mod room;
mod sharing;
mod storm;
mod sweep;
mod tcp;
mod threads;
mod udp;
mod unix;
mod vsock;
mod wait;
mod watch;
mod write;

pub use sharing::child;

/// The words for [`child`], if the arguments of this program are for that.
pub fn words_of_a_child(args: &[String]) -> Option<&[String]> {
    match args.split_first() {
        Some((first, words)) if first == sharing::CHILD => Some(words),
        _ => None,
    }
}

pub fn all() -> Vec<Test> {
    [
        create::TESTS,
        ctl::TESTS,
        ctl::UNSUPPORTED,
        wait::TESTS,
        mapping::TESTS,
        watch::TESTS,
        room::TESTS,
        fdinfo::TESTS,
        sharing::TESTS,
        device::TESTS,
        write::TESTS,
        nesting::TESTS,
        closing::TESTS,
        counters::TESTS,
        limits::TESTS,
        bad_input::TESTS,
        tcp::TESTS,
        tcp::PER_IP,
        udp::TESTS,
        udp::PER_IP,
        unix::TESTS,
        unix::PER_KIND,
        other_sockets::TESTS,
        vsock::TESTS,
        pipe::TESTS,
        programs2002::TESTS,
        manual::TESTS,
        kselftest::TESTS,
        examples::TESTS,
        library::TESTS,
        evhttpd::SCENARIOS,
        evhttpd::CLIENTS,
        fifo::TESTS,
        threads::TESTS,
        fuzz::TESTS,
        faults::TESTS,
        memory::TESTS,
        sweep::TESTS,
        storm::TESTS,
    ]
    .concat()
}

/// Tests of what only a kernel with evpoll can do: names, or beginnings of names.
#[cfg(test)]
const EMULATED_NOT: &[&str] = &[
    "bad_input.",
    "closing.",
    "counters.",
    "create.address_space",
    "create.anon_inode",
    "create.close_frees",
    "create.maps_read_only",
    "create.memory_is_not",
    "create.no_descriptors_for_the_whole_system",
    "create.no_memory",
    "ctl.itself_through_a_duplicate",
    "ctl.room_after_close",
    "device.",
    "evhttpd.",
    "examples.",
    "fdinfo.",
    "fuzz.",
    "kselftest.",
    "library.",
    "limits.",
    "manual.",
    "mapping.",
    "memory.",
    "nesting.",
    "sharing.",
    "storm.",
    "sweep.",
    "programs2002.",
    "wait.in_a_child",
    "wait.in_another_process",
    "write.",
    "faults.pages_are_zeroed",
    "faults.address_after_mremap",
    "faults.array_stays_until_the_next_ep_poll",
    "faults.close_frees_what_a_mapping",
    "faults.descriptor_is_complete",
    "faults.each_process_its_own",
    "faults.efault_of_ep_poll",
    "faults.failed_add_leaves",
    "faults.failures_and_successes",
    "faults.largest_size",
    "faults.mprotect_makes",
    "faults.negative_descriptor_in",
    "faults.pages_of_the_device",
    "faults.pointer_is_stored",
    "faults.poll_races",
    "faults.second_mapping",
    "faults.timeout_overflow_of",
    "faults.unsupported_files",
    "faults.wake_up_under",
];

#[cfg(test)]
mod on_the_host {
    use super::*;
    use crate::runner::{run, Outcome};
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Mutex;
    use std::time::Duration;

    /// `work` on each of them, several at a time, since most of it is waiting.
    fn each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                        work(item);
                    }
                });
            }
        });
    }

    fn find(name: &str) -> Test {
        let test = all().into_iter().find(|t| t.full_name() == name);
        test.unwrap_or_else(|| panic!("there is no {name}"))
    }

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

    /// A test that cannot fail is none: each of these finds what it is for.
    #[test]
    fn broken_stand_ins_are_found() {
        use crate::emu::{set_fault, Fault};
        let cases: &[(Fault, &[&str])] = &[
            (
                Fault::AddDoesNotTest,
                &[
                    "watch.add_and_test_on_ready",
                    "tcp.data_before_add_v4",
                    "unix.write_space_stream",
                    "faults.data_before_registration",
                ],
            ),
            (
                Fault::AddTests,
                &[
                    "watch.add_on_ready",
                    "watch.add_on_hung_up",
                    "watch.del_then_add",
                ],
            ),
            (
                Fault::AddOverwrites,
                &["ctl.add_twice", "ctl.through_a_duplicate"],
            ),
            (Fault::AddForgetsLimit, &["ctl.full", "ctl.room_after_del"]),
            (
                Fault::AcceptsEveryFile,
                &["ctl.unsupported_eventfd", "ctl.unsupported_pidfd"],
            ),
            (Fault::AcceptsEveryBit, &["ctl.unknown_bits"]),
            (
                Fault::ModMissesQueued,
                &[
                    "watch.mod_narrows_what_is_queued",
                    "watch.mod_empties_one_of_three",
                ],
            ),
            (
                Fault::ModKeepsOldMask,
                &[
                    "watch.mod_narrows_what_is_queued",
                    "faults.mod_refreshes_what_is_queued",
                    "tcp.write_space_armed_by_mod_v4",
                ],
            ),
            (
                Fault::DelKeepsQueued,
                &[
                    "watch.del_drops_what_is_queued",
                    "watch.del_of_what_was_handed_out",
                    "wait.timeout_after_a_dropped_event",
                ],
            ),
            (Fault::CloseKeepsQueued, &["watch.close_drops_one_of_three"]),
            (
                Fault::LosesEverySecondEvent,
                &[
                    "tcp.data_v4",
                    "udp.data_v6",
                    "unix.accept_queue_stream",
                    "netlink.answer",
                    "pipe.an_event_for_each_write",
                    "fifo.many_readers",
                ],
            ),
            (
                Fault::LosesHangUp,
                &[
                    "pipe.writer_gone",
                    "tcp.reset_v4",
                    "tcp.both_ways_closed_v6",
                    "unix.peer_closed_seqpacket",
                ],
            ),
            (
                Fault::LosesOut,
                &[
                    "pipe.room",
                    "tcp.connect_done_v4",
                    "unix.dgram_peer_queue_drained",
                    "udp.sent_v4",
                ],
            ),
            (
                Fault::OnlyFirstEdge,
                &["pipe.data", "tcp.accept_queue_v4", "watch.two_queues"],
            ),
            (
                Fault::RepeatsEvents,
                &[
                    "pipe.data",
                    "tcp.data_v6",
                    "wait.handed_out_once",
                    "unix.dgram_data",
                ],
            ),
            (Fault::AddsBits, &["pipe.data", "tcp.fin_v4", "udp.data_v4"]),
            (
                Fault::TwoEntries,
                &["pipe.data", "wait.one_entry_for_one_descriptor"],
            ),
            (
                Fault::Reversed,
                &["wait.order_of_first_event", "wait.full_queue_in_one_wait"],
            ),
            (
                Fault::OneAtATime,
                &["wait.two_thousand_pipes", "faults.full_queue_drops_nothing"],
            ),
            (Fault::OneBuffer, &["wait.buffers_alternate"]),
            (
                Fault::BadPointerLosesEvents,
                &["wait.bad_pointer_null", "faults.efault_loses_nothing"],
            ),
            (
                Fault::TimeoutTooShort,
                &["wait.short_timeouts_are_kept", "wait.one_millisecond"],
            ),
            (
                Fault::EveryTimeoutIsValid,
                &["wait.negative_timeouts", "faults.timeout_overflow"],
            ),
        ];
        let cases: Vec<(Fault, Test)> = cases
            .iter()
            .flat_map(|(fault, names)| names.iter().map(|name| (*fault, find(name))))
            .collect();
        let missed = Mutex::new(String::new());
        each(&cases, |&(fault, ref test)| {
            set_fault(fault);
            crate::sys::HURRY.with(|h| h.set(true));
            // Some of them then wait for ever.
            let (outcome, _) = run(test, Some(Duration::from_secs(4)));
            if !matches!(outcome, Outcome::Failed(_)) {
                *missed.lock().unwrap() += &format!("{fault:?} passes {}\n", test.full_name());
            }
        });
        let missed = missed.into_inner().unwrap();
        assert!(missed.is_empty(), "{missed}");
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
        let failures = Mutex::new(String::new());
        each(&tests, |test| {
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
        });
        let failures = failures.into_inner().unwrap();
        assert!(failures.is_empty(), "{failures}");
    }
}
