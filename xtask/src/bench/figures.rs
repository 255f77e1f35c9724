// SPDX-License-Identifier: GPL-2.0
//! What the guest measured, and how it belongs together.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Every interface, in the order in which they are shown. Others follow by name.
const INTERFACES: [&str; 5] = [
    "evpoll",
    "epoll-edge",
    "epoll-level",
    "io_uring-multishot",
    "poll",
];
/// The cost of the same work without any interface.
pub const BARE: &str = "bare";
/// Parameters that say how long was measured, and not what: they may differ in one comparison.
const EFFORT: [&str; 1] = ["writes"];

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

/// What all figures of a boot have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    pub kernel: String,
    pub profile: String,
    pub toolchain: String,
    pub accel: String,
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
    pub cells: Vec<Option<f64>>,
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

    /// What the figures are, in words.
    pub fn meaning(&self) -> String {
        match self.is_difference() {
            true => format!("{}, less the bare cost", self.unit),
            false => self.unit.clone(),
        }
    }
}

/// The figures by benchmark, in their order.
pub fn groups(figures: &[Figure]) -> Vec<Group> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for figure in figures {
        let name = (figure.name.as_str(), figure.unit.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| group(name, figures)).collect()
}

fn group((name, unit): (&str, &str), figures: &[Figure]) -> Group {
    let ours: Vec<&Figure> = figures
        .iter()
        .filter(|figure| figure.name == name && figure.unit == unit)
        .collect();
    let params = params(&ours);
    let mut interfaces: Vec<String> = Vec::new();
    for figure in &ours {
        if figure.interface != BARE && !interfaces.contains(&figure.interface) {
            interfaces.push(figure.interface.clone());
        }
    }
    let rank = |name: &String| {
        INTERFACES
            .iter()
            .position(|known| known == name)
            .unwrap_or(99)
    };
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
    let find = |params: &Vec<Value>, interface: &str| {
        let found = ours
            .iter()
            .find(|f| f.interface == interface && key(f) == *params);
        found.and_then(|figure| figure.value)
    };
    let mut rows = Vec::new();
    for params in keys {
        let bare = find(&params, BARE);
        let cell = |name: &String| find(&params, name).map(|value| value - bare.unwrap_or(0.0));
        let cells = interfaces.iter().map(cell).collect();
        rows.push(Row {
            params,
            bare,
            cells,
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
        params,
        interfaces,
        rows,
        gaps,
    }
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

    #[test]
    fn figures_of_one_benchmark_stand_side_by_side() {
        let groups = groups(&parse(LINES).unwrap());
        assert_eq!(groups.len(), 2);
        let pipes = &groups[0];
        assert_eq!(pipes.params, ["pipes", "active"]);
        assert_eq!(pipes.interfaces, ["evpoll", "poll"]);
        assert_eq!(pipes.rows[0].cells, [Some(400.0), Some(1600.5)]);
        assert_eq!(pipes.rows[0].bare, Some(900.0));
        assert!(pipes.has_bare() && !groups[1].has_bare());
        assert_eq!(groups[1].rows[0].cells, [Some(309.0)]);
    }

    #[test]
    fn what_is_missing_stays_missing_and_is_explained() {
        let pipes = &groups(&parse(LINES).unwrap())[0];
        assert_eq!(pipes.rows[1].cells[0], None);
        assert_eq!(pipes.rows[2].cells[0], None);
        assert_eq!(
            pipes.gaps,
            ["no figure for evpoll: not in this kernel: ENOSYS"]
        );
    }

    #[test]
    fn noise_is_an_error() {
        assert!(parse("{}\n").is_err());
        assert!(parse("hello\n").is_err());
        assert!(parse("\n").unwrap().is_empty());
    }
}
