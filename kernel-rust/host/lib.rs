// SPDX-License-Identifier: GPL-2.0
//! The pure parts of evpoll, compiled for the host: the very files that the kernel compiles, tested
//! against models that are too simple to be wrong. And models of what is shared without a lock, run
//! in every order that there is.

#[cfg(test)]
#[path = "../fs/evpoll/buffer.rs"]
mod buffer;
#[cfg(test)]
#[path = "../fs/evpoll/interest.rs"]
mod interest;
#[cfg(test)]
#[path = "../fs/evpoll/nesting.rs"]
mod nesting;
#[cfg(test)]
#[path = "../fs/evpoll/pool.rs"]
mod pool;

#[cfg(test)]
mod buffer_tests;
#[cfg(test)]
mod interest_tests;
#[cfg(test)]
mod nesting_tests;
#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod random;
#[cfg(test)]
mod shared;
