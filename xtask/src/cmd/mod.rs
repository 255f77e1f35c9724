// SPDX-License-Identifier: GPL-2.0
//! One module a command.

pub mod bench;
pub mod coverage;
pub mod doctor;
pub mod fuzz;
pub mod lint;
pub mod mutants;
pub mod peers;
pub mod run;
pub mod series;
pub mod soak;
pub mod test;
pub mod tree;
