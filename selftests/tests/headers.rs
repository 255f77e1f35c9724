// SPDX-License-Identifier: GPL-2.0
//! The C headers, compiled without a warning by gcc and by clang, in every mode that a program may
//! use and that there are a compiler and a C library for.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Compilers, the widths that each is to be tried with, and the packages that have it. Linux's
/// headers for x32 are gcc's.
const COMPILERS: [(&str, &[&str], &str); 2] = [
    ("gcc", &["-m64", "-m32", "-mx32"], "gcc and libc6-dev"),
    ("clang", &["-m64", "-m32"], "clang and libc6-dev"),
];

const LANGUAGES: [[&str; 2]; 12] = [
    ["-xc", "-std=c89"],
    ["-xc", "-std=gnu89"],
    ["-xc", "-std=c99"],
    ["-xc", "-std=c11"],
    ["-xc", "-std=c17"],
    ["-xc", "-std=c2x"],
    ["-xc", "-std=gnu2x"],
    ["-xc++", "-std=c++98"],
    ["-xc++", "-std=c++11"],
    ["-xc++", "-std=c++14"],
    ["-xc++", "-std=c++17"],
    ["-xc++", "-std=c++20"],
];

/// What a program may do before it includes a header: nothing, ask for all that the C library has,
/// or include another of the headers.
const MANNERS: [&str; 5] = [
    "-UPLAIN",
    "-D_GNU_SOURCE",
    "-DKERNEL_HEADER_FIRST",
    "-DEVPOLL_HEADER_FIRST",
    "-DNAMES_OF_2002_FIRST",
];

/// Each uses every name of a header.
const PROGRAMS: [&str; 2] = ["tests/headers/names.c", "tests/headers/names2002.c"];

/// Compiles where the C library's headers are installed.
const LIBC: &str = "tests/headers/libc.c";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The commands of a compiler: its name, and its name with the highest version that there is.
fn commands(compiler: &str) -> Vec<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let files = env::split_paths(&path).filter_map(|folder| fs::read_dir(folder).ok());
    let names = files
        .flatten()
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned());
    commands_among(compiler, names)
}

fn commands_among(compiler: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let (mut plain, mut versions) = (None, BTreeSet::new());
    for name in names {
        match name.strip_prefix(compiler) {
            Some("") => plain = Some(name),
            Some(rest) => {
                let version = rest.strip_prefix('-').map(str::parse::<u32>);
                versions.extend(version.and_then(Result::ok));
            }
            None => {}
        }
    }
    let last = versions.last();
    let last = last.map(|version| format!("{compiler}-{version}"));
    plain.into_iter().chain(last).collect()
}

#[test]
fn compilers_are_found_with_and_without_a_version() {
    let found = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        commands_among("clang", names)
    };
    let all = ["clang-9", "clang-22", "clang-19", "clang-cpp-23", "gcc"];
    assert_eq!(found(&all), ["clang-22"]);
    assert_eq!(found(&["clang-22", "clang"]), ["clang", "clang-22"]);
    assert_eq!(found(&["gcc", "clang++", "clang-format"]), [""; 0]);
}

fn compile(compiler: &str, include: &Path, options: &[&str], source: &str) -> Option<Output> {
    let mut cmd = Command::new(compiler);
    cmd.args(["-Wall", "-Wextra", "-pedantic", "-Wshadow", "-Wconversion"])
        .args(["-Wcast-qual", "-Wundef", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .args(options)
        .arg(here(source));
    // Not installed: no output.
    cmd.output().ok()
}

/// What each command of a compiler says, with each width, of each program, in each language and
/// manner. Nothing, where the C library's own headers do not compile.
fn each(compiler: &str, widths: &[&str], mut visit: impl FnMut(&str, Option<Output>)) {
    let include = here("../evpoll/include");
    for command in commands(compiler) {
        for width in widths {
            for [language, standard] in LANGUAGES {
                let mode = [*width, language, standard];
                let works = compile(&command, &include, &mode, LIBC);
                if !works.is_some_and(|out| out.status.success()) {
                    visit(&format!("{command} {}", mode.join(" ")), None);
                    continue;
                }
                for manner in MANNERS {
                    let options = [*width, language, standard, manner];
                    for program in PROGRAMS {
                        let name = format!("{command} {} {program}", options.join(" "));
                        visit(&name, compile(&command, &include, &options, program));
                    }
                }
            }
        }
    }
}

#[test]
fn headers_compile_everywhere_without_a_warning() {
    for (compiler, widths, packages) in COMPILERS {
        let mut compiled = 0;
        let mut wrong = String::new();
        each(compiler, widths, |name, out| match out {
            None => println!("{name}: not on this machine"),
            Some(out) if out.status.success() => compiled += 1,
            Some(out) => wrong += &format!("{name}:\n{}\n", String::from_utf8_lossy(&out.stderr)),
        });
        assert!(wrong.is_empty(), "{wrong}");
        assert!(
            compiled > 0,
            "{compiler} is not there, or has no C library: install {packages}"
        );
    }
}

/// The compiler that the tests of a single mode use.
fn some_compiler(include: &Path) -> String {
    let mut all = COMPILERS
        .iter()
        .flat_map(|(compiler, ..)| commands(compiler));
    all.find(|name| compile(name, include, &["-xc"], LIBC).is_some())
        .expect("there is no C compiler")
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The headers in this folder, with one text in place of another.
fn copy_headers(to: &Path, change: Option<(&str, &str)>) {
    fs::create_dir_all(to.join("linux")).unwrap();
    let mut changed = 0;
    for name in ["evpoll.h", "evpoll2002.h", "linux/evpoll.h"] {
        let mut text = fs::read_to_string(here("../evpoll/include").join(name)).unwrap();
        if let Some((from, to)) = change {
            changed += text.matches(from).count();
            text = text.replace(from, to);
        }
        fs::write(to.join(name), text).unwrap();
    }
    if let Some((from, _)) = change {
        assert_eq!(changed, 1, "{from}");
    }
}

#[test]
fn the_programs_tell_wrong_headers() {
    let faults = [
        ("EP_CTL_MOD\t\t3", "EP_CTL_MOD\t\t2"),
        ("EP_CTL_ADD_AND_TEST\t4", "EP_CTL_ADD_AND_TEST\t5"),
        ("EVPOLL_NR(474)", "EVPOLL_NR(475)"),
        ("int ep_timeout;", "short ep_timeout[8];"),
        ("_IO('P', 3)", "_IO('P', 5)"),
        ("POLLREMOVE\t\t0x1000", "POLLREMOVE\t\t0x800"),
    ];
    let include = here("../evpoll/include");
    let compiler = some_compiler(&include);
    for (from, to) in faults {
        let folder = Folder::new("wrong-headers");
        copy_headers(&folder.0, Some((from, to)));
        for program in PROGRAMS {
            let options = ["-m64", "-xc", "-std=c11"];
            let out = compile(&compiler, &folder.0, &options, program).unwrap();
            assert!(!out.status.success(), "{program} with {to}");
            let out = compile(&compiler, &include, &options, program).unwrap();
            assert!(out.status.success(), "{program}");
        }
    }
}

/// Where pkg-config says that they are, here and installed elsewhere.
#[test]
fn pkg_config_finds_them() {
    let installed = Folder::new("installed");
    copy_headers(&installed.0.join("include"), None);
    let share = installed.0.join("share/pkgconfig");
    fs::create_dir_all(&share).unwrap();
    let here = here("../evpoll/share/pkgconfig");
    fs::copy(here.join("evpoll.pc"), share.join("evpoll.pc")).unwrap();
    for place in [here, share] {
        let asked = Command::new("pkg-config")
            .args(["--cflags", "evpoll"])
            .env("PKG_CONFIG_PATH", &place)
            .output();
        let Ok(asked) = asked else {
            println!("pkg-config: not on this machine");
            return;
        };
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        let include = said.trim().strip_prefix("-I").unwrap_or_default();
        let prefix = place.parent().and_then(Path::parent).unwrap();
        assert_eq!(
            fs::canonicalize(include).unwrap_or_default(),
            fs::canonicalize(prefix.join("include")).unwrap(),
            "{said}{}",
            String::from_utf8_lossy(&asked.stderr)
        );
        let include = Path::new(include);
        let out = compile(&some_compiler(include), include, &["-xc"], PROGRAMS[0]).unwrap();
        assert!(out.status.success(), "{}", place.display());
    }
}
