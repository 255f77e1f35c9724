// SPDX-License-Identifier: GPL-2.0
//! The guest's tests and what they share with the benchmarks.

pub mod abi;
pub mod cgroup;
#[macro_use]
pub mod check;
mod complaints;
pub mod device;
#[cfg(test)]
mod emu;
pub mod figures;
pub mod fuzz;
pub mod inject;
mod law;
pub mod net;
mod program;
pub mod queue;
pub mod runner;
pub mod storm;
pub mod sys;
mod tests;
pub mod uring;

pub use tests::all as all_tests;
pub use tests::{child, words_of_a_child};
