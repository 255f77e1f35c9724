// SPDX-License-Identifier: GPL-2.0
//! What /proc/PID/fdinfo says of a queue.

use crate::abi::*;
use crate::queue::*;
use crate::sys::*;

tests!("fdinfo":
    empty_queue,
    lists_the_watches,
    lists_what_was_changed,
);

fn fdinfo(q: &Queue) -> String {
    let file = format!("/proc/self/fdinfo/{}", q.raw());
    std::fs::read_to_string(&file).expect(&file)
}

/// The watches that are listed: descriptor and events.
fn listed(q: &Queue) -> Vec<(i32, u32)> {
    let mut watches: Vec<_> = fdinfo(q)
        .lines()
        .filter_map(|line| line.strip_prefix("tfd:"))
        .map(|rest| {
            let words: Vec<_> = rest.split_whitespace().collect();
            let [fd, "events:", events] = words[..] else {
                panic!("expected \"tfd: FD events: HEX\", got {rest:?}");
            };
            let events = u32::from_str_radix(events, 16).expect("the events in hexadecimal");
            (fd.parse().expect("a descriptor"), events)
        })
        .collect();
    watches.sort_unstable();
    watches
}

fn empty_queue() {
    let q = Queue::new(12);
    let text = fdinfo(&q);
    check!(
        text.lines().any(|line| line == "maxfds:\t12"),
        "expected a line \"maxfds:\\t12\", got {text:?}"
    );
    check_eq!("the watches", listed(&q), vec![]);
}

fn lists_the_watches() {
    let q = Queue::new(100);
    let pipes: Vec<_> = (0..20).map(|_| pipe()).collect();
    let mut want = Vec::new();
    for (r, w) in &pipes {
        q.add(r, IN);
        q.add(w, OUT | ERR);
        want.push((r.raw(), IN));
        want.push((w.raw(), OUT | ERR));
    }
    want.sort_unstable();
    check_eq!("the watches", listed(&q), want);
}

fn lists_what_was_changed() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (r2, _w2) = pipe();
    q.add(&r, IN);
    q.add(&w, OUT);
    q.add(&r2, IN);
    q.modify(&r, IN | RDHUP);
    q.del(&w);
    drop(r2);
    check_eq!("the watches", listed(&q), vec![(r.raw(), IN | RDHUP)]);
}
