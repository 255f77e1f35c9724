/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every name of evpoll.h and of the kernel's header, checked where that can be done without running
 * anything. Is only compiled.
 */
#ifdef KERNEL_HEADER_FIRST
#include <linux/evpoll.h>
#endif
#ifdef NAMES_OF_2002_FIRST
#include <evpoll2002.h>
#endif
#include <evpoll.h>
#include <evpoll.h>
#include <linux/evpoll.h>
#include <errno.h>
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
CHECK(most, EVPOLL_MAX_FDS == 16777216);
CHECK(entry_size, sizeof(struct pollfd) == 8);
CHECK(evpoll_size, sizeof(struct evpoll) == 2 * LONG);
CHECK(alloc, EP_ALLOC == 0x80045001UL);
CHECK(poll_size, EP_POLL == (0xc0005002UL | 2 * LONG << 16));
CHECK(give_back, EP_FREE == 0x5003);
CHECK(is_polled, EP_ISPOLLED == 0xc0085004UL);
CHECK(poll_remove, POLLREMOVE == 0x1000);
#ifdef O_CLOEXEC
CHECK(close_on_exec, EVPOLL_CLOEXEC == O_CLOEXEC);
#endif

static void *map(int fd, int maxfds)
{
	return mmap(NULL, evpoll_map_size(maxfds), PROT_READ, MAP_SHARED, fd, 0);
}

int main(void)
{
	const struct pollfd *events;
	struct evpoll request;
	int i, n, queue, sum = 0;

	request.ep_timeout = -1;
	request.ep_resoff = 0;
	queue = evpoll_create(10, 0);
	if (queue < 0 || evpoll_ctl(queue, EP_CTL_ADD_AND_TEST, 0, POLLIN, 0) < 0)
		return errno;
	n = evpoll_wait(queue, &events, -1, NULL, 0);
	for (i = 0; i < n; i++)
		sum += events[i].revents;
	return map(queue, 10) != MAP_FAILED ? sum : ioctl(queue, EP_POLL, &request);
}
