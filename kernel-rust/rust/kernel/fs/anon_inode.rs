// SPDX-License-Identifier: GPL-2.0

//! Files that have no inode of their own, and the operations that they are made of.
//!
//! Files of the same kind can also be opened through a device node, see [`register_device`].
//!
//! C headers: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h),
//! [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_char,
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    fs::File,
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        poll::PollTable, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A kind of file that lives on the anonymous inode.
///
/// # Safety
///
/// - [`operations`](Self::operations) always returns a reference to the same `static`, by whose
///   address files of this kind are known.
/// - The implementation is part of the kernel image, not of a module: files do not keep a module
///   from being unloaded.
pub unsafe trait AnonFile: Sized + 'static {
    /// What a file of this kind owns.
    type Data: ForeignOwnable + Send + Sync;

    /// How the file shows in `/proc/PID/fd`: `anon_inode:` and this.
    const NAME: &'static CStr;

    /// The one table of operations of files of this kind, by which they are known:
    /// `static OPERATIONS: FileOperations<…> = FileOperations::new();`.
    fn operations() -> &'static FileOperations<Self>;

    /// A device node is opened: returns what the file is to own. Process context, may sleep.
    fn open() -> Result<Self::Data> {
        Err(ENXIO)
    }

    /// The last reference to the file is gone. Process context, may sleep.
    fn release(data: Self::Data) {
        drop(data);
    }

    /// `write(2)`. Returns the number of bytes taken. Process context, may sleep.
    fn write(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _reader: UserSliceReader,
    ) -> Result<usize> {
        Err(EINVAL)
    }

    /// `ioctl(2)`. `compat` means that the caller has pointers of 32 bits, in a 64-bit kernel, and
    /// structures to match. Process context, may sleep.
    fn ioctl(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
        _compat: bool,
    ) -> Result<c_int> {
        Err(ENOTTY)
    }

    /// What `poll()` reports. Process context; must not sleep.
    fn poll(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _table: PollTable<'_>,
    ) -> u32 {
        bindings::POLLIN | bindings::POLLOUT | bindings::POLLRDNORM | bindings::POLLWRNORM
    }

    /// The file is to be mapped. Called with the lock of the address space held for writing.
    fn mmap(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _vma: &VmaNew,
    ) -> Result {
        Err(ENODEV)
    }

    /// Writes the file's part of `/proc/PID/fdinfo/FD`. Process context, may sleep.
    fn show_fdinfo(_data: <Self::Data as ForeignOwnable>::Borrowed<'_>, _m: &SeqFile) {}
}

/// The `file_operations` of a kind of file.
///
/// # Invariants
///
/// A file with these operations was made by [`getfile`], or by opening a device node of
/// [`register_device`]: its private data is a `T::Data`.
#[repr(transparent)]
pub struct FileOperations<T>(bindings::file_operations, PhantomData<fn() -> T>);

// SAFETY: The operations are never changed.
unsafe impl<T> Sync for FileOperations<T> {}

impl<T: AnonFile> FileOperations<T> {
    /// Creates the table of operations.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        // INVARIANT: Nothing but `getfile` and `register_device` gives the table to a file.
        Self(
            bindings::file_operations {
                open: Some(Self::open),
                release: Some(Self::release),
                write: Some(Self::write),
                unlocked_ioctl: Some(Self::ioctl),
                #[cfg(CONFIG_COMPAT)]
                compat_ioctl: Some(Self::compat_ioctl),
                poll: Some(Self::poll),
                mmap: Some(Self::mmap),
                show_fdinfo: Some(Self::show_fdinfo),
                llseek: Some(bindings::noop_llseek),
                ..pin_init::zeroed()
            },
            PhantomData,
        )
    }

    /// # Safety
    ///
    /// `file` is a valid file with these operations, which is not being released.
    unsafe fn data<'a>(file: *mut bindings::file) -> <T::Data as ForeignOwnable>::Borrowed<'a> {
        // SAFETY: By the invariants `private_data` comes from `into_foreign` in `getfile` or
        // `open`, and is taken back only in `release`.
        unsafe { <T::Data as ForeignOwnable>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file that is being opened through a device node.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        match T::open() {
            Ok(data) => {
                // INVARIANT: The private data becomes a `T::Data`.
                // SAFETY: The file is valid and nobody else's yet. What the private data was, the
                // device, is not owned.
                unsafe { (*file).private_data = data.into_foreign() };
                0
            }
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations, which nobody has a
    /// reference to any more.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: As in `data`; nobody has a reference to the file any more, so nothing is
        // borrowed.
        T::release(unsafe { <T::Data as ForeignOwnable>::from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        buffer: *const c_char,
        count: usize,
        _position: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: `->write()` is called with a valid file with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: Likewise; the position is not used.
        let file = unsafe { File::from_raw_file(file) };
        let buffer = UserPtr::from_ptr(buffer.cast_mut().cast());
        match T::write(data, file, UserSlice::new(buffer, count).reader()) {
            // Not more than `count`, which the VFS keeps below `isize::MAX`.
            Ok(taken) => taken as isize,
            Err(err) => err.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations.
    unsafe fn do_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
        compat: bool,
    ) -> c_long {
        // SAFETY: By the safety requirements.
        let data = unsafe { Self::data(file) };
        // SAFETY: Likewise; an ioctl has no use for the file position.
        let file = unsafe { File::from_raw_file(file) };
        match T::ioctl(data, file, cmd, arg, compat) {
            Ok(ret) => ret as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: `->unlocked_ioctl()` is called with a valid file with these operations.
        unsafe { Self::do_ioctl(file, cmd, arg, false) }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations.
    #[cfg(CONFIG_COMPAT)]
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: `->compat_ioctl()` is called with a valid file with these operations.
        unsafe { Self::do_ioctl(file, cmd, arg, true) }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations, and a table that is valid
    /// or null.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        wait: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: `->poll()` is called with a valid file with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: Likewise; the caller has no use for the file position.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The table is valid, or null, for the duration of the call.
        T::poll(data, file, unsafe { PollTable::from_raw(wait) })
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations, and a VMA that is being set
    /// up.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: `->mmap()` is called with a valid file with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: Likewise; the caller has no use for the file position.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The VMA is undergoing initial setup.
        match T::mmap(data, file, unsafe { VmaNew::from_raw(vma) }) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Only called by the VFS, with a valid file with these operations, and a valid seq file.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: `->show_fdinfo()` is called with a valid file with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The seq file is this call's.
        T::show_fdinfo(data, unsafe { SeqFile::from_raw(m) });
    }
}

/// Makes a file that owns `data`.
///
/// `flags` are `O_RDONLY`, `O_WRONLY` or `O_RDWR`, and `O_NONBLOCK`. Process context, may sleep.
pub fn getfile<T: AnonFile>(data: T::Data, flags: u32) -> Result<ARef<File>> {
    let data = data.into_foreign();
    // SAFETY: The name and the operations live forever.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile(
            T::NAME.as_char_ptr(),
            &T::operations().0,
            data,
            flags as c_int,
        )
    });
    match file {
        Ok(file) => Ok(
            // SAFETY: `anon_inode_getfile` returned a new reference, which is not null.
            unsafe { ARef::from_raw(NonNull::new_unchecked(file.cast::<File>())) },
        ),
        Err(err) => {
            // SAFETY: The file that was to own the data was not made.
            drop(unsafe { <T::Data as ForeignOwnable>::from_foreign(data) });
            Err(err)
        }
    }
}

/// Makes a device node `/dev/NAME`, for good. Opening it gives a file of kind `T` that owns what
/// [`AnonFile::open`] returns. `mode` are the node's permissions. Process context, may sleep.
pub fn register_device<T: AnonFile>(name: &'static CStr, mode: u16) -> Result {
    let device = KBox::new(
        Opaque::new(bindings::miscdevice {
            minor: bindings::MISC_DYNAMIC_MINOR as c_int,
            name: name.as_char_ptr(),
            fops: &T::operations().0,
            mode,
            ..pin_init::zeroed()
        }),
        GFP_KERNEL,
    )?;
    // SAFETY: The name and the operations live forever, and so does the device, if this succeeds.
    to_result(unsafe { bindings::misc_register(device.get()) })?;
    KBox::leak(device);
    Ok(())
}

/// Returns what `file` owns if it is of kind `T`.
#[inline]
pub fn data_of<T: AnonFile>(file: &File) -> Option<<T::Data as ForeignOwnable>::Borrowed<'_>> {
    // SAFETY: The caller has a reference to the file, so that it is valid and not released.
    unsafe { data_of_raw::<T>(file.as_ptr()) }
}

/// The same for a file that the caller has no reference to.
///
/// # Safety
///
/// The file is valid and is not released as long as what is returned is used.
#[inline]
pub unsafe fn data_of_raw<'a, T: AnonFile>(
    file: *mut bindings::file,
) -> Option<<T::Data as ForeignOwnable>::Borrowed<'a>> {
    // SAFETY: The file is valid. Its operations do not change, once it is open.
    let operations = unsafe { (*file).f_op };
    if !core::ptr::eq(operations, &T::operations().0) {
        return None;
    }
    // SAFETY: The file has these operations, and is not released.
    Some(unsafe { FileOperations::<T>::data(file) })
}
