// SPDX-License-Identifier: GPL-2.0
//! The law itself, as a state machine that makes no system call: it is told what was done, what
//! poll(2) showed, what epoll reported and what each queue handed out, in rounds of one
//! operation each, and says what is wrong. The law is in the documentation of [`super`].

use crate::abi::{Bits, PollFd, ALWAYS, IN, RDNORM};

/// The queues that are compared with epoll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Everything is added and modified with a test, where the program asks for one.
    Test,
    /// Everything is added and modified without.
    Plain,
    /// As `Test`, but waited on seldom.
    Late,
}

impl Side {
    pub const ALL: [Side; 3] = [Side::Test, Side::Plain, Side::Late];

    /// In a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Side::Test => "the queue with tests",
            Side::Plain => "the queue without tests",
            Side::Late => "the queue that is waited on seldom",
        }
    }
}

/// What concerns one watch in one queue.
#[derive(Clone, Copy, Default)]
struct Account {
    /// Not handed out yet, but has to be.
    owed: u32,
    /// Handed out in this round.
    got: u32,
    /// In how many waits of this round.
    times: u32,
    /// Was true at some moment since the last hand-out.
    truth: u32,
    /// Was handed out, or was true when it was added without a test, and has been true ever since.
    known: u32,
}

struct Watch {
    number: i32,
    file: usize,
    mask: u32,
    nature: Nature,
    live: bool,
    /// Added or modified in this round; with a test or without.
    fresh: Option<bool>,
    /// What epoll has reported in this round.
    epoll: u32,
    epoll_times: u32,
    /// The last sample.
    now: u32,
    accounts: [Account; 3],
}

/// What the law depends on, besides what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Nothing happens to it behind a system call.
    pub local: bool,
    /// The conditions that there cannot be more of once they are true.
    pub states: u32,
    /// It is an end of a pipe.
    pub pipe: bool,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries that the queues handed out.
    pub events: u64,
    /// Those that epoll had nothing for.
    pub spurious: u64,
}

/// A violation, in words.
pub type Verdict = Result<(), String>;

/// The state of the law.
#[derive(Default)]
pub struct Oracle {
    watches: Vec<Watch>,
    /// Spurious and other events so far.
    pub counts: Counts,
    /// This round's operation brings no data to anybody.
    futile: bool,
}

impl Oracle {
    /// A watch was added; its name from now on.
    pub fn add(
        &mut self,
        number: i32,
        file: usize,
        mask: u32,
        nature: Nature,
        tested: bool,
    ) -> usize {
        self.watches.push(Watch {
            number,
            file,
            mask,
            nature,
            live: true,
            fresh: Some(tested),
            epoll: 0,
            epoll_times: 0,
            now: 0,
            accounts: [Account::default(); 3],
        });
        self.watches.len() - 1
    }

    /// The watch of a number and a file, if there is one.
    pub fn find(&self, number: i32, file: usize) -> Option<usize> {
        let mine = |w: &Watch| w.live && w.number == number && w.file == file;
        self.watches.iter().position(mine)
    }

    /// The name of the watch that is added next.
    pub fn next(&self) -> usize {
        self.watches.len()
    }

    /// The number that a watch was added with.
    pub fn number(&self, watch: usize) -> i32 {
        self.watches[watch].number
    }

    /// Its mask is another one from now on, also for what is pending.
    pub fn modify(&mut self, watch: usize, mask: u32, tested: bool) {
        let w = &mut self.watches[watch];
        w.mask = mask;
        w.fresh = Some(tested);
        for a in &mut w.accounts {
            a.owed &= mask | ALWAYS;
        }
    }

    /// It was removed: nothing of it may come any more.
    pub fn remove(&mut self, watch: usize) {
        self.watches[watch].live = false;
    }

    /// The last reference to a file is gone, and its watches with it.
    pub fn closed(&mut self, file: usize) {
        for w in &mut self.watches {
            w.live &= w.file != file;
        }
    }

    /// The files that are watched.
    pub fn files(&self) -> Vec<usize> {
        let live = self.watches.iter().filter(|w| w.live);
        let mut files: Vec<usize> = live.map(|w| w.file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// poll(2) shows these bits on a file.
    pub fn sample(&mut self, file: usize, bits: u32) {
        for w in self.watches.iter_mut().filter(|w| w.file == file) {
            w.now = bits;
            for a in &mut w.accounts {
                a.truth |= bits;
                a.known &= bits;
            }
        }
    }

    /// These may have been true of a file, too, for a moment that no look has caught.
    pub fn believe(&mut self, file: usize, bits: u32) {
        for w in self.watches.iter_mut().filter(|w| w.file == file) {
            for a in &mut w.accounts {
                a.truth |= bits;
            }
        }
    }

    /// This round's operation brings no data to anybody: a write that has written nothing, or a
    /// change of a pipe's size.
    pub fn brings_nothing(&mut self) {
        self.futile = true;
    }

    /// epoll has reported these bits.
    pub fn epoll(&mut self, watch: usize, bits: u32) -> Verdict {
        let w = &mut self.watches[watch];
        if !w.live {
            return Err(format!(
                "epoll reports {} of fd {}, which is not watched any more: the fuzzer is wrong",
                Bits(bits),
                w.number
            ));
        }
        w.epoll |= bits;
        w.epoll_times += 1;
        Ok(())
    }

    fn group(&self, number: i32) -> impl Iterator<Item = &Watch> {
        self.watches
            .iter()
            .filter(move |w| w.live && w.number == number)
    }

    /// One wait on a queue has handed out these entries.
    pub fn took(&mut self, side: Side, entries: &[PollFd]) -> Verdict {
        for (i, e) in entries.iter().enumerate() {
            let (number, bits) = (e.fd, e.revents());
            let fail = |why: &str| Err(format!("{}: {why}: {e:?}", side.name()));
            let watches = self.group(number).count();
            let twins = entries[..=i].iter().filter(|o| o.fd == number).count();
            if watches == 0 {
                return fail("an entry for a descriptor that is not watched");
            }
            if twins > watches {
                return fail("one entry too many for one descriptor");
            }
            if bits == 0 {
                return fail("an entry without an event");
            }
            if !self.group(number).any(|w| w.mask == e.events()) {
                return fail("these are not the events that were asked for");
            }
            let asked = self.group(number).fold(ALWAYS, |all, w| all | w.mask);
            if bits & !asked != 0 {
                return fail("bits that nobody asked for");
            }
            let truth = |w: &Watch| w.accounts[side as usize].truth | w.epoll;
            let truth = self.group(number).fold(0, |all, w| all | truth(w));
            if bits & !truth != 0 {
                let why = format!(
                    "{} was not true at any moment since the last hand-out (true: {})",
                    Bits(bits & !truth),
                    Bits(truth)
                );
                return fail(&why);
            }
        }
        // Only of what is waited on in every step can be told which are spurious.
        if side != Side::Late {
            self.counts.events += entries.len() as u64;
        }
        for e in entries {
            let mine = |w: &&mut Watch| w.live && w.number == e.fd;
            for w in self.watches.iter_mut().filter(mine) {
                let now = w.now;
                let a = &mut w.accounts[side as usize];
                a.owed &= !e.revents();
                a.got |= e.revents();
                a.times += 1;
                a.truth = now;
                a.known |= e.revents() & now;
            }
        }
        Ok(())
    }

    /// What a watch is owed by a queue because of this round.
    fn due(&self, w: &Watch, side: Side) -> u32 {
        let a = &w.accounts[side as usize];
        let reported = match w.fresh {
            // What epoll reports of it may be no more than what was true before.
            Some(tested) if !tested || side == Side::Plain => 0,
            Some(_) => w.epoll,
            // The same callbacks tell all queues.
            None if self.group(w.number).count() == 1 => {
                w.epoll | w.accounts[Side::Test as usize].got
            }
            None => w.epoll,
        };
        let arrivals = match self.futile && w.nature.pipe {
            true => IN | RDNORM,
            false => 0,
        };
        (a.owed | reported) & !a.got & !(a.known & (w.nature.states | arrivals))
    }

    /// What the queues should have handed out by now; and why, in words. The one that is waited
    /// on seldom is asked only where it was waited on.
    pub fn missing(&self, late: bool) -> Option<(Side, String)> {
        for side in Side::ALL {
            if side == Side::Late && !late {
                continue;
            }
            for w in self.watches.iter().filter(|w| w.live) {
                // Several watches of one number cannot be told apart.
                let got = |g: &Watch| g.accounts[side as usize].got;
                let got = self.group(w.number).fold(0, |all, g| all | got(g));
                let due = self.due(w, side) & !got;
                if due != 0 {
                    let text = format!(
                        "{}: {} of fd {} is lost (epoll in edge mode has reported {} in this \
                         step, the queue {}; poll(2) shows {}; asked for: {})",
                        side.name(),
                        Bits(due),
                        w.number,
                        Bits(w.epoll),
                        Bits(got),
                        Bits(w.now),
                        Bits(w.mask)
                    );
                    return Some((side, text));
                }
            }
        }
        None
    }

    /// The operation is over, and all that came of it was taken.
    pub fn end_round(&mut self) -> Verdict {
        let mut wrong = Ok(());
        for i in 0..self.watches.len() {
            let w = &self.watches[i];
            if !w.live {
                continue;
            }
            let alone = self.group(w.number).count() == 1;
            let number = w.number;
            let nothing = self.group(number).all(|g| g.epoll == 0);
            let first = self
                .group(number)
                .next()
                .is_some_and(|g| std::ptr::eq(g, w));
            for side in [Side::Test, Side::Plain] {
                let a = &w.accounts[side as usize];
                let untested = w.fresh.is_some_and(|tested| !tested || side == Side::Plain);
                if untested && a.got != 0 && w.nature.local && alone {
                    wrong = Err(format!(
                        "{}: {} of fd {}, which was true before it was added or modified",
                        side.name(),
                        Bits(a.got),
                        number
                    ));
                }
                let again = a.times.saturating_sub(w.epoll_times.max(1));
                if again > 0 && w.nature.local && alone {
                    wrong = Err(format!(
                        "{}: {} of fd {} comes once more, though nothing has happened",
                        side.name(),
                        Bits(a.got),
                        number
                    ));
                }
                if a.got != 0 && nothing && first {
                    self.counts.spurious += u64::from(a.times);
                } else {
                    self.counts.spurious += u64::from(again);
                }
            }
        }
        for i in 0..self.watches.len() {
            let owed = Side::ALL.map(|side| self.due(&self.watches[i], side));
            let w = &mut self.watches[i];
            for (a, owed) in w.accounts.iter_mut().zip(owed) {
                a.got = 0;
                a.times = 0;
                a.owed = 0;
                if w.live {
                    a.owed = owed;
                }
            }
            // Compared already, or not to be compared at all.
            w.accounts[Side::Test as usize].owed = 0;
            w.accounts[Side::Plain as usize].owed = 0;
            if let Some(tested) = w.fresh.take() {
                let now = w.now;
                w.accounts[Side::Plain as usize].known |= now;
                if !tested {
                    w.accounts[Side::Test as usize].known |= now;
                    w.accounts[Side::Late as usize].known |= now;
                }
            }
            w.epoll = 0;
            w.epoll_times = 0;
        }
        self.futile = false;
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{HUP, OUT};

    const NATURE: Nature = Nature {
        local: true,
        states: HUP,
        pipe: true,
    };

    /// A watch of fd 5 for IN, everything quiet.
    fn watched() -> (Oracle, usize) {
        let mut o = Oracle::default();
        let w = o.add(5, 1, IN, NATURE, true);
        o.sample(1, 0);
        o.end_round().unwrap();
        (o, w)
    }

    fn entry(bits: u32) -> [PollFd; 1] {
        [PollFd::new(5, IN, bits)]
    }

    #[test]
    fn what_may_have_been_true_is_believed_until_the_next_hand_out() {
        let (mut o, _) = watched();
        assert!(o.took(Side::Test, &entry(IN)).is_err());
        o.believe(1, IN);
        o.took(Side::Test, &entry(IN)).unwrap();
        assert!(o.took(Side::Test, &entry(IN)).is_err());
    }

    #[test]
    fn an_event_that_both_report_is_fine() {
        let (mut o, w) = watched();
        o.sample(1, IN);
        o.epoll(w, IN).unwrap();
        assert_eq!(o.missing(false).unwrap().0, Side::Test);
        o.took(Side::Test, &entry(IN)).unwrap();
        assert_eq!(o.missing(false).unwrap().0, Side::Plain);
        o.took(Side::Plain, &entry(IN)).unwrap();
        assert_eq!(o.missing(false), None);
        o.end_round().unwrap();
        assert_eq!((o.counts.events, o.counts.spurious), (2, 0));
        // The late one has it still.
        assert_eq!(o.missing(true).unwrap().0, Side::Late);
        o.took(Side::Late, &entry(IN)).unwrap();
        assert_eq!(o.missing(true), None);
    }

    #[test]
    fn what_is_pending_is_narrowed_and_dropped() {
        for change in [
            |o: &mut Oracle, w| o.modify(w, OUT, true),
            |o: &mut Oracle, w| o.remove(w),
            |o: &mut Oracle, _| o.closed(1),
        ] {
            let (mut o, w) = watched();
            o.sample(1, IN);
            o.epoll(w, IN).unwrap();
            o.end_round().unwrap();
            change(&mut o, w);
            assert_eq!(o.missing(true), None);
            assert!(o.took(Side::Late, &entry(IN)).is_err());
        }
    }

    #[test]
    fn lies_are_found() {
        let (mut o, _) = watched();
        assert!(o.took(Side::Test, &entry(IN)).is_err(), "never true");
        o.sample(1, IN | HUP);
        assert!(o.took(Side::Test, &entry(0)).is_err(), "no event");
        assert!(o.took(Side::Test, &entry(OUT)).is_err(), "not asked for");
        let other = [PollFd::new(6, IN, IN)];
        assert!(o.took(Side::Test, &other).is_err(), "not watched");
        let mask = [PollFd::new(5, OUT, IN)];
        assert!(o.took(Side::Test, &mask).is_err(), "another mask");
        let twice = [entry(IN)[0], entry(IN)[0]];
        assert!(o.took(Side::Test, &twice).is_err(), "twice");
        o.took(Side::Test, &entry(IN | HUP)).unwrap();
        o.sample(1, 0);
        o.took(Side::Test, &entry(IN)).unwrap();
        assert!(o.took(Side::Test, &entry(IN)).is_err(), "not any more");
    }

    #[test]
    fn repetitions_are_found_and_spurious_events_counted() {
        let (mut o, w) = watched();
        o.sample(1, IN);
        o.took(Side::Test, &entry(IN)).unwrap();
        o.end_round().unwrap();
        assert_eq!(o.counts.spurious, 1);
        o.epoll(w, IN).unwrap();
        o.took(Side::Test, &entry(IN)).unwrap();
        o.took(Side::Test, &entry(IN)).unwrap();
        assert!(o.end_round().is_err());
    }

    #[test]
    fn a_state_is_told_once() {
        let (mut o, w) = watched();
        for now in [HUP, HUP, 0] {
            o.sample(1, now);
            o.epoll(w, HUP).unwrap();
            let told = o.missing(false).is_none();
            // Told at first, known then, and new again when it was not the case in between.
            assert_eq!(told, now == HUP && o.counts.events > 0);
            if !told {
                o.took(Side::Test, &entry(HUP)).unwrap();
                o.took(Side::Plain, &entry(HUP)).unwrap();
            }
            o.end_round().unwrap();
        }
    }

    #[test]
    fn a_futile_write_is_no_arrival() {
        let (mut o, w) = watched();
        o.sample(1, IN);
        for futile in [false, true, false] {
            o.epoll(w, IN).unwrap();
            if futile {
                o.brings_nothing();
            }
            assert_eq!(o.missing(false).is_none(), futile);
            if !futile {
                o.took(Side::Test, &entry(IN)).unwrap();
                o.took(Side::Plain, &entry(IN)).unwrap();
            }
            o.end_round().unwrap();
        }
    }

    #[test]
    fn a_plain_add_owes_nothing_and_reports_nothing() {
        let mut o = Oracle::default();
        let w = o.add(5, 1, IN, NATURE, true);
        o.sample(1, IN);
        o.epoll(w, IN).unwrap();
        o.took(Side::Test, &entry(IN)).unwrap();
        assert_eq!(o.missing(false), None);
        o.took(Side::Plain, &entry(IN)).unwrap();
        assert!(o.end_round().is_err());
    }
}
