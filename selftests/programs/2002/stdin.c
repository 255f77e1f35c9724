// SPDX-License-Identifier: GPL-2.0
/*
 * Waits for standard input, for so many milliseconds, and prints how many descriptors the wait
 * returned and what happened to them. With -t, what is there already counts as well.
 *
 *	stdin [-t] MILLISECONDS
 */
#include <evpoll2002.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	int op = EP_CTL_ADD;
	struct pollfd const *events;
	int queue, count, i;

	if (argc > 1 && !strcmp(argv[1], "-t")) {
		op = EP_CTL_ADD_AND_TEST;
		argc--;
		argv++;
	}
	if (argc != 2) {
		fprintf(stderr, "usage: stdin [-t] MILLISECONDS\n");
		return 2;
	}
	/* Who reads this may be waiting for the line. */
	setvbuf(stdout, NULL, _IOLBF, 0);

	queue = sys_epoll_create(10);
	if (queue < 0) {
		printf("create: %s\n", strerror(errno));
		return 1;
	}
	if (sys_epoll_ctl(queue, op, STDIN_FILENO, POLLIN) < 0) {
		printf("add: %s\n", strerror(errno));
		return 1;
	}
	printf("waiting\n");
	count = sys_epoll_wait(queue, &events, atoi(argv[1]));
	if (count < 0) {
		printf("wait: %s\n", strerror(errno));
		return 1;
	}
	printf("returned %d\n", count);
	for (i = 0; i < count; i++)
		printf("fd %d: 0x%x\n", events[i].fd, (unsigned int)events[i].revents);
	return 0;
}
