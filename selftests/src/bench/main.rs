// SPDX-License-Identifier: GPL-2.0
//! `evpoll-bench [NAME…]`: the benchmarks, each figure as one line of JSON on standard output; notes
//! for people go to standard error. The status is 1 if something did not do what it should, such as
//! an event that was lost.
//!
//! The clock is CLOCK_MONOTONIC_RAW. Under an emulator that lets one nanosecond pass for each
//! instruction, a figure is a number of instructions, and repeats to the digit. With
//! `--wall-clock` the unit is what it is on any other machine: nanoseconds.

mod calls;
mod ctl;
mod interfaces;
mod measure;
mod memory;
mod output;
mod pipes;
mod pipetest;
mod syscall;

use output::Output;

pub struct Options {
    pub output: Output,
    pub quick: bool,
}

struct Benchmark {
    name: &'static str,
    run: fn(&Options) -> measure::Result<()>,
}

/// In the order in which they are run.
const BENCHMARKS: [Benchmark; 4] = [
    Benchmark {
        name: "pipetest",
        run: pipetest::run,
    },
    Benchmark {
        name: "syscall",
        run: syscall::run,
    },
    Benchmark {
        name: "ctl",
        run: ctl::run,
    },
    Benchmark {
        name: "memory",
        run: memory::run,
    },
];

const USAGE: &str = "usage: evpoll-bench [--list] [NAME…] [--quick] [--wall-clock]";

fn main() {
    let mut names = Vec::new();
    let mut options = Options {
        output: Output::instructions(),
        quick: false,
    };
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--list" => {
                BENCHMARKS.iter().for_each(|b| println!("{}", b.name));
                return;
            }
            "--quick" => options.quick = true,
            "--wall-clock" => options.output = Output::nanoseconds(),
            a if BENCHMARKS.iter().any(|b| b.name == a) => names.push(arg),
            a => {
                eprintln!("there is no {a:?}\n{USAGE}");
                std::process::exit(2);
            }
        }
    }
    let mut failed = false;
    for benchmark in &BENCHMARKS {
        let name = benchmark.name;
        if !names.is_empty() && !names.iter().any(|n| n == name) {
            continue;
        }
        let begin = calls::now();
        if let Err(why) = (benchmark.run)(&options) {
            eprintln!("{name}: {why}");
            failed = true;
        }
        eprintln!("{name}: {:.1} s", (calls::now() - begin) as f64 / 1e9);
    }
    if failed || !options.output.all_right() {
        std::process::exit(1);
    }
}
