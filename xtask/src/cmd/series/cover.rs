// SPDX-License-Identifier: GPL-2.0
//! The cover letter: its words are written by hand, and what `git format-patch --cover-letter` would
//! add to them (the patches by author, the files, the kernel that they are for) is made of the
//! patches.

use crate::ctx::Ctx;
use crate::files;
use anyhow::Context;
use std::path::PathBuf;

/// In patches/. Without the suffix of the patches it is none of them.
const NAME: &str = "0000-cover-letter";

/// Whether it ends as it should; a cover letter that is not there does.
pub fn in_step(ctx: &Ctx, summary: &str) -> anyhow::Result<bool> {
    Ok(read(ctx)?.is_none_or(|text| with_summary(&text, summary) == text))
}

/// Makes it end so, and says whether it did not.
pub fn update(ctx: &Ctx, summary: &str) -> anyhow::Result<bool> {
    let Some(text) = read(ctx)? else {
        return Ok(false);
    };
    let made = with_summary(&text, summary);
    if made == text {
        return Ok(false);
    }
    files::write(&path(ctx), made.as_bytes())?;
    Ok(true)
}

/// What is told of one that does not.
pub fn out_of_step() -> String {
    format!("patches/{NAME}: does not end with what the patches consist of")
}

pub fn written() -> String {
    format!("patches/{NAME}: written")
}

fn path(ctx: &Ctx) -> PathBuf {
    ctx.root.join("patches").join(NAME)
}

fn read(ctx: &Ctx) -> anyhow::Result<Option<String>> {
    let Some(bytes) = files::read(&path(ctx))? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).with_context(|| format!("{NAME} has to be UTF-8"))?;
    Ok(Some(text))
}

/// The words that are written by hand, and then this.
fn with_summary(text: &str, summary: &str) -> String {
    let words = text
        .lines()
        .take_while(|line| !is_author(line))
        .collect::<Vec<_>>()
        .join("\n");
    format!("{}\n\n{summary}", words.trim_end())
}

/// Whether the list of the patches begins here: `Name (number):`.
fn is_author(line: &str) -> bool {
    let count = line
        .strip_suffix("):")
        .and_then(|rest| rest.rsplit_once(" ("));
    count.is_some_and(|(name, count)| {
        let number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        number && !name.is_empty() && !name.starts_with(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "Subject: [PATCH 0/2] x\n\nTwo things (of 2002):\n  1 (2):\n\nDone.\n";

    #[test]
    fn words_stay_and_the_summary_is_replaced() {
        let once = with_summary(WORDS, "A B (2):\n  one\n  two\n");
        assert_eq!(once, format!("{WORDS}\nA B (2):\n  one\n  two\n"));
        let other = "A B (1):\n  one\n\nC (1):\n  two\n\n 1 file changed\n";
        assert_eq!(with_summary(&once, other), format!("{WORDS}\n{other}"));
        assert_eq!(
            with_summary(&with_summary(&once, other), other),
            format!("{WORDS}\n{other}")
        );
    }
}
