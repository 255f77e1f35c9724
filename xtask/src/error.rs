// SPDX-License-Identifier: GPL-2.0
//! Exit statuses: 0 success, 1 tests failed, 2 usage or set-up, 3 the guest hung or crashed.

use std::process::ExitCode;

/// An error that decides the exit status of the whole command.
#[derive(Debug)]
pub enum Fatal {
    /// Tests ran and some of them failed: 1.
    Failed(String),
    /// The command cannot be carried out as it was given, or here: 2. One line that says what to do.
    Setup(String),
    /// The guest hung, crashed or ended without saying how it went: 3.
    Guest(String),
}

impl std::fmt::Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fatal::Failed(text) | Fatal::Setup(text) | Fatal::Guest(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fatal {}

/// Prints the error, if any, and turns the result into the exit status. Whatever is not a
/// [`Fatal`] is a set-up problem.
pub fn report(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            crate::progress::say(&format!("xtask: {error:#}"));
            ExitCode::from(match error.downcast_ref::<Fatal>() {
                Some(Fatal::Failed(_)) => 1,
                Some(Fatal::Guest(_)) => 3,
                Some(Fatal::Setup(_)) | None => 2,
            })
        }
    }
}
