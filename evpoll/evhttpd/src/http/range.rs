// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which part of a file is asked for.

use std::ops::Range;

/// What a `Range` header comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ranged {
    /// There is none, or none that is understood: all of it.
    All,
    /// This part.
    Part(Range<u64>),
    /// A part that is not there.
    Unsatisfiable,
}

/// What the value of the header means for a file of this length. Several ranges at once are not
/// understood, and a server may answer such a request with all of it.
pub fn resolve(value: &str, length: u64) -> Ranged {
    let Some(spec) = strip_unit(value) else {
        return Ranged::All;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Ranged::All;
    };
    let (first, last) = (number(first), number(last));
    match (first, last) {
        // The last so many bytes.
        (Number::Absent, Number::Is(count)) => match count.min(length) {
            0 => Ranged::Unsatisfiable,
            count => Ranged::Part(length - count..length),
        },
        (Number::Is(first), last) => {
            let end = match last {
                Number::Absent => length,
                Number::Is(last) if last < first => return Ranged::All,
                Number::Is(last) => last.saturating_add(1).min(length),
                Number::Wrong => return Ranged::All,
            };
            match first < length {
                true => Ranged::Part(first..end),
                false => Ranged::Unsatisfiable,
            }
        }
        _ => Ranged::All,
    }
}

fn strip_unit(value: &str) -> Option<&str> {
    let (unit, spec) = value.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(spec)
}

enum Number {
    Absent,
    Is(u64),
    Wrong,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::Absent;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Number::Wrong;
    }
    // As good as any number beyond the end.
    Number::Is(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let of = |value| resolve(value, 1000);
        assert_eq!(of("bytes=0-0"), Ranged::Part(0..1));
        assert_eq!(of("bytes=0-999"), Ranged::Part(0..1000));
        assert_eq!(of("bytes=990-2000"), Ranged::Part(990..1000));
        assert_eq!(of("Bytes = 5-"), Ranged::Part(5..1000));
        assert_eq!(of("bytes=-10"), Ranged::Part(990..1000));
        assert_eq!(of("bytes=-5000"), Ranged::Part(0..1000));
        assert_eq!(of("bytes=1-99999999999999999999999"), Ranged::Part(1..1000));
        assert_eq!(of("bytes=0-18446744073709551615"), Ranged::Part(0..1000));
    }

    #[test]
    fn parts_that_are_not_there() {
        assert_eq!(resolve("bytes=1000-", 1000), Ranged::Unsatisfiable);
        assert_eq!(resolve("bytes=-0", 1000), Ranged::Unsatisfiable);
        assert_eq!(resolve("bytes=0-0", 0), Ranged::Unsatisfiable);
        assert_eq!(resolve("bytes=-1", 0), Ranged::Unsatisfiable);
        let far = "bytes=99999999999999999999999-";
        assert_eq!(resolve(far, 1000), Ranged::Unsatisfiable);
    }

    #[test]
    fn what_is_not_understood_is_all() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=1-2-3",
        ] {
            assert_eq!(resolve(value, 1000), Ranged::All, "{value}");
        }
    }
}
