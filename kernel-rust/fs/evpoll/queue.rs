// SPDX-License-Identifier: GPL-2.0

//! The queue. Its locks and lifetimes are described in the [crate]'s documentation.

use crate::{
    buffer::{
        DoubleBuffer,
        HandOut,
        SqueezeOut, //
    },
    interest::{
        Key,
        Probe,
        Table, //
    },
    map::{
        Directory,
        LastMapping,
        Memory,
        PointerVariable,
        ENTRIES_PER_PAGE, //
    },
    nested::{
        self,
        Nested, //
    },
    watch::{
        interest,
        key_of,
        Watch,
        WatchRef,
        Watches, //
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
            HooksEnabled,
            Source, //
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
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollTable,
        wait_lock::{
            Unready,
            WaitLock, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    uaccess::UserSliceReader, //
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
const SQUEEZE_STEP: u32 = 64;

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
    pub(crate) count: Counters,
}

/// What a queue counts, for fdinfo.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    /// Entries that were handed out.
    events: u64,
    /// Events that were added to an entry that was pending.
    pub(crate) coalesced: u64,
    /// Events that say nothing new: the source had news, but what it said is not the case any more,
    /// or not yet, and only what was true before is.
    pub(crate) spurious: u64,
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

/// What `Queue::ctl` protects.
pub(crate) struct Ctl {
    table: Interest,
    watches: Watches,
    /// There is an entry for so many more watches or holes: see `Queue::make_room`.
    room: u32,
    /// There may be so many more watches soon.
    pub(crate) to_come: usize,
}

impl Ctl {
    fn new() -> Self {
        Self {
            table: Self::no_watches(),
            watches: Watches::new(),
            room: 0,
            to_come: 0,
        }
    }

    fn no_watches() -> Interest {
        // SAFETY: There are no requirements.
        Table::new(Places(KVVec::new()), unsafe { bindings::get_random_u64() })
    }
}

/// Makes the table larger; at once for all that are `to_come`, but no more than `most`.
#[cold]
#[inline(never)]
fn grow(table: &mut Interest, to_come: usize, most: u32) -> Result {
    let watches = table.len().saturating_add(to_come).min(most as usize);
    let places = table.wants(watches);
    let places = KVVec::from_elem(None, places, GFP_KERNEL_ACCOUNT)?;
    drop(table.replace(Places(places)));
    Ok(())
}

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
#[repr(C)] // What producers use is at the beginning.
pub(crate) struct Queue {
    /// The wait queue of those who wait or poll, with what its lock protects.
    #[pin]
    pub(crate) state: WaitLock<State>,
    /// The watches.
    #[pin]
    pub(crate) ctl: Mutex<Ctl>,
    /// The pages and mappings.
    #[pin]
    pub(crate) memory: Mutex<Memory>,
    /// The most watches that there may be. 0: `/dev/eventpoll` without `EP_ALLOC`.
    ///
    /// Written with `ctl` and `memory` held, while there is no mapping: does not change for who
    /// holds one of them, or knows of a mapping. Others get what it was a moment ago.
    maxfds: Atomic<u32>,
    /// The queues that watch this one, to tell them, ...
    #[pin]
    pub(crate) watchers: Source,
    /// ... and to know of cycles before there are any.
    pub(crate) nested: nested::Locked,
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

    fn open() -> Result<Arc<Queue>> {
        let queue = Queue::new_arc(0)?;
        queue.as_arc_borrow().init_memory()?;
        Ok(queue)
    }

    fn write(queue: ArcBorrow<'_, Queue>, file: &File, reader: UserSliceReader) -> Result<usize> {
        crate::requests::write(queue, file, reader)
    }

    fn ioctl(
        queue: ArcBorrow<'_, Queue>,
        _file: &File,
        cmd: u32,
        arg: usize,
        compat: bool,
    ) -> Result<c_int> {
        crate::requests::ioctl(&queue, cmd, arg, compat)
    }

    fn mmap(queue: ArcBorrow<'_, Queue>, _file: &File, vma: &VmaNew) -> Result {
        QueueFile::map(&queue, vma)
    }

    fn show_fdinfo(queue: ArcBorrow<'_, Queue>, m: &SeqFile) {
        let count = queue.state.lock().count;
        seq_print!(m, "maxfds:\t{}\n", queue.maxfds());
        seq_print!(m, "events:\t{}\n", count.events);
        seq_print!(m, "coalesced:\t{}\n", count.coalesced);
        seq_print!(m, "spurious:\t{}\n", count.spurious);
        let ctl = queue.ctl.lock();
        let mut place = 0;
        while let Some((watch, next)) = ctl.table.next_from(place) {
            if m.has_overflowed() {
                break;
            }
            // SAFETY: It is in the table, and `ctl` is held.
            let watch = unsafe { watch.as_ref() };
            seq_print!(m, "tfd: {:8} events: {:8x}\n", watch.id(), watch.events());
            place = next;
        }
    }
}

/// `evpoll_create(2)`.
pub(crate) fn create(maxfds: u32, flags: u32) -> Result<c_int> {
    check_maxfds(maxfds)?;
    if flags & !bindings::O_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    let reservation = FileDescriptorReservation::get_unused_fd_flags(flags)?;
    let queue = Queue::new_arc(maxfds)?;
    let file = anon_inode::getfile::<QueueFile>(queue.clone(), bindings::O_RDWR)?;
    queue.as_arc_borrow().init_memory()?;
    queue.ensure_mapped()?;

    let fd = reservation.reserved_fd();
    reservation.fd_install(file);
    Ok(fd as c_int)
}

fn check_maxfds(maxfds: u32) -> Result {
    if maxfds == 0 || maxfds > bindings::EVPOLL_MAX_FDS {
        Err(EINVAL)
    } else {
        Ok(())
    }
}

/// Prepares what all queues share, and makes the device.
///
/// # Safety
///
/// Called once, before there are queues.
pub(crate) unsafe fn init() -> Result {
    // SAFETY: By the safety requirements.
    unsafe { nested::init() };
    anon_inode::register_device::<QueueFile>(c"eventpoll", 0o666)
}

/// The operations of `evpoll_ctl(2)`, and (`Set`) of `write(2)`: add or modify, whichever it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Del,
    Mod,
    AddAndTest,
    ModAndTest,
    Set,
}

impl Op {
    /// Whether an event is queued for what is true already.
    #[inline]
    fn tests(self) -> bool {
        matches!(self, Op::AddAndTest | Op::ModAndTest)
    }
}

impl TryFrom<c_int> for Op {
    type Error = Error;

    #[inline]
    fn try_from(op: c_int) -> Result<Self> {
        Ok(match op as u32 {
            bindings::EP_CTL_ADD => Op::Add,
            bindings::EP_CTL_DEL => Op::Del,
            bindings::EP_CTL_MOD => Op::Mod,
            bindings::EP_CTL_ADD_AND_TEST => Op::AddAndTest,
            bindings::EP_CTL_MOD_AND_TEST => Op::ModAndTest,
            _ => return Err(EINVAL),
        })
    }
}

/// `evpoll_ctl(2)`.
#[inline]
pub(crate) fn ctl(queue_file: &File, op: Op, file: &File, fd: i32, events: u32) -> Result {
    let queue = anon_inode::data_of::<QueueFile>(queue_file).ok_or(EINVAL)?;
    let mut ctl = queue.ctl.lock();
    Queue::change(queue, &mut ctl, op, file, fd, events)
}

impl Queue {
    fn new(maxfds: u32) -> Result<impl PinInit<Self>> {
        let user = User::current()?;
        Ok(pin_init!(Self {
            state <- new_wait_lock!(State {
                buffer: DoubleBuffer::new(),
                directory: Directory::new(),
                mapping: LastMapping::NONE,
                squeezing: false,
                count: Counters::default(),
            }, "evpoll::state"),
            ctl <- new_mutex!(Ctl::new(), "evpoll::ctl"),
            memory <- new_mutex!(Memory::new(), "evpoll::memory"),
            maxfds: Atomic::new(maxfds),
            watchers <- Source::new(),
            nested: Nested::new(),
            user,
            _hooks: HooksEnabled::new(),
        }))
    }

    fn new_arc(maxfds: u32) -> Result<Arc<Self>> {
        let queue = Arc::pin_init(Self::new(maxfds)?, GFP_KERNEL_ACCOUNT)?;
        queue.ctl.lock().watches.belong_to(&queue);
        Ok(queue)
    }

    #[inline]
    pub(crate) fn maxfds(&self) -> u32 {
        self.maxfds.load(Relaxed)
    }

    /// Changes the watch of a descriptor. `ctl` is that of the queue.
    #[inline(always)]
    pub(crate) fn change(
        this: ArcBorrow<'_, Self>,
        ctl: &mut Ctl,
        op: Op,
        file: &File,
        fd: i32,
        events: u32,
    ) -> Result {
        if events & !EVENTS != 0 {
            return Err(EINVAL);
        }
        let events = events as u16;
        let key = key_of(fd, file);
        if op == Op::Del {
            return this.remove_from(ctl, key).ok_or(ENOENT);
        }
        let probe = ctl.table.probe(key);
        match (op, probe.found) {
            (Op::Mod | Op::ModAndTest, None) => Err(ENOENT),
            (Op::Add | Op::AddAndTest, Some(_)) => Err(EEXIST),
            (_, Some(watch)) => this.modify(ctl, watch, file, events, op.tests()),
            (_, None) => Self::add(this, ctl, probe, file, fd, events, op.tests()),
        }
    }

    /// What the descriptor is watched for, if it is.
    pub(crate) fn watched_for(&self, file: &File, fd: i32) -> Option<u16> {
        let ctl = self.ctl.lock();
        let watch = ctl.table.find(key_of(fd, file))?;
        // SAFETY: It is in the table, and `ctl` is held.
        Some(unsafe { watch.as_ref() }.events())
    }

    /// Adds a watch of a descriptor that has none, as `probe` says.
    #[inline(always)]
    fn add(
        this: ArcBorrow<'_, Self>,
        ctl: &mut Ctl,
        mut probe: Probe<WatchRef>,
        file: &File,
        fd: i32,
        events: u16,
        test: bool,
    ) -> Result {
        if ctl.table.len() >= this.maxfds() as usize {
            return Err(E2BIG);
        }
        if probe.files >= FILES_PER_FD {
            return Err(ENOSPC);
        }
        let charge = this.user.charge()?;
        this.make_room(ctl)?;
        let mut watch = ctl.watches.make(fd, events)?;
        // Last, so that nothing is different if there is no memory.
        if ctl.table.is_full() {
            grow(&mut ctl.table, ctl.to_come, this.maxfds())?;
            probe = ctl.table.probe(key_of(fd, file));
        }

        // From here on it may be called back. It cannot be found in the table, but whoever may look
        // for it waits for `ctl`, or for the reference to the file that the caller holds.
        let must_look = match anon_inode::data_of::<QueueFile>(file) {
            None => watch.as_mut().add(file, interest(events))?,
            Some(inner) => {
                this.add_to(&inner, watch.as_mut(), file, events)?;
                false
            }
        };
        let watch = watch.into_ref();
        ctl.table.insert(&probe, watch);
        charge.keep();

        if test || must_look {
            // SAFETY: It is in the table, and `ctl` is held.
            this.look(unsafe { watch.as_ref() }, file, events, test);
        }
        Ok(())
    }

    /// Puts a watch of a queue on the list of that queue, whose file is `file`.
    #[cold]
    #[inline(never)]
    fn add_to(
        &self,
        inner: &Queue,
        watch: Pin<&mut Callback<Watch>>,
        file: &File,
        events: u16,
    ) -> Result {
        nested::link(self, inner)?;
        // SAFETY: This is the only place where callbacks for a queue's file are added. The file has
        // a reference to the queue, and so to `watchers`, until it is released.
        unsafe { watch.add_at(file, &inner.watchers, interest(events)) }
            .inspect_err(|_| nested::unlink(self, inner))
    }

    /// Changes what a watch asks for.
    #[inline(never)]
    fn modify(
        &self,
        ctl: &mut Ctl,
        watch: WatchRef,
        file: &File,
        events: u16,
        test: bool,
    ) -> Result {
        self.make_room(ctl)?;

        // SAFETY: It is in the table, and `ctl` is held.
        let watch = unsafe { watch.as_ref() };
        // First no more events that are not asked for any more, then none that are left.
        watch.modify(interest(events));
        watch.narrow(events);
        self.look(watch, file, events, test);
        Ok(())
    }

    /// Calls `->poll()`, which a producer may depend on, and queues what it says if that is wanted.
    #[inline(always)]
    fn look(&self, watch: &Callback<Watch>, file: &File, events: u16, test: bool) {
        let found = poll_now(file, interest(events)) & interest(events);
        if test && found != 0 {
            self.found(watch, found);
        }
    }

    #[inline(never)]
    fn found(&self, watch: &Callback<Watch>, events: u32) {
        let mut state = self.state.lock();
        // SAFETY: Those who look have found the watch in this queue's table, or put it there.
        let watched = unsafe { Watch::post(watch, self, &mut state, events) };
        drop(state);
        if watched {
            self.watchers.notify(PENDING);
        }
    }

    /// Takes a watch out of the table and frees it, if it is there.
    pub(crate) fn remove(&self, key: Key) {
        let mut ctl = self.ctl.lock();
        let _ = self.remove_from(&mut ctl, key);
    }

    #[inline(always)]
    fn remove_from(&self, ctl: &mut Ctl, key: Key) -> Option<()> {
        let watch = ctl.table.remove(key)?;
        // SAFETY: It was taken out of the table, and `ctl` is held.
        unsafe { self.free(&mut ctl.watches, watch) };
        self.user.uncharge(1);
        Some(())
    }

    /// Frees a watch: no more callbacks, then no event that is left of it.
    ///
    /// # Safety
    ///
    /// The watch was taken out of this queue's table, with `ctl` held, as it still is; `watches` is
    /// that of the queue.
    #[inline(always)]
    unsafe fn free(&self, watches: &mut Watches, watch: WatchRef) {
        // SAFETY: By the safety requirements.
        let mut taken = unsafe { watch.as_mut() };
        let file = taken.file() as *mut bindings::file;
        // SAFETY: As long as the watch is on the list, the file is not released: `__fput` has it
        // taken off first, and waits for `ctl` for that.
        let inner = unsafe { anon_inode::data_of_raw::<QueueFile>(file) };
        // From `remove` on, nothing else keeps the inner queue.
        let inner = inner.map(Arc::from);
        taken.as_mut().remove();
        // SAFETY: It is off the list, and `ctl` is held.
        unsafe { taken.revoke() };
        if let Some(inner) = inner {
            // Not before it is off the list: until then, a link the other way would make a cycle.
            self.unlinked(inner);
        }
        // SAFETY: By the safety requirements; it is off the list, and `taken` is not used any more.
        unsafe { watches.free(watch) };
    }

    #[cold]
    #[inline(never)]
    fn unlinked(&self, inner: Arc<Queue>) {
        nested::unlink(self, &inner);
    }

    /// Frees all watches: the queue is being released.
    fn remove_all(&self) {
        self.remove_all_from(&mut self.ctl.lock());
    }

    fn remove_all_from(&self, ctl: &mut Ctl) {
        // Whoever comes for a watch now finds none.
        let all = core::mem::replace(&mut ctl.table, Ctl::no_watches());
        self.user.uncharge(all.len());
        let mut place = 0;
        while let Some((watch, next)) = all.next_from(place) {
            // SAFETY: It was taken out of the table, `all` is not used to find it again, and `ctl`
            // is held.
            unsafe { self.free(&mut ctl.watches, watch) };
            place = next;
            // SAFETY: May be called with a mutex held.
            unsafe { bindings::cond_resched() };
        }
    }

    /// `EP_ALLOC`: room for `maxfds` descriptors, if there is not.
    pub(crate) fn allocate(&self, maxfds: u32) -> Result {
        check_maxfds(maxfds)?;
        let _ctl = self.ctl.lock();
        let memory = self.memory.lock();
        if memory.is_mapped() {
            return Err(EBUSY);
        }
        if maxfds > self.maxfds() {
            self.maxfds.store(maxfds, Relaxed);
        }
        Ok(())
    }

    /// `EP_FREE`: no more room, and no watches.
    pub(crate) fn deallocate(&self) -> Result {
        let mut ctl = self.ctl.lock();
        {
            let memory = self.memory.lock();
            // As long as holes are being squeezed out, somebody has been handed events.
            if memory.is_mapped() || self.state.lock().squeezing {
                return Err(EBUSY);
            }
            if self.maxfds() == 0 {
                return Err(EINVAL);
            }
            // From now on it cannot be mapped.
            self.maxfds.store(0, Relaxed);
        }
        self.remove_all_from(&mut ctl);
        ctl.room = 0;
        self.free_pages();
        Ok(())
    }

    /// Sees to it that there is an entry for one more watch, or for one more hole.
    ///
    /// Watches and holes only come into being with `ctl` held, as it is here, so what this finds
    /// stays true: a producer never finds the half full. That is also why what there is room for
    /// can be counted in `ctl`, without a look at the state each time: it may only become more.
    #[inline]
    fn make_room(&self, ctl: &mut Ctl) -> Result {
        if ctl.room == 0 {
            ctl.room = self.find_room(&ctl.table)?;
        }
        ctl.room = ctl.room.wrapping_sub(1);
        Ok(())
    }

    /// Returns for how many more watches or holes there is an entry: for one, at least.
    #[cold]
    #[inline(never)]
    fn find_room(&self, table: &Interest) -> Result<u32> {
        let watches = table.len() as u32;
        loop {
            let (capacity, room, holes) = {
                let state = self.state.lock();
                let capacity = state.directory.capacity();
                (
                    capacity,
                    state.buffer.room(watches, capacity),
                    state.buffer.holes(),
                )
            };
            if room != 0 {
                return Ok(room);
            }
            // A page's worth of holes is worth the work, unless there is no other way.
            let complete = capacity >= self.pages().wrapping_mul(ENTRIES_PER_PAGE);
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
    #[cold]
    fn squeeze_out(&self, mut work: SqueezeOut) -> u32 {
        loop {
            let mut state = self.state.lock();
            if let Some(left) = work.go_on(&mut state.directory, SQUEEZE_STEP) {
                state.squeezing = false;
                // Somebody may have come meanwhile, for what is pending, and found nothing.
                let ready = state.is_ready();
                if ready && state.has_sleepers() {
                    state.wake_up(PENDING);
                }
                drop(state);
                if ready {
                    self.watchers.notify(PENDING);
                }
                return left;
            }
        }
    }
}

/// `evpoll_wait(2)`.
pub(crate) fn wait(file: &File, events: PointerVariable, timeout_ms: c_int) -> Result<c_int> {
    let queue = anon_inode::data_of::<QueueFile>(file).ok_or(EINVAL)?;
    queue.wait(Where::Address, events, timeout_ms)
}

/// What a wait stores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// The address of the events.
    Address,
    /// Their offset in the mapping.
    Offset,
}

impl Queue {
    /// Waits, and hands out what is pending: stores at `target` where it is, returns how much.
    #[inline(always)] // Each of the two callers has a `store` of its own.
    pub(crate) fn wait(
        &self,
        store: Where,
        target: PointerVariable,
        timeout_ms: c_int,
    ) -> Result<c_int> {
        let result = self
            .wait_at_once(store, &target, timeout_ms)
            .unwrap_or_else(|| self.wait_slowly(store, target, timeout_ms));
        crate::trace::wait(
            self,
            timeout_ms,
            match result {
                Ok(count) => count,
                Err(err) => err.to_errno(),
            },
        );
        result
    }

    /// What most waits of a busy program are: something is pending, in a queue that this process
    /// has waited for before, or it does not want to wait.
    #[inline(always)]
    fn wait_at_once(
        &self,
        store: Where,
        target: &PointerVariable,
        timeout_ms: c_int,
    ) -> Option<Result<c_int>> {
        if timeout_ms < -1 {
            return None;
        }
        // SAFETY: This is a system call.
        let mut state = unsafe { self.state.lock_irq() };
        if !state.is_ready() {
            return (timeout_ms == 0 && self.maxfds() != 0).then_some(Ok(0));
        }
        match self.hand_out(&mut state, store, target) {
            Attempt::Done(out) => {
                drop(state);
                Some(Ok(self.finish(out)))
            }
            _ => None,
        }
    }

    #[inline(never)]
    fn wait_slowly(
        &self,
        store: Where,
        target: PointerVariable,
        timeout_ms: c_int,
    ) -> Result<c_int> {
        if timeout_ms < -1 {
            return Err(EINVAL);
        }
        let mut deadline = None;

        loop {
            let mut state = self.state.lock();
            if !state.is_ready() {
                if self.maxfds() == 0 {
                    return Err(EINVAL);
                }
                if timeout_ms == 0 {
                    return Ok(0);
                }
                drop(state);
                if timeout_ms > 0 && deadline.is_none() {
                    deadline = Some(deadline_in(timeout_ms));
                }
                let (guard, result) =
                    self.state
                        .wait_until(deadline, timer_slack(), State::is_ready);
                match result {
                    Ok(()) => state = guard,
                    Err(Unready::TimedOut) => return Ok(0),
                    Err(Unready::Signal) => return Err(EINTR),
                }
            }

            let attempt = self.hand_out(&mut state, store, &target);
            drop(state);
            let result = match attempt {
                Attempt::Done(out) => return Ok(self.finish(out)),
                Attempt::Unmapped => self.ensure_mapped(),
                Attempt::Fault(value) => target.store(value),
            };
            if let Err(err) = result {
                self.pass_on();
                return Err(err);
            }
        }
    }

    /// Hands out what is pending, if it can be told where that is.
    #[inline(always)]
    fn hand_out(&self, state: &mut State, store: Where, target: &PointerVariable) -> Attempt {
        let half = state.buffer.filling();
        let value = match (store, state.mapping.address(half)) {
            (Where::Offset, _) => half.wrapping_mul(self.half_size()),
            (Where::Address, Some(address)) => address,
            (Where::Address, None) => return Attempt::Unmapped,
        };
        // With the lock held, so that it is the half that is handed out, and before it is handed
        // out, so that no event is lost if it cannot be stored.
        if !target.try_store(value) {
            return Attempt::Fault(value);
        }
        let out = state.buffer.flip();
        let entries = u64::from(out.used.wrapping_sub(out.holes));
        state.count.events = state.count.events.wrapping_add(entries);
        state.squeezing = out.holes != 0;
        Attempt::Done(out)
    }

    /// What is left to do once the lock is released. Returns the number of events.
    #[inline(always)]
    fn finish(&self, out: HandOut) -> c_int {
        if out.holes == 0 {
            out.used as c_int
        } else {
            self.squeeze_out(SqueezeOut::new(out)) as c_int
        }
    }
}

/// What became of an attempt to hand out.
enum Attempt {
    Done(HandOut),
    /// The queue is not mapped here, as far as is known.
    Unmapped,
    /// This could not be stored without a page fault.
    Fault(usize),
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
