// SPDX-License-Identifier: GPL-2.0
//! `evpoll-bench [--list] [NAME…] [--quick] [--wall-clock]`: the benchmarks, each figure as one line of
//! JSON on standard output; notes for people go to standard error.
//!
//! The clock is CLOCK_MONOTONIC_RAW. Under an emulator that lets one nanosecond pass for each
//! instruction, a figure is a number of instructions, and repeats to the digit. With
//! `--wall-clock` the unit is what it is on any other machine: nanoseconds.

mod calls;
mod interfaces;
mod output;
mod pipetest;
mod syscall;

use output::Output;

type Benchmark = fn(&Output, bool);
const BENCHMARKS: [(&str, Benchmark); 2] = [("pipetest", pipetest::run), ("syscall", syscall::run)];
const USAGE: &str = "usage: evpoll-bench [--list] [pipetest] [syscall] [--quick] [--wall-clock]";

fn main() {
    let mut names = Vec::new();
    let mut quick = false;
    let mut output = Output::instructions();
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--list" => {
                BENCHMARKS.iter().for_each(|(name, _)| println!("{name}"));
                return;
            }
            "--quick" => quick = true,
            "--wall-clock" => output = Output::nanoseconds(),
            a if BENCHMARKS.iter().any(|b| b.0 == a) => names.push(arg),
            a => {
                eprintln!("there is no {a:?}\n{USAGE}");
                std::process::exit(2);
            }
        }
    }
    for (name, run) in BENCHMARKS {
        if names.is_empty() || names.iter().any(|n| n == name) {
            run(&output, quick);
        }
    }
}
