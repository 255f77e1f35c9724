// SPDX-License-Identifier: GPL-2.0
//! One module a command.

pub mod bench;
pub mod lint;
pub mod peers;
pub mod run;
pub mod series;
pub mod test;
pub mod tree;
