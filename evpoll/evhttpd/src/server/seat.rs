// SPDX-License-Identifier: MIT OR Apache-2.0

//! A place among the connections.

use std::rc::Rc;

use super::Server;

/// One of as many as there may be, given back when it is dropped.
pub struct Seat {
    server: Rc<Server>,
}

impl Seat {
    /// Takes one. The caller has seen to it that there is one.
    pub fn take(server: &Rc<Server>) -> Seat {
        server.open.set(server.open.get() + 1);
        Seat {
            server: server.clone(),
        }
    }

    /// Whose it is.
    pub fn server(&self) -> &Rc<Server> {
        &self.server
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.open.set(self.server.open.get() - 1);
        let waiting = self.server.waiting.borrow_mut().take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}
