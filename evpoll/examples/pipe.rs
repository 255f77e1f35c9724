// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pipe: what was written before it is watched, what is written later, and its end.

use evpoll::{Interest, Queue};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut queue = Queue::new(100)?;
    let (mut reader, mut writer) = std::io::pipe()?;
    let mut bytes = [0; 100];

    // It is readable already, which is an event.
    writer.write_all(b"early")?;
    queue.add(&reader, Interest::READABLE)?;
    for event in &queue.wait(None)? {
        assert_eq!(event.fd(), reader.as_raw_fd());
        let count = reader.read(&mut bytes)?;
        println!("{}", String::from_utf8_lossy(&bytes[..count]));
    }

    // Nothing happens for 10 ms.
    assert!(queue.wait(Some(Duration::from_millis(10)))?.is_empty());

    // Two writes, and the end, are one event.
    writer.write_all(b"la")?;
    writer.write_all(b"te")?;
    drop(writer);
    let events = queue.wait(None)?;
    assert_eq!(events.len(), 1);
    for event in &events {
        assert!(event.is_readable() && event.readiness().is_hang_up());
        let mut rest = String::new();
        reader.read_to_string(&mut rest)?;
        println!("{rest}");
    }

    // A closed descriptor need not be removed.
    drop(reader);
    Ok(())
}
