/* SPDX-License-Identifier: GPL-2.0 */
/* Compiles where the C library's headers are installed. */
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	return 0;
}
