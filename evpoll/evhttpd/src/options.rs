// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::backend::Kind;
use crate::server::{Limits, Times};

/// How many connections there are, unless it is said.
const CONNECTIONS: u64 = 4096;

/// Serves the files of a folder over HTTP/1.1, until SIGTERM or SIGINT: the first one lets it finish
/// what it is answering, the second one ends it at once.
#[derive(Clone, Debug, Parser)]
#[command(name = "evhttpd", version)]
pub struct Options {
    /// The folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    pub root: PathBuf,

    /// Address and port to listen at; port 0 is any that is free
    #[arg(
        short,
        long,
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,

    /// Where events come from
    #[arg(short, long, default_value_t = Kind::Evpoll)]
    pub backend: Kind,

    /// Threads, each of which serves connections of its own
    #[arg(short, long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,

    /// Connections at a time, shared out among the threads; others wait. Without it, 4096, or what
    /// the limit of descriptors has room for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub max_connections: Option<u32>,

    /// Connections that wait to be accepted
    #[arg(long, default_value_t = 4096, value_name = "N",
          value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,

    /// Bytes of a request before its body (431, or 414, beyond)
    #[arg(long, default_value_t = 16 * 1024, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(64..=16 * 1024 * 1024))]
    pub max_header: u32,

    /// Bytes of a request's body, which is thrown away (413 beyond)
    #[arg(long, default_value_t = 64 * 1024, value_name = "BYTES")]
    pub max_body: u64,

    /// Requests on one connection
    #[arg(long, default_value_t = 10_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: u64,

    /// Time for a request to arrive, and again for its body (408 afterwards)
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: Duration,

    /// Time for which a connection may be idle between two requests
    #[arg(long, default_value = "15", value_name = "SECONDS", value_parser = seconds)]
    pub keep_alive_timeout: Duration,

    /// Time for which a client may read nothing of a response
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub write_timeout: Duration,

    /// Time for a client to close its connection after the last response
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    pub linger_timeout: Duration,

    /// Time to finish what is being answered when a signal ends the server
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub shutdown_timeout: Duration,
}

impl Options {
    /// The limits of one of the threads, if there is room for so many connections.
    pub fn limits(&self, room: u64) -> Limits {
        let connections = self
            .max_connections
            .map_or(room.min(CONNECTIONS), u64::from)
            .min(room);
        let connections = connections.div_ceil(u64::from(self.threads)).max(1);
        Limits {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            header: self.max_header as usize,
            body: self.max_body,
            requests: self.max_requests,
        }
    }

    /// The times.
    pub fn times(&self) -> Times {
        Times {
            request: self.request_timeout,
            keep_alive: self.keep_alive_timeout,
            write: self.write_timeout,
            linger: self.linger_timeout,
            shutdown: self.shutdown_timeout,
        }
    }
}

/// A time that is not beyond all measure.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a number of seconds from 0 to 1000000");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    match (0.0..=1e6).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
        let options = Options::parse_from(["evhttpd"]);
        assert_eq!(options.backend, Kind::Evpoll);
        assert_eq!(options.limits(1_000_000).connections, 4096);
        assert_eq!(options.limits(500).connections, 500);
    }

    #[test]
    fn times_are_in_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "x", "-1", "NaN", "inf", "1e7", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn threads_share_the_connections() {
        let parse = |args: &[&str]| Options::try_parse_from([&["evhttpd"], args].concat());
        let options = parse(&["--threads", "3", "--max-connections", "100"]).unwrap();
        assert_eq!(options.limits(1000).connections, 34);
        assert_eq!(options.limits(30).connections, 10);
        assert_eq!(options.limits(0).connections, 1);
        assert!(parse(&["--threads", "0"]).is_err());
        assert!(parse(&["--backend", "kqueue"]).is_err());
    }
}
