//! Keys of a context, by name or interned once.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::abi::{Ctx, Str};

/// A key that is looked up by number after its first use: the way to touch values in a hot plugin.
///
/// ```
/// use plg_plugin_api::{Context, Error, Key};
///
/// static NAME: Key = Key::new("name");
///
/// fn execute(ctx: &mut Context<'_>) -> Result<(), Error> {
///     let name: String = ctx.get(&NAME)?;
///     ctx.set("reply", format!("Hello, {name}!"))
/// }
/// ```
#[derive(Debug)]
pub struct Key {
    name: &'static str,
    /// 0 until the host numbered it. A plugin's image belongs to one host, so one number is enough.
    id: AtomicU32,
}

impl Key {
    /// A key of this name, to be put in a `static`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            id: AtomicU32::new(0),
        }
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// How a context is asked for a value: a `&str` or a [`&Key`](Key).
pub trait AsKey: sealed::Sealed {
    /// The name, for messages.
    fn name(&self) -> &str;

    #[doc(hidden)]
    fn resolve(&self, ctx: Ctx, intern: impl FnOnce(Ctx, Str) -> u32) -> Resolved<'_>;
}

#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Resolved<'a> {
    Name(&'a str),
    Interned(u32),
}

impl AsKey for &str {
    fn name(&self) -> &str {
        self
    }

    #[inline]
    fn resolve(&self, _ctx: Ctx, _intern: impl FnOnce(Ctx, Str) -> u32) -> Resolved<'_> {
        Resolved::Name(self)
    }
}

impl AsKey for &String {
    fn name(&self) -> &str {
        self
    }

    #[inline]
    fn resolve(&self, _ctx: Ctx, _intern: impl FnOnce(Ctx, Str) -> u32) -> Resolved<'_> {
        Resolved::Name(self)
    }
}

impl AsKey for &Key {
    fn name(&self) -> &str {
        self.name
    }

    #[inline]
    fn resolve(&self, ctx: Ctx, intern: impl FnOnce(Ctx, Str) -> u32) -> Resolved<'_> {
        // Relaxed is enough: the number means nothing without the host that gave it, and two threads
        // that both ask are given the same one.
        let mut id = self.id.load(Ordering::Relaxed);
        if id == 0 {
            id = intern(ctx, Str::new(self.name));
            self.id.store(id, Ordering::Relaxed);
        }
        match id {
            0 => Resolved::Name(self.name),
            id => Resolved::Interned(id),
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for &super::Key {}
}
