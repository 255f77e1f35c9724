// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong, and how it is told apart.

use evpoll::{ErrorKind, Interest, Queue};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = match Queue::new(1) {
        Err(error) if error.kind() == ErrorKind::NoEvpoll => {
            // Here, a program would go on with epoll.
            println!("{error}");
            return Ok(());
        }
        result => result?,
    };
    let (reader, writer) = std::io::pipe()?;
    let file = std::fs::File::open("/proc/self/exe")?;

    for error in [
        queue.modify(&reader, Interest::READABLE),
        queue.add(&file, Interest::READABLE),
        queue.add(&queue, Interest::READABLE),
        queue.add(&reader, Interest::READABLE),
        queue.add(&reader, Interest::READABLE),
        queue.add(&writer, Interest::WRITABLE),
    ] {
        match error {
            Ok(()) => println!("added"),
            Err(error) => println!("{:?}: {error}", error.kind()),
        }
    }
    Ok(())
}
