//! The frame of the codec: conversion of whole messages ([`Wire`]) and of single fields (`Field`), and the macros that write them, one line
//! for a type. Used by the other files of the codec only. A field added to a domain type or to the proto breaks the build here.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::error::CodecError;

/// A domain type with its protobuf form.
pub trait Wire: Sized {
    /// The generated type.
    type Pb;

    fn to_pb(&self) -> Self::Pb;

    /// # Errors
    /// [`CodecError`] naming message and field, when the form does not stand for a value of this type.
    fn from_pb(pb: Self::Pb) -> Result<Self, CodecError>;
}

/// Where a field is, for the error.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub message: &'static str,
    pub field: &'static str,
}

/// A domain type that can stand in a field whose generated type is `P`.
pub(crate) trait Field<P>: Sized {
    fn put(&self) -> P;
    fn take(pb: P, at: At) -> Result<Self, CodecError>;
}

macro_rules! verbatim {
    ($($type:ty),* $(,)?) => {$(
        impl Field<$type> for $type {
            fn put(&self) -> $type {
                self.clone()
            }
            fn take(pb: $type, _: At) -> Result<Self, CodecError> {
                Ok(pb)
            }
        }
    )*};
}
verbatim!(u64, u32, i32, bool, String, BTreeMap<String, String>);

impl Field<u32> for u16 {
    fn put(&self) -> u32 {
        u32::from(*self)
    }
    fn take(pb: u32, At { message, field }: At) -> Result<Self, CodecError> {
        Self::try_from(pb).map_err(|_| CodecError::OutOfRange { message, field, number: pb.into(), limit: Self::MAX.into() })
    }
}

impl<P, T: Field<P>> Field<Option<P>> for Option<T> {
    fn put(&self) -> Option<P> {
        self.as_ref().map(T::put)
    }
    fn take(pb: Option<P>, at: At) -> Result<Self, CodecError> {
        pb.map(|p| T::take(p, at)).transpose()
    }
}

impl<P, T: Field<P>> Field<Vec<P>> for Vec<T> {
    fn put(&self) -> Vec<P> {
        self.iter().map(T::put).collect()
    }
    fn take(pb: Vec<P>, at: At) -> Result<Self, CodecError> {
        pb.into_iter().map(|p| T::take(p, at)).collect()
    }
}

impl<P, T: Field<P> + Ord> Field<Vec<P>> for BTreeSet<T> {
    fn put(&self) -> Vec<P> {
        self.iter().map(T::put).collect()
    }
    fn take(pb: Vec<P>, at: At) -> Result<Self, CodecError> {
        let mut set = Self::new();
        for p in pb {
            if !set.insert(T::take(p, at)?) {
                return Err(CodecError::Duplicate { message: at.message, field: at.field });
            }
        }
        Ok(set)
    }
}

/// Two values in a message of their own.
macro_rules! pair {
    (($first:ty, $second:ty) => $pb:ident { $a:ident, $b:ident }) => {
        impl $crate::codec::wire::Field<$crate::pb::state::$pb> for ($first, $second) {
            fn put(&self) -> $crate::pb::state::$pb {
                use $crate::codec::wire::Field;
                $crate::pb::state::$pb { $a: Field::put(&self.0), $b: Field::put(&self.1) }
            }
            fn take(pb: $crate::pb::state::$pb, _: $crate::codec::wire::At) -> Result<Self, $crate::codec::error::CodecError> {
                use $crate::codec::wire::{At, Field};
                let message = stringify!($pb);
                Ok((Field::take(pb.$a, At { message, field: stringify!($a) })?, Field::take(pb.$b, At { message, field: stringify!($b) })?))
            }
        }
    };
}

/// A type with [`Wire`] as a required field, an optional field, an element of a list, a case of a oneof.
macro_rules! field_by_wire {
    ($name:ident) => {
        impl $crate::codec::wire::Field<$crate::pb::state::$name> for $name {
            fn put(&self) -> $crate::pb::state::$name {
                $crate::codec::wire::Wire::to_pb(self)
            }
            fn take(pb: $crate::pb::state::$name, _: $crate::codec::wire::At) -> Result<Self, $crate::codec::error::CodecError> {
                $crate::codec::wire::Wire::from_pb(pb)
            }
        }

        impl $crate::codec::wire::Field<Option<$crate::pb::state::$name>> for $name {
            fn put(&self) -> Option<$crate::pb::state::$name> {
                Some($crate::codec::wire::Wire::to_pb(self))
            }
            fn take(
                pb: Option<$crate::pb::state::$name>,
                $crate::codec::wire::At { message, field }: $crate::codec::wire::At,
            ) -> Result<Self, $crate::codec::error::CodecError> {
                $crate::codec::wire::Wire::from_pb(pb.ok_or($crate::codec::error::CodecError::Missing { message, field })?)
            }
        }
    };
}

/// `message! { Name { same, named, fields; other as its_proto_name } }`
macro_rules! message {
    ($name:ident { $($field:ident),* $(,)? $(; $($own:ident as $proto:ident),* $(,)?)? }) => {
        impl $crate::codec::wire::Wire for $name {
            type Pb = $crate::pb::state::$name;

            fn to_pb(&self) -> Self::Pb {
                use $crate::codec::wire::Field;
                $crate::pb::state::$name { $($field: Field::put(&self.$field),)* $($($proto: Field::put(&self.$own),)*)? }
            }

            fn from_pb(pb: Self::Pb) -> Result<Self, $crate::codec::error::CodecError> {
                use $crate::codec::wire::{At, Field};
                let message = stringify!($name);
                Ok(Self {
                    $($field: Field::take(pb.$field, At { message, field: stringify!($field) })?,)*
                    $($($own: Field::take(pb.$proto, At { message, field: stringify!($proto) })?,)*)?
                })
            }
        }
        $crate::codec::wire::field_by_wire!($name);
    };
}

/// `oneof! { Name in module { Unit {}, Fields { a, b }, Wrapped(x), Fields { a } as OtherMessage } }`: a sum type, whose message has one
/// oneof named `kind`.
macro_rules! oneof {
    ($name:ident in $module:ident { $($case:ident $body:tt $(as $proto:ident)?),* $(,)? }) => {
        impl $crate::codec::wire::Wire for $name {
            type Pb = $crate::pb::state::$name;

            fn to_pb(&self) -> Self::Pb {
                let kind = match self {
                    $(Self::$case $body => $crate::codec::wire::put_case!($module $case $body $($proto)?),)*
                };
                $crate::pb::state::$name { kind: Some(kind) }
            }

            fn from_pb(pb: Self::Pb) -> Result<Self, $crate::codec::error::CodecError> {
                let message = stringify!($name);
                match pb.kind.ok_or($crate::codec::error::CodecError::UnknownCase { message })? {
                    $($crate::pb::state::$module::Kind::$case(pb) => $crate::codec::wire::take_case!($name $case $body pb),)*
                }
            }
        }
        $crate::codec::wire::field_by_wire!($name);
    };
}

macro_rules! put_case {
    ($module:ident $case:ident { $($field:ident),* }) => { $crate::codec::wire::put_case!($module $case { $($field),* } $case) };
    ($module:ident $case:ident { $($field:ident),* } $proto:ident) => {
        $crate::pb::state::$module::Kind::$case($crate::pb::state::$module::$proto { $($field: $crate::codec::wire::Field::put($field)),* })
    };
    ($module:ident $case:ident ($inner:ident)) => { $crate::pb::state::$module::Kind::$case($crate::codec::wire::Field::put($inner)) };
}

macro_rules! take_case {
    ($name:ident $case:ident {} $pb:ident) => {{
        let _ = $pb;
        Ok(Self::$case {})
    }};
    ($name:ident $case:ident { $($field:ident),* } $pb:ident) => {{
        let message = concat!(stringify!($name), ".", stringify!($case));
        Ok(Self::$case {
            $($field: $crate::codec::wire::Field::take($pb.$field, $crate::codec::wire::At { message, field: stringify!($field) })?),*
        })
    }};
    ($name:ident $case:ident ($inner:ident) $pb:ident) => {{
        let at = $crate::codec::wire::At { message: stringify!($name), field: stringify!($case) };
        Ok(Self::$case($crate::codec::wire::Field::take($pb, at)?))
    }};
}

/// `enumeration! { Name { A, B } }`: an enum without fields. Number 0 means that a writer left it out.
macro_rules! enumeration {
    ($($name:ident { $($value:ident),* $(,)? })*) => {$(
        impl $crate::codec::wire::Wire for $name {
            type Pb = $crate::pb::state::$name;

            fn to_pb(&self) -> Self::Pb {
                match self { $(Self::$value => $crate::pb::state::$name::$value,)* }
            }

            fn from_pb(pb: Self::Pb) -> Result<Self, $crate::codec::error::CodecError> {
                match pb {
                    $crate::pb::state::$name::Unspecified => {
                        Err($crate::codec::error::CodecError::Missing { message: stringify!($name), field: "number" })
                    }
                    $($crate::pb::state::$name::$value => Ok(Self::$value),)*
                }
            }
        }

        impl $crate::codec::wire::Field<i32> for $name {
            fn put(&self) -> i32 {
                $crate::codec::wire::Wire::to_pb(self) as i32
            }

            fn take(number: i32, at: $crate::codec::wire::At) -> Result<Self, $crate::codec::error::CodecError> {
                let $crate::codec::wire::At { message, field } = at;
                match $crate::pb::state::$name::try_from(number) {
                    Ok($crate::pb::state::$name::Unspecified) => Err($crate::codec::error::CodecError::Missing { message, field }),
                    Ok(known) => $crate::codec::wire::Wire::from_pb(known),
                    Err(_) => Err($crate::codec::error::CodecError::UnknownNumber { message, field, number }),
                }
            }
        }
    )*};
}

pub(crate) use {enumeration, field_by_wire, message, oneof, pair, put_case, take_case};
