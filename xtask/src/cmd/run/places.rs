// SPDX-License-Identifier: GPL-2.0
//! Which of the host's folders are there otherwise than read-only, and what the guest can see.

use crate::ctx::existing_dir;
use crate::error::Fatal;
use crate::guest::{How, Place, COVERED};
use std::path::{Path, PathBuf};

/// The guest has its own.
const SPECIAL: [&str; 3] = ["/proc", "/sys", "/dev"];
/// The guest keeps files of its own there.
const OWN: &str = "/run";

/// The folders as absolute paths, outer ones first, with the current folder, which stays visible
/// wherever it is.
pub fn places(
    overlays: &[PathBuf],
    shares: &[PathBuf],
    current: &Path,
) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for (option, how, given) in [
        ("--overlay", How::Overlay, overlays),
        ("--share", How::Share, shares),
    ] {
        for dir in given {
            let folder = existing_dir(dir)?;
            check(option, how, &folder)?;
            places.push(Place::new(how, folder));
        }
    }
    places.sort_by(|a, b| a.folder.cmp(&b.folder));
    places.dedup();
    if let Some(twice) = places
        .windows(2)
        .find(|pair| pair[0].folder == pair[1].folder)
    {
        let text = format!(
            "{}: either --overlay, a copy, or --share, the folder itself",
            twice[0].folder.display()
        );
        return Err(Fatal::Setup(text).into());
    }
    let there = places
        .iter()
        .any(|place| current.starts_with(&place.folder));
    // A folder that is covered itself is left to be the fresh one.
    let inside = covered(current) && !COVERED.iter().any(|top| current == Path::new(top));
    if inside && !there {
        let at = places.partition_point(|place| place.folder.as_path() < current);
        places.insert(at, Place::new(How::Keep, current));
    }
    Ok(places)
}

fn check(option: &str, how: How, folder: &Path) -> anyhow::Result<()> {
    let refuse = |why: &str| {
        let text = format!("{option} {}: {why}", folder.display());
        Err(Fatal::Setup(text).into())
    };
    if folder.parent().is_none() {
        return refuse("not the whole machine, give a folder in it");
    }
    if SPECIAL.iter().any(|top| folder.starts_with(top)) {
        return refuse("the guest has its own, give another folder");
    }
    if how == How::Share && folder == Path::new(OWN) {
        return refuse("the guest has its own, give a folder in it");
    }
    Ok(())
}

/// Whether the guest sees the host's file of this path.
pub fn visible(path: &Path, places: &[Place]) -> bool {
    !covered(path) || places.iter().any(|place| path.starts_with(&place.folder))
}

fn covered(path: &Path) -> bool {
    COVERED.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders to name: what `existing_dir` asks is whether they are there.
    struct Folders(PathBuf);

    impl Folders {
        fn new(name: &str) -> Folders {
            let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            std::fs::create_dir_all(folder.join("a/b")).unwrap();
            Folders(folder.canonicalize().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folders {
        fn drop(&mut self) {
            // What is left in a folder for temporary files does no harm.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn kept(current: &str) -> Vec<Place> {
        places(&[], &[], Path::new(current)).unwrap()
    }

    #[test]
    fn the_current_folder_stays_visible() {
        assert_eq!(kept("/home/me"), []);
        assert_eq!(kept("/tmp"), []);
        assert_eq!(kept("/tmp/y"), [Place::new(How::Keep, "/tmp/y")]);
    }

    #[test]
    fn outer_folders_come_first() {
        let folders = Folders::new("places");
        let (outer, inner) = (folders.at("a"), folders.at("a/b"));
        let found = places(
            &[inner.clone(), inner.clone()],
            std::slice::from_ref(&outer),
            &inner,
        )
        .unwrap();
        let ways: Vec<_> = found
            .iter()
            .map(|place| (place.how, &place.folder))
            .collect();
        assert_eq!(ways, [(How::Share, &outer), (How::Overlay, &inner)]);
        assert!(visible(&inner.join("program"), &found));
        let both = places(
            std::slice::from_ref(&outer),
            std::slice::from_ref(&outer),
            Path::new("/"),
        );
        assert!(both.unwrap_err().to_string().contains("--overlay, a copy"));
    }

    #[test]
    fn some_folders_stay_as_they_are() {
        for folder in ["/", "/proc/self", "/dev", "/no/such/folder"] {
            let folder = [PathBuf::from(folder)];
            assert!(places(&folder, &[], Path::new("/")).is_err(), "{folder:?}");
            assert!(places(&[], &folder, Path::new("/")).is_err(), "{folder:?}");
        }
        assert!(places(&[], &["/run".into()], Path::new("/")).is_err());
    }

    #[test]
    fn what_is_covered_is_visible_only_in_a_place() {
        let places = [Place::new(How::Share, "/tmp/x")];
        assert!(visible(Path::new("/usr/bin/env"), &[]));
        assert!(!visible(Path::new("/tmp/x/program"), &[]));
        assert!(visible(Path::new("/tmp/x/program"), &places));
        assert!(!visible(Path::new("/tmp/xy"), &places));
    }
}
