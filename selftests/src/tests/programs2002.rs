// SPDX-License-Identifier: GPL-2.0
//! The two programs of `programs/2002`, which know only the calls and names of 2002, as each
//! compiler makes them for each ABI. They do what their like was said to do at that time, which
//! includes not hearing of what was there before.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use crate::check::ok;
use crate::program::{input, Program};
use crate::sys::*;

/// For what should not happen, in milliseconds.
const SHORT: u64 = 200;

programs!("programs2002":
    stdin_data_comes_later,
    stdin_writer_goes,
    stdin_nothing_comes,
    stdin_data_was_there,
    stdin_data_was_there_and_test,
    stdin_regular_file,
    stdin_terminal,
    server_data_comes_later,
    server_data_was_there,
    server_data_was_there_and_test,
    server_client_goes,
);

/// `stdin`, with what is in the pipe already.
#[track_caller]
fn stdin(made: &str, args: &[&str], before: &[u8]) -> (Program, Fd) {
    let (r, w) = pipe();
    put(&w, before);
    let mut program = Program::start("stdin", made, args, input(r));
    program.says("waiting");
    (program, w)
}

fn patience() -> String {
    limit(5000).to_string()
}

fn stdin_data_comes_later(made: &str) {
    let (mut program, w) = stdin(made, &[&patience()], b"");
    put(&w, b"a line\n");
    program.says("returned 1");
    program.says("fd 0: 0x1");
    program.ends(0);
}

fn stdin_writer_goes(made: &str) {
    let (mut program, w) = stdin(made, &[&patience()], b"");
    w.close();
    program.says("returned 1");
    program.says("fd 0: 0x10");
    program.ends(0);
}

/// It was started before it said that it waits, and it has to have waited this long.
fn times_out(made: &str, before: &[u8]) {
    let started = Instant::now();
    let (mut program, _w) = stdin(made, &[&SHORT.to_string()], before);
    program.says("returned 0");
    let took = started.elapsed().as_millis();
    check!(
        took >= u128::from(SHORT),
        "expected {SHORT} ms, got {took} ms"
    );
    program.ends(0);
}

fn stdin_nothing_comes(made: &str) {
    times_out(made, b"");
}

/// The first program of the thread: nothing tells it of the line that was there before.
fn stdin_data_was_there(made: &str) {
    times_out(made, b"a line\n");
}

fn stdin_data_was_there_and_test(made: &str) {
    let (mut program, _w) = stdin(made, &["-t", &patience()], b"a line\n");
    program.says("returned 1");
    program.says("fd 0: 0x1");
    program.ends(0);
}

/// In 2002 it was accepted, and never reported.
#[track_caller]
fn is_refused(made: &str, file: Fd) {
    let time = patience();
    for args in [&[time.as_str()][..], &["-t", &time]] {
        let mut program = Program::start("stdin", made, args, input(file.dup()));
        program.says("add: Operation not permitted");
        program.ends(1);
    }
}

fn stdin_regular_file(made: &str) {
    let dir = TempDir::new();
    let file = open(&dir.path("file"), libc::O_RDWR | libc::O_CREAT);
    put(&file, b"a line\n");
    is_refused(made, reopen(&file, libc::O_RDONLY));
}

/// Told from the beginning rather than waited for in vain.
fn stdin_terminal(made: &str) {
    let master = open("/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY);
    let mut number = 0;
    let unlocked: i32 = 0;
    // SAFETY: one number each.
    unsafe {
        ok(
            "TIOCSPTLCK",
            sys(libc::ioctl(master.raw(), libc::TIOCSPTLCK, &unlocked)),
        );
        ok(
            "TIOCGPTN",
            sys(libc::ioctl(master.raw(), libc::TIOCGPTN, &mut number)),
        );
    }
    let path = format!("/dev/pts/{number}");
    is_refused(made, open(&path, libc::O_RDWR | libc::O_NOCTTY));
}

/// `server` and a client that has connected, and written this at once.
#[track_caller]
fn server(made: &str, args: &[&str], first: &[u8]) -> (Program, TcpStream, u16) {
    let mut program = Program::start("server", made, args, Stdio::null());
    let port = program.number("port");
    program.says("waiting");
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    client.write_all(first).expect("write");
    let number = program.number("registered");
    (program, client, number)
}

fn server_data_comes_later(made: &str) {
    let (mut program, mut client, number) = server(made, &[], b"");
    for text in ["first", "second"] {
        client.write_all(text.as_bytes()).expect("write");
        program.says(&format!("read {number}: {text}"));
    }
}

/// The second program of the thread: what came before its registration waits for more.
fn server_data_was_there(made: &str) {
    let (mut program, mut client, number) = server(made, &["-l"], b"early, ");
    check_eq!("its output", program.line_within(SHORT as i32), None);
    client.write_all(b"late").expect("write");
    program.says(&format!("read {number}: early, late"));
}

fn server_data_was_there_and_test(made: &str) {
    let (mut program, mut client, number) = server(made, &["-l", "-t"], b"early");
    program.says(&format!("read {number}: early"));
    client.write_all(b"late").expect("write");
    program.says(&format!("read {number}: late"));
}

fn server_client_goes(made: &str) {
    // The connection, and its end.
    let (mut program, client, number) = server(made, &["-n", "2"], b"");
    drop(client);
    program.says(&format!("closed {number}"));
    program.says("done");
    program.ends(0);
}
