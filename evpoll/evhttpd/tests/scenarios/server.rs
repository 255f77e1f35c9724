// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server to be tried, in a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, PATIENCE};

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// How servers are started.
pub struct Setup {
    /// The program.
    pub program: PathBuf,
    /// Its `--backend`.
    pub backend: &'static str,
    /// What times are multiplied by, on slow machines.
    pub scale: u32,
}

impl Setup {
    /// Starts a server with these options besides the usual ones.
    pub fn start(&self, options: &[&str]) -> Server {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("evhttpd-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("sub")).expect("a folder");
        for (name, content) in [
            ("index.html", "<h1>index</h1>\n"),
            ("a.txt", "file a\n"),
            ("empty", ""),
            (".hidden", "hidden\n"),
            ("sub/index.html", "sub\n"),
        ] {
            fs::write(folder.join(name), content).expect("a file");
        }
        symlink("/etc", folder.join("out")).expect("a link");

        // None of them is to be over, unless that is what it is about.
        let long = self.seconds(60.0);
        let patient = ["request", "keep-alive", "write", "linger", "shutdown"]
            .map(|what| format!("--{what}-timeout={long}"));
        let given = |option: &&String| {
            let name = option.split('=').next().unwrap_or_default();
            !options.contains(&name)
        };
        let mut child = Command::new(&self.program)
            .args(["--listen", "127.0.0.1:0", "--backend", self.backend])
            .args(patient.iter().filter(given))
            .args(options)
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let out = child.stdout.take().expect("its output");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        let Some(address) = address(&line, self.backend) else {
            let _ = child.kill();
            let mut said = String::new();
            let _ = child
                .stderr
                .take()
                .map(|mut err| err.read_to_string(&mut said));
            panic!("it says {line:?}, and {said:?}");
        };
        let mut server = Server {
            child,
            folder,
            address,
            at_rest: 0,
        };
        server.at_rest = server.descriptors().len();
        server
    }

    /// An argument that is a time.
    pub fn seconds(&self, seconds: f64) -> String {
        (seconds * f64::from(self.scale)).to_string()
    }
}

/// `serving FOLDER at http://ADDRESS/ by BACKEND`
fn address(line: &str, backend: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(" at http://")?;
    let (address, by) = rest.split_once("/ by ")?;
    (by.trim_end() == backend).then(|| address.parse().ok())?
}

/// A running server. It is killed when dropped.
pub struct Server {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
    /// How many descriptors it has without connections.
    at_rest: usize,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection to it.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Puts a file into its folder.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    /// The descriptors that it has open.
    fn descriptors(&self) -> Vec<libc::rlim_t> {
        let path = format!("/proc/{}/fd", self.child.id());
        let entries = fs::read_dir(path).expect("its descriptors");
        let number = |name: std::ffi::OsString| name.to_str()?.parse().ok();
        entries
            .filter_map(|entry| number(entry.ok()?.file_name()))
            .collect()
    }

    /// It may have no more descriptors from now on.
    pub fn limit_descriptors(&self) {
        // The limit is one of numbers, and there may be larger ones that it was started with.
        let open = self.descriptors();
        let most = (0..).find(|number| !open.contains(number)).unwrap_or(0);
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: One limit is read, and none is stored.
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
        assert_eq!(set, 0, "prlimit: {}", std::io::Error::last_os_error());
    }

    /// How long it has been running on a processor.
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(path).expect("its state");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // utime and stime, in hundredths of a second.
        let ticks = [11, 12].map(|at| fields[at].parse::<u64>().expect("a number"));
        Duration::from_millis(10 * (ticks[0] + ticks[1]))
    }

    /// Waits until it has no connections, nor files, open.
    pub fn has_closed_all(&self) {
        self.has_open(0);
    }

    /// Waits until it has so many connections, and no files, open.
    pub fn has_open(&self, connections: usize) {
        let end = Instant::now() + PATIENCE;
        loop {
            let open = self.descriptors().len() - self.at_rest;
            if open == connections {
                return;
            }
            assert!(
                Instant::now() < end,
                "expected {connections} connections, there are {open}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM.
    pub fn signal(&self) {
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: The call takes no pointer, and the process is a child that was not waited for.
        let sent = unsafe { libc::kill(pid, libc::SIGTERM) };
        assert_eq!(sent, 0, "kill: {}", std::io::Error::last_os_error());
    }

    /// It has closed all connections, and ends by a signal, with nothing to complain about.
    pub fn stop(self) {
        let said = self.stop_with_complaints();
        assert_eq!(said, "", "it complains");
    }

    /// The same, and returns what it complained about.
    pub fn stop_with_complaints(mut self) -> String {
        self.has_closed_all();
        self.signal();
        self.wait()
    }

    /// It ends with status 0, and says this.
    pub fn ends(mut self, complaints: &str) {
        assert_eq!(self.wait(), complaints, "its complaints");
    }

    fn wait(&mut self) -> String {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        let err = self.child.stderr.take().expect("its complaints");
        BufReader::new(err).read_to_string(&mut said).expect("text");
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
