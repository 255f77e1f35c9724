// SPDX-License-Identifier: GPL-2.0
//! `evpoll-bench [NAME…]`: the benchmarks, each figure as one line of JSON on standard output; notes
//! for people go to standard error. The status is 1 if something did not do what it should, such as
//! an event that was lost.
//!
//! The clock is CLOCK_MONOTONIC_RAW. Under an emulator that lets one nanosecond pass for each
//! instruction, a figure is a number of instructions, and repeats within half a percent from boot to
//! boot, most of them within a tenth of that. With `--wall-clock` the unit is what it is on any other
//! machine: nanoseconds.

mod calls;
mod ctl;
mod deadconn;
mod fd_scale;
mod http;
mod idle;
mod interfaces;
mod measure;
mod memory;
mod output;
mod pipes;
mod pipetest;
mod producers;
mod profile;
mod syscall;

use output::Output;

pub struct Options {
    pub output: Output,
    pub quick: bool,
    /// What kernel or state the first figures of `idle` are of.
    pub setting: Option<String>,
}

struct Benchmark {
    name: &'static str,
    /// Run only when asked for, unless there are several processors.
    parallel: bool,
    run: fn(&Options) -> measure::Result<()>,
}

/// In the order in which they are run: `idle` begins with a boot in which no queue was ever open.
const BENCHMARKS: [Benchmark; 8] = [
    Benchmark {
        name: "idle",
        parallel: false,
        run: idle::run,
    },
    Benchmark {
        name: "pipetest",
        parallel: false,
        run: pipetest::run,
    },
    Benchmark {
        name: "deadconn",
        parallel: false,
        run: deadconn::run,
    },
    Benchmark {
        name: "syscall",
        parallel: false,
        run: syscall::run,
    },
    Benchmark {
        name: "ctl",
        parallel: false,
        run: ctl::run,
    },
    Benchmark {
        name: "memory",
        parallel: false,
        run: memory::run,
    },
    Benchmark {
        name: "fd-scale",
        parallel: false,
        run: fd_scale::run,
    },
    Benchmark {
        name: "producers",
        parallel: true,
        run: producers::run,
    },
];

const USAGE: &str =
    "usage: evpoll-bench [--list] [NAME…] [--quick] [--wall-clock] [--setting NAME]";

fn usage(why: &str) -> ! {
    eprintln!("{why}\n{USAGE}\n       evpoll-bench {}", profile::USAGE);
    std::process::exit(2);
}

fn main() {
    let mut names = Vec::new();
    let mut options = Options {
        output: Output::instructions(),
        quick: false,
        setting: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(arg) = arguments.next() {
        match arg.as_str() {
            "--list" => {
                BENCHMARKS.iter().for_each(|b| println!("{}", b.name));
                return;
            }
            "--quick" => options.quick = true,
            "--wall-clock" => options.output = Output::nanoseconds(),
            "--setting" => match arguments.next() {
                Some(setting) => options.setting = Some(setting),
                None => usage("--setting takes a name"),
            },
            "profile" => {
                let of = (arguments.next(), arguments.next());
                let (interface, active) = (of.0.unwrap_or_default(), of.1.unwrap_or_default());
                match profile::run(&interface, &active) {
                    Some(Ok(())) => return,
                    Some(Err(why)) => {
                        eprintln!("profile: {why}");
                        std::process::exit(1);
                    }
                    None => usage("profile takes an interface and the number of active pipes"),
                }
            }
            a if BENCHMARKS.iter().any(|b| b.name == a) => names.push(arg),
            a => usage(&format!("there is no {a:?}")),
        }
    }
    let mut failed = false;
    for benchmark in &BENCHMARKS {
        let name = benchmark.name;
        let wanted = match names.as_slice() {
            [] => !benchmark.parallel || producers::processors() > 1,
            names => names.iter().any(|n| n == name),
        };
        if !wanted {
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
