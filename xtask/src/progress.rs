// SPDX-License-Identifier: GPL-2.0
//! What is being done and since when, on stderr: one line that rolls on a terminal, elsewhere a
//! line at the start, one every half a minute and one at the end. And commands whose output goes
//! to a log, of which a failure shows the lines that matter.

use crate::guest::terminal_size_of;
use anyhow::{bail, Context};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines of a log that a failure shows.
const EXCERPT: usize = 15;
/// How often a step reports where no terminal is.
const REPORT: Duration = Duration::from_secs(30);

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// From now on the output of tools is shown as it comes.
pub fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}

/// A step under way. Dropped without [`Step::done`], it has failed.
pub struct Step {
    state: Arc<Mutex<State>>,
    ended: bool,
}

struct State {
    title: String,
    note: String,
    start: Instant,
    reported: Instant,
    rolling: bool,
    over: bool,
}

impl Step {
    pub fn start(title: impl Into<String>) -> Step {
        let now = Instant::now();
        let rolling = std::io::stderr().is_terminal() && !VERBOSE.load(Ordering::Relaxed);
        let title = title.into();
        if !rolling {
            say(&format!("xtask: {title} ..."));
        }
        let state = State {
            title,
            note: String::new(),
            start: now,
            reported: now,
            rolling,
            over: false,
        };
        let state = Arc::new(Mutex::new(state));
        let shown = Arc::clone(&state);
        std::thread::spawn(move || {
            while lock(&shown).show() {
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Step {
            state,
            ended: false,
        }
    }

    /// What it is busy with.
    pub fn note(&mut self, note: impl Into<String>) {
        lock(&self.state).note = note.into();
    }

    /// Ends it well. `result` is for the line that stays: what came of it.
    pub fn done(mut self, result: impl AsRef<str>) {
        let sep = if result.as_ref().is_empty() { "" } else { ", " };
        self.end(&format!("done{sep}{}", result.as_ref()));
    }

    fn end(&mut self, how: &str) {
        let mut state = lock(&self.state);
        state.over = true;
        self.ended = true;
        let clear = if state.rolling { "\r\x1b[K" } else { "" };
        say(&format!(
            "{clear}xtask: {}: {how} ({})",
            state.title,
            elapsed(state.start)
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end("failed");
        }
    }
}

impl State {
    /// Shows where it stands, if it is time to; false when there is nothing to show any more.
    fn show(&mut self) -> bool {
        if self.over {
            return false;
        }
        if self.rolling {
            let line = format!("{} [{}] {}", self.title, elapsed(self.start), self.note);
            let line = fitted(&line, terminal_width());
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        } else if self.reported.elapsed() >= REPORT {
            self.reported = Instant::now();
            say(&format!(
                "xtask: {} [{}] {}",
                self.title,
                elapsed(self.start),
                self.note
            ));
        }
        true
    }
}

/// Writes a line to stderr; that nobody reads it is no reason to stop.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of a line stays on it, with the cursor behind it.
fn fitted(line: &str, width: usize) -> String {
    // A tab would take more than one column.
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    line.chars()
        .map(plain)
        .take(width.saturating_sub(1))
        .collect()
}

/// That of the terminal which stderr is. Where it does not know, the shell may have said.
fn terminal_width() -> usize {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal_size_of(&std::io::stderr())
        .map(|size| size.columns.into())
        .or_else(said)
        .unwrap_or(80)
}

fn elapsed(since: Instant) -> String {
    seconds(since.elapsed())
}

/// A duration as people read it: 0.4s, 12s, 3m 07s.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        whole @ 10..60 => format!("{whole}s"),
        whole => format!("{}m {:02}s", whole / 60, whole % 60),
    }
}

/// Runs a command whose output (both kinds) goes to a log and, line by line, into the step's note.
pub fn run_logged(cmd: Command, log: &Path, step: &mut Step) -> anyhow::Result<()> {
    run_logged_with(cmd, log, |line| step.note(brief(line)))
}

/// As [`run_logged`], each line given to `see`.
pub fn run_logged_with(
    mut cmd: Command,
    log: &Path,
    mut see: impl FnMut(&str),
) -> anyhow::Result<()> {
    let program = cmd.get_program().to_string_lossy().into_owned();
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
    writeln!(file, "$ {cmd:?}")?;

    let (reader, writer) = std::io::pipe()?;
    cmd.stdout(writer.try_clone()?).stderr(writer);
    let verbose = VERBOSE.load(Ordering::Relaxed);
    let mut child = cmd
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    drop(cmd); // And with it this process's ends of the pipe.
    let mut last = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        file.write_all(&line)?;
        file.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        if verbose {
            say(&line);
        }
        see(&line);
        last.push_back(line);
        if last.len() > 2000 {
            last.pop_front();
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let excerpt = if verbose {
        String::new()
    } else {
        telling(last.make_contiguous())
    };
    bail!(
        "{program} failed ({status}), the whole log is {}{excerpt}",
        log.display()
    );
}

/// Runs a command, written as in a shell, as [`output`] does. xshell's own way would leave what it
/// says on the terminal, in the middle of a rolling line, and out of the error.
pub fn read(cmd: xshell::Cmd) -> anyhow::Result<String> {
    output(&mut cmd.into())
}

/// Runs a command for its output; failing is an error that quotes what it said last.
pub fn output(cmd: &mut Command) -> anyhow::Result<String> {
    captured(cmd.stdin(Stdio::null()))
}

/// As [`output`], with the standard input that the command has been given.
pub fn captured(cmd: &mut Command) -> anyhow::Result<String> {
    let program = cmd.get_program().to_string_lossy().into_owned();
    let out = cmd
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let last = said.trim_end().lines().last().unwrap_or("it said nothing");
        bail!("{cmd:?} failed ({}): {last}", out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A build tool's line, cut down to what fits a status line: `  CC      fs/pipe.o`.
fn brief(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of a log that tell what went wrong, each on a line of its own and indented.
fn telling(log: &[String]) -> String {
    picked(log)
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}

fn picked(log: &[String]) -> Vec<&str> {
    const MARKS: [&str; 7] = [
        "error:",
        "error[",
        "Error:",
        "undefined ",
        "E: ",
        "fatal:",
        "No space left",
    ];
    // `make[2]: *** [x] Error 1` only says that something above it failed.
    let marked =
        |line: &String| !line.starts_with("make") && MARKS.iter().any(|mark| line.contains(mark));
    let Some(first) = log.iter().position(marked) else {
        let from = log.len().saturating_sub(EXCERPT);
        return log[from..].iter().map(String::as_str).collect();
    };
    // A compiler explains its error in the lines that follow.
    let mut lines = Vec::new();
    let mut explain = 0;
    for line in &log[first..] {
        if lines.len() == EXCERPT {
            break;
        }
        if marked(line) {
            explain = 6;
        }
        if explain > 0 && !line.starts_with("make") {
            lines.push(line.as_str());
            explain -= 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_compiler_error_is_shown_with_what_follows_it() {
        let log = lines("  CC a.o\n  CC b.o\nb.c:3: error: no such thing\n   3 | x\n     | ^\nmake[2]: *** [b.o] Error 1");
        assert_eq!(
            picked(&log),
            ["b.c:3: error: no such thing", "   3 | x", "     | ^"]
        );
    }

    #[test]
    fn without_an_error_the_end_is_shown() {
        let log: Vec<String> = (0..40).map(|n| format!("line {n}")).collect();
        assert_eq!(picked(&log).len(), EXCERPT);
        assert_eq!(picked(&log).last(), Some(&"line 39"));
    }

    #[test]
    fn never_a_wall_of_text() {
        let log: Vec<String> = (0..400).map(|n| format!("x.c:{n}: error: bad")).collect();
        assert_eq!(picked(&log).len(), EXCERPT);
    }

    #[test]
    fn a_rolling_line_does_not_wrap() {
        assert_eq!(fitted("a [1s] CC x.o", 80), "a [1s] CC x.o");
        assert_eq!(fitted("12345", 5), "1234");
        assert_eq!(fitted("äöüäö", 5), "äöüä");
        assert_eq!(fitted("a\tb", 80), "a b");
        assert_eq!(fitted("a", 0), "");
    }

    #[test]
    fn durations() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4s");
        assert_eq!(seconds(Duration::from_secs(12)), "12s");
        assert_eq!(seconds(Duration::from_secs(187)), "3m 07s");
    }

    #[test]
    fn what_a_command_says_is_its_output_or_in_the_error() {
        let shell = xshell::Shell::new().unwrap();
        let (two, script) = ("two  words", "echo 'x: broken' >&2; exit 3");
        assert_eq!(
            read(xshell::cmd!(shell, "echo {two}")).unwrap(),
            "two  words\n"
        );
        let error = read(xshell::cmd!(shell, "sh -c {script}")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("x: broken") && error.contains("exit status: 3"),
            "{error}"
        );
    }

    #[test]
    fn a_failing_command_names_its_log() {
        let log = std::env::temp_dir().join(format!("xtask-log-{}", std::process::id()));
        let mut cmd = Command::new("sh");
        cmd.args(["-c", "echo hello; echo 'x: error: broken' >&2; exit 3"]);
        let error = run_logged_with(cmd, &log, |_| ()).unwrap_err().to_string();
        assert!(
            error.contains("x: error: broken") && error.contains("xtask-log"),
            "{error}"
        );
        assert!(!error.contains("hello"));
        std::fs::remove_file(log).unwrap();
    }
}
