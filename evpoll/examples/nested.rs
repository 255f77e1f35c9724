// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue in a queue: a part of the program has one of its own.

use evpoll::{Interest, Queue};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut outer = Queue::new(10)?;
    let mut alarms = Queue::new(10)?;
    let (alarm, mut ring) = std::io::pipe()?;
    let (mail, mut post) = std::io::pipe()?;

    alarms.add(&alarm, Interest::READABLE)?;
    outer.add(&alarms, Interest::READABLE)?;
    outer.add(&mail, Interest::READABLE)?;

    post.write_all(b"a letter")?;
    ring.write_all(b"!")?;
    for event in &outer.wait(None)? {
        if event.fd() == alarms.as_raw_fd() {
            // Until there is none: only then is the next one an event of the outer queue.
            while !alarms.wait(Some(Duration::ZERO))?.is_empty() {
                println!("alarm");
            }
        } else if event.fd() == mail.as_raw_fd() {
            println!("mail");
        }
    }
    Ok(())
}
