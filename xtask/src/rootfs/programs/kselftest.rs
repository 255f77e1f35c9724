// SPDX-License-Identifier: GPL-2.0
//! The kselftest that the series adds, for those who build the kernel without this harness. It is
//! taken out of the patches: so what is sent is what is run.

use crate::ctx::Ctx;
use crate::files;
use crate::series;
use crate::source;
use crate::tree;
use std::path::{Path, PathBuf};

/// In a kernel tree: where the headers are that kselftests share, and what is compiled.
const SHARED: &str = "tools/testing/selftests";
const SOURCE: &str = "tools/testing/selftests/evpoll/evpoll_test.c";

pub struct Kselftest {
    pub source: PathBuf,
    /// The folder of `kselftest_harness.h`.
    pub headers: PathBuf,
}

/// Writes its source into this folder; none if the series has none. From a tree of the user's own
/// that has the series, it is the tree's.
pub fn extract(ctx: &Ctx, folder: &Path) -> anyhow::Result<Option<Kselftest>> {
    let tree = match &ctx.kernel {
        Some(own) => own.clone(),
        None => source::pristine(ctx)?.dir,
    };
    let text = if tree::has_evpoll(&tree) {
        files::read(&tree.join(SOURCE))?
    } else {
        series::added_text(&series::patches(&ctx.root)?, SOURCE.as_ref())?.map(String::into_bytes)
    };
    let Some(text) = text else {
        return Ok(None);
    };
    let source = folder.join(Path::new(SOURCE).file_name().unwrap_or_default());
    if files::read(&source)?.as_deref() != Some(&text) {
        files::write(&source, &text)?;
    }
    let headers = tree.join(SHARED);
    Ok(Some(Kselftest { source, headers }))
}
