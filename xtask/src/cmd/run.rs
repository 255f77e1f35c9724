// SPDX-License-Identifier: GPL-2.0

pub fn main(ctx: &crate::ctx::Ctx, _args: crate::cli::Run) -> anyhow::Result<u8> {
    crate::kernel::build(ctx)?;
    Ok(0)
}
