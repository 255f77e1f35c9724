// SPDX-License-Identifier: MIT OR Apache-2.0

//! What clients do to evhttpd, and what has to come of it. Each scenario starts a server of its own,
//! and in the end it must have closed all connections, and end with status 0 at SIGTERM.
//!
//! They are run by `tests/scenarios.rs` on the host, and with each back end on the kernel with
//! evpoll by the selftests, which include this folder.

mod client;
pub mod server;

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, Response};
pub use server::Setup;

const DATE: &str = "Last-Modified";

/// Gives the names of all scenarios to a macro, after what else is for it.
macro_rules! every {
    ($macro:ident $($first:tt)*) => {
        $macro! {
            $($first)*
            keep_alive,
            parts_of_files,
            http_1_0,
            pipelining,
            byte_by_byte,
            bad_requests,
            bodies,
            refused_while_sending,
            slow_requests,
            idle_connections,
            request_limit,
            half_closed,
            big_file,
            truncated_file,
            client_that_does_not_read,
            resets,
            connection_limit,
            out_of_descriptors,
            churn,
            graceful_end,
            end_with_a_deadline,
            threads,
        }
    };
}
pub(crate) use every;

/// Content that is nowhere the same.
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// Requests one after the other, on one connection.
pub fn keep_alive(setup: &Setup) {
    let server = setup.start(&[]);
    let mut client = server.connect();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        assert_eq!(response.body, b"<h1>index</h1>\n");
        assert_eq!(
            response.field("Content-Type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(response.field("Connection"), None);
        assert!(response
            .field("Date")
            .is_some_and(|date| date.ends_with(" GMT")));
    }
    assert_eq!(client.get("/a.txt?query").body, b"file a\n");
    assert_eq!(client.get("/sub/../%61.txt").body, b"file a\n");
    assert_eq!(client.get("/empty").body, b"");
    assert_eq!(client.get("/missing").status, 404);
    let moved = client.get("/sub");
    assert_eq!(
        (moved.status, moved.field("Location")),
        (301, Some("/sub/"))
    );
    assert_eq!(client.get("/sub/").body, b"sub\n");
    assert_eq!(client.get("http://example.org/a.txt").body, b"file a\n");
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().field("Connection"), Some("close"));
    client.ends();
    server.stop();
}

/// HEAD, conditions and ranges.
pub fn parts_of_files(setup: &Setup) {
    let server = setup.start(&[]);
    let mut client = server.connect();
    let whole = content(100_000);
    server.file("big.bin", &whole);

    client.send("HEAD /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert_eq!(
        (head.status, head.field("Content-Length")),
        (200, Some("100000"))
    );
    client.send("HEAD /missing HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 404);

    let date = head.field(DATE).expect("a date").to_owned();
    let modified = client.get_with("/big.bin", &format!("If-Modified-Since: {date}\r\n"));
    assert_eq!((modified.status, modified.body.len()), (304, 0));
    let old = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(client.get_with("/big.bin", old).status, 200);

    let part = client.get_with("/big.bin", "Range: bytes=1000-50999\r\n");
    assert_eq!(part.status, 206);
    assert_eq!(part.field("Content-Range"), Some("bytes 1000-50999/100000"));
    assert!(part.body == whole[1000..51_000]);
    let end = client.get_with("/big.bin", "Range: bytes=-5\r\n");
    assert_eq!((end.status, &end.body[..]), (206, &whole[99_995..]));
    let none = client.get_with("/big.bin", "Range: bytes=100000-\r\n");
    assert_eq!(
        (none.status, none.field("Content-Range")),
        (416, Some("bytes */100000"))
    );
    let same = format!("Range: bytes=0-9\r\nIf-Range: {date}\r\n");
    assert_eq!(client.get_with("/big.bin", &same).body, whole[..10]);
    let other = "Range: bytes=0-9\r\nIf-Range: \"tag\"\r\n";
    assert_eq!(client.get_with("/big.bin", other).body.len(), 100_000);
    drop(client);
    server.stop();
}

/// Clients of HTTP/1.0, which keep a connection only if they say so.
pub fn http_1_0(setup: &Setup) {
    let server = setup.start(&[]);
    let mut client = server.connect();
    for _ in 0..2 {
        client.send("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.body, b"file a\n");
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
    client.send("GET /a.txt HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().field("Connection"), Some("close"));
    client.ends();
    server.stop();
}

/// Several hundred requests at once: the answers come in their order.
pub fn pipelining(setup: &Setup) {
    let server = setup.start(&[]);
    let mut client = server.connect();
    let names = ["/a.txt", "/", "/missing", "/empty"];
    let requests: String = (0..400)
        .map(|i| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", names[i % 4]))
        .collect();
    let sender = client.send_in_a_thread(requests.into_bytes());
    for i in 0..400 {
        let response = client.response();
        let expected: (u16, &[u8]) = match i % 4 {
            0 => (200, b"file a\n"),
            1 => (200, b"<h1>index</h1>\n"),
            2 => (404, b"404 Not Found\n"),
            _ => (200, b""),
        };
        assert_eq!(
            (response.status, &response.body[..]),
            expected,
            "answer {i}"
        );
    }
    sender.join().expect("the sender");
    drop(client);
    server.stop();
}

/// Requests that come byte by byte.
pub fn byte_by_byte(setup: &Setup) {
    let server = setup.start(&[]);
    let mut client = server.connect();
    for request in [
        "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345",
    ] {
        for byte in request.bytes() {
            client.send([byte]);
            thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(client.response().body, b"file a\n", "{request}");
    }
    drop(client);
    server.stop();
}

/// What no request can be made of is answered, and the connection closed.
pub fn bad_requests(setup: &Setup) {
    let server = setup.start(&["--max-header", "1000"]);
    let long = |what: &str| format!("{what}{}", "x".repeat(2000));
    let fields = "A: b\r\n".repeat(120);
    let smuggled = "Content-Length: 4\r\nTransfer-Encoding: chunked";
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
        ),
        (
            format!("POST / HTTP/1.1\r\nHost: x\r\n{smuggled}\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(),
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
            501,
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n".into(),
            400,
        ),
        ("GET / HTTP/1.1\nHost: x\n\n".into(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}".into(), 400),
        ("nonsense\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        (long("GET /"), 414),
        (long("GET / HTTP/1.1\r\nHost: x\r\nX: "), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"), 431),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n".into(),
            417,
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".into(),
            400,
        ),
    ] {
        let mut client = server.connect();
        client.send(&request);
        let response = client.response();
        assert_eq!(response.status, status, "{request}");
        assert_eq!(response.field("Connection"), Some("close"), "{request}");
        client.ends();
    }
    // These are requests, of which nothing comes.
    let mut client = server.connect();
    for (target, status) in [
        ("/../etc/passwd", 400),
        ("/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/a%2fb", 400),
        ("/a%00", 400),
        ("/.hidden", 404),
        ("/out", 404),
        ("/out/passwd", 404),
        ("/a.txt/", 404),
    ] {
        assert_eq!(client.get(target).status, status, "{target}");
    }
    client.send("BREW / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().status, 501);
    assert_eq!(client.get("/a.txt").status, 200);
    drop(client);
    server.stop();
}

/// Requests with a body: it is thrown away, up to a limit.
pub fn bodies(setup: &Setup) {
    let server = setup.start(&["--max-body", "5000"]);
    let mut client = server.connect();
    let refused = |response: Response| {
        assert_eq!(
            (response.status, response.field("Allow")),
            (405, Some("GET, HEAD"))
        );
        response.field("Connection").map(str::to_owned)
    };
    for body in [
        format!("Content-Length: 5000\r\n\r\n{}", "x".repeat(5000)),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n1000;x=y\r\n{}\r\n0\r\n\r\n",
            "x".repeat(4096)
        ),
    ] {
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{body}"));
        assert_eq!(refused(client.response()), None);
        client.send(format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{body}"));
        assert_eq!(client.response().body, b"file a\n");
    }
    let expecting = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(format!("GET /a.txt HTTP/1.1\r\n{expecting}"));
    assert_eq!(client.head().status, 100);
    client.send("12345");
    assert_eq!(client.response().body, b"file a\n");
    client.send(format!("PUT / HTTP/1.1\r\n{expecting}"));
    assert_eq!(refused(client.response()).as_deref(), Some("close"));
    client.ends();

    for too_large in [
        "Content-Length: 5001\r\n\r\n",
        "Content-Length: 99999999999999999999999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1389\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{too_large}"));
        assert_eq!(client.response().status, 413, "{too_large}");
        client.ends();
    }
    server.stop();
}

/// A client that is refused while it goes on to send gets to see why.
pub fn refused_while_sending(setup: &Setup) {
    let server = setup.start(&["--max-body", "5000"]);
    for _ in 0..5 {
        let mut client = server.connect();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n";
        client.send(head);
        client.send(content(500_000));
        assert_eq!(client.response().status, 413);
        client.ends();
    }
    server.stop();
}

/// A request that does not come to its end, and one that does not begin.
pub fn slow_requests(setup: &Setup) {
    let server = setup.start(&["--request-timeout", &setup.seconds(0.4)]);
    let mut late = server.connect();
    for part in ["GET / HTTP/1.1\r\n", "Host: x\r\n"] {
        late.send(part);
        thread::sleep(Duration::from_millis(20));
    }
    let response = late.response();
    assert_eq!(
        (response.status, response.field("Connection")),
        (408, Some("close"))
    );
    late.ends();

    let mut body = server.connect();
    body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
    assert_eq!(body.response().status, 408);
    body.ends();

    // A byte now and then does not help.
    let mut drops = server.connect();
    let started = Instant::now();
    let mut other = drops.stream();
    let dripping = thread::spawn(move || {
        let pause = Duration::from_millis(30);
        other.write_all(b"GET /").ok();
        while other.write_all(b"x").is_ok() && started.elapsed() < Duration::from_secs(300) {
            thread::sleep(pause);
        }
    });
    assert_eq!(drops.response().status, 408);
    drops.ends();
    dripping.join().expect("the one that drips");

    let mut silent = server.connect();
    silent.ends();
    server.stop();
}

/// A connection on which nothing happens is closed.
pub fn idle_connections(setup: &Setup) {
    let server = setup.start(&["--keep-alive-timeout", &setup.seconds(0.3)]);
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.get("/a.txt").status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    client.ends();
    server.stop();
}

/// So many requests on a connection, and no more.
pub fn request_limit(setup: &Setup) {
    let server = setup.start(&["--max-requests", "3"]);
    let mut client = server.connect();
    for last in [false, false, true] {
        let response = client.get("/a.txt");
        let said = response.field("Connection") == Some("close");
        assert_eq!((response.status, said), (200, last));
    }
    client.ends();
    server.stop();
}

/// A client that has said all that it wants to say still gets its answers.
pub fn half_closed(setup: &Setup) {
    let server = setup.start(&[]);
    let big = content(1_000_000);
    server.file("big.bin", &big);
    let mut client = server.connect();
    let get = |name: &str| format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send(get("a.txt") + &get("big.bin") + &get("missing"));
    client.stream().shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(client.response().body, b"file a\n");
    assert!(client.response().body == big);
    assert_eq!(client.response().status, 404);
    client.ends();

    let mut half = server.connect();
    half.send("GET /a.txt HTTP/1.1\r\nHos");
    half.stream().shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(half.response().status, 400);
    half.ends();
    server.stop();
}

/// A large file, to several clients that do not read at once, is complete.
pub fn big_file(setup: &Setup) {
    let server = setup.start(&[]);
    let big = content(6_000_000);
    server.file("big.bin", &big);
    let clients: Vec<_> = (0..3u64)
        .map(|i| {
            let mut client = server.connect();
            let big = big.clone();
            thread::spawn(move || {
                client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
                thread::sleep(Duration::from_millis(100 * i));
                assert!(client.response().body == big);
                // And the connection goes on.
                assert_eq!(client.get("/a.txt").body, b"file a\n");
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client");
    }
    server.stop();
}

/// A file that becomes shorter while it is sent: the connection ends, the server does not.
pub fn truncated_file(setup: &Setup) {
    let server = setup.start(&[]);
    let path = server.file("big.bin", b"");
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_len(64 << 20).expect("its length");
    let mut client = server.connect();
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert_eq!(head.field("Content-Length"), Some("67108864"));
    file.set_len(1000).expect("its length");
    let received = client.rest();
    assert!(received.len() < 64 << 20, "all of it was received");
    assert!(received.iter().all(|byte| *byte == 0));
    drop(client);
    assert_eq!(server.connect().get("/a.txt").body, b"file a\n");
    server.stop();
}

/// A client that does not read what it has asked for is not waited for.
pub fn client_that_does_not_read(setup: &Setup) {
    let server = setup.start(&["--write-timeout", &setup.seconds(0.2)]);
    let path = server.file("big.bin", b"");
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_len(64 << 20).expect("its length");
    let mut client = server.connect();
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 200);
    server.has_closed_all();
    // The rest was thrown away, and not kept for who may come to read it.
    assert!(client.is_reset());
    server.stop();
}

/// Clients that go away in the middle.
pub fn resets(setup: &Setup) {
    let server = setup.start(&[]);
    let path = server.file("big.bin", b"");
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_len(64 << 20).expect("its length");
    for request in [
        "",
        "GET / HT",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
    ] {
        for answered in [false, true] {
            let mut client = server.connect();
            client.send(request);
            if answered && request.starts_with("GET /") && request.ends_with("\n\r\n") {
                client.head();
            }
            client.reset();
        }
    }
    server.has_closed_all();
    assert_eq!(server.connect().get("/a.txt").body, b"file a\n");
    server.stop();
}

/// With as many connections as there may be, others wait, and are not forgotten.
pub fn connection_limit(setup: &Setup) {
    let server = setup.start(&["--max-connections", "2"]);
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.get("/a.txt").status, 200);
    assert_eq!(second.get("/a.txt").status, 200);
    let mut waiting: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = server.connect();
            client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            client
        })
        .collect();
    for client in &mut waiting {
        assert!(
            client.silent_for(Duration::from_millis(50)),
            "it was accepted"
        );
    }
    // No connection comes from here on, so there is no edge of the listener.
    drop(first);
    for client in &mut waiting {
        assert_eq!(client.response().body, b"file a\n");
        client.ends();
    }
    assert_eq!(second.get("/a.txt").status, 200);
    drop((second, waiting));
    server.stop();
}

/// Out of descriptors: who waits is accepted later, without an edge, and it does not spin.
pub fn out_of_descriptors(setup: &Setup) {
    let server = setup.start(&[]);
    let mut held: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut held {
        assert_eq!(client.get("/a.txt").status, 200);
    }
    server.has_open(held.len());
    server.limit_descriptors();
    let mut waiting: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = server.connect();
            client.send("GET /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            client
        })
        .collect();
    let before = server.processor_time();
    assert!(
        waiting[0].silent_for(Duration::from_secs(1)),
        "it was accepted"
    );
    let used = server.processor_time() - before;
    assert!(
        used < Duration::from_millis(100),
        "it was busy for {used:?}"
    );
    // A descriptor for each, and one for the file that they look for.
    held.truncate(1);
    for client in &mut waiting {
        assert_eq!(client.response().status, 404);
    }
    drop((held, waiting));
    let said = server.stop_with_complaints();
    assert!(said.contains("cannot accept a connection"), "{said:?}");
}

/// Many connections that come and go, so that numbers of descriptors are used again while there are
/// events for those before.
pub fn churn(setup: &Setup) {
    let server = setup.start(&[]);
    let idle: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let address = server.address();
            thread::spawn(move || {
                for round in 0..60 {
                    let mut client = Client::connect(address);
                    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
                    match (number + round) % 4 {
                        0 => assert_eq!(client.response().body, b"file a\n"),
                        1 => client.reset(),
                        2 => drop(client),
                        _ => {
                            client.stream().shutdown(Shutdown::Write).expect("shutdown");
                            assert_eq!(client.response().body, b"file a\n");
                            client.ends();
                        }
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client");
    }
    for mut client in idle {
        assert_eq!(client.get("/a.txt").body, b"file a\n");
    }
    server.stop();
}

/// A signal ends it in good order: what is being answered is, and nothing else.
pub fn graceful_end(setup: &Setup) {
    let server = setup.start(&["--shutdown-timeout", &setup.seconds(20.0)]);
    let path = server.file("big.bin", b"");
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.set_len(32 << 20).expect("its length");
    let mut idle = server.connect();
    assert_eq!(idle.get("/a.txt").status, 200);
    let mut begun = server.connect();
    begun.send("GET /a.txt HTTP/1.1\r\n");
    let mut busy = server.connect();
    busy.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = busy.head();
    // Until it has seen that request begin.
    assert!(begun.silent_for(Duration::from_millis(100)));

    server.signal();
    idle.ends();
    let refused = TcpStream::connect(server.address());
    assert!(refused.is_err(), "it still listens");
    begun.send("Host: x\r\n\r\n");
    let response = begun.response();
    assert_eq!(response.body, b"file a\n");
    assert_eq!(response.field("Connection"), Some("close"));
    begun.ends();
    assert_eq!(busy.body(&head).len(), 32 << 20);
    assert_eq!(busy.response().body, b"<h1>index</h1>\n");
    busy.ends();
    server.ends("");
}

/// Who does not let it end is cut off: after a while, or by a second signal.
pub fn end_with_a_deadline(setup: &Setup) {
    for (seconds, signals) in [(0.3, 1), (1000.0, 2)] {
        let server = setup.start(&["--shutdown-timeout", &setup.seconds(seconds)]);
        let path = server.file("big.bin", b"");
        let file = fs::File::options().write(true).open(path).expect("a file");
        file.set_len(64 << 20).expect("its length");
        let mut client = server.connect();
        client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.head().status, 200);
        for _ in 0..signals {
            server.signal();
            // Two at the same time may be one.
            thread::sleep(Duration::from_millis(20));
        }
        server.ends("evhttpd: 1 connections were cut off\n");
    }
}

/// Several threads, each with connections of its own.
pub fn threads(setup: &Setup) {
    let server = setup.start(&["--threads", "3"]);
    let mut clients: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().body, b"file a\n");
        }
    }
    drop(clients);
    server.stop();
}
