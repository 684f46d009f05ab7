//! The binary contract between a host and a plugin.
//!
//! Every record here is `repr(C)`, `Copy`, has no `Drop` and is borrowed for one call. Nothing that
//! one side allocated is freed or kept by the other. Tables are append-only: a new function goes to
//! the end of its table, [`MINOR`] is raised, and a reader touches a field only if it lies inside
//! the `size` the peer wrote. Anything else needs a new [`MAJOR`] and changes [`FINGERPRINT`].
//!
//! `include/plg.h` states the same contract for C and is held equal by a test.

use core::ffi::c_void;

/// The contract's major version. Host and plugin must agree on it.
pub const MAJOR: u16 = 1;
/// The contract's minor version. Any two minors of one major work together.
pub const MINOR: u16 = if cfg!(feature = "next-minor") { 1 } else { 0 };

/// First bytes of the plugin note.
pub const NOTE_MAGIC: [u8; 8] = *b"plgnote1";
/// Name of the ELF section that holds the plugin note.
pub const NOTE_SECTION: &str = ".plgnote";
/// Name of the exported getter of the [`Descriptor`].
pub const DESCRIPTOR_SYMBOL: &str = "plg_descriptor_v1";
/// Name of the exported entry point, a thin alias of [`Descriptor::execute`].
pub const EXECUTE_SYMBOL: &str = "execute";
/// Name of the getter of the `abi_stable` layout, exported by plugins built with that feature.
pub const LAYOUT_SYMBOL: &str = "plg_layout_v1";
/// The value of [`NoteHead::endian`], which reads as another number on the other endianness.
pub const NOTE_ENDIAN: u16 = 0x0102;

/// Flags of a plugin note.
pub mod flag {
    /// Panics unwind, so the export shim can catch them.
    pub const UNWIND: u32 = 1;
    /// Built with debug assertions.
    pub const DEBUG: u32 = 2;
    /// The plugin tracks its threads, keys and thread-local destructors, so it can be unmapped.
    pub const UNLOAD_HOOKS: u32 = 4;
}

/// Tags of a [`ValueRef`].
pub mod tag {
    /// No value; `bits` and `len` are zero.
    pub const NULL: u32 = 0;
    /// `bits` is 0 or 1.
    pub const BOOL: u32 = 1;
    /// `bits` is the number in two's complement.
    pub const I64: u32 = 2;
    /// `bits` are the IEEE 754 bits.
    pub const F64: u32 = 3;
    /// `bits` is the address of `len` bytes of UTF-8.
    pub const STR: u32 = 4;
    /// `bits` is the address of `len` bytes.
    pub const BYTES: u32 = 5;
    /// `bits` is the address of `len` [`ValueRef`](super::ValueRef).
    pub const LIST: u32 = 6;
    /// `bits` is the address of `len` [`EntryRef`](super::EntryRef). The host lends keys ascending and
    /// distinct; of a plugin's equal keys the last one counts.
    pub const MAP: u32 = 7;
}

/// What a function of either table answers.
pub mod status {
    /// It worked.
    pub const OK: i32 = 0;
    /// The plugin reported an error through [`HostTable::fail`](super::HostTable::fail).
    pub const FAILED: i32 = 1;
    /// The plugin panicked and the shim caught it.
    pub const PANICKED: i32 = 2;
    /// There is no value under that key, or no key at that index.
    pub const MISSING: i32 = 3;
    /// The call this context belongs to has returned, or this is another thread.
    pub const EXPIRED: i32 = 4;
    /// The key is not UTF-8 or is unknown.
    pub const BAD_KEY: i32 = 5;
    /// The value has an unknown tag, is not UTF-8 or nests too deeply.
    pub const BAD_VALUE: i32 = 6;
    /// The value, the key or the number of values is over the host's limit.
    pub const TOO_LARGE: i32 = 7;
}

/// Levels of a log line, most severe first.
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is off but the call goes on.
    pub const WARN: u32 = 2;
    /// Worth knowing in production.
    pub const INFO: u32 = 3;
    /// Worth knowing while looking for a fault.
    pub const DEBUG: u32 = 4;
    /// Every step.
    pub const TRACE: u32 = 5;
}

/// The entry points that take a context share this type. Both arguments together are four words, which
/// travel in registers.
pub type EntryPoint = unsafe extern "C" fn(context: Ctx, label: Str) -> i32;

/// Defines boundary records together with their part of the fingerprint, which covers only the
/// frozen fields: those after `appended` came with a later minor.
macro_rules! boundary {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
        $(appended { $($(#[$late_meta:meta])* $late:ident: $late_type:ty,)* })?
    )*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            #[cfg_attr(feature = "abi_stable", derive(abi_stable::StableAbi))]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
                $($($(#[$late_meta])* pub $late: $late_type,)*)?
            }

            impl $name {
                /// Bytes up to the end of the fields that every minor of this major has.
                pub const FROZEN_SIZE: usize = {
                    let ends = [$(core::mem::offset_of!($name, $field) + size_of::<$type>()),*];
                    ends[ends.len() - 1].next_multiple_of(align_of::<$name>())
                };

                const FINGERPRINT: u64 = {
                    let hash = fold_text(FOLD_START, stringify!($name));
                    let hash = fold_number(hash, Self::FROZEN_SIZE as u64);
                    let hash = fold_number(hash, align_of::<$name>() as u64);
                    $(
                        let hash = fold_text(hash, stringify!($field));
                        let hash = fold_number(hash, core::mem::offset_of!($name, $field) as u64);
                        let hash = fold_text(hash, stringify!($type));
                    )*
                    hash
                };
            }
        )*

        /// A hash over every boundary record: names, sizes, alignments, fields with their offsets and
        /// types. Two sides with the same fingerprint mean the same bytes, whatever compiled them.
        pub const FINGERPRINT: u64 = {
            let hash = FOLD_START;
            $(let hash = fold_number(hash, $name::FINGERPRINT);)*
            hash
        };
    };
}

boundary! {
    /// Borrowed UTF-8 text. A null `ptr` goes with `len` 0.
    pub struct Str {
        /// First byte.
        ptr: *const u8,
        /// Length in bytes.
        len: usize,
    }

    /// A borrowed value; [`tag`] says what `len` and `bits` mean.
    pub struct ValueRef {
        /// One of [`tag`].
        tag: u32,
        /// Bytes of text, or elements of a list or map.
        len: u32,
        /// The number itself, or the address of the first byte or element.
        bits: u64,
    }

    /// One entry of a map.
    pub struct EntryRef {
        /// The key.
        key: Str,
        /// The value.
        value: ValueRef,
    }

    /// What an entry point receives. It travels by value, so a plugin that keeps it holds no pointer
    /// into the host's stack: after the call every function answers [`status::EXPIRED`].
    pub struct Ctx {
        /// Names this one call; the first argument of every function in the table.
        token: u64,
        /// The host's functions.
        host: *const HostTable,
    }

    /// What a host lends a plugin for one call. All functions are for the calling thread only.
    ///
    /// Text and bytes that `get` returns stay valid until the next `set` or `remove`; lists and maps
    /// only until the next function of this table is called.
    pub struct HostTable {
        /// Size of this table in bytes, as the host knows it.
        size: u32,
        /// The host's [`MINOR`].
        minor: u32,
        /// Reads the value under a key.
        get: unsafe extern "C" fn(token: u64, key: Str, out: *mut ValueRef) -> i32,
        /// Stores a copy of a value. A blank key is ignored.
        set: unsafe extern "C" fn(token: u64, key: Str, value: ValueRef) -> i32,
        /// Like `get`, by the number that `intern` gave.
        get_interned: unsafe extern "C" fn(token: u64, key: u32, out: *mut ValueRef) -> i32,
        /// Like `set`, by the number that `intern` gave.
        set_interned: unsafe extern "C" fn(token: u64, key: u32, value: ValueRef) -> i32,
        /// The number of a key, never 0, for as long as the plugin is loaded; 0 when the host has no
        /// room for another.
        intern: unsafe extern "C" fn(token: u64, key: Str) -> u32,
        /// Removes the value under a key.
        remove: unsafe extern "C" fn(token: u64, key: Str) -> i32,
        /// Reads the key at an index; indexes are dense and shift on `remove`.
        key_at: unsafe extern "C" fn(token: u64, index: u32, out: *mut Str) -> i32,
        /// Nanoseconds left until the deadline; `u64::MAX` without one.
        remaining: unsafe extern "C" fn(token: u64) -> u64,
        /// 1 once the caller cancelled or the deadline passed, else 0.
        cancelled: unsafe extern "C" fn(token: u64) -> u32,
        /// States why the entry point is about to answer [`status::FAILED`]: a code and a message.
        fail: unsafe extern "C" fn(token: u64, code: Str, message: Str) -> i32,
        /// Writes a line to the host's log; one of [`level`].
        log: unsafe extern "C" fn(token: u64, level: u32, message: Str) -> i32,
        /// Says how far the work is. `total` 0 means unknown.
        progress: unsafe extern "C" fn(token: u64, done: u64, total: u64, message: Str) -> i32,
        /// Calls another plugin. `input` is a map; so is what `out` receives: the values after the
        /// call, or, with any answer but [`status::OK`], `code` and `message`.
        call: unsafe extern "C" fn(
            token: u64,
            plugin: Str,
            label: Str,
            input: ValueRef,
            out: *mut ValueRef,
        ) -> i32,
    }
    appended {
        /// Stands for whatever the next minor appends.
        #[cfg(feature = "next-minor")]
        next: unsafe extern "C" fn(token: u64) -> u64,
    }

    /// What a plugin offers. The getter [`DESCRIPTOR_SYMBOL`] returns its address.
    ///
    /// Only `execute` is required. `init` runs once before the first call and may refuse; `stop`
    /// asks the plugin to end its threads; `live` counts what still runs; `fini` gives back what the
    /// plugin holds in the process and answers 0 when nothing is left.
    ///
    /// A plugin that keeps state across an upgrade has both `save` and `restore`. `save` puts the state
    /// into its context as values. It may run while calls do, and more than once: an upgrade that fails
    /// leaves this build in service. `restore` runs in the next build, after its `init` and before its
    /// first call, and finds those values in its context.
    ///
    /// Every entry point answers [`status::OK`], or [`status::FAILED`] after it said why. A label lives
    /// for the call.
    pub struct Descriptor {
        /// Size of this table in bytes, as the plugin knows it.
        size: u32,
        /// The plugin's [`MINOR`].
        minor: u32,
        /// Answers a call. `label` says which of its labels the plugin is asked for.
        execute: Option<unsafe extern "C" fn(context: Ctx, label: Str) -> i32>,
        /// Prepares the plugin. `label` is empty.
        init: Option<unsafe extern "C" fn(context: Ctx, label: Str) -> i32>,
        /// Ends what the plugin started. `label` is empty.
        stop: Option<unsafe extern "C" fn(context: Ctx, label: Str) -> i32>,
        /// Counts the plugin's own threads that are still alive.
        live: Option<unsafe extern "C" fn() -> u32>,
        /// Runs the thread-local destructors of this thread and deletes the plugin's keys.
        fini: Option<unsafe extern "C" fn() -> u32>,
        /// The labels that `execute` answers, or null when the plugin does not say.
        labels: *const Str,
        /// How many labels there are.
        label_count: usize,
        /// The version of the state that `save` writes, the plugin's own to count.
        state_version: u32,
        /// Zero.
        reserved: u32,
        /// Puts the plugin's state into the context. `label` is empty.
        save: Option<unsafe extern "C" fn(context: Ctx, label: Str) -> i32>,
        /// Takes the state of another build over. `label` is that build's `state_version` in decimal
        /// digits.
        restore: Option<unsafe extern "C" fn(context: Ctx, label: Str) -> i32>,
    }
    appended {
        /// Stands for whatever the next minor appends.
        #[cfg(feature = "next-minor")]
        next: unsafe extern "C" fn() -> u64,
    }

    /// The fixed part of the plugin note; `manifest_len` bytes of `plugin.json` follow it.
    ///
    /// It holds no pointer, so the host reads it from the file before any of the file's code can run.
    pub struct NoteHead {
        /// [`NOTE_MAGIC`].
        magic: [u8; 8],
        /// Size of this record in bytes.
        size: u32,
        /// A set of [`flag`].
        flags: u32,
        /// The plugin's [`FINGERPRINT`].
        fingerprint: u64,
        /// The plugin's [`MAJOR`].
        major: u16,
        /// The plugin's [`MINOR`].
        minor: u16,
        /// 32 or 64.
        pointer_bits: u16,
        /// [`NOTE_ENDIAN`].
        endian: u16,
        /// Name of the crate, padded with NUL.
        name: [u8; 64],
        /// Version of the crate, padded with NUL.
        version: [u8; 32],
        /// Bytes of `plugin.json` after this record; 0 when the crate has none.
        manifest_len: u32,
        /// Zero.
        reserved: u32,
    }
}

/// The plugin note as it stands in the section: the head, then `plugin.json`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Note<const N: usize> {
    /// The fixed part.
    pub head: NoteHead,
    /// The manifest's bytes.
    pub manifest: [u8; N],
}

impl<const N: usize> Note<N> {
    /// A note for a crate of this name and version that embeds `manifest`.
    ///
    /// # Panics
    ///
    /// At compile time, when the name is longer than 64 bytes, the version longer than 32, or
    /// `manifest` not `N` bytes long.
    #[must_use]
    pub const fn new(name: &str, version: &str, flags: u32, manifest: &[u8]) -> Self {
        assert!(manifest.len() == N, "the note is as long as its manifest");
        Self {
            head: NoteHead {
                magic: NOTE_MAGIC,
                size: size_of::<NoteHead>() as u32,
                flags,
                fingerprint: FINGERPRINT,
                major: MAJOR,
                minor: MINOR,
                pointer_bits: usize::BITS as u16,
                endian: NOTE_ENDIAN,
                name: padded(name),
                version: padded(version),
                manifest_len: N as u32,
                reserved: 0,
            },
            manifest: copied(manifest),
        }
    }
}

impl Str {
    /// Borrows `text`.
    #[must_use]
    #[inline]
    pub const fn new(text: &str) -> Self {
        Self {
            ptr: text.as_ptr(),
            len: text.len(),
        }
    }

    /// No text.
    pub const EMPTY: Self = Self {
        ptr: core::ptr::null(),
        len: 0,
    };
}

impl ValueRef {
    /// The null value.
    pub const NULL: Self = Self {
        tag: tag::NULL,
        len: 0,
        bits: 0,
    };
}

/// The type of the getter named [`DESCRIPTOR_SYMBOL`].
pub type DescriptorGetter = unsafe extern "C" fn() -> *const Descriptor;
/// The type of the getter named [`LAYOUT_SYMBOL`]; it answers an `abi_stable` `TypeLayout`.
pub type LayoutGetter = unsafe extern "C" fn() -> *const c_void;

const FOLD_START: u64 = 0xcbf2_9ce4_8422_2325;
const FOLD_PRIME: u64 = 0x0000_0100_0000_01b3;

const fn fold_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(FOLD_PRIME)
}

/// Folds source text, leaving out what `stringify!` spaces differently from one compiler to the next.
const fn fold_text(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if !matches!(bytes[index], b' ' | b'\n' | b'\t' | b',') {
            hash = fold_byte(hash, bytes[index]);
        }
        index += 1;
    }
    fold_byte(hash, 0)
}

const fn fold_number(mut hash: u64, number: u64) -> u64 {
    let bytes = number.to_le_bytes();
    let mut index = 0;
    while index < bytes.len() {
        hash = fold_byte(hash, bytes[index]);
        index += 1;
    }
    hash
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(
        bytes.len() <= N,
        "the crate's name or version is too long for the plugin note"
    );
    let mut out = [0; N];
    let mut index = 0;
    while index < bytes.len() {
        out[index] = bytes[index];
        index += 1;
    }
    out
}

const fn copied<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let mut index = 0;
    while index < N {
        out[index] = bytes[index];
        index += 1;
    }
    out
}
