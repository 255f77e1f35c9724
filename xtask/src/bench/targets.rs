// SPDX-License-Identifier: GPL-2.0
//! What evpoll is meant to cost, and what it does.

use super::figures::{
    percent, Cell, Figure, Measured, Setting, BARE, COMPARED as EPOLL, NO_QUEUE, UNPATCHED,
};
use super::table::{Side, Table, GAP};
use serde_json::{json, Value};

/// One of them, as a row of the table.
#[derive(Debug, PartialEq)]
pub struct Target {
    pub what: String,
    limit: String,
    measured: String,
    /// What is compared with the limit, as a number.
    value: Option<f64>,
    unit: &'static str,
    /// The benchmark that it is a figure of, and whose.
    of: (&'static str, &'static str),
    /// Where it was measured, if it was.
    setting: Option<Setting>,
    /// None if it was not measured.
    pub met: Option<bool>,
}

impl Target {
    /// As one of the figures, beside those that were measured.
    pub fn figure(&self) -> Figure {
        let params = [("what", &self.what), ("limit", &self.limit)];
        let own = |(name, text): (&str, &String)| (name.to_owned(), json!(text));
        let (benchmark, interface) = self.of;
        let raw = [
            ("met", json!(self.met)),
            ("measured", json!(self.measured)),
            ("benchmark", json!(benchmark)),
        ];
        Figure {
            name: "target".into(),
            interface: interface.into(),
            params: params.map(own).into_iter().collect(),
            value: self.value.map(digits),
            unit: self.unit.into(),
            error: self.met.is_none().then(|| "not measured".to_owned()),
            raw: raw
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        }
    }

    pub fn setting(&self) -> Option<&Setting> {
        self.setting.as_ref()
    }
}

/// A difference of what has one digit behind the point has more of them, which mean nothing.
fn digits(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Instructions for an event, in pipetest with so many pipes.
const PIPES: u64 = 1000;
const DELIVERY: [(u64, f64); 2] = [(100, 80.0), (1, 330.0)];
/// Percent that more watches may make an event dearer, or cheaper.
const FLAT: f64 = 2.0;
const FEW_PIPES: u64 = 100;
const MANY_PIPES: u64 = 100_000;
/// Instructions.
const ADD_AND_DEL: f64 = 1000.0;
const BATCH_ADD: f64 = 350.0;
const CLOSE: f64 = 250.0;
const MANY_WATCHES: u64 = 100_000;
/// Bytes.
const MEMORY: f64 = 112.0;
/// Percent.
const IDLE: f64 = 0.2;
const FEW_IDLE: u64 = 0;
const MANY_IDLE: u64 = 50_000;
/// Instructions that more idle connections may make the delivery of a request dearer, or cheaper.
/// No share: it is what is left of some 17 000 instructions without the bare cost, and that alone
/// differs by as many from one number of idle connections to another.
const FLAT_DELIVERY: f64 = 20.0;
const CPUS: u64 = 4;

const EVPOLL: &str = "evpoll";
const INSTRUCTIONS: &str = "instructions";
const PERCENT: &str = "%";
const URING: &str = "io_uring-multishot";

/// All of them, met or not.
pub fn targets(measured: &[Measured]) -> Vec<Target> {
    let figures = Figures(measured.iter().flat_map(|boot| &boot.figures).collect());
    let mut all = Vec::new();
    for (active, limit) in DELIVERY {
        let what = format!("delivery of an event, {active} a wait, {PIPES} pipes");
        let value = figures.delivery(PIPES, active);
        all.push(at_most("pipetest", what, limit, INSTRUCTIONS, value));
    }
    for (active, _) in DELIVERY {
        all.push(figures.flat_pipes(active));
    }
    let what = "ADD and DEL of a watch".to_owned();
    let value = figures.instructions("syscall", EVPOLL, &[("call", json!("ADD and DEL"))]);
    all.push(at_most("syscall", what, ADD_AND_DEL, INSTRUCTIONS, value));

    let many = || ("watches", json!(MANY_WATCHES));
    let op = |op: &str| figures.instructions("ctl", EVPOLL, &[("op", json!(op)), many()]);
    let what = "ADD in a batch by write(2), each descriptor".to_owned();
    let value = op("ADD by write(2)");
    all.push(at_most("ctl", what, BATCH_ADD, INSTRUCTIONS, value));
    let what = format!("closing a queue of {MANY_WATCHES}, each watch");
    all.push(at_most("ctl", what, CLOSE, INSTRUCTIONS, op("close")));

    let what = "kernel memory of a watch".to_owned();
    let value = figures.value("memory", EVPOLL, "bytes/watch", &[many()]);
    all.push(at_most("memory", what, MEMORY, "bytes", value));
    all.push(figures.idle());
    all.push(figures.below_peers());
    all.push(figures.flat_deadconn());
    all.push(figures.producers());
    for target in &mut all {
        target.setting = setting(measured, target);
    }
    all
}

/// That of the boot that its figures come from: times are beside what is counted, and never judged;
/// and of the boots of producers it is one.
fn setting(measured: &[Measured], target: &Target) -> Option<Setting> {
    target.met?;
    let of = |figure: &Figure| {
        let cpus = figure
            .params
            .get("cpus")
            .is_none_or(|cpus| *cpus == json!(CPUS));
        let timed = figure.unit.starts_with("ns/");
        (figure.name.as_str(), figure.interface.as_str()) == target.of && cpus && !timed
    };
    let boot = measured.iter().find(|boot| boot.figures.iter().any(of));
    boot.map(|boot| boot.setting.clone())
}

pub fn table(targets: &[Target]) -> Table {
    let mut table = Table::new(&[
        ("target", Side::Left),
        ("limit", Side::Right),
        ("measured", Side::Right),
        ("", Side::Left),
    ]);
    for target in targets {
        let verdict = match target.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        table.rows.push(vec![
            target.what.clone(),
            target.limit.clone(),
            target.measured.clone(),
            verdict.into(),
        ]);
    }
    table
}

/// A figure that shall not be larger.
fn at_most(
    benchmark: &'static str,
    what: String,
    limit: f64,
    unit: &'static str,
    value: Option<f64>,
) -> Target {
    Target {
        what,
        limit: format!("\u{2264} {limit} {unit}"),
        measured: value.map_or(GAP.into(), |value| format!("{value:.1}")),
        value,
        unit,
        of: (benchmark, EVPOLL),
        setting: None,
        met: value.map(|value| value <= limit),
    }
}

struct Figures<'a>(Vec<&'a Figure>);

impl Figures<'_> {
    fn value(&self, name: &str, of: &str, unit: &str, params: &[(&str, Value)]) -> Option<f64> {
        let found = self.0.iter().find(|figure| {
            let same = |(name, value): &(&str, Value)| figure.params.get(*name) == Some(value);
            figure.name == name
                && figure.interface == of
                && figure.unit.starts_with(unit)
                && params.iter().all(same)
        });
        found.and_then(|figure| figure.value)
    }

    fn instructions(&self, name: &str, of: &str, params: &[(&str, Value)]) -> Option<f64> {
        self.value(name, of, "instructions/", params)
    }

    /// Less the bare cost.
    fn above_bare(&self, name: &str, of: &str, params: &[(&str, Value)]) -> Option<f64> {
        Some(self.instructions(name, of, params)? - self.instructions(name, BARE, params)?)
    }

    fn delivery(&self, pipes: u64, active: u64) -> Option<f64> {
        let params = [("pipes", json!(pipes)), ("active", json!(active))];
        self.above_bare("pipetest", EVPOLL, &params)
    }

    fn flat_pipes(&self, active: u64) -> Target {
        let few = self.delivery(FEW_PIPES, active);
        let from_to = few.zip(self.delivery(MANY_PIPES, active));
        let change = from_to.map(|(from, to)| percent(to, from));
        Target {
            what: format!(
                "delivery of an event, {active} a wait, at {MANY_PIPES} pipes as at {FEW_PIPES}"
            ),
            limit: format!("within {FLAT} %"),
            measured: match (from_to, change) {
                (Some((from, to)), Some(change)) => {
                    format!("{from:.1} and {to:.1}: {change:+.1} %")
                }
                _ => GAP.into(),
            },
            value: change,
            unit: PERCENT,
            of: ("pipetest", EVPOLL),
            setting: None,
            met: change.map(|change| change.abs() <= FLAT),
        }
    }

    /// Every path counts: the one that has become dearest is shown.
    fn idle(&self) -> Target {
        let plain = self.0.iter().filter(|figure| {
            let counted = figure.unit.starts_with("instructions/");
            figure.name == "idle" && figure.interface == UNPATCHED && counted
        });
        // A path without a figure is no path that is cheap.
        let paths: Option<Vec<(f64, String)>> = plain
            .map(|figure| {
                let path = figure.params.get("path")?;
                let patched = self.instructions("idle", NO_QUEUE, &[("path", path.clone())])?;
                Some((percent(patched, figure.value?), super::figures::plain(path)))
            })
            .collect();
        let worst = paths.and_then(|mut paths| {
            paths.sort_by(|a, b| a.0.total_cmp(&b.0));
            paths.pop()
        });
        Target {
            what: "idle cost, no queue open, above the unpatched kernel, every path".into(),
            limit: format!("\u{2264} {IDLE} %"),
            measured: worst.as_ref().map_or(GAP.into(), |(change, path)| {
                format!("{change:+.2} % ({path}, the worst)")
            }),
            value: worst.as_ref().map(|(change, _)| *change),
            unit: PERCENT,
            of: ("idle", NO_QUEUE),
            setting: None,
            met: worst.map(|(change, _)| change <= IDLE),
        }
    }

    fn deadconn(&self, of: &str, idle: u64) -> Option<f64> {
        self.above_bare("deadconn", of, &[("idle", json!(idle))])
    }

    fn below_peers(&self) -> Target {
        let [ours, epoll, uring] = [EVPOLL, EPOLL, URING].map(|of| self.deadconn(of, MANY_IDLE));
        let all = ours.zip(epoll).zip(uring);
        Target {
            what: format!("HTTP request among {MANY_IDLE} idle connections, less the bare cost"),
            limit: format!("< {EPOLL}, {URING}"),
            measured: all.map_or(GAP.into(), |((ours, epoll), uring)| {
                format!("{ours:.1} ({epoll:.1}, {uring:.1})")
            }),
            value: ours,
            unit: INSTRUCTIONS,
            of: ("deadconn", EVPOLL),
            setting: None,
            met: all.map(|((ours, epoll), uring)| ours < epoll && ours < uring),
        }
    }

    /// Of the delivery: a request as a whole is so dear that nothing that evpoll does would show.
    fn flat_deadconn(&self) -> Target {
        let cost = |idle| self.deadconn(EVPOLL, idle);
        let from_to = cost(FEW_IDLE).zip(cost(MANY_IDLE));
        Target {
            what: format!(
                "HTTP request among {MANY_IDLE} idle connections as among {FEW_IDLE}, less the \
                 bare cost"
            ),
            limit: format!("within {FLAT_DELIVERY} instructions"),
            measured: from_to.map_or(GAP.into(), |(from, to)| {
                format!("{from:.1} and {to:.1}: {:+.1}", to - from)
            }),
            value: from_to.map(|(from, to)| to - from),
            unit: INSTRUCTIONS,
            of: ("deadconn", EVPOLL),
            setting: None,
            met: from_to.map(|(from, to)| (to - from).abs() <= FLAT_DELIVERY),
        }
    }

    /// With any number of producers: the case in which epoll does best is shown. Runs are compared
    /// one by one, since the machine is not as fast in each of them.
    fn producers(&self) -> Target {
        let ours = self.0.iter().filter(|figure| {
            figure.name == "producers"
                && figure.interface == EVPOLL
                && figure.params.get("cpus") == Some(&json!(CPUS))
        });
        let ratios: Option<Vec<(Cell, u64)>> = ours
            .map(|figure| figure.ratio().zip(figure.params.get("producers")?.as_u64()))
            .collect();
        let ratios = ratios.unwrap_or_default().into_iter();
        let worst = ratios.min_by(|a, b| a.0.value.total_cmp(&b.0.value));
        Target {
            what: format!("producers on {CPUS} processors: events/s, of {EPOLL}'s in the same run"),
            limit: "\u{2265} 100 %".into(),
            measured: worst.map_or(GAP.into(), |(ratio, producers)| {
                let s = if producers == 1 { "" } else { "s" };
                format!(
                    "{} % ({producers} producer{s}, the worst)",
                    ratio.percents()
                )
            }),
            value: worst.map(|(ratio, _)| ratio.value),
            unit: PERCENT,
            of: ("producers", EVPOLL),
            setting: None,
            met: worst.map(|(ratio, _)| ratio.value >= 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::boot;
    use super::*;
    use std::collections::BTreeSet;

    fn line(name: &str, of: &str, params: &str, value: f64, unit: &str) -> String {
        format!(
            "{{\"name\":\"{name}\",\"interface\":\"{of}\",\"params\":{{{params}}},\
             \"value\":{value},\"unit\":\"{unit}\"}}\n"
        )
    }

    /// evpoll's line of producers: least, median and most of the runs' ratios.
    fn compared(params: &str, value: f64, (least, median, most): (f64, f64, f64)) -> String {
        let line = line("producers", "evpoll", params, value, "events/s");
        let raw = format!(
            "\"raw\":{{\"percent of epoll-edge\":{median},\"min percent of epoll-edge\":{least},\
             \"max percent of epoll-edge\":{most}}}}}\n"
        );
        line.replace("}\n", &format!(",{raw}"))
    }

    fn verdicts(lines: &str) -> Vec<Option<bool>> {
        let found = targets(&[boot(lines)]);
        found.iter().map(|target| target.met).collect()
    }

    /// Everything just within its limit, moved by `by`.
    fn all(by: f64) -> String {
        let instructions = "instructions/x";
        let mut lines = String::new();
        for (pipes, active, value) in [
            (1000, 100, 1080.0),
            (1000, 1, 1330.0),
            (100, 100, 1070.0),
            (100_000, 100, 1071.3),
            (100, 1, 1300.0),
            (100_000, 1, 1306.0),
        ] {
            let params = format!("\"pipes\":{pipes},\"active\":{active},\"writes\":7");
            lines += &line("pipetest", "bare", &params, 1000.0, instructions);
            // Of flatness, only the many move.
            let by = if pipes == 100 { 0.0 } else { by };
            lines += &line("pipetest", "evpoll", &params, value + by, instructions);
        }
        let call = "\"call\":\"ADD and DEL\"";
        lines += &line("syscall", "evpoll", call, 1000.0 + by, instructions);
        for (op, value) in [("ADD by write(2)", 350.0), ("close", 250.0)] {
            let params = format!("\"op\":\"{op}\",\"watches\":100000");
            lines += &line("ctl", "evpoll", &params, value + by, instructions);
            let params = format!("\"op\":\"{op}\",\"watches\":1000");
            lines += &line("ctl", "evpoll", &params, 9999.0, instructions);
        }
        let watches = "\"watches\":100000";
        lines += &line("memory", "evpoll", watches, 112.0 + by, "bytes/watch");
        for (path, plain) in [("pipe", 500.0), ("tcp", 1000.0)] {
            let params = format!("\"path\":\"{path}\"");
            lines += &line("idle", "unpatched", &params, plain, instructions);
            lines += &line(
                "idle",
                "no-queue",
                &params,
                plain * 1.002 + by,
                instructions,
            );
        }
        for idle in [0, 50_000] {
            let params = format!("\"idle\":{idle}");
            let more = if idle == 0 { 0.0 } else { 20.0 + by };
            for (of, value) in [
                ("bare", 17_000.0),
                ("evpoll", 17_200.0 + more),
                ("epoll-edge", 17_220.5),
                ("io_uring-multishot", 17_221.0),
            ] {
                lines += &line("deadconn", of, &params, value, instructions);
            }
        }
        for producers in [1, 4] {
            let params = format!("\"cpus\":4,\"producers\":{producers}");
            let percent = 100.0 - if producers == 4 { by } else { 0.0 };
            // The medians say something else than the runs do.
            lines += &compared(&params, 900.0, (90.0, percent, 110.5));
            lines += &line("producers", "epoll-edge", &params, 1000.0, "events/s");
        }
        lines
    }

    #[test]
    fn at_the_limit_is_met() {
        let verdicts = verdicts(&all(0.0));
        assert_eq!(verdicts.len(), 12);
        assert!(
            verdicts.iter().all(|met| *met == Some(true)),
            "{verdicts:?}"
        );
    }

    #[test]
    fn beyond_it_is_not() {
        let verdicts = verdicts(&all(4.1));
        assert!(
            verdicts.iter().all(|met| *met == Some(false)),
            "{verdicts:?}"
        );
        let table = table(&targets(&[boot(&all(4.1))]));
        let text = table.text();
        assert!(text.contains("84.1") && text.contains("NOT MET"), "{text}");
        assert!(
            text.contains("pipe, the worst")
                && text.contains("95.9 (90.0\u{2013}110.5) % (4 producers, the worst)"),
            "{text}"
        );
    }

    #[test]
    fn idle_connections_may_not_change_what_a_delivery_costs() {
        let verdict = |bare: [f64; 2], ours: [f64; 2]| {
            let mut lines = String::new();
            for (at, idle) in [FEW_IDLE, MANY_IDLE].into_iter().enumerate() {
                let params = format!("\"idle\":{idle}");
                lines += &line("deadconn", BARE, &params, bare[at], "instructions/request");
                lines += &line(
                    "deadconn",
                    EVPOLL,
                    &params,
                    ours[at],
                    "instructions/request",
                );
            }
            verdicts(&lines)[10]
        };
        // As it was measured.
        let measured = verdict([17_125.0, 17_145.1], [17_336.1, 17_353.4]);
        assert_eq!(measured, Some(true));
        // A tenth more, and a tenth less, of what is 0.1 % of the request.
        assert_eq!(verdict([17_125.0; 2], [17_336.0, 17_357.0]), Some(false));
        assert_eq!(verdict([17_125.0; 2], [17_336.0, 17_315.0]), Some(false));
        // The connections alone may be dearer.
        assert_eq!(
            verdict([17_000.0, 18_000.0], [17_200.0, 18_219.0]),
            Some(true)
        );
    }

    #[test]
    fn each_is_a_figure_with_the_setting_that_it_was_measured_in() {
        let mut others = boot(&all(0.0));
        let ours = |figure: &Figure| figure.name != "producers";
        let (figures, producers): (Vec<_>, _) = others.figures.into_iter().partition(ours);
        let mut two = producers.clone();
        for figure in &mut two {
            figure.params.insert("cpus".into(), json!(2));
        }
        others.figures = figures;
        let several = |processors, figures| Measured {
            setting: Setting {
                processors,
                ..others.setting.clone()
            },
            figures,
        };
        let measured = [several(2, two), several(4, producers), others];
        let found = targets(&measured);
        let processors = |target: &Target| target.setting().unwrap().processors;
        assert!(found[..11].iter().all(|target| processors(target) == 1));
        assert_eq!(processors(&found[11]), 4);

        let figure = found[0].figure();
        assert_eq!(
            (figure.value, figure.unit.as_str()),
            (Some(80.0), "instructions")
        );
        assert_eq!(figure.raw["met"], json!(true));
        assert_eq!(figure.params["limit"], json!("\u{2264} 80 instructions"));
        let figure = targets(&[])[0].figure();
        assert_eq!((figure.value, &figure.raw["met"]), (None, &Value::Null));
        assert_eq!(figure.error.as_deref(), Some("not measured"));
        // They can be told apart.
        let whats: BTreeSet<&String> = found.iter().map(|target| &target.what).collect();
        assert_eq!(whats.len(), found.len());
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert!(verdicts("").iter().all(Option::is_none));
        let params = "\"pipes\":1000,\"active\":100";
        let only = line("pipetest", "evpoll", params, 10.0, "instructions/event");
        assert!(verdicts(&only).iter().all(Option::is_none));
        let partly = all(0.0).replace(
            "\"interface\":\"no-queue\",\"params\":{\"path\":\"tcp\"}",
            "\"interface\":\"no-queue\",\"params\":{\"path\":\"unix\"}",
        );
        let missing = |lines: &str| verdicts(lines).iter().filter(|met| met.is_none()).count();
        assert_eq!(missing(&partly), 1);
        // One number of producers without a ratio.
        let partly = all(0.0).replacen("\"percent of", "\"parts of", 1);
        assert_eq!(missing(&partly), 1);
    }
}
