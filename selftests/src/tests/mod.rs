// SPDX-License-Identifier: GPL-2.0
//! Every test, by group.

use crate::runner::Test;

pub fn all() -> Vec<Test> {
    Vec::new()
}
