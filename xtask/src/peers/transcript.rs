// SPDX-License-Identifier: GPL-2.0
//! What the guest's runner says, as results: a test's own, by how its command ended, and one for
//! each test that its output tells apart in the kernel's test protocol.

use crate::ktap::{Line, Parser, Verdict};
use std::collections::BTreeMap;

/// How a test ended once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Passed,
    Failed,
    Skipped,
}

/// One run of one test: by the name of the test, with `: ` and the name of a test within it, if it
/// is one of those.
pub type Results = Vec<(String, Mark)>;

/// The kernel's tests end with this status if they cannot be run.
const SKIP: &str = "exit 4";

/// Follows the runner's output.
#[derive(Default)]
pub struct Transcript {
    running: Option<Running>,
    pub results: Results,
    /// What of the output was not as the runner writes it.
    pub faults: Vec<String>,
    /// Rounds and events of the watcher, if there was one.
    pub watched: Option<(u64, u64)>,
}

#[derive(Default)]
struct Running {
    name: String,
    parser: Parser,
    cases: Vec<(String, Mark)>,
}

impl Transcript {
    /// A line, without its end.
    pub fn line(&mut self, line: &str) {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        match (mark, &mut self.running) {
            ("> ", None) => {
                self.running = Some(Running {
                    name: rest.to_owned(),
                    ..Running::default()
                });
            }
            ("| ", Some(running)) => running.line(rest),
            ("< ", Some(running)) if ended(rest, &running.name).is_some() => {
                let how = ended(rest, &running.name).unwrap_or_default();
                let mark = match how {
                    "exit 0" => Mark::Passed,
                    SKIP => Mark::Skipped,
                    _ => Mark::Failed,
                };
                let running = std::mem::take(running);
                self.running = None;
                self.results.push((running.name.clone(), mark));
                self.results.extend(running.finish());
            }
            _ => match watched(line) {
                Some(counted) if self.running.is_none() => self.watched = Some(counted),
                _ => self.faults.push(format!("unexpected: {line}")),
            },
        }
    }

    /// The test that is running, if one is.
    pub fn running(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.name.as_str())
    }
}

impl Running {
    fn line(&mut self, line: &str) {
        if let Line::Cases(cases) = self.parser.line(line) {
            for case in cases {
                let mark = match case.verdict {
                    Verdict::Passed => Mark::Passed,
                    Verdict::Failed => Mark::Failed,
                    Verdict::Skipped(_) => Mark::Skipped,
                };
                self.cases.push((case.name, mark));
            }
        }
    }

    /// The tests within it. One whose name was there before gets a number.
    fn finish(self) -> Results {
        let mut seen = BTreeMap::<String, u32>::new();
        let mut results = Results::new();
        for (case, mark) in self.cases {
            let count = seen.entry(case.clone()).or_default();
            *count += 1;
            let number = match *count {
                1 => String::new(),
                count => format!(" ({count})"),
            };
            results.push((format!("{}: {case}{number}", self.name), mark));
        }
        results
    }
}

/// How the test of this name ended: `NAME 12 ms exit 0`.
fn ended<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let text = text.strip_prefix(name)?.strip_prefix(' ')?;
    let (time, how) = text.split_once(" ms ")?;
    time.parse::<u64>().ok()?;
    let known = ["exit ", "signal ", "timeout "];
    known
        .iter()
        .any(|word| how.starts_with(word))
        .then_some(how)
}

/// `watcher ROUNDS EVENTS`
fn watched(line: &str) -> Option<(u64, u64)> {
    let (rounds, events) = line.strip_prefix("watcher ")?.split_once(' ')?;
    Some((rounds.parse().ok()?, events.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        for line in text.lines() {
            transcript.line(line);
        }
        transcript
    }

    #[test]
    fn a_test_ends_by_its_status() {
        let text = "> a/x\n< a/x 1 ms exit 0\n> a/y\n| noise\n< a/y 2 ms exit 4\n\
                    > a/z\n< a/z 3 ms signal 11\n> a/t\n< a/t 9000 ms timeout 9\n";
        let read = read(text);
        let expected = [
            ("a/x", Mark::Passed),
            ("a/y", Mark::Skipped),
            ("a/z", Mark::Failed),
            ("a/t", Mark::Failed),
        ];
        assert_eq!(
            read.results,
            expected.map(|(name, mark)| (name.into(), mark))
        );
        assert!(read.faults.is_empty() && read.running().is_none());
    }

    #[test]
    fn tests_within_a_test_have_results_of_their_own() {
        let text = "> u/oob\n| TAP version 13\n| 1..3\n| #  RUN x ...\n| ok 1 x.read\n\
                    | not ok 2 x.poll\n| ok 3 x.siocatmark # SKIP no\n< u/oob 5 ms exit 1\n";
        let expected = [
            ("u/oob", Mark::Failed),
            ("u/oob: x.read", Mark::Passed),
            ("u/oob: x.poll", Mark::Failed),
            ("u/oob: x.siocatmark", Mark::Skipped),
        ];
        assert_eq!(
            read(text).results,
            expected.map(|(name, mark)| (name.into(), mark))
        );
    }

    #[test]
    fn the_same_name_twice_is_two_tests() {
        let text = "> a/x\n| ok 1 same\n| not ok 2 same\n< a/x 5 ms exit 1\n";
        let expected = [
            ("a/x", Mark::Failed),
            ("a/x: same", Mark::Passed),
            ("a/x: same (2)", Mark::Failed),
        ];
        assert_eq!(
            read(text).results,
            expected.map(|(name, mark)| (name.into(), mark))
        );
    }

    #[test]
    fn what_a_test_prints_does_not_end_it() {
        let read = read("> a/x\n| < a/x 1 ms exit 0\n| watcher 1 2\n");
        assert_eq!(read.running(), Some("a/x"));
        assert!(read.results.is_empty() && read.watched.is_none());
    }

    #[test]
    fn the_watcher_has_its_line() {
        assert_eq!(read("watcher 12 345\n").watched, Some((12, 345)));
        assert_eq!(read("watcher many 345\n").faults.len(), 1);
        assert_eq!(read("< a/x 1 ms exit 0\n").faults.len(), 1);
        assert_eq!(read("> a/x\n< a/y 1 ms exit 0\n").faults.len(), 1);
    }
}
