// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a descriptor is watched for, and what has happened to it.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

const IN: u16 = 0x001;
const PRI: u16 = 0x002;
const OUT: u16 = 0x004;
const ERR: u16 = 0x008;
const HUP: u16 = 0x010;
const RDNORM: u16 = 0x040;
const RDBAND: u16 = 0x080;
const WRNORM: u16 = 0x100;
const WRBAND: u16 = 0x200;
const MSG: u16 = 0x400;
const RDHUP: u16 = 0x2000;

/// What may be asked for.
const VALID: u16 = IN | PRI | OUT | ERR | HUP | RDNORM | RDBAND | WRNORM | WRBAND | MSG | RDHUP;

/// What a descriptor is watched for. Several are combined by `|`.
///
/// Errors, and that the other side has gone, are always reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Interest(u16);

impl Interest {
    /// Only what is always reported.
    pub const NONE: Interest = Interest(0);
    /// There is something to read, or a connection to accept (`POLLIN`).
    pub const READABLE: Interest = Interest(IN);
    /// There is room to write, or a connection is established (`POLLOUT`).
    pub const WRITABLE: Interest = Interest(OUT);
    /// There is urgent data (`POLLPRI`).
    pub const PRIORITY: Interest = Interest(PRI);
    /// The other side will send nothing more (`POLLRDHUP`).
    pub const READ_CLOSED: Interest = Interest(RDHUP);

    /// As in `<poll.h>`. `None` if there is a bit that cannot be asked for.
    pub const fn from_bits(bits: u16) -> Option<Interest> {
        match bits & !VALID {
            0 => Some(Interest(bits)),
            _ => None,
        }
    }

    /// As in `<poll.h>`.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `other` is asked for.
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// What the kernel says that it was asked for.
    pub(crate) const fn from_kernel(bits: u16) -> Interest {
        Interest(bits)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Interest) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        names(self.0, f)
    }
}

/// What has happened to a descriptor since it was last handed out.
///
/// The questions are those of one who reads or writes next. An error, or the end of a connection,
/// is an answer to both: the read or write will tell which.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Readiness(u16);

impl Readiness {
    pub(crate) const fn from_kernel(bits: u16) -> Readiness {
        Readiness(bits)
    }

    /// As in `<poll.h>`.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Reading, or accepting, is worth a try: there is data, the end, or an error.
    pub const fn is_readable(self) -> bool {
        self.0 & (IN | RDNORM | RDBAND | RDHUP | HUP | ERR) != 0
    }

    /// Writing is worth a try: there is room, or an error.
    pub const fn is_writable(self) -> bool {
        self.0 & (OUT | WRNORM | WRBAND | HUP | ERR) != 0
    }

    /// There is urgent data.
    pub const fn is_priority(self) -> bool {
        self.0 & PRI != 0
    }

    /// The other side sends nothing more. There may be data from before.
    pub const fn is_read_closed(self) -> bool {
        self.0 & (RDHUP | HUP) != 0
    }

    /// The other side has gone (`POLLHUP`). There may be data from before.
    pub const fn is_hang_up(self) -> bool {
        self.0 & HUP != 0
    }

    /// There is an error (`POLLERR`); for a pipe that one writes to, nobody reads any more.
    pub const fn is_error(self) -> bool {
        self.0 & ERR != 0
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        names(self.0, f)
    }
}

fn names(bits: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const NAMES: [(u16, &str); 11] = [
        (IN, "IN"),
        (PRI, "PRI"),
        (OUT, "OUT"),
        (ERR, "ERR"),
        (HUP, "HUP"),
        (RDNORM, "RDNORM"),
        (RDBAND, "RDBAND"),
        (WRNORM, "WRNORM"),
        (WRBAND, "WRBAND"),
        (MSG, "MSG"),
        (RDHUP, "RDHUP"),
    ];
    let mut rest = bits;
    let mut separator = "";
    for (bit, name) in NAMES {
        if rest & bit != 0 {
            write!(f, "{separator}{name}")?;
            separator = " | ";
            rest &= !bit;
        }
    }
    match (rest, bits) {
        (0, 0) => f.write_str("NONE"),
        (0, _) => Ok(()),
        _ => write!(f, "{separator}{rest:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_c_library() {
        let pairs = [
            (Interest::READABLE, libc::POLLIN),
            (Interest::WRITABLE, libc::POLLOUT),
            (Interest::PRIORITY, libc::POLLPRI),
            (Interest::READ_CLOSED, libc::POLLRDHUP),
        ];
        for (interest, bit) in pairs {
            assert_eq!(interest.bits(), bit as u16);
            assert_eq!(Interest::from_bits(bit as u16), Some(interest));
        }
        for bit in [libc::POLLRDNORM, libc::POLLRDBAND, libc::POLLWRNORM] {
            assert!(Interest::from_bits(bit as u16).is_some());
        }
        // POLLNVAL, POLLREMOVE, POLL_BUSY_LOOP and what has no name.
        for bit in [0x020, 0x800, 0x1000, 0x4000, 0x8000] {
            assert_eq!(Interest::from_bits(bit), None);
        }
    }

    #[test]
    fn combinations() {
        let both = Interest::READABLE | Interest::WRITABLE;
        assert!(both.contains(Interest::READABLE) && both.contains(both));
        assert!(!both.contains(Interest::PRIORITY) && !Interest::READABLE.contains(both));
        let mut more = both;
        more |= Interest::READ_CLOSED;
        assert_eq!(format!("{both:?}, {more:?}"), "IN | OUT, IN | OUT | RDHUP");
        assert_eq!(format!("{:?}", Interest::NONE), "NONE");
        assert_eq!(
            format!("{:?}", Readiness::from_kernel(0x4001)),
            "IN | 0x4000"
        );
    }

    #[test]
    fn the_end_is_for_readers_and_writers() {
        for bits in [HUP, ERR] {
            let readiness = Readiness::from_kernel(bits);
            assert!(readiness.is_readable() && readiness.is_writable());
        }
        let (read, write) = (Readiness::from_kernel(IN), Readiness::from_kernel(OUT));
        assert!(read.is_readable() && !read.is_writable());
        assert!(write.is_writable() && !write.is_readable());
        let half = Readiness::from_kernel(RDHUP);
        assert!(half.is_readable() && half.is_read_closed() && !half.is_hang_up());
    }
}
