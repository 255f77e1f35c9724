// SPDX-License-Identifier: GPL-2.0

//! The memory of the events, and its mapping into processes.
//!
//! A queue has two halves, as large as [`Queue::mapped_pages`] says, mapped one behind the other. A
//! page is allocated, in both halves, when a watch is added that may need it, or when user space
//! touches it. It stays until the queue and all its mappings are gone, or until `EP_FREE`.
//!
//! Each half has one entry more than there may be watches, for a hole (see `Queue::make_room`). If
//! that takes a page of its own, it is not mapped: what is handed out has no holes.
//!
//! A mapping is read-only for good, is never inherited, and can only be removed as a whole. It
//! refers to a file of its own, [`PagesFile`], and not to the queue's, so that it does not keep the
//! queue from being released.

use crate::{
    buffer::{
        Entry,
        Storage, //
    },
    pool::Pages,
    queue::{
        Queue,
        QueueFile, //
    },
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    fs::{
        anon_inode::{
            self,
            AnonFile,
            FileOperations, //
        },
        File, //
    },
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*,
    rbtree::RBTree,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    }, //
};

/// Entries on a page.
pub(crate) const ENTRIES_PER_PAGE: u32 = (PAGE_SIZE / size_of::<Entry>()) as u32;

/// The same page of both halves: kernel addresses, 0 if there is none yet.
type Pair = [usize; 2];

/// A page of a half, and the index of the first entry on it.
#[derive(Clone, Copy)]
struct Tail {
    page: usize,
    first: u32,
}

impl Tail {
    /// Of no entry that there can be: a half has one for each watch.
    const NONE: Tail = {
        let first = 0_u32.wrapping_sub(ENTRIES_PER_PAGE);
        assert!(first > bindings::EVPOLL_MAX_FDS.next_multiple_of(ENTRIES_PER_PAGE));
        Tail { page: 0, first }
    };
}

/// The pages of both halves, by number.
///
/// # Invariants
///
/// The addresses are those of pages that the directory owns, or 0; a tail is one of them, or
/// [`Tail::NONE`]. The pages before `complete` are all there.
pub(crate) struct Directory {
    pairs: KVVec<Pair>,
    complete: u32,
    /// Where an entry was stored last in either half, and the next one will most likely be.
    tails: [Tail; 2],
}

impl Directory {
    pub(crate) const fn new() -> Self {
        Self {
            pairs: KVVec::new(),
            complete: 0,
            tails: [Tail::NONE; 2],
        }
    }

    /// The number of entries that there is memory for, from the first one on.
    pub(crate) fn capacity(&self) -> u32 {
        self.complete.wrapping_mul(ENTRIES_PER_PAGE)
    }

    fn page(&self, page: usize) -> Option<Pair> {
        self.pairs
            .get(page)
            .copied()
            .filter(|pair| pair.iter().all(|&address| address != 0))
    }

    /// The page that an entry is on, if it is there.
    #[inline]
    fn page_of(&self, half: usize, index: u32) -> Option<usize> {
        let pair = self.pairs.get((index / ENTRIES_PER_PAGE) as usize)?;
        Some(pair[half & 1]).filter(|&page| page != 0)
    }

    #[inline]
    fn entry(&self, half: usize, index: u32) -> Option<*mut Entry> {
        let page = self.page_of(half, index)? as *mut Entry;
        Some(page.wrapping_add((index % ENTRIES_PER_PAGE) as usize))
    }
}

impl Storage for Directory {
    #[inline]
    fn load(&self, half: usize, index: u32) -> Entry {
        match self.entry(half, index) {
            // SAFETY: An address within a page that the directory owns. User space can only read.
            Some(entry) => unsafe { entry.read_volatile() },
            None => Entry::HOLE,
        }
    }

    #[inline]
    fn store(&mut self, half: usize, index: u32, entry: Entry) {
        let mut tail = self.tails[half & 1];
        let mut offset = index.wrapping_sub(tail.first);
        if offset >= ENTRIES_PER_PAGE {
            let Some(page) = self.page_of(half, index) else {
                return;
            };
            offset = index % ENTRIES_PER_PAGE;
            tail = Tail {
                page,
                first: index.wrapping_sub(offset),
            };
            // INVARIANT: This is a page of the directory.
            self.tails[half & 1] = tail;
        }
        let place = (tail.page as *mut Entry).wrapping_add(offset as usize);
        // SAFETY: An address within a page that the directory owns. User space may read it at
        // any time, so it is not written through a reference.
        unsafe {
            (&raw mut (*place).fd).write_volatile(entry.fd);
            (&raw mut (*place).events).write_volatile(entry.events);
            (&raw mut (*place).revents).write_volatile(entry.revents);
        }
    }

    #[inline]
    fn add(&mut self, half: usize, index: u32, revents: u16) {
        if let Some(place) = self.entry(half, index) {
            // SAFETY: As in `store`.
            unsafe {
                let place = &raw mut (*place).revents;
                place.write_volatile(place.read_volatile() | revents);
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for &page in self.pairs.iter().flatten() {
            free_page(page);
        }
    }
}

/// Allocates a page; `flags` beside `GFP_KERNEL_ACCOUNT`. Process context, may sleep.
fn alloc_page(flags: bindings::gfp_t) -> Result<usize> {
    // SAFETY: May be called where it may sleep.
    let page = unsafe {
        bindings::get_free_pages_noprof(
            bindings::GFP_KERNEL_ACCOUNT | flags,
            0, // Order.
        )
    };
    if page == 0 {
        Err(ENOMEM)
    } else {
        Ok(page)
    }
}

/// Pages for a [`Pool`](crate::pool::Pool).
pub(crate) struct KernelPages;

// SAFETY: These are pages, of the page allocator.
unsafe impl Pages for KernelPages {
    const SIZE: usize = PAGE_SIZE;

    fn alloc() -> Option<NonNull<u8>> {
        NonNull::new(alloc_page(0).ok()? as *mut u8)
    }

    unsafe fn free(page: NonNull<u8>) {
        free_page(page.as_ptr() as usize);
    }
}

fn free_page(page: usize) {
    if page != 0 {
        // SAFETY: `page` was allocated by `alloc_page`, with order 0. If it is mapped still, the
        // mapping has a reference of its own.
        unsafe { bindings::free_pages(page, 0) };
    }
}

/// Whose a mapping is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The program's: it has called `mmap`.
    Program,
    /// evpoll's, which removes it when the queue is released.
    Evpoll,
}

/// The address space (the address of its `mm_struct`) and start of a mapping.
type Place = (usize, usize);

/// What `Queue::memory` protects.
pub(crate) struct Memory {
    /// All that there are. The `mm_struct` of an element is valid: it is removed before the VMA is
    /// gone.
    mappings: RBTree<Place, By>,
    /// What a mapping refers to. `None` once the queue was released.
    file: Option<ARef<File>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            mappings: RBTree::new(),
            file: None,
        }
    }

    /// The first mapping of an address space.
    fn start_in(&self, mm: *mut bindings::mm_struct) -> Option<usize> {
        let cursor = self.mappings.cursor_lower_bound(&(mm as usize, 0))?;
        let &(found, start) = cursor.current().0;
        (found == mm as usize).then_some(start)
    }

    /// Whether there is a mapping in any process.
    pub(crate) fn is_mapped(&self) -> bool {
        !self.mappings.is_empty()
    }
}

/// Which mapping a wait is to use, as long as the process is the same: a copy of an element of
/// [`Memory::mappings`].
#[derive(Clone, Copy)]
pub(crate) struct LastMapping {
    mm: *mut bindings::mm_struct,
    /// Where each half is.
    halves: [usize; 2],
}

// SAFETY: `mm` is only compared.
unsafe impl Send for LastMapping {}

impl LastMapping {
    pub(crate) const NONE: Self = Self {
        mm: core::ptr::null_mut(),
        halves: [0; 2],
    };

    /// Whether it is one of the current process.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.mm == current_mm()
    }

    /// The address of a half, if it is one of the current process.
    #[inline]
    pub(crate) fn address(&self, half: usize) -> Option<usize> {
        self.is_here().then(|| self.halves[half & 1])
    }
}

#[inline]
fn current_mm() -> *mut bindings::mm_struct {
    // SAFETY: The current task is valid, and its `mm` does not change under it.
    unsafe { (*bindings::get_current()).mm }
}

impl Queue {
    /// The number of pages of a half that are mapped.
    #[inline]
    fn mapped_pages(&self) -> u32 {
        self.maxfds().div_ceil(ENTRIES_PER_PAGE)
    }

    /// The number of pages of a half.
    pub(crate) fn pages(&self) -> u32 {
        (self.maxfds() + 1).div_ceil(ENTRIES_PER_PAGE)
    }

    /// The mapped size of a half in bytes.
    #[inline]
    pub(crate) fn half_size(&self) -> usize {
        (self.mapped_pages() as usize).wrapping_mul(PAGE_SIZE)
    }

    fn map_size(&self) -> usize {
        self.half_size().wrapping_mul(2)
    }

    /// Makes the file that mappings refer to.
    pub(crate) fn init_memory(self: ArcBorrow<'_, Self>) -> Result {
        let file = anon_inode::getfile::<PagesFile>(self.into(), bindings::O_RDONLY)?;
        self.memory.lock().file = Some(file);
        Ok(())
    }

    /// Allocates the page, in both halves, if it is not there, and calls `f` with it before it can
    /// be freed again. Process context, may sleep.
    fn commit_page<R>(&self, page: usize, f: impl FnOnce(Pair) -> R) -> Result<R> {
        // Nobody else changes the directory.
        let _memory = self.memory.lock();

        let pairs = {
            let state = self.state.lock();
            if let Some(pair) = state.directory.page(page) {
                drop(state);
                return Ok(f(pair));
            }
            state.directory.pairs.len()
        };
        let mut larger = KVVec::new();
        if page >= pairs {
            let len = (page + 1).max(2 * pairs).min(self.pages() as usize);
            larger.resize(len, [0; 2], GFP_KERNEL_ACCOUNT)?;
        }
        // User space can read all of it.
        let zeroed = || alloc_page(bindings::__GFP_ZERO);
        let first = zeroed()?;
        let pair = [first, zeroed().inspect_err(|_| free_page(first))?];

        let mut state = self.state.lock();
        let directory = &mut state.directory;
        if page >= pairs {
            for (to, from) in larger.iter_mut().zip(directory.pairs.iter()) {
                *to = *from;
            }
            core::mem::swap(&mut directory.pairs, &mut larger);
        }
        if let Some(place) = directory.pairs.get_mut(page) {
            *place = pair;
        }
        while directory.page(directory.complete as usize).is_some() {
            directory.complete += 1;
        }
        drop(state);
        // What the directory was before, freed without the lock.
        drop(larger);
        Ok(f(pair))
    }

    /// Allocates one more page of entries. Fails with `ENOMEM`, or `E2BIG` if there are all.
    pub(crate) fn commit_more(&self) -> Result {
        let page = self.state.lock().directory.complete;
        if page >= self.pages() {
            return Err(E2BIG);
        }
        self.commit_page(page as usize, |_| ())
    }

    /// Maps the queue into the current process, if it is not, and has the next wait know where.
    ///
    /// Process context, with no lock held.
    pub(crate) fn ensure_mapped(&self) -> Result {
        let mm = current_mm();
        loop {
            let file = {
                let memory = self.memory.lock();
                if let Some(start) = memory.start_in(mm) {
                    // The size is what it is as long as there is a mapping.
                    let halves = [start, start.wrapping_add(self.half_size())];
                    self.state.lock().mapping = LastMapping { mm, halves };
                    return Ok(());
                }
                // No room, so nothing to map. It cannot be given up once there is a mapping.
                if self.maxfds() == 0 {
                    return Err(EINVAL);
                }
                memory.file.clone().ok_or(EBADF)?
            };
            let size = self.map_size();
            // SAFETY: The file is valid; no lock is held.
            let address = unsafe {
                bindings::vm_mmap(
                    file.as_ptr(),
                    0,
                    size,
                    bindings::PROT_READ as c_ulong,
                    bindings::MAP_SHARED as c_ulong,
                    0,
                )
            };
            // What is in the last 4095 bytes of the address space is an error.
            if (address as isize) < 0 && address as isize >= -(bindings::MAX_ERRNO as isize) {
                if size != self.map_size() {
                    continue;
                }
                let err = Error::from_errno(address as c_int);
                // The limit of locked memory, for one who locks all that he maps.
                return Err(if err == EAGAIN { ENOMEM } else { err });
            }
        }
    }

    /// Whether the current process has a mapping. Process context, may sleep.
    pub(crate) fn is_mapped_here(&self) -> bool {
        if self.state.lock().mapping.is_here() {
            return true;
        }
        self.memory.lock().start_in(current_mm()).is_some()
    }

    /// `EP_FREE`, once there are no watches: the memory of the events. `ctl` is held.
    pub(crate) fn free_pages(&self) {
        let _memory = self.memory.lock();
        let directory = core::mem::replace(&mut self.state.lock().directory, Directory::new());
        drop(directory);
    }

    /// The queue is being released: removes the mappings that evpoll made, in all processes, and
    /// gives up the file. That of the current process is gone when this returns. Process context,
    /// with no lock held.
    pub(crate) fn unmap_all(&self) {
        let Some(file) = self.memory.lock().file.take() else {
            return;
        };
        let mut from = (0, 0);
        loop {
            let found = {
                let memory = self.memory.lock();
                let Some(cursor) = memory.mappings.cursor_lower_bound(&from) else {
                    return;
                };
                let (&(mm, start), &by) = cursor.current();
                from = (mm, start + 1);
                let mm = mm as *mut bindings::mm_struct;
                // SAFETY: By the invariants of `mappings` `mm` is valid. One that is on its way out
                // removes the mapping itself.
                (by == By::Evpoll && unsafe { bindings::mmget_not_zero(mm) }).then_some((mm, start))
            };
            let Some((mm, start)) = found else {
                continue;
            };
            // SAFETY: The function takes over the reference that `mmget_not_zero` has taken, and
            // takes one to the file, which is valid.
            unsafe { bindings::evpoll_unmap(mm, file.as_ptr(), start, self.map_size()) };
        }
    }

    /// `mmap` of the queue, or (by evpoll) of the file of its pages.
    fn mmap(&self, vma: &VmaNew, by: By) -> Result {
        if vma.try_clear_maywrite().is_err() || vma.try_clear_mayexec().is_err() {
            return Err(EACCES);
        }
        let start = vma.start();
        let size = vma.end() - start;
        vma.set_dontexpand();
        vma.set_dontcopy();
        vma.set_dontdump();

        let vma = vma.as_ptr();
        let mut memory = self.memory.lock();
        let file = memory.file.clone().ok_or(EBADF)?;
        // With `memory` held, and a size of 0 there is not: so there is room as long as there are
        // mappings.
        if size != self.map_size() {
            return Err(EINVAL);
        }
        // SAFETY: The VMA is undergoing initial setup, with the address space locked.
        unsafe {
            if (*vma).vm_pgoff != 0 {
                return Err(EINVAL);
            }
            let place = ((*vma).vm_mm as usize, start);
            memory
                .mappings
                .try_create_and_insert(place, by, GFP_KERNEL_ACCOUNT)?;
            (*vma).vm_ops = &VM_OPS.0;
            if by == By::Program {
                bindings::vma_set_file(vma, file.as_ptr());
            }
        }
        Ok(())
    }

    /// The mapping is going away. (Or a copy of one, that was made by an `mremap` which has failed,
    /// and is not known.)
    fn unmapped(&self, mm: *mut bindings::mm_struct, start: usize) {
        let mut memory = self.memory.lock();
        memory.mappings.remove(&(mm as usize, start));
        let mut state = self.state.lock();
        if state.mapping.mm == mm && state.mapping.halves[0] == start {
            state.mapping = LastMapping::NONE;
        }
    }
}

/// The file that mappings refer to. It never gets a descriptor.
pub(crate) struct PagesFile;

static PAGES_FILE: FileOperations<PagesFile> = FileOperations::new();

// SAFETY: `operations` returns a static.
unsafe impl AnonFile for PagesFile {
    type Data = Arc<Queue>;

    const NAME: &'static CStr = c"[evpoll-pages]";

    fn operations() -> &'static FileOperations<Self> {
        &PAGES_FILE
    }

    fn mmap(queue: ArcBorrow<'_, Queue>, _file: &File, vma: &VmaNew) -> Result {
        queue.mmap(vma, By::Evpoll)
    }
}

/// The operations of a mapping's VMA.
struct VmOps(bindings::vm_operations_struct);

// SAFETY: They are never changed.
unsafe impl Sync for VmOps {}

static VM_OPS: VmOps = VmOps(bindings::vm_operations_struct {
    close: Some(vm_close),
    may_split: Some(vm_may_split),
    mremap: Some(vm_mremap),
    fault: Some(vm_fault),
    ..pin_init::zeroed()
});

/// # Safety
///
/// `vma` is a valid VMA with the operations `VM_OPS`.
unsafe fn queue_of<'a>(vma: *mut bindings::vm_area_struct) -> Option<ArcBorrow<'a, Queue>> {
    // SAFETY: `Queue::mmap` has seen to it that `vm_file` is a `PagesFile`, which the VMA has a
    // reference to.
    anon_inode::data_of::<PagesFile>(unsafe { File::from_raw_file((*vma).vm_file) })
}

/// # Safety
///
/// Only called by the memory management, with a valid VMA with the operations `VM_OPS`, and
/// the address space locked.
unsafe extern "C" fn vm_close(vma: *mut bindings::vm_area_struct) {
    // SAFETY: The VMA has these operations, and the address space is locked.
    unsafe {
        if let Some(queue) = queue_of(vma) {
            queue.unmapped(
                (*vma).vm_mm,
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start,
            );
        }
    }
}

/// In parts, a mapping would be of no use to a wait.
///
/// # Safety
///
/// Only called by the memory management, with a valid VMA with the operations `VM_OPS`.
unsafe extern "C" fn vm_may_split(_vma: *mut bindings::vm_area_struct, _addr: c_ulong) -> c_int {
    EINVAL.to_errno()
}

/// A wait returns addresses.
///
/// # Safety
///
/// Only called by the memory management, with a valid VMA with the operations `VM_OPS`.
unsafe extern "C" fn vm_mremap(_vma: *mut bindings::vm_area_struct) -> c_int {
    EINVAL.to_errno()
}

/// # Safety
///
/// Only called by the memory management, with a valid fault in a VMA with the operations
/// `VM_OPS`.
unsafe extern "C" fn vm_fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The VMA has these operations, and stays as it is during the fault.
    let (queue, offset) = unsafe {
        let fault = &(*vmf).__bindgen_anon_1;
        (queue_of(fault.vma), fault.pgoff)
    };
    let Some(queue) = queue else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    // Not 0, as there is a mapping.
    let pages = (queue.mapped_pages() as usize).max(1);
    let (half, page) = (offset / pages, offset % pages);
    let taken = queue.commit_page(page, |pair| {
        let &address = pair.get(half)?;
        // SAFETY: The page belongs to the queue, which the VMA keeps alive, and does not free it
        // before this closure returns.
        unsafe {
            let page = bindings::virt_to_page(address as *const c_void);
            bindings::get_page(page);
            Some(page)
        }
    });
    match taken {
        Ok(Some(page)) => {
            // SAFETY: The fault is this call's. The reference is passed on.
            unsafe { (*vmf).page = page };
            0
        }
        Ok(None) => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        Err(_) => bindings::vm_fault_reason_VM_FAULT_OOM,
    }
}

/// Not to be confused with the [`PagesFile`]: this one is what the program has.
impl QueueFile {
    pub(crate) fn map(queue: &Queue, vma: &VmaNew) -> Result {
        queue.mmap(vma, By::Program)
    }
}

/// Where a wait stores where the events are: a variable of the program, of the size of its pointers
/// and its `unsigned long`.
pub(crate) struct PointerVariable {
    address: *mut c_void,
    /// Pointers have 32 bits.
    narrow: bool,
}

impl PointerVariable {
    pub(crate) fn new(address: *mut c_void, compat: bool) -> Self {
        Self {
            address,
            narrow: compat || size_of::<usize>() == size_of::<u32>(),
        }
    }

    /// Stores `value`, if that takes no page fault. Any context.
    #[inline]
    pub(crate) fn try_store(&self, value: usize) -> bool {
        // SAFETY: It is safe to pass any address.
        let ret = unsafe {
            if self.narrow {
                let Ok(value) = u32::try_from(value) else {
                    return false;
                };
                bindings::put_user_u32_nofault(value, self.address.cast())
            } else {
                bindings::put_user_u64_nofault(value as u64, self.address.cast())
            }
        };
        ret == 0
    }

    /// Stores `value`. Process context, sleeps.
    pub(crate) fn store(&self, value: usize) -> Result {
        to_result(
            // SAFETY: It is safe to pass any address.
            unsafe {
                if self.narrow {
                    let value = u32::try_from(value).map_err(|_| EFAULT)?;
                    bindings::put_user_u32(value, self.address.cast())
                } else {
                    bindings::put_user_u64(value as u64, self.address.cast())
                }
            },
        )
    }
}
