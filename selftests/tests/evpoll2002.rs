// SPDX-License-Identifier: GPL-2.0
//! The header with the names of 2002, compiled without a warning by whatever C and C++ compilers
//! there are, in every mode that a program may use.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Compilers, and the widths that each is to be tried with. Linux's headers for x32 are gcc's.
const COMPILERS: [(&str, &[&str]); 3] = [
    ("gcc", &["-m64", "-m32", "-mx32"]),
    ("clang", &["-m64", "-m32"]),
    ("clang-22", &["-m64", "-m32"]),
];

const LANGUAGES: [[&str; 2]; 9] = [
    ["-xc", "-std=c89"],
    ["-xc", "-std=gnu89"],
    ["-xc", "-std=c99"],
    ["-xc", "-std=c11"],
    ["-xc", "-std=c17"],
    ["-xc", "-std=c2x"],
    ["-xc++", "-std=c++98"],
    ["-xc++", "-std=c++11"],
    ["-xc++", "-std=c++20"],
];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn compile(compiler: &str, options: &[&str], source: &str) -> Option<Output> {
    let mut cmd = Command::new(compiler);
    cmd.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"])
        .args(["-D_GNU_SOURCE", "-I"])
        .arg(here("../evpoll/include"))
        .args(options)
        .arg(here(source));
    // Not installed: no output.
    cmd.output().ok()
}

/// What each compiler and width says of each language.
fn each(mut visit: impl FnMut(&str, Option<Output>)) {
    for (compiler, widths) in COMPILERS {
        for width in widths {
            for language in LANGUAGES {
                let options = [width, language[0], language[1]];
                let name = format!("{compiler} {}", options.join(" "));
                // Without the C library's headers for that width, nothing compiles.
                let works = compile(compiler, &options, "tests/evpoll2002/libc.c")
                    .is_some_and(|out| out.status.success());
                if !works {
                    visit(&name, None);
                    continue;
                }
                visit(&name, compile(compiler, &options, PROGRAM));
                let mut more = options.to_vec();
                more.push("-DKERNEL_HEADER_FIRST");
                let name = format!("{name}, the kernel's header first");
                visit(&name, compile(compiler, &more, PROGRAM));
            }
        }
    }
}

const PROGRAM: &str = "tests/evpoll2002/program.c";

#[test]
fn the_header_compiles_everywhere_without_a_warning() {
    let mut compiled = 0;
    let mut wrong = String::new();
    each(|name, out| match out {
        None => println!("{name}: not on this machine"),
        Some(out) if out.status.success() => compiled += 1,
        Some(out) => wrong += &format!("{name}:\n{}\n", String::from_utf8_lossy(&out.stderr)),
    });
    assert!(wrong.is_empty(), "{wrong}");
    assert!(compiled > 0, "there is no C compiler");
}

#[test]
fn the_program_tells_a_wrong_header() {
    let defined = ["-m64", "-xc", "-std=c11", "-DEP_CTL_ADD=7"];
    let compiler = COMPILERS
        .iter()
        .map(|(name, _)| *name)
        .find(|name| compile(name, &defined[..3], PROGRAM).is_some())
        .expect("there is no C compiler");
    let out = compile(compiler, &defined, PROGRAM).unwrap();
    assert!(!out.status.success());
}
