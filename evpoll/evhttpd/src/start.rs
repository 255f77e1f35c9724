// SPDX-License-Identifier: MIT OR Apache-2.0

//! From the command line to threads that serve.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Sender};
use std::sync::Arc;
use std::thread;

use rustix::process::{getrlimit, setrlimit, Resource};

use crate::backend::Kind;
use crate::executor;
use crate::files::Root;
use crate::net;
use crate::options::Options;
use crate::server::{self, Config, Outcome};
use crate::signals;

/// Descriptors besides those of connections: standard ones, the folder, the signals' pipe, and for
/// each thread a queue, a listener and its own end of that pipe.
const OTHERS: u64 = 16;
const OTHERS_OF_A_THREAD: u64 = 4;
/// What a thread watches besides connections: the listener and the signals, and a connection that
/// is accepted before another one is closed.
const WATCHED: usize = 4;

/// What cannot be done, and why.
fn cannot(what: impl Display) -> impl FnOnce(io::Error) -> String {
    move |error| format!("cannot {what}: {error}")
}

/// As [`cannot`], with what to do about it.
fn cannot_but(what: impl Display, advice: &'static str) -> impl FnOnce(io::Error) -> String {
    let cannot = cannot(what);
    move |error| format!("{}; {advice}", cannot(error))
}

/// Runs the server. It prints the address that it listens at, and what was left unfinished; where
/// something can be done about an error, it says what.
pub fn start(options: &Options) -> Result<(), String> {
    let root = Root::open(&options.root).map_err(cannot_but(
        format!("serve {}", options.root.display()),
        "name a folder that this user may enter",
    ))?;
    let room = room_for_connections(options.threads);
    if let Some(wanted) = options
        .max_connections
        .filter(|&most| u64::from(most) > room)
    {
        eprintln!(
            "evhttpd: {room} connections and not {wanted}, since RLIMIT_NOFILE is low: raise it \
             (ulimit -n), or lower --max-connections"
        );
    }
    let config = Arc::new(Config {
        root,
        times: options.times(),
        limits: options.limits(room),
    });
    let signals = signals::install().map_err(cannot("handle signals"))?;

    let mut address = options.listen;
    let (ready, opened) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    for _ in 0..options.threads {
        let thread = Thread::new(options, &mut address, &config, &signals)?;
        let (ready, end) = (ready.clone(), end.clone());
        // Who does not listen any more has ended the process.
        thread::spawn(move || drop(end.send(thread.run(&ready))));
    }
    drop((ready, end));
    // All of them, or none: the others end with the process.
    for result in opened.iter().take(usize::from(options.threads)) {
        result?;
    }
    say(address, options);
    let mut cut_off = 0;
    for _ in 0..options.threads {
        match ended.recv() {
            Ok(Ok(outcome)) => cut_off += outcome.cut_off,
            Ok(Err(error)) => return Err(format!("cannot wait for events: {error}")),
            Err(_) => return Err("a thread has panicked: see above, and report it".to_owned()),
        }
    }
    if cut_off > 0 {
        eprintln!("evhttpd: {cut_off} connections were cut off");
    }
    Ok(())
}

/// A thread that is about to serve.
struct Thread {
    kind: Kind,
    config: Arc<Config>,
    listener: OwnedFd,
    signals: OwnedFd,
}

impl Thread {
    /// The first one finds out which port it is, the others share it.
    fn new(
        options: &Options,
        address: &mut SocketAddr,
        config: &Arc<Config>,
        signals: &OwnedFd,
    ) -> Result<Thread, String> {
        let shared = options.threads > 1;
        let listener = net::listen_at(*address, options.backlog, shared).map_err(cannot_but(
            format!("listen at {address}"),
            "choose an address of this machine and a free port by --listen",
        ))?;
        *address = net::local_address(&listener).map_err(cannot("tell the address"))?;
        Ok(Thread {
            kind: options.backend,
            config: config.clone(),
            listener,
            signals: signals.try_clone().map_err(cannot("handle signals"))?,
        })
    }

    /// Says whether it can serve, and does.
    fn run(self, ready: &Sender<Result<(), String>>) -> io::Result<Outcome> {
        let capacity = self.config.limits.connections + WATCHED;
        let backend = match self.kind.open(capacity.try_into().unwrap_or(u32::MAX)) {
            Ok(backend) => backend,
            Err(error) => {
                // Nobody who does not listen any more is interested.
                let _ = ready.send(Err(error.to_string()));
                return Err(error);
            }
        };
        let _ = ready.send(Ok(()));
        let (config, listener, signals) = (self.config, self.listener, self.signals);
        executor::run(backend, move |handle| {
            server::serve(handle, config, listener, signals)
        })?
    }
}

/// Says where it listens, to whoever wants to know.
fn say(address: SocketAddr, options: &Options) {
    let mut out = io::stdout();
    let root = options.root.display();
    let line = format!(
        "serving {root} at http://{address}/ by {}\n",
        options.backend
    );
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// How many connections the limit of descriptors leaves room for, each with a file; it is raised as
/// far as that goes.
fn room_for_connections(threads: u16) -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Otherwise it stays what it is.
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let others = OTHERS + OTHERS_OF_A_THREAD * u64::from(threads);
    descriptors.saturating_sub(others) / 2
}
