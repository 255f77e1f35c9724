// SPDX-License-Identifier: GPL-2.0
//! A benchmark as a table: a row for each set of parameters, a column for each interface.

use super::figures::{plain, Group, BARE};
use std::fmt::Write;

/// A missing figure.
pub const GAP: &str = "-";

/// The cells, the heading first. As many cells at the left as there are parameters.
pub fn cells(group: &Group) -> Vec<Vec<String>> {
    let mut heading: Vec<String> = group.params.clone();
    heading.extend(group.interfaces.iter().cloned());
    if group.has_bare() {
        heading.push(BARE.into());
    }
    let mut rows = vec![heading];
    for row in &group.rows {
        let mut line: Vec<String> = row.params.iter().map(plain).collect();
        line.extend(row.cells.iter().map(|value| number(*value)));
        if group.has_bare() {
            line.push(number(row.bare));
        }
        rows.push(line);
    }
    rows
}

/// Short enough to compare at a glance: tenths only where they are a part that matters.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => GAP.into(),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// For a terminal.
pub fn text(group: &Group) -> String {
    let rows = cells(group);
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = format!("{}: {}\n", group.name, group.meaning());
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Text stands at the left, numbers at the right.
            let text = cell.parse::<f64>().is_err() && cell != GAP && index > 0;
            let word = group.params.len() > column && is_text(&rows, column);
            let gap = if column == 0 { "  " } else { "   " };
            // Writing to a string cannot fail.
            let _ = match text || word {
                true => write!(out, "{gap}{cell:<width$}"),
                false => write!(out, "{gap}{cell:>width$}"),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    for gap in &group.gaps {
        let _ = writeln!(out, "  {gap}");
    }
    out
}

fn is_text(rows: &[Vec<String>], column: usize) -> bool {
    rows[1..]
        .iter()
        .any(|row| row[column].parse::<f64>().is_err())
}

#[cfg(test)]
mod tests {
    use super::super::figures::{groups, parse, tests::LINES};
    use super::*;

    #[test]
    fn columns_line_up_and_gaps_are_told() {
        let groups = groups(&parse(LINES).unwrap());
        assert_eq!(
            text(&groups[0]),
            "pipetest: instructions/event, less the bare cost\n\
             \x20 pipes   active   evpoll     poll   bare\n\
             \x20    10        1      400     1600    900\n\
             \x20  1000        1        -   141090    910\n\
             \x20   100        1        -    14095    905\n\
             \x20 no figure for evpoll: not in this kernel: ENOSYS\n"
        );
        assert_eq!(
            text(&groups[1]),
            "syscall: instructions/call\n\
             \x20 call             evpoll\n\
             \x20 wait <nothing>      309\n"
        );
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(number(Some(9.96)), "10.0");
        assert_eq!(number(Some(725.4)), "725");
        assert_eq!(number(None), GAP);
    }
}
