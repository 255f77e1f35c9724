// SPDX-License-Identifier: GPL-2.0
//! The kselftest of the series, as each compiler makes it for each ABI. All of its tests are one
//! test here, which quotes those that fail.

use std::process::Stdio;

use crate::program::Program;
use crate::runner::{test, Test};
use crate::sys::limit;

/// In seconds: what it waits for in vain makes it slow, and is to be quoted.
const LIMIT: u32 = 40;

const fn long(name: &'static str, run: fn()) -> Test {
    Test {
        limit: LIMIT,
        ..test("kselftest", name, run)
    }
}

pub const TESTS: &[Test] = &[
    long("evpoll_test_gcc_x86_64", || evpoll_test("gcc-x86_64")),
    long("evpoll_test_gcc_i386", || evpoll_test("gcc-i386")),
    long("evpoll_test_gcc_x32", || evpoll_test("gcc-x32")),
    long("evpoll_test_clang_x86_64", || evpoll_test("clang-x86_64")),
    long("evpoll_test_clang_i386", || evpoll_test("clang-i386")),
];

fn evpoll_test(made: &str) {
    let mut program = Program::start("evpoll_test", made, &[], Stdio::null());
    let mut said = Vec::new();
    while let Some(line) = program.line_within(limit(u64::from(LIMIT) * 1000)) {
        said.push(line);
    }
    let faults = faults(&said);
    check!(faults.is_empty(), "{}", faults.join("\n"));
    program.ends(0);
}

/// What is wrong with its results, which are in TAP. The guest has all that a test may be skipped
/// for.
fn faults(lines: &[String]) -> Vec<String> {
    let mut planned = 0;
    let mut results = 0;
    let mut faults = Vec::new();
    for line in lines {
        if let Some(count) = line.strip_prefix("1..") {
            planned = count.trim().parse().unwrap_or(0);
        } else if line.starts_with("not ok ") || line.starts_with("ok ") {
            results += 1;
            if line.starts_with("not ") || line.contains(" # SKIP") {
                faults.push(line.clone());
            }
        }
    }
    if planned == 0 || results != planned {
        faults.push(format!("{results} results of {planned} planned tests"));
    }
    faults
}

#[cfg(test)]
mod on_the_host {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        faults(&lines)
    }

    #[test]
    fn all_have_to_pass() {
        let good =
            "TAP version 13\n1..2\n# Starting 2 tests\n#  RUN  x.a ...\nok 1 x.a\nok 2 x.b\n\
                    # Totals: pass:2 fail:0\n";
        assert_eq!(faults_of(good), [""; 0]);
        let bad = "TAP version 13\n1..3\nok 1 x.a\nnot ok 2 x.b\nok 3 x.c # SKIP no y\n";
        assert_eq!(faults_of(bad), ["not ok 2 x.b", "ok 3 x.c # SKIP no y"]);
    }

    #[test]
    fn all_have_to_run() {
        let none = ["0 results of 0 planned tests"];
        assert_eq!(faults_of(""), none);
        assert_eq!(faults_of("TAP version 13\n1..0\n"), none);
        let fewer = "TAP version 13\n1..2\nok 1 x.a\n#  RUN  x.b ...\n";
        assert_eq!(faults_of(fewer), ["1 results of 2 planned tests"]);
        assert_eq!(faults_of("ok 1 x.a\n"), ["1 results of 0 planned tests"]);
    }
}
