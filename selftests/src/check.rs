// SPDX-License-Identifier: GPL-2.0
//! Assertions that say what was expected and what came. Every failure is a panic; the runner
//! turns it into the test's result.

use crate::abi::{Errno, Sys};

/// `check!(condition, "what was wrong {}", value)`.
#[macro_export]
macro_rules! check {
    ($cond:expr, $($arg:tt)+) => {
        if !$cond {
            panic!($($arg)+);
        }
    };
}

/// `check_eq!("number of events", got, want)`.
#[macro_export]
macro_rules! check_eq {
    ($what:expr, $got:expr, $want:expr) => {
        match (&$got, &$want) {
            (got, want) => {
                if got != want {
                    panic!("{}: expected {:?}, got {:?}", $what, want, got);
                }
            }
        }
    };
}

/// The call must succeed.
#[track_caller]
pub fn ok<T>(what: &str, got: Sys<T>) -> T {
    match got {
        Ok(v) => v,
        Err(e) => panic!("{what}: expected success, got {e}"),
    }
}

/// The call must fail, with this errno.
#[track_caller]
pub fn fails<T: std::fmt::Debug>(what: &str, got: Sys<T>, want: i32) {
    match got {
        Err(e) if e.0 == want => {}
        Err(e) => panic!("{what}: expected {}, got {e}", Errno(want)),
        Ok(v) => panic!("{what}: expected {}, got success ({v:?})", Errno(want)),
    }
}
