// SPDX-License-Identifier: GPL-2.0
//! Whether a second boot has given the same figures. A counted figure is worth nothing that
//! cannot be had again.

use super::figures::{plain, Figure};

/// How far two values of one figure may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tolerance {
    /// Of the value.
    Share(f64),
    /// In the figure's unit.
    Absolute(f64),
    /// Times are never the same.
    Any,
}

/// Of a number of instructions. The help of the command names these three.
const INSTRUCTIONS: f64 = 0.005;
/// Of one that is compared between kernels.
const IDLE: f64 = 0.001;
/// Memory comes in pages, and a few of them more or less are somebody else's: 24 of them, for
/// 100 000 watches.
const BYTES: f64 = 1.0;

/// What is left of a figure without the bare cost, in `raw`.
const DELIVERY: &str = "delivery";

/// The tolerances, for the page.
pub fn tolerances() -> String {
    format!(
        "{} % for instructions, {} % for those of `idle`, {BYTES} byte for the memory of a watch \
         (which comes in pages)",
        100.0 * INSTRUCTIONS,
        100.0 * IDLE
    )
}

fn tolerance(figure: &Figure) -> Tolerance {
    match (figure.unit.split('/').next(), figure.name.as_str()) {
        (Some("instructions"), "idle") => Tolerance::Share(IDLE),
        (Some("instructions"), _) => Tolerance::Share(INSTRUCTIONS),
        (Some("bytes"), _) => Tolerance::Absolute(BYTES),
        _ => Tolerance::Any,
    }
}

impl Tolerance {
    fn allows(self, a: f64, b: f64) -> bool {
        match self {
            Tolerance::Share(share) => (a - b).abs() <= share * a.abs().max(b.abs()),
            Tolerance::Absolute(most) => (a - b).abs() <= most,
            Tolerance::Any => true,
        }
    }
}

/// How the two runs differ: a line for each figure that does.
pub fn differences(first: &[Figure], second: &[Figure]) -> Vec<String> {
    let mut found = Vec::new();
    for figure in first {
        let Some(again) = second.iter().find(|other| same(figure, other)) else {
            found.push(format!("{}: only in the first run", title(figure)));
            continue;
        };
        let tolerance = tolerance(figure);
        let mut compare = |what: &str, a: Option<f64>, b: Option<f64>| {
            let same = match (a, b) {
                (Some(a), Some(b)) => tolerance.allows(a, b),
                (a, b) => a == b,
            };
            if !same {
                let [a, b] =
                    [(a, figure), (b, again)].map(|(value, of)| match (value, &of.error) {
                        (Some(value), _) => format!("{value}"),
                        (None, Some(error)) => format!("none ({error})"),
                        (None, None) => "none".to_owned(),
                    });
                let unit = &figure.unit;
                found.push(format!("{}: {what}{a} and {b} {unit}", title(figure)));
            }
        };
        compare("", figure.value, again.value);
        // What is shown.
        let delivery = |figure: &Figure| figure.raw.get(DELIVERY)?.as_f64();
        compare("delivery ", delivery(figure), delivery(again));
    }
    let only = |figure: &&Figure| !first.iter().any(|other| same(figure, other));
    for figure in second.iter().filter(only) {
        found.push(format!("{}: only in the second run", title(figure)));
    }
    found
}

fn same(a: &Figure, b: &Figure) -> bool {
    (&a.name, &a.interface, &a.params, &a.unit) == (&b.name, &b.interface, &b.params, &b.unit)
}

/// Which figure this is.
fn title(figure: &Figure) -> String {
    let params: Vec<String> = figure
        .params
        .iter()
        .map(|(name, value)| format!("{name} {}", plain(value)))
        .collect();
    format!(
        "{} {}, {}",
        figure.name,
        figure.interface,
        params.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::{parse, tests::LINES};
    use super::*;

    fn figure(name: &str, unit: &str, value: &str) -> Figure {
        let line = format!(
            "{{\"name\":\"{name}\",\"interface\":\"evpoll\",\"params\":{{\"path\":\"tcp\"}},\
             \"value\":{value},\"unit\":\"{unit}\"}}"
        );
        parse(&line).unwrap().remove(0)
    }

    fn differ(name: &str, unit: &str, a: &str, b: &str) -> usize {
        differences(&[figure(name, unit, a)], &[figure(name, unit, b)]).len()
    }

    #[test]
    fn the_same_again_is_fine() {
        let figures = parse(LINES).unwrap();
        assert!(differences(&figures, &figures).is_empty());
        assert_eq!(differ("ctl", "instructions/call", "1000.0", "1004.9"), 0);
        assert_eq!(differ("memory", "bytes/watch", "100.0", "100.9"), 0);
        assert_eq!(differ("producers", "events/s", "100.0", "200.0"), 0);
    }

    #[test]
    fn a_figure_that_moves_is_named_with_both_values() {
        let found = differences(
            &[figure("ctl", "instructions/call", "1000.0")],
            &[figure("ctl", "instructions/call", "1006.0")],
        );
        assert_eq!(
            found,
            ["ctl evpoll, path tcp: 1000 and 1006 instructions/call"]
        );
        assert_eq!(differ("idle", "instructions/call", "1000.0", "1001.1"), 1);
        assert_eq!(differ("idle", "instructions/call", "1000.0", "1000.9"), 0);
        assert_eq!(differ("memory", "bytes/watch", "100.0", "101.1"), 1);
        assert_eq!(differ("ctl", "instructions/call", "1000.0", "null"), 1);
        assert_eq!(differ("ctl", "instructions/call", "null", "null"), 0);
    }

    #[test]
    fn what_is_left_without_the_bare_cost_has_to_repeat_as_well() {
        let with = |delivery: f64| {
            let mut figure = figure("pipetest", "instructions/event", "10000.0");
            figure.raw.insert(DELIVERY.into(), delivery.into());
            [figure]
        };
        assert!(differences(&with(100.0), &with(100.5)).is_empty());
        let found = differences(&with(100.0), &with(101.0));
        assert_eq!(
            found,
            ["pipetest evpoll, path tcp: delivery 100 and 101 instructions/event"]
        );
    }

    #[test]
    fn a_figure_that_one_run_lacks_is_told() {
        let figures = parse(LINES).unwrap();
        let found = differences(&figures, &figures[1..]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("only in the first"), "{found:?}");
        assert!(differences(&figures[1..], &figures)[0].contains("only in the second"));
    }
}
