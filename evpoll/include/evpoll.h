/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The system calls of evpoll as functions: evpoll(7) describes them. There is nothing to link.
 *
 * For C from C89 and C++ from C++98 on. EVPOLL_CLOEXEC is O_CLOEXEC, which <fcntl.h> hides with
 * -std=c89 and the like, unless _GNU_SOURCE is defined.
 */
#ifndef EVPOLL_H
#define EVPOLL_H

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/evpoll.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Not in the headers of every C library. */
#ifndef POLLREMOVE
#define POLLREMOVE		0x1000
#endif

/* System calls of the x32 ABI have a bit of their own in their number. */
#if !defined(__x86_64__) || !defined(__ILP32__)
#define EVPOLL_NR(n)		(n)
#elif defined(__X32_SYSCALL_BIT)
#define EVPOLL_NR(n)		((long)__X32_SYSCALL_BIT + (n))
#else
#define EVPOLL_NR(n)		(0x40000000L + (n))
#endif

/* Not in the headers of every kernel. */
#ifndef __NR_evpoll_create
#define __NR_evpoll_create	EVPOLL_NR(473)
#endif
#ifndef __NR_evpoll_ctl
#define __NR_evpoll_ctl		EVPOLL_NR(474)
#endif
#ifndef __NR_evpoll_wait
#define __NR_evpoll_wait	EVPOLL_NR(475)
#endif

/* What <unistd.h> declares, unless it is asked to be strict. */
#if !defined(__cplusplus) && !defined(__USE_MISC)
extern long syscall(long, ...);
#endif

/* There are no options yet. */
struct evpoll_wait_opts;

/* A queue for so many descriptors; -1 and errno. */
static __inline__ int evpoll_create(int maxfds, unsigned int flags)
{
	return (int)syscall(__NR_evpoll_create, maxfds, flags);
}

/*
 * Adds (EP_CTL_ADD_AND_TEST), modifies (EP_CTL_MOD_AND_TEST) or removes (EP_CTL_DEL) a descriptor.
 * EP_CTL_ADD and EP_CTL_MOD report nothing that is there already: try before you wait. data is 0.
 */
static __inline__ int evpoll_ctl(int epfd, int op, int fd, unsigned int events, unsigned long data)
{
	return (int)syscall(__NR_evpoll_ctl, epfd, op, fd, events, data);
}

/*
 * How many descriptors something has happened to, 0 after so many milliseconds; -1 waits for ever.
 * They stay at *events until the next wait. opts is NULL, opts_size 0.
 */
static __inline__ int evpoll_wait(int epfd, const struct pollfd **events, int timeout_ms,
				  const struct evpoll_wait_opts *opts, size_t opts_size)
{
	return (int)syscall(__NR_evpoll_wait, epfd, events, timeout_ms, opts, opts_size);
}

/* The length to mmap(2), for a queue of so many descriptors: two buffers of whole pages. */
static __inline__ size_t evpoll_map_size(int maxfds)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t entries = page / sizeof(struct pollfd);

	return 2 * (((size_t)maxfds + entries - 1) / entries) * page;
}

#ifdef __cplusplus
}
#endif

#endif /* EVPOLL_H */
