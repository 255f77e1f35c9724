// SPDX-License-Identifier: GPL-2.0
//! Queues in queues against a list of who watches whom, searched anew each time.

use crate::nesting::{link, may_link, unlink, Graph, Links, MAX_NESTING};
use crate::random::ten_million;
use proptest::prelude::*;

const QUEUES: usize = 9;

struct Queues {
    links: Vec<Links>,
    watchers: Vec<Vec<usize>>,
    walk: u64,
    visited: usize,
}

impl Queues {
    fn new() -> Self {
        Queues {
            links: vec![Links::new(); QUEUES],
            watchers: vec![Vec::new(); QUEUES],
            walk: 0,
            visited: 0,
        }
    }

    fn may_link(&mut self, outer: usize, inner: usize) -> bool {
        self.walk += 1;
        let walk = self.walk;
        may_link(self, outer, inner, walk)
    }

    fn link(&mut self, outer: usize, inner: usize) {
        self.watchers[inner].push(outer);
        link(self, outer, inner);
    }

    fn unlink(&mut self, outer: usize, inner: usize) {
        unlink(self, outer, inner);
        let at = self.watchers[inner].iter().position(|&q| q == outer);
        self.watchers[inner].remove(at.expect("it watches"));
    }
}

impl Graph for Queues {
    type Queue = usize;

    fn links(&mut self, queue: usize) -> &mut Links {
        self.visited += 1;
        &mut self.links[queue]
    }

    fn watcher(&self, queue: usize, index: usize) -> Option<usize> {
        self.watchers[queue].get(index).copied()
    }
}

/// The length of the longest chain from `queue` down; `None` for a cycle.
fn longest(edges: &[(usize, usize)], queue: usize, budget: usize) -> Option<usize> {
    let mut most = 0;
    for &(outer, inner) in edges {
        if outer == queue {
            most = most.max(1 + longest(edges, inner, budget.checked_sub(1)?)?);
        }
    }
    Some(most)
}

/// Whether there is neither a cycle nor too long a chain.
fn fine(edges: &[(usize, usize)]) -> bool {
    (0..QUEUES).all(|queue| longest(edges, queue, QUEUES).is_some_and(|len| len <= MAX_NESTING))
}

#[derive(Clone, Debug)]
enum Op {
    Link(usize, usize),
    /// Of the links that there are, this one.
    Unlink(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..QUEUES, 0..QUEUES).prop_map(|(outer, inner)| Op::Link(outer, inner)),
        1 => any::<prop::sample::Index>().prop_map(Op::Unlink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn refuses_just_what_makes_a_cycle_or_a_long_chain(ops in prop::collection::vec(op(), 1..80)) {
        let mut queues = Queues::new();
        let mut edges: Vec<(usize, usize)> = Vec::new();
        for op in ops {
            match op {
                Op::Link(outer, inner) => {
                    edges.push((outer, inner));
                    let fine = fine(&edges);
                    prop_assert_eq!(queues.may_link(outer, inner), fine, "{:?}", edges);
                    if fine {
                        queues.link(outer, inner);
                    } else {
                        edges.pop();
                    }
                }
                Op::Unlink(index) if !edges.is_empty() => {
                    let (outer, inner) = edges.swap_remove(index.index(edges.len()));
                    queues.unlink(outer, inner);
                }
                Op::Unlink(_) => {}
            }
        }
    }
}

/// A queue that is reached in many ways is looked at once.
#[test]
fn the_walk_does_not_grow_with_the_number_of_ways() {
    let mut queues = Queues::new();
    // Queue 0 is watched by 1 and 2, those by 3 and 4, those by 5 and 6, each 50 times.
    for level in [0, 1, 3] {
        let below: &[usize] = if level == 0 {
            &[0]
        } else {
            &[level, level + 1]
        };
        for outer in [below[0] + below.len(), below[0] + below.len() + 1] {
            for &inner in below {
                for _ in 0..50 {
                    assert!(queues.may_link(outer, inner));
                    queues.link(outer, inner);
                }
            }
        }
    }
    queues.visited = 0;
    assert!(queues.may_link(0, 7));
    // For each queue above: twice itself, and once for each way from one that is below it.
    assert!(queues.visited < 1000, "{} looks", queues.visited);
}

/// The same rule, fast: whether nothing is left when the queues that watch none are taken away, and
/// then those that watched only these, and so on, once for each queue that a chain may have.
fn fine_by_layers(watches: &[[u32; QUEUES]; QUEUES]) -> bool {
    let mut left: Vec<usize> = (0..QUEUES).collect();
    for _ in 0..=MAX_NESTING {
        let above: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&outer| left.iter().any(|&inner| watches[outer][inner] != 0))
            .collect();
        left = above;
    }
    left.is_empty()
}

#[test]
fn the_fast_rule_is_the_same() {
    let mut random = crate::random::Random::new(1);
    for _ in 0..20_000 {
        let mut edges = Vec::new();
        let mut watches = [[0; QUEUES]; QUEUES];
        for _ in 0..random.below(14) {
            let (outer, inner) = (random.below(QUEUES), random.below(QUEUES));
            edges.push((outer, inner));
            watches[outer][inner] += 1;
        }
        assert_eq!(fine(&edges), fine_by_layers(&watches), "{edges:?}");
    }
}

/// Links, often of the same two queues, and queues that go away with all that they watch.
#[test]
fn ten_million_operations() {
    let mut queues = Queues::new();
    let mut watches = [[0u32; QUEUES]; QUEUES];
    let (mut linked, mut refused, mut links) = (0u64, 0u64, 0u32);
    ten_million(|random| {
        let (outer, inner) = (random.below(QUEUES), random.below(QUEUES));
        let again = watches[outer][inner] != 0;
        match random.below(64) {
            // The queue is released. Those that watch it still, find it closed.
            0 => {
                for other in 0..QUEUES {
                    for (outer, inner) in [(outer, other), (other, outer)] {
                        while watches[outer][inner] != 0 {
                            watches[outer][inner] -= 1;
                            links -= 1;
                            queues.unlink(outer, inner);
                        }
                    }
                }
                queues.links[outer] = Links::new();
            }
            1..32 if links < 40 => {
                watches[outer][inner] += 1;
                // A link that there is makes no chain longer.
                let fine = again || fine_by_layers(&watches);
                assert_eq!(queues.may_link(outer, inner), fine, "{watches:?}");
                if fine {
                    queues.link(outer, inner);
                    links += 1;
                    linked += 1;
                } else {
                    watches[outer][inner] -= 1;
                    refused += 1;
                }
            }
            _ if again => {
                watches[outer][inner] -= 1;
                links -= 1;
                queues.unlink(outer, inner);
            }
            _ => {}
        }
    });
    // It did happen.
    assert!(linked > 1000 && refused > 1000, "{linked} {refused}");
}
