// SPDX-License-Identifier: GPL-2.0
//! The examples of the Rust library, which are those in its documentation, for each ABI. Each checks
//! what it does; here it is what it says, and that it comes to its end.

use std::process::Stdio;

use crate::program::Program;

/// Each example, and all that it prints.
const EXAMPLES: [(&str, &[&str]); 6] = [
    (
        "batch",
        &[
            "pipe Some(2) is ready",
            "pipe Some(7) is ready",
            "change 2: cannot apply a change to the queue: it has no events to tell of: sockets, \
             pipes, FIFOs and evpoll queues have (os error 1)",
            "3 pipes are left of five",
        ],
    ),
    (
        "echo",
        &[
            "client 1: the same",
            "client 2: the same",
            "client 3: the same",
        ],
    ),
    (
        "errors",
        &[
            "NotWatched: cannot change what a descriptor is watched for: it is not watched: add it \
             first (os error 2)",
            "Unwatchable: cannot add a descriptor to the queue: it has no events to tell of: \
             sockets, pipes, FIFOs and evpoll queues have (os error 1)",
            "Cycle: cannot add a descriptor to the queue: queues would watch each other in a cycle, \
             or more than four above one another (os error 40)",
            "added",
            "AlreadyWatched: cannot add a descriptor to the queue: it is watched already: modify it \
             instead (os error 17)",
            "Full: cannot add a descriptor to the queue: it is full: make it for more descriptors \
             (os error 7)",
        ],
    ),
    ("nested", &["mail", "alarm"]),
    ("pipe", &["early", "late"]),
    ("waker", &["6, data"]),
];

macro_rules! examples {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::runner::Test] = &[$(
            crate::runner::test("examples", concat!(stringify!($name), "_x86_64"), || run(stringify!($name), "rust-x86_64")),
            crate::runner::test("examples", concat!(stringify!($name), "_i386"), || run(stringify!($name), "rust-i386")),
            crate::runner::test("examples", concat!(stringify!($name), "_x32"), || run(stringify!($name), "rust-x32")),
        )*];
    };
}

examples!(batch, echo, errors, nested, pipe, waker);

fn run(name: &str, made: &str) {
    let says = EXAMPLES.iter().find(|(example, _)| *example == name);
    let (_, says) = says.expect("an example");
    let mut program = Program::start(name, made, &[], Stdio::null());
    for line in *says {
        program.says(line);
    }
    program.ends(0);
}

#[cfg(test)]
mod on_the_host {
    use super::*;
    use std::collections::BTreeSet;

    const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../evpoll");

    fn names() -> BTreeSet<String> {
        EXAMPLES
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect()
    }

    #[test]
    fn there_is_a_test_of_each_example() {
        let files = std::fs::read_dir(format!("{LIBRARY}/examples")).unwrap();
        let found = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let found: BTreeSet<String> = found
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect();
        assert_eq!(found, names());
        let tested = TESTS.iter().filter_map(|t| t.name.strip_suffix("_x32"));
        assert_eq!(tested.map(str::to_owned).collect::<BTreeSet<_>>(), names());
    }

    /// Each is in the documentation, which has no code besides but for what is not to compile, and
    /// its counterpart.
    #[test]
    fn the_documentation_is_made_of_them() {
        let mut included = BTreeSet::new();
        let mut blocks = Vec::new();
        for file in std::fs::read_dir(format!("{LIBRARY}/src")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.lines() {
                let line = line.trim();
                if let Some(rest) = line.split("include_str!(\"../examples/").nth(1) {
                    let name = rest.split(".rs").next().unwrap_or_default();
                    included.insert(name.to_owned());
                }
                let comment = line
                    .strip_prefix("///")
                    .or_else(|| line.strip_prefix("//!"));
                if let Some(kind) = comment.and_then(|text| text.trim().strip_prefix("```")) {
                    blocks.push(kind.to_owned());
                }
            }
        }
        assert_eq!(included, names());
        blocks.retain(|kind| !kind.is_empty());
        assert_eq!(blocks, ["compile_fail,E0499", "no_run"]);
    }
}
