// SPDX-License-Identifier: GPL-2.0
//! `evpoll-selftests [--list] [--scale N] [--with ABI]... [FILTER]`: every test of evpoll that
//! runs on the kernel itself, as KTAP on standard output.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(words) = selftests::words_of_a_child(&args) {
        std::process::exit(selftests::child(words));
    }
    std::process::exit(selftests::runner::main(&args, &selftests::all_tests()));
}
