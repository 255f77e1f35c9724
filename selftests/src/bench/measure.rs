// SPDX-License-Identifier: GPL-2.0
//! What all benchmarks share: why there is no figure, and quiet before there is one.

use selftests::abi::Errno;
use std::fmt;
use std::time::Duration;

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is not there to be measured. No fault of its own.
    Missing(String),
    /// It does not do what it should: an event is lost, a call fails.
    Wrong(String),
}

pub type Result<T> = std::result::Result<T, Trouble>;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Trouble::Missing(why) | Trouble::Wrong(why) => f.write_str(why),
        }
    }
}

pub fn wrong<T>(why: impl Into<String>) -> Result<T> {
    Err(Trouble::Wrong(why.into()))
}

/// What to make of the error of a call.
pub trait Context<T> {
    /// What the first use of an interface says tells whether the kernel has it.
    fn or_missing(self, what: &str) -> Result<T>;
    /// It should have worked.
    fn or_wrong(self, what: &str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn or_missing(self, what: &str) -> Result<T> {
        self.map_err(|e| match e {
            Errno(libc::ENOSYS) => Trouble::Missing(format!("not in this kernel: {e}")),
            e => Trouble::Wrong(format!("{what}: {e}")),
        })
    }
    fn or_wrong(self, what: &str) -> Result<T> {
        self.map_err(|e| Trouble::Wrong(format!("{what}: {e}")))
    }
}

/// Waits until the kernel has done what it put off to a worker or a grace period, as far as that
/// takes a moment.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Waits until the hooks are off, which they are a second after the last queue was closed.
pub fn hooks_off() {
    std::thread::sleep(Duration::from_secs(2));
}

/// The mean of these without one in `part` at either end.
pub fn trimmed_mean(mut costs: Vec<f64>, part: usize) -> f64 {
    costs.sort_by(f64::total_cmp);
    let n = costs.len();
    let middle = &costs[n / part..n - n / part];
    middle.iter().sum::<f64>() / middle.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_left_out() {
        let costs = vec![9000.0, 99.0, 100.0, 101.0, 102.0, 103.0, 104.0, 105.0];
        assert_eq!(trimmed_mean(costs.clone(), 4), 102.5);
        assert_eq!(trimmed_mean(costs, 8), 102.5);
        assert_eq!(trimmed_mean(vec![7.0], 8), 7.0);
    }

    #[test]
    fn what_is_not_there_is_not_wrong() {
        let of = |e| std::result::Result::<(), Errno>::Err(Errno(e)).or_missing("it");
        assert!(matches!(of(libc::ENOSYS), Err(Trouble::Missing(_))));
        assert_eq!(of(libc::EINVAL), Err(Trouble::Wrong("it: EINVAL".into())));
    }
}
