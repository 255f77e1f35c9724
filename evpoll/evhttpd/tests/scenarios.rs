// SPDX-License-Identifier: MIT OR Apache-2.0

//! The scenarios on the host, with epoll, which every kernel has.

#[path = "scenarios/mod.rs"]
mod scenarios;

use scenarios::Setup;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_evhttpd");

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                scenarios::$name(&Setup {
                    program: PROGRAM.into(),
                    backend: "epoll",
                    scale: 1,
                });
            }
        )*
    };
}

scenarios::every!(scenarios);

/// What is there to say before there is anything to serve.
fn said(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(args).output().expect("evhttpd");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_kernel_without_evpoll_is_told() {
    // SAFETY: The call takes no pointer, and a queue for no descriptors cannot be made.
    assert_eq!(unsafe { libc::syscall(473, 0, 0) }, -1);
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EINVAL) {
        // This kernel has it.
        return;
    }
    let (status, text) = said(&["--listen", "127.0.0.1:0"]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("evpoll") && text.contains("--backend epoll"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_served_is_told() {
    let (status, text) = said(&["--backend", "epoll", "/does/not/exist"]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("cannot serve /does/not/exist: No such"),
        "{text}"
    );
    assert!(text.contains("name a folder"), "{text}");
    let (status, text) = said(&["--backend", "epoll", "--listen", "192.0.2.1:80"]);
    assert_eq!(status, Some(1));
    assert!(text.contains("cannot listen at 192.0.2.1:80: "), "{text}");
    assert!(text.contains("--listen"), "{text}");
}
