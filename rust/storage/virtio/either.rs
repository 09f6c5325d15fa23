// SPDX-License-Identifier: GPL-2.0

//! Tokens of two types on one queue: the commands that come from above, and the driver's own.

use super::{
    chain::Chain,
    queue::Token, //
};
use core::{
    ffi::c_void,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A token of the one type or the other.
pub enum Either<A: Token, B: Token> {
    /// The usual one.
    Left(A),
    /// The other one.
    Right(B),
}

// SAFETY: The buffers are those of the token inside. The tokens' pointers are even, so the lowest
// bit, set and cleared again, says which one it is; no token has null, so neither has this. What is
// inside a tagged pointer is odd, but only this looks at it, and the type is no token of another
// `Either`: see the assertion.
unsafe impl<A: Token, B: Token> Token for Either<A, B> {
    const IS_EVEN: bool = false;

    #[inline]
    fn map(&mut self, chain: &mut Chain) -> Result {
        match self {
            Self::Left(token) => token.map(chain),
            Self::Right(token) => token.map(chain),
        }
    }

    #[inline]
    fn set_order(&mut self, order: usize) {
        match self {
            Self::Left(token) => token.set_order(order),
            Self::Right(token) => token.set_order(order),
        }
    }

    #[inline]
    fn order(&self) -> usize {
        match self {
            Self::Left(token) => token.order(),
            Self::Right(token) => token.order(),
        }
    }

    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        const { assert!(A::IS_EVEN && B::IS_EVEN) };

        match self {
            Self::Left(token) => token.into_raw(),
            Self::Right(token) => token.into_raw().map_addr(|addr| addr | 1),
        }
    }

    #[inline]
    unsafe fn operation(ptr: NonNull<c_void>) -> u32 {
        // SAFETY: As in `from_raw()`.
        unsafe {
            match ptr.addr().get() & 1 {
                0 => A::operation(ptr),
                _ => B::operation(NonNull::new_unchecked(
                    ptr.as_ptr().map_addr(|addr| addr & !1),
                )),
            }
        }
    }

    #[inline]
    unsafe fn from_raw(ptr: NonNull<c_void>) -> Self {
        // SAFETY: By this function's safety requirements; `into_raw()` made the pointer from that
        // of the token of this type, which is not null.
        unsafe {
            match ptr.addr().get() & 1 {
                0 => Self::Left(A::from_raw(ptr)),
                _ => Self::Right(B::from_raw(NonNull::new_unchecked(
                    ptr.as_ptr().map_addr(|addr| addr & !1),
                ))),
            }
        }
    }
}
