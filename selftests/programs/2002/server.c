// SPDX-License-Identifier: GPL-2.0
/*
 * A TCP server on the loopback address: accepts, registers and reads, and prints what it does.
 *
 *	server [-t] [-l] [-p PORT] [-n WAITS] [-s SECONDS]
 *
 * -t registers such that what is there already is reported, too. -l registers a client late: only
 * after its first data has arrived. It ends after so many waits that returned something, or when
 * nothing has happened for so many seconds.
 */
#include <evpoll2002.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

static int op = EP_CTL_ADD;
static int late;
static int seconds = 10;

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

/* A socket that listens at this port, or at any for 0; prints which it is. */
static int listen_at(int port)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int on = 1;
	int sock = socket(AF_INET, SOCK_STREAM, 0);

	if (sock < 0)
		fail("socket");
	if (setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		fail("setsockopt");
	memset(&address, 0, sizeof(address));
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((unsigned short)port);
	if (bind(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("bind");
	if (listen(sock, 16) < 0)
		fail("listen");
	if (fcntl(sock, F_SETFL, O_NONBLOCK) < 0)
		fail("fcntl");
	if (getsockname(sock, (struct sockaddr *)&address, &length) < 0)
		fail("getsockname");
	printf("port %d\n", ntohs(address.sin_port));
	return sock;
}

/* Several may have connected since the event. */
static void accept_all(int queue, int sock)
{
	for (;;) {
		char first;
		int client = accept(sock, NULL, NULL);

		if (client < 0 && errno == EAGAIN)
			return;
		if (client < 0)
			fail("accept");
		if (late) {
			struct timeval limit = { seconds, 0 };

			setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
			if (recv(client, &first, 1, MSG_PEEK) < 0)
				fail("recv");
		}
		if (fcntl(client, F_SETFL, O_NONBLOCK) < 0)
			fail("fcntl");
		if (sys_epoll_ctl(queue, op, client, POLLIN) < 0)
			fail("add");
		printf("registered %d\n", client);
	}
}

/* All that there is: nothing would tell of the rest. */
static void read_all(int client)
{
	char data[256];

	for (;;) {
		ssize_t got = read(client, data, sizeof(data) - 1);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			printf("closed %d%s\n", client, got < 0 ? " by an error" : "");
			close(client);
			return;
		}
		data[got] = 0;
		printf("read %d: %s\n", client, data);
	}
}

int main(int argc, char **argv)
{
	struct pollfd const *events;
	int port = 0, waits = 100;
	int queue, sock, option;

	while ((option = getopt(argc, argv, "tlp:n:s:")) != -1) {
		switch (option) {
		case 't':
			op = EP_CTL_ADD_AND_TEST;
			break;
		case 'l':
			late = 1;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 'n':
			waits = atoi(optarg);
			break;
		case 's':
			seconds = atoi(optarg);
			break;
		default:
			fprintf(stderr, "usage: server [-t] [-l] [-p PORT] [-n WAITS] [-s SECONDS]\n");
			return 2;
		}
	}
	/* Who reads this may be waiting for the line. */
	setvbuf(stdout, NULL, _IOLBF, 0);

	queue = sys_epoll_create(10);
	if (queue < 0)
		fail("create");
	sock = listen_at(port);
	if (sys_epoll_ctl(queue, op, sock, POLLIN) < 0)
		fail("add");
	printf("waiting\n");
	while (waits-- > 0) {
		int i, count = sys_epoll_wait(queue, &events, seconds * 1000);

		if (count < 0)
			fail("wait");
		if (count == 0) {
			printf("nothing happened\n");
			return 0;
		}
		for (i = 0; i < count; i++) {
			if (events[i].fd == sock)
				accept_all(queue, sock);
			else
				read_all(events[i].fd);
		}
	}
	printf("done\n");
	return 0;
}
