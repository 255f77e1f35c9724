// SPDX-License-Identifier: MIT OR Apache-2.0

//! Dates in headers.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::fmt_http_date;

/// The date of now, which is written anew only once a second.
#[derive(Default)]
pub struct Dates {
    last: RefCell<(u64, String)>,
}

impl Dates {
    /// Appends it.
    pub fn write(&self, to: &mut Vec<u8>) {
        let now = SystemTime::now();
        let second = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let mut last = self.last.borrow_mut();
        if last.0 != second || last.1.is_empty() {
            *last = (second, fmt_http_date(now.max(UNIX_EPOCH)));
        }
        to.extend_from_slice(last.1.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_date_of_now() {
        let dates = Dates::default();
        let mut text = Vec::new();
        dates.write(&mut text);
        let length = text.len();
        dates.write(&mut text);
        let first = std::str::from_utf8(&text[..length]).unwrap();
        let told = httpdate::parse_http_date(first).unwrap();
        let off = SystemTime::now().duration_since(told).unwrap();
        assert!(off < Duration::from_secs(10), "{first}");
        assert!(text[length..].ends_with(b" GMT"));
    }
}
