// SPDX-License-Identifier: GPL-2.0
//! Passes the guest's output on.

use super::Sink;
use crate::progress::{say, Step};
use std::io::Write;

/// The guest's output is xtask's own. Until there is some, a step says that it is booting.
pub struct Through {
    booting: Option<Step>,
    greeting: Option<String>,
}

impl Through {
    /// `title` is what the step is called.
    pub fn new(title: String) -> Through {
        Through {
            booting: Some(Step::start(title)),
            greeting: None,
        }
    }

    /// A line to say when the guest is up.
    pub fn when_ready(&mut self, line: &str) {
        self.greeting = Some(line.to_owned());
    }
}

impl Sink for Through {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    fn stderr(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stderr().write_all(bytes)
    }

    fn ready(&mut self) {
        if let Some(step) = self.booting.take() {
            step.done("");
        }
        if let Some(line) = self.greeting.take() {
            say(&format!("xtask: {line}"));
        }
    }
}
