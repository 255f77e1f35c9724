// SPDX-License-Identifier: GPL-2.0
//! evhttpd, the server of the library, on each of its back ends: its own scenarios, and Debian's
//! curl and wrk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::runner::{scale, skip};

use scenarios::server::Server;
use scenarios::{content, Setup};

#[path = "../../../evpoll/evhttpd/tests/scenarios/mod.rs"]
mod scenarios;

macro_rules! each {
    ($list:ident, $module:ident: $($name:ident),* $(,)?) => {
        pub const $list: &[crate::runner::Test] = &[$(
            crate::runner::test("evhttpd", concat!(stringify!($name), "_evpoll"), || {
                $module::$name(&setup("evpoll"))
            }),
            crate::runner::test("evhttpd", concat!(stringify!($name), "_epoll"), || {
                $module::$name(&setup("epoll"))
            }),
        )*];
    };
}

scenarios::every!(each SCENARIOS, scenarios:);

each!(CLIENTS, clients:
    curl_files,
    curl_connections,
    curl_refused,
    wrk,
    wrk_new_connections,
    wrk_large_file,
);

fn setup(backend: &'static str) -> Setup {
    let folder = std::env::var_os("EVPOLL_PROGRAMS").unwrap_or("/evpoll/programs".into());
    let program = PathBuf::from(folder).join("evhttpd");
    if !program.exists() {
        skip("not built on this machine");
    }
    Setup {
        program,
        backend,
        scale: scale(),
    }
}

/// Programs of the host, which are no static ones: the harness has put them here, with the loader
/// and all libraries that it takes.
const HOST: &str = "/evpoll/host";

fn host_program(name: &str) -> Command {
    let program = Path::new(HOST).join(name);
    if !program.exists() {
        skip("not installed on this machine");
    }
    let libraries = Path::new(HOST).join("lib");
    let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(libraries).arg(program);
    command
}

/// With its status, what it has printed.
#[track_caller]
fn output(command: &mut Command) -> (Option<i32>, Vec<u8>) {
    let output = command.output().expect("a program of the host");
    let said = String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    (output.status.code(), output.stdout)
}

mod clients {
    use super::*;

    fn url(server: &Server, target: &str) -> String {
        format!("http://{}{target}", server.address())
    }

    #[track_caller]
    fn curl(server: &Server, args: &[&str], targets: &[&str]) -> (Option<i32>, Vec<u8>) {
        let mut command = host_program("curl");
        command.args([
            "-q",
            "-sS",
            "--no-progress-meter",
            "--noproxy",
            "*",
            "--max-time",
            "100",
        ]);
        command.args(args);
        command.args(targets.iter().map(|target| url(server, target)));
        output(&mut command)
    }

    #[track_caller]
    fn good(result: (Option<i32>, Vec<u8>)) -> Vec<u8> {
        check_eq!("the status of curl", result.0, Some(0));
        result.1
    }

    #[track_caller]
    fn text(result: (Option<i32>, Vec<u8>)) -> String {
        String::from_utf8(good(result)).expect("text")
    }

    pub fn curl_files(setup: &Setup) {
        let server = setup.start(&[]);
        let big = content(3_000_000);
        server.file("big.bin", &big);
        assert!(good(curl(&server, &["--fail"], &["/big.bin"])) == big);
        let part = good(curl(
            &server,
            &["--fail", "-r", "1000-2000999"],
            &["/big.bin"],
        ));
        assert!(part == big[1000..2_001_000]);
        check_eq!("a folder", text(curl(&server, &["-L"], &["/sub"])), "sub\n");
        let head = text(curl(&server, &["-I"], &["/big.bin"]));
        assert!(head.contains("\r\nContent-Length: 3000000\r\n"), "{head}");
        // What it has got already.
        let file = server.file("copy", b"");
        let name = file.to_str().expect("a name");
        good(curl(&server, &["--fail", "-R", "-o", name], &["/a.txt"]));
        check_eq!("a file", fs::read(&file).expect("a file"), b"file a\n");
        let code = ["-z", name, "-w", "%{http_code}"];
        check_eq!(
            "not modified",
            text(curl(&server, &code, &["/a.txt"])),
            "304"
        );
        server.stop();
    }

    pub fn curl_connections(setup: &Setup) {
        let server = setup.start(&[]);
        let made = ["-w", "%{num_connects} "];
        let targets = ["/a.txt", "/", "/missing", "/a.txt"];
        let said = text(curl(&server, &made, &targets));
        let expected = "file a\n1 <h1>index</h1>\n0 404 Not Found\n0 file a\n0 ";
        check_eq!("one connection", said, expected);
        let said = text(curl(
            &server,
            &["-0", made[0], made[1]],
            &["/a.txt", "/a.txt"],
        ));
        check_eq!("one each", said, "file a\n1 file a\n1 ");
        let parallel = [
            "-Z",
            "--parallel-immediate",
            "--parallel-max",
            "20",
            "--fail",
        ];
        let said = text(curl(&server, &parallel, &["/a.txt"; 60]));
        check_eq!("60 at a time", said, "file a\n".repeat(60));
        server.stop();
    }

    pub fn curl_refused(setup: &Setup) {
        let server = setup.start(&[]);
        let code = ["-o", "/dev/null", "-w", "%{http_code}"];
        let of = |args: &[&str], target| text(curl(&server, &[&code, args].concat(), &[target]));
        check_eq!("missing", of(&[], "/missing"), "404");
        check_eq!(
            "out of the root",
            of(&["--path-as-is"], "/../etc/passwd"),
            "400"
        );
        check_eq!("through a link", of(&[], "/out/passwd"), "404");
        check_eq!("POST", of(&["-d", "a=b"], "/"), "405");
        check_eq!("DELETE", of(&["-X", "DELETE"], "/a.txt"), "405");
        check_eq!("BREW", of(&["-X", "BREW"], "/a.txt"), "501");
        let long = format!("X: {}", "x".repeat(20_000));
        check_eq!("a long field", of(&["-H", &long], "/"), "431");
        // It asks whether to send that much at all.
        let big = server.file("big.bin", &content(2_000_000));
        let big = big.to_str().expect("a name");
        check_eq!("PUT", of(&["-T", big], "/new"), "413");
        let expect = ["-H", "Expect:", "-T", big];
        check_eq!("PUT, without asking", of(&expect, "/new"), "413");
        let chunked = [
            "-H",
            "Transfer-Encoding: chunked",
            "-H",
            "Expect:",
            "-d",
            "a=b",
        ];
        check_eq!("chunks", of(&chunked, "/"), "405");
        let failed = curl(&server, &["--fail"], &["/missing"]);
        check_eq!("the status of curl", failed.0, Some(22));
        server.stop();
    }

    /// Some load, without a fault; returns what wrk says.
    fn load(setup: &Setup, args: &[&str], file: &str) {
        let server = setup.start(&[]);
        server.file("large.bin", &content(300_000));
        let mut command = host_program("wrk");
        // Connecting alone takes seconds where everything is checked.
        let connections = if scale() <= 4 { 64 } else { 16 };
        let (connections, seconds) = (format!("-c{connections}"), format!("-d{}s", scale()));
        command.args(["-t1", &connections, &seconds, "--timeout", "100s"]);
        command.args(args).arg(url(&server, file));
        let (status, said) = output(&mut command);
        let said = String::from_utf8_lossy(&said);
        println!("{said}");
        check_eq!("the status of wrk", status, Some(0));
        for fault in ["Socket errors", "Non-2xx"] {
            assert!(!said.contains(fault), "{fault}");
        }
        let answered = requests(&said);
        assert!(answered.is_some_and(|count| count > 0), "{answered:?}");
        // With all connections closed.
        server.stop();
    }

    /// `  85099 requests in 3.01s, 16.72MB read`
    fn requests(said: &str) -> Option<u64> {
        let line = said.lines().find(|line| line.contains(" requests in "))?;
        line.split_whitespace().next()?.parse().ok()
    }

    pub fn wrk(setup: &Setup) {
        load(setup, &[], "/a.txt");
    }

    pub fn wrk_new_connections(setup: &Setup) {
        load(setup, &["-H", "Connection: close"], "/a.txt");
    }

    pub fn wrk_large_file(setup: &Setup) {
        load(setup, &[], "/large.bin");
    }
}
