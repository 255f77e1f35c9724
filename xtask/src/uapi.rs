// SPDX-License-Identifier: GPL-2.0
//! The kernel's header for user space. The patches are its source; `evpoll/include` has a copy for
//! programs, as `make headers_install` would install it.

use crate::files;
use std::path::Path;

/// Where the kernel has it.
pub const SOURCE: &str = "include/uapi/linux/evpoll.h";
/// Where programs find it.
pub const COPY: &str = "evpoll/include/linux/evpoll.h";

/// What `make headers_install` makes of it: of all that scripts/headers_install.sh changes, this
/// header only has the guard.
fn installed(source: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(source);
    let lines = text.lines().map(|line| {
        let guard = ["#ifndef ", "#define ", "#endif /* "]
            .iter()
            .find_map(|start| Some((start, line.strip_prefix(start)?.strip_prefix("_UAPI")?)));
        match guard {
            Some((start, rest)) => format!("{start}{rest}\n"),
            None => format!("{line}\n"),
        }
    });
    lines.collect::<String>().into_bytes()
}

/// Whether the copy is what the series makes of it, given the header of a kernel with the series.
/// If that has none, there must not be a copy.
pub fn in_step(root: &Path, source: Option<&[u8]>) -> anyhow::Result<bool> {
    let copy = files::read(&root.join(COPY))?;
    Ok(copy == source.map(installed))
}

/// Makes the copy, if it is another. Returns whether it was.
pub fn copy(root: &Path, source: &[u8]) -> anyhow::Result<bool> {
    let stale = !in_step(root, Some(source))?;
    if stale {
        files::write(&root.join(COPY), &installed(source))?;
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
/* _UAPI */
#ifndef _UAPI_LINUX_X_H
#define _UAPI_LINUX_X_H
#define X 1
#endif /* _UAPI_LINUX_X_H */
";

    #[test]
    fn only_the_guard_changes() {
        let want = SOURCE.replace("_UAPI_LINUX", "_LINUX");
        assert_eq!(
            String::from_utf8(installed(SOURCE.as_bytes())).unwrap(),
            want
        );
    }

    #[test]
    fn a_copy_that_is_another_is_told() {
        let root = std::env::temp_dir().join(format!("evpoll-uapi-{}", std::process::id()));
        files::remove(&root).unwrap();
        let source = SOURCE.as_bytes();
        assert!(in_step(&root, None).unwrap());
        assert!(!in_step(&root, Some(source)).unwrap());
        assert!(copy(&root, source).unwrap());
        assert!(in_step(&root, Some(source)).unwrap());
        assert!(!copy(&root, source).unwrap());
        assert!(!in_step(&root, Some(b"#define X 2\n")).unwrap());
        assert!(!in_step(&root, None).unwrap());
        files::remove(&root).unwrap();
    }
}
