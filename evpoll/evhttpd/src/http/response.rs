// SPDX-License-Identifier: MIT OR Apache-2.0

//! The head of a response, and short bodies.

use std::io::Write;
use std::ops::Range;
use std::time::SystemTime;

use super::date::Dates;
use super::request::{Method, Request};
use super::status::Status;

/// What follows the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Nothing, and nothing is said about it.
    None,
    /// The status, as a line of text.
    Status,
    /// This part of a file of a type and a length, which the head does not include.
    File {
        /// Its media type.
        media_type: &'static str,
        /// Which part of it.
        part: Range<u64>,
        /// How long all of it is.
        whole: u64,
    },
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// What follows.
    pub content: Content,
    /// When the file was last modified.
    pub modified: Option<SystemTime>,
    /// Further fields: a name and a value.
    pub field: Option<(&'static str, String)>,
}

impl From<Status> for Response {
    fn from(status: Status) -> Response {
        Response {
            status,
            content: Content::Status,
            modified: None,
            field: None,
        }
    }
}

impl Response {
    /// The same with this field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.field = Some((name, value.into()));
        self
    }

    /// Its bytes, without what is in a file. `request` is what it answers, if that was understood;
    /// `last` says that nothing follows on this connection.
    pub fn bytes(&self, request: Option<&Request>, last: bool, dates: &Dates) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        out.extend_from_slice(b"HTTP/1.1 ");
        put(&mut out, format_args!("{}", self.status));
        out.extend_from_slice(b"\r\nServer: evhttpd\r\nDate: ");
        dates.write(&mut out);
        match request {
            _ if last => out.extend_from_slice(b"\r\nConnection: close"),
            // What HTTP/1.1 does anyway.
            Some(request) if !request.is_1_1 => {
                out.extend_from_slice(b"\r\nConnection: keep-alive");
            }
            _ => {}
        }
        if let Some((name, value)) = &self.field {
            put(&mut out, format_args!("\r\n{name}: {value}"));
        }
        if let Some(modified) = self.modified {
            let date = httpdate::HttpDate::from(modified);
            put(&mut out, format_args!("\r\nLast-Modified: {date}"));
        }
        let has_body = request.is_none_or(|request| request.method != Method::Head);
        match &self.content {
            Content::None => out.extend_from_slice(b"\r\n\r\n"),
            Content::Status => {
                let text = format!("{}\n", self.status);
                let length = text.len();
                put(
                    &mut out,
                    format_args!(
                        "\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
                    ),
                );
                if has_body {
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Content::File {
                media_type,
                part,
                whole,
            } => {
                let length = part.end - part.start;
                put(
                    &mut out,
                    format_args!(
                        "\r\nContent-Type: {media_type}\r\nAccept-Ranges: bytes\
                         \r\nContent-Length: {length}"
                    ),
                );
                if self.status == Status::PARTIAL_CONTENT {
                    let (first, last) = (part.start, part.end - 1);
                    put(
                        &mut out,
                        format_args!("\r\nContent-Range: bytes {first}-{last}/{whole}"),
                    );
                }
                out.extend_from_slice(b"\r\n\r\n");
            }
        }
        out
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes everything.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse;

    fn request(line: &str) -> Request {
        let text = format!("{line}\r\nHost: x\r\n\r\n");
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    fn text(response: &Response, line: &str, last: bool) -> String {
        let bytes = response.bytes(Some(&request(line)), last, &Dates::default());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn errors_say_what_they_are() {
        let not_found = Response::from(Status::NOT_FOUND);
        let get = text(&not_found, "GET / HTTP/1.1", false);
        assert!(get.starts_with("HTTP/1.1 404 Not Found\r\n"), "{get}");
        assert!(get.ends_with("\r\nContent-Length: 14\r\n\r\n404 Not Found\n"));
        assert!(!get.contains("Connection:"));
        let head = text(&not_found, "HEAD / HTTP/1.1", false);
        assert!(head.ends_with("\r\nContent-Length: 14\r\n\r\n"), "{head}");
        let bytes = not_found.bytes(None, true, &Dates::default());
        let unknown = String::from_utf8(bytes).unwrap();
        assert!(unknown.contains("\r\nConnection: close\r\n") && unknown.ends_with("Found\n"));
    }

    #[test]
    fn connections() {
        let ok = Response::from(Status::OK);
        let said = |line, last| {
            let text = text(&ok, line, last);
            let at = text.find("\r\nConnection: ");
            at.map(|at| text[at + 14..].split('\r').next().unwrap().to_owned())
        };
        assert_eq!(said("GET / HTTP/1.1", false), None);
        assert_eq!(said("GET / HTTP/1.1", true).as_deref(), Some("close"));
        assert_eq!(said("GET / HTTP/1.0", false).as_deref(), Some("keep-alive"));
        assert_eq!(said("GET / HTTP/1.0", true).as_deref(), Some("close"));
    }

    #[test]
    fn parts_of_files() {
        let file = |status| Response {
            status,
            content: Content::File {
                media_type: "text/css",
                part: 5..10,
                whole: 100,
            },
            modified: Some(SystemTime::UNIX_EPOCH),
            field: None,
        };
        let part = text(&file(Status::PARTIAL_CONTENT), "GET / HTTP/1.1", false);
        for line in [
            "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT",
            "Content-Type: text/css",
            "Content-Length: 5",
            "Content-Range: bytes 5-9/100",
        ] {
            assert!(part.contains(&format!("\r\n{line}\r\n")), "{part}");
        }
        let whole = text(&file(Status::OK), "GET / HTTP/1.1", false);
        assert!(!whole.contains("Content-Range") && whole.ends_with("\r\n\r\n"));
    }
}
