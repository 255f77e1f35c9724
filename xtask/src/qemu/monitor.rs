// SPDX-License-Identifier: GPL-2.0
//! QEMU's monitor: its protocol for programs (QMP), and through it the commands for people, which
//! are the only ones for some things.

use anyhow::{bail, Context};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// An answer comes at once.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Monitor {
    answers: BufReader<UnixStream>,
    commands: UnixStream,
}

impl Monitor {
    /// The other end of the socket is QEMU's.
    pub fn new(socket: UnixStream) -> anyhow::Result<Monitor> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut monitor = Monitor {
            answers: BufReader::new(socket.try_clone()?),
            commands: socket,
        };
        if monitor.message()?.get("QMP").is_none() {
            bail!("QEMU's monitor does not speak QMP");
        }
        monitor.execute(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    /// A command for people. Returns what it prints, which is nothing if all is well, for most.
    pub fn command(&mut self, line: &str) -> anyhow::Result<String> {
        let answer = self.execute(&json!({
            "execute": "human-monitor-command",
            "arguments": {"command-line": line},
        }))?;
        Ok(answer.as_str().unwrap_or_default().trim().to_owned())
    }

    /// A command that shall print nothing.
    pub fn silently(&mut self, line: &str) -> anyhow::Result<()> {
        let said = self.command(line)?;
        if !said.is_empty() {
            bail!("QEMU's monitor does not take {line:?}: {said}");
        }
        Ok(())
    }

    fn execute(&mut self, command: &Value) -> anyhow::Result<Value> {
        writeln!(self.commands, "{command}").context("writing to QEMU's monitor")?;
        loop {
            let mut message = self.message()?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                bail!("QEMU's monitor does not take {command}: {error}");
            }
            // An event.
        }
    }

    fn message(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        let count = self.answers.read_line(&mut line);
        if count.context("reading from QEMU's monitor")? == 0 {
            bail!("QEMU has closed its monitor");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU's monitor says {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor at the other end of which somebody gives these answers, one for each line.
    fn monitor(answers: &'static [&'static str]) -> anyhow::Result<(Monitor, Vec<String>)> {
        let (ours, theirs) = UnixStream::pair()?;
        let other = std::thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            let mut theirs = theirs;
            let mut heard = Vec::new();
            for (index, answer) in answers.iter().enumerate() {
                if index > 0 {
                    heard.extend(lines.next().and_then(Result::ok));
                }
                theirs.write_all(answer.as_bytes()).unwrap();
            }
            heard
        });
        let mut monitor = Monitor::new(ours)?;
        monitor.silently("cont")?;
        Ok((monitor, other.join().unwrap()))
    }

    #[test]
    fn commands_and_answers_with_events_between() {
        let (_, heard) = monitor(&[
            "{\"QMP\": {}}\n",
            "{\"return\": {}}\n",
            "{\"event\": \"RESUME\"}\n{\"return\": \"\"}\n",
        ])
        .unwrap();
        assert!(heard[1].contains("\"command-line\":\"cont\""), "{heard:?}");
    }

    #[test]
    fn what_it_does_not_take_is_an_error() {
        for answers in [
            &["{\"hello\": 1}\n"][..],
            &["{\"QMP\": {}}\n", "{\"error\": {\"desc\": \"no\"}}\n"],
            &[
                "{\"QMP\": {}}\n",
                "{\"return\": {}}\n",
                "{\"return\": \"unknown command\\r\\n\"}\n",
            ],
            &["{\"QMP\": {}}\n"],
        ] {
            assert!(monitor(answers).is_err(), "{answers:?}");
        }
    }
}
