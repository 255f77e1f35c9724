// SPDX-License-Identifier: MIT OR Apache-2.0

//! The server: accepts connections, as many as there may be, and ends in good order.

mod connection;
mod input;
mod seat;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::executor::Handle;
use crate::files::Root;
use crate::http::Dates;
use crate::net::{Listener, Stream};
use crate::signals::Signals;
use seat::Seat;

/// What is received at once.
const SCRATCH: usize = 16 * 1024;
/// How many connections are accepted before others get their turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// How long nothing is accepted after it has failed: until then, something may have been closed.
const PAUSE: Duration = Duration::from_millis(100);

/// How much of everything there may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of the head of a request.
    pub header: usize,
    /// Bytes of the body of a request, which is thrown away.
    pub body: u64,
    /// Requests on a connection.
    pub requests: u64,
}

/// How long everything may take.
#[derive(Clone, Debug)]
pub struct Times {
    /// The head of a request, and its body, each from its first byte on.
    pub request: Duration,
    /// Nothing, between two requests.
    pub keep_alive: Duration,
    /// Nothing, while there is something to be sent.
    pub write: Duration,
    /// The client, to close a connection after the last response.
    pub linger: Duration,
    /// What is being answered when the server is to end.
    pub shutdown: Duration,
}

/// What the server is told.
#[derive(Debug)]
pub struct Config {
    /// What is served.
    pub root: Root,
    /// How much of everything.
    pub limits: Limits,
    /// How long.
    pub times: Times,
}

/// How it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Connections that were in the middle of something.
    pub cut_off: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Serving,
    /// What is being answered is answered.
    Ending,
    /// Now.
    Ended,
}

/// What the tasks of a server share.
struct Server {
    handle: Handle,
    config: Arc<Config>,
    dates: Dates,
    /// Where bytes are received, before it is known whose memory they are for.
    scratch: RefCell<Box<[u8]>>,
    stage: Cell<Stage>,
    /// How many connections there are.
    open: Cell<usize>,
    /// Who waits for that to change.
    waiting: RefCell<Option<Waker>>,
}

impl Server {
    fn stopping(&self) -> bool {
        self.stage.get() != Stage::Serving
    }

    /// Goes on to this stage, which is a matter for all tasks.
    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.handle.wake_all();
    }

    fn full(&self) -> bool {
        self.open.get() >= self.config.limits.connections
    }

    /// The next connection, when there is one and room for it; none when the server is to end.
    async fn next(&self, listener: &Listener) -> Option<io::Result<OwnedFd>> {
        poll_fn(|cx| {
            if self.stopping() {
                return Poll::Ready(None);
            }
            if self.full() {
                // There is no edge for those who connect meanwhile and are not accepted: with
                // room again, it is tried first.
                *self.waiting.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            listener.poll_accept(cx).map(Some)
        })
        .await
    }

    /// Nothing is left to be done, or it is to end at once.
    async fn over(&self) {
        poll_fn(|cx| {
            if self.open.get() == 0 || self.stage.get() == Stage::Ended {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// It is to end.
    async fn stopped(&self) {
        // All tasks are woken when it is.
        poll_fn(|_| match self.stopping() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await
    }
}

/// Serves what connects to the listener until a signal comes, and a second one or the end of what
/// was being answered. `signals` is a duplicate of what [`crate::signals::install`] has returned.
pub async fn serve(
    handle: Handle,
    config: Arc<Config>,
    listener: OwnedFd,
    signals: OwnedFd,
) -> io::Result<Outcome> {
    let server = Rc::new(Server {
        handle: handle.clone(),
        config,
        dates: Dates::default(),
        scratch: RefCell::new(vec![0; SCRATCH].into()),
        stage: Cell::new(Stage::Serving),
        open: Cell::new(0),
        waiting: RefCell::default(),
    });
    let listener = Listener::new(listener, &handle)?;
    let signals = Signals::new(signals, &handle)?;
    handle.spawn(follow(server.clone(), signals));

    accept(&server, &listener).await;
    // Who has connected before, and knows nothing of the end.
    while !server.full() {
        match listener.accept_now() {
            Ok(socket) => drop(start(&server, socket)),
            Err(_) => break,
        }
    }
    drop(listener);
    handle
        .within(server.config.times.shutdown, server.over())
        .await;
    Ok(Outcome {
        cut_off: server.open.get(),
    })
}

/// The first signal ends it in good order, the second one at once.
async fn follow(server: Rc<Server>, mut signals: Signals) {
    for stage in [Stage::Ending, Stage::Ended] {
        signals.next().await;
        server.enter(stage);
    }
}

async fn accept(server: &Rc<Server>, listener: &Listener) {
    let mut accepted = 0;
    let mut told = false;
    while let Some(next) = server.next(listener).await {
        match next.and_then(|socket| start(server, socket)) {
            Ok(()) => {
                told = false;
                accepted += 1;
                if accepted % ACCEPTED_AT_ONCE == 0 {
                    server.handle.yield_now().await;
                }
            }
            Err(error) if of_the_client(&error) => {}
            Err(error) => {
                // Out of descriptors, or of memory. Who waits stays in line, but there will be no
                // edge for him.
                if !told {
                    eprintln!("evhttpd: cannot accept a connection: {error}");
                    told = true;
                }
                server.handle.within(PAUSE, server.stopped()).await;
            }
        }
    }
}

fn start(server: &Rc<Server>, socket: OwnedFd) -> io::Result<()> {
    let stream = Stream::new(socket, &server.handle)?;
    let seat = Seat::take(server);
    server.handle.spawn(connection::serve(stream, seat));
    Ok(())
}

/// Whether it is the fault of the one connection, which was gone before it was accepted: see
/// accept(2).
fn of_the_client(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}
