// SPDX-License-Identifier: GPL-2.0
//! A line for each thing that was looked at.

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// Not there, and nothing to be done: a command gets it when it needs it.
    Later,
    /// Not there, and only some commands need it, or are slower without.
    Optional,
    /// Not there, and nothing works without.
    Missing,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Later => "later",
            State::Optional => "optional",
            State::Missing => "MISSING",
        }
    }
}

pub struct Row {
    state: State,
    what: String,
    /// What was found, or how to get it.
    found: String,
    /// The packages that would get it.
    packages: Vec<String>,
}

impl Row {
    pub fn new(state: State, what: impl Into<String>, found: impl Into<String>) -> Row {
        Row {
            state,
            what: what.into(),
            found: found.into(),
            packages: Vec::new(),
        }
    }

    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Row {
        Row::new(State::Ok, what, found)
    }

    pub fn later(what: impl Into<String>, found: impl Into<String>) -> Row {
        Row::new(State::Later, what, found)
    }

    pub fn missing(what: impl Into<String>, found: impl Into<String>) -> Row {
        Row::new(State::Missing, what, found)
    }

    pub fn with_packages(mut self, names: impl IntoIterator<Item = String>) -> Row {
        self.packages.extend(names);
        self
    }
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// How much of what is required is missing.
    pub fn missing(&self) -> usize {
        let missing = |row: &&Row| row.state == State::Missing;
        self.rows.iter().filter(missing).count()
    }

    /// The packages that would get what is in this state, each once.
    pub fn packages(&self, state: State) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in self.rows.iter().filter(|row| row.state == state) {
            for name in &row.packages {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
        names
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.rows.iter().map(|row| row.what.chars().count()).max();
        let width = width.unwrap_or(0);
        for Row {
            state, what, found, ..
        } in &self.rows
        {
            writeln!(f, "{:<9} {what:<width$}  {found}", state.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_and_only_what_is_required_counts() {
        let mut table = Table::default();
        table.add(Row::ok("git", "2.47"));
        table.add(Row::later("bindgen", "is built"));
        table.add(Row::new(State::Optional, "KVM", "none"));
        assert_eq!(table.missing(), 0);
        table.add(Row::missing("disk", "full"));
        assert_eq!(table.missing(), 1);
        let lines = table.to_string();
        assert!(lines.starts_with("ok        git      2.47\n"), "{lines}");
        assert!(lines.ends_with("MISSING   disk     full\n"), "{lines}");
    }

    #[test]
    fn packages_are_named_once_and_by_state() {
        let mut table = Table::default();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        table.add(Row::missing("a", "").with_packages(names(&["x", "y"])));
        table.add(Row::missing("b", "").with_packages(names(&["y", "z"])));
        table.add(Row::new(State::Optional, "c", "").with_packages(names(&["o"])));
        assert_eq!(table.packages(State::Missing), ["x", "y", "z"]);
        assert_eq!(table.packages(State::Optional), ["o"]);
    }
}
