// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was received and not understood yet.

const END: &[u8] = b"\r\n\r\n";

/// Bytes in the order in which they came. It has no memory while there are none, as on most
/// connections most of the time.
#[derive(Default)]
pub struct Input {
    data: Vec<u8>,
    /// How many of them are used up.
    used: usize,
    /// How many were searched for the end of a head.
    searched: usize,
    /// How many there were when a head was last looked for.
    looked: usize,
}

impl Input {
    /// Those that are left.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.used..]
    }

    /// Puts more behind them.
    pub fn append(&mut self, bytes: &[u8]) {
        self.data.drain(..self.used);
        self.used = 0;
        self.data.extend_from_slice(bytes);
    }

    /// Uses up so many.
    pub fn consume(&mut self, count: usize) {
        self.used += count;
        self.searched = 0;
        self.looked = 0;
        if self.used == self.data.len() {
            *self = Input::default();
        }
    }

    /// Uses up empty lines, which may come before a request.
    pub fn skip_empty_lines(&mut self) {
        while self.bytes().starts_with(b"\r\n") {
            self.consume(2);
        }
    }

    /// Whether it is worth looking for a head: it is complete, or there is twice as much as the
    /// last time, and what has come may be wrong. So what comes byte by byte is not gone through
    /// again for each of them.
    pub fn worth_a_look(&mut self) -> bool {
        let bytes = &self.data[self.used..];
        let length = bytes.len();
        let from = self.searched.saturating_sub(END.len() - 1);
        let complete = bytes[from..].windows(END.len()).any(|four| four == END);
        self.searched = length;
        if complete || length >= 2 * self.looked {
            self.looked = length;
            return length > 0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_by_byte_it_is_seldom_looked_at() {
        let mut input = Input::default();
        let head = [&[b'x'; 996][..], END].concat();
        let looks = head.iter().filter(|byte| {
            input.append(&[**byte]);
            input.worth_a_look()
        });
        assert_eq!(looks.count(), 11);
        assert!(!input.worth_a_look() || input.bytes().len() == 1000);
        assert_eq!(input.bytes(), head);
    }

    #[test]
    fn the_end_is_seen_at_once() {
        let mut input = Input::default();
        input.append(b"\r\n\r\nGET / HTTP/1.1\r\n\r");
        input.skip_empty_lines();
        assert!(input.worth_a_look());
        assert!(!input.worth_a_look());
        input.append(b"\n");
        assert!(input.worth_a_look());
        input.consume(18);
        assert_eq!((input.bytes().len(), input.data.capacity()), (0, 0));
        assert!(!input.worth_a_look());
    }

    #[test]
    fn several_requests() {
        let mut input = Input::default();
        input.append(b"A\r\n\r\nB\r\n\r\nC");
        assert!(input.worth_a_look());
        input.consume(5);
        assert!(input.worth_a_look());
        input.consume(5);
        assert_eq!(input.bytes(), b"C");
        input.append(b"\r\n\r\n");
        assert!(input.worth_a_look());
        assert_eq!(input.bytes(), b"C\r\n\r\n");
    }
}
