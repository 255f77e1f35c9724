/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * evpoll: event queues that are mapped into the process that waits
 */
#ifndef _LINUX_EVPOLL_H
#define _LINUX_EVPOLL_H

#include <linux/ioctl.h>

/* The most descriptors that a queue can be created for. */
#define EVPOLL_MAX_FDS		(1 << 24)

/* Flags of evpoll_create(); O_CLOEXEC is that of <fcntl.h> */
#define EVPOLL_CLOEXEC		O_CLOEXEC

/* Operations of evpoll_ctl() */
#define EP_CTL_ADD		1
#define EP_CTL_DEL		2
#define EP_CTL_MOD		3
/* As above, and queue an event for what is already true */
#define EP_CTL_ADD_AND_TEST	4
#define EP_CTL_MOD_AND_TEST	5

/*
 * The interface of /dev/eventpoll, for the descriptors of evpoll_create(), too.
 * write() takes an array of struct pollfd (<poll.h>), with POLLREMOVE among the
 * events of those to remove.
 */

/**
 * struct evpoll - argument of EP_POLL
 * @ep_timeout:	In milliseconds, -1: forever.
 * @ep_resoff:	Out: where the events are, as an offset in the mapping.
 */
struct evpoll {
	int ep_timeout;
	unsigned long ep_resoff;
};

/* Make room for this many descriptors (the argument itself, not a pointer) */
#define EP_ALLOC		_IOR('P', 1, int)
/* Wait; returns the number of events, at ep_resoff in the mapping */
#define EP_POLL			_IOWR('P', 2, struct evpoll)
/* Give up the room, and all watches */
#define EP_FREE			_IO('P', 3)
/* Whether this descriptor is watched, and for what */
#define EP_ISPOLLED		_IOWR('P', 4, struct pollfd)

#endif /* _LINUX_EVPOLL_H */
