// SPDX-License-Identifier: MIT OR Apache-2.0

//! `evhttpd [OPTIONS] [FOLDER]`: see the library of the same name.

use std::process::ExitCode;

use clap::Parser;
use evhttpd::Options;

fn main() -> ExitCode {
    match evhttpd::start(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evhttpd: {error}");
            ExitCode::FAILURE
        }
    }
}
