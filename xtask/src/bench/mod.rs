// SPDX-License-Identifier: GPL-2.0
//! Figures of benchmarks: read from the guest, put beside each other, judged, printed and plotted.

mod document;
mod figures;
mod plot;
mod profile;
mod repeat;
mod report;
mod symbols;
mod table;
mod targets;

pub use figures::{parse, Figure, Measured, Setting, BARE};
pub use profile::{read as read_profile, Profile, Profiles};
pub use repeat::differences;
pub use report::{json, text, try_write as try_report, write as write_report, Results};
pub use symbols::Symbols;
pub use targets::{targets, Target};
