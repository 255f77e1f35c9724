// SPDX-License-Identifier: GPL-2.0
//! Some patches in a row, as the command line names them: `3`, or `3..7`, which ends with 7.

use crate::error::Fatal;
use std::ops::RangeInclusive;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: usize,
    last: usize,
}

impl Span {
    pub fn all(count: usize) -> Span {
        Span {
            first: 1,
            last: count,
        }
    }

    pub fn numbers(self) -> RangeInclusive<usize> {
        self.first..=self.last
    }

    pub fn count(self) -> usize {
        self.numbers().count()
    }

    /// An error unless the series has these.
    pub fn check(self, count: usize) -> Result<(), Fatal> {
        if self.first >= 1 && self.first <= self.last && self.last <= count {
            return Ok(());
        }
        Err(Fatal::Setup(format!(
            "there is no patch {}..{}: the series has 1..{count}",
            self.first, self.last
        )))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| {
            let number = text.parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| "a patch's number, or two: 3, 3..7".to_owned())
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{first} comes after {last}"));
        }
        Ok(Span { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_several() {
        let of = |text: &str| text.parse::<Span>().map(|span| span.numbers());
        assert_eq!(of("3"), Ok(3..=3));
        assert_eq!(of("3..7"), Ok(3..=7));
        for wrong in ["", "0", "x", "7..3", "3..", "..3", "1..2..3"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_there_is() {
        let check = |text: &str| text.parse::<Span>().unwrap().check(17).is_ok();
        assert!(check("1..17") && check("17") && !check("17..18") && !check("18"));
        assert!(Span::all(17).check(17).is_ok() && Span::all(0).check(0).is_err());
        assert_eq!(Span::all(17).count(), 17);
    }
}
