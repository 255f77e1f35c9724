// SPDX-License-Identifier: GPL-2.0
//! A folder with all that was measured: a page, the same as text with the plots beside it, and the
//! figures.

use super::document::{Block, Document};
use super::figures::{groups, plain, rank, Figure, Group, Measured, Row, Setting, BARE};
use super::plot::{Bar, Bars, Line, Lines, Plot};
use super::profile::{function_name, Part};
use super::repeat;
use super::table::{number, Side, Table};
use super::targets::{self, targets};
use super::Profiles;
use crate::files;
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Everything that a report is made of.
pub struct Results {
    pub measured: Vec<Measured>,
    pub profiles: Option<Profiles>,
    /// Whether the counted figures come from two boots that agree.
    pub repeated: bool,
    /// What made it all.
    pub command: String,
}

const TITLE: &str = "evpoll: benchmarks";
const PAGE: &str = "index.html";
const TEXT: &str = "README.md";
const FIGURES: &str = "figures.json";
/// Fewer points than this are no curve.
const POINTS: usize = 3;

/// What the benchmarks do, by name.
const ABOUT: [(&str, &str); 9] = [
    (
        "idle",
        "What the series costs a program that does not use it: system calls on the unpatched \
         kernel, on the patched one before any queue was opened (`no-queue`), while there is a \
         queue that watches something else (`queue-open`), and after that one was closed \
         (`queue-closed`). In brackets: above the unpatched kernel.",
    ),
    (
        "pipetest",
        "`active` of the pipes get a byte each, evenly spread; one wait gives their events; the \
         bytes are read. Other columns than `bare` are without the writes and the reads. The \
         number of writes W that a figure is the mean of, `writes` in the JSON, depends on \
         `active`: 20 000 with one active pipe, in as many rounds, and 40 000 with more, in \
         40 000 / `active` rounds. poll and select, which look at every pipe in each round, get \
         1 000 000 / `pipes` rounds if that is less, but ten at least: so their W is between 10 \
         and 40 000.",
    ),
    (
        "deadconn",
        "An HTTP server on TCP: 100 connections send requests and get their answers, while the \
         others (`idle`) stay silent. Other columns than `bare` are without the requests and \
         answers themselves.",
    ),
    (
        "syscall",
        "Single calls, with a watch that is the only one; `getppid` is one that does nothing. \
         These are evpoll's calls, and those of epoll that do the same.",
    ),
    (
        "ctl",
        "Watches added, modified and removed, one by one or, by evpoll's write(2), all in one \
         call; `first ADD` is of pipes that nobody has watched before; `close` is that of the \
         queue with all of them. epoll and io_uring have no such write(2). io_uring gets its \
         requests in batches of 256; it has no figure for `close`, as a worker of the kernel does \
         most of that later, and none for `MOD`, as its request that changes a poll is not \
         measured.",
    ),
    (
        "memory",
        "Kernel memory that watches take, of pipes that nobody has watched before, with the \
         buffers for their events. poll and select keep nothing in the kernel between two calls; \
         epoll keeps the same, level-triggered, as it does edge-triggered; real-time signals were \
         not measured.",
    ),
    (
        "producers",
        "Threads that write to pipes of their own, and one that waits for the events and reads, \
         each bound to a processor of its own as far as there are any. By the clock: the median \
         of several runs, with the least and the most. In each run the interfaces take turns.",
    ),
    (
        "fd-scale",
        "Whether a process that has many descriptors open pays for them when it opens or watches \
         another one. `open` is that of /dev/null, without any interface, and stands under `bare`. \
         `ADD` is that of evpoll and of epoll, where it is a call for each descriptor; poll and \
         select have none, io_uring's is a request in a batch, for which see `ctl`, and real-time \
         signals were not measured.",
    ),
    (
        "profile",
        "Instructions by function, for an event of pipetest with 1000 pipes. The emulator has \
         recorded each instruction. What is inlined counts for the function that has it. \
         Functions that take the same in all three are one row.",
    ),
];

/// Over the table of what the runs are of each other.
const RATIOS: &str =
    "In percent of `epoll-edge` in the same run: the median of the runs, with the \
                      least and the most";

/// Whether [`write`] could write its files now: an error if not.
pub fn try_write(folder: &Path) -> anyhow::Result<()> {
    let mut names = [PAGE, TEXT, FIGURES].into_iter();
    names.try_for_each(|name| files::try_write(&folder.join(name)))
}

/// Writes it all. Returns the page.
pub fn write(folder: &Path, results: &Results) -> anyhow::Result<PathBuf> {
    files::make_dir(folder)?;
    remove_plots(folder)?;
    let document = document(results);
    for (name, plot) in document.plots() {
        files::write(&folder.join(name), plot.svg().as_bytes())?;
    }
    files::write(&folder.join(TEXT), document.markdown().as_bytes())?;
    files::write(&folder.join(FIGURES), json(results)?.as_bytes())?;
    let page = folder.join(PAGE);
    files::write(&page, document.html().as_bytes())?;
    Ok(page)
}

/// Those of an earlier report, which this one may not have.
fn remove_plots(folder: &Path) -> anyhow::Result<()> {
    let Some(text) = files::read(&folder.join(TEXT))? else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&text);
    if !text.starts_with(&format!("# {TITLE}\n")) {
        return Ok(());
    }
    for line in text.lines().filter(|line| line.starts_with("![")) {
        let name = line
            .rsplit('(')
            .next()
            .and_then(|rest| rest.strip_suffix(')'));
        if let Some(name) = name.filter(|name| name.ends_with(".svg") && !name.contains('/')) {
            files::remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// One object for each figure, with the setting that it came from: those of the benchmarks, those
/// of the profile, and the targets.
pub fn json(results: &Results) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Entry<'a> {
        #[serde(flatten)]
        figure: Cow<'a, Figure>,
        #[serde(flatten)]
        setting: &'a Setting,
    }
    let measured = &results.measured;
    let mut entries: Vec<Entry> = Vec::new();
    for Measured { setting, figures } in measured {
        entries.extend(figures.iter().map(|figure| Entry {
            figure: Cow::Borrowed(figure),
            setting,
        }));
    }
    if let Some(profiles) = &results.profiles {
        entries.extend(profiles.figures().into_iter().map(|figure| Entry {
            figure: Cow::Owned(figure),
            setting: &profiles.setting,
        }));
    }
    let targets = targets(measured);
    let mut settings = measured.iter().map(|boot| &boot.setting);
    let profiled = results.profiles.as_ref().map(|profiles| &profiles.setting);
    // Of what was not measured, it is the first that anything was measured in: every entry has one.
    let first = settings.next().or(profiled);
    for target in &targets {
        entries.extend(target.setting().or(first).map(|setting| Entry {
            figure: Cow::Owned(target.figure()),
            setting,
        }));
    }
    let text = serde_json::to_string_pretty(&entries).context("writing figures as JSON")?;
    Ok(text + "\n")
}

/// For a terminal.
pub fn text(results: &Results) -> String {
    let mut out = String::new();
    let mut settings = Vec::new();
    for group in groups(&results.measured) {
        if group.settings != settings {
            for setting in &group.settings {
                out += &format!("{setting}\n");
            }
            out.push('\n');
            settings = group.settings.clone();
        }
        out += &format!(
            "{}: {}\n{}",
            group.name,
            group.meaning(),
            group.table().text()
        );
        if let Some(ratios) = group.ratios() {
            out += &format!("{}:\n{}", RATIOS.replace('`', ""), ratios.text());
        }
        for gap in &group.gaps {
            out += &format!("  {gap}\n");
        }
        out.push('\n');
    }
    if let Some(profiles) = &results.profiles {
        for (active, table) in profile_tables(profiles) {
            out += &format!("profile: {}\n{}\n", per_wait(active), table.text());
        }
    }
    let mut targets = targets(&results.measured);
    targets.retain(|target| target.met.is_some());
    if !targets.is_empty() {
        out += &format!("targets\n{}", targets::table(&targets).text());
    }
    out
}

fn document(results: &Results) -> Document {
    let mut blocks = vec![
        Block::Text(
            "evpoll beside epoll, poll, select, io_uring and real-time signals, on the same \
             kernel and in the same boot. Made by:"
                .into(),
        ),
        Block::Command(results.command.clone()),
        Block::Heading("The targets".into()),
        Block::Table(targets::table(&targets(&results.measured))),
        Block::Heading("How it was measured".into()),
    ];
    blocks.extend(method(results));
    for group in groups(&results.measured) {
        blocks.extend(section(&group, &results.measured));
    }
    if let Some(profiles) = &results.profiles {
        blocks.push(Block::Heading("profile: instructions/event".into()));
        blocks.extend(about("profile"));
        blocks.push(Block::Text(format!("{}.", profiles.setting)));
        for (active, table) in profile_tables(profiles) {
            blocks.push(Block::Text(format!("{}:", per_wait(active))));
            blocks.push(Block::Table(table));
        }
    }
    Document {
        title: TITLE.into(),
        blocks,
    }
}

fn method(results: &Results) -> Vec<Block> {
    let mut items = vec![
        "Figures in instructions are counted, not timed: QEMU with `-icount shift=0,sleep=off` \
         and one processor lets the guest's clock advance by one nanosecond for each \
         instruction. They do not depend on the machine, and have no caches or pipelines in \
         them."
            .to_owned(),
    ];
    if results.repeated {
        items.push(format!(
            "Each of them was measured in two boots, which have to agree within {}; the first \
             is shown.",
            repeat::tolerances()
        ));
    }
    let settings = || {
        results
            .measured
            .iter()
            .map(|boot| &boot.setting)
            .chain(results.profiles.as_ref().map(|profiles| &profiles.setting))
    };
    if settings().any(|setting| setting.processors > 1) {
        items.push(
            "Those in events/s are by the clock of the machine that ran the emulator, and are \
             only good to be compared with each other. Where there was no KVM, each processor \
             was emulated by a thread of its own, and the kernel was built without \
             `CONFIG_JUMP_LABEL`, since emulators before QEMU 8.1 run stale code where a kernel \
             patches itself: a static key was a load and a branch."
                .into(),
        );
    }
    let settled: BTreeSet<String> = settings().map(ToString::to_string).collect();
    items.extend(settled.into_iter().map(|setting| format!("{setting}.")));
    let tools: BTreeSet<&str> = settings()
        .map(|setting| setting.toolchain.as_str())
        .collect();
    items.extend(
        tools
            .into_iter()
            .map(|tools| format!("Built with {tools}.")),
    );
    items.push(format!(
        "All figures, with what they are made of, and the targets: `{FIGURES}`."
    ));
    vec![Block::List(items)]
}

fn about(name: &str) -> Option<Block> {
    let found = ABOUT.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| Block::Text((*text).to_owned()))
}

fn section(group: &Group, measured: &[Measured]) -> Vec<Block> {
    let mut blocks = vec![Block::Heading(format!(
        "{}: {}",
        group.name,
        group.meaning()
    ))];
    blocks.extend(about(&group.name));
    for setting in &group.settings {
        blocks.push(Block::Text(format!("{setting}.")));
    }
    blocks.push(Block::Table(group.table()));
    if let Some(ratios) = group.ratios() {
        blocks.push(Block::Text(format!("{RATIOS}:")));
        blocks.push(Block::Table(ratios));
    }
    blocks.extend(composition(group, measured).map(Block::Table));
    if !group.gaps.is_empty() {
        blocks.push(Block::List(group.gaps.clone()));
    }
    let plots = plots(group);
    blocks.extend(
        plots
            .into_iter()
            .map(|(name, plot)| Block::Plot(name, plot)),
    );
    blocks
}

/// What a figure of memory consists of: the numbers of `raw`.
fn composition(group: &Group, measured: &[Measured]) -> Option<Table> {
    if !group.unit.starts_with("bytes/") {
        return None;
    }
    let all = measured.iter().flat_map(|boot| &boot.figures);
    let ours = all.filter(|figure| (&figure.name, &figure.unit) == (&group.name, &group.unit));
    let mut figures: Vec<&Figure> = ours.filter(|figure| figure.value.is_some()).collect();
    figures.sort_by_key(|figure| rank(&figure.interface));
    let mut parts: Vec<&String> = Vec::new();
    for (name, value) in figures.iter().flat_map(|figure| &figure.raw) {
        if value.is_number() && !parts.contains(&name) {
            parts.push(name);
        }
    }
    let mut columns = vec![("interface", Side::Left), ("all", Side::Right)];
    columns.extend(parts.iter().map(|name| (name.as_str(), Side::Right)));
    let mut table = Table::new(&columns);
    for figure in figures {
        let mut row = vec![figure.interface.clone(), number(figure.value)];
        let part = |name: &&String| number(figure.raw.get(name.as_str()).and_then(Value::as_f64));
        row.extend(parts.iter().map(part));
        table.rows.push(row);
    }
    (!parts.is_empty()).then_some(table)
}

fn per_wait(active: u32) -> String {
    match active {
        1 => "1 event a wait".to_owned(),
        n => format!("{n} events a wait"),
    }
}

/// A table for each number of events that a wait gives.
fn profile_tables(profiles: &Profiles) -> Vec<(u32, Table)> {
    let mut actives: Vec<u32> = profiles.of.iter().map(|(_, active, _)| *active).collect();
    actives.sort_unstable();
    actives.dedup();
    let tables = actives.into_iter();
    tables
        .map(|active| (active, profile_table(profiles, active)))
        .collect()
}

/// What differs by less than this is the same.
const SAME: f64 = 0.05;

fn profile_table(profiles: &Profiles, active: u32) -> Table {
    let columns: Vec<_> = profiles
        .of
        .iter()
        .filter(|(_, of, _)| *of == active)
        .map(|(interface, _, profile)| (interface.as_str(), profile))
        .collect();
    let mut table = Table::new(&[("in", Side::Left), ("function", Side::Left)]);
    let heads = columns
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Side::Right));
    table.columns.extend(heads);
    let mut push = |part: &str, function: &str, values: Vec<f64>| {
        let cell = |value: f64| match value {
            value if value < SAME => super::table::GAP.to_owned(),
            value => format!("{value:.1}"),
        };
        let mut row = vec![part.to_owned(), function.to_owned()];
        row.extend(values.into_iter().map(cell));
        table.rows.push(row);
    };
    let bare = columns.iter().find(|(name, _)| *name == BARE);
    for part in Part::WORK {
        let functions: BTreeSet<&Option<String>> = columns
            .iter()
            .flat_map(|(_, profile)| profile.counts.keys())
            .filter(|(of, _)| *of == part)
            .map(|(_, function)| function)
            .collect();
        let values = |function: &Option<String>| -> Vec<f64> {
            columns
                .iter()
                .map(|(_, profile)| profile.of(part, function))
                .collect()
        };
        let above = |function: &Option<String>| {
            let less = bare.map_or(0.0, |(_, profile)| profile.of(part, function));
            let distance = |value: f64| (value - less).abs();
            values(function)
                .into_iter()
                .map(distance)
                .fold(0.0, f64::max)
        };
        let (mut differ, same): (Vec<_>, Vec<_>) = functions
            .into_iter()
            .partition(|function| above(function) >= SAME);
        differ.sort_by(|a, b| above(b).total_cmp(&above(a)));
        for function in &differ {
            push(part.name(), function_name(function), values(function));
        }
        let mut rest = vec![0.0; columns.len()];
        for function in &same {
            for (sum, value) in rest.iter_mut().zip(values(function)) {
                *sum += value;
            }
        }
        if rest.iter().any(|value| *value >= SAME) {
            let name = format!("{} others, the same in all", same.len());
            push(part.name(), &name, rest);
        }
        if differ.len() + same.len() > 1 {
            let sums = columns
                .iter()
                .map(|(_, profile)| profile.sum(part))
                .collect();
            push(part.name(), "= all", sums);
        }
    }
    let total = |part: &[Part], profile: &super::Profile| -> f64 {
        part.iter().map(|part| profile.sum(*part)).sum()
    };
    let all: Vec<f64> = columns
        .iter()
        .map(|(_, profile)| total(&Part::WORK, profile))
        .collect();
    push("all", "", all.clone());
    if let Some((_, profile)) = bare {
        let less = total(&Part::WORK, profile);
        push(
            "all",
            "less the bare cost",
            all.iter().map(|value| value - less).collect(),
        );
    }
    table
}

/// A plot over each parameter that is a number, for each setting of the others, with its file's
/// name; or bars, where that gives none.
fn plots(group: &Group) -> Vec<(String, Plot)> {
    let mut plots = Vec::new();
    // Lines have no room for ranges.
    let cells = || group.rows.iter().flat_map(|row| &row.cells).flatten();
    let drawn = cells().next().is_some();
    let ranges = cells().any(|cell| cell.range.is_some());
    for (index, x) in group.params.iter().enumerate().filter(|_| !ranges) {
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
                .filter(|row| without(row, index) == rest && row.params[index].is_number())
                .collect();
            if rows.len() >= POINTS {
                plots.push(lines(group, index, x, &rest, rows));
            }
        }
    }
    // Kernels that differ by less than a bar is thick are for the table.
    if plots.is_empty() && drawn && group.interfaces.iter().all(|name| !is_state(name)) {
        plots.push(bars(group));
    }
    plots
}

fn is_state(name: &str) -> bool {
    super::figures::STATES.contains(&name)
}

fn lines(
    group: &Group,
    index: usize,
    x: &str,
    rest: &[Value],
    mut rows: Vec<&Row>,
) -> (String, Plot) {
    let number = |row: &Row| row.params[index].as_f64().unwrap_or_default();
    rows.sort_by(|a, b| number(a).total_cmp(&number(b)));
    let line = |name: &str, index: usize, value: &dyn Fn(&Row) -> Option<f64>| Line {
        name: name.to_owned(),
        index,
        points: rows
            .iter()
            .filter_map(|row| value(row).map(|value| (number(row), value)))
            .collect(),
    };
    let mut lines: Vec<Line> = Vec::new();
    for (column, name) in group.interfaces.iter().enumerate() {
        lines.push(line(name, colour(name, column), &|row| row.value(column)));
    }
    // What no interface has a part in.
    if lines.iter().all(|line| line.points.is_empty()) {
        lines = vec![line(BARE, group.interfaces.len(), &|row| row.bare)];
    }
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
    let file = file_name(&format!("{title} {} by {x}", unit(group)));
    let plot = Lines {
        title,
        x: words(x).to_owned(),
        y: group.meaning(),
        lines,
    };
    (file, Plot::Lines(plot))
}

fn bars(group: &Group) -> (String, Plot) {
    let row = |row: &Row| {
        let words: Vec<String> = group
            .params
            .iter()
            .zip(&row.params)
            .map(|(name, value)| match value {
                Value::Number(number) => format!("{name} {number}"),
                other => plain(other),
            })
            .collect();
        let bar = |(column, name): (usize, &String)| {
            row.cells[column].map(|cell| Bar {
                name: name.clone(),
                index: colour(name, column),
                value: cell.value,
                range: cell.range,
            })
        };
        let bars = group
            .interfaces
            .iter()
            .enumerate()
            .filter_map(bar)
            .collect();
        (words.join(", "), bars)
    };
    let rows: Vec<(String, Vec<Bar>)> = group.rows.iter().map(row).collect();
    let plot = Bars {
        title: group.name.clone(),
        x: group.meaning(),
        rows: rows
            .into_iter()
            .filter(|(_, bars)| !bars.is_empty())
            .collect(),
    };
    let file = file_name(&format!("{} {}", group.name, unit(group)));
    (file, Plot::Bars(plot))
}

/// An interface has the same colour in every plot.
fn colour(name: &str, column: usize) -> usize {
    match super::figures::INTERFACES.contains(&name) {
        true => rank(name),
        false => super::figures::INTERFACES.len() + column,
    }
}

/// A parameter by what it counts.
fn words(param: &str) -> &str {
    match param {
        "active" => "active pipes: events of a wait",
        "idle" => "idle connections",
        "open" => "descriptors that are open",
        other => other,
    }
}

fn unit(group: &Group) -> &str {
    group.unit.split('/').next().unwrap_or_default()
}

fn file_name(words: &str) -> String {
    let mut name = String::new();
    for c in words.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if name.ends_with('-') => (),
            _ => name.push('-'),
        }
    }
    format!("{}.svg", name.trim_end_matches('-'))
}

/// The row's parameters but one.
fn without(row: &Row, index: usize) -> Vec<Value> {
    let mut rest = row.params.clone();
    rest.remove(index);
    rest
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::{boot, setting, LINES};
    use super::super::profile::Profile;
    use super::*;
    use serde_json::json;

    fn results() -> Results {
        Results {
            measured: vec![boot(LINES)],
            profiles: None,
            repeated: true,
            command: "cargo xtask bench --report <dir>".into(),
        }
    }

    #[test]
    fn a_plot_for_each_parameter_with_enough_points_and_bars_otherwise() {
        let groups = groups(&results().measured);
        let found = plots(&groups[0]);
        assert_eq!(found.len(), 1);
        let (name, Plot::Lines(plot)) = &found[0] else {
            panic!("no lines")
        };
        assert_eq!(name, "pipetest-active-1-instructions-by-pipes.svg");
        assert_eq!(plot.title, "pipetest, active 1");
        assert_eq!(plot.lines[1].points.len(), 3);
        assert!(plot.lines[1].points.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(plot.lines[0].points, [(10.0, 400.0)]);
        let found = plots(&groups[1]);
        let (name, Plot::Bars(plot)) = &found[0] else {
            panic!("no bars")
        };
        assert_eq!(name, "syscall-instructions.svg");
        assert_eq!(plot.rows.len(), 1);
        assert_eq!(plot.rows[0].0, "wait <nothing>");
    }

    #[test]
    fn memory_shows_what_it_is_made_of() {
        let line = "{\"name\":\"memory\",\"interface\":\"evpoll\",\"params\":{\"watches\":100000},\
             \"value\":104.5,\"unit\":\"bytes/watch\",\"raw\":{\"slab\":96.25,\"pages\":8.25}}";
        let measured = [boot(line)];
        let table = composition(&groups(&measured)[0], &measured).unwrap();
        let heads: Vec<&str> = table
            .columns
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(heads, ["interface", "all", "pages", "slab"]);
        assert_eq!(table.rows, [["evpoll", "104", "8.2", "96.2"]]);
    }

    fn profiles() -> Profiles {
        let profile = |wait: u64, wake: u64| {
            let mut profile = Profile {
                writes: 10,
                reads: 10,
                ..Profile::default()
            };
            let function = |name: &str| Some(name.to_owned());
            let mut add = |part, function, count: u64| {
                profile.counts.insert((part, function), count);
            };
            add(Part::Write, function("vfs_write"), 860);
            add(Part::Write, function("wake"), wake);
            add(Part::Wait, function("do_wait"), wait);
            add(Part::User, None, 100 + wait / 10);
            add(Part::Interrupt, function("timer"), 7);
            profile
        };
        Profiles {
            setting: setting("7.3.4"),
            of: vec![
                ("evpoll".into(), 1, profile(1000, 50)),
                ("bare".into(), 1, profile(0, 20)),
            ],
        }
    }

    #[test]
    fn a_profile_shows_what_differs() {
        let tables = profile_tables(&profiles());
        assert_eq!(tables.len(), 1);
        assert_eq!(
            tables[0].1.rows,
            [
                ["write", "wake", "5.0", "2.0"],
                ["write", "1 others, the same in all", "86.0", "86.0"],
                ["write", "= all", "91.0", "88.0"],
                ["wait", "do_wait", "100.0", "-"],
                ["program", "(user space)", "20.0", "10.0"],
                ["all", "", "211.0", "98.0"],
                ["all", "less the bare cost", "113.0", "-"],
            ]
        );
    }

    #[test]
    fn the_folder_has_everything_and_nothing_of_an_earlier_report() {
        let folder = std::env::temp_dir().join(format!("xtask-report-{}", std::process::id()));
        let mut results = results();
        results.profiles = Some(profiles());
        let page = write(&folder, &results).unwrap();
        let html = std::fs::read_to_string(&page).unwrap();
        for part in [
            "<pre>cargo xtask bench --report &lt;dir&gt;</pre>",
            ">wait &lt;nothing&gt;</td>",
            "clang &amp; rustc",
            "no figure for evpoll: not in this kernel: ENOSYS",
            "not measured",
            "<svg ",
            "do_wait",
        ] {
            assert!(html.contains(part), "{part}");
        }
        let text = std::fs::read_to_string(folder.join(TEXT)).unwrap();
        let plot = "pipetest-active-1-instructions-by-pipes.svg";
        assert!(text.contains(&format!("]({plot})")));
        assert!(folder.join(plot).is_file() && folder.join(FIGURES).is_file());
        files::write(&folder.join("own.svg"), b"x").unwrap();
        results.measured[0]
            .figures
            .retain(|figure| figure.name == "syscall");
        write(&folder, &results).unwrap();
        assert!(!folder.join(plot).exists());
        assert!(
            folder.join("own.svg").is_file() && folder.join("syscall-instructions.svg").is_file()
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn json_has_the_figure_and_where_it_is_from() {
        let mut results = results();
        let all = |results: &Results| -> Vec<Value> {
            serde_json::from_str(&json(results).unwrap()).unwrap()
        };
        let of = |found: &[Value], name: &str| -> Vec<Value> {
            let named = found.iter().filter(|entry| entry["name"] == name);
            named.cloned().collect()
        };
        let found = all(&results);
        assert_eq!(found[0]["value"], 900.0);
        assert_eq!(found[0]["kernel"], "7.3.4");
        assert_eq!(found[0]["params"]["pipes"], 10);
        let targets = of(&found, "target");
        assert_eq!(found.len(), 9 + targets.len());
        assert_eq!(targets.len(), 12);
        assert_eq!(targets[0]["raw"]["met"], Value::Null);
        assert!(of(&found, "profile").is_empty());

        results.profiles = Some(profiles());
        let found = all(&results);
        let profile = of(&found, "profile");
        // Interrupts are no part of it.
        assert_eq!(profile.len(), 8);
        let wake = json!({"active": 1, "part": "write", "function": "wake"});
        let ours = |entry: &&Value| entry["interface"] == "evpoll" && entry["params"] == wake;
        let wake = profile.iter().find(ours).unwrap();
        assert_eq!(
            (&wake["value"], &wake["raw"]["events"]),
            (&json!(5.0), &json!(10))
        );
        results.measured.clear();
        // Whoever reads them relies on these.
        let keys = [
            "interface",
            "params",
            "value",
            "unit",
            "raw",
            "kernel",
            "toolchain",
            "accel",
        ];
        for entry in found.iter().chain(&all(&results)) {
            assert!(keys.iter().all(|key| entry.get(key).is_some()), "{entry}");
        }
    }

    #[test]
    fn a_terminal_gets_the_same_tables() {
        let text = text(&results());
        assert!(
            text.starts_with("Linux 7.3.4, release profile, QEMU tcg, 1 processor\n\npipetest: ")
        );
        assert!(text.contains("\n\nsyscall: instructions/call\n  call"));
        assert!(text.contains("  no figure for evpoll: not in this kernel: ENOSYS\n"));
        // None of the targets can be told from these.
        assert!(!text.contains("targets"));
    }
}
