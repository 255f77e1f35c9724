// SPDX-License-Identifier: MIT OR Apache-2.0

//! HTTP/1.1 (RFC 9110 and 9112), as far as a server of files needs it: bytes in, bytes out, and
//! nothing about sockets.

mod chunked;
mod date;
mod range;
mod request;
mod response;
mod status;

pub use chunked::{Chunked, Progress};
pub use date::Dates;
pub use range::{resolve as resolve_range, Ranged};
pub use request::{parse, Body, Expectation, IfRange, Method, Request};
pub use response::{Content, Response};
pub use status::Status;
