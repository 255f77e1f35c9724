// SPDX-License-Identifier: GPL-2.0
//! What the fuzzer runs: a list of operations, each a word and numbers, that can be printed,
//! read back, and cut down at will. An operation names slots, not descriptors; on an empty slot
//! it does nothing, so every part of a valid program is a valid program.

use std::fmt;

use super::channel::Kind;
use crate::abi::{Bits, IN, MSG, OUT, PRI, RDBAND, RDHUP, RDNORM, WRBAND, WRNORM};

/// Places for descriptors.
pub const SLOTS: u32 = 10;
/// Threads of a program of the shape [`Shape::Threads`].
pub const THREADS: u32 = 3;
/// Operands of an operation, at most.
const OPERANDS: usize = 5;

/// How a program is run, and what is expected of it: see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One operation after the other, everything compared after each.
    Sequence,
    /// The same, twice: for epoll alone, then for evpoll alone.
    Apart,
    /// Several threads at once, the state compared when all have ended.
    Threads,
    /// Bytes are moved by readers and writers that go on until `EAGAIN`, and then wait.
    Transfer,
}

impl Shape {
    pub const ALL: [Shape; 4] = [
        Shape::Sequence,
        Shape::Apart,
        Shape::Threads,
        Shape::Transfer,
    ];

    fn name(self) -> &'static str {
        match self {
            Shape::Sequence => "sequence",
            Shape::Apart => "apart",
            Shape::Threads => "threads",
            Shape::Transfer => "transfer",
        }
    }
}

/// What an operand stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A place for a descriptor.
    Slot,
    /// A kind of descriptors, by its place in [`Kind::ALL`].
    Kind,
    /// A number of bytes.
    Bytes,
    /// POLL* bits.
    Mask,
    /// 0 or 1.
    Flag,
    /// SHUT_RD, SHUT_WR, SHUT_RDWR.
    How,
    /// Milliseconds.
    Time,
}

/// The bits that masks are made of.
pub const MASK: [u32; 9] = [IN, OUT, RDHUP, PRI, RDNORM, WRNORM, RDBAND, WRBAND, MSG];

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident $word:literal [$($operand:ident),*],)*) => {
        /// What an operation does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Verb {
            $($(#[$doc])* $verb,)*
        }

        impl Verb {
            /// All of them.
            pub const ALL: &'static [Verb] = &[$(Verb::$verb),*];

            /// Its word in a printed program.
            pub fn word(self) -> &'static str {
                match self {
                    $(Verb::$verb => $word,)*
                }
            }

            /// What it takes, in this order.
            pub fn operands(self) -> &'static [Operand] {
                match self {
                    $(Verb::$verb => &[$(Operand::$operand),*],)*
                }
            }
        }
    };
}

verbs! {
    /// Makes a channel of a kind, its ends in two slots.
    Open "open" [Kind, Slot, Slot],
    /// Writes or sends, once.
    Write "write" [Slot, Bytes],
    /// Writes pieces of that size until it does not go on.
    Fill "fill" [Slot, Bytes],
    /// Reads or receives, once.
    Read "read" [Slot, Bytes],
    /// Reads until it does not go on.
    Drain "drain" [Slot],
    /// Sends one urgent byte.
    Urgent "urgent" [Slot],
    /// Reads the urgent byte.
    ReadUrgent "read-urgent" [Slot],
    Shutdown "shutdown" [Slot, How],
    Close "close" [Slot],
    /// Duplicates the first into the second slot.
    Dup "dup" [Slot, Slot],
    /// The same, over the number that the second slot has.
    DupOver "dup-over" [Slot, Slot],
    /// A process that has all descriptors as well, until `reap`.
    Fork "fork" [],
    /// Ends the process that was made first.
    Reap "reap" [],
    /// Accepts from the first into the second slot.
    Accept "accept" [Slot, Slot],
    /// Connects the first slot to the address of the second.
    Connect "connect" [Slot, Slot],
    SendBuffer "send-buffer" [Slot, Bytes],
    ReceiveBuffer "receive-buffer" [Slot, Bytes],
    LowWater "low-water" [Slot, Bytes],
    /// Takes the pending error.
    TakeError "take-error" [Slot],
    /// The next close of it is a reset.
    Linger "linger" [Slot],
    /// Changes the size of a pipe.
    Resize "resize" [Slot, Bytes],
    /// Moves bytes from one to the other by splice(2).
    Splice "splice" [Slot, Slot, Bytes],
    /// Adds, everywhere; by write(2) in the queue that takes both, if the flag is set.
    Watch "watch" [Slot, Mask, Flag],
    /// Modifies; with a test, if the first flag is set.
    Modify "modify" [Slot, Mask, Flag, Flag],
    Unwatch "unwatch" [Slot, Flag],
    /// Makes a queue, which watches what is in the second slot, in the first one.
    Nest "nest" [Slot, Slot],
    /// Waits on such a queue.
    Inner "inner" [Slot],
    /// Waits on the queue that is waited on seldom.
    Late "late" [],
    /// The queue of plain ADDs is one of /dev/eventpoll. Counts wherever it is.
    Device "device" [],
    Nap "nap" [Time],
    /// Removes and adds again.
    Rewatch "rewatch" [Slot],
    /// Asks for nothing, then for everything again.
    Flip "flip" [Slot],
    /// Puts new files under both numbers, and watches them.
    Replace "replace" [Kind, Slot, Slot],
    /// One wait.
    Wait "wait" [],
    /// Kind, bytes in all, bytes at a time of the writer and of the reader; with `_AND_TEST`, if
    /// the flag is set.
    Flow "flow" [Kind, Bytes, Bytes, Bytes, Flag],
    /// All flows share one thread and one queue. Counts wherever it is.
    Shared "shared" [],
}

/// One operation. Operands that its verb does not have are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The thread that carries it out, where there are several.
    pub thread: u32,
    pub verb: Verb,
    pub args: [u32; OPERANDS],
}

impl Op {
    /// An operation of the first thread.
    pub fn new(verb: Verb, operands: &[u32]) -> Self {
        let mut args = [0; OPERANDS];
        args[..operands.len()].copy_from_slice(operands);
        Op {
            thread: 0,
            verb,
            args,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.verb.word())?;
        for (operand, value) in self.verb.operands().iter().zip(self.args) {
            match operand {
                Operand::Slot => write!(f, " s{value}")?,
                Operand::Kind => write!(f, " {}", Kind::of(value).name())?,
                Operand::Mask => write!(f, " {}", Bits(value))?,
                _ => write!(f, " {value}")?,
            }
        }
        Ok(())
    }
}

/// A whole program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub shape: Shape,
    pub ops: Vec<Op>,
}

impl Program {
    /// Whether an operation of this verb is there.
    pub fn has(&self, verb: Verb) -> bool {
        self.ops.iter().any(|op| op.verb == verb)
    }

    /// Reads what `Display` has printed. Lines that are empty or begin with `#` are left out. The
    /// error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut shape = None;
        let mut ops = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: String| format!("line {}: {why}: {line:?}", i + 1);
            if shape.is_none() {
                let found = Shape::ALL.into_iter().find(|s| s.name() == line);
                shape = Some(found.ok_or_else(|| wrong("no shape of a program".to_owned()))?);
                continue;
            }
            ops.push(parse_op(line).map_err(wrong)?);
        }
        let shape = shape.ok_or("the program is empty")?;
        Ok(Program { shape, ops })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{}", self.shape.name())?;
        for op in &self.ops {
            if self.shape == Shape::Threads {
                write!(f, "t{} ", op.thread)?;
            }
            writeln!(f, "{op}")?;
        }
        Ok(())
    }
}

fn parse_op(line: &str) -> Result<Op, String> {
    let mut words = line.split_whitespace().peekable();
    let mut thread = 0;
    if let Some(number) = words.peek().and_then(|w| w.strip_prefix('t')) {
        if let Ok(number) = number.parse::<u32>() {
            thread = number;
            words.next();
        }
    }
    if thread >= THREADS {
        return Err(format!("there are {THREADS} threads"));
    }
    let word = words.next().unwrap_or("");
    let verb = Verb::ALL.iter().copied().find(|v| v.word() == word);
    let verb = verb.ok_or_else(|| format!("no operation {word:?}"))?;
    let mut operands = Vec::new();
    for operand in verb.operands() {
        let word = words.next().ok_or("an operand is missing")?;
        operands.push(parse_operand(*operand, word).ok_or_else(|| format!("no operand {word:?}"))?);
    }
    if let Some(word) = words.next() {
        return Err(format!("one operand too many, {word:?}"));
    }
    Ok(Op {
        thread,
        ..Op::new(verb, &operands)
    })
}

fn parse_operand(operand: Operand, word: &str) -> Option<u32> {
    match operand {
        Operand::Slot => {
            let slot = word.strip_prefix('s')?.parse().ok()?;
            (slot < SLOTS).then_some(slot)
        }
        Operand::Kind => {
            let place = Kind::ALL.iter().position(|k| k.name() == word)?;
            Some(place as u32)
        }
        Operand::Mask if word == "0" => Some(0),
        Operand::Mask => word.split('|').try_fold(0, |mask, name| {
            let bit = MASK
                .into_iter()
                .find(|bit| Bits(*bit).to_string() == name)?;
            Some(mask | bit)
        }),
        _ => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_back() {
        for shape in Shape::ALL {
            for seed in 0..50 {
                let program = super::super::generate::program_of(shape, seed);
                assert_eq!(Program::parse(&program.to_string()), Ok(program));
            }
        }
    }

    #[test]
    fn comments_and_mistakes() {
        let program = Program::parse("# a\n\nsequence\nopen pipe s0 s1\n").unwrap();
        assert_eq!(program.ops, [Op::new(Verb::Open, &[0, 0, 1])]);
        for (text, error) in [
            ("", "the program is empty"),
            ("dance\n", "line 1: no shape of a program: \"dance\""),
            (
                "apart\nfly s1\n",
                "line 2: no operation \"fly\": \"fly s1\"",
            ),
            (
                "apart\nread s1\n",
                "line 2: an operand is missing: \"read s1\"",
            ),
            (
                "apart\nclose s99\n",
                "line 2: no operand \"s99\": \"close s99\"",
            ),
            (
                "apart\nclose s1 s2\n",
                "line 2: one operand too many, \"s2\": \"close s1 s2\"",
            ),
        ] {
            assert_eq!(Program::parse(text), Err(error.to_owned()));
        }
    }
}
