// SPDX-License-Identifier: GPL-2.0
//! The tests: how each program of the kernel's tree is called. For those that a script calls there,
//! that is said here, because the guest has no more than BusyBox, and loopback is all the network
//! that they get.

/// A command that passes or not.
#[derive(Clone, Debug)]
pub struct Test {
    /// Group and name, with a slash in between.
    pub name: &'static str,
    /// Seconds in an emulated guest.
    pub limit: u64,
    /// What it runs, for a shell in the folder of the programs.
    pub command: String,
    /// The programs that the command names.
    pub programs: Vec<&'static str>,
}

/// The tests whose name contains this, in the order in which they run. `wide` is whether the kernel
/// has what is in `qemu/peers.config`.
pub fn select(filter: Option<&str>, wide: bool) -> Vec<Test> {
    let mut tests = every_profile();
    if wide {
        tests.extend(only_wide());
    }
    tests.retain(|test| filter.is_none_or(|filter| test.name.contains(filter)));
    tests
}

/// A program that is given nothing.
fn alone(name: &'static str, limit: u64, program: &'static str) -> Test {
    test(name, limit, program, &format!("./{program}"))
}

fn test(name: &'static str, limit: u64, program: &'static str, command: &str) -> Test {
    Test {
        name,
        limit,
        command: command.to_owned(),
        programs: vec![program],
    }
}

/// Two programs, or the same twice, that talk to one another: the second starts when the first has
/// had time to listen. Both have to succeed.
fn pair(
    name: &'static str,
    limit: u64,
    programs: &[&'static str],
    first: &str,
    second: &str,
) -> Test {
    let command = format!(
        "{{ {first}; }} & sleep 1; {second}; second=$?; wait $!; first=$?; \
         echo \"first $first, second $second\"; [ $first = 0 ] && exit $second; exit 1"
    );
    Test {
        name,
        limit,
        command,
        programs: programs.to_vec(),
    }
}

/// Sends without copying, to itself.
fn zerocopy(name: &'static str, family: u8, address: &str, kind: &str, options: &str) -> Test {
    let common = format!("./msg_zerocopy -{family} -S {address} -D {address} {options}");
    pair(
        name,
        60,
        &["msg_zerocopy"],
        &format!("{OPTMEM}; {common} -t 3 -C 1 -r {kind}"),
        &format!("{common} -t 1 -C 0 -Z 0 {kind}"),
    )
}

/// Sends by io_uring, without copying where the options say so.
fn uring_send(name: &'static str, family: u8, address: &str, kind: &str, options: &str) -> Test {
    let receive = format!("./msg_zerocopy -{family} -t 3 -C 1 -S {address} -D {address} -r {kind}");
    pair(
        name,
        60,
        &["msg_zerocopy", "io_uring_zerocopy_tx"],
        &format!("{OPTMEM}; {receive}"),
        &format!("./io_uring_zerocopy_tx -{family} -t 1 -D {address} {options} {kind}"),
    )
}

/// What a socket may have in flight without copying.
const OPTMEM: &str = "sysctl -q -w net.core.optmem_max=1000000";

/// A file each way, by the sockets of a protocol and a way to move the bytes.
fn transfer(name: &'static str, kind: &str, way: &str) -> Test {
    let connect = format!("./mptcp_connect -t 30 -p 10000 -m {way} -s {kind}");
    pair(
        name,
        90,
        &["mptcp_connect"],
        &format!(
            "head -c 300000 /dev/urandom >/tmp/a; head -c 200000 /dev/urandom >/tmp/b; \
             {connect} -l 127.0.0.1 </tmp/a >/tmp/b.there"
        ),
        &format!(
            "{connect} 127.0.0.1 </tmp/b >/tmp/a.there && sleep 1 && \
             cmp /tmp/a /tmp/a.there && cmp /tmp/b /tmp/b.there"
        ),
    )
}

/// The machine talks to itself by vsock.
fn vsock(name: &'static str, limit: u64, program: &'static str) -> Test {
    let common = format!("./{program} --control-port=1234 --peer-cid=1");
    pair(
        name,
        limit,
        &[program],
        &format!("{common} --mode=server"),
        &format!("{common} --mode=client --control-host=127.0.0.1"),
    )
}

fn gso(name: &'static str, options: &str) -> Test {
    let command = format!(
        "ip addr add 10.0.0.1/32 dev lo && ip addr add fd00::1/128 dev lo && \
         ip link set lo mtu 1500 && ./udpgso {options}"
    );
    test(name, 60, "udpgso", &command)
}

/// What is tested with each cipher, with one of them. Not its tests with several processes: in an
/// emulated guest, their work is hardly done when the program's own time limit ends them.
fn tls(name: &'static str, cipher: &str) -> Test {
    const NOT: [&str; 6] = [
        "mutliproc_even",
        "mutliproc_readers",
        "mutliproc_writers",
        "mutliproc_sendpage_even",
        "mutliproc_sendpage_readers",
        "mutliproc_sendpage_writers",
    ];
    let not: String = NOT.iter().map(|test| format!("-T {test} ")).collect();
    test(name, 180, "tls", &format!("./tls {not}-v {cipher}"))
}

fn fastopen(name: &'static str, options: &str) -> Test {
    let program = "tcp_fastopen_backup_key";
    let command = format!("sysctl -q -w net.ipv4.tcp_fastopen=3 && ./{program} {options}");
    test(name, 60, program, &command)
}

/// What a kernel of every profile has all for.
fn every_profile() -> Vec<Test> {
    vec![
        // The last ones do something so often that, in an emulated guest, they are still at it when
        // the program's own time limit ends them.
        test(
            "epoll/wakeup",
            120,
            "epoll_wakeup_test",
            "./epoll_wakeup_test -T epoll59 -T epoll60",
        ),
        alone("epoll/busy_poll", 60, "epoll_busy_poll"),
        alone("eventfd/eventfd", 60, "eventfd_test"),
        test("pipe/bench", 90, "pipe_bench", "./pipe_bench -d 1"),
        test(
            "splice/default_file",
            30,
            "default_file_splice_read",
            "test \"$(./default_file_splice_read </dev/null | wc -c)\" = 0",
        ),
        test(
            "splice/proc",
            30,
            "splice_read",
            "file=/proc/sys/fs/nr_open; \
             test \"$(./splice_read $file 4096 | cat)\" = \"$(cat $file)\"",
        ),
        alone("files/close_range", 120, "close_range_test"),
        alone("files/unshare", 60, "unshare_test"),
        test(
            "files/kcmp",
            60,
            "kcmp_test",
            "here=$PWD; cd /tmp && $here/kcmp_test",
        ),
        alone("files/fd_lookup", 60, "fd-001-lookup"),
        alone("files/fd_posix", 60, "fd-002-posix-eq"),
        alone("files/anon_inode", 60, "anon_inode_test"),
        alone("files/pidfd_getfd", 60, "pidfd_getfd_test"),
        alone("unix/msg_oob", 90, "msg_oob"),
        alone("unix/scm_inq", 90, "scm_inq"),
        alone("unix/scm_pidfd", 90, "scm_pidfd"),
        alone("unix/scm_rights", 120, "scm_rights"),
        alone("unix/so_peek_off", 90, "so_peek_off"),
        alone("unix/connect", 60, "unix_connect"),
        alone("unix/connreset", 60, "unix_connreset"),
        alone("unix/listen", 60, "unix_listen"),
        alone("net/socket", 30, "socket"),
        alone("net/bind_timewait", 60, "bind_timewait"),
        alone("net/bind_wildcard", 120, "bind_wildcard"),
        alone("net/getsockopt_iter", 60, "getsockopt_iter"),
        alone("net/icmp_rfc4884", 60, "icmp_rfc4884"),
        test(
            "net/ip_local_port_range",
            90,
            "ip_local_port_range",
            "sysctl -q -w net.ipv4.ip_local_port_range='40000 49999' && ./ip_local_port_range \
             -v ip4_tcp -v ip4_udp -v ip6_tcp -v ip6_udp",
        ),
        alone("net/ipv6_fragmentation", 60, "ipv6_fragmentation"),
        alone("net/reuseaddr_conflict", 60, "reuseaddr_conflict"),
        test(
            "net/reuseaddr_ports_exhausted",
            60,
            "reuseaddr_ports_exhausted",
            "sysctl -q -w net.ipv4.ip_local_port_range='32768 32768' && \
         sysctl -q -w net.ipv4.ip_autobind_reuse=1 && ./reuseaddr_ports_exhausted",
        ),
        alone("net/reuseport_addr_any", 60, "reuseport_addr_any"),
        alone("net/reuseport_bpf_cpu", 60, "reuseport_bpf_cpu"),
        alone("net/reuseport_dualstack", 60, "reuseport_dualstack"),
        test(
            "net/reuseport_listen",
            120,
            "stress_reuseport_listen",
            "sysctl -q -w net.ipv6.ip_nonlocal_bind=1 && ulimit -n 5000 && \
         ./stress_reuseport_listen 30 80",
        ),
        alone("net/rxtimestamp", 60, "rxtimestamp"),
        alone("net/sk_bind_sendto_listen", 60, "sk_bind_sendto_listen"),
        alone("net/sk_connect_zero_addr", 60, "sk_connect_zero_addr"),
        alone("net/sk_so_peek_off", 60, "sk_so_peek_off"),
        alone("net/so_incoming_cpu", 90, "so_incoming_cpu"),
        alone("net/so_netns_cookie", 30, "so_netns_cookie"),
        alone("net/tcp_inq", 60, "tcp_inq"),
        fastopen("net/tcp_fastopen_4", "-4"),
        fastopen("net/tcp_fastopen_6", "-6"),
        fastopen("net/tcp_fastopen_4_sockopt_rotate", "-4sr"),
        alone("net/udp_splice_checksum", 60, "udp_splice_checksum"),
        gso("net/udpgso_4", "-4 -C"),
        gso("net/udpgso_4_setsockopt", "-4 -C -s"),
        gso("net/udpgso_4_more", "-4 -C -m"),
        gso("net/udpgso_6", "-6 -C"),
        gso("net/udpgso_6_setsockopt", "-6 -C -s"),
        zerocopy("net/zerocopy_tcp_4", 4, "127.0.0.1", "tcp", ""),
        zerocopy("net/zerocopy_tcp_4_z", 4, "127.0.0.1", "tcp", "-z"),
        zerocopy("net/zerocopy_tcp_6_z", 6, "::1", "tcp", "-z"),
        zerocopy("net/zerocopy_udp_4", 4, "127.0.0.1", "udp", ""),
        zerocopy("net/zerocopy_udp_4_z", 4, "127.0.0.1", "udp", "-z"),
        transfer("net/tcp_poll", "TCP", "poll"),
        transfer("net/tcp_mmap", "TCP", "mmap"),
        transfer("net/tcp_sendfile", "TCP", "sendfile"),
        test("packet/snd_dgram", 30, "psock_snd", "./psock_snd -d"),
        test(
            "packet/snd_dgram_bind",
            30,
            "psock_snd",
            "./psock_snd -d -b",
        ),
        test("packet/snd_raw", 30, "psock_snd", "./psock_snd"),
        test("packet/snd_raw_bypass", 30, "psock_snd", "./psock_snd -q"),
        test("packet/snd_raw_vnet", 30, "psock_snd", "./psock_snd -v -c"),
        test("packet/snd_drops", 30, "psock_snd", "./psock_snd -D"),
        test("packet/snd_aux", 30, "psock_snd", "./psock_snd -a"),
        alone("packet/tpacket", 120, "psock_tpacket"),
        alone("packet/txring_overwrite", 60, "txring_overwrite"),
        uring_send("io_uring/tcp_4", 4, "127.0.0.1", "tcp", "-m 1 -n 1"),
        uring_send("io_uring/tcp_4_zc", 4, "127.0.0.1", "tcp", "-m 2 -n 1"),
        uring_send("io_uring/tcp_6_zc_fixed", 6, "::1", "tcp", "-m 3 -n 1"),
        uring_send("io_uring/udp_4", 4, "127.0.0.1", "udp", "-m 1 -n 32"),
        uring_send("io_uring/udp_4_zc", 4, "127.0.0.1", "udp", "-m 2 -n 32"),
        uring_send("io_uring/udp_6_zc_fixed", 6, "::1", "udp", "-m 3 -n 32"),
        test("tls/apart_from_ciphers", 120, "tls", "./tls -F tls"),
        tls("tls/tls12_aes_gcm", "12_aes_gcm"),
        tls("tls/tls13_aes_gcm", "13_aes_gcm"),
    ]
}

/// What takes `qemu/peers.config`.
fn only_wide() -> Vec<Test> {
    vec![
        alone("unix/diag_uid", 60, "diag_uid"),
        alone("net/tap", 60, "tap"),
        test(
            "net/ip_local_port_range_mptcp",
            90,
            "ip_local_port_range",
            "sysctl -q -w net.ipv4.ip_local_port_range='40000 49999' && ./ip_local_port_range \
             -v ip4_mptcp -v ip6_mptcp",
        ),
        tls("tls/tls12_chacha", "12_chacha"),
        tls("tls/tls13_aes_ccm", "13_aes_ccm"),
        tls("tls/tls13_sm4_gcm", "13_sm4_gcm"),
        tls("tls/tls12_aria_gcm", "12_aria_gcm"),
        alone("mptcp/sockopt", 60, "mptcp_sockopt"),
        test("mptcp/sockopt_6", 60, "mptcp_sockopt", "./mptcp_sockopt -6"),
        alone("mptcp/inq", 60, "mptcp_inq"),
        test("mptcp/inq_from_tcp", 60, "mptcp_inq", "./mptcp_inq -t tcp"),
        transfer("mptcp/poll", "MPTCP", "poll"),
        transfer("mptcp/mmap", "MPTCP", "mmap"),
        vsock("vsock/vsock", 240, "vsock_test"),
        vsock("vsock/diag", 90, "vsock_diag_test"),
        vsock("io_uring/vsock", 120, "vsock_uring_test"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::sources::{program, PROGRAMS};
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> Vec<Test> {
        select(None, true)
    }

    #[test]
    fn names_are_different_and_have_a_group() {
        let names: BTreeSet<&str> = all().iter().map(|test| test.name).collect();
        assert_eq!(names.len(), all().len());
        for test in all() {
            let (group, name) = test.name.split_once('/').unwrap();
            assert!(!group.is_empty() && !name.is_empty());
            assert!(!test.name.contains(char::is_whitespace));
        }
    }

    #[test]
    fn a_test_runs_the_programs_that_it_names_and_each_is_there() {
        for test in all() {
            assert!(!test.command.contains('\n'), "{}", test.name);
            for name in &test.programs {
                assert!(program(name).is_some(), "{name}");
                assert!(test.command.contains(&format!("/{name}")), "{}", test.name);
            }
        }
    }

    #[test]
    fn every_program_is_run() {
        for program in PROGRAMS {
            let used = all()
                .iter()
                .any(|test| test.programs.contains(&program.name));
            assert!(used, "{}", program.name);
        }
    }

    #[test]
    fn the_filter_takes_a_part_of_the_name() {
        assert!(select(None, false).len() < all().len());
        assert!(select(Some("unix/"), false)
            .iter()
            .all(|test| test.name.starts_with("unix/")));
        assert!(select(Some("nothing like it"), true).is_empty());
    }
}
