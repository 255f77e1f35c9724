// SPDX-License-Identifier: GPL-2.0
//! Command line.

pub fn run() -> anyhow::Result<u8> {
    Ok(0)
}
