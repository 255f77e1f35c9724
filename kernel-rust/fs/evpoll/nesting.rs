// SPDX-License-Identifier: GPL-2.0

//! Queues that watch queues: no cycles, and no long chains.
//!
//! An event of a queue is passed on to the queues that watch it, one inside the other, so a cycle
//! would never end and a chain must be short. The graph is only known from below, from a queue to
//! those that watch it. So that the length of a chain is known from above, too, each queue counts
//! the queues that it watches by their height, the length of the longest chain below them.
//!
//! Pure: no kernel calls, no allocation, no panics within the limits below. The caller serialises
//! all calls, for all queues together.

/// The most links of a chain, as in epoll: queue watches queue watches queue watches queue watches
/// queue.
pub(crate) const MAX_NESTING: usize = 4;

/// What is known of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// How many watches of queues of this height it has.
    inside: [u32; MAX_NESTING],
    /// The walk that `above` comes from.
    walk: u64,
    above: usize,
}

impl Links {
    pub(crate) const fn new() -> Self {
        Self {
            inside: [0; MAX_NESTING],
            walk: 0,
            above: 0,
        }
    }

    /// The length of the longest chain below: 0 for a queue that watches no queues.
    fn height(&self) -> usize {
        self.inside
            .iter()
            .rposition(|&count| count != 0)
            .map_or(0, |height| height + 1)
    }

    fn count(&mut self, height: usize, change: impl FnOnce(u32) -> u32) {
        if let Some(count) = self.inside.get_mut(height) {
            *count = change(*count);
        }
    }
}

/// The queues, and who watches whom.
pub(crate) trait Graph {
    /// A queue.
    type Queue: Copy + PartialEq;

    /// What is known of a queue.
    fn links(&mut self, queue: Self::Queue) -> &mut Links;

    /// The `index`th of the queues that watch `queue`, if there are so many. One that watches it
    /// twice is there twice.
    fn watcher(&self, queue: Self::Queue, index: usize) -> Option<Self::Queue>;
}

/// Whether `outer` may watch `inner`. `walk` is another number for each call, never 0.
pub(crate) fn may_link<G: Graph>(
    graph: &mut G,
    outer: G::Queue,
    inner: G::Queue,
    walk: u64,
) -> bool {
    match above(graph, outer, inner, walk) {
        Some(above) => above + 1 + graph.links(inner).height() <= MAX_NESTING,
        None => false,
    }
}

/// The length of the longest chain above `queue`; `None` if `inner` is above it, or is it.
///
/// Recurses as deep as that chain is long, [`MAX_NESTING`] at most, and looks at each queue once.
fn above<G: Graph>(graph: &mut G, queue: G::Queue, inner: G::Queue, walk: u64) -> Option<usize> {
    if queue == inner {
        return None;
    }
    let links = graph.links(queue);
    if links.walk == walk {
        return Some(links.above);
    }
    let mut most = 0;
    let mut index = 0;
    while let Some(watcher) = graph.watcher(queue, index) {
        most = most.max(above(graph, watcher, inner, walk)? + 1);
        index += 1;
    }
    let links = graph.links(queue);
    links.walk = walk;
    links.above = most;
    Some(most)
}

/// `outer` watches `inner` from now on, which it [may](may_link). The caller adds it to the
/// watchers of `inner`.
pub(crate) fn link<G: Graph>(graph: &mut G, outer: G::Queue, inner: G::Queue) {
    let height = graph.links(inner).height();
    change(graph, outer, |links| {
        links.count(height, |count| count.saturating_add(1));
    });
}

/// `outer` does not watch `inner` any more. The caller removes it, once, from the watchers of
/// `inner`.
pub(crate) fn unlink<G: Graph>(graph: &mut G, outer: G::Queue, inner: G::Queue) {
    let height = graph.links(inner).height();
    change(graph, outer, |links| {
        links.count(height, |count| count.saturating_sub(1));
    });
}

/// Changes a queue's counts, and if that changes its height, those of its watchers.
///
/// Recurses like [`above`]: there are no cycles.
fn change<G: Graph>(graph: &mut G, queue: G::Queue, how: impl FnOnce(&mut Links)) {
    let links = graph.links(queue);
    let before = links.height();
    how(links);
    let after = links.height();
    if before == after {
        return;
    }
    let mut index = 0;
    while let Some(watcher) = graph.watcher(queue, index) {
        change_by(graph, watcher, before, after);
        index += 1;
    }
}

/// A queue that `queue` watches has another height.
fn change_by<G: Graph>(graph: &mut G, queue: G::Queue, from: usize, to: usize) {
    change(graph, queue, |links| {
        links.count(from, |count| count.saturating_sub(1));
        links.count(to, |count| count.saturating_add(1));
    });
}
