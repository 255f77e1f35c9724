// SPDX-License-Identifier: GPL-2.0
//! One boot from start to end: an event loop that passes on what the guest says, watches its
//! console and its time, and takes leave of it when everything has arrived.

use super::end::{End, Outcome};
use super::process::Qemu;
use super::signals::Taken;
use super::terminal::{self, Terminal};
use super::watch::Watch;
use super::wires::{Ends, Event, Input, Kind, Reins, Stream, Wires};
use super::Boot;
use crate::ctx::Ctx;
use crate::error::Fatal;
use crate::progress::say;
use crate::qemu::{self, Acceleration, Trace};
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{sync_channel, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Where the guest's output goes. An error means that nobody wants it any more.
pub trait Sink {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// The command is about to start.
    fn ready(&mut self) {}
    /// Now and then, while the guest runs.
    fn tick(&mut self) {}
    /// With [`Input::Sink`], before anything else.
    fn steer(&mut self, _reins: Reins) {}
}

/// How long is too long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From power on to the start of the command.
    pub ready: Duration,
    /// Without any output.
    pub silence: Option<Duration>,
    /// For everything.
    pub total: Option<Duration>,
    /// Without a sign of life from init.
    pub alive: Option<Duration>,
}

/// A working KVM prints within a second.
const NO_SIGN: Duration = Duration::from_secs(8);
/// A panic's last lines come at once, then the machine resets.
const PANIC: Duration = Duration::from_secs(3);
/// Output whose length is not known has arrived when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(300);
/// Power off takes a fraction of that.
const FAREWELL: Duration = Duration::from_secs(15);
/// Output of a known length that does not come.
const MISSING: Duration = Duration::from_secs(30);
/// A processor that is reported twice is not just slow.
const STALLS: u32 = 2;
const TICK: Duration = Duration::from_millis(100);

pub fn run(
    ctx: &Ctx,
    boot: &Boot,
    archive: &Path,
    (acceleration, trace): (Acceleration, Option<&Trace>),
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let console = ctx.log(&format!("console-{}", boot.name));
    let said = ctx.log(&format!("qemu-{}", boot.name));
    let log = create(&console)?;
    // A file of its own, so that two boots at once do not write into each other's.
    let _ = std::fs::remove_file(&said);

    let (sender, events) = sync_channel(16);
    let signals = sender.clone();
    let _taken = Taken::start(move |signal| signals.send(Event::Signal(signal)).is_ok())
        .context("Failed to take in signals")?;
    let wires =
        Wires::new(kind(boot), boot.input).context("Failed to make the sockets to the guest")?;
    let machine = boot.machine(ctx, acceleration, trace, archive, wires.wiring());
    let arguments = machine.arguments();
    let qemu = Qemu::start(&arguments, wires.inherited(), &said)?;
    let Ends { reply, open, reins } = wires.start(boot.input, &sender)?;
    if let Some(reins) = reins {
        sink.steer(reins);
    }
    drop(sender);
    let terminal = match boot.input {
        Input::Keys => Some(Terminal::take().context("Failed to set up the terminal")?),
        _ => None,
    };

    let mut session = Session::new(qemu, reply, open, log, boot.limits, sink);
    session.verbose = ctx.verbose && boot.input != Input::Keys;
    session.silent_means_broken = acceleration == Acceleration::Kvm;
    let mut raw = false;
    let end = loop {
        if let Some(terminal) = terminal.as_ref().filter(|_| session.ready && !raw) {
            terminal.raw().context("Failed to set up the terminal")?;
            raw = true;
        }
        let event = match events.recv_timeout(TICK) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            // Every thread has ended: so has QEMU, or it is about to.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(TICK);
                None
            }
        };
        if let Some(end) = event.and_then(|event| session.take(event)) {
            break end;
        }
        if let Some(end) = session.check() {
            break end;
        }
    };
    drop(terminal);
    if raw && !matches!(end, End::Exited(_)) {
        terminal::tidy();
    }
    if end == End::Vanished && session.heard == 0 {
        return Err(refused(&said));
    }
    if session.watch.races_elsewhere() > 0 {
        say(&format!(
            "xtask: {} data races that no code of ours has a part in; see {}",
            session.watch.races_elsewhere(),
            console.display()
        ));
    }
    Ok(Outcome {
        end,
        reports: session.watch.reports().to_vec(),
        last: session.watch.last(),
        console,
    })
}

fn kind(boot: &Boot) -> Kind {
    match (boot.task.terminal, boot.task.hold) {
        (Some(_), _) => Kind::Terminal,
        (None, true) => Kind::Held,
        (None, false) => Kind::Pipes,
    }
}

/// QEMU ended before the kernel printed anything: it did not like its command line, or the machine.
fn refused(said: &Path) -> anyhow::Error {
    let text = std::fs::read_to_string(said).unwrap_or_default();
    let error = text.lines().find(|line| line.contains(qemu::PROGRAM));
    let error = error.or_else(|| text.lines().last());
    let error = error.unwrap_or("it did not say why");
    Fatal::Setup(format!("QEMU did not start: {error}")).into()
}

fn create(path: &Path) -> anyhow::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("Failed to make {}", folder.display()))?;
    }
    let _ = std::fs::remove_file(path);
    File::create(path).with_context(|| format!("Failed to write {}", path.display()))
}

/// What "exit" said.
struct Exit {
    status: u8,
    /// Bytes sent, where known.
    stdout: Option<u64>,
    stderr: Option<u64>,
    at: Instant,
}

struct Session<'a> {
    qemu: Qemu,
    /// Where the guest listens, if it does.
    reply: Option<UnixStream>,
    /// Streams that are not closed yet.
    open: usize,
    log: File,
    limits: Limits,
    sink: &'a mut dyn Sink,
    watch: Watch,
    verbose: bool,
    silent_means_broken: bool,

    start: Instant,
    ready: bool,
    /// Bytes of the console.
    heard: u64,
    stdout: u64,
    stderr: u64,
    /// A line of the control stream that is not whole yet.
    line: Vec<u8>,
    /// Output that the control stream goes on with, in bytes.
    held: Option<(Stream, usize)>,
    output: Instant,
    alive: Instant,
    panicked: Option<Instant>,
    failed: Option<String>,
    exit: Option<Exit>,
    farewell: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(
        qemu: Qemu,
        reply: Option<UnixStream>,
        open: usize,
        log: File,
        limits: Limits,
        sink: &'a mut dyn Sink,
    ) -> Session<'a> {
        let now = Instant::now();
        Session {
            qemu,
            reply,
            open,
            log,
            limits,
            sink,
            watch: Watch::default(),
            verbose: false,
            silent_means_broken: false,
            start: now,
            ready: false,
            heard: 0,
            stdout: 0,
            stderr: 0,
            line: Vec::new(),
            held: None,
            output: now,
            alive: now,
            panicked: None,
            failed: None,
            exit: None,
            farewell: None,
        }
    }

    fn take(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Bytes(stream, bytes) => {
                let passed = self.pass(stream, &bytes);
                // Only now: a reader that is slow to take it does not make the guest silent.
                self.alive = Instant::now();
                if stream != Stream::Control {
                    self.output = self.alive;
                }
                if passed.is_err() {
                    return Some(End::Unread);
                }
            }
            Event::Closed => self.open -= 1,
            Event::Signal(libc::SIGWINCH) => {
                if let Some(size) = terminal::size() {
                    self.tell(&format!("size {} {}", size.rows, size.columns));
                }
            }
            Event::Signal(signal) => return Some(End::Signal(signal)),
            Event::Escape => return Some(End::SwitchedOff),
        }
        None
    }

    fn pass(&mut self, stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
        let count = bytes.len() as u64;
        match stream {
            Stream::Console => {
                self.heard += count;
                // A full disk shall not end the boot that it cannot record.
                let _ = self.log.write_all(bytes);
                let verbose = self.verbose;
                self.watch.feed(bytes, |line| {
                    if verbose {
                        eprintln!("{line}");
                    }
                });
                if self.watch.panic().is_some() && self.panicked.is_none() {
                    self.panicked = Some(Instant::now());
                }
            }
            Stream::Terminal | Stream::Stdout => {
                self.stdout += count;
                self.sink.stdout(bytes)?;
            }
            Stream::Stderr => {
                self.stderr += count;
                self.sink.stderr(bytes)?;
            }
            Stream::Control => self.control(bytes)?,
        }
        Ok(())
    }

    /// The control stream: lines, and output that a line has announced.
    fn control(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            if let Some((stream, left)) = self.held.take() {
                let (output, rest) = bytes.split_at(left.min(bytes.len()));
                self.held = Some((stream, left - output.len())).filter(|held| held.1 > 0);
                self.pass(stream, output)?;
                bytes = rest;
                continue;
            }
            let (byte, rest) = (bytes[0], &bytes[1..]);
            bytes = rest;
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.told(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    /// A line of the control stream.
    fn told(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ready" => {
                self.ready = true;
                self.sink.ready();
            }
            "stdout" | "stderr" => {
                let stream = match word {
                    "stdout" => Stream::Stdout,
                    _ => Stream::Stderr,
                };
                let length = rest.parse().unwrap_or(0);
                self.held = Some((stream, length)).filter(|held| held.1 > 0);
            }
            "failed" => self.failed = Some(rest.to_owned()),
            "exit" => {
                let mut fields = rest.split(' ');
                let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
                self.exit = Some(Exit {
                    status: number().map_or(255, |status| status as u8),
                    stdout: number(),
                    stderr: number(),
                    at: Instant::now(),
                });
            }
            // "alive" has done its work by coming.
            _ => (),
        }
    }

    fn tell(&mut self, line: &str) {
        if let Some(reply) = &mut self.reply {
            // A guest that is gone is noticed elsewhere.
            let _ = reply.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// What time says.
    fn check(&mut self) -> Option<End> {
        self.sink.tick();
        let ended = self.qemu.ended().is_some();
        if ended && self.open == 0 {
            return Some(self.gone());
        }
        if self.panicked.is_some_and(|at| at.elapsed() > PANIC) {
            return Some(self.gone());
        }
        if let Some(why) = &self.failed {
            return Some(End::Failed(why.clone()));
        }
        if self.arrived() && self.farewell.is_none() {
            if self.reply.is_none() {
                return Some(self.gone());
            }
            self.farewell = Some(Instant::now());
            self.tell("bye");
        }
        if let Some(at) = self.farewell {
            return (at.elapsed() > FAREWELL).then(|| self.gone());
        }
        if self.exit.is_some() || ended {
            return None;
        }
        self.overdue()
    }

    /// Whether the command has ended and all of its output is here.
    fn arrived(&self) -> bool {
        let Some(exit) = &self.exit else { return false };
        let quiet = self.output.elapsed() > QUIET;
        let whole = |expected: Option<u64>, got: u64| expected.map_or(quiet, |count| got >= count);
        let complete = whole(exit.stdout, self.stdout) && whole(exit.stderr, self.stderr);
        complete || (exit.at.elapsed() > MISSING && self.output.elapsed() > MISSING)
    }

    /// The machine is gone, or shall be.
    fn gone(&self) -> End {
        match (self.watch.panic(), &self.failed, &self.exit) {
            (Some(why), _, _) => End::Crashed(why.to_owned()),
            (_, Some(why), _) => End::Failed(why.clone()),
            (_, _, Some(exit)) => End::Exited(exit.status),
            _ => End::Vanished,
        }
    }

    fn overdue(&self) -> Option<End> {
        let since = self.start.elapsed();
        if self.silent_means_broken && self.heard == 0 && since > NO_SIGN {
            return Some(End::NoSign);
        }
        if !self.ready && since > self.limits.ready {
            if self.heard == 0 {
                return Some(End::NoSign);
            }
            return Some(hung("it did not boot", self.limits.ready));
        }
        if self.watch.stalls() >= STALLS {
            return Some(End::Hung("a processor makes no progress".into()));
        }
        if !self.ready {
            return None;
        }
        let over = |limit: Option<Duration>, time: Duration| limit.filter(|limit| time > *limit);
        if let Some(limit) = over(self.limits.total, since) {
            return Some(hung("it was not done", limit));
        }
        if let Some(limit) = over(self.limits.silence, self.output.elapsed()) {
            return Some(hung("no output", limit));
        }
        if let Some(limit) = over(self.limits.alive, self.alive.elapsed()) {
            return Some(hung("no sign of life", limit));
        }
        None
    }
}

fn hung(what: &str, limit: Duration) -> End {
    End::Hung(format!("{what} in {} s", limit.as_secs()))
}
