// SPDX-License-Identifier: GPL-2.0

//! The modules' parameters, as the kernel command line sets them.

use kernel::bindings as b;
use std::ffi::{
    c_char,
    c_int,
    c_uint,
    CStr,
    CString, //
};

#[allow(improper_ctypes)]
extern "C" {
    static __start___param: [b::kernel_param; 0];
    static __stop___param: [b::kernel_param; 0];
}

/// A parameter that was set, and to what.
struct Known {
    name: String,
    param: &'static b::kernel_param,
    value: String,
}

static mut KNOWN: Vec<Known> = Vec::new();

/// Finds a parameter by its full name.
fn find(name: &str) -> &'static b::kernel_param {
    // SAFETY: The linker gathers the parameters between the two, which are static.
    unsafe {
        let (start, end) = (__start___param.as_ptr(), __stop___param.as_ptr());
        let params = core::slice::from_raw_parts(start, end.offset_from(start) as usize);
        let is_one = |param: &&b::kernel_param| {
            CStr::from_ptr(param.name.cast()).to_bytes() == name.as_bytes()
        };

        let found = params.iter().find(is_one);
        found.unwrap_or_else(|| panic!("there is no parameter {name}"))
    }
}

/// Sets a parameter by its full name, unless it has this value: most lives have the same.
pub fn set(name: &str, value: &str) {
    // SAFETY: One thread; borrowed for a moment only.
    let known = unsafe { &mut *(&raw mut KNOWN) };
    let at = known.iter().position(|known| known.name == name);
    let at = at.unwrap_or_else(|| {
        known.push(Known {
            name: name.to_string(),
            param: find(name),
            value: String::new(),
        });
        known.len() - 1
    });
    let known = &mut known[at];

    if known.value == value && !value.is_empty() {
        return;
    }
    let text = CString::new(value).unwrap();
    // SAFETY: The parameters are static.
    let result = unsafe { (*known.param.ops).set.unwrap()(text.as_ptr().cast(), known.param) };
    assert!(result == 0, "{name}={value:?}");
    known.value = value.to_string();
}

#[no_mangle]
unsafe extern "C" fn kstrtouint(text: *const c_char, _base: c_uint, to: *mut c_uint) -> c_int {
    match CStr::from_ptr(text)
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
    {
        Some(value) => {
            *to = value;
            0
        }
        None => -22,
    }
}

#[no_mangle]
unsafe extern "C" fn kstrtobool(text: *const c_char, to: *mut bool) -> c_int {
    *to = matches!(*text as u8, b'1' | b'y' | b'Y');
    0
}
