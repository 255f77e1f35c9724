// SPDX-License-Identifier: GPL-2.0
//! What the guest measured, and how it belongs together.

use super::table::{number, Side, Table};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Every interface, in the order in which they are shown. Others follow by name.
pub const INTERFACES: [&str; 7] = [
    "evpoll",
    "epoll-edge",
    "epoll-level",
    "io_uring-multishot",
    "poll",
    "select",
    "rtsig",
];
/// What stands in the place of an interface where kernels are compared, the first with the others.
pub const STATES: [&str; 4] = [UNPATCHED, NO_QUEUE, "queue-open", "queue-closed"];
pub const UNPATCHED: &str = "unpatched";
pub const NO_QUEUE: &str = "no-queue";
/// The cost of the same work without any interface.
pub const BARE: &str = "bare";
/// What others are compared with where they took turns.
pub const COMPARED: &str = "epoll-edge";
/// How, in `raw`.
const PERCENT: &str = "percent of epoll-edge";
const LEAST_PERCENT: &str = "min percent of epoll-edge";
const MOST_PERCENT: &str = "max percent of epoll-edge";
/// Parameters that say how long was measured, and not what: they may differ in one comparison.
const EFFORT: [&str; 3] = ["writes", "rounds", "requests"];

/// One line of the guest.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    pub name: String,
    pub interface: String,
    pub params: Map<String, Value>,
    /// None is a gap: it could not be measured, for the reason that `error` gives.
    pub value: Option<f64>,
    pub unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default)]
    pub raw: Map<String, Value>,
}

impl Figure {
    /// A number of `raw`.
    fn raw(&self, name: &str) -> Option<f64> {
        self.raw.get(name)?.as_f64()
    }

    /// What it was in one run of what [`COMPARED`] was in the same run, in percent: the median of
    /// the runs.
    pub fn ratio(&self) -> Option<Cell> {
        let range = self.raw(LEAST_PERCENT).zip(self.raw(MOST_PERCENT));
        Some(Cell {
            value: self.raw(PERCENT)?,
            range,
        })
    }
}

/// What all figures of a boot have in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    pub kernel: String,
    pub profile: String,
    pub toolchain: String,
    pub accel: String,
    pub processors: u16,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let processors = match self.processors {
            1 => "1 processor".to_owned(),
            n => format!("{n} processors"),
        };
        write!(
            f,
            "Linux {}, {} profile, QEMU {}, {processors}",
            self.kernel, self.profile, self.accel
        )
    }
}

/// What one boot gave.
#[derive(Clone, Debug)]
pub struct Measured {
    pub setting: Setting,
    pub figures: Vec<Figure>,
}

/// Reads the guest's output. Every line has to be a figure.
pub fn parse(output: &str) -> anyhow::Result<Vec<Figure>> {
    output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            serde_json::from_str(line)
                .with_context(|| format!("evpoll-bench printed what is no figure: {line}"))
        })
        .collect()
}

/// One benchmark: rows that differ in their parameters, each with a figure for every interface.
#[derive(Debug)]
pub struct Group {
    pub name: String,
    pub unit: String,
    /// Of the boots that the figures come from.
    pub settings: Vec<Setting>,
    /// Names of the parameters.
    pub params: Vec<String>,
    /// Without [`BARE`].
    pub interfaces: Vec<String>,
    pub rows: Vec<Row>,
    /// Why figures are missing, each reason once.
    pub gaps: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub struct Row {
    pub params: Vec<Value>,
    pub bare: Option<f64>,
    /// In the order of the group's interfaces, less `bare` if there is one.
    pub cells: Vec<Option<Cell>>,
    /// See [`Figure::ratio`]. In the same order.
    ratios: Vec<Option<Cell>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub value: f64,
    /// The least and the most, where it was measured several times.
    pub range: Option<(f64, f64)>,
}

impl Cell {
    fn text(&self, number: impl Fn(f64) -> String) -> String {
        let value = number(self.value);
        match self.range {
            Some((least, most)) => format!("{value} ({}\u{2013}{})", number(least), number(most)),
            None => value,
        }
    }

    /// Of percents, a tenth can tell more from less.
    pub fn percents(&self) -> String {
        self.text(|value| format!("{value:.1}"))
    }
}

impl Row {
    pub fn value(&self, column: usize) -> Option<f64> {
        Some(self.cells[column]?.value)
    }
}

impl Group {
    pub fn has_bare(&self) -> bool {
        self.rows.iter().any(|row| row.bare.is_some())
    }

    /// Whether the figures are what is left after taking off the bare cost.
    fn is_difference(&self) -> bool {
        let both = |row: &Row| row.bare.is_some() && row.cells.iter().any(Option::is_some);
        self.rows.iter().any(both)
    }

    /// The column that the others are compared with.
    fn reference(&self) -> Option<usize> {
        self.interfaces.iter().position(|name| name == UNPATCHED)
    }

    /// Numbers at the right, words at the left.
    fn param_columns(&self) -> Vec<(String, Side)> {
        let side = |column: usize| {
            let number = |row: &Row| row.params[column].is_number() || row.params[column].is_null();
            match self.rows.iter().all(number) {
                true => Side::Right,
                false => Side::Left,
            }
        };
        let names = self.params.iter().enumerate();
        names
            .map(|(column, name)| (name.clone(), side(column)))
            .collect()
    }

    pub fn table(&self) -> Table {
        let mut columns = self.param_columns();
        let figures = self.interfaces.iter().map(String::as_str);
        for name in figures.chain(self.has_bare().then_some(BARE)) {
            columns.push((name.to_owned(), Side::Right));
        }
        let row = |row: &Row| {
            let mut line: Vec<String> = row.params.iter().map(plain).collect();
            line.extend((0..self.interfaces.len()).map(|column| self.cell(row, column)));
            if self.has_bare() {
                line.push(number(row.bare));
            }
            line
        };
        Table {
            columns,
            rows: self.rows.iter().map(row).collect(),
        }
    }

    /// The figure, with what it is above the reference, or with its range.
    fn cell(&self, row: &Row, column: usize) -> String {
        let Some(cell) = row.cells[column] else {
            return number(None);
        };
        let value = cell.value;
        let reference = self.reference().filter(|reference| *reference != column);
        if let Some(with) = reference.and_then(|reference| row.value(reference)) {
            return format!("{value:.1} ({:+.2} %)", percent(value, with));
        }
        match cell.range {
            None if self.reference().is_some() => format!("{value:.1}"),
            _ => cell.text(|value| number(Some(value))),
        }
    }

    /// What the figures were of those of [`COMPARED`] in the same run, where that was noted.
    pub fn ratios(&self) -> Option<Table> {
        let others = || (0..self.interfaces.len()).filter(|at| self.interfaces[*at] != COMPARED);
        if !self
            .rows
            .iter()
            .any(|row| others().any(|at| row.ratios[at].is_some()))
        {
            return None;
        }
        let mut columns = self.param_columns();
        columns.extend(others().map(|at| (self.interfaces[at].clone(), Side::Right)));
        let row = |row: &Row| {
            let cell = |at: usize| row.ratios[at].map_or(number(None), |cell| cell.percents());
            row.params
                .iter()
                .map(plain)
                .chain(others().map(cell))
                .collect()
        };
        Some(Table {
            columns,
            rows: self.rows.iter().map(row).collect(),
        })
    }

    /// What the figures are, in words.
    pub fn meaning(&self) -> String {
        match self.is_difference() {
            true => format!("{}, less the bare cost", self.unit),
            false => self.unit.clone(),
        }
    }
}

/// The figures by benchmark, in their order. Those of one benchmark stand beside each other, from
/// whatever boot they are.
pub fn groups(measured: &[Measured]) -> Vec<Group> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for figure in measured.iter().flat_map(|boot| &boot.figures) {
        let name = (figure.name.as_str(), figure.unit.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|name| group(name, measured))
        .collect()
}

fn group((name, unit): (&str, &str), measured: &[Measured]) -> Group {
    let wanted = |figure: &&Figure| figure.name == name && figure.unit == unit;
    let mut settings: Vec<Setting> = Vec::new();
    for boot in measured {
        if boot.figures.iter().any(|figure| wanted(&figure)) && !settings.contains(&boot.setting) {
            settings.push(boot.setting.clone());
        }
    }
    let all = measured.iter().flat_map(|boot| &boot.figures);
    let ours: Vec<&Figure> = all.filter(wanted).collect();
    let params = params(&ours);
    let mut interfaces: Vec<String> = Vec::new();
    for figure in &ours {
        if figure.interface != BARE && !interfaces.contains(&figure.interface) {
            interfaces.push(figure.interface.clone());
        }
    }
    interfaces.sort_by_key(|name| (rank(name), name.clone()));

    let key = |figure: &Figure| -> Vec<Value> {
        params
            .iter()
            .map(|name| figure.params.get(name).cloned().unwrap_or_default())
            .collect()
    };
    let mut keys: Vec<Vec<Value>> = Vec::new();
    for figure in &ours {
        if !keys.contains(&key(figure)) {
            keys.push(key(figure));
        }
    }
    let figure = |params: &Vec<Value>, interface: &str| -> Option<&Figure> {
        let mut ours = ours.iter().copied();
        ours.find(|f| f.interface == interface && key(f) == *params)
    };
    let find = |params: &Vec<Value>, interface: &str| {
        let figure = figure(params, interface)?;
        let range = figure.raw("min").zip(figure.raw("max"));
        figure.value.map(|value| Cell { value, range })
    };
    let mut rows = Vec::new();
    for params in keys {
        let bare = find(&params, BARE).map(|cell| cell.value);
        let less = bare.unwrap_or(0.0);
        let cell = |name: &String| {
            find(&params, name).map(|Cell { value, range }| Cell {
                value: value - less,
                range: range.map(|(least, most)| (least - less, most - less)),
            })
        };
        let cells = interfaces.iter().map(cell).collect();
        let ratio = |name: &String| figure(&params, name)?.ratio();
        let ratios = interfaces.iter().map(ratio).collect();
        rows.push(Row {
            params,
            bare,
            cells,
            ratios,
        });
    }
    let mut gaps = Vec::new();
    for figure in ours.iter().filter(|figure| figure.value.is_none()) {
        let why = figure.error.as_deref().unwrap_or("no reason was given");
        let gap = format!("no figure for {}: {why}", figure.interface);
        if !gaps.contains(&gap) {
            gaps.push(gap);
        }
    }
    Group {
        name: name.into(),
        unit: unit.into(),
        settings,
        params,
        interfaces,
        rows,
        gaps,
    }
}

/// The place of an interface, or of a kernel's state, among the others.
pub fn rank(name: &str) -> usize {
    let known = INTERFACES.iter().position(|known| *known == name);
    let state = || STATES.iter().position(|known| *known == name);
    known.or_else(state).unwrap_or(INTERFACES.len())
}

/// The names of the parameters, the one with the most values first.
fn params(figures: &[&Figure]) -> Vec<String> {
    let mut values: BTreeMap<&String, Vec<&Value>> = BTreeMap::new();
    for (name, value) in figures.iter().flat_map(|figure| &figure.params) {
        let seen = values.entry(name).or_default();
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    let mut names: Vec<(usize, &String)> = values
        .into_iter()
        .map(|(name, seen)| (seen.len(), name))
        .collect();
    names.retain(|(_, name)| !EFFORT.contains(&name.as_str()));
    names.sort_by_key(|(count, _)| Reverse(*count));
    names.into_iter().map(|(_, name)| name.clone()).collect()
}

/// How much more than another a value is.
pub fn percent(value: f64, than: f64) -> f64 {
    100.0 * (value - than) / than
}

/// A parameter as people read it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const LINES: &str = r#"
{"name":"pipetest","interface":"bare","params":{"pipes":10,"active":1,"writes":2000},"value":900.0,"unit":"instructions/event","raw":{}}
{"name":"pipetest","interface":"poll","params":{"pipes":10,"active":1,"writes":20},"value":2500.5,"unit":"instructions/event","raw":{"rounds":20}}
{"name":"pipetest","interface":"evpoll","params":{"pipes":10,"active":1,"writes":2000},"value":1300.0,"unit":"instructions/event","raw":{}}
{"name":"pipetest","interface":"bare","params":{"pipes":1000,"active":1,"writes":2000},"value":910.0,"unit":"instructions/event","raw":{}}
{"name":"pipetest","interface":"poll","params":{"pipes":1000,"active":1,"writes":20},"value":142000.0,"unit":"instructions/event","raw":{}}
{"name":"pipetest","interface":"evpoll","params":{"pipes":1000,"active":1,"writes":2000},"value":null,"unit":"instructions/event","error":"not in this kernel: ENOSYS","raw":{}}
{"name":"pipetest","interface":"bare","params":{"pipes":100,"active":1,"writes":2000},"value":905.0,"unit":"instructions/event","raw":{}}
{"name":"pipetest","interface":"poll","params":{"pipes":100,"active":1,"writes":20},"value":15000.0,"unit":"instructions/event","raw":{}}
{"name":"syscall","interface":"evpoll","params":{"call":"wait <nothing>"},"value":309.0,"unit":"instructions/call","raw":{}}
"#;

    pub fn setting(kernel: &str) -> Setting {
        Setting {
            kernel: kernel.into(),
            profile: "release".into(),
            toolchain: "clang & rustc".into(),
            accel: "tcg".into(),
            processors: 1,
        }
    }

    pub fn boot(lines: &str) -> Measured {
        Measured {
            setting: setting("7.3.4"),
            figures: parse(lines).unwrap(),
        }
    }

    fn of(lines: &str) -> Vec<Group> {
        groups(&[boot(lines)])
    }

    #[test]
    fn figures_of_one_benchmark_stand_side_by_side() {
        let groups = of(LINES);
        assert_eq!(groups.len(), 2);
        let pipes = &groups[0];
        assert_eq!(pipes.params, ["pipes", "active"]);
        assert_eq!(pipes.interfaces, ["evpoll", "poll"]);
        let values = |row: &Row| (row.value(0), row.value(1));
        assert_eq!(values(&pipes.rows[0]), (Some(400.0), Some(1600.5)));
        assert_eq!(pipes.rows[0].bare, Some(900.0));
        assert!(pipes.has_bare() && !groups[1].has_bare());
        assert_eq!(groups[1].rows[0].value(0), Some(309.0));
    }

    #[test]
    fn what_is_missing_stays_missing_and_is_explained() {
        let pipes = &of(LINES)[0];
        assert_eq!(pipes.rows[1].cells[0], None);
        assert_eq!(pipes.rows[2].cells[0], None);
        assert_eq!(
            pipes.gaps,
            ["no figure for evpoll: not in this kernel: ENOSYS"]
        );
    }

    #[test]
    fn a_table_has_words_at_the_left_and_figures_at_the_right() {
        let groups = of(LINES);
        assert_eq!(
            groups[0].table().text(),
            "\x20 pipes   active   evpoll     poll   bare\n\
             \x20    10        1      400     1600    900\n\
             \x20  1000        1        -   141090    910\n\
             \x20   100        1        -    14095    905\n"
        );
        assert_eq!(
            groups[1].table().text(),
            "\x20 call             evpoll\n\x20 wait <nothing>      309\n"
        );
    }

    #[test]
    fn kernels_are_compared_with_the_unpatched_one() {
        let line = |state: &str, value: f64| {
            format!(
                "{{\"name\":\"idle\",\"interface\":\"{state}\",\"params\":{{\"path\":\"tcp\"}},\
                 \"value\":{value},\"unit\":\"instructions/call\"}}\n"
            )
        };
        let patched = line("queue-open", 1010.0) + &line("no-queue", 1001.0);
        let plain = Measured {
            setting: setting("7.3.4, unpatched"),
            figures: parse(&line("unpatched", 1000.0)).unwrap(),
        };
        let groups = groups(&[boot(&patched), plain]);
        assert_eq!(groups[0].settings.len(), 2);
        let table = groups[0].table();
        assert_eq!(
            table.rows,
            [["tcp", "1000.0", "1001.0 (+0.10 %)", "1010.0 (+1.00 %)"]]
        );
    }

    #[test]
    fn what_was_measured_several_times_has_its_range() {
        let line = "{\"name\":\"producers\",\"interface\":\"evpoll\",\"params\":{\"threads\":2},\
             \"value\":500,\"unit\":\"events/s\",\"raw\":{\"min\":400.0,\"max\":600.0}}";
        assert_eq!(of(line)[0].table().rows, [["2", "500 (400\u{2013}600)"]]);
    }

    #[test]
    fn runs_that_were_compared_have_a_table_of_that() {
        let line = |of: &str, producers: u32, raw: &str| {
            format!(
                "{{\"name\":\"producers\",\"interface\":\"{of}\",\"params\":{{\"producers\":\
                 {producers}}},\"value\":500,\"unit\":\"events/s\",\"raw\":{{{raw}}}}}\n"
            )
        };
        let percent = "\"percent of epoll-edge\":104.26";
        let range = "\"min percent of epoll-edge\":74.61,\"max percent of epoll-edge\":128.7";
        let lines = line("epoll-edge", 1, "\"percent of epoll-edge\":100.0")
            + &line("evpoll", 1, &format!("{percent},{range}"))
            + &line("io_uring-multishot", 1, percent)
            + &line("evpoll", 2, "");
        let table = of(&lines)[0].ratios().unwrap();
        let heads: Vec<&str> = table
            .columns
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(heads, ["producers", "evpoll", "io_uring-multishot"]);
        let rows = [["1", "104.3 (74.6\u{2013}128.7)", "104.3"], ["2", "-", "-"]];
        assert_eq!(table.rows, rows);
        assert!(of(&lines.replace("percent", "parts"))[0].ratios().is_none());
        assert!(of(LINES)[0].ratios().is_none());
    }

    #[test]
    fn noise_is_an_error() {
        assert!(parse("{}\n").is_err());
        assert!(parse("hello\n").is_err());
        assert!(parse("\n").unwrap().is_empty());
    }
}
