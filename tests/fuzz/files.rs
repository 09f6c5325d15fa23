// SPDX-License-Identifier: GPL-2.0

//! Files of the drivers: those of debugfs, and the attributes of a disk. Users read and write them.

use crate::{
    block::disk,
    mem::{
        kfree,
        memory,
        new,
        zeroed, //
    },
    world::{
        self,
        below,
        block,
        byte,
        chance,
        spawn,
        wake,
        FOREVER, //
    },
};
use kernel::bindings as b;
use std::ffi::{
    c_char,
    c_int,
    c_void, //
};

/// A file of debugfs.
struct Node {
    ops: *const b::file_operations,
    data: *mut c_void,
    users: u32,
}

/// Those that there are.
static mut NODES: Vec<*mut Node> = Vec::new();

fn nodes() -> &'static mut Vec<*mut Node> {
    // SAFETY: One thread; borrowed for a moment only.
    unsafe { &mut *(&raw mut NODES) }
}

/// A directory, or an error: debugfs may be off.
#[no_mangle]
unsafe extern "C" fn debugfs_create_dir() -> *mut Node {
    if memory().fail_at % 2 == 1 {
        return -19isize as *mut Node;
    }
    new::<Node>()
}

#[no_mangle]
unsafe extern "C" fn debugfs_create_file_full(
    _name: *const c_char,
    _mode: b::umode_t,
    parent: *mut Node,
    data: *mut c_void,
    _aux: *const c_void,
    ops: *const b::file_operations,
) -> *mut Node {
    if parent as isize <= 0 {
        return parent;
    }
    let node = new::<Node>();
    node.write(Node {
        ops,
        data,
        users: 0,
    });
    nodes().push(node);
    node
}

#[no_mangle]
unsafe extern "C" fn debugfs_remove(node: *mut Node) {
    if node as isize <= 0 {
        return;
    }
    world::might_sleep();
    nodes().retain(|other| *other != node);
    while (*node).users > 0 {
        block(node as usize, FOREVER);
    }
    kfree(node.cast());
}

type Show = unsafe extern "C" fn(*mut b::seq_file, *mut c_void) -> c_int;

#[no_mangle]
unsafe extern "C" fn single_open(
    file: *mut b::file,
    show: Option<Show>,
    data: *mut c_void,
) -> c_int {
    let seq = new::<b::seq_file>();

    (*seq).private = data;
    (*file).private_data = seq.cast();
    show.expect("there is something to show")(seq, core::ptr::null_mut())
}

#[no_mangle]
unsafe extern "C" fn single_release(_: *mut b::inode, file: *mut b::file) -> c_int {
    kfree((*file).private_data);
    0
}

#[no_mangle]
extern "C" fn seq_read() {}

#[no_mangle]
extern "C" fn seq_lseek() {}

/// Rust's format is the only one, its arguments a pointer.
#[no_mangle]
unsafe extern "C" fn seq_printf(
    _seq: *mut b::seq_file,
    _format: *const c_char,
    args: *const core::fmt::Arguments<'_>,
) {
    assert!(!format!("{}", *args).is_empty(), "nothing to show");
}

/// Somebody opens a file of debugfs: reads it, and perhaps writes to it.
fn open_debugfs() {
    let Some(node) = nodes().last().copied() else {
        return;
    };
    let writes = chance(2);

    spawn("who reads debugfs", move || {
        let (inode, file) = (new::<b::inode>(), new::<b::file>());

        // SAFETY: A node that has a user stays, and so does its data.
        unsafe {
            if !nodes().contains(&node) {
                kfree(inode.cast());
                kfree(file.cast());
                return;
            }
            (*node).users += 1;
            let ops = &*(*node).ops;
            (*inode).i_private = (*node).data;
            assert!(ops.open.unwrap()(inode, file) == 0);
            if writes {
                let mut at = 0;
                assert!(ops.write.unwrap()(file, c"0".as_ptr().cast(), 1, &mut at) == 1);
            }
            ops.release.unwrap()(inode, file);
            (*node).users -= 1;
            wake(node as usize);
        }
        kfree(inode.cast());
        kfree(file.cast());
    });
}

/// What users write to attributes.
const VALUES: [&[u8]; 12] = [
    b"write back",
    b"write through\n",
    b"1",
    b"1\n",
    b"0",
    b"",
    b"\n",
    b"write back and on",
    b"request",
    b"bio\n",
    b"bio",
    b"auto",
];

/// The administrator has the device reset, by the attribute for that.
pub fn reset() {
    use_attribute(u32::MAX, |all| {
        // SAFETY: The attributes are there as long as the disk.
        let is_one = |attr: &*mut b::attribute| unsafe {
            std::ffi::CStr::from_ptr((**attr).name.cast()) == c"reset"
        };
        (all.iter().position(is_one).expect("it has one"), Some(b"1"))
    });
}

/// Somebody reads an attribute of the disk, or writes it.
fn open_attribute() {
    use_attribute(4, |all| {
        let (n, what) = (below(all.len()), byte());
        let value = VALUES[usize::from(what >> 1) % VALUES.len()];

        (n, (what & 1 == 1).then_some(value))
    });
}

/// What somebody does with which of the attributes: what he writes to it, or `None` if he reads it.
type Use = (usize, Option<&'static [u8]>);

/// Somebody uses an attribute of the disk, unless so many others do: reads it, or writes a value to it
/// if he may.
fn use_attribute(most: u32, choose: impl FnOnce(&[*mut b::attribute]) -> Use) {
    let Some(disk) = disk().filter(|disk| disk.readers.get() < most) else {
        return;
    };
    // SAFETY: The list ends with a null pointer.
    let (n, value) = unsafe {
        let attrs = (**disk.groups).__bindgen_anon_2.attrs;
        let all = (0..).take_while(|i| !(*attrs.add(*i)).is_null()).count();
        choose(core::slice::from_raw_parts(attrs, all))
    };
    let bdev = disk.part0();
    let id = disk.disk as usize;

    let readers = disk.readers.clone();

    readers.set(readers.get() + 1);
    spawn("who opens an attribute", move || {
        let page = zeroed(4096);

        // SAFETY: The disk stays as long as it has readers.
        unsafe {
            let dev = &raw mut (*bdev).bd_device;
            let group = &**crate::block::by_id(id).groups;
            let attr = *group.__bindgen_anon_2.attrs.add(n);
            let visible = group.__bindgen_anon_1.is_visible.unwrap();
            let mode = visible((&raw mut (*dev).kobj).cast(), attr, n as c_int);
            let attr = attr.cast::<b::device_attribute>();
            if let Some(value) = value.filter(|_| mode & 0o200 != 0) {
                let store = (*attr).__bindgen_anon_2.store.unwrap();
                let n = store(dev, attr, value.as_ptr().cast(), value.len());
                assert!(n < 0 || n == value.len() as isize);
            } else if mode != 0 {
                let show = (*attr).__bindgen_anon_1.show.unwrap();
                let n = show(dev, attr, page.cast());
                assert!(n <= 4096, "more than a page");
            }
        }
        kfree(page);
        readers.set(readers.get() - 1);
        wake(id);
    });
}

/// Somebody opens one of the files.
pub fn open() {
    if chance(4) {
        open_debugfs();
    } else {
        open_attribute();
    }
}
