// SPDX-License-Identifier: GPL-2.0

//! Module parameters that are visible, and may be writable, under /sys/module/.
//!
//! `kernel::module_param` has none yet that sysfs shows.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use crate::bindings;
use core::{
    ffi::c_void,
    marker::PhantomData, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// A type of parameter. The value is kept in a word, so that it can be read at any time while root
/// writes it.
pub trait Value: Copy + 'static {
    /// What modinfo calls the type.
    const TYPE: &'static str;

    /// The values that there are, for the message about another one.
    const CHOICES: &'static str;

    /// Parses what the user gave; `None` for a parameter without "=". An error refuses the write.
    /// At the load of the module, where a root disk may wait for it, it is told, and the default
    /// counts.
    fn parse(text: Option<&CStr>) -> Result<Self>;

    /// Prints the value as sysfs shows it, without a newline.
    fn print(self, to: &mut dyn fmt::Write) -> fmt::Result;

    /// As a word.
    fn to_word(self) -> u32;

    /// From a word that [`Self::to_word`] made.
    fn from_word(word: u32) -> Self;
}

impl Value for u32 {
    const TYPE: &'static str = "uint";
    const CHOICES: &'static str = "a number, 0 to 4294967295";

    fn parse(text: Option<&CStr>) -> Result<Self> {
        let mut value = 0;

        // SAFETY: The text is null-terminated, `value` valid for writes.
        to_result(unsafe {
            bindings::kstrtouint(text.ok_or(EINVAL)?.as_char_ptr(), 0, &mut value)
        })?;
        Ok(value)
    }

    fn print(self, to: &mut dyn fmt::Write) -> fmt::Result {
        write!(to, "{self}")
    }

    fn to_word(self) -> u32 {
        self
    }

    fn from_word(word: u32) -> Self {
        word
    }
}

/// A parameter: a `static` that [`module_params!`](crate::module_params) declares.
pub struct Param<T: Value> {
    word: Atomic<u32>,
    default: u32,
    module: &'static CStr,
    name: &'static str,
    _p: PhantomData<T>,
}

// SAFETY: The value is an atomic word.
unsafe impl<T: Value> Sync for Param<T> {}

impl<T: Value> Param<T> {
    /// The parameter `name` of `module`. Its default is `word`, see [`Value::to_word`].
    pub const fn new(word: u32, module: &'static CStr, name: &'static str) -> Self {
        Self {
            word: Atomic::new(word),
            default: word,
            module,
            name,
            _p: PhantomData,
        }
    }

    /// The value. Any context.
    pub fn get(&self) -> T {
        T::from_word(self.word.load(Relaxed))
    }

    /// Says that `text` is no value of this parameter, and takes the default.
    fn take_default(&self, text: Option<&CStr>) {
        let default = Printed(T::from_word(self.default));
        let say = |args: fmt::Arguments<'_>| {
            // SAFETY: The format is one of those, the module's name null-terminated.
            unsafe {
                kernel::print::call_printk(
                    &kernel::print::format_strings::ERR,
                    self.module.to_bytes_with_nul(),
                    args,
                )
            }
        };

        match text {
            Some(text) => say(fmt!(
                "wrong value \"{}\" of the parameter {}: it takes {}; its default counts, {}\n",
                text,
                self.name,
                T::CHOICES,
                default
            )),
            None => say(fmt!(
                "the parameter {} has no value: it takes {}; its default counts, {}\n",
                self.name,
                T::CHOICES,
                default
            )),
        }
        self.word.store(self.default, Relaxed);
    }
}

/// A value as sysfs shows it.
struct Printed<T>(T);

impl<T: Value> fmt::Display for Printed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print(f)
    }
}

#[doc(hidden)]
#[repr(transparent)]
pub struct KernelParam(bindings::kernel_param);

// SAFETY: The C side serializes its accesses.
unsafe impl Sync for KernelParam {}

struct Ops<T>(PhantomData<T>);

impl<T: Value> Ops<T> {
    const OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
        // A parameter without "=" reaches `parse()`.
        flags: 1, // KERNEL_PARAM_OPS_FL_NOARG
        set: Some(set_callback::<T>),
        get: Some(get_callback::<T>),
        free: None,
    };
}

impl KernelParam {
    /// A parameter of the module that this library is linked into, or of the kernel.
    pub const fn new<T: Value>(name: &'static CStr, mode: u16, param: &'static Param<T>) -> Self {
        #[cfg(MODULE)]
        let module = (&raw const kernel::bindings::__this_module).cast_mut();
        #[cfg(not(MODULE))]
        let module = core::ptr::null_mut();

        Self(bindings::kernel_param {
            name: kernel::str::as_char_ptr_in_const_context(name),
            mod_: module,
            ops: &Ops::<T>::OPS,
            perm: mode,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: (&raw const *param).cast_mut().cast::<c_void>(),
            },
        })
    }
}

/// # Safety
///
/// `param` must have been made by [`KernelParam::new`] for `T`.
unsafe fn param_of<T: Value>(param: *const bindings::kernel_param) -> &'static Param<T> {
    // SAFETY: By this function's safety requirements.
    unsafe { &*(*param).__bindgen_anon_1.arg.cast::<Param<T>>() }
}

/// Whether a value is of who loads `module`, or of the kernel command line if that is null, built
/// in; and not one that root writes to its file.
///
/// # Safety
///
/// `module` must be the one whose parameter is set, in its callback, or null.
unsafe fn is_loading(module: *const bindings::module) -> bool {
    if module.is_null() {
        // SAFETY: Any value is fine; it only grows until then.
        let state = unsafe { (&raw const bindings::system_state).read_volatile() };

        return state < bindings::system_states_SYSTEM_RUNNING;
    }
    // SAFETY: The module is valid. The files are made after its arguments were parsed, and hold
    // off who takes them away while one is written.
    unsafe { (*module).mkobj.mp.is_null() }
}

/// # Safety
///
/// May only be called by the kernel, for a parameter of type `T`.
unsafe extern "C" fn set_callback<T: Value>(
    text: *const c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    from_result(|| {
        // SAFETY: The text is null or null-terminated.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_char_ptr(text) });
        // SAFETY: These operations are those of a `Param<T>`.
        let this = unsafe { param_of::<T>(param) };

        match T::parse(text) {
            Ok(value) => this.word.store(value.to_word(), Relaxed),
            // SAFETY: The parameter is valid, and its module, or null, with it.
            Err(_) if unsafe { is_loading((*param).mod_) } => this.take_default(text),
            Err(e) => return Err(e),
        }
        Ok(0)
    })
}

/// # Safety
///
/// May only be called by the kernel, for a parameter of type `T`.
unsafe extern "C" fn get_callback<T: Value>(
    page: *mut c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    from_result(|| {
        // SAFETY: sysfs gives a page.
        let page = unsafe { core::slice::from_raw_parts_mut(page.cast(), kernel::page::PAGE_SIZE) };
        let mut to = crate::page_writer::PageWriter::new(page);

        // SAFETY: These operations are those of a `Param<T>`.
        unsafe { param_of::<T>(param) }.get().print(&mut to)?;
        fmt::Write::write_char(&mut to, '\n')?;
        Ok(to.len() as c_int)
    })
}

/// The length of the null-terminated string that [`join`] makes.
#[doc(hidden)]
pub const fn joined_len(parts: &[&str]) -> usize {
    let mut len = 1;
    let mut i = 0;

    while i < parts.len() {
        len += parts[i].len();
        i += 1;
    }
    len
}

/// Joins strings, with a null byte at the end, to place them in a section.
#[doc(hidden)]
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut bytes = [0; N];
    let (mut n, mut i) = (0, 0);

    while i < parts.len() {
        let mut j = 0;
        while j < parts[i].len() {
            bytes[n] = parts[i].as_bytes()[j];
            n += 1;
            j += 1;
        }
        i += 1;
    }
    bytes
}

/// Declares the parameters of a module: name, type, default as a word, mode in sysfs, description.
///
/// ```ignore
/// module_params! {
///     "virtio_blk":
///     /// Docs.
///     static QUEUE_DEPTH: u32 = 0, "queue_depth", 0o444, "Requests in flight";
/// }
/// ```
#[macro_export]
macro_rules! module_params {
    ($module:literal: $(
        $(#[$attr:meta])*
        static $param:ident: $ty:ty = $word:expr, $name:literal, $mode:literal, $desc:expr;
    )*) => {$(
        $(#[$attr])*
        pub(crate) static $param: $crate::module_param::Param<$ty> =
            $crate::module_param::Param::new(
                $word,
                $crate::module_param::c_str(::core::concat!($module, "\0")),
                $name,
            );

        const _: () = {
            #[cfg(MODULE)]
            const PREFIX: &str = "";
            #[cfg(not(MODULE))]
            const PREFIX: &str = ::core::concat!($module, ".");

            #[cfg(MODULE)]
            const NAME: &str = ::core::concat!($name, "\0");
            #[cfg(not(MODULE))]
            const NAME: &str = ::core::concat!($module, ".", $name, "\0");

            #[link_section = "__param"]
            #[used(compiler)]
            static PARAM: $crate::module_param::KernelParam =
                $crate::module_param::KernelParam::new(
                    $crate::module_param::c_str(NAME),
                    $mode,
                    &$param,
                );

            const PARM: &[&str] = &[PREFIX, "parm=", $name, ":", $desc];
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static PARM_INFO: [u8; $crate::module_param::joined_len(PARM)] =
                $crate::module_param::join(PARM);

            const TYPE: &[&str] = &[
                PREFIX, "parmtype=", $name, ":", <$ty as $crate::module_param::Value>::TYPE,
            ];
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static TYPE_INFO: [u8; $crate::module_param::joined_len(TYPE)] =
                $crate::module_param::join(TYPE);
        };
    )*};
}

/// The file `version` under /sys/module/ of a module that is built in; the module loader makes that
/// of a loadable one.
#[cfg(all(not(MODULE), CONFIG_SYSFS))]
#[doc(hidden)]
#[repr(transparent)]
pub struct VersionAttribute(bindings::module_version_attribute);

// SAFETY: Nobody writes to it.
#[cfg(all(not(MODULE), CONFIG_SYSFS))]
unsafe impl Sync for VersionAttribute {}

#[cfg(all(not(MODULE), CONFIG_SYSFS))]
impl VersionAttribute {
    /// The version `version` of the module `module`.
    pub const fn new(module: &'static CStr, version: &'static CStr) -> Self {
        let mut attribute: bindings::module_version_attribute = pin_init::zeroed();

        attribute.mattr.attr.name = kernel::str::as_char_ptr_in_const_context(c"version");
        attribute.mattr.attr.mode = 0o444;
        attribute.mattr.show = Some(bindings::__modver_version_show);
        attribute.module_name = kernel::str::as_char_ptr_in_const_context(module);
        attribute.version = kernel::str::as_char_ptr_in_const_context(version);
        Self(attribute)
    }
}

/// Makes a C string of text that ends in a null byte and has no other, at compile time.
#[doc(hidden)]
pub const fn c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a name or version has a null byte"),
    }
}

/// Gives a module a version, in modinfo and under /sys/module/; with it comes `srcversion`, a
/// checksum of the sources beside its objects (not if it is built in). Only the build ID tells all
/// builds apart.
///
/// C counterpart: `MODULE_VERSION()`.
#[macro_export]
macro_rules! module_version {
    ($module:literal, $version:literal) => {
        const _: () = {
            #[cfg(MODULE)]
            const VERSION: &[&str] = &["version=", $version];
            #[cfg(not(MODULE))]
            const VERSION: &[&str] = &[$module, ".version=", $version];

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static INFO: [u8; $crate::module_param::joined_len(VERSION)] =
                $crate::module_param::join(VERSION);

            #[cfg(all(not(MODULE), CONFIG_SYSFS))]
            #[link_section = "__modver"]
            #[used(compiler)]
            static ATTRIBUTE: $crate::module_param::VersionAttribute =
                $crate::module_param::VersionAttribute::new(
                    $crate::module_param::c_str(::core::concat!($module, "\0")),
                    $crate::module_param::c_str(::core::concat!($version, "\0")),
                );
        };
    };
}
