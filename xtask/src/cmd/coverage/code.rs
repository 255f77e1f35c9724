// SPDX-License-Identifier: GPL-2.0
//! The code of the files in question, as the kernel's debugging information tells it.

use super::trace::Reached;
use addr2line::gimli::{self, EndianSlice, RunTimeEndian};
use addr2line::Context as Lines;
use anyhow::{bail, Context};
use object::{Object, ObjectSection};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is looked at: a file, or all that a folder has.
const FILES: [&str; 2] = ["fs/fcblist.c", "fs/evpoll/"];

/// Addresses, from and to.
pub type Range = (u64, u64);

/// A line that there is code for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub reached: bool,
    /// The functions that it is part of: more than one if it is part of a generic one.
    pub functions: BTreeSet<String>,
}

/// Lines by file and number.
pub type ByLine = BTreeMap<(String, u32), Line>;

/// A kernel, and where in it the code is.
pub struct Code {
    sections: gimli::DwarfSections<Vec<u8>>,
    endian: RunTimeEndian,
    pub ranges: Vec<Range>,
}

impl Code {
    pub fn of(kernel: &Path) -> anyhow::Result<Code> {
        let data = std::fs::read(kernel).with_context(|| kernel.display().to_string())?;
        let file = object::File::parse(&*data).context("reading the kernel")?;
        let endian = if file.is_little_endian() {
            RunTimeEndian::Little
        } else {
            RunTimeEndian::Big
        };
        let sections = gimli::DwarfSections::load(|id| -> anyhow::Result<Vec<u8>> {
            let data = match file.section_by_name(id.name()) {
                Some(section) => section.uncompressed_data()?,
                None => Cow::Borrowed(&[][..]),
            };
            Ok(data.into_owned())
        })?;
        let mut code = Code {
            sections,
            endian,
            ranges: Vec::new(),
        };
        code.ranges = code.find()?;
        if code.ranges.is_empty() {
            bail!("the kernel says nothing of where {FILES:?} are: has it debugging information?");
        }
        Ok(code)
    }

    fn dwarf(&self) -> gimli::Dwarf<EndianSlice<'_, RunTimeEndian>> {
        self.sections
            .borrow(|section| EndianSlice::new(section, self.endian))
    }

    /// Where the compilation units of the files are.
    fn find(&self) -> anyhow::Result<Vec<Range>> {
        let dwarf = self.dwarf();
        let mut ranges = Vec::new();
        let mut units = dwarf.units();
        while let Some(header) = units.next()? {
            let unit = dwarf.unit(header)?;
            let name = unit.name.map(|name| name.to_string_lossy().into_owned());
            if name.as_deref().and_then(ours).is_none() {
                continue;
            }
            let mut of = dwarf.unit_ranges(&unit)?;
            while let Some(range) = of.next()? {
                if range.begin < range.end {
                    ranges.push((range.begin, range.end));
                }
            }
        }
        ranges.sort_unstable();
        Ok(ranges)
    }

    pub fn size(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// The lines of the files that there is code for, and whether they were reached.
    pub fn lines(&self, reached: &Reached) -> anyhow::Result<ByLine> {
        let lines = Lines::from_dwarf(self.dwarf())?;
        let mut found = ByLine::new();
        for &(start, end) in &self.ranges {
            for (address, length, _) in lines.find_location_range(start, end)? {
                let run = reached.any_of(address, address + length);
                let mut frames = lines.find_frames(address).skip_all_loads()?;
                while let Some(frame) = frames.next()? {
                    let place = frame.location.as_ref();
                    let file = place.and_then(|place| ours(place.file?));
                    let (Some(file), Some(number)) = (file, place.and_then(|place| place.line))
                    else {
                        continue;
                    };
                    // What a compiler makes up has no line.
                    if number == 0 {
                        continue;
                    }
                    let line = found.entry((file.to_owned(), number)).or_default();
                    line.reached |= run;
                    if let Some(name) = frame.function {
                        line.functions.insert(readable(&name.raw_name()?));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The name of a file or a unit within the kernel's tree, if it is one of those in question.
fn ours(path: &str) -> Option<&str> {
    // rustc adds the name of the unit to that of the crate's file.
    let path = path.split("/@/").next().unwrap_or(path);
    FILES.iter().find_map(|wanted| {
        let at = path.rfind(wanted)?;
        let whole = at == 0 || path[..at].ends_with('/');
        let name = &path[at..];
        (whole && (wanted.ends_with('/') || name == *wanted)).then_some(name)
    })
}

fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_place_in_the_tree() {
        for (path, name) in [
            ("/x/linux-7.3/fs/fcblist.c", Some("fs/fcblist.c")),
            ("fs/evpoll/map.rs", Some("fs/evpoll/map.rs")),
            (
                "/x/fs/evpoll/evpoll_main.rs/@/evpoll_main.1-cgu.0",
                Some("fs/evpoll/evpoll_main.rs"),
            ),
            ("/x/rust/kernel/fs/fcblist.rs", None),
            ("/x/include/linux/fcblist.h", None),
            ("/x/xfs/fcblist.c", None),
        ] {
            assert_eq!(ours(path), name, "{path}");
        }
    }

    /// The debugging information of this very program says where this line is.
    #[test]
    fn a_program_without_such_files_is_an_error() {
        let program = std::env::current_exe().unwrap();
        let error = Code::of(&program).err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("debugging information")));
    }
}
