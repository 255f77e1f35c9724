// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files that are served: from the target of a request to an open file below the root.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{percent_decode_str, percent_encode, AsciiSet, NON_ALPHANUMERIC};
use rustix::fs::{fstat, open, openat, openat2, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::http::Status;
use crate::media_type;

/// What is served for a folder.
const INDEX: &str = "index.html";
/// The one hidden folder that is meant to be seen (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";
/// What stays as it is in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// A FIFO is not to be waited for, nor a terminal taken.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A path below the root, without `.`, `..` and empty parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    parts: Vec<Vec<u8>>,
    /// Whether it was written as that of a folder.
    folder: bool,
}

impl Target {
    /// The path of a request's target, which may also be a whole URL, as it is sent to proxies.
    pub fn parse(target: &str) -> Result<Target, Status> {
        let path = match target.starts_with('/') {
            true => target,
            false => path_of_url(target).ok_or(Status::BAD_REQUEST)?,
        };
        if path.contains('#') {
            return Err(Status::BAD_REQUEST);
        }
        let path = path.split('?').next().unwrap_or_default();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut folder = true;
        for part in path.split('/').skip(1) {
            let part = decode(part)?;
            folder = matches!(part.as_slice(), b"" | b"." | b"..");
            match part.as_slice() {
                b"" | b"." => {}
                b".." => drop(parts.pop().ok_or(Status::BAD_REQUEST)?),
                // Whatever is hidden is not meant for everybody.
                [b'.', ..] if part != WELL_KNOWN => return Err(Status::NOT_FOUND),
                _ => parts.push(part),
            }
        }
        Ok(Target { parts, folder })
    }

    /// The path of the folder, as it is to be written.
    fn as_folder(&self) -> String {
        let mut path = String::from("/");
        for part in &self.parts {
            path.extend(percent_encode(part, PLAIN));
            path.push('/');
        }
        path
    }

    /// The path from the root on.
    fn relative(&self) -> Vec<u8> {
        match self.parts.is_empty() {
            true => b".".to_vec(),
            false => self.parts.join(&b'/'),
        }
    }
}

fn path_of_url(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => Some(&rest[at..]),
        _ => Some("/"),
    }
}

/// A part of a path without its percent signs. What is no name of a file is refused.
fn decode(part: &str) -> Result<Vec<u8>, Status> {
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next(), rest.next()];
            if !digits
                .iter()
                .all(|digit| digit.is_some_and(|d| d.is_ascii_hexdigit()))
            {
                return Err(Status::BAD_REQUEST);
            }
        }
    }
    let decoded: Vec<u8> = percent_decode_str(part).collect();
    match decoded.iter().any(|byte| matches!(byte, 0 | b'/')) {
        true => Err(Status::BAD_REQUEST),
        false => Ok(decoded),
    }
}

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// A file.
    File(File),
    /// A folder whose path is to be written like this.
    Folder(String),
}

/// A file that can be sent.
#[derive(Debug)]
pub struct File {
    /// Open for reading.
    pub fd: OwnedFd,
    /// How long it is.
    pub length: u64,
    /// When it was modified, in whole seconds.
    pub modified: Option<SystemTime>,
    /// What is in it.
    pub media_type: &'static str,
}

/// The folder that is served.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Without, links are not followed at all.
    has_openat2: bool,
}

impl Root {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        // A kernel before 5.6 does not have it, and a sandbox may not know it.
        let has_openat2 = beneath(&fd, OsStr::new("."), OFlags::PATH | OFlags::CLOEXEC).is_ok();
        Ok(Root { fd, has_openat2 })
    }

    /// Opens what the target names. A link is followed if it stays below the root.
    pub fn find(&self, target: &Target) -> Result<Found, Status> {
        let path = target.relative();
        let name = target.parts.last().map_or(&b""[..], Vec::as_slice);
        let fd = self.open_below(&path).map_err(status)?;
        match kind(&fd)? {
            FileType::RegularFile if !target.folder => file(fd, name).map(Found::File),
            FileType::Directory if target.folder => {
                let index = [path.as_slice(), b"/", INDEX.as_bytes()].concat();
                let fd = self.open_below(&index).map_err(status)?;
                match kind(&fd)? {
                    FileType::RegularFile => file(fd, INDEX.as_bytes()).map(Found::File),
                    _ => Err(Status::NOT_FOUND),
                }
            }
            FileType::Directory => Ok(Found::Folder(target.as_folder())),
            // A socket or device, or a file that was written as a folder.
            _ => Err(Status::NOT_FOUND),
        }
    }

    fn open_below(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if !self.has_openat2 {
            return self.walk(path);
        }
        for _ in 0..8 {
            match beneath(&self.fd, OsStr::from_bytes(path), READ) {
                // Something was renamed on the way, so that it cannot tell.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// One folder after the other, none of which may be a link.
    fn walk(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder: Option<OwnedFd> = None;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            let from = folder.as_ref().unwrap_or(&self.fd).as_fd();
            let last = parts.peek().is_none();
            let flags = if last { READ | OFlags::NOFOLLOW } else { step };
            let fd = openat(from, OsStr::from_bytes(part), flags, Mode::empty())?;
            if last {
                return Ok(fd);
            }
            folder = Some(fd);
        }
        Err(Errno::NOENT)
    }
}

fn beneath(root: &OwnedFd, path: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn kind(fd: &OwnedFd) -> Result<FileType, Status> {
    let stat = fstat(fd).map_err(status)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn file(fd: OwnedFd, name: &[u8]) -> Result<File, Status> {
    let stat = fstat(&fd).map_err(status)?;
    let modified = u64::try_from(stat.st_mtime).ok();
    Ok(File {
        length: u64::try_from(stat.st_size).unwrap_or(0),
        modified: modified.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        media_type: media_type::of(&String::from_utf8_lossy(name)),
        fd,
    })
}

/// Why a file cannot be opened. That a path leads out of the root is nobody's business.
fn status(error: Errno) -> Status {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG => {
            Status::NOT_FOUND
        }
        // A socket, or a device without a driver.
        Errno::NXIO | Errno::NODEV => Status::NOT_FOUND,
        Errno::ACCESS | Errno::PERM => Status::FORBIDDEN,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Status::SERVICE_UNAVAILABLE,
        _ => Status::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn parse(target: &str) -> Result<(String, bool), Status> {
        let target = Target::parse(target)?;
        let path = String::from_utf8(target.relative()).unwrap();
        Ok((path, target.folder))
    }

    #[test]
    fn targets() {
        let good = |target, path: &str, folder| {
            assert_eq!(parse(target), Ok((path.to_owned(), folder)), "{target}");
        };
        good("/", ".", true);
        good("/a", "a", false);
        good("/a/", "a", true);
        good("/a/./b//c", "a/b/c", false);
        good("/a/../b", "b", false);
        good("/a/..", ".", true);
        good("/a%20b?c/d?e", "a b", false);
        good("/%61", "a", false);
        good("/a%2e%2E/b", "a../b", false);
        good("/.well-known/x", ".well-known/x", false);
        good("http://host:80/a", "a", false);
        good("HTTP://host", ".", true);
        good("http://host?/a", ".", true);
    }

    #[test]
    fn targets_that_are_refused() {
        for target in [
            "",
            "*",
            "a",
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a%2fb",
            "/a%00",
            "/%",
            "/%4",
            "/%zz",
            "/a#b",
            "ftp://x/a",
            "//../a",
        ] {
            assert_eq!(parse(target), Err(Status::BAD_REQUEST), "{target}");
        }
        for target in ["/.git/config", "/a/.htpasswd", "/...", "/%2egit"] {
            assert_eq!(parse(target), Err(Status::NOT_FOUND), "{target}");
        }
    }

    #[test]
    fn folders_are_written_so_that_they_stay_on_this_host() {
        let folder = |target| Target::parse(target).unwrap().as_folder();
        assert_eq!(folder("//evil.example/a"), "/evil.example/a/");
        assert_eq!(folder("/a%0d%0aX:%20b/c"), "/a%0D%0AX%3A%20b/c/");
        // A name is bytes, and need not be UTF-8.
        assert_eq!(folder("/%ff/%c3%a4"), "/%FF/%C3%A4/");
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("evhttpd-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("root/sub/deep")).unwrap();
            fs::write(path.join("secret"), "secret").unwrap();
            let root = path.join("root");
            fs::write(root.join("a.txt"), "12345").unwrap();
            fs::write(root.join("sub/index.html"), "<p>").unwrap();
            let odd = root.join(OsStr::from_bytes(b"\xff"));
            fs::create_dir(&odd).unwrap();
            fs::write(odd.join("index.html"), "<p>").unwrap();
            symlink("../secret", root.join("out")).unwrap();
            symlink(path.join("secret"), root.join("absolute")).unwrap();
            symlink("..", root.join("up")).unwrap();
            symlink("/proc/self/root", root.join("magic")).unwrap();
            symlink("sub/../a.txt", root.join("in")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            Folder(path)
        }

        fn root(&self, has_openat2: bool) -> Root {
            let mut root = Root::open(&self.0.join("root")).unwrap();
            root.has_openat2 &= has_openat2;
            root
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn find(root: &Root, target: &str) -> Result<(u64, &'static str), Status> {
        match root.find(&Target::parse(target)?)? {
            Found::File(file) => Ok((file.length, file.media_type)),
            Found::Folder(path) => panic!("{target}: folder {path}"),
        }
    }

    #[test]
    fn files_and_folders() {
        let folder = Folder::new("files");
        for has_openat2 in [true, false] {
            let root = folder.root(has_openat2);
            assert_eq!(find(&root, "/a.txt"), Ok((5, "text/plain; charset=utf-8")));
            assert_eq!(find(&root, "/sub/"), Ok((3, "text/html; charset=utf-8")));
            for missing in ["/b", "/a.txt/", "/a.txt/b", "/sub/deep/", "/"] {
                assert_eq!(find(&root, missing), Err(Status::NOT_FOUND), "{missing}");
            }
            let long = format!("/{}", "x".repeat(300));
            assert_eq!(find(&root, &long), Err(Status::NOT_FOUND));
            // Whoever is told a folder's path finds it there, whatever its name is.
            for (name, written) in [("/sub", "/sub/"), ("/%ff", "/%FF/")] {
                let target = Target::parse(name).unwrap();
                let found = root.find(&target).unwrap();
                assert!(matches!(found, Found::Folder(path) if path == written));
                assert_eq!(find(&root, written).map(|found| found.0), Ok(3));
            }
        }
    }

    #[test]
    fn links_do_not_lead_out() {
        let folder = Folder::new("links");
        for has_openat2 in [true, false] {
            let root = folder.root(has_openat2);
            for out in [
                "/out",
                "/absolute",
                "/up/secret",
                "/up/root/a.txt",
                "/magic/etc/passwd",
                "/loop",
            ] {
                assert_eq!(find(&root, out), Err(Status::NOT_FOUND), "{out}");
            }
            let within = find(&root, "/in").is_ok();
            assert_eq!(within, root.has_openat2);
        }
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let folder = Folder::new("fifo");
        let path = folder.0.join("root/fifo");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
        for has_openat2 in [true, false] {
            let root = folder.root(has_openat2);
            assert_eq!(find(&root, "/fifo"), Err(Status::NOT_FOUND));
        }
    }
}
