// SPDX-License-Identifier: GPL-2.0
//! Programs of the host that tests start in the guest, each with the loader and the libraries that
//! it takes: they are no static ones.

use super::Program;
use crate::error::Fatal;
use crate::files;
use crate::packages;
use crate::progress::read;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xshell::{cmd, Shell};

/// The clients of evhttpd and all that they take, in `host` and `host/lib`.
pub fn programs() -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    let mut libraries = BTreeMap::new();
    for name in packages::CLIENTS {
        let path = files::program(name).ok_or_else(|| {
            Fatal::Setup(format!("no {name} in PATH: install the package {name}"))
        })?;
        libraries.extend(libraries_of(&path)?);
        programs.push(Program::new(format!("host/{name}"), path));
    }
    let library = |(name, path): (String, PathBuf)| Program::new(format!("host/lib/{name}"), path);
    programs.extend(libraries.into_iter().map(library));
    Ok(programs)
}

fn libraries_of(program: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let shell = Shell::new()?;
    let said = read(cmd!(shell, "ldd {program}").env("LC_ALL", "C"))?;
    parse(&said).map_err(|line| {
        let program = program.display();
        Fatal::Setup(format!("{program} takes a library that is missing: {line}")).into()
    })
}

/// What ldd says: the names of libraries, and the files. A line without a file is the error.
fn parse(said: &str) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut libraries = BTreeMap::new();
    for line in said.lines().map(str::trim) {
        let file = line.split(" => ").last().unwrap_or_default();
        let file = file.split(" (0x").next().unwrap_or_default();
        let path = Path::new(file);
        match path.file_name() {
            Some(name) if path.is_absolute() => {
                let name = line
                    .split_whitespace()
                    .next()
                    .map_or(name, |word| Path::new(word).file_name().unwrap_or(name));
                libraries.insert(name.to_string_lossy().into_owned(), path.to_owned());
            }
            // The kernel has it.
            _ if line.starts_with("linux-vdso.so") => {}
            _ => return Err(line.to_owned()),
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_have_the_names_that_they_are_asked_for_by() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd0a5f2000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0000000000)\n\
            \tlibx.so.1 => /opt/libx-1.2.so (0x00007f0000000000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f0000000000)\n";
        let found = parse(said).unwrap();
        let found: Vec<(&str, &Path)> = found.iter().map(|(n, p)| (n.as_str(), &**p)).collect();
        let expected = [
            ("ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
            ("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
            ("libx.so.1", "/opt/libx-1.2.so"),
        ];
        assert_eq!(found, expected.map(|(name, path)| (name, Path::new(path))));
    }

    #[test]
    fn what_is_missing_is_told() {
        let line = "libx.so.1 => not found";
        assert_eq!(parse(&format!("\t{line}\n")), Err(line.to_owned()));
    }
}
