// SPDX-License-Identifier: GPL-2.0
//! One line of JSON for each figure.

use crate::measure::{Result, Trouble};
use std::cell::Cell;
use std::io::Write;

pub struct Output {
    unit: &'static str,
    /// Something did not do what it should.
    wrong: Cell<bool>,
}

/// A figure, or why there is none.
pub struct Figure<'a> {
    pub name: &'a str,
    pub interface: &'a str,
    pub params: &'a [(&'a str, Value<'a>)],
    pub unit: Unit<'a>,
    pub value: Result<f64>,
    pub raw: Notes<'a>,
}

pub enum Unit<'a> {
    /// What the clock counts, for each of these.
    Per(&'a str),
    /// Another.
    Of(&'a str),
}

/// What else to say.
pub type Notes<'a> = &'a [(&'a str, Value<'a>)];

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Int(u64),
    Float(f64),
    Text(&'a str),
}

impl Output {
    pub fn instructions() -> Self {
        Self::new("instructions")
    }

    pub fn nanoseconds() -> Self {
        Self::new("ns")
    }

    fn new(unit: &'static str) -> Self {
        Output {
            unit,
            wrong: Cell::new(false),
        }
    }

    /// Whether everything did what it should.
    pub fn all_right(&self) -> bool {
        !self.wrong.get()
    }

    pub fn figure(&self, f: &Figure) {
        if let Err(Trouble::Wrong(why)) = &f.value {
            self.wrong.set(true);
            eprintln!("{}: {}: {why}", f.name, f.interface);
        }
        let line = self.line(f);
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    }

    fn line(&self, f: &Figure) -> String {
        let (value, error) = match &f.value {
            Ok(v) => (number(*v), String::new()),
            Err(e) => (
                "null".to_owned(),
                format!(",\"error\":{}", text(&e.to_string())),
            ),
        };
        let unit = match f.unit {
            Unit::Per(what) => format!("{}/{what}", self.unit),
            Unit::Of(unit) => unit.to_owned(),
        };
        format!(
            "{{\"name\":{},\"interface\":{},\"params\":{},\"value\":{value},\"unit\":{}{error},\
             \"raw\":{}}}",
            text(f.name),
            text(f.interface),
            object(f.params),
            text(&unit),
            object(f.raw),
        )
    }
}

fn object(fields: &[(&str, Value)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Int(n) => n.to_string(),
                Value::Float(v) => number(*v),
                Value::Text(s) => text(s),
            };
            format!("{}:{value}", text(name))
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn number(v: f64) -> String {
    format!("{v:.1}")
}

fn text(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_and_its_absence() {
        let mut figure = Figure {
            name: "pipetest",
            interface: "epoll-edge",
            params: &[("pipes", Value::Int(10)), ("active", Value::Int(1))],
            unit: Unit::Per("event"),
            value: Ok(12.34),
            raw: &[
                ("delivery", Value::Float(1.0)),
                ("note", Value::Text("a\"b\n")),
            ],
        };
        assert_eq!(
            Output::instructions().line(&figure),
            "{\"name\":\"pipetest\",\"interface\":\"epoll-edge\",\
             \"params\":{\"pipes\":10,\"active\":1},\"value\":12.3,\
             \"unit\":\"instructions/event\",\"raw\":{\"delivery\":1.0,\"note\":\"a\\\"b\\u000a\"}}"
        );
        figure.value = Err(Trouble::Missing("ENOSYS".to_owned()));
        figure.raw = &[];
        assert_eq!(
            Output::nanoseconds().line(&figure),
            "{\"name\":\"pipetest\",\"interface\":\"epoll-edge\",\
             \"params\":{\"pipes\":10,\"active\":1},\"value\":null,\
             \"unit\":\"ns/event\",\"error\":\"ENOSYS\",\"raw\":{}}"
        );
        figure.unit = Unit::Of("bytes/watch");
        assert!(Output::nanoseconds()
            .line(&figure)
            .contains("\"unit\":\"bytes/watch\""));
    }

    #[test]
    fn what_went_wrong_is_remembered() {
        let mut figure = Figure {
            name: "pipetest",
            interface: "poll",
            params: &[],
            unit: Unit::Per("event"),
            value: Err(Trouble::Missing("ENOSYS".to_owned())),
            raw: &[],
        };
        let output = Output::instructions();
        output.figure(&figure);
        assert!(output.all_right());
        figure.value = Err(Trouble::Wrong("an event is lost".to_owned()));
        output.figure(&figure);
        assert!(!output.all_right());
    }
}
