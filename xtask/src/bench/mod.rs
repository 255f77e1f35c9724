// SPDX-License-Identifier: GPL-2.0
//! Figures of benchmarks: read from the guest, put beside each other, printed and plotted.

mod figures;
mod plot;
mod report;
mod table;

pub use figures::{groups, parse, Figure, Group, Setting};
pub use report::write as write_report;
pub use table::text as table;
