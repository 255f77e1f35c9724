// SPDX-License-Identifier: GPL-2.0
//! `evpoll-fuzz [--seconds N | --programs N] [--seed S] [--replay FILE] [--scale N]`: random
//! programs whose events have to be those that epoll reports.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(selftests::fuzz::main(&args));
}
