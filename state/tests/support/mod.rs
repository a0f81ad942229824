//! Values of every domain type, made from one number: for the codec's tests. A new field or variant of a domain type breaks the build here,
//! and every listed variant is made, so no type escapes the tests.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod messages;
pub mod nouns;

use std::collections::{BTreeMap, BTreeSet};

use berth_state::ids::{
    BootId, ClusterId, ContainerId, HostId, Incarnation, LeaseId, LedgerId, NodeId, Nonce, RequestId, Revision, Seq, SessionId, Time,
    Token, Version, VolumeId,
};

/// Where values come from.
pub struct Source {
    state: u64,
    plain: bool,
}

impl Source {
    /// Another value for every seed, the same value for the same seed.
    pub fn random(seed: u64) -> Self {
        Self { state: seed, plain: false }
    }

    /// For golden bytes: counted numbers, first variants, everything optional present, lists of two.
    pub fn plain() -> Self {
        Self { state: 0, plain: true }
    }

    /// Often at an edge of the encoding.
    pub fn number(&mut self) -> u64 {
        if self.plain {
            self.state += 1;
            return self.state;
        }
        let wide = self.next();
        match self.next() % 4 {
            0 => wide % 3,
            1 => u64::MAX - wide % 3,
            2 => wide >> (self.next() % 64),
            _ => wide,
        }
    }

    pub fn pick(&mut self, of: usize) -> usize {
        if self.plain { 0 } else { usize::try_from(self.next() % of as u64).unwrap() }
    }

    fn count(&mut self) -> usize {
        if self.plain { 2 } else { self.pick(4) }
    }

    fn present(&mut self) -> bool {
        self.plain || self.pick(2) == 0
    }

    // SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn name(&mut self) -> String {
        if self.plain {
            return format!("n{}", self.number());
        }
        let first = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let rest = b"abcdefghijklmnopqrstuvwxyz0123456789-_.";
        let tail = [0, 1, 7, 62][self.pick(4)];
        let mut name = String::from(char::from(first[self.pick(first.len())]));
        name.extend((0..tail).map(|_| char::from(rest[self.pick(rest.len())])));
        name
    }
}

/// A type of which a [`Source`] makes values.
pub trait Arb: Sized {
    fn arb(s: &mut Source) -> Self;
}

/// An enum, all its variants, in the order of its definition.
pub trait Variants: Sized + 'static {
    fn makers() -> Vec<fn(&mut Source) -> Self>;
    fn variant(&self) -> &'static str;

    /// One value of each variant.
    fn each(s: &mut Source) -> Vec<Self> {
        Self::makers().into_iter().map(|make| make(s)).collect()
    }
}

macro_rules! arb_struct {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl $crate::support::Arb for $name {
            fn arb(s: &mut $crate::support::Source) -> Self {
                Self { $($field: $crate::support::Arb::arb(s)),* }
            }
        }
    )*};
}

macro_rules! arb_enum {
    ($($name:ident { $($case:ident $body:tt),* $(,)? })*) => {$(
        impl $crate::support::Variants for $name {
            fn makers() -> Vec<fn(&mut $crate::support::Source) -> Self> {
                vec![$(|s| $crate::support::arb_case!(s $case $body)),*]
            }

            // Lists every variant: one that is missing above breaks the build.
            fn variant(&self) -> &'static str {
                match self { $(Self::$case { .. } => stringify!($case)),* }
            }
        }

        impl $crate::support::Arb for $name {
            fn arb(s: &mut $crate::support::Source) -> Self {
                let makers = <Self as $crate::support::Variants>::makers();
                makers[s.pick(makers.len())](s)
            }
        }
    )*};
}

macro_rules! arb_case {
    ($s:ident $case:ident {}) => {{
        let _ = $s;
        Self::$case {}
    }};
    ($s:ident $case:ident { $($field:ident),* }) => { Self::$case { $($field: $crate::support::Arb::arb($s)),* } };
    ($s:ident $case:ident ($inner:ident)) => { Self::$case($crate::support::Arb::arb($s)) };
}

pub(crate) use {arb_case, arb_enum, arb_struct};

macro_rules! arb_ids {
    (names $($name:ident),*; numbers $($number:ident),*; bytes $($bytes:ident),*) => {
        $(impl Arb for $name {
            fn arb(s: &mut Source) -> Self {
                Self::new(&s.name()).unwrap()
            }
        })*
        $(impl Arb for $number {
            fn arb(s: &mut Source) -> Self {
                Self(s.number())
            }
        })*
        $(impl Arb for $bytes {
            fn arb(s: &mut Source) -> Self {
                let mut id = [0_u8; 16];
                for half in id.chunks_mut(8) {
                    half.copy_from_slice(&s.number().to_be_bytes());
                }
                Self(id)
            }
        })*
    };
}
arb_ids!(
    names HostId, VolumeId, ContainerId;
    numbers Revision, LeaseId, Token, SessionId, NodeId, Seq, Nonce, Version, Incarnation, Time;
    bytes ClusterId, BootId, LedgerId, RequestId
);

impl Arb for u64 {
    fn arb(s: &mut Source) -> Self {
        s.number()
    }
}

impl Arb for u32 {
    fn arb(s: &mut Source) -> Self {
        s.number() as Self
    }
}

impl Arb for u16 {
    fn arb(s: &mut Source) -> Self {
        s.number() as Self
    }
}

impl Arb for i32 {
    fn arb(s: &mut Source) -> Self {
        s.number() as Self
    }
}

impl Arb for bool {
    fn arb(s: &mut Source) -> Self {
        s.present()
    }
}

impl Arb for String {
    fn arb(s: &mut Source) -> Self {
        if s.plain {
            return format!("text {}", s.number());
        }
        ["", "a", "ä€𝄞", "line\nbreak", "much more text than that, so that its length takes two bytes"][s.pick(5)].repeat(s.pick(3))
    }
}

impl<T: Arb> Arb for Option<T> {
    fn arb(s: &mut Source) -> Self {
        s.present().then(|| T::arb(s))
    }
}

impl<T: Arb> Arb for Vec<T> {
    fn arb(s: &mut Source) -> Self {
        (0..s.count()).map(|_| T::arb(s)).collect()
    }
}

impl<T: Arb + Ord> Arb for BTreeSet<T> {
    fn arb(s: &mut Source) -> Self {
        (0..s.count()).map(|_| T::arb(s)).collect()
    }
}

impl<K: Arb + Ord, V: Arb> Arb for BTreeMap<K, V> {
    fn arb(s: &mut Source) -> Self {
        (0..s.count()).map(|_| (K::arb(s), V::arb(s))).collect()
    }
}

impl<A: Arb, B: Arb> Arb for (A, B) {
    fn arb(s: &mut Source) -> Self {
        (A::arb(s), B::arb(s))
    }
}
