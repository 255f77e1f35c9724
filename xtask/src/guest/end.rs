// SPDX-License-Identifier: GPL-2.0
//! How a guest ended, and how that is told.

use crate::error::Fatal;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The command ended with this status.
    Exited(u8),
    /// xtask got this signal.
    Signal(i32),
    /// The person at the terminal switched it off.
    SwitchedOff,
    /// Nobody reads xtask's own output any more.
    Unread,
    /// The kernel panicked.
    Crashed(String),
    /// A time limit passed.
    Hung(String),
    /// Not one line on the console in time: the acceleration does not work.
    NoSign,
    /// The guest's init could not do its work.
    Failed(String),
    /// The machine is gone, and how the command ended is not known.
    Vanished,
}

#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    /// What the kernel complained about.
    pub reports: Vec<Vec<String>>,
    /// The console's last lines.
    pub last: Vec<String>,
    /// The whole console.
    pub console: PathBuf,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exited(status) => write!(f, "the command ended with status {status}"),
            End::Signal(signal) => write!(f, "interrupted by signal {signal}"),
            End::SwitchedOff => f.write_str("switched off"),
            End::Unread => f.write_str("nobody reads the output"),
            End::Crashed(why) => write!(f, "the kernel panicked: {why}"),
            End::Hung(why) => write!(f, "the guest hung: {why}"),
            End::NoSign => f.write_str("the kernel printed nothing at all: try --accel tcg"),
            End::Failed(why) => write!(f, "the guest could not be set up: {why}"),
            End::Vanished => f.write_str("the guest ended without saying how its command ended"),
        }
    }
}

impl Outcome {
    /// The status of a command that ended, or what kept it from ending well. `during` says what was
    /// going on, if that is known.
    pub fn status(&self, during: Option<&str>) -> anyhow::Result<u8> {
        match &self.end {
            End::Exited(status) => return Ok(*status),
            End::Signal(signal) => return Ok(128 + *signal as u8),
            // The command has not ended: as if Ctrl-C had ended it.
            End::SwitchedOff => return Ok(128 + libc::SIGINT as u8),
            End::Unread => return Ok(128 + libc::SIGPIPE as u8),
            _ => (),
        }
        let during = during
            .map(|what| format!("during {what}, "))
            .unwrap_or_default();
        Err(Fatal::Guest(format!("{during}{}{}", self.end, self.excerpt())).into())
    }

    /// The console's last lines and where the rest is.
    fn excerpt(&self) -> String {
        if self.last.is_empty() {
            return String::new();
        }
        let lines: String = self
            .last
            .iter()
            .map(|line| format!("\n    {line}"))
            .collect();
        format!(
            "{lines}\nThe whole console is in {}",
            self.console.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End) -> Outcome {
        let last = vec!["[ 1.0] last words".to_owned()];
        Outcome {
            end,
            reports: vec![],
            last,
            console: "/c/console.log".into(),
        }
    }

    #[test]
    fn the_commands_status_is_passed_on() {
        assert_eq!(outcome(End::Exited(7)).status(None).unwrap(), 7);
        assert_eq!(outcome(End::Signal(2)).status(None).unwrap(), 130);
        assert_ne!(outcome(End::SwitchedOff).status(None).unwrap(), 0);
    }

    #[test]
    fn what_happened_when_and_the_consoles_end_are_told() {
        let error = outcome(End::Crashed("oops".into()))
            .status(Some("pipe.full"))
            .unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Fatal::Guest(_))));
        let text = error.to_string();
        for part in [
            "during pipe.full, the kernel panicked: oops",
            "last words",
            "/c/console.log",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
