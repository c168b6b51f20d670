//! Kernel arguments and their types.

use super::kernel_table::{Param, ParamType, Scalar};
use crate::{DType, Element};
use std::ffi::c_void;
use std::marker::PhantomData;

/// Elements in device memory that a kernel reads.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct DevicePtr<'a, T> {
    pub(super) address: u64,
    pub(super) memory: PhantomData<&'a T>,
}

/// Elements in device memory that a kernel writes.
#[derive(Debug)]
#[repr(transparent)]
pub struct DevicePtrMut<'a, T> {
    pub(super) address: u64,
    pub(super) memory: PhantomData<&'a mut T>,
}

impl<T> DevicePtr<'_, T> {
    /// A null pointer, for an argument that the kernel does not read.
    pub fn null() -> Self {
        Self::from_address(0)
    }

    /// A pointer to memory that is not managed here, or that is also written: whoever launches a kernel with it
    /// answers for its life and its bounds.
    pub fn from_address(address: u64) -> Self {
        DevicePtr { address, memory: PhantomData }
    }

    /// The device address.
    pub fn address(&self) -> u64 {
        self.address
    }
}

impl<T> DevicePtrMut<'_, T> {
    /// A pointer to memory that is not managed here: whoever launches a kernel with it answers for its life, its
    /// bounds and that nothing else writes there.
    pub fn from_address(address: u64) -> Self {
        DevicePtrMut { address, memory: PhantomData }
    }

    /// The device address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The same memory for reading, for a kernel that works in place.
    pub fn alias<'b>(&self) -> DevicePtr<'b, T> {
        DevicePtr::from_address(self.address)
    }
}

/// A type that a kernel parameter can have.
///
/// # Safety
/// `PARAM` must describe the type's own bytes: its size and alignment, and the number type or the pointee.
pub unsafe trait Argument {
    /// How the type looks to a kernel.
    const PARAM: Param;
}

const fn param<T>(ty: ParamType) -> Param {
    Param { ty, offset: 0, size: size_of::<T>() as u32, align: align_of::<T>() as u32 }
}

const fn scalar(dtype: DType) -> Scalar {
    match dtype {
        DType::F32 => Scalar::F32,
        DType::F16 => Scalar::F16,
        DType::BF16 => Scalar::Bf16,
        DType::F64 => Scalar::F64,
        DType::I64 => Scalar::I64,
        DType::U32 => Scalar::U32,
        DType::U8 => Scalar::U8,
    }
}

// SAFETY: `repr(transparent)` over the 64-bit address that a device pointer is.
unsafe impl<T: Element> Argument for DevicePtr<'_, T> {
    const PARAM: Param = param::<Self>(ParamType::Pointer { to: Some(scalar(T::DTYPE)), mutable: false });
}

// SAFETY: as above.
unsafe impl<T: Element> Argument for DevicePtrMut<'_, T> {
    const PARAM: Param = param::<Self>(ParamType::Pointer { to: Some(scalar(T::DTYPE)), mutable: true });
}

// SAFETY: as above; words that no dtype has.
unsafe impl Argument for DevicePtrMut<'_, u64> {
    const PARAM: Param = param::<Self>(ParamType::Pointer { to: Some(Scalar::U64), mutable: true });
}

// SAFETY: as above.
unsafe impl Argument for DevicePtr<'_, u64> {
    const PARAM: Param = param::<Self>(ParamType::Pointer { to: Some(Scalar::U64), mutable: false });
}

macro_rules! scalars {
    ($($ty:ty => $scalar:ident),*) => {
        $(
            // SAFETY: the number type of that name.
            unsafe impl Argument for $ty {
                const PARAM: Param = param::<$ty>(ParamType::Scalar(Scalar::$scalar));
            }
        )*
    };
}

scalars!(i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, u64 => U64,
    half::f16 => F16, half::bf16 => Bf16, f32 => F32, f64 => F64);

/// Lets a `#[repr(C)]` struct be passed to kernels by value.
///
/// ```
/// #[repr(C)]
/// #[derive(Clone, Copy)]
/// struct Params {
///     count: u32,
///     scale: f32,
/// }
/// // SAFETY: laid out as the kernel's struct of the same name.
/// warpsmith::kernel_struct!(unsafe Params);
/// ```
///
/// # Safety
/// The struct must be laid out as the kernel's: `#[repr(C)]`, fields of the same types in the same order. Size and
/// alignment are compared with the kernel's signature; the fields are the caller's word.
#[macro_export]
macro_rules! kernel_struct {
    (unsafe $ty:ty) => {
        // SAFETY: the macro's caller vouches for the layout.
        unsafe impl $crate::device::cuda::Argument for $ty {
            const PARAM: $crate::device::cuda::kernel_table::Param = $crate::device::cuda::kernel_table::Param {
                ty: $crate::device::cuda::kernel_table::ParamType::Bytes,
                offset: 0,
                size: ::std::mem::size_of::<$ty>() as u32,
                align: ::std::mem::align_of::<$ty>() as u32,
            };
        }
    };
}

/// The arguments of a launch: a tuple of up to twelve.
pub trait Arguments {
    /// How they look to a kernel.
    const PARAMS: &'static [Param];

    /// Calls `f` with a pointer to each argument, as the driver takes them.
    fn with_pointers<R>(self, f: impl FnOnce(&mut [*mut c_void]) -> R) -> R;
}

macro_rules! tuples {
    ($(($($name:ident)*))*) => {
        $(
            impl<$($name: Argument),*> Arguments for ($($name,)*) {
                const PARAMS: &'static [Param] = &[$($name::PARAM),*];

                #[allow(non_snake_case)]
                fn with_pointers<R>(self, f: impl FnOnce(&mut [*mut c_void]) -> R) -> R {
                    let ($(mut $name,)*) = self;
                    f(&mut [$((&raw mut $name).cast()),*])
                }
            }
        )*
    };
}

tuples!((A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) (A B C D E F G H I)
    (A B C D E F G H I J) (A B C D E F G H I J K) (A B C D E F G H I J K L));
