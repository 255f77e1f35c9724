// SPDX-License-Identifier: GPL-2.0
//! As much of HTTP as a small page takes.

pub const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\n\
    Host: 127.0.0.1\r\n\
    User-Agent: evpoll-bench\r\n\
    Accept: */*\r\n\
    Connection: keep-alive\r\n\r\n";

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 256\r\n\
    Connection: keep-alive\r\n\r\n";
const PAGE: [u8; 256] = [b'x'; 256];

/// The answer to every request.
pub const ANSWER: &[u8] = &{
    let mut all = [0; HEAD.len() + PAGE.len()];
    let (head, page) = all.split_at_mut(HEAD.len());
    head.copy_from_slice(HEAD);
    page.copy_from_slice(&PAGE);
    all
};

/// The path of a request for a page, if it is one and is complete.
pub fn parse(request: &[u8]) -> Option<&[u8]> {
    let rest = request.strip_prefix(b"GET ")?;
    let end = rest.iter().position(|&b| b == b' ')?;
    let (path, rest) = rest.split_at(end);
    let mut lines = rest.strip_prefix(b" HTTP/1.1\r\n")?;
    // Each header is NAME: VALUE, and the last line is empty.
    loop {
        let end = lines.windows(2).position(|two| two == b"\r\n")?;
        let (line, rest) = (&lines[..end], &lines[end + 2..]);
        if line.is_empty() {
            return rest.is_empty().then_some(path);
        }
        let colon = line.iter().position(|&b| b == b':')?;
        if colon == 0 {
            return None;
        }
        lines = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(parse(REQUEST), Some(&b"/index.html"[..]));
        assert_eq!(parse(&REQUEST[..REQUEST.len() - 1]), None);
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Some(&b"/"[..]));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\nx"), None);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nnonsense\r\n\r\n"), None);
        assert_eq!(parse(b"PUT / HTTP/1.1\r\n\r\n"), None);
        assert!(ANSWER.ends_with(&PAGE) && ANSWER.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}
