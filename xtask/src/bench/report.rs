// SPDX-License-Identifier: GPL-2.0
//! A folder with the plots and a page that shows them with their figures and how they came about.

use super::figures::{plain, Group, Row, Setting};
use super::plot::{escape, Line, Plot};
use super::table;
use crate::files;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Fewer points than this are no curve; the table has them.
const POINTS: usize = 3;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}\
th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}\
th{border-bottom-color:#222}code{background:#f4f4f4;padding:.1rem .3rem}\
figure{margin:1.5rem 0}svg{max-width:100%;height:auto}";

/// Writes `index.html` and the plots. `settings` belong to the groups, one each; `command` is what
/// made it all. Returns the page.
pub fn write(
    folder: &Path,
    sets: &[(Setting, Vec<Group>)],
    command: &str,
) -> anyhow::Result<PathBuf> {
    files::make_dir(folder)?;
    let mut body = String::new();
    for (setting, groups) in sets {
        for group in groups {
            body += &section(folder, setting, group)?;
        }
    }
    let page = folder.join("index.html");
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>evpoll: benchmarks</title>\n<style>{STYLE}</style>\n<h1>evpoll: benchmarks</h1>\n\
         <p>Made by <code>{}</code></p>\n{body}</html>\n",
        escape(command)
    );
    files::write(&page, html.as_bytes())?;
    Ok(page)
}

fn section(folder: &Path, setting: &Setting, group: &Group) -> anyhow::Result<String> {
    let mut html = format!(
        "<h2>{}: {}</h2>\n<p>Linux {}, {} profile, {}; QEMU with {}.</p>\n",
        escape(&group.name),
        escape(&group.meaning()),
        escape(&setting.kernel),
        escape(&setting.profile),
        escape(&setting.toolchain),
        escape(&setting.accel),
    );
    html += &html_table(group);
    for gap in &group.gaps {
        html += &format!("<p>{}</p>\n", escape(gap));
    }
    for (name, plot) in plots(group) {
        let svg = plot.svg();
        files::write(&folder.join(format!("{name}.svg")), svg.as_bytes())?;
        html += &format!("<figure>\n{svg}</figure>\n");
    }
    Ok(html)
}

fn html_table(group: &Group) -> String {
    let mut html = String::from("<table>\n");
    for (index, row) in table::cells(group).iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        let cells: Vec<String> = row
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect();
        html += &format!("<tr>{}</tr>\n", cells.concat());
    }
    html + "</table>\n"
}

/// A plot over each parameter that is a number, for each setting of the others, with its file's
/// name.
fn plots(group: &Group) -> Vec<(String, Plot)> {
    let mut plots = Vec::new();
    for (index, x) in group.params.iter().enumerate() {
        let mut others: Vec<Vec<Value>> = Vec::new();
        for row in &group.rows {
            let rest = without(row, index);
            if !others.contains(&rest) {
                others.push(rest);
            }
        }
        for rest in others {
            let rows: Vec<&Row> = group
                .rows
                .iter()
                .filter(|row| without(row, index) == rest && row.params[index].as_f64().is_some())
                .collect();
            if rows.len() >= POINTS {
                plots.push(plot(group, index, x, &rest, rows));
            }
        }
    }
    plots
}

fn plot(
    group: &Group,
    index: usize,
    x: &str,
    rest: &[Value],
    mut rows: Vec<&Row>,
) -> (String, Plot) {
    let number = |row: &Row| row.params[index].as_f64().unwrap_or_default();
    rows.sort_by(|a, b| number(a).total_cmp(&number(b)));
    let line = |(column, name): (usize, &String)| Line {
        name: name.clone(),
        points: rows
            .iter()
            .filter_map(|row| row.cells[column].map(|value| (number(row), value)))
            .collect(),
    };
    let names = group
        .params
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    let fixed: Vec<String> = names
        .zip(rest)
        .map(|((_, name), value)| format!("{name} {}", plain(value)))
        .collect();
    let title = match fixed.is_empty() {
        true => group.name.clone(),
        false => format!("{}, {}", group.name, fixed.join(", ")),
    };
    let unit = group.unit.split('/').next().unwrap_or_default();
    let file: String = format!("{title} {unit} by {x}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let plot = Plot {
        title,
        x: x.to_owned(),
        y: group.meaning(),
        lines: group.interfaces.iter().enumerate().map(line).collect(),
    };
    (file.replace("--", "-"), plot)
}

/// The row's parameters but one.
fn without(row: &Row, index: usize) -> Vec<Value> {
    let mut rest = row.params.clone();
    rest.remove(index);
    rest
}

#[cfg(test)]
mod tests {
    use super::super::figures::{groups, parse, tests::LINES};
    use super::*;

    #[test]
    fn a_plot_for_each_parameter_with_enough_points() {
        let groups = groups(&parse(LINES).unwrap());
        let found = plots(&groups[0]);
        assert_eq!(found.len(), 1);
        let (name, plot) = &found[0];
        assert_eq!(name, "pipetest-active-1-instructions-by-pipes");
        assert_eq!(plot.title, "pipetest, active 1");
        assert_eq!(plot.lines[1].points.len(), 3);
        assert!(plot.lines[1].points.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(plot.lines[0].points, [(10.0, 400.0)]);
        assert!(plots(&groups[1]).is_empty());
    }

    #[test]
    fn the_page_has_everything_and_names_its_command() {
        let folder = std::env::temp_dir().join(format!("xtask-report-{}", std::process::id()));
        let setting = Setting {
            kernel: "7.3.4".into(),
            profile: "release".into(),
            toolchain: "clang & rustc".into(),
            accel: "tcg".into(),
        };
        let sets = [(setting, groups(&parse(LINES).unwrap()))];
        let page = write(&folder, &sets, "cargo xtask bench --report <dir>").unwrap();
        let html = std::fs::read_to_string(&page).unwrap();
        for part in [
            "<code>cargo xtask bench --report &lt;dir&gt;</code>",
            "<td>wait &lt;nothing&gt;</td>",
            "clang &amp; rustc",
            "no figure for evpoll: not in this kernel: ENOSYS",
            "<svg ",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(folder
            .join("pipetest-active-1-instructions-by-pipes.svg")
            .is_file());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
