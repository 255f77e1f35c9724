// SPDX-License-Identifier: MIT OR Apache-2.0

//! The end of a chunked body, which is all that a server needs that throws it away.

use super::status::Status;

/// A line with the size of a chunk is no longer than this.
const LINE: usize = 1024;

#[derive(Clone, Copy)]
enum State {
    Size,
    /// So many bytes are left of a chunk.
    Data(u64),
    /// What ends a chunk.
    Newline,
    /// The lines after the last chunk: so many bytes so far.
    Trailer(usize),
}

/// Follows a chunked body.
pub struct Chunked {
    state: State,
    total: u64,
    most: u64,
    trailer: usize,
}

/// How far it has come with the bytes it was given, of which so many are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It goes on.
    More(usize),
    /// The body has ended.
    End(usize),
}

impl Chunked {
    /// A body of no more than `most` bytes, and as many in its `trailer`.
    pub fn new(most: u64, trailer: usize) -> Chunked {
        Chunked {
            state: State::Size,
            total: 0,
            most,
            trailer,
        }
    }

    /// Goes on with these bytes. Those that are not used up have to come again, with more.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<Progress, Status> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            self.state = match self.state {
                State::Data(left) => {
                    let here = left.min(rest.len() as u64);
                    used += here as usize;
                    match left - here {
                        0 => State::Newline,
                        left => {
                            self.state = State::Data(left);
                            return Ok(Progress::More(used));
                        }
                    }
                }
                State::Newline => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        State::Size
                    }
                    [] | [b'\r'] => return Ok(Progress::More(used)),
                    _ => return Err(Status::BAD_REQUEST),
                },
                State::Size => {
                    let Some(line) = line(rest, LINE).ok_or(Status::BAD_REQUEST)? else {
                        return Ok(Progress::More(used));
                    };
                    used += line.len() + 2;
                    let size = size(line).ok_or(Status::BAD_REQUEST)?;
                    self.total = self.total.saturating_add(size);
                    if self.total > self.most {
                        return Err(Status::CONTENT_TOO_LARGE);
                    }
                    match size {
                        0 => State::Trailer(0),
                        size => State::Data(size),
                    }
                }
                State::Trailer(before) => {
                    let room = self.trailer.saturating_sub(before);
                    let line = line(rest, room).ok_or(Status::HEADER_FIELDS_TOO_LARGE)?;
                    let Some(line) = line else {
                        return Ok(Progress::More(used));
                    };
                    used += line.len() + 2;
                    if line.is_empty() {
                        return Ok(Progress::End(used));
                    }
                    State::Trailer(before + line.len() + 2)
                }
            }
        }
    }
}

/// The first line without what ends it, if it is complete; nothing if it is too long.
fn line(bytes: &[u8], most: usize) -> Option<Option<&[u8]>> {
    match bytes.windows(2).position(|two| two == b"\r\n") {
        Some(length) if length <= most => Some(Some(&bytes[..length])),
        None if bytes.len() <= most + 1 => Some(None),
        _ => None,
    }
}

/// The size of a chunk. What follows a semicolon says nothing about it.
fn size(line: &[u8]) -> Option<u64> {
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return None;
    }
    let digits = line.split(|byte| *byte == b';').next()?;
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it comes, so many bytes at a time: how many are left over behind its end.
    fn follow(body: &[u8], step: usize) -> Result<Option<usize>, Status> {
        let mut chunked = Chunked::new(100, 64);
        let (mut held, mut came) = (Vec::new(), 0);
        while came < body.len() {
            let end = (came + step).min(body.len());
            held.extend_from_slice(&body[came..end]);
            came = end;
            match chunked.follow(&held)? {
                Progress::More(used) => drop(held.drain(..used)),
                Progress::End(used) => return Ok(Some(held.len() - used + body.len() - came)),
            }
        }
        Ok(None)
    }

    #[test]
    fn bodies_end_where_they_end_in_whatever_pieces_they_come() {
        let body = b"3\r\nabc\r\nA;name=\"x\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for step in 1..=body.len() {
            assert_eq!(follow(body, step), Ok(Some(5)), "{step}");
        }
        assert_eq!(follow(b"0\r\n\r\n", 1), Ok(Some(0)));
        assert_eq!(follow(b"3\r\nabc", 1), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1\na\r\n",
            b"3\r\nabcd\r\n",
            b"11111111111111111\r\n",
        ] {
            for step in [1, 100] {
                assert_eq!(follow(body, step), Err(Status::BAD_REQUEST), "{body:?}");
            }
        }
        let long = [b"1;".as_slice(), &[b'x'; 2 * LINE]].concat();
        assert_eq!(follow(&long, 1), Err(Status::BAD_REQUEST));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert_eq!(follow(b"65\r\n", 1), Err(Status::CONTENT_TOO_LARGE));
        let sum = b"3c\r\n012345678901234567890123456789012345678901234567890123456789\r\n29\r\n";
        assert_eq!(follow(sum, 7), Err(Status::CONTENT_TOO_LARGE));
        assert_eq!(
            follow(b"ffffffffffffffff\r\n", 1),
            Err(Status::CONTENT_TOO_LARGE)
        );
        let trailer = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(20)].concat();
        assert_eq!(follow(&trailer, 1), Err(Status::HEADER_FIELDS_TOO_LARGE));
    }
}
