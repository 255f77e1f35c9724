// SPDX-License-Identifier: GPL-2.0
//! Tables, for a terminal, a page and Markdown.

use std::fmt::Write;

/// A missing figure.
pub const GAP: &str = "-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Figures.
    Right,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<(String, Side)>,
    /// Each with a cell for every column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&str, Side)]) -> Table {
        let own = |(name, side): &(&str, Side)| ((*name).to_owned(), *side);
        Table {
            columns: columns.iter().map(own).collect(),
            rows: Vec::new(),
        }
    }

    fn heading(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    /// For a terminal: columns line up.
    pub fn text(&self) -> String {
        let all: Vec<Vec<String>> = std::iter::once(self.heading())
            .chain(self.rows.iter().cloned())
            .collect();
        let width = |column: usize| {
            let widths = all.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut out = String::new();
        for row in &all {
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let gap = if column == 0 { "  " } else { "   " };
                // Writing to a string cannot fail.
                let _ = match self.columns[column].1 {
                    Side::Left => write!(out, "{gap}{cell:<width$}"),
                    Side::Right => write!(out, "{gap}{cell:>width$}"),
                };
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }

    pub fn html(&self) -> String {
        let row = |tag: &str, cells: &[String]| {
            let cell = |(cell, (_, side)): (&String, &(String, Side))| {
                let class = match side {
                    Side::Left => " class=\"word\"",
                    Side::Right => "",
                };
                format!("<{tag}{class}>{}</{tag}>", escape(cell))
            };
            let cells: Vec<String> = cells.iter().zip(&self.columns).map(cell).collect();
            format!("<tr>{}</tr>\n", cells.concat())
        };
        let rows: Vec<String> = self.rows.iter().map(|cells| row("td", cells)).collect();
        format!(
            "<div class=\"wide\"><table>\n{}{}</table></div>\n",
            row("th", &self.heading()),
            rows.concat()
        )
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| markdown(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = |(_, side): &(String, Side)| match side {
            Side::Left => ":---",
            Side::Right => "---:",
        };
        let rules: Vec<&str> = self.columns.iter().map(rule).collect();
        let rows: Vec<String> = self.rows.iter().map(|cells| line(cells)).collect();
        format!(
            "{}| {} |\n{}",
            line(&self.heading()),
            rules.join(" | "),
            rows.concat()
        )
    }
}

/// Short enough to compare at a glance: tenths only where they are a part that matters.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => GAP.into(),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// Text in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Text in a cell of a table in Markdown.
fn markdown(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('|', "\\|")
        .replace('*', "\\*")
        .replace("__", "\\_\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("call", Side::Left), ("evpoll", Side::Right)]);
        table.rows = vec![
            vec!["wait <nothing>".into(), "309".into()],
            vec!["__x|y".into(), GAP.into()],
        ];
        table
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            table().text(),
            "\x20 call             evpoll\n\
             \x20 wait <nothing>      309\n\
             \x20 __x|y                 -\n"
        );
    }

    #[test]
    fn what_means_something_elsewhere_is_escaped() {
        let html = table().html();
        assert!(html.contains("<td class=\"word\">wait &lt;nothing&gt;</td><td>309</td>"));
        assert_eq!(
            table().markdown(),
            "| call | evpoll |\n| :--- | ---: |\n| wait &lt;nothing&gt; | 309 |\n\
             | \\_\\_x\\|y | - |\n"
        );
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(number(Some(9.96)), "10.0");
        assert_eq!(number(Some(725.4)), "725");
        assert_eq!(number(None), GAP);
    }
}
