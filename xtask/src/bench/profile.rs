// SPDX-License-Identifier: GPL-2.0
//! Where the instructions of an event are spent: a record of every instruction that was run, by
//! function and by what the program was doing.
//!
//! The guest's program calls getppid right before and right after what is to be looked at, and
//! nothing outside of the two counts. An inlined function counts for the one that it is in.

use super::figures::{Figure, Setting};
use super::symbols::{Symbols, SYSCALL};
use anyhow::{bail, Context};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

/// What the program was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The write that makes something happen, and what comes of it at once.
    Write,
    /// The wait of the interface.
    Wait,
    Read,
    /// The program itself.
    User,
    /// Interrupts and exceptions: no part of the work.
    Interrupt,
}

impl Part {
    /// What belongs to an event.
    pub const WORK: [Part; 4] = [Part::Write, Part::Wait, Part::Read, Part::User];

    pub fn name(self) -> &'static str {
        match self {
            Part::Write => "write",
            Part::Wait => "wait",
            Part::Read => "read",
            Part::User => "program",
            Part::Interrupt => "interrupts",
        }
    }
}

/// System calls by the names of their functions, without what all have in front.
const CALLS: [(&str, Part); 4] = [
    ("write", Part::Write),
    ("evpoll_wait", Part::Wait),
    ("epoll_wait", Part::Wait),
    ("read", Part::Read),
];
const MARK: &str = "getppid";
const ENTRY: &str = "entry_SYSCALL_64";
/// How code is entered that is no part of a system call.
const INTERRUPTS: [&str; 3] = ["asm_sysvec_", "asm_exc_", "asm_common_interrupt"];
/// And left, for the kernel; for user space, by being there.
const RETURN: &str = "native_irq_return_iret";

/// Instructions by what was done and function; None is user space.
pub type Counts = BTreeMap<(Part, Option<String>), u64>;

#[derive(Debug, Default, PartialEq)]
pub struct Profile {
    pub counts: Counts,
    /// System calls.
    pub writes: u64,
    pub waits: u64,
    pub reads: u64,
}

impl Profile {
    /// Instructions of a part for each event, of which there is one for each write.
    pub fn sum(&self, part: Part) -> f64 {
        let counts = self.counts.iter().filter(|((of, _), _)| *of == part);
        self.per_event(counts.map(|(_, count)| *count).sum())
    }

    pub fn of(&self, part: Part, function: &Option<String>) -> f64 {
        let count = self.counts.get(&(part, function.clone())).copied();
        self.per_event(count.unwrap_or(0))
    }

    fn per_event(&self, count: u64) -> f64 {
        count as f64 / self.writes.max(1) as f64
    }
}

/// Where the instructions of an event are spent.
pub struct Profiles {
    pub setting: Setting,
    /// By interface and events that a wait gives.
    pub of: Vec<(String, u32, Profile)>,
}

impl Profiles {
    /// What each function takes, of each part of the work.
    pub fn figures(&self) -> Vec<Figure> {
        let mut all = Vec::new();
        for (interface, active, profile) in &self.of {
            let work = |(part, _): &&(Part, Option<String>)| Part::WORK.contains(part);
            for (part, function) in profile.counts.keys().filter(work) {
                let params = [
                    ("active", json!(active)),
                    ("part", json!(part.name())),
                    ("function", json!(function_name(function))),
                ];
                let raw = [("events", json!(profile.writes))];
                let own = |(name, value): (&str, Value)| (name.to_owned(), value);
                all.push(Figure {
                    name: "profile".into(),
                    interface: interface.clone(),
                    params: params.map(own).into_iter().collect(),
                    value: Some(profile.of(*part, function)),
                    unit: "instructions/event".into(),
                    error: None,
                    raw: raw.map(own).into_iter().collect(),
                });
            }
        }
        all
    }
}

/// A function by its name, or user space by what it is called here.
pub fn function_name(function: &Option<String>) -> &str {
    function.as_deref().unwrap_or("(user space)")
}

/// Reads what QEMU logs with `exec` when each instruction is a block of its own.
pub fn read(log: impl BufRead, symbols: &Symbols) -> anyhow::Result<Profile> {
    let mut reader = Reader::new(symbols)?;
    // Whether an instruction has been run is known only with the next line.
    let mut last = None;
    for line in log.split(b'\n') {
        let line = line.context("reading the emulator's log")?;
        match address(&line) {
            Some(address) => {
                if let Some(before) = last.replace(address) {
                    reader.instruction(before)?;
                }
            }
            // An instruction that was begun, and is run again: "Stopped execution of TB chain
            // before", "cpu_io_recompile: rewound execution of TB to".
            None if line.starts_with(b"Stopped") || line.starts_with(b"cpu_io_recompile") => {
                last = None;
            }
            None => (),
        }
    }
    reader.finish()
}

/// `Trace 0: 0x7f185a59e900 [0000000000000000/ffffffff8140f451/10c0c2b0/ff020201] name`
fn address(line: &[u8]) -> Option<u64> {
    if !line.starts_with(b"Trace") {
        return None;
    }
    let field = line.split(|byte| *byte == b'/').nth(1)?;
    u64::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Between,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    User,
    /// On the way to a system call that is not known yet.
    Entry,
    Call(Part),
    Mark,
}

struct Reader<'a> {
    symbols: &'a Symbols,
    entry: u64,
    returns: u64,
    interrupts: BTreeSet<u64>,
    stage: Stage,
    doing: Doing,
    interrupted: bool,
    /// The function of the instruction before this one.
    last: Option<u64>,
    /// Functions by where they start; 0 is user space.
    counts: BTreeMap<(Part, u64), u64>,
    /// What is still to be counted for a system call.
    pending: Vec<u64>,
    profile: Profile,
}

impl<'a> Reader<'a> {
    fn new(symbols: &'a Symbols) -> anyhow::Result<Reader<'a>> {
        symbols.start(&format!("{SYSCALL}{MARK}"))?;
        Ok(Reader {
            symbols,
            entry: symbols.start(ENTRY)?,
            returns: symbols.start(RETURN)?,
            interrupts: symbols.starts(&INTERRUPTS).into_iter().collect(),
            stage: Stage::Before,
            doing: Doing::User,
            interrupted: false,
            last: None,
            counts: BTreeMap::new(),
            pending: Vec::new(),
            profile: Profile::default(),
        })
    }

    fn instruction(&mut self, address: u64) -> anyhow::Result<()> {
        let function = self.symbols.function(address);
        let start = function.map(|(start, _)| start);
        let left = self.last == Some(self.returns) && start != self.last;
        if self.interrupted && (start.is_none() || left) {
            self.interrupted = false;
        }
        self.last = start;
        if self.interrupts.contains(&address) {
            self.interrupted = true;
        }
        if self.interrupted {
            self.count(Part::Interrupt, start);
            return Ok(());
        }
        match function {
            None => {
                if self.doing == Doing::Mark && self.stage == Stage::Before {
                    self.stage = Stage::Between;
                }
                self.doing = Doing::User;
            }
            Some(_) if address == self.entry => self.doing = Doing::Entry,
            Some((start, name)) if self.doing == Doing::Entry && start == address => {
                if let Some(call) = name.strip_prefix(SYSCALL) {
                    self.enter(call)?;
                }
            }
            Some(_) => (),
        }
        match self.doing {
            Doing::User => self.count(Part::User, start),
            Doing::Entry => self.pending.extend(start),
            Doing::Call(part) => self.count(part, start),
            Doing::Mark => (),
        }
        Ok(())
    }

    /// Now it is known which system call this is.
    fn enter(&mut self, call: &str) -> anyhow::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if call == MARK {
            self.doing = Doing::Mark;
            if self.stage == Stage::Between {
                self.stage = Stage::After;
            }
            return Ok(());
        }
        let part = CALLS.iter().find(|(name, _)| *name == call);
        let part = match part {
            Some((_, part)) => *part,
            None if self.stage == Stage::Between => {
                bail!("the benchmark calls {call}, of which a profile knows nothing")
            }
            // Of which nothing is counted.
            None => Part::User,
        };
        self.doing = Doing::Call(part);
        if self.stage == Stage::Between {
            match part {
                Part::Write => self.profile.writes += 1,
                Part::Wait => self.profile.waits += 1,
                _ => self.profile.reads += 1,
            }
        }
        for start in pending {
            self.count(part, Some(start));
        }
        Ok(())
    }

    fn count(&mut self, part: Part, start: Option<u64>) {
        if self.stage == Stage::Between {
            *self.counts.entry((part, start.unwrap_or(0))).or_default() += 1;
        }
    }

    fn finish(self) -> anyhow::Result<Profile> {
        let Profile { writes, reads, .. } = self.profile;
        if self.stage != Stage::After {
            bail!("the record of the emulator has no beginning or no end: it logs no instructions");
        }
        if writes == 0 || reads != writes {
            bail!(
                "the record of the emulator has {writes} writes and {reads} reads: did another \
                 program run meanwhile?"
            );
        }
        let mut counts = Counts::new();
        for ((part, start), count) in self.counts {
            let function = self.symbols.function(start).map(|(_, name)| readable(name));
            *counts.entry((part, function)).or_default() += count;
        }
        Ok(Profile {
            counts,
            ..self.profile
        })
    }
}

/// Names of Rust as they are written.
fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::super::symbols::tests::MAP;
    use super::*;

    const USER: u64 = 0x40_1000;
    const ENTER: u64 = 0xffff_ffff_8100_0000;
    const COMMON: u64 = ENTER + 0x100;
    const GETPPID: u64 = ENTER + 0x200;
    const WRITE: u64 = ENTER + 0x300;
    const READ: u64 = ENTER + 0x400;
    const WAIT: u64 = ENTER + 0x500;
    const WAKE: u64 = ENTER + 0x600;
    const TIMER: u64 = ENTER + 0x700;
    const IRET: u64 = ENTER + 0x800;
    const CLOSE: u64 = ENTER + 0x900;

    fn line(address: u64) -> String {
        format!("Trace 0: 0x7f185a59e900 [0000000000000000/{address:x}/10c0c2b0/ff020201] x\n")
    }

    fn log(addresses: &[u64]) -> String {
        addresses.iter().map(|address| line(*address)).collect()
    }

    fn call(function: u64) -> [u64; 4] {
        [ENTER, COMMON, function, COMMON + 8]
    }

    fn profile(log: &str) -> anyhow::Result<Profile> {
        read(log.as_bytes(), &Symbols::parse(MAP).unwrap())
    }

    fn one_round() -> Vec<u64> {
        [
            &call(READ)[..],
            &[USER],
            &call(GETPPID),
            &[USER, USER + 4],
            &call(WRITE),
            &[WAKE, WAKE + 4, COMMON + 12],
            &[USER],
            &call(WAIT),
            &[USER],
            &call(READ),
            &[USER],
            &call(GETPPID),
            &[USER],
            &call(CLOSE),
        ]
        .concat()
    }

    #[test]
    fn what_lies_between_the_marks_is_counted_where_it_belongs() {
        let profile = profile(&log(&one_round())).unwrap();
        assert_eq!((profile.writes, profile.waits, profile.reads), (1, 1, 1));
        let function = |name: &str| Some(name.to_owned());
        assert_eq!(profile.sum(Part::Write), 7.0);
        assert_eq!(
            profile.of(Part::Write, &function("kernel::sync::wake")),
            2.0
        );
        assert_eq!(profile.of(Part::Write, &function("do_syscall_64")), 3.0);
        assert_eq!(profile.sum(Part::Wait), 4.0);
        assert_eq!(profile.of(Part::Wait, &function(ENTRY)), 1.0);
        assert_eq!(profile.sum(Part::Read), 4.0);
        assert_eq!(profile.of(Part::User, &None), 5.0);
        assert_eq!(profile.sum(Part::Interrupt), 0.0);
    }

    #[test]
    fn interrupts_are_no_part_of_what_they_interrupt() {
        let mut addresses = one_round();
        let at = addresses.iter().position(|a| *a == WAKE).unwrap();
        addresses.splice(at..at, [TIMER, WAKE, IRET, IRET + 2]);
        let at = addresses.iter().rposition(|a| *a == USER).unwrap() - 5;
        assert_eq!(addresses[at], USER);
        addresses.splice(at..at, [TIMER, TIMER + 1]);
        let profile = profile(&log(&addresses)).unwrap();
        assert_eq!(profile.sum(Part::Interrupt), 6.0);
        assert_eq!(profile.sum(Part::Write), 7.0);
        assert_eq!(profile.of(Part::User, &None), 5.0);
    }

    #[test]
    fn an_instruction_that_is_run_again_counts_once() {
        let mut text = String::new();
        for address in one_round() {
            text += &line(address);
            if address == WAKE {
                text += "Stopped execution of TB chain before 0x7f [ffffffff81000600] x\n";
                text += &line(address);
                text += "cpu_io_recompile: rewound execution of TB to ffffffff81000600\n";
                text += &line(address);
            }
        }
        assert_eq!(
            profile(&text).unwrap(),
            profile(&log(&one_round())).unwrap()
        );
    }

    #[test]
    fn a_record_that_is_not_whole_is_an_error() {
        let whole = one_round();
        let marks: Vec<usize> = (0..whole.len())
            .filter(|at| whole[*at] == GETPPID)
            .collect();
        assert!(profile("").is_err());
        assert!(profile(&log(&whole[..marks[1]])).is_err());
        assert!(profile(&log(&whole[marks[0] + 1..])).is_err());
        let without: Vec<u64> = whole.iter().copied().filter(|a| *a != READ).collect();
        assert!(profile(&log(&without)).is_err());
        let mut other = whole.clone();
        let at = other.iter().position(|a| *a == WAIT).unwrap();
        other[at] = CLOSE;
        assert!(profile(&log(&other))
            .unwrap_err()
            .to_string()
            .contains("calls close"));
    }
}
