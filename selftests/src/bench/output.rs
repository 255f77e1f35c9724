// SPDX-License-Identifier: GPL-2.0
//! One line of JSON for each figure.

use std::io::Write;

pub struct Output {
    unit: &'static str,
}

/// A figure, or why there is none.
pub struct Figure<'a> {
    pub name: &'a str,
    pub interface: &'a str,
    pub params: &'a [(&'a str, Value<'a>)],
    /// What the figure is per: `event`, `call`.
    pub per: &'a str,
    pub value: Result<f64, String>,
    pub raw: &'a [(&'a str, Value<'a>)],
}

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Int(u64),
    Float(f64),
    Text(&'a str),
}

impl Output {
    pub fn instructions() -> Self {
        Output {
            unit: "instructions",
        }
    }

    pub fn nanoseconds() -> Self {
        Output { unit: "ns" }
    }

    pub fn figure(&self, f: &Figure) {
        let line = self.line(f);
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{line}");
        let _ = out.flush();
    }

    fn line(&self, f: &Figure) -> String {
        let (value, error) = match &f.value {
            Ok(v) => (number(*v), String::new()),
            Err(e) => ("null".to_owned(), format!(",\"error\":{}", text(e))),
        };
        format!(
            "{{\"name\":{},\"interface\":{},\"params\":{},\"value\":{value},\"unit\":{}{error},\
             \"raw\":{}}}",
            text(f.name),
            text(f.interface),
            object(f.params),
            text(&format!("{}/{}", self.unit, f.per)),
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
            per: "event",
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
        figure.value = Err("ENOSYS".to_owned());
        figure.raw = &[];
        assert_eq!(
            Output::nanoseconds().line(&figure),
            "{\"name\":\"pipetest\",\"interface\":\"epoll-edge\",\
             \"params\":{\"pipes\":10,\"active\":1},\"value\":null,\
             \"unit\":\"ns/event\",\"error\":\"ENOSYS\",\"raw\":{}}"
        );
    }
}
