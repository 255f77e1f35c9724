// SPDX-License-Identifier: GPL-2.0
//! The interest table against a map.

use crate::interest::{Key, Keyed, Table};
use crate::random::ten_million;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap;

const SEED: u64 = 0x0123_4567_89ab_cdef;
/// As many files of one descriptor number as `FILES_PER_FD` allows.
const FILES: usize = 64;

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
    /// All that there are are visited.
    Walk,
    /// All that there are are taken out at once.
    Clear(u64),
}

fn key() -> impl Strategy<Value = Key> {
    // Dense numbers, as descriptors are, and a few that are far away.
    let fd = prop_oneof![8 => 0i32..40, 1 => any::<i32>().prop_map(|fd| fd & i32::MAX)];
    (fd, 1usize..3).prop_map(|(fd, file)| Key { fd, file })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => (key(), any::<u32>()).prop_map(|(key, value)| Op::Insert(key, value)),
        20 => key().prop_map(Op::Remove),
        10 => key().prop_map(Op::Find),
        2 => Just(Op::Walk),
        1 => any::<u64>().prop_map(Op::Clear),
    ]
}

/// The table beside a map from descriptor number to what is there for it.
struct Pair {
    table: Table<Element, Places>,
    model: HashMap<i32, Vec<Element>>,
    len: usize,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Self {
            table: Table::new(Vec::new(), seed),
            model: HashMap::new(),
            len: 0,
        }
    }

    /// What the model has for a descriptor number.
    fn of(&self, fd: i32) -> &[Element] {
        self.model.get(&fd).map_or(&[], Vec::as_slice)
    }

    fn model_find(&self, key: Key) -> Option<Element> {
        self.of(key.fd).iter().copied().find(|have| have.key == key)
    }

    /// What `Queue::add` does.
    fn insert(&mut self, element: Element) {
        let key = element.key;
        let mut probe = self.table.probe(key);
        assert_eq!(probe.found, self.model_find(key));
        if probe.found.is_some() {
            return;
        }
        assert_eq!(probe.files, self.of(key.fd).len());
        if probe.files == FILES {
            return;
        }
        if self.table.is_full() {
            // Now and then there are more to come.
            let elements = if element.value.is_multiple_of(7) {
                self.len + 40
            } else {
                0
            };
            let places = self.table.wants(elements);
            assert!(places.is_power_of_two() && places / 4 * 3 >= elements);
            assert!(places > self.len && places <= 2 * (self.len.max(elements) * 4 / 3 + 4));
            let old = self.table.replace(vec![None; places]);
            assert_eq!(old.iter().flatten().count(), self.len);
            assert!(!self.table.is_full());
            probe = self.table.probe(key);
        }
        self.table.insert(&probe, element);
        self.model.entry(key.fd).or_default().push(element);
        self.len += 1;
    }

    fn remove(&mut self, key: Key) {
        let expected = self.model_find(key);
        assert_eq!(self.table.remove(key), expected);
        if expected.is_some() {
            let rest = self.model.get_mut(&key.fd).expect("it was found");
            rest.retain(|have| have.key != key);
            self.len -= 1;
        }
    }

    fn find(&self, key: Key) {
        assert_eq!(self.table.find(key), self.model_find(key));
        let of = self.of(key.fd);
        // Each is offered once, and the search ends with the one that will do.
        let mut offered = 0;
        let none = self.table.find_fd(key.fd, |element| {
            assert!(of.contains(&element));
            offered += 1;
            false
        });
        assert_eq!((none, offered), (None, of.len()));
        let wanted = of.last().copied();
        let found = self.table.find_fd(key.fd, |e| Some(e) == wanted);
        assert_eq!(found, wanted);
    }

    fn walk(&self) {
        let mut place = 0;
        let mut seen = 0;
        while let Some((element, next)) = self.table.next_from(place) {
            assert_eq!(self.model_find(element.key), Some(element));
            assert!(next > place);
            place = next;
            seen += 1;
        }
        // None twice: no two of the model have the same key.
        assert_eq!(seen, self.len);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(key, value) => self.insert(Element { key, value }),
            Op::Remove(key) => self.remove(key),
            Op::Find(key) => self.find(key),
            Op::Walk => self.walk(),
            Op::Clear(seed) => *self = Pair::new(seed),
        }
        assert_eq!(self.table.len(), self.len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn does_what_a_map_does(seed: u64, ops in proptest::collection::vec(op(), 1..300)) {
        let mut pair = Pair::new(seed);
        for op in ops {
            pair.apply(op);
        }
        pair.walk();
    }
}

/// Up to some thousand descriptors, one number or another of many files, and tables that grow.
#[test]
fn ten_million_operations() {
    let mut pair = Pair::new(SEED);
    let mut most = (0, 0);
    let mut done = 0u32;
    ten_million(|random| {
        done += 1;
        let fd = match random.below(16) {
            0 => random.below(4) as i32,
            1 => (random.any() >> 33) as i32,
            _ => random.below(2000) as i32,
        };
        let files = if fd < 4 { 2 * FILES } else { 2 };
        let file = 1 + random.below(files);
        let key = Key { fd, file };
        // It grows and shrinks by turns.
        let inserts = if (done >> 16).is_multiple_of(2) { 6 } else { 2 };
        let op = match random.below(10) {
            n if n < inserts => Op::Insert(key, done),
            8 if random.once_in(4000) => Op::Walk,
            8 if random.once_in(100_000) => Op::Clear(random.any()),
            8.. => Op::Find(key),
            _ => Op::Remove(key),
        };
        pair.apply(op);
        most = (most.0.max(pair.len), most.1.max(pair.of(0).len()));
    });
    pair.walk();
    // It did happen.
    assert!(most.0 > 2000 && most.1 == FILES, "{most:?}");
}

thread_local! {
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

fn insert(table: &mut Table<Element, Places>, key: Key) {
    let probe = table.probe(key);
    table.insert(&probe, Element { key, value: 0 });
}

/// The places that are looked at to find each of these numbers, on average.
fn probes(fds: impl Iterator<Item = i32> + Clone) -> f64 {
    let mut table: Table<Element, Places> = Table::new(Vec::new(), SEED);
    for fd in fds.clone() {
        if table.is_full() {
            let places = table.wants(0);
            table.replace(vec![None; places]);
        }
        insert(&mut table, Key { fd, file: 1 });
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
        insert(&mut table, Key { fd: 7, file });
        insert(&mut table, Key { fd: 8, file });
    }
    let files = |table: &Table<_, Places>, fd| table.probe(Key { fd, file: 99 }).files;
    assert_eq!(files(&table, 7), 20);
    table.remove(Key { fd: 7, file: 3 });
    assert_eq!((files(&table, 7), files(&table, 8)), (19, 20));
    assert_eq!(files(&table, 9), 0);
}

/// A table that has nothing, and never had, finds nothing.
#[test]
fn an_empty_table() {
    let mut table: Table<Element, Places> = Table::new(Vec::new(), SEED);
    let key = Key { fd: 0, file: 1 };
    assert_eq!(table.find(key), None);
    assert_eq!(table.remove(key), None);
    assert_eq!(table.probe(key).files, 0);
    assert_eq!(table.next_from(0), None);
    assert!(table.is_full());
    assert_eq!(table.wants(0), 8);
    assert_eq!(table.wants(7), 16);
}
