/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every name of the header, used as a program of 2002 does, and checked where that can be done
 * without running anything. Is only compiled.
 */
#ifdef KERNEL_HEADER_FIRST
#include <linux/evpoll.h>
#endif
#ifdef EVPOLL_HEADER_FIRST
#include <evpoll.h>
#endif
#include <evpoll2002.h>
#include <evpoll2002.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#define CHECK(name, condition) typedef char name[(condition) ? 1 : -1]

#define LONG (sizeof(long))
#if defined(__x86_64__) && defined(__ILP32__)
#define FIRST (0x40000000 + 473)
#else
#define FIRST 473
#endif

CHECK(operations, EP_CTL_ADD == 1 && EP_CTL_DEL == 2 && EP_CTL_MOD == 3);
CHECK(with_test, EP_CTL_ADD_AND_TEST == 4 && EP_CTL_MOD_AND_TEST == 5);
CHECK(numbers, __NR_evpoll_create == FIRST && __NR_evpoll_ctl == FIRST + 1);
CHECK(last_number, __NR_evpoll_wait == FIRST + 2);
CHECK(evpoll_size, sizeof(struct evpoll) == 2 * LONG);
CHECK(alloc, EP_ALLOC == 0x80045001UL);
CHECK(poll_size, EP_POLL == (0xc0005002UL | 2 * LONG << 16));
CHECK(give_back, EP_FREE == 0x5003);
CHECK(is_polled, EP_ISPOLLED == 0xc0085004UL);
CHECK(poll_remove, POLLREMOVE == 0x1000);

#define __sys_epoll_create(maxfds) _syscall1(int, sys_epoll_create, int, maxfds)
#define __sys_epoll_ctl(epfd, op, fd, events) _syscall4(int, sys_epoll_ctl, \
	int, epfd, int, op, int, fd, unsigned int, events)
#define __sys_epoll_wait(epfd, events, timeout) _syscall3(int, sys_epoll_wait, \
	int, epfd, struct pollfd const **, events, int, timeout)

__sys_epoll_create(maxfds)
__sys_epoll_ctl(epfd, op, fd, events)
__sys_epoll_wait(epfd, events, timeout)

static int device(int fd, int n)
{
	struct evpoll wait;
	struct pollfd change;
	void *map;

	if (ioctl(fd, EP_ALLOC, n) < 0)
		return -1;
	map = mmap(0, EP_MAP_SIZE(n), PROT_READ, MAP_PRIVATE, fd, 0);
	change.fd = 0;
	change.events = POLLREMOVE;
	change.revents = 0;
	if (map == MAP_FAILED || write(fd, &change, sizeof(change)) < 0)
		return -1;
	wait.ep_timeout = -1;
	wait.ep_resoff = EP_FDS_PAGES(n) * PAGE_SIZE / POLLFD_X_PAGE;
	return ioctl(fd, EP_ISPOLLED, &change) + ioctl(fd, EP_POLL, &wait) + ioctl(fd, EP_FREE);
}

int main(void)
{
	struct pollfd const *events;
	int queue, n, i, sum = 0;

	if ((queue = sys_epoll_create(10)) < 0 || sys_epoll_ctl(queue, EP_CTL_ADD, 0, POLLIN) < 0)
		return errno;
	n = sys_epoll_wait(queue, &events, 2 * 1000);
	for (i = 0; i < n; ++i)
		sum += events[i].revents;
	return sum + device(queue, n);
}
