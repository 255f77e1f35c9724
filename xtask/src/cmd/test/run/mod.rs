// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask run` as people have it: a shell on a terminal, a command on one, and a command
//! between pipes. Each is a boot of its own.

mod pty;

use super::report::Report;
use crate::ctx::{Ctx, Profile};
use crate::files;
use crate::guest_program::scale;
use crate::ktap::{Case, Verdict};
use crate::lock::Lock;
use crate::progress::Step;
use crate::qemu;
use anyhow::{ensure, Context};
use pty::OnTerminal;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Test = fn(&Harness) -> anyhow::Result<()>;

const TESTS: [(&str, Test); 3] = [
    ("run.shell", shell),
    ("run.terminal", terminal),
    ("run.pipes", pipes),
];

/// The names of those that the filter selects. What they test is the harness, and the same with
/// every kernel.
pub fn select(profile: Profile, filter: Option<&str>) -> Vec<&'static str> {
    let wanted = |name: &&str| filter.is_none_or(|filter| name.contains(filter));
    match profile {
        Profile::Release => TESTS.iter().map(|(name, _)| *name).filter(wanted).collect(),
        _ => Vec::new(),
    }
}

/// Runs those of these names, as a suite of the report.
pub fn run(ctx: &Ctx, names: &[&str], report: &mut Report) -> anyhow::Result<()> {
    let harness = Harness::new(ctx)?;
    let mut suite = report.open("run");
    suite.line("KTAP version 1");
    suite.line("# Subtest: run");
    suite.line(&format!("1..{}", names.len()));
    suite.begin();
    for (name, test) in TESTS.iter().filter(|(name, _)| names.contains(name)) {
        let step = Step::start(format!("testing {name}"));
        let (verdict, said) = match test(&harness) {
            Ok(()) => (Verdict::Passed, vec![]),
            Err(error) => {
                let text = format!("{error:#}");
                (Verdict::Failed, text.lines().map(str::to_owned).collect())
            }
        };
        step.done("");
        suite.add(Case {
            name: (*name).to_owned(),
            verdict,
            said,
        });
    }
    suite.close();
    harness.remove()
}

/// What they have in common.
struct Harness {
    /// This program, what it was told about the kernel, and where it keeps what it has built.
    program: PathBuf,
    options: Vec<String>,
    cache: PathBuf,
    /// A folder of their own.
    folder: PathBuf,
    _lock: Lock,
    /// Until the guest is up.
    boot: Duration,
    /// Until it does what it is told.
    soon: Duration,
}

impl Harness {
    fn new(ctx: &Ctx) -> anyhow::Result<Harness> {
        let lock = Lock::take(ctx, "test of run")?;
        let folder = ctx.cache.join("test-run");
        files::remove(&folder)?;
        for inside in ["home", "share", "overlay"] {
            files::make_dir(&folder.join(inside))?;
        }
        // The guest has the folders, and no symbolic link that leads to them.
        let folder = folder
            .canonicalize()
            .with_context(|| format!("Failed to find {}", folder.display()))?;
        std::fs::write(folder.join("overlay/before"), "before\n")?;
        std::fs::write(folder.join("job"), JOB)?;
        let mut options = vec!["--accel".to_owned(), ctx.accel.name().to_owned()];
        for (option, value) in [("--kernel", &ctx.kernel), ("--mutation", &ctx.mutation)] {
            if let Some(path) = value {
                options.extend([option.to_owned(), path.display().to_string()]);
            }
        }
        let slow = scale(ctx.profile, &qemu::candidates(ctx.accel));
        Ok(Harness {
            program: std::env::current_exe().context("finding this program")?,
            options,
            cache: ctx.cache.clone(),
            folder,
            _lock: lock,
            boot: Duration::from_secs(60) * slow,
            soon: Duration::from_secs(15) * slow,
        })
    }

    fn remove(self) -> anyhow::Result<()> {
        files::remove(&self.folder)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// `cargo xtask run` for somebody who has no settings of his own. He has another home, too; what
    /// is looked for at home is named.
    fn xtask(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").args(&self.options);
        command
            .current_dir(&self.folder)
            .env("HOME", self.folder.join("home"))
            .env("EVPOLL_CACHE", &self.cache)
            .env("SHELL", files::program("bash").unwrap_or_default())
            .env("TERM", "xterm");
        for (name, below) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let usual = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(below));
            if let (None, Some(folder)) = (std::env::var_os(name), usual) {
                command.env(name, folder);
            }
        }
        command
    }
}

/// A session of somebody who works in the guest.
fn shell(harness: &Harness) -> anyhow::Result<()> {
    let soon = harness.soon;
    ensure!(
        files::program("bash").is_some(),
        "it takes bash: install it"
    );
    let (share, overlay) = (harness.path("share"), harness.path("overlay"));
    let mut xtask = harness.xtask();
    xtask.args(["--share", &share, "--overlay", &overlay]);
    let mut guest = OnTerminal::start(xtask, 37, 101)?;
    guest
        .expect("@evpoll:", harness.boot)
        .context("a prompt that names the guest")?;

    // What is typed is shown as well, so that nothing is expected that stands there as it is.
    guest.type_in("stty size | tr ' ' x; echo T$((40+2))$TERM\r")?;
    guest.expect("37x101", soon).context("the size")?;
    guest.expect("T42xterm", soon).context("TERM")?;
    for complaint in ["no job control", "cannot set terminal process group"] {
        ensure!(!guest.shown().contains(complaint), "{:?}", guest.shown());
    }
    guest.resize(50, 132)?;
    again(&mut guest, "stty size | tr ' ' y\r", "50y132").context("another size")?;
    jobs(&mut guest, soon)?;

    guest.type_in("echo H$((80+7))\r")?;
    guest.expect("H87", soon)?;
    guest.type_in("\x1b[A\r")?;
    guest
        .expect("H87", soon)
        .context("the line before, by an arrow key")?;

    guest.type_in(&format!(
        "echo shared >'{share}/new'; cat '{overlay}/before'; echo F$?\r"
    ))?;
    guest
        .expect("before\r\nF0", soon)
        .context("share and overlay")?;
    guest.type_in(&format!(
        "rm '{overlay}/before'; echo gone >'{overlay}/new'; echo W$?\r"
    ))?;
    guest.expect("W0", soon).context("an overlay is writable")?;
    guest.type_in("touch home/x /usr/evpoll-test; echo R$?\r")?;
    guest.expect("R1", soon).context("the rest is not")?;

    // At the end of its input a shell ends as its last command did.
    guest.type_in("echo E$((5*5)); (exit 7)\r")?;
    guest.expect("E25", soon)?;
    guest.expect("evpoll:", soon)?;
    guest.type_in("\x04")?;
    let status = guest.ended(soon)?;
    ensure!(status.code() == Some(7), "it ended as {status}, not with 7");
    ensure!(
        guest.left_as_it_was()?,
        "the terminal is not as it was before"
    );
    let came = std::fs::read_to_string(harness.folder.join("share/new"))
        .context("what was written to the share")?;
    ensure!(came == "shared\n", "the share has {came:?}");
    let kept = files::entries(&harness.folder.join("overlay"))?;
    ensure!(
        kept == [harness.folder.join("overlay/before")],
        "the overlay has {kept:?}"
    );
    ensure!(
        files::entries(&harness.folder.join("home"))?.is_empty(),
        "home has changed"
    );
    Ok(())
}

/// A job that says when it is in the foreground, and when it goes on: before that, a key is one for
/// the shell. It is for bash: dash starts a program by vfork(2), and who waits for a child that is
/// stopped before its execve(2) does not stop itself.
const JOB: &str = "\
trap 'echo goes on' CONT
echo begun
while :; do sleep 1; done
";

/// Stopped, back in the foreground, interrupted; and one to the background.
fn jobs(guest: &mut OnTerminal, soon: Duration) -> anyhow::Result<()> {
    let stopped = |guest: &mut OnTerminal| -> anyhow::Result<()> {
        guest.type_in("bash ./job\r")?;
        guest.expect("begun", soon)?;
        guest.type_in("\x1a")?;
        guest.expect("Stopped", soon).context("Ctrl-Z")?;
        guest.expect("evpoll:", soon)
    };
    stopped(guest)?;
    guest.type_in("fg\r")?;
    guest.expect("goes on", soon).context("fg")?;
    guest.type_in("\x03")?;
    guest.expect("evpoll:", soon).context("Ctrl-C")?;
    guest.type_in("echo S$?\r")?;
    guest
        .expect("S130", soon)
        .context("the status of what Ctrl-C ended")?;
    stopped(guest)?;
    guest.type_in("bg\r")?;
    guest.expect("goes on", soon).context("bg")?;
    guest.type_in("jobs | tr a-z A-Z; kill %1; wait %1; echo K$?\r")?;
    guest.expect("RUNNING", soon).context("jobs")?;
    guest.expect("K143", soon).context("kill of a job")
}

/// Types this until that is shown: what it is for may not be there yet at the first.
fn again(guest: &mut OnTerminal, keys: &str, text: &str) -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_secs(3);
    for _ in 0..10 {
        guest.type_in(keys)?;
        if guest.shows(text, PAUSE) {
            return Ok(());
        }
    }
    guest.expect(text, PAUSE)
}

/// A command has a terminal where xtask has one.
fn terminal(harness: &Harness) -> anyhow::Result<()> {
    let mut xtask = harness.xtask();
    let script =
        "tty; stty size; trap 'echo caught; exit 5' INT; echo waiting; while :; do sleep 1; done";
    xtask.args(["--", "bash", "-c", script]);
    let mut guest = OnTerminal::start(xtask, 31, 97)?;
    guest.expect("/dev/", harness.boot).context("a terminal")?;
    guest
        .expect("31 97\r\n", harness.soon)
        .context("its size")?;
    guest.expect("waiting\r\n", harness.soon)?;
    guest.type_in("\x03")?;
    guest
        .expect("caught\r\n", harness.soon)
        .context("Ctrl-C reaches the command")?;
    let status = guest.ended(harness.soon)?;
    ensure!(status.code() == Some(5), "it ended as {status}, not with 5");
    ensure!(
        guest.left_as_it_was()?,
        "the terminal is not as it was before"
    );
    Ok(())
}

/// Between pipes, everything arrives as it was sent.
fn pipes(harness: &Harness) -> anyhow::Result<()> {
    let mut xtask = harness.xtask();
    xtask.args(["--", "sh", "-c", "cat; echo err >&2; exit 3"]);
    xtask
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = xtask.spawn()?;
    let sent: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut stdin = child.stdin.take().context("no stdin")?;
    let input = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let out = output(child, harness.boot + harness.soon)?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.code() == Some(3),
        "it ended as {}: {said}",
        out.status
    );
    ensure!(
        matches!(writer.join(), Ok(Ok(()))),
        "it did not read its input"
    );
    ensure!(
        out.stdout == sent,
        "{} of {} bytes came back",
        out.stdout.len(),
        sent.len()
    );
    ensure!(said.contains("err\n"), "its errors did not arrive: {said}");
    Ok(())
}

/// What a program says until it ends, which it has to do in this time.
fn output(mut child: Child, within: Duration) -> anyhow::Result<Output> {
    let until = Instant::now() + within;
    let stdout = whole(child.stdout.take());
    let stderr = whole(child.stderr.take());
    let mut ended = child.try_wait()?;
    while ended.is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        ended = child.try_wait()?;
    }
    if ended.is_none() {
        child.kill()?;
    }
    let (status, stdout, stderr) = (child.wait()?, stdout.join(), stderr.join());
    let stderr = stderr.unwrap_or_default();
    ensure!(
        ended.is_some(),
        "it has not ended in {within:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    Ok(Output {
        status,
        stdout: stdout.unwrap_or_default(),
        stderr,
    })
}

/// Everything that comes, up to an error.
fn whole(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What came before an error is in `bytes`, and shows that something is missing.
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn what_a_program_says_is_taken_to_its_end() {
        let out = output(
            sh("echo out; echo err >&2; exit 3"),
            Duration::from_secs(20),
        )
        .unwrap();
        assert_eq!(out.status.code(), Some(3));
        assert_eq!(
            (&out.stdout[..], &out.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }

    #[test]
    fn one_that_does_not_end_is_an_error_that_quotes_it() {
        let child = sh("echo stuck >&2; exec sleep 60");
        let error = output(child, Duration::from_millis(500)).unwrap_err();
        assert!(error.to_string().contains("stuck"), "{error}");
    }

    #[test]
    fn they_are_selected_by_name_and_run_once() {
        assert_eq!(select(Profile::Release, None).len(), TESTS.len());
        assert_eq!(select(Profile::Release, Some("shell")), ["run.shell"]);
        assert!(select(Profile::Debug, None).is_empty());
    }
}
