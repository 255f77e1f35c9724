// SPDX-License-Identifier: GPL-2.0
//! Whether a patched kernel does as the plain one: test by test, over all runs of each.

use super::side::Side;
use super::transcript::{Mark, Results};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// How often a test ended in which way on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    fn add(&mut self, mark: Mark) {
        match mark {
            Mark::Passed => self.passed += 1,
            Mark::Failed => self.failed += 1,
            Mark::Skipped => self.skipped += 1,
        }
    }

    /// How it always ends, if it does: `None` in it is a test that is never there.
    fn always(self, runs: u32) -> Option<Option<Mark>> {
        let counts = [
            (self.passed, Mark::Passed),
            (self.failed, Mark::Failed),
            (self.skipped, Mark::Skipped),
        ];
        if counts.iter().all(|(count, _)| *count == 0) {
            return Some(None);
        }
        let only = counts.iter().find(|(count, _)| *count == runs);
        only.map(|(_, mark)| Some(*mark))
    }

    fn told(self, runs: u32) -> String {
        let missing = runs - (self.passed + self.failed + self.skipped).min(runs);
        let counts = [
            (self.passed, "passed"),
            (self.failed, "failed"),
            (self.skipped, "skipped"),
            (missing, "missing"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, how)| format!("{count} {how}"))
            .collect();
        counts.join(" ")
    }
}

/// What a test says about a patched kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It ends in the same way, always.
    Same,
    /// Now this way, now that way, and not much more often badly than on the plain kernel.
    Flaky,
    /// It ends otherwise, but it did not pass on the plain kernel either.
    Other,
    /// It passes on the plain kernel and does not on the patched one.
    Worse,
}

fn judge(plain: Tally, plain_runs: u32, other: Tally, other_runs: u32) -> Judgement {
    let (before, after) = (plain.always(plain_runs), other.always(other_runs));
    if before.is_some() && before == after {
        return Judgement::Same;
    }
    let bad = other_runs - other.passed.min(other_runs);
    let reliable = plain.passed == plain_runs;
    match (plain.passed, other.passed) {
        (0, _) if before.is_some() && after.is_some() => Judgement::Other,
        (0, _) => Judgement::Flaky,
        (_, 0) => Judgement::Worse,
        _ if reliable && bad * 2 >= other_runs => Judgement::Worse,
        _ => Judgement::Flaky,
    }
}

/// The results of all runs so far.
#[derive(Default)]
pub struct Tallies {
    tests: BTreeMap<String, [Tally; 3]>,
    /// How often each test that the guest runs was run.
    runs: BTreeMap<String, [u32; 3]>,
}

impl Tallies {
    pub fn add(&mut self, side: Side, results: &Results) {
        for (name, mark) in results {
            self.tests.entry(name.clone()).or_default()[side as usize].add(*mark);
            if program(name) == name {
                self.runs.entry(name.clone()).or_default()[side as usize] += 1;
            }
        }
    }

    /// The tests whose results are not the same on all sides, each by the name of what the guest
    /// runs.
    pub fn in_doubt(&self) -> BTreeSet<String> {
        let doubtful = self.tests.iter().filter(|(name, tallies)| {
            Side::ALL
                .iter()
                .any(|side| self.judged(name, tallies, *side) != Judgement::Same)
        });
        doubtful.map(|(name, _)| program(name).to_owned()).collect()
    }

    fn judged(&self, name: &str, tallies: &[Tally; 3], side: Side) -> Judgement {
        let runs = self.runs_of(name);
        let of = |side: Side| (tallies[side as usize], runs[side as usize]);
        let ((plain, plain_runs), (other, other_runs)) = (of(Side::Plain), of(side));
        judge(plain, plain_runs, other, other_runs)
    }

    fn runs_of(&self, name: &str) -> [u32; 3] {
        self.runs.get(program(name)).copied().unwrap_or_default()
    }

    pub fn compare(&self) -> Comparison {
        let mut groups = BTreeMap::<String, [Tally; 3]>::new();
        let mut comparison = Comparison::default();
        for (name, tallies) in &self.tests {
            let group = name.split('/').next().unwrap_or_default();
            let group = groups.entry(group.to_owned()).or_default();
            for (sum, tally) in group.iter_mut().zip(tallies) {
                if let Some(mark) = usual(*tally) {
                    sum.add(mark);
                }
            }
            let judgement = [Side::Patched, Side::InUse]
                .map(|side| self.judged(name, tallies, side))
                .into_iter()
                .max()
                .unwrap_or(Judgement::Same);
            let told = || {
                let runs = self.runs_of(name);
                let sides: Vec<String> = Side::ALL
                    .iter()
                    .map(|side| {
                        let told = tallies[*side as usize].told(runs[*side as usize]);
                        format!("{} {told}", side.name())
                    })
                    .collect();
                format!("{name}: {}", sides.join(", "))
            };
            match judgement {
                // That it is not the same every time may be the plain kernel's doing alone.
                Judgement::Same => comparison.same += 1,
                Judgement::Flaky => comparison.flaky.push(told()),
                Judgement::Other => comparison.other.push(told()),
                Judgement::Worse => comparison.worse.push(told()),
            }
        }
        comparison.table = table(&groups);
        comparison
    }
}

/// How it ended most often; of two, the worse.
fn usual(tally: Tally) -> Option<Mark> {
    let counts = [
        (tally.skipped, Mark::Skipped),
        (tally.passed, Mark::Passed),
        (tally.failed, Mark::Failed),
    ];
    let most = counts.iter().max_by_key(|(count, _)| *count);
    most.filter(|(count, _)| *count > 0).map(|(_, mark)| *mark)
}

/// What the guest runs, of a test within it.
fn program(name: &str) -> &str {
    name.split_once(": ").map_or(name, |(program, _)| program)
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Comparison {
    table: String,
    /// How many tests ended in the same way on all sides.
    same: usize,
    flaky: Vec<String>,
    other: Vec<String>,
    worse: Vec<String>,
}

impl Comparison {
    /// Whether nothing that passes on the plain kernel fails, or is not there, on the patched one.
    pub fn good(&self) -> bool {
        self.worse.is_empty()
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.table)?;
        for (word, lines) in [
            ("worse", &self.worse),
            ("differs", &self.other),
            ("flaky", &self.flaky),
        ] {
            for line in lines {
                writeln!(f, "{word}: {line}")?;
            }
        }
        let differ = self.worse.len() + self.other.len();
        write!(f, "{} the same, {differ} differ", self.same)?;
        if !self.flaky.is_empty() {
            write!(f, ", {} flaky", self.flaky.len())?;
        }
        writeln!(f)
    }
}

/// Of each group: how many tests ended in which way on each side, passed-failed-skipped.
fn table(groups: &BTreeMap<String, [Tally; 3]>) -> String {
    let mut text = String::new();
    let row = |text: &mut String, name: &str, cells: [String; 3]| {
        let _ = write!(text, "{name:<10}");
        for cell in cells {
            let _ = write!(text, "  {cell:>12}");
        }
        text.push('\n');
    };
    row(
        &mut text,
        "group",
        Side::ALL.map(|side| side.name().to_owned()),
    );
    let mut all = [Tally::default(); 3];
    let cell = |tally: Tally| format!("{}-{}-{}", tally.passed, tally.failed, tally.skipped);
    for (group, tallies) in groups {
        for (sum, tally) in all.iter_mut().zip(tallies) {
            sum.passed += tally.passed;
            sum.failed += tally.failed;
            sum.skipped += tally.skipped;
        }
        row(&mut text, group, tallies.map(cell));
    }
    row(&mut text, "all", all.map(cell));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(marks: &[(&str, Mark)]) -> Results {
        marks
            .iter()
            .map(|(name, mark)| ((*name).to_owned(), *mark))
            .collect()
    }

    /// A test with one run on each side, as the letters say.
    fn sides(plain: &[Mark], patched: &[Mark], in_use: &[Mark]) -> Tallies {
        let mut tallies = Tallies::default();
        for (side, marks) in Side::ALL.into_iter().zip([plain, patched, in_use]) {
            for mark in marks {
                tallies.add(side, &results(&[("g/t", *mark)]));
            }
        }
        tallies
    }

    use Mark::{Failed, Passed, Skipped};

    fn closing(tallies: &Tallies) -> String {
        let text = tallies.compare().to_string();
        text.lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_same_everywhere() {
        for mark in [Passed, Failed, Skipped] {
            let tallies = sides(&[mark], &[mark], &[mark]);
            assert!(tallies.in_doubt().is_empty());
            assert!(tallies.compare().good());
            assert_eq!(closing(&tallies), "1 the same, 0 differ");
        }
    }

    #[test]
    fn a_test_that_does_not_pass_any_more_is_worse() {
        for after in [Failed, Skipped] {
            for tallies in [
                sides(&[Passed], &[after], &[Passed]),
                sides(&[Passed], &[Passed], &[after]),
                sides(&[Passed; 6], &[Passed; 6], &[after; 6]),
            ] {
                assert_eq!(tallies.in_doubt().len(), 1);
                assert!(!tallies.compare().good());
                assert_eq!(closing(&tallies), "0 the same, 1 differ");
            }
        }
    }

    #[test]
    fn a_test_that_is_gone_is_worse() {
        let mut tallies = Tallies::default();
        for side in Side::ALL {
            tallies.add(side, &results(&[("g/t", Passed)]));
        }
        tallies.add(Side::Plain, &results(&[("g/t: inner", Passed)]));
        tallies.add(Side::InUse, &results(&[("g/t: inner", Passed)]));
        assert_eq!(tallies.in_doubt(), BTreeSet::from(["g/t".to_owned()]));
        let comparison = tallies.compare();
        assert!(!comparison.good());
        let text = comparison.to_string();
        let line = "worse: g/t: inner: plain 1 passed, patched 1 missing, in use 1 passed";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn what_fails_now_and_then_is_flaky() {
        let now_and_then = [Passed, Failed, Passed, Passed, Passed, Passed];
        let tallies = sides(&now_and_then, &[Passed; 6], &now_and_then);
        assert!(tallies.compare().good());
        assert_eq!(closing(&tallies), "0 the same, 0 differ, 1 flaky");
        let tallies = sides(&[Passed; 6], &now_and_then, &[Passed; 6]);
        assert!(tallies.compare().good());
    }

    #[test]
    fn what_fails_half_of_the_time_is_not_only_flaky() {
        let half = [Passed, Failed, Passed, Failed, Passed, Failed];
        assert!(!sides(&[Passed; 6], &half, &[Passed; 6]).compare().good());
        assert!(!sides(&half, &[Failed; 6], &[Passed; 6]).compare().good());
    }

    #[test]
    fn a_test_that_only_passes_now_is_a_difference_and_no_fault() {
        let tallies = sides(&[Failed; 6], &[Passed; 6], &[Failed; 6]);
        assert!(tallies.compare().good());
        assert_eq!(closing(&tallies), "0 the same, 1 differ");
    }

    #[test]
    fn the_table_counts_each_test_once() {
        let mut tallies = sides(&[Passed; 6], &[Passed; 6], &[Failed; 6]);
        for side in Side::ALL {
            tallies.add(side, &results(&[("h/u", Skipped)]));
        }
        let text = tallies.compare().to_string();
        let words: Vec<Vec<&str>> = text
            .lines()
            .take(4)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[1], ["g", "1-0-0", "1-0-0", "0-1-0"]);
        assert_eq!(words[2], ["h", "0-0-1", "0-0-1", "0-0-1"]);
        assert_eq!(words[3], ["all", "1-0-1", "1-0-1", "0-1-1"]);
    }
}
