// SPDX-License-Identifier: GPL-2.0
//! The guest's tests and what they share with the benchmarks.

pub mod abi;
#[macro_use]
pub mod check;
#[cfg(test)]
mod emu;
mod law;
pub mod net;
pub mod queue;
pub mod runner;
pub mod sys;
mod tests;

pub use tests::all as all_tests;
