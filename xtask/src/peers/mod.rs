// SPDX-License-Identifier: GPL-2.0
//! The kernel's own selftests of what the series hooks: which there are, how they are built and
//! run, and how what a patched kernel makes of them is compared with what a plain one does.

mod compare;
mod list;
mod programs;
mod side;
mod sources;
mod transcript;

pub use compare::Tallies;
pub use list::{select, Test};
pub use programs::build as build_programs;
pub use side::{Guest, Side};
