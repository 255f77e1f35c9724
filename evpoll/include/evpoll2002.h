/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * evpoll by the names of 2002: a program that was written for sys_epoll includes this file instead
 * of the kernel's headers, and stays as it is otherwise.
 *
 * The three calls are functions here. What else they take today (flags, data, options) is zero.
 */
#ifndef EVPOLL2002_H
#define EVPOLL2002_H

/* The operations of sys_epoll_ctl(), POLLREMOVE, and the requests of /dev/eventpoll */
#include "evpoll.h"

#ifdef __cplusplus
extern "C" {
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
	return evpoll_create(maxfds, 0);
}

static __inline__ int sys_epoll_ctl(int epfd, int op, int fd, unsigned int events)
{
	return evpoll_ctl(epfd, op, fd, events, 0);
}

/* How many there are, 0 after so many milliseconds; they stay at *events until the next call. */
static __inline__ int sys_epoll_wait(int epfd, struct pollfd const **events, int timeout)
{
	return evpoll_wait(epfd, events, timeout, NULL, 0);
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
