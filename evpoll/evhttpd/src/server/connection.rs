// SPDX-License-Identifier: MIT OR Apache-2.0

//! One connection: requests are answered one after the other, in the order in which they come.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{ready, Context, Poll};
use std::time::Instant;

use super::input::Input;
use super::seat::Seat;
use super::Server;
use crate::files::{File, Found, Target};
use crate::http::{
    self, resolve_range, Body, Chunked, Content, Expectation, Method, Progress, Ranged, Request,
    Response, Status,
};
use crate::net::Stream;

/// How many requests are answered before others get their turn.
const ANSWERED_AT_ONCE: u64 = 16;
/// How much of a file is sent by one call, after which others get their turn.
const SENT_AT_ONCE: u64 = 1024 * 1024;
/// How much is read from who goes on to send after the last response.
const LINGERED: usize = 1024 * 1024;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Nothing is on its way to the client.
    Close,
    /// A response is: closed at once, with something unread, it would be lost.
    Linger,
    /// The client does not read what is on its way.
    Reset,
}

/// Why there is no request.
enum Failure {
    /// It is one that cannot be answered otherwise, and nothing can be made of what follows.
    Refused(Status),
    /// There is none, or nobody who sends it.
    Gone,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Refused(status)
    }
}

struct Connection {
    server: Rc<Server>,
    stream: Stream,
    input: Input,
    /// The client sends nothing more.
    ended: bool,
}

/// Serves a connection until its end.
pub async fn serve(stream: Stream, seat: Seat) {
    // It is dropped, and the socket closed, before the seat is free.
    let mut connection = Connection {
        server: seat.server().clone(),
        stream,
        input: Input::default(),
        ended: false,
    };
    match connection.answer_all().await {
        End::Close => {}
        End::Linger => connection.linger().await,
        End::Reset => connection.stream.reset_on_close(),
    }
}

impl Connection {
    async fn answer_all(&mut self) -> End {
        let mut answered = 0;
        loop {
            let request = match self.next_request(answered == 0).await {
                Ok(request) => request,
                Err(Failure::Refused(status)) => return self.refuse(None, status).await,
                Err(Failure::Gone) => return End::Close,
            };
            answered += 1;
            let most = self.server.config.limits.requests;
            let last = !request.keep_alive || answered >= most;
            if let Some(end) = self.answer(&request, last).await {
                return end;
            }
            if answered % ANSWERED_AT_ONCE == 0 {
                self.server.handle.yield_now().await;
            }
        }
    }

    /// Answers a request. Tells how to end, if nothing can follow.
    async fn answer(&mut self, request: &Request, last: bool) -> Option<End> {
        if let Err(failure) = self.skip_body(request).await {
            return Some(match failure {
                Failure::Refused(status) => self.refuse(Some(request), status).await,
                Failure::Gone => End::Close,
            });
        }
        // By now it may be the last one.
        let last = last || self.server.stopping();
        let (response, file) = self.respond(request);
        let file = file.filter(|_| request.method == Method::Get);
        let head = response.bytes(Some(request), last, &self.server.dates);
        let sent = match file {
            None => self.send(&head, false).await,
            Some((file, part)) => match self.send(&head, !part.is_empty()).await {
                Ok(()) => self.send_file(file, part).await,
                error => error,
            },
        };
        match (sent, last) {
            (Err(end), _) => Some(end),
            (Ok(()), true) => Some(End::Linger),
            (Ok(()), false) => None,
        }
    }

    /// What to say, and which part of which file.
    fn respond(&self, request: &Request) -> (Response, Option<(OwnedFd, Range<u64>)>) {
        match request.method {
            Method::Get | Method::Head => {}
            other => return (Response::from(refusal(other)).allowing(other), None),
        }
        let found =
            Target::parse(&request.target).and_then(|target| self.server.config.root.find(&target));
        match found {
            Ok(Found::File(file)) => respond_with(request, file),
            Ok(Found::Folder(path)) => {
                let response = Response::from(Status::MOVED_PERMANENTLY).with("Location", path);
                (response, None)
            }
            Err(status) => (status.into(), None),
        }
    }

    /// Says that nothing can be made of what the client sends.
    async fn refuse(&mut self, request: Option<&Request>, status: Status) -> End {
        let mut response = Response::from(status);
        if let Some(request) = request {
            response = response.allowing(request.method);
        }
        let bytes = response.bytes(request, true, &self.server.dates);
        match self.send(&bytes, false).await {
            Ok(()) => End::Linger,
            Err(end) => end,
        }
    }

    async fn send(&self, mut bytes: &[u8], more: bool) -> Result<(), End> {
        let time = self.server.config.times.write;
        while !bytes.is_empty() {
            let sent = self.stream.send(bytes, more);
            match self.server.handle.within(time, sent).await {
                Some(Ok(count)) => bytes = &bytes[count..],
                Some(Err(_)) => return Err(End::Close),
                None => return Err(End::Reset),
            }
        }
        Ok(())
    }

    async fn send_file(&self, file: OwnedFd, part: Range<u64>) -> Result<(), End> {
        let time = self.server.config.times.write;
        let mut offset = part.start;
        let mut since = 0;
        while offset < part.end {
            let count = (part.end - offset).min(SENT_AT_ONCE);
            let sent = self.stream.send_file(&file, &mut offset, count as usize);
            match self.server.handle.within(time, sent).await {
                // It has become shorter. Only the end of the connection can tell the client.
                Some(Ok(0)) => return Err(End::Linger),
                Some(Ok(count)) => since += count as u64,
                Some(Err(_)) => return Err(End::Close),
                None => return Err(End::Reset),
            }
            if since >= SENT_AT_ONCE {
                since = 0;
                self.server.handle.yield_now().await;
            }
        }
        Ok(())
    }

    /// The next request, without its body.
    async fn next_request(&mut self, first: bool) -> Result<Request, Failure> {
        let server = self.server.clone();
        let times = &server.config.times;
        let mut deadline = server.handle.now() + times.request;
        loop {
            self.input.skip_empty_lines();
            if !self.input.bytes().is_empty() {
                break;
            }
            // The first one is to come as soon as the others are to be complete.
            let patience = match first {
                true => deadline,
                false => server.handle.now() + times.keep_alive,
            };
            match server.handle.until(patience, self.begin()).await {
                Some(Ok(1..)) => {}
                _ => return Err(Failure::Gone),
            }
            if !first {
                deadline = server.handle.now() + times.request;
            }
        }
        let most = server.config.limits.header;
        loop {
            if self.input.worth_a_look() {
                if let Some((request, length)) = http::parse(self.input.bytes())? {
                    if length > most {
                        return Err(self.too_long().into());
                    }
                    self.input.consume(length);
                    return Ok(request);
                }
            }
            let length = self.input.bytes().len();
            if length >= most {
                return Err(self.too_long().into());
            }
            self.more(deadline, most - length).await?;
        }
    }

    /// What is too long about the head.
    fn too_long(&self) -> Status {
        match self.input.bytes().contains(&b'\n') {
            true => Status::HEADER_FIELDS_TOO_LARGE,
            false => Status::URI_TOO_LONG,
        }
    }

    /// Throws away what follows the head, so that the next request can be found.
    async fn skip_body(&mut self, request: &Request) -> Result<(), Failure> {
        let server = self.server.clone();
        let limits = &server.config.limits;
        if request.expectation == Expectation::Unknown {
            return Err(Status::EXPECTATION_FAILED.into());
        }
        if let Body::Length(length) = request.body {
            if length > limits.body {
                return Err(Status::CONTENT_TOO_LARGE.into());
            }
        }
        if request.body != Body::None && request.expectation == Expectation::Continue {
            // The client has not sent it yet, and need not if it is of no use.
            if !matches!(request.method, Method::Get | Method::Head) {
                return Err(refusal(request.method).into());
            }
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.send(go_on, false).await.map_err(|_| Failure::Gone)?;
        }
        let deadline = server.handle.now() + server.config.times.request;
        match request.body {
            Body::None => {}
            Body::Length(mut left) => loop {
                let here = left.min(self.input.bytes().len() as u64);
                self.input.consume(here as usize);
                left -= here;
                if left == 0 {
                    break;
                }
                self.more(deadline, limits.header).await?;
            },
            Body::Chunked => {
                let mut chunked = Chunked::new(limits.body, limits.header);
                loop {
                    match chunked.follow(self.input.bytes())? {
                        Progress::End(used) => {
                            self.input.consume(used);
                            break;
                        }
                        Progress::More(used) => self.input.consume(used),
                    }
                    self.more(deadline, limits.header).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits for more of what has begun.
    async fn more(&mut self, deadline: Instant, most: usize) -> Result<(), Failure> {
        let handle = self.server.handle.clone();
        let received = poll_fn(|cx| self.poll_receive(cx, most));
        match handle.until(deadline, received).await {
            Some(Ok(0)) => Err(Status::BAD_REQUEST.into()),
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(Failure::Gone),
            None => Err(Status::REQUEST_TIMEOUT.into()),
        }
    }

    /// Waits for something to begin; for nothing any more when the server is to end.
    async fn begin(&mut self) -> io::Result<usize> {
        let most = self.server.config.limits.header;
        poll_fn(|cx| match self.poll_receive(cx, most) {
            Poll::Pending if self.server.stopping() => Poll::Ready(Ok(0)),
            other => other,
        })
        .await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut scratch = self.server.scratch.borrow_mut();
        let most = most.min(scratch.len());
        let count = ready!(self.stream.poll_receive(cx, &mut scratch[..most]))?;
        self.ended |= count == 0;
        self.input.append(&scratch[..count]);
        Poll::Ready(Ok(count))
    }

    /// Waits until the client has received the last response, and so closes the connection: closed
    /// here with something unread, it would be reset, and what is on its way thrown away.
    async fn linger(&mut self) {
        if self.stream.shut_down().is_err() || self.ended {
            return;
        }
        let server = self.server.clone();
        let rest = async {
            let mut left = LINGERED;
            while left > 0 && !self.ended {
                self.input = Input::default();
                match poll_fn(|cx| self.poll_receive(cx, usize::MAX)).await {
                    Ok(count) => left = left.saturating_sub(count),
                    Err(_) => return,
                }
            }
        };
        let time = server.config.times.linger;
        server.handle.within(time, rest).await;
    }
}

/// What to say to those who ask for something else than files.
fn refusal(method: Method) -> Status {
    match method {
        Method::NotAllowed => Status::METHOD_NOT_ALLOWED,
        _ => Status::NOT_IMPLEMENTED,
    }
}

impl Response {
    /// Says what is allowed to whom it was not.
    fn allowing(self, method: Method) -> Response {
        match (self.status, method) {
            (Status::METHOD_NOT_ALLOWED, Method::NotAllowed) => self.with("Allow", "GET, HEAD"),
            _ => self,
        }
    }
}

fn respond_with(request: &Request, file: File) -> (Response, Option<(OwnedFd, Range<u64>)>) {
    let unmodified = match (request.if_modified_since, file.modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    };
    let whole = file.length;
    let ranged = match request.range_for(file.modified) {
        Some(range) if request.method == Method::Get => resolve_range(range, whole),
        _ => Ranged::All,
    };
    let (status, part) = match ranged {
        _ if unmodified => {
            let response = Response {
                status: Status::NOT_MODIFIED,
                content: Content::None,
                modified: file.modified,
                field: None,
            };
            return (response, None);
        }
        Ranged::All => (Status::OK, 0..whole),
        Ranged::Part(part) => (Status::PARTIAL_CONTENT, part),
        Ranged::Unsatisfiable => {
            let response = Response::from(Status::RANGE_NOT_SATISFIABLE);
            return (
                response.with("Content-Range", format!("bytes */{whole}")),
                None,
            );
        }
    };
    let response = Response {
        status,
        content: Content::File {
            media_type: file.media_type,
            part: part.clone(),
            whole,
        },
        modified: file.modified,
        field: None,
    };
    (response, Some((file.fd, part)))
}
