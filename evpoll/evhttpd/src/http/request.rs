// SPDX-License-Identifier: MIT OR Apache-2.0

//! The head of a request.
//!
//! What could be understood in two ways is refused, so that nobody can hide one request in another
//! that passes through a proxy.

use std::time::SystemTime;

use super::status::Status;

/// More header fields than this are refused.
const FIELDS: usize = 100;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Send it.
    Get,
    /// Send what would come before it.
    Head,
    /// One that HTTP knows, and that is of no use with files.
    NotAllowed,
    /// One that is unknown.
    Unknown,
}

/// What follows the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What the client expects before it sends the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// Nothing.
    None,
    /// `100 Continue`
    Continue,
    /// Something else, which is not met.
    Unknown,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, and whatever follows it, as it was sent.
    pub target: String,
    /// Whether it is HTTP/1.1; otherwise it is 1.0.
    pub is_1_1: bool,
    /// Whether the client wants to send another one.
    pub keep_alive: bool,
    /// What follows.
    pub body: Body,
    /// What is expected before that.
    pub expectation: Expectation,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether the range is only for a file of another time: the `If-Range` header.
    pub if_range: Option<IfRange>,
    /// Only if it was modified since.
    pub if_modified_since: Option<SystemTime>,
}

/// The `If-Range` header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfRange {
    /// If it was last modified at this time.
    Date(SystemTime),
    /// If it has a tag, which no file has here.
    Tag,
}

impl Request {
    /// Whether the range counts for a file that was last modified at this time.
    pub fn range_for(&self, modified: Option<SystemTime>) -> Option<&str> {
        match self.if_range {
            None => {}
            Some(IfRange::Date(date)) if modified == Some(date) => {}
            Some(_) => return None,
        }
        self.range.as_deref()
    }
}

/// Parses the head at the beginning of the bytes. Nothing, if it is not complete yet; otherwise how
/// long it is, too.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Status> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HEADER_FIELDS_TOO_LARGE),
        Err(httparse::Error::Version) if other_version(bytes) => {
            return Err(Status::VERSION_NOT_SUPPORTED)
        }
        Err(_) => return Err(Status::BAD_REQUEST),
    };
    // The parser takes a line feed for the end of a line; others may not.
    let bare = |at: usize, byte: &u8| *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r');
    if bytes[..length]
        .iter()
        .enumerate()
        .any(|(at, byte)| bare(at, byte))
    {
        return Err(Status::BAD_REQUEST);
    }
    request(&head).map(|request| Some((request, length)))
}

fn request(head: &httparse::Request) -> Result<Request, Status> {
    let is_1_1 = head.version == Some(1);
    let mut seen = Seen::default();
    for field in head.headers.iter() {
        seen.field(field.name, field.value)?;
    }
    if seen.hosts > 1 || (is_1_1 && seen.hosts == 0) {
        return Err(Status::BAD_REQUEST);
    }
    let body = match (seen.length, seen.chunked) {
        (None, None) | (Some(0), None) => Body::None,
        (Some(length), None) => Body::Length(length),
        // Those who know only one of them would see another end.
        (Some(_), Some(_)) => return Err(Status::BAD_REQUEST),
        (None, Some(_)) if !is_1_1 => return Err(Status::BAD_REQUEST),
        (None, Some(true)) => Body::Chunked,
        (None, Some(false)) => return Err(Status::NOT_IMPLEMENTED),
    };
    let keep_alive = !seen.close && (is_1_1 || seen.keep_alive);
    Ok(Request {
        method: method(head.method.unwrap_or_default()),
        target: head.path.unwrap_or_default().to_owned(),
        is_1_1,
        keep_alive,
        body,
        // HTTP/1.0 does not have it.
        expectation: match is_1_1 {
            true => seen.expectation,
            false => Expectation::None,
        },
        range: seen.range,
        if_range: seen.if_range,
        if_modified_since: seen
            .if_modified_since
            // It counts only if this does not.
            .filter(|_| !seen.if_none_match),
    })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "TRACE" | "CONNECT" => Method::NotAllowed,
        _ => Method::Unknown,
    }
}

/// Whether the first line ends with a version that is not ours.
fn other_version(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\r').next();
    let word = line.and_then(|line| line.rsplit(|byte| *byte == b' ').next());
    let version = word.and_then(|word| word.strip_prefix(b"HTTP/"));
    matches!(version, Some([major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// What the fields have said so far.
struct Seen {
    hosts: usize,
    length: Option<u64>,
    /// Whether the body is chunked, and nothing else.
    chunked: Option<bool>,
    close: bool,
    keep_alive: bool,
    expectation: Expectation,
    range: Option<String>,
    if_range: Option<IfRange>,
    if_modified_since: Option<SystemTime>,
    if_none_match: bool,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            hosts: 0,
            length: None,
            chunked: None,
            close: false,
            keep_alive: false,
            expectation: Expectation::None,
            range: None,
            if_range: None,
            if_modified_since: None,
            if_none_match: false,
        }
    }
}

impl Seen {
    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Status> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let text = || std::str::from_utf8(value).map_err(|_| Status::BAD_REQUEST);
        let date = || httpdate::parse_http_date(text().ok()?.trim()).ok();
        if is("host") {
            self.hosts += 1;
            if !text()?.bytes().all(in_host) {
                return Err(Status::BAD_REQUEST);
            }
        } else if is("content-length") {
            if self.length.is_some() {
                return Err(Status::BAD_REQUEST);
            }
            self.length = Some(length(text()?.trim())?);
        } else if is("transfer-encoding") {
            let only = self.chunked.is_none() && text()?.trim().eq_ignore_ascii_case("chunked");
            self.chunked = Some(only);
        } else if is("connection") {
            for word in text()?.split(',').map(str::trim) {
                self.close |= word.eq_ignore_ascii_case("close");
                self.keep_alive |= word.eq_ignore_ascii_case("keep-alive");
            }
        } else if is("expect") {
            self.expectation = match text()?.trim().eq_ignore_ascii_case("100-continue") {
                true => Expectation::Continue,
                false => Expectation::Unknown,
            };
        } else if is("range") {
            self.range = text().ok().map(str::to_owned);
        } else if is("if-range") {
            self.if_range = Some(date().map_or(IfRange::Tag, IfRange::Date));
        } else if is("if-modified-since") {
            self.if_modified_since = date();
        } else if is("if-none-match") {
            self.if_none_match = true;
        }
        Ok(())
    }
}

/// What may be in a `Host` header: a name or an address, and a port.
fn in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

fn length(text: &str) -> Result<u64, Status> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Status::BAD_REQUEST);
    }
    text.parse().map_err(|_| Status::CONTENT_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Ok(Some((request, length))) => {
                assert_eq!(length, text.len());
                request
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    /// With these lines after the first one and a host.
    fn with(lines: &str) -> Result<Request, Status> {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        parse(text.as_bytes()).map(|found| found.expect("a complete head").0)
    }

    fn refused(text: &str) -> Status {
        parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn methods() {
        let method = |name| good(&format!("{name} /a?b HTTP/1.1\r\nHost: x\r\n\r\n")).method;
        assert_eq!(method("GET"), Method::Get);
        assert_eq!(method("HEAD"), Method::Head);
        assert_eq!(method("DELETE"), Method::NotAllowed);
        assert_eq!(method("get"), Method::Unknown);
        assert_eq!(method("BREW"), Method::Unknown);
    }

    #[test]
    fn a_head_in_pieces() {
        let text = b"GET /x HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(parse(&text[..end]), Ok(None)), "{end}");
        }
        let more = [text, &b"GET"[..]].concat();
        let (request, length) = parse(&more).unwrap().unwrap();
        assert_eq!((request.target.as_str(), length), ("/x", text.len()));
        assert_eq!(request.range.as_deref(), Some("bytes=1-2"));
    }

    #[test]
    fn staying_or_going() {
        let stays = |version, lines| {
            good(&format!("GET / HTTP/1.{version}\r\nHost: x\r\n{lines}\r\n")).keep_alive
        };
        assert!(stays(1, "") && !stays(0, ""));
        assert!(!stays(1, "Connection: Close\r\n"));
        assert!(stays(0, "Connection: Keep-Alive\r\n"));
        assert!(!stays(1, "Connection: keep-alive, close\r\n"));
        assert!(!stays(1, "Connection: x\r\nconnection: y ,close\r\n"));
    }

    #[test]
    fn bodies() {
        assert_eq!(with("").unwrap().body, Body::None);
        assert_eq!(with("Content-Length: 0\r\n").unwrap().body, Body::None);
        let length = with("Content-Length: 12\r\n").unwrap().body;
        assert_eq!(length, Body::Length(12));
        let chunked = with("Transfer-Encoding: Chunked\r\n").unwrap().body;
        assert_eq!(chunked, Body::Chunked);
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        for lines in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Content-Length : 1\r\n",
            "X: a\r\n folded\r\n",
            "Host: y\r\n",
            "X: a\nContent-Length: 5\r\n",
        ] {
            assert_eq!(with(lines).unwrap_err(), Status::BAD_REQUEST, "{lines}");
        }
        let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(old), Status::BAD_REQUEST);
        for lines in [
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
        ] {
            assert_eq!(with(lines).unwrap_err(), Status::NOT_IMPLEMENTED, "{lines}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Status::BAD_REQUEST);
        assert!(!good("GET / HTTP/1.0\r\n\r\n").keep_alive);
        for host in ["a b", "a/b", "a@b", "\u{e4}"] {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(refused(&text), Status::BAD_REQUEST, "{host}");
        }
        good("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    }

    #[test]
    fn versions() {
        for version in ["2.0", "1.2", "0.9"] {
            let text = format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n");
            assert_eq!(refused(&text), Status::VERSION_NOT_SUPPORTED, "{version}");
        }
        for line in [
            "GET / HTTP/11",
            "GET / FTP/1.1",
            "GET / ",
            "GET  / HTTP/1.1",
        ] {
            let text = format!("{line}\r\nHost: x\r\n\r\n");
            assert_eq!(refused(&text), Status::BAD_REQUEST, "{line}");
        }
        assert_eq!(refused("\x16\x03\x01\x02\x00\x01\x00"), Status::BAD_REQUEST);
    }

    #[test]
    fn too_many_fields() {
        let lines = "A: b\r\n".repeat(FIELDS);
        assert_eq!(with(&lines).unwrap_err(), Status::HEADER_FIELDS_TOO_LARGE);
    }

    #[test]
    fn lengths_beyond_all_measure() {
        let line = "Content-Length: 99999999999999999999999\r\n";
        assert_eq!(with(line).unwrap_err(), Status::CONTENT_TOO_LARGE);
    }

    #[test]
    fn expectations() {
        let of = |lines| with(lines).unwrap().expectation;
        assert_eq!(of(""), Expectation::None);
        assert_eq!(of("Expect: 100-Continue\r\n"), Expectation::Continue);
        assert_eq!(of("Expect: miracles\r\n"), Expectation::Unknown);
    }

    #[test]
    fn conditions() {
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let date = httpdate::parse_http_date(DATE).unwrap();
        let since = format!("If-Modified-Since: {DATE}\r\n");
        assert_eq!(with(&since).unwrap().if_modified_since, Some(date));
        let both = format!("{since}If-None-Match: \"x\"\r\n");
        assert_eq!(with(&both).unwrap().if_modified_since, None);
        let wrong = with("If-Modified-Since: yesterday\r\n").unwrap();
        assert_eq!(wrong.if_modified_since, None);

        let range = format!("Range: bytes=0-1\r\nIf-Range: {DATE}\r\n");
        let range = with(&range).unwrap();
        assert_eq!(range.range_for(Some(date)), Some("bytes=0-1"));
        assert_eq!(range.range_for(None), None);
        let tag = with("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n").unwrap();
        assert_eq!(tag.range_for(Some(date)), None);
    }
}
