/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * evpoll by the names of 2002: a program that was written for sys_epoll includes this file instead
 * of the kernel's headers, and stays as it is otherwise.
 *
 * The three calls are functions here. What else they take today (flags, data, options) is zero.
 * Needs syscall(2), which <unistd.h> declares by default, but with -std=c89 and the like only
 * after -D_GNU_SOURCE. Where <linux/evpoll.h> is wanted as well, it has to be included first.
 */
#ifndef EVPOLL2002_H
#define EVPOLL2002_H

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Not in the headers of every kernel and C library. */
#ifndef POLLREMOVE
#define POLLREMOVE		0x1000
#endif

/* System calls of the x32 ABI have a bit of their own in their number. */
#if !defined(__x86_64__) || !defined(__ILP32__)
#define EVPOLL2002_NR(n)	(n)
#elif defined(__X32_SYSCALL_BIT)
#define EVPOLL2002_NR(n)	((long)__X32_SYSCALL_BIT + (n))
#else
#define EVPOLL2002_NR(n)	(0x40000000L + (n))
#endif

#ifndef __NR_evpoll_create
#define __NR_evpoll_create	EVPOLL2002_NR(473)
#endif
#ifndef __NR_evpoll_ctl
#define __NR_evpoll_ctl		EVPOLL2002_NR(474)
#endif
#ifndef __NR_evpoll_wait
#define __NR_evpoll_wait	EVPOLL2002_NR(475)
#endif

/* Operations of sys_epoll_ctl() */
#ifndef EP_CTL_ADD
#define EP_CTL_ADD		1
#define EP_CTL_DEL		2
#define EP_CTL_MOD		3
/* The same, and what is already there is reported, too. */
#define EP_CTL_ADD_AND_TEST	4
#define EP_CTL_MOD_AND_TEST	5
#endif

/* For ioctl(2) on /dev/eventpoll or on a descriptor of sys_epoll_create() */
#ifndef EP_ALLOC
struct evpoll {
	int ep_timeout;
	unsigned long ep_resoff;
};

#define EP_ALLOC		_IOR('P', 1, int)
#define EP_POLL			_IOWR('P', 2, struct evpoll)
#define EP_FREE			_IO('P', 3)
#define EP_ISPOLLED		_IOWR('P', 4, struct pollfd)
#endif

#ifndef PAGE_SIZE
#define PAGE_SIZE		((unsigned long)sysconf(_SC_PAGESIZE))
#endif

/* How many entries a page holds, and how many pages hold so many entries */
#ifndef POLLFD_X_PAGE
#define POLLFD_X_PAGE		(PAGE_SIZE / sizeof(struct pollfd))
#endif
#ifndef EP_FDS_PAGES
#define EP_FDS_PAGES(n)		(((unsigned long)(n) + POLLFD_X_PAGE - 1) / POLLFD_X_PAGE)
#endif
/* The length to mmap(2) for so many descriptors: two buffers */
#ifndef EP_MAP_SIZE
#define EP_MAP_SIZE(n)		(2 * EP_FDS_PAGES(n) * PAGE_SIZE)
#endif

/* A queue for so many descriptors; -1 and errno */
static __inline__ int sys_epoll_create(int maxfds)
{
	return (int)syscall(__NR_evpoll_create, maxfds, 0);
}

static __inline__ int sys_epoll_ctl(int epfd, int op, int fd, unsigned int events)
{
	return (int)syscall(__NR_evpoll_ctl, epfd, op, fd, events, 0UL);
}

/* How many there are, 0 after so many milliseconds; they stay at *events until the next call. */
static __inline__ int sys_epoll_wait(int epfd, struct pollfd const **events, int timeout)
{
	return (int)syscall(__NR_evpoll_wait, epfd, events, timeout, (void *)0, 0UL);
}

/*
 * Programs made the three functions by macros of the kernel's headers, which are gone. With these
 * they declare them once more, as they are here; no other system call can be made with them.
 */
#ifndef _syscall1
#define _syscall1(type, name, type1, arg1) static __inline__ type name(type1 arg1);
#endif
#ifndef _syscall3
#define _syscall3(type, name, type1, arg1, type2, arg2, type3, arg3)                               \
	static __inline__ type name(type1 arg1, type2 arg2, type3 arg3);
#endif
#ifndef _syscall4
#define _syscall4(type, name, type1, arg1, type2, arg2, type3, arg3, type4, arg4)                  \
	static __inline__ type name(type1 arg1, type2 arg2, type3 arg3, type4 arg4);
#endif

#ifdef __cplusplus
}
#endif

#endif /* EVPOLL2002_H */
