// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors that are added together, of which some are ready already.

use evpoll::{Change, ErrorKind, Interest, Queue};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut queue = Queue::new(100)?;
    let mut pipes = Vec::new();
    for number in 0..10 {
        let (reader, mut writer) = std::io::pipe()?;
        if number % 5 == 2 {
            writer.write_all(b"here already")?;
        }
        pipes.push((reader, writer));
    }

    let changes: Vec<Change> = pipes
        .iter()
        .map(|(reader, _)| Change::set(reader, Interest::READABLE))
        .collect();
    queue.registry().update(&changes)?;
    for event in &queue.wait(None)? {
        let ready = |(reader, _): &(std::io::PipeReader, _)| reader.as_raw_fd() == event.fd();
        println!("pipe {:?} is ready", pipes.iter().position(ready));
    }

    // The third one fails: a regular file cannot be watched. The first two are applied.
    let file = std::fs::File::open("/proc/self/exe")?;
    let changes = [
        Change::remove(&pipes[0].0),
        Change::remove(&pipes[1].0),
        Change::set(&file, Interest::READABLE),
        Change::remove(&pipes[3].0),
    ];
    let error = queue.registry().update(&changes).unwrap_err();
    assert_eq!(error.applied(), 2);
    assert_eq!(error.error().kind(), ErrorKind::Unwatchable);
    println!("{error}");

    for (_, writer) in &mut pipes[..5] {
        writer.write_all(b"x")?;
    }
    let events = queue.wait(Some(Duration::from_secs(1)))?;
    println!("{} pipes are left of five", events.len());
    Ok(())
}
