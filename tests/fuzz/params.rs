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

/// Sets a parameter by its full name.
pub fn set(name: &str, value: &str) {
    let value = CString::new(value).unwrap();
    // SAFETY: The linker gathers the parameters between the two.
    let params = unsafe {
        let (start, end) = (__start___param.as_ptr(), __stop___param.as_ptr());
        core::slice::from_raw_parts(start, end.offset_from(start) as usize)
    };

    for param in params {
        // SAFETY: The parameters are static.
        unsafe {
            if CStr::from_ptr(param.name.cast()).to_str() == Ok(name) {
                assert!(
                    (*param.ops).set.unwrap()(value.as_ptr().cast(), param) == 0,
                    "{name}={value:?}"
                );
                return;
            }
        }
    }
    panic!("there is no parameter {name}");
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
