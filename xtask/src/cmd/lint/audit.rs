// SPDX-License-Identifier: GPL-2.0
//! The object code of the hot path: nothing in it may panic, and nothing may be called that is
//! meant to be inlined.
//!
//! What is looked at are the objects that the release kernel is linked from, as rustc has made them
//! (clippy, which compiles for the other checks, optimises less). Starting from the functions of
//! [`HOT`], everything is followed that they refer to and that these objects define: calls, jumps,
//! and addresses that are taken. Calls by pointer cannot be followed; what they reach is in the list
//! itself.

use super::{count, Outcome};
use crate::kernel::Build;
use crate::progress::{output, run_logged_with, Step};
use anyhow::{bail, Context};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// What make is asked for. The kernel crate comes with the first.
const TARGETS: [&[&str]; 2] = [&["prepare"], &["fs/fcblist.o", "fs/evpoll/"]];

/// What is looked at.
const OBJECTS: [&str; 4] = [
    "fs/fcblist.o",
    "fs/evpoll/syscalls.o",
    "fs/evpoll/evpoll_main.o",
    "rust/kernel.o",
];

/// The functions of the hot path that are called from elsewhere or by pointer, without the names of
/// their crates' hashes, and why they are hot. One that is not there was renamed, and so has to be
/// here; so nothing escapes.
const HOT: [(&str, &str); 11] = [
    (
        "file_notify_event",
        "called for each event of a watched file",
    ),
    (
        "file_send_notify",
        "the same for pipes and queues, which know what happened",
    ),
    (
        "file_notify_nested",
        "called for each first event of a queue that is watched",
    ),
    (
        "__file_notify_cleanup",
        "called for each last close of a file that was watched",
    ),
    (
        "<kernel::fs::fcblist::Callback<evpoll_main::watch::Watch>>::notify",
        "called back for each event: writes it (DoubleBuffer::post) and wakes who waits",
    ),
    (
        "<kernel::fs::fcblist::Callback<evpoll_main::watch::Watch>>::pin",
        "called back, with interrupts off, for each last close of a watched file",
    ),
    (
        "__x64_sys_evpoll_wait",
        "the system call that everything is fast for",
    ),
    (
        "evpoll_do_wait",
        "its Rust side: flips the halves, hands one out",
    ),
    (
        "<evpoll_main::queue::Queue>::wait_slowly",
        "the rest of it: sleeps, maps the queue, stores with a page fault",
    ),
    ("evpoll_main::requests::poll", "the same by EP_POLL"),
    (
        "<kernel::fs::anon_inode::FileOperations<evpoll_main::queue::QueueFile>>::poll",
        "called when a queue's own descriptor is polled",
    ),
];

/// Parts of the names of functions that end in a panic, or do so if the compiler could not show
/// that they are not called.
const PANICS: [&str; 15] = [
    "core::panicking::",
    "core::slice::index::",
    "core::slice::copy_from_slice_impl::",
    "core::str::slice_error_fail",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::cell::panic_",
    "core::num::int_log10::panic_",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::",
    "rust_begin_unwind",
    "rust_panic",
    "rust_build_error",
    "core::intrinsics::abort",
];

/// C functions for Rust that release inlines.
const HELPER: &str = "rust_helper_";

/// Builds the objects, if they are not up to date, and looks at them.
pub fn panics(build: &Build, step: &mut Step) -> anyhow::Result<Outcome> {
    for targets in TARGETS {
        let mut cmd = build.make();
        cmd.args(targets);
        let log = build.log("audit");
        run_logged_with(cmd, &log, |line| step.note(line.trim()))
            .context("compiling what the audit looks at")?;
    }
    step.note("disassembling");
    let mut objects = Vec::new();
    for name in OBJECTS {
        let path = build.objdir.join(name);
        objects.push(Object::of(name, &path, &|tool| build.tools.llvm(tool))?);
    }
    Ok(audit(&objects, &HOT))
}

/// The findings in the functions that are reached from `hot`.
fn audit(objects: &[Object], hot: &[(&str, &str)]) -> Outcome {
    let mut findings = Vec::new();
    let mut reached = BTreeSet::new();
    let mut next = Vec::new();
    let by_symbol: BTreeMap<&str, (usize, usize)> = objects
        .iter()
        .enumerate()
        .flat_map(|(at, object)| {
            let functions = object.functions.iter().enumerate();
            functions.map(move |(index, function)| (function.symbol.as_str(), (at, index)))
        })
        .collect();
    for (name, why) in hot {
        let found = by_symbol
            .iter()
            .find(|(symbol, _)| readable(symbol) == *name);
        match found {
            Some((_, &place)) => next.push(place),
            None => findings.push(format!(
                "there is no function {name} ({why}): was it renamed? The list is in \
                 xtask/src/cmd/lint/audit.rs"
            )),
        }
    }
    while let Some((at, index)) = next.pop() {
        if !reached.insert((at, index)) {
            continue;
        }
        let object = &objects[at];
        let function = &object.functions[index];
        for reference in &function.references {
            let symbol = match &reference.to {
                Target::Symbol(symbol) => symbol.as_str(),
                Target::Place(section, address) => {
                    if let Some(target) = object.function_at(section, *address) {
                        next.push((at, target));
                    }
                    continue;
                }
                Target::Trap
                    if function.symbol.starts_with(TRAMPOLINE)
                        || object
                            .bugs
                            .contains(&(function.section.clone(), reference.at)) =>
                {
                    continue
                }
                Target::Trap => {
                    "a trap that is not of a WARN or BUG: code that is not reached, \
                                 as the compiler was told, or an abort"
                }
            };
            let name = readable(symbol);
            let bad = reference.to == Target::Trap
                || symbol.contains(HELPER)
                || PANICS.iter().any(|part| name.contains(part));
            if bad {
                findings.push(format!(
                    "{}: {}+{:#x}: {name}",
                    object.name,
                    readable(&function.symbol),
                    reference.at - function.start
                ));
            } else if let Some(&place) = by_symbol.get(symbol) {
                next.push(place);
            }
        }
    }
    Outcome {
        looked_at: count(reached.len(), "function"),
        findings,
    }
}

/// How the trampolines of static calls (of tracepoints) begin. Behind the jump, which is patched,
/// there is a trap that marks them as such (arch/x86/include/asm/static_call.h).
const TRAMPOLINE: &str = "__SCT__";

/// A symbol as its source spells it.
fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// An object file, disassembled.
struct Object {
    name: String,
    functions: Vec<Function>,
    /// Sections and addresses of the instructions that `__bug_table` names: a WARN or BUG.
    bugs: BTreeSet<(String, u64)>,
}

struct Function {
    symbol: String,
    section: String,
    start: u64,
    references: Vec<Reference>,
}

/// What an instruction refers to.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    /// The address of the instruction.
    at: u64,
    to: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// By name.
    Symbol(String),
    /// An address within a section of the same object.
    Place(String, u64),
    /// Nothing: the instruction traps.
    Trap,
}

impl Object {
    fn of(name: &str, path: &Path, tool: &dyn Fn(&str) -> String) -> anyhow::Result<Object> {
        let run = |program: &str, args: &[&str]| {
            output(Command::new(tool(program)).args(args).arg(path))
                .with_context(|| format!("{name}: is llvm installed?"))
        };
        let args = ["-d", "-r", "--no-show-raw-insn"];
        let object = Object {
            name: name.to_owned(),
            functions: functions(&run("llvm-objdump", &args)?)?,
            bugs: bugs(&run("llvm-readelf", &["-r", "-W"])?),
        };
        if object.functions.is_empty() {
            bail!("{name} has no code: llvm-objdump may print it in another way now");
        }
        Ok(object)
    }

    fn function_at(&self, section: &str, address: u64) -> Option<usize> {
        let before = self
            .functions
            .iter()
            .enumerate()
            .filter(|(_, function)| function.section == section && function.start <= address);
        before
            .max_by_key(|(_, function)| function.start)
            .map(|(index, _)| index)
    }
}

/// The functions of what `llvm-objdump -d -r --no-show-raw-insn` prints.
fn functions(text: &str) -> anyhow::Result<Vec<Function>> {
    let mut found: Vec<Function> = Vec::new();
    let mut section = String::new();
    // The last instruction has had no relocation.
    let mut fresh = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Disassembly of section ") {
            section = name.trim_end_matches(':').to_owned();
        } else if let Some((start, symbol)) = header(line) {
            found.push(Function {
                symbol: symbol.to_owned(),
                section: section.clone(),
                start,
                references: Vec::new(),
            });
        } else if let Some((at, target)) = relocation(line) {
            let Some(function) = found.last_mut() else {
                continue;
            };
            // Its instruction has been read; where that seems to go is where it is not linked.
            let instruction = function.references.last_mut();
            let Some(instruction) = instruction.filter(|have| have.at <= at) else {
                bail!("a relocation without an instruction: {line}");
            };
            if core::mem::take(&mut fresh) {
                instruction.to = target;
            } else {
                // Two in one instruction: an address and a number.
                let at = instruction.at;
                function.references.push(Reference { at, to: target });
            }
        } else if let Some((at, to)) = instruction(line, &section) {
            if let Some(function) = found.last_mut() {
                function.references.push(Reference { at, to });
                fresh = true;
            }
        }
    }
    for function in &mut found {
        function
            .references
            .retain(|reference| reference.to != Target::Place(String::new(), 0));
    }
    Ok(found)
}

/// `0000000000000050 <file_notify_put>:`
fn header(line: &str) -> Option<(u64, &str)> {
    let (address, rest) = line.split_once(" <")?;
    let symbol = rest.strip_suffix(">:")?;
    Some((u64::from_str_radix(address, 16).ok()?, symbol))
}

/// `23: callq 0x28 <file_notify_get+0x28>`: where it is, and where it goes: nowhere, if it is no
/// branch; a relocation may follow.
fn instruction(line: &str, section: &str) -> Option<(u64, Target)> {
    let (address, rest) = line.split_once(':')?;
    let at = u64::from_str_radix(address.trim(), 16).ok()?;
    let mut words = rest.split_whitespace();
    let mut mnemonic = words.next()?;
    if ["lock", "notrack", "rep", "bnd"].contains(&mnemonic) {
        mnemonic = words.next().unwrap_or(mnemonic);
    }
    if mnemonic.starts_with("ud") {
        return Some((at, Target::Trap));
    }
    let branch = mnemonic.starts_with('j') || mnemonic.starts_with("call");
    let operand = words.next().and_then(|word| word.strip_prefix("0x"));
    let to = operand.and_then(|word| u64::from_str_radix(word, 16).ok());
    Some(match to.filter(|_| branch) {
        Some(to) => (at, Target::Place(section.to_owned(), to)),
        None => (at, Target::Place(String::new(), 0)),
    })
}

/// `0000000000000024:  R_X86_64_PLT32 mutex_lock-0x4`, behind its instruction.
fn relocation(line: &str) -> Option<(u64, Target)> {
    let (address, rest) = line.split_once(":  R_X86_64_")?;
    let at = u64::from_str_radix(address.trim(), 16).ok()?;
    let (kind, name) = rest.split_once(char::is_whitespace)?;
    let relative = kind.starts_with("PC") || kind.starts_with("PLT");
    let name = name.trim();
    // What follows the name is an addend; a mangled name has no `-` or `+` in it.
    let (symbol, addend) = match name.rfind(['-', '+']) {
        Some(sign) => {
            let number = name[sign + 1..].strip_prefix("0x")?;
            let number = i64::from_str_radix(number, 16).ok()?;
            let negative = name.as_bytes()[sign] == b'-';
            (&name[..sign], if negative { -number } else { number })
        }
        None => (name, 0),
    };
    if symbol.starts_with('.') {
        let address = addend + if relative { 4 } else { 0 };
        let address = u64::try_from(address).unwrap_or(0);
        return Some((at, Target::Place(symbol.to_owned(), address)));
    }
    Some((at, Target::Symbol(symbol.to_owned())))
}

/// The instructions that `__bug_table` names, in what `llvm-readelf -r -W` prints. (And what else it
/// names: the texts and files.)
fn bugs(text: &str) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Relocation section ") {
            inside = rest.contains("__bug_table'");
        } else if inside {
            // Offset, info, kind, value, section + addend
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, value, section, "+", addend] = words[..] {
                let number = |word| u64::from_str_radix(word, 16).unwrap_or(0);
                found.insert((section.to_owned(), number(value) + number(addend)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hot` calls `warm`, by an address, which jumps to `bounds`, by a section, and all may trap.
    const CODE: &str = "\
x.o:	file format elf64-x86-64

Disassembly of section .text:

0000000000000000 <hot>:
       0:      	endbr64
       4:      	movq	$0x0, %rdi
		0000000000000007:  R_X86_64_32S	.rodata.str1.1+0x5
       b:      	callq	0x30 <warm>
      10:      	callq	0x15 <hot+0x15>
		0000000000000011:  R_X86_64_PLT32	mutex_lock-0x4
      15:      	retq
      16:      	ud2

0000000000000020 <_RNvNtCs1_4core9panicking5panic>:
      20:      	ud2

0000000000000030 <warm>:
      30:      	testq	%rax, %rax
      33:      	je	0x20 <_RNvNtCs1_4core9panicking5panic>
		0000000000000035:  R_X86_64_PLT32	.text.cold+0xc
      38:      	retq

0000000000000040 <cold>:
      40:      	callq	0x45 <cold+0x5>
		0000000000000041:  R_X86_64_PLT32	rust_helper_get_page-0x4

Disassembly of section .text.cold:

0000000000000000 <elsewhere>:
       0:      	retq

0000000000000010 <bounds>:
      10:      	lock
      11:      	incl	(%rip)
      18:      	jmp	0x1d <bounds+0xd>
		0000000000000019:  R_X86_64_PLT32	_RNvNtCs2DxGA1hvVcO_4core9panicking18panic_bounds_check-0x4
";

    const BUGS: &str = "\
Relocation section '.rela__bug_table' at offset 0x87d8 contains 2 entries:
    Offset             Info             Type               Symbol's Value  Symbol's Name + Addend
0000000000000000  0000000200000002 R_X86_64_PC32          0000000000000000 .text + 16
0000000000000004  0000003800000002 R_X86_64_PC32          0000000000000000 .rodata.str1.1 + c2

Relocation section '.rela__jump_table' at offset 0x8b20 contains 9 entries:
    Offset             Info             Type               Symbol's Value  Symbol's Name + Addend
0000000000000000  0000000200000002 R_X86_64_PC32          0000000000000000 .text + 20
";

    fn object(code: &str) -> Object {
        Object {
            name: "x.o".into(),
            functions: functions(code).unwrap(),
            bugs: bugs(BUGS),
        }
    }

    fn found(code: &str, hot: &[&str]) -> Vec<String> {
        let hot: Vec<(&str, &str)> = hot.iter().map(|name| (*name, "it is")).collect();
        audit(&[object(code)], &hot).findings
    }

    #[test]
    fn a_panic_is_found_behind_calls_and_jumps() {
        assert_eq!(
            found(CODE, &["hot"]),
            ["x.o: bounds+0x8: core::panicking::panic_bounds_check"]
        );
    }

    #[test]
    fn what_the_hot_path_does_not_reach_may_do_anything() {
        assert_eq!(found(CODE, &["elsewhere"]), [""; 0]);
    }

    #[test]
    fn a_helper_is_to_be_inlined() {
        assert_eq!(
            found(CODE, &["cold"]),
            ["x.o: cold+0x0: rust_helper_get_page"]
        );
    }

    #[test]
    fn only_the_traps_of_the_bug_table_are_fine() {
        let moved = CODE.replace("      16:      	ud2", "      17:      	ud2");
        let findings = found(&moved, &["hot"]);
        assert!(
            findings
                .iter()
                .any(|finding| finding.starts_with("x.o: hot+0x17: a trap")),
            "{findings:?}"
        );
    }

    #[test]
    fn the_mark_of_a_trampoline_is_none() {
        let marked = |symbol: &str| {
            format!(
                "Disassembly of section .static_call.text:\n\
                 0000000000000000 <{symbol}>:\n       0:      \tjmp\t0x5 <{symbol}+0x5>\n\
                 \t\t0000000000000001:  R_X86_64_PLT32\tother-0x4\n\
                 \x20      5:      \tud1l\t%esp, %ecx\n"
            )
        };
        let trampoline = "__SCT__tp_func_x";
        assert!(found(&marked(trampoline), &[trampoline]).is_empty());
        assert_eq!(found(&marked("plain"), &["plain"]).len(), 1);
    }

    #[test]
    fn a_function_that_is_not_there_is_a_finding() {
        let findings = found(CODE, &["hotter"]);
        assert!(
            findings[0].starts_with("there is no function hotter"),
            "{findings:?}"
        );
    }

    #[test]
    fn the_branch_of_an_instruction_with_a_relocation_is_the_relocations() {
        let object = object(CODE);
        assert_eq!(
            object.functions[2].references,
            [Reference {
                at: 0x33,
                to: Target::Place(".text.cold".into(), 0x10)
            }]
        );
    }

    #[test]
    fn the_list_has_each_once() {
        let names: BTreeSet<&str> = HOT.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), HOT.len());
    }
}
