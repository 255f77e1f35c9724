// SPDX-License-Identifier: MIT OR Apache-2.0
//! A loop that waits for descriptors, and does what other threads ask for.

use evpoll::{Interest, Queue, Waker};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::{mpsc, Arc};
use std::thread;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut queue = Queue::new(100)?;
    let waker = Arc::new(Waker::new(queue.registry())?);
    let (tasks, asked) = mpsc::channel::<u32>();
    let (mut reader, mut writer) = std::io::pipe()?;
    queue.add(&reader, Interest::READABLE)?;

    let mut threads = Vec::new();
    for number in 1..=3 {
        let (tasks, waker) = (tasks.clone(), waker.clone());
        threads.push(thread::spawn(move || {
            tasks.send(number).expect("the loop is there");
            // After that, so that the loop finds it.
            waker.wake().expect("to wake the loop");
        }));
    }
    threads.push(thread::spawn(move || {
        writer.write_all(b"data").expect("to write");
    }));

    let (mut sum, mut data) = (0, String::new());
    while sum < 1 + 2 + 3 || data.is_empty() {
        for event in &queue.wait(None)? {
            if waker.is(&event) {
                // All that there are: several may have been asked for.
                sum += asked.try_iter().sum::<u32>();
            } else if event.fd() == reader.as_raw_fd() {
                let mut bytes = [0; 100];
                let count = reader.read(&mut bytes)?;
                // Nothing more, if it is the end.
                data += &String::from_utf8_lossy(&bytes[..count]);
            }
        }
    }
    println!("{sum}, {data}");
    for thread in threads {
        thread.join().expect("a thread");
    }
    Ok(())
}
