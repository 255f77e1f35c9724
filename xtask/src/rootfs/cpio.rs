// SPDX-License-Identifier: GPL-2.0
//! Archives in the format that the kernel unpacks at boot (cpio "newc"). The same entries always
//! give the same bytes: no owner, no time, inodes numbered in order.

use std::collections::BTreeMap;
use std::path::Path;

enum Node {
    Folder,
    File {
        mode: u32,
        content: Vec<u8>,
    },
    Link(String),
    /// A character device, by major and minor number.
    Device(u32, u32),
}

#[derive(Default)]
pub struct Archive {
    /// By path without a leading slash, which puts folders before what is in them.
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    pub fn folder(&mut self, path: &str) {
        self.parents(path);
        self.nodes.entry(path.into()).or_insert(Node::Folder);
    }

    pub fn file(&mut self, path: &str, executable: bool, content: impl Into<Vec<u8>>) {
        self.parents(path);
        let mode = if executable { 0o755 } else { 0o644 };
        self.nodes.insert(
            path.into(),
            Node::File {
                mode,
                content: content.into(),
            },
        );
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.nodes.insert(path.into(), Node::Link(target.into()));
    }

    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.nodes.insert(path.into(), Node::Device(major, minor));
    }

    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    fn parents(&mut self, path: &str) {
        if let Some(parent) = Path::new(path).parent().and_then(Path::to_str) {
            if !parent.is_empty() {
                self.folder(parent);
            }
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, (path, node)) in self.nodes.iter().enumerate() {
            let (mode, links, device, content) = match node {
                Node::Folder => (0o040_755, 2, (0, 0), &[][..]),
                Node::File { mode, content } => (0o100_000 | mode, 1, (0, 0), &content[..]),
                Node::Link(target) => (0o120_777, 1, (0, 0), target.as_bytes()),
                Node::Device(major, minor) => (0o020_600, 1, (*major, *minor), &[][..]),
            };
            entry(
                &mut out,
                index as u32 + 1,
                path,
                mode,
                links,
                device,
                content,
            );
        }
        entry(&mut out, 0, "TRAILER!!!", 0, 1, (0, 0), &[]);
        out
    }
}

fn entry(
    out: &mut Vec<u8>,
    inode: u32,
    path: &str,
    mode: u32,
    links: u32,
    device: (u32, u32),
    content: &[u8],
) {
    let size = content.len() as u32;
    let name = path.len() as u32 + 1;
    out.extend_from_slice(b"070701");
    for field in [
        inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name, 0,
    ] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.file("bin/tool", true, *b"#!x\n");
        archive.link("bin/sh", "tool");
        archive.device("dev/console", 5, 1);
        archive.folder("a/b/c");
        archive
    }

    /// (path, mode, size) of every entry, read back field by field.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, u32)> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + 8 * n..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name) = (field(1), field(6), field(11) as usize);
            let path = String::from_utf8(bytes[at + 110..][..name - 1].to_vec()).unwrap();
            at = (at + 110 + name).next_multiple_of(4);
            at = (at + size as usize).next_multiple_of(4);
            if path == "TRAILER!!!" {
                assert_eq!(at, bytes.len());
                return found;
            }
            found.push((path, mode, size));
        }
    }

    #[test]
    fn folders_come_before_their_content() {
        let found = entries(&sample().bytes());
        let paths: Vec<&str> = found.iter().map(|entry| entry.0.as_str()).collect();
        let expected = [
            "a",
            "a/b",
            "a/b/c",
            "bin",
            "bin/sh",
            "bin/tool",
            "dev",
            "dev/console",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn modes_and_sizes() {
        let found = entries(&sample().bytes());
        assert!(found.contains(&("bin/tool".into(), 0o100_755, 4)));
        assert!(found.contains(&("bin/sh".into(), 0o120_777, 4)));
        assert!(found.contains(&("dev/console".into(), 0o020_600, 0)));
    }

    #[test]
    fn same_entries_same_bytes() {
        assert_eq!(sample().bytes(), sample().bytes());
    }
}
