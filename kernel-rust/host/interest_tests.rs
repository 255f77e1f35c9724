// SPDX-License-Identifier: GPL-2.0
//! The interest table against a map.

use crate::interest::{Key, Keyed, Table};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap;

const SEED: u64 = 0x0123_4567_89ab_cdef;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Element {
    key: Key,
    value: u32,
}

impl Keyed for Element {
    fn key(&self) -> Key {
        LOOKED_AT.set(LOOKED_AT.get() + 1);
        self.key
    }
}

type Places = Vec<Option<Element>>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(Key, u32),
    Remove(Key),
    Find(Key),
}

fn key() -> impl Strategy<Value = Key> {
    // Dense numbers, as descriptors are, and a few that are far away.
    let fd = prop_oneof![8 => 0i32..40, 1 => any::<i32>().prop_map(|fd| fd & i32::MAX)];
    (fd, 1usize..3).prop_map(|(fd, file)| Key { fd, file })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (key(), any::<u32>()).prop_map(|(key, value)| Op::Insert(key, value)),
        2 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::Find),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn does_what_a_map_does(ops in proptest::collection::vec(op(), 1..300)) {
        let mut table: Table<Element, Places> = Table::new(Vec::new(), SEED);
        let mut model: HashMap<(i32, usize), Element> = HashMap::new();
        for op in ops {
            match op {
                Op::Insert(key, value) => {
                    let element = Element { key, value };
                    let found = table.find(key);
                    prop_assert_eq!(found, model.get(&(key.fd, key.file)).copied());
                    if found.is_none() {
                        if let Some(places) = table.wants() {
                            prop_assert!(places.is_power_of_two());
                            table.replace(vec![None; places]);
                            prop_assert_eq!(table.wants(), None);
                        }
                        table.insert(element);
                        model.insert((key.fd, key.file), element);
                    }
                }
                Op::Remove(key) => {
                    prop_assert_eq!(table.remove(key), model.remove(&(key.fd, key.file)));
                }
                Op::Find(key) => {
                    prop_assert_eq!(table.find(key), model.get(&(key.fd, key.file)).copied());
                    let any = table.find_fd(key.fd, |element| element.key.file != key.file);
                    let other = Key { fd: key.fd, file: 3 - key.file };
                    prop_assert_eq!(any, model.get(&(other.fd, other.file)).copied());
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }

        let mut place = 0;
        let mut seen = 0;
        while let Some((element, next)) = table.next_from(place) {
            prop_assert_eq!(model.get(&(element.key.fd, element.key.file)), Some(&element));
            place = next;
            seen += 1;
        }
        prop_assert_eq!(seen, model.len());
    }
}

thread_local! {
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

/// The places that are looked at to find each of these numbers, on average.
fn probes(fds: impl Iterator<Item = i32> + Clone) -> f64 {
    let mut table: Table<Element, Places> = Table::new(Vec::new(), SEED);
    for fd in fds.clone() {
        if let Some(places) = table.wants() {
            table.replace(vec![None; places]);
        }
        let key = Key { fd, file: 1 };
        table.insert(Element { key, value: 0 });
    }
    LOOKED_AT.set(0);
    let mut count = 0;
    for fd in fds {
        assert!(table.find(Key { fd, file: 1 }).is_some());
        count += 1;
    }
    LOOKED_AT.get() as f64 / f64::from(count)
}

#[test]
fn descriptors_are_found_soon() {
    // With linear probing at three quarters full it is 2.5 at worst (Knuth, volume 3, 6.4).
    for step in [1, 2, 64, 1000, 4096, 65536] {
        let probes = probes((0..10_000).map(|n| n * step));
        assert!(probes < 3.0, "step {step}: {probes}");
    }
}

#[test]
fn the_files_of_one_number_are_counted() {
    let mut table: Table<Element, Places> = Table::new(vec![None; 64], SEED);
    for file in 1..=20 {
        let key = Key { fd: 7, file };
        table.insert(Element { key, value: 0 });
        let key = Key { fd: 8, file };
        table.insert(Element { key, value: 0 });
    }
    assert_eq!(table.count_fd(7), 20);
    table.remove(Key { fd: 7, file: 3 });
    assert_eq!((table.count_fd(7), table.count_fd(8)), (19, 20));
    assert_eq!(table.count_fd(9), 0);
}
