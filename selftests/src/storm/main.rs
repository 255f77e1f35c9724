// SPDX-License-Identifier: GPL-2.0
//! `evpoll-soak [--seconds N] [--seed S] [--scale N]`: storms, for as long as one likes. Exit
//! status 0 if everything held, 101 with the reason if not.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(selftests::storm::main(&args));
}
