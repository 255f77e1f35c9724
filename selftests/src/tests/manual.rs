// SPDX-License-Identifier: GPL-2.0
//! The programs that are printed in the manual, as each compiler makes them for each ABI: `copy` of
//! evpoll(4) and `echo` of evpoll(7).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::program::{input, Program};
use crate::sys::*;

programs!("manual":
    copy_data_was_there,
    copy_data_comes_later,
    copy_of_nothing,
    echo_sends_back,
    echo_more_than_fits,
    echo_many_at_a_time,
    echo_client_goes_away,
);

/// For what should not happen, in milliseconds.
const SHORT: i32 = 200;

/// The program tries before it waits, as nothing would tell it.
fn copy_data_was_there(made: &str) {
    let (r, w) = pipe();
    put(&w, b"early\n");
    let mut program = Program::start("copy", made, &[], input(r));
    program.says("early");
    check_eq!("its output", program.line_within(SHORT), None);
    put(&w, b"late\n");
    program.says("late");
    w.close();
    program.ends(0);
}

fn copy_data_comes_later(made: &str) {
    let (r, w) = pipe();
    let mut program = Program::start("copy", made, &[], input(r));
    for line in ["first", "second", "third"] {
        // It waits by now.
        check_eq!("its output", program.line_within(SHORT / 4), None);
        put(&w, format!("{line}\n").as_bytes());
        program.says(line);
    }
    // Two pieces of a line, and the end, together.
    put(&w, b"la");
    put(&w, b"st\n");
    w.close();
    program.says("last");
    program.ends(0);
}

fn copy_of_nothing(made: &str) {
    let (r, w) = pipe();
    w.close();
    Program::start("copy", made, &[], input(r)).ends(0);
}

#[track_caller]
fn echo(made: &str) -> (Program, u16) {
    let mut program = Program::start("echo", made, &[], Stdio::null());
    let port = program.number("port");
    (program, port)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    let patience = Duration::from_millis(limit(5000) as u64);
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    stream
}

#[track_caller]
fn exchange(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).expect("write");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("read");
    check!(back == text, "expected what was sent");
}

/// All that is sent, by a thread of its own, comes back, and then the end.
fn exchange_at_once(stream: TcpStream, length: usize) {
    let sent: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let mut other = stream.try_clone().expect("a clone");
    thread::scope(|s| {
        s.spawn(|| {
            other.write_all(&sent).expect("write");
            other.shutdown(Shutdown::Write).expect("shutdown");
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).expect("read");
        check_eq!("the length that came back", back.len(), length);
        check!(back == sent, "expected what was sent");
    });
}

fn echo_sends_back(made: &str) {
    let (_program, port) = echo(made);
    let mut stream = connect(port);
    for text in ["a", "bc", "def"] {
        exchange(&mut stream, text.as_bytes());
    }
    stream.shutdown(Shutdown::Write).expect("shutdown");
    check_eq!("the end", stream.read(&mut [0]).expect("read"), 0);
}

/// More than the buffers of the sockets hold: the server has to wait for room.
fn echo_more_than_fits(made: &str) {
    let (_program, port) = echo(made);
    let stream = connect(port);
    // What it sends back is not read yet, until it can go on with neither.
    stream.set_nonblocking(true).expect("non-blocking");
    let data = [b'x'; 65536];
    let mut sent = 0;
    let mut idle = 0;
    while idle < 5 {
        match (&stream).write(&data) {
            Ok(count) => (sent, idle) = (sent + count, 0),
            Err(_) => idle += 1,
        }
        if idle > 0 {
            sleep(ms(20));
        }
    }
    stream.set_nonblocking(false).expect("blocking");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let mut back = Vec::new();
    (&stream).read_to_end(&mut back).expect("read");
    check!(sent > 0, "expected some room");
    check_eq!("the length that came back", back.len(), sent);
}

fn echo_many_at_a_time(made: &str) {
    let (_program, port) = echo(made);
    thread::scope(|s| {
        for number in 0..8 {
            s.spawn(move || exchange_at_once(connect(port), 10_000 * (number + 1)));
        }
    });
}

fn echo_client_goes_away(made: &str) {
    let (mut program, port) = echo(made);
    let stream = connect(port);
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let fd = Fd::new(std::os::fd::IntoRawFd::into_raw_fd(stream));
    crate::net::set(&fd, libc::SOL_SOCKET, libc::SO_LINGER, linger);
    put(&fd, b"gone");
    // By a reset.
    fd.close();
    exchange(&mut connect(port), b"the next one");
    check_eq!("its output", program.line_within(SHORT / 4), None);
}

#[cfg(test)]
mod on_the_host {
    /// What is printed is what is run.
    #[test]
    fn there_is_a_test_of_each_program() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../evpoll/man");
        let mut found = Vec::new();
        for page in std::fs::read_dir(manual).unwrap() {
            let text = std::fs::read_to_string(page.unwrap().path()).unwrap();
            let begin = ".\\\" SRC BEGIN (";
            let names = text.lines().filter_map(|line| line.strip_prefix(begin));
            found.extend(names.map(|name| name.trim_end_matches(".c)").to_owned()));
        }
        found.sort();
        assert_eq!(found, ["copy", "echo"]);
    }
}
