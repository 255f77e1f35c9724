// SPDX-License-Identifier: GPL-2.0
//! Test results as JUnit XML, the dialect that CI services read.

use crate::ktap::{Case, Verdict};
use std::time::Duration;

pub struct Suite {
    pub name: String,
    /// Each with the time that it took, where that is known.
    pub cases: Vec<(Case, Option<Duration>)>,
}

pub fn render(suites: &[Suite]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for suite in suites {
        let count = |wanted: fn(&Verdict) -> bool| {
            suite
                .cases
                .iter()
                .filter(|(case, _)| wanted(&case.verdict))
                .count()
        };
        let time: Duration = suite.cases.iter().filter_map(|(_, time)| *time).sum();
        xml += &format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" \
             time=\"{:.3}\">\n",
            escape(&suite.name),
            suite.cases.len(),
            count(|verdict| *verdict == Verdict::Failed),
            count(|verdict| matches!(verdict, Verdict::Skipped(_))),
            time.as_secs_f64(),
        );
        for (case, time) in &suite.cases {
            xml += &testcase(&suite.name, case, *time);
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

fn testcase(suite: &str, case: &Case, time: Option<Duration>) -> String {
    let (class, name) = match case.name.rsplit_once('.') {
        Some((class, name)) => (format!("{suite}.{class}"), name),
        None => (suite.to_owned(), case.name.as_str()),
    };
    let mut xml = format!(
        "    <testcase classname=\"{}\" name=\"{}\"",
        escape(&class),
        escape(name)
    );
    if let Some(time) = time {
        xml += &format!(" time=\"{:.3}\"", time.as_secs_f64());
    }
    let said = escape(&case.said.join("\n"));
    let content = match &case.verdict {
        Verdict::Failed => {
            let message = case.said.iter().find(|line| !line.trim().is_empty());
            let message = escape(message.map_or("failed", String::as_str));
            format!("      <failure message=\"{message}\">{said}</failure>\n")
        }
        Verdict::Skipped(reason) => format!("      <skipped message=\"{}\"/>\n", escape(reason)),
        Verdict::Passed if said.is_empty() => String::new(),
        Verdict::Passed => format!("      <system-out>{said}</system-out>\n"),
    };
    if content.is_empty() {
        xml + "/>\n"
    } else {
        format!("{xml}>\n{content}    </testcase>\n")
    }
}

/// The text with what XML reserves escaped, and what XML 1.0 cannot hold at all replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&apos;",
            '\t' | '\n' | '\r' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, verdict: Verdict, said: &[&str]) -> Case {
        let said = said.iter().map(|line| (*line).to_owned()).collect();
        Case {
            name: name.into(),
            verdict,
            said,
        }
    }

    #[test]
    fn results_and_their_counts() {
        let cases = vec![
            (
                case("a.ok", Verdict::Passed, &[]),
                Some(Duration::from_millis(1500)),
            ),
            (
                case("a.bad", Verdict::Failed, &["", "expected <1>", "got 2"]),
                None,
            ),
            (case("skip", Verdict::Skipped("no \"x\"".into()), &[]), None),
        ];
        let xml = render(&[Suite {
            name: "guest".into(),
            cases,
        }]);
        for part in [
            "tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.500\"",
            "<testcase classname=\"guest.a\" name=\"ok\" time=\"1.500\"/>",
            "<failure message=\"expected &lt;1&gt;\">\nexpected &lt;1&gt;\ngot 2</failure>",
            "<testcase classname=\"guest\" name=\"skip\">",
            "<skipped message=\"no &quot;x&quot;\"/>",
        ] {
            assert!(xml.contains(part), "{part} is missing in\n{xml}");
        }
    }

    #[test]
    fn no_character_breaks_the_document() {
        assert_eq!(
            escape("a&b<c>\"d'\u{1b}[0m\u{0}\t"),
            "a&amp;b&lt;c&gt;&quot;d&apos;\u{fffd}[0m\u{fffd}\t"
        );
    }
}
