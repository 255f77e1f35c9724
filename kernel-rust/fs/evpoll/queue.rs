// SPDX-License-Identifier: GPL-2.0

//! The queue. Its locks and lifetimes are described in the [crate](crate)'s documentation.

use crate::{
    buffer::{
        DoubleBuffer,
        SqueezeOut, //
    },
    interest::{
        Key,
        Table, //
    },
    map::{
        Directory,
        LastMapping,
        Memory,
        PointerVariable,
        ENTRIES_PER_PAGE, //
    },
    watch::{
        interest,
        key_of,
        Watch,
        WatchRef, //
    },
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    ffi::c_int,
    fs::{
        anon_inode::{
            self,
            AnonFile,
            FileOperations, //
        },
        fcblist::{
            poll_now,
            Callback,
            HooksEnabled, //
        },
        file::FileDescriptorReservation,
        File, //
    },
    mm::virt::VmaNew,
    new_mutex,
    new_wait_lock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        poll::PollTable,
        wait_lock::{
            Unready,
            WaitLock, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    }, //
};

/// What the queue's own descriptor reports, and its wake-ups carry, while events are pending.
pub(crate) const PENDING: u32 = bindings::POLLIN | bindings::POLLRDNORM;

/// The bits that may be asked for.
const EVENTS: u32 = bindings::POLLIN
    | bindings::POLLPRI
    | bindings::POLLOUT
    | bindings::POLLERR
    | bindings::POLLHUP
    | bindings::POLLRDNORM
    | bindings::POLLRDBAND
    | bindings::POLLWRNORM
    | bindings::POLLWRBAND
    | bindings::POLLMSG
    | bindings::POLLRDHUP;

/// Entries that are moved without letting others at the lock in between.
const SQUEEZE_STEP: u32 = 256;

/// The most files that one number may be watched for: there is more than one if the number was
/// reused while a duplicate kept the file that it had before. They are told apart one by one, with
/// interrupts off in [`Queue::squeeze`].
const FILES_PER_FD: usize = 64;

/// What `Queue::state` protects.
pub(crate) struct State {
    pub(crate) buffer: DoubleBuffer,
    pub(crate) directory: Directory,
    pub(crate) mapping: LastMapping,
    /// A half that was handed out is having its holes squeezed out: it must not be turned over to
    /// the producers meanwhile.
    squeezing: bool,
}

impl State {
    /// Whether there is something to hand out.
    #[inline]
    fn is_ready(&self) -> bool {
        self.buffer.pending() != 0 && !self.squeezing
    }
}

/// The memory of the interest table.
struct Places(KVVec<Option<WatchRef>>);

impl AsRef<[Option<WatchRef>]> for Places {
    fn as_ref(&self) -> &[Option<WatchRef>] {
        &self.0
    }
}

impl AsMut<[Option<WatchRef>]> for Places {
    fn as_mut(&mut self) -> &mut [Option<WatchRef>] {
        &mut self.0
    }
}

type Interest = Table<WatchRef, Places>;

/// The user whose watches are counted: the one who created the queue.
///
/// # Invariants
///
/// Owns a reference.
struct User(NonNull<bindings::user_struct>);

// SAFETY: A `user_struct` is reference counted and its counter of watches is atomic.
unsafe impl Send for User {}
// SAFETY: As above.
unsafe impl Sync for User {}

impl User {
    fn current() -> Result<Self> {
        // SAFETY: There are no requirements.
        NonNull::new(unsafe { bindings::evpoll_get_user() })
            .map(Self)
            .ok_or(EINVAL)
    }

    fn charge(&self) -> Result<Charge<'_>> {
        // SAFETY: By the type invariants.
        if unsafe { bindings::evpoll_charge_watch(self.0.as_ptr()) } {
            Ok(Charge(self))
        } else {
            Err(ENOSPC)
        }
    }

    fn uncharge(&self, watches: usize) {
        // SAFETY: By the type invariants.
        unsafe { bindings::evpoll_uncharge_watches(self.0.as_ptr(), watches as isize) };
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::evpoll_put_user(self.0.as_ptr()) };
    }
}

/// A watch that is counted already, but not in the table yet.
struct Charge<'a>(&'a User);

impl Charge<'_> {
    /// The watch is in the table: it is uncharged when it is taken out.
    fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.0.uncharge(1);
    }
}

/// An event queue.
#[pin_data]
pub(crate) struct Queue {
    /// The wait queue of those who wait or poll, with what its lock protects.
    #[pin]
    pub(crate) state: WaitLock<State>,
    /// The watches.
    #[pin]
    ctl: Mutex<Interest>,
    /// The pages and mappings.
    #[pin]
    pub(crate) memory: Mutex<Memory>,
    /// The most watches that there may be.
    maxfds: u32,
    /// Pages of a half.
    pub(crate) pages: u32,
    user: User,
    _hooks: HooksEnabled,
}

/// The file of a queue.
pub(crate) struct QueueFile;

static QUEUE_FILE: FileOperations<QueueFile> = FileOperations::new();

// SAFETY: `operations` returns a static.
unsafe impl AnonFile for QueueFile {
    type Data = Arc<Queue>;

    const NAME: &'static CStr = c"[evpoll]";

    fn operations() -> &'static FileOperations<Self> {
        &QUEUE_FILE
    }

    fn release(queue: Arc<Queue>) {
        queue.remove_all();
        queue.unmap_all();
    }

    fn poll(queue: ArcBorrow<'_, Queue>, file: &File, table: PollTable<'_>) -> u32 {
        // SAFETY: The file has a reference to the queue until it is released.
        unsafe { queue.state.register(file, &table) };
        if queue.state.lock().buffer.pending() != 0 {
            PENDING
        } else {
            0
        }
    }

    fn mmap(queue: ArcBorrow<'_, Queue>, _file: &File, vma: &VmaNew) -> Result {
        QueueFile::map(&queue, vma)
    }

    fn show_fdinfo(queue: ArcBorrow<'_, Queue>, m: &SeqFile) {
        seq_print!(m, "maxfds:\t{}\n", queue.maxfds);
        let table = queue.ctl.lock();
        let mut place = 0;
        while let Some((watch, next)) = table.next_from(place) {
            // SAFETY: It is in the table, and `ctl` is held.
            let watch = unsafe { watch.as_ref() };
            seq_print!(m, "tfd: {:8} events: {:8x}\n", watch.id(), watch.events());
            place = next;
        }
    }
}

/// `evpoll_create(2)`.
pub(crate) fn create(maxfds: u32, flags: u32) -> Result<c_int> {
    if maxfds == 0 || maxfds > bindings::EVPOLL_MAX_FDS {
        return Err(EINVAL);
    }
    if flags & !bindings::O_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let reservation = FileDescriptorReservation::get_unused_fd_flags(flags)?;
    let queue = Arc::pin_init(Queue::new(maxfds)?, GFP_KERNEL_ACCOUNT)?;
    let file = anon_inode::getfile::<QueueFile>(queue.clone(), bindings::O_RDWR)?;
    queue.as_arc_borrow().init_memory()?;
    queue.ensure_mapped()?;

    let fd = reservation.reserved_fd();
    reservation.fd_install(file);
    Ok(fd as c_int)
}

/// The operations of `evpoll_ctl(2)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add { test: bool },
    Del,
    Mod { test: bool },
}

impl TryFrom<c_int> for Op {
    type Error = Error;

    fn try_from(op: c_int) -> Result<Self> {
        Ok(match op as u32 {
            bindings::EP_CTL_ADD => Op::Add { test: false },
            bindings::EP_CTL_DEL => Op::Del,
            bindings::EP_CTL_MOD => Op::Mod { test: false },
            bindings::EP_CTL_ADD_AND_TEST => Op::Add { test: true },
            bindings::EP_CTL_MOD_AND_TEST => Op::Mod { test: true },
            _ => return Err(EINVAL),
        })
    }
}

/// `evpoll_ctl(2)`.
pub(crate) fn ctl(queue_file: &File, op: Op, file: &File, fd: i32, events: u32) -> Result {
    let queue = anon_inode::data_of::<QueueFile>(queue_file).ok_or(EINVAL)?;
    if events & !EVENTS != 0 {
        return Err(EINVAL);
    }
    let events = events as u16;
    match op {
        Op::Add { .. } if core::ptr::eq(queue_file, file) => Err(ELOOP),
        Op::Add { test } => Queue::add(queue, file, fd, events, test),
        Op::Mod { test } => queue.modify(file, fd, events, test),
        Op::Del => queue.remove(key_of(fd, file)).ok_or(ENOENT),
    }
}

impl Queue {
    fn new(maxfds: u32) -> Result<impl PinInit<Self>> {
        let user = User::current()?;
        // One entry more than there may be watches: room for a hole, see `make_room`.
        let pages = (maxfds + 1).div_ceil(ENTRIES_PER_PAGE);
        Ok(pin_init!(Self {
            state <- new_wait_lock!(State {
                buffer: DoubleBuffer::new(),
                directory: Directory::new(),
                mapping: LastMapping::NONE,
                squeezing: false,
            }, "evpoll::state"),
            ctl <- new_mutex!(Queue::no_watches(), "evpoll::ctl"),
            memory <- new_mutex!(Memory::new(), "evpoll::memory"),
            maxfds,
            pages,
            user,
            _hooks: HooksEnabled::new(),
        }))
    }

    fn no_watches() -> Interest {
        // SAFETY: There are no requirements.
        Table::new(Places(KVVec::new()), unsafe { bindings::get_random_u64() })
    }

    /// `EP_CTL_ADD`.
    fn add(this: ArcBorrow<'_, Self>, file: &File, fd: i32, events: u16, test: bool) -> Result {
        let mut watch = Watch::new(this, fd, events)?;
        let mut table = this.ctl.lock();

        if table.find(key_of(fd, file)).is_some() {
            return Err(EEXIST);
        }
        if table.len() >= this.maxfds as usize {
            return Err(E2BIG);
        }
        if table.count_fd(fd) >= FILES_PER_FD {
            return Err(ENOSPC);
        }
        let charge = this.user.charge()?;
        if let Some(places) = table.wants() {
            let places = KVVec::from_elem(None, places, GFP_KERNEL_ACCOUNT)?;
            drop(table.replace(Places(places)));
        }
        this.make_room(&table)?;

        // From here on it may be called back. It cannot be found in the table, but whoever may look
        // for it waits for `ctl`, or for the reference to the file that the caller holds.
        watch.as_mut().add(file, interest(events))?;
        let watch = WatchRef::from_box(watch);
        table.insert(watch);
        charge.keep();

        // SAFETY: It is in the table, and `ctl` is held.
        this.look(unsafe { watch.as_ref() }, file, events, test);
        Ok(())
    }

    /// `EP_CTL_MOD`.
    fn modify(&self, file: &File, fd: i32, events: u16, test: bool) -> Result {
        let table = self.ctl.lock();
        let watch = table.find(key_of(fd, file)).ok_or(ENOENT)?;
        self.make_room(&table)?;

        // SAFETY: It is in the table, and `ctl` is held.
        let watch = unsafe { watch.as_ref() };
        // First no more events that are not asked for any more, then none that are left.
        watch.modify(interest(events));
        watch.narrow(events);
        self.look(watch, file, events, test);
        Ok(())
    }

    /// Calls `->poll()`, which a producer may depend on, and queues what it says if that is wanted.
    fn look(&self, watch: &Callback<Watch>, file: &File, events: u16, test: bool) {
        let found = poll_now(file, interest(events)) & interest(events);
        if test && found != 0 {
            let mut state = self.state.lock();
            // SAFETY: Both callers have found the watch in this queue's table, or put it there.
            unsafe { Watch::post(watch, &mut state, found) };
        }
    }

    /// Takes a watch out of the table and frees it.
    pub(crate) fn remove(&self, key: Key) -> Option<()> {
        let mut table = self.ctl.lock();
        let watch = table.remove(key)?;
        // SAFETY: It was taken out of the table.
        Self::free(unsafe { watch.into_box() });
        self.user.uncharge(1);
        Some(())
    }

    /// Frees a watch: no more callbacks, then no event that is left of it. `ctl` is held.
    fn free(mut watch: Pin<KBox<Callback<Watch>>>) {
        watch.as_mut().remove();
        watch.revoke();
    }

    /// The queue is being released: frees all watches.
    fn remove_all(&self) {
        let mut table = self.ctl.lock();
        // Whoever comes for a watch now finds none.
        let all = core::mem::replace(&mut *table, Self::no_watches());
        self.user.uncharge(all.len());
        let mut place = 0;
        while let Some((watch, next)) = all.next_from(place) {
            // SAFETY: It was taken out of the table, and `all` is not used to find it again.
            Self::free(unsafe { watch.into_box() });
            place = next;
            // SAFETY: May be called with a mutex held.
            unsafe { bindings::cond_resched() };
        }
    }

    /// Sees to it that there is an entry for one more watch, or for one more hole.
    ///
    /// Holes only come into being with `ctl` held, as it is here, so what this finds stays true:
    /// a producer never finds the half full.
    fn make_room(&self, table: &Interest) -> Result {
        let wanted = (table.len() as u32).wrapping_add(1);
        loop {
            let (capacity, overfull, holes) = {
                let state = self.state.lock();
                let capacity = state.directory.capacity();
                (
                    capacity,
                    state.buffer.overfull(wanted, capacity),
                    state.buffer.holes(),
                )
            };
            if !overfull {
                return Ok(());
            }
            // A page's worth of holes is worth the work, unless there is no other way.
            let complete = capacity >= self.pages.wrapping_mul(ENTRIES_PER_PAGE);
            if complete || holes >= ENTRIES_PER_PAGE {
                self.squeeze(table);
            } else {
                self.commit_more()?;
            }
        }
    }

    /// Squeezes the holes out of the half that is being filled.
    fn squeeze(&self, table: &Interest) {
        loop {
            let mut state = self.state.lock();
            let State {
                buffer, directory, ..
            } = &mut *state;
            let done = buffer.squeeze(directory, SQUEEZE_STEP, |buffer, fd, from, to| {
                table.find_fd(fd, |watch| {
                    // SAFETY: It is in the table and `ctl` is held; `state` is held.
                    let slot = unsafe { watch.as_ref().slot() };
                    let found = slot.is_at(buffer, from);
                    if found {
                        slot.relocate(to);
                    }
                    found
                });
            });
            if done {
                return;
            }
        }
    }

    /// Wakes another who waits, if there is something for him: for one who was woken, but cannot
    /// take it.
    fn pass_on(&self) {
        let mut state = self.state.lock();
        if state.is_ready() && state.has_sleepers() {
            state.wake_up(PENDING);
        }
    }

    /// Finishes a hand-out that has holes. Returns the number of entries left.
    fn squeeze_out(&self, mut work: SqueezeOut) -> u32 {
        loop {
            let mut state = self.state.lock();
            if let Some(left) = work.go_on(&mut state.directory, SQUEEZE_STEP) {
                state.squeezing = false;
                if state.is_ready() && state.has_sleepers() {
                    state.wake_up(PENDING);
                }
                return left;
            }
        }
    }
}

/// `evpoll_wait(2)`.
pub(crate) fn wait(file: &File, events: PointerVariable, timeout_ms: c_int) -> Result<c_int> {
    let queue = anon_inode::data_of::<QueueFile>(file).ok_or(EINVAL)?;
    if timeout_ms < -1 {
        return Err(EINVAL);
    }
    let mut deadline = None;

    loop {
        let mut state = queue.state.lock();
        if !state.is_ready() {
            if timeout_ms == 0 {
                return Ok(0);
            }
            drop(state);
            if timeout_ms > 0 && deadline.is_none() {
                deadline = Some(deadline_in(timeout_ms));
            }
            let (guard, result) = queue
                .state
                .wait_until(deadline, timer_slack(), State::is_ready);
            match result {
                Ok(()) => state = guard,
                Err(Unready::TimedOut) => return Ok(0),
                Err(Unready::Signal) => return Err(EINTR),
            }
        }

        let Some(start) = state.mapping.start() else {
            drop(state);
            if let Err(err) = queue.ensure_mapped() {
                queue.pass_on();
                return Err(err);
            }
            continue;
        };
        let address = start.wrapping_add(state.buffer.filling().wrapping_mul(queue.half_size()));

        // With the lock held, so that the address is that of the half that is handed out, and
        // before it is handed out, so that no event is lost if it cannot be stored.
        if !events.try_store(address) {
            drop(state);
            if let Err(err) = events.store(address) {
                queue.pass_on();
                return Err(err);
            }
            continue;
        }

        let out = state.buffer.flip();
        if out.holes == 0 {
            return Ok(out.used as c_int);
        }
        state.squeezing = true;
        drop(state);
        return Ok(queue.squeeze_out(SqueezeOut::new(out)) as c_int);
    }
}

/// The time, in nanoseconds of `CLOCK_MONOTONIC`, that is `timeout_ms` from now.
fn deadline_in(timeout_ms: c_int) -> i64 {
    // SAFETY: May be called in process context.
    let now = unsafe { bindings::ktime_get() };
    now.saturating_add(i64::from(timeout_ms).saturating_mul(1_000_000))
}

/// How much later than asked for the current task lets timers fire, in nanoseconds.
fn timer_slack() -> u64 {
    // SAFETY: The current task is valid. Another may set its slack, by /proc/PID/timerslack_ns, so
    // it is read as a whole; any value will do.
    unsafe { (&raw const (*bindings::get_current()).timer_slack_ns).read_volatile() }
}
