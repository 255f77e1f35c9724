// SPDX-License-Identifier: GPL-2.0
//! Reads the Kernel Test Anything Protocol as it comes, line by line.

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// With the reason.
    Skipped(String),
}

/// A test without tests of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The names of the tests that it is part of, if any, and its own, with a dot in between.
    pub name: String,
    pub verdict: Verdict,
    /// What it said: the diagnostic lines before its result, without their marks.
    pub said: Vec<String>,
}

/// Follows one program's output.
#[derive(Default)]
pub struct Parser {
    /// The suites that are open, the outermost first; there is always one.
    suites: Vec<Suite>,
    said: Vec<String>,
    faults: Vec<String>,
    version: bool,
}

#[derive(Default)]
struct Suite {
    indent: usize,
    plan: Option<usize>,
    results: usize,
    /// Results that are waiting for the name of the suite.
    cases: Vec<Case>,
    name: Option<String>,
}

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The result of a test at the outermost level: everything in it is known now.
    Cases(Vec<Case>),
    /// A part of the protocol that ends nothing.
    Protocol,
    /// Not of the protocol.
    Other,
}

impl Parser {
    pub fn line(&mut self, line: &str) -> Line {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let text = text.trim_end();
        if let Some(version) = text.strip_prefix("KTAP version ") {
            return self.version(indent, version);
        }
        if self.suites.is_empty() {
            self.suites.push(Suite {
                indent,
                ..Suite::default()
            });
        }
        if let Some(plan) = plan(text) {
            let suite = self.at(indent);
            suite.plan = Some(plan);
            return Line::Protocol;
        }
        if let Some(result) = result(text) {
            return self.result(indent, result);
        }
        if let Some(said) = text.strip_prefix('#') {
            let said = said.strip_prefix(' ').unwrap_or(said);
            match said.strip_prefix("Subtest: ") {
                Some(name) => self.at(indent).name = Some(name.to_owned()),
                None => self.said.push(said.to_owned()),
            }
            return Line::Protocol;
        }
        if text.is_empty() {
            Line::Protocol
        } else {
            Line::Other
        }
    }

    fn version(&mut self, indent: usize, version: &str) -> Line {
        if version != "1" {
            self.faults.push(format!("unknown KTAP version {version}"));
        }
        self.version |= indent == 0;
        self.at(indent);
        Line::Protocol
    }

    /// The suite whose lines are indented like this, opened if it is a new one. A suite that goes
    /// deeper has ended when its parent goes on.
    fn at(&mut self, indent: usize) -> &mut Suite {
        if self.suites.last().is_none_or(|last| last.indent < indent) {
            self.suites.push(Suite {
                indent,
                ..Suite::default()
            });
        }
        let index = self
            .suites
            .iter()
            .rposition(|suite| suite.indent <= indent)
            .unwrap_or(0);
        &mut self.suites[index]
    }

    fn result(&mut self, indent: usize, result: Parsed) -> Line {
        let said = std::mem::take(&mut self.said);
        self.at(indent);
        let mut inner = Vec::new();
        while self.suites.len() > 1 && self.suites.last().is_some_and(|last| last.indent > indent) {
            let suite = self.suites.pop().unwrap_or_default();
            self.close(&suite);
            inner.splice(0..0, suite.cases);
        }
        let suite = self.at(indent);
        suite.results += 1;
        let expected = suite.results;
        if result.number.is_some_and(|number| number != expected) {
            let text = format!("{}: result {expected} is numbered otherwise", result.name);
            self.faults.push(text);
        }
        let failed_alone = result.verdict == Verdict::Failed
            && !inner
                .iter()
                .any(|case: &Case| case.verdict == Verdict::Failed);
        let mut cases = inner;
        for case in &mut cases {
            case.name = format!("{}.{}", result.name, case.name);
        }
        // A suite counts by its tests, unless it failed of something that is none of them.
        if cases.is_empty() || failed_alone {
            cases.push(Case {
                name: result.name,
                verdict: result.verdict,
                said,
            });
        }
        if self.suites.len() == 1 {
            return Line::Cases(cases);
        }
        self.at(indent).cases.extend(cases);
        Line::Protocol
    }

    fn close(&mut self, suite: &Suite) {
        if let Some(plan) = suite.plan.filter(|plan| *plan != suite.results) {
            let name = suite.name.as_deref().unwrap_or("a group of tests");
            self.faults.push(format!(
                "{name}: {plan} tests were planned, {} ran",
                suite.results
            ));
        }
    }

    /// The output is over: what was not as the protocol or the plan wants it.
    pub fn finish(mut self) -> Vec<String> {
        if !self.version {
            self.faults.push("there is no version line".into());
        }
        while let Some(suite) = self.suites.pop() {
            self.close(&suite);
            if self.suites.is_empty() && suite.plan.is_none() {
                self.faults.push("there is no plan".into());
            }
        }
        self.faults
    }
}

struct Parsed {
    number: Option<usize>,
    name: String,
    verdict: Verdict,
}

/// `1..N`, possibly with a comment.
fn plan(text: &str) -> Option<usize> {
    let count = text.strip_prefix("1..")?;
    count.split([' ', '#']).next()?.parse().ok()
}

/// `ok 3 - name # SKIP reason` and the like.
fn result(text: &str) -> Option<Parsed> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = first.parse::<usize>().ok();
    let rest = if number.is_some() { after } else { rest };
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) = match rest.split_once('#') {
        Some((name, directive)) => (name, directive.trim_start()),
        None => (rest, ""),
    };
    let (word, reason) = directive.split_once([' ', ':']).unwrap_or((directive, ""));
    let verdict = match (word.to_ascii_uppercase().as_str(), ok) {
        ("SKIP", true) => Verdict::Skipped(reason.trim().to_owned()),
        // Known not to work yet: neither a failure nor a success.
        ("TODO", false) => Verdict::Skipped(format!("to do: {}", reason.trim())),
        ("XFAIL", false) => Verdict::Skipped(format!("expected to fail: {}", reason.trim())),
        (_, true) => Verdict::Passed,
        (_, false) => Verdict::Failed,
    };
    let name = name.trim_end();
    let name = match (name, number) {
        ("", Some(number)) => number.to_string(),
        ("", None) => "unnamed".to_owned(),
        (name, _) => name.to_owned(),
    };
    Some(Parsed {
        number,
        name,
        verdict,
    })
}

/// One result line.
pub fn format_result(number: usize, name: &str, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => format!("ok {number} {name}"),
        Verdict::Failed => format!("not ok {number} {name}"),
        Verdict::Skipped(reason) if reason.is_empty() => format!("ok {number} {name} # SKIP"),
        Verdict::Skipped(reason) => format!("ok {number} {name} # SKIP {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<Case>, Vec<String>) {
        let mut parser = Parser::default();
        let mut cases = Vec::new();
        for line in text.lines() {
            if let Line::Cases(more) = parser.line(line) {
                cases.extend(more);
            }
        }
        (cases, parser.finish())
    }

    fn names(cases: &[Case]) -> Vec<&str> {
        cases.iter().map(|case| case.name.as_str()).collect()
    }

    #[test]
    fn flat_results_with_what_they_said() {
        let (cases, faults) = parse(
            "KTAP version 1\n1..3\nok 1 a.b\n# expected 1\n# got 2\nnot ok 2 - a.c\n\
             ok 3 d # SKIP no such device\n",
        );
        assert_eq!(faults, [""; 0]);
        assert_eq!(names(&cases), ["a.b", "a.c", "d"]);
        assert_eq!(cases[1].verdict, Verdict::Failed);
        assert_eq!(cases[1].said, ["expected 1", "got 2"]);
        assert_eq!(cases[2].verdict, Verdict::Skipped("no such device".into()));
        assert!(cases[2].said.is_empty());
    }

    #[test]
    fn nested_suites_count_by_their_tests() {
        let (cases, faults) = parse(
            "KTAP version 1\n1..2\n  KTAP version 1\n  # Subtest: net\n  1..2\n  ok 1 tcp\n\
             \x20 not ok 2 udp\nnot ok 1 net\n    KTAP version 1\n    1..1\n      1..1\n\
             \x20     ok 1 deep\n    ok 1 inner\nok 2 outer\n",
        );
        assert_eq!(faults, [""; 0]);
        assert_eq!(names(&cases), ["net.tcp", "net.udp", "outer.inner.deep"]);
        assert_eq!(cases[1].verdict, Verdict::Failed);
    }

    #[test]
    fn a_suite_that_fails_by_itself_is_a_failure() {
        let (cases, _) = parse("KTAP version 1\n1..1\n  1..1\n  ok 1 a\nnot ok 1 suite\n");
        assert_eq!(names(&cases), ["suite.a", "suite"]);
        assert_eq!(cases[1].verdict, Verdict::Failed);
    }

    #[test]
    fn directives() {
        let verdict = |line| result(line).unwrap().verdict;
        assert_eq!(
            verdict("ok 1 x # skip: why"),
            Verdict::Skipped("why".into())
        );
        assert_eq!(
            verdict("not ok 1 x # TODO later"),
            Verdict::Skipped("to do: later".into())
        );
        assert_eq!(verdict("ok 1 x # TODO done"), Verdict::Passed);
        assert_eq!(verdict("not ok 1 x # timed out"), Verdict::Failed);
        assert!(result("okay then").is_none());
        assert_eq!(result("ok").unwrap().name, "unnamed");
        assert_eq!(result("ok 7").unwrap().name, "7");
    }

    #[test]
    fn plans_are_kept() {
        let (_, faults) = parse("KTAP version 1\n1..3\nok 1 a\n");
        assert_eq!(faults, ["a group of tests: 3 tests were planned, 1 ran"]);
        let (_, faults) = parse("KTAP version 1\n1..1\n  # Subtest: s\n  1..2\n  ok 1 a\nok 1 s\n");
        assert_eq!(faults, ["s: 2 tests were planned, 1 ran"]);
        let (_, faults) = parse("KTAP version 1\nok 1 a\n");
        assert_eq!(faults, ["there is no plan"]);
        let (_, faults) = parse("KTAP version 1\n1..2\nok 1 a\nok 3 b\n");
        assert_eq!(faults, ["b: result 2 is numbered otherwise"]);
    }

    #[test]
    fn output_that_is_none_of_it() {
        let mut parser = Parser::default();
        assert_eq!(parser.line("KTAP version 1"), Line::Protocol);
        assert_eq!(parser.line("random noise"), Line::Other);
        assert_eq!(parser.line(""), Line::Protocol);
        assert_eq!(parse("").1, ["there is no version line"]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        for verdict in [
            Verdict::Passed,
            Verdict::Failed,
            Verdict::Skipped("why".into()),
        ] {
            let line = format_result(1, "a.b", &verdict);
            assert_eq!(result(&line).unwrap().verdict, verdict);
        }
    }
}
