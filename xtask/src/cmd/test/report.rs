// SPDX-License-Identifier: GPL-2.0
//! The results as they come: KTAP on stdout, a suite one level deep, and in the end one line that
//! sums up. Kept for JUnit, too.

use crate::junit;
use crate::ktap::{format_result, Case, Verdict};
use std::io::Write;
use std::time::{Duration, Instant};

const INDENT: &str = "    ";

pub struct Report {
    suites: Vec<junit::Suite>,
    /// Results at the outermost level.
    results: usize,
}

/// A suite whose results are coming in.
pub struct Open<'a> {
    report: &'a mut Report,
    suite: junit::Suite,
    last: Instant,
}

impl Report {
    /// `suites` is how many will follow.
    pub fn start(suites: usize) -> Report {
        line(format_args!("KTAP version 1\n1..{suites}"));
        Report {
            suites: Vec::new(),
            results: 0,
        }
    }

    /// A suite that is complete.
    pub fn suite(&mut self, name: &str, cases: Vec<Case>) {
        if cases.is_empty() {
            return self.skip(name, "no test is selected");
        }
        let mut open = self.open(name);
        open.line("KTAP version 1");
        open.line(&format!("# Subtest: {name}"));
        open.line(&format!("1..{}", cases.len()));
        for (index, case) in cases.into_iter().enumerate() {
            open.print(index + 1, &case);
            open.suite.cases.push((case, None));
        }
        open.close();
    }

    /// A test of its own at the outermost level.
    pub fn single(&mut self, name: &str, verdict: Verdict, said: Vec<String>) {
        for text in &said {
            line(format_args!("# {text}"));
        }
        self.result(name, &verdict);
        let case = Case {
            name: name.into(),
            verdict,
            said,
        };
        self.suites.push(junit::Suite {
            name: name.into(),
            cases: vec![(case, None)],
        });
    }

    /// Of a suite nothing was run: it does not count.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.result(name, &Verdict::Skipped(why.into()));
    }

    pub fn open(&mut self, name: &str) -> Open<'_> {
        let suite = junit::Suite {
            name: name.into(),
            cases: Vec::new(),
        };
        Open {
            report: self,
            suite,
            last: Instant::now(),
        }
    }

    fn result(&mut self, name: &str, verdict: &Verdict) {
        self.results += 1;
        line(format_args!(
            "{}",
            format_result(self.results, name, verdict)
        ));
    }

    pub fn junit(&self) -> String {
        junit::render(&self.suites)
    }

    /// The closing line. True if nothing failed.
    pub fn finish(self) -> bool {
        let sums = Sums::of(self.suites.iter().flat_map(|suite| &suite.cases));
        line(format_args!("{sums}"));
        sums.failed == 0
    }
}

impl Open<'_> {
    /// A line of the suite, as it is.
    pub fn line(&mut self, text: &str) {
        line(format_args!("{INDENT}{text}"));
    }

    /// Results that have been printed already, as part of the lines. The time is the one since the
    /// last ones.
    pub fn record(&mut self, cases: Vec<Case>) {
        let time = self.last.elapsed() / u32::try_from(cases.len().max(1)).unwrap_or(1);
        self.last = Instant::now();
        self.suite
            .cases
            .extend(cases.into_iter().map(|case| (case, Some(time))));
    }

    /// How many results there are.
    pub fn count(&self) -> usize {
        self.suite.cases.len()
    }

    pub fn any_failed(&self) -> bool {
        self.suite
            .cases
            .iter()
            .any(|(case, _)| case.verdict == Verdict::Failed)
    }

    /// From here on time counts.
    pub fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// A result that the suite itself did not get to report.
    pub fn add(&mut self, case: Case) {
        self.print(self.count() + 1, &case);
        self.suite.cases.push((case, Some(self.last.elapsed())));
    }

    fn print(&mut self, number: usize, case: &Case) {
        for text in &case.said {
            self.line(&format!("# {text}"));
        }
        self.line(&format_result(number, &case.name, &case.verdict));
    }

    /// Ends the suite: it has passed if nothing in it failed.
    pub fn close(self) {
        let sums = Sums::of(&self.suite.cases);
        let verdict = match sums.failed {
            0 => Verdict::Passed,
            _ => Verdict::Failed,
        };
        self.report.result(&self.suite.name, &verdict);
        self.report.suites.push(self.suite);
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Sums {
    fn of<'a>(cases: impl IntoIterator<Item = &'a (Case, Option<Duration>)>) -> Sums {
        let mut sums = Sums::default();
        for (case, _) in cases {
            match case.verdict {
                Verdict::Passed => sums.passed += 1,
                Verdict::Failed => sums.failed += 1,
                Verdict::Skipped(_) => sums.skipped += 1,
            }
        }
        sums
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sums {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Results appear at once, also in a pipe. A reader that is gone does not stop the tests: their
/// status still counts.
fn line(text: std::fmt::Arguments) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line() {
        let case = |verdict| {
            let case = Case {
                name: "x".into(),
                verdict,
                said: vec![],
            };
            (case, None)
        };
        let cases = [
            case(Verdict::Passed),
            case(Verdict::Passed),
            case(Verdict::Failed),
            case(Verdict::Skipped("why".into())),
        ];
        assert_eq!(
            Sums::of(&cases).to_string(),
            "2 passed, 1 failed, 1 skipped"
        );
        assert_eq!(Sums::of(&[]).to_string(), "0 passed, 0 failed, 0 skipped");
    }
}
