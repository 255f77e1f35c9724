// SPDX-License-Identifier: GPL-2.0
//! The programs that the tests are made of. All of them are in the kernel's tree, below
//! `tools/testing`.

/// A C program of the kernel's tree.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    /// The folder of its sources, below `tools/testing`.
    pub folder: &'static str,
    /// Its sources; one that is named as the program is, if there are none.
    pub sources: &'static [&'static str],
    /// Libraries besides libc and pthread.
    pub libraries: &'static [&'static str],
}

/// The program of that name.
pub fn program(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

const EPOLL: &str = "selftests/filesystems/epoll";
const EVENTFD: &str = "selftests/filesystems/eventfd";
const FILESYSTEMS: &str = "selftests/filesystems";
const CORE: &str = "selftests/core";
const PROC: &str = "selftests/proc";
const PIDFD: &str = "selftests/pidfd";
const SPLICE: &str = "selftests/splice";
const NET: &str = "selftests/net";
const UNIX: &str = "selftests/net/af_unix";
const MPTCP: &str = "selftests/net/mptcp";
const VSOCK: &str = "vsock";

const fn c(name: &'static str, folder: &'static str) -> Program {
    Program {
        name,
        folder,
        sources: &[],
        libraries: &[],
    }
}

const fn linked(
    name: &'static str,
    folder: &'static str,
    sources: &'static [&'static str],
    libraries: &'static [&'static str],
) -> Program {
    Program {
        name,
        folder,
        sources,
        libraries,
    }
}

pub const PROGRAMS: &[Program] = &[
    c("epoll_wakeup_test", EPOLL),
    linked("epoll_busy_poll", NET, &[], &["cap"]),
    c("eventfd_test", EVENTFD),
    c("pipe_bench", "selftests/pipe"),
    c("splice_read", SPLICE),
    c("default_file_splice_read", SPLICE),
    c("close_range_test", CORE),
    c("unshare_test", CORE),
    c("kcmp_test", "selftests/kcmp"),
    c("fd-001-lookup", PROC),
    c("fd-002-posix-eq", PROC),
    c("anon_inode_test", FILESYSTEMS),
    c("pidfd_getfd_test", PIDFD),
    c("diag_uid", UNIX),
    c("msg_oob", UNIX),
    c("scm_inq", UNIX),
    c("scm_pidfd", UNIX),
    c("scm_rights", UNIX),
    c("so_peek_off", UNIX),
    c("unix_connect", UNIX),
    c("unix_connreset", UNIX),
    c("unix_listen", UNIX),
    c("socket", NET),
    c("bind_timewait", NET),
    c("bind_wildcard", NET),
    c("getsockopt_iter", NET),
    c("icmp_rfc4884", NET),
    c("ip_local_port_range", NET),
    c("ipv6_fragmentation", NET),
    c("msg_zerocopy", NET),
    c("psock_snd", NET),
    c("psock_tpacket", NET),
    c("reuseaddr_conflict", NET),
    c("reuseaddr_ports_exhausted", NET),
    c("reuseport_addr_any", NET),
    c("reuseport_bpf_cpu", NET),
    c("reuseport_dualstack", NET),
    c("rxtimestamp", NET),
    c("sk_bind_sendto_listen", NET),
    c("sk_connect_zero_addr", NET),
    c("sk_so_peek_off", NET),
    c("so_incoming_cpu", NET),
    c("so_netns_cookie", NET),
    c("stress_reuseport_listen", NET),
    c("tap", NET),
    c("tcp_fastopen_backup_key", NET),
    c("tcp_inq", NET),
    c("tls", NET),
    c("txring_overwrite", NET),
    c("udp_splice_checksum", NET),
    c("udpgso", NET),
    c("io_uring_zerocopy_tx", NET),
    c("mptcp_connect", MPTCP),
    c("mptcp_inq", MPTCP),
    c("mptcp_sockopt", MPTCP),
    linked(
        "vsock_test",
        VSOCK,
        &[
            "vsock_test.c",
            "vsock_test_zerocopy.c",
            "timeout.c",
            "control.c",
            "util.c",
            "msg_zerocopy_common.c",
        ],
        &[],
    ),
    linked(
        "vsock_diag_test",
        VSOCK,
        &["vsock_diag_test.c", "timeout.c", "control.c", "util.c"],
        &[],
    ),
    linked(
        "vsock_uring_test",
        VSOCK,
        &[
            "vsock_uring_test.c",
            "timeout.c",
            "control.c",
            "util.c",
            "msg_zerocopy_common.c",
        ],
        &["uring"],
    ),
];
